"""What comes from outside reaches the terminal as text, never as a command to it."""

import os
import sys
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from microgpt_harness.run import checkpoint
from microgpt_harness.system.console import printable, shown
from program import HARMFUL, NUMPY, PYTHON, fails, run

EVIL = "\x1b]0;title\x07\x1b[2J\x9b31m\x7f\u202e"  # a window's title, a cleared screen, red, DEL, right to left
posix = pytest.mark.skipif(os.name == "nt", reason="Windows allows no control character in a file's name")


def harmless(text: str) -> bool:
    return not HARMFUL.search(text)


@pytest.mark.parametrize(
    ("char", "as_shown"),
    [
        ("\x1b", r"\x1b"),
        ("\0", r"\x00"),
        ("\x7f", r"\x7f"),
        ("\x9b", r"\x9b"),
        ("\n", r"\n"),
        ("\r", r"\r"),
        ("\t", r"\t"),
        ("\u2028", r"\u2028"),
        ("\u202e", r"\u202e"),
        ("\u2066", r"\u2066"),
        ("\u061c", r"\u061c"),
        ("\u200e", r"\u200e"),
        ("\u200f", r"\u200f"),
        ("\udc80", r"\udc80"),
    ],
)
def test_control_characters_are_spelled_out(char, as_shown):
    assert printable(f"a{char}b") == f"a{as_shown}b"
    assert printable(f"a{char}b", keep=char) == f"a{char}b"


@pytest.mark.parametrize("text", ["anna", "Zoë", "可愛い", "نور", "👩‍🔬", "a b", r"C:\names.txt"])
def test_what_people_write_is_shown_as_it_is(text):
    assert printable(text) == text


@given(st.text())
def test_nothing_printable_is_changed_and_nothing_else_is_left(text):
    once = printable(text)
    assert harmless(once)
    assert printable(once) == once
    assert text != once or text.isprintable() or not HARMFUL.search(text)


def test_a_path_is_shown_harmless(tmp_path):
    assert harmless(shown(tmp_path / EVIL))


@posix
@pytest.mark.parametrize("folder", [PYTHON, NUMPY])
def test_a_dataset_and_its_name_command_no_terminal(folder, tmp_path):
    """Vocabulary, prompt, samples, the file's name and the run's folder are all hostile."""
    file, out = tmp_path / f"{EVIL}.txt", tmp_path / EVIL
    file.write_text(f"{EVIL}ab\n{EVIL}ba\n", encoding="utf-8")
    flags = ("--dataset", file, "--out", out, "-i", EVIL[0])
    trained = run(folder, *flags, "--steps", 2, "--n-samples", 2, "--no-plot")
    assert harmless(trained.stdout)
    assert [sample[:4] for sample in trained.samples] == [r"\x1b"] * 2
    (kept,) = out.glob("*/*/samples.txt")
    assert kept.read_text(encoding="utf-8").splitlines() == trained.samples
    live = run(folder, "sample", *flags, "--stream")
    assert harmless(live.stdout) and live.samples
    line = fails(folder, *flags[:-1], "Q", says=("'Q'", r"it knows: \x07\x1b"))
    assert harmless(line)


def test_a_checkpoint_brings_no_prompt_and_no_number_of_samples(tmp_path):
    path = tmp_path / "checkpoint.json"
    run(PYTHON, "--steps", 1, "--n-samples", 0, "--no-plot", "--out", tmp_path)
    (written,) = tmp_path.glob("*/*/checkpoint.json")
    saved = checkpoint.load(written)
    chars = sorted({*saved.chars[:-1], "\x1b"})
    sampling = {"prompt": "\x1b", "n_samples": 7, "max_tokens": 1}
    checkpoint.save(path, replace(saved, chars=chars, extra={"sampling": sampling}))
    sampled = run(PYTHON, "sample", "--checkpoint", path)
    assert len(sampled.samples) == 20
    assert harmless(sampled.stdout)
    assert all(len(sample) <= len(r"\x1b") for sample in sampled.samples)  # max_tokens is taken up


def test_a_stream_keeps_its_lines(tmp_path):
    file, scenario = tmp_path / "poem.txt", tmp_path / "poem.toml"
    file.write_text("\n\n\n".join(["ab\n\tba\x1b"] * 20), encoding="utf-8")
    scenario.write_text('[data]\ndataset = "poem.txt"\nmode = "stream"\n', encoding="utf-8")
    flags = ("--config", scenario, "--steps", 2, "--n-samples", 1, "--no-plot", "--out", tmp_path)
    said = run(NUMPY, *flags, "--max-tokens", 3, "-i", "ab\n\tba\x1b")
    assert "--- sample 1 ---\nab\n\tba\\x1b" in said.stdout


@posix
@pytest.mark.parametrize(
    "flags",
    [
        ("--dataset", EVIL),
        ("--dataset", f"{EVIL}.txt"),
        ("--config", f"{EVIL}.toml"),
        ("--checkpoint", f"{EVIL}.json"),
        ("sample", "--out", EVIL),
        ("--prompt", EVIL),
        (f"--{EVIL}",),
        ("--device", EVIL),
    ],
)
def test_flags_command_no_terminal(flags, tmp_path):
    line = fails(PYTHON, *flags, *(() if "--out" in flags else ("--out", tmp_path)), says=(r"\x1b",))
    assert harmless(line)


@posix
def test_a_name_that_is_no_text_can_be_shown(tmp_path):
    """Linux allows any bytes in a file's name."""
    name = os.fsdecode(b"caf\xe9.txt")
    assert printable(name) == r"caf\udce9.txt"
    if sys.platform == "linux":
        fails(PYTHON, "--dataset", tmp_path / name, says=(r"caf\udce9.txt", "no such file"))
        (tmp_path / name).write_text("anna\nbob\n", encoding="utf-8")
        run(PYTHON, "--dataset", tmp_path / name, "--steps", 1, "--no-plot", "--out", tmp_path / "out")
