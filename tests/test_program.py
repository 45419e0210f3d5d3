"""What main.py does and prints when all goes well."""

import io
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from microgpt_harness.data import registry
from microgpt_harness.run import metrics, progress
from microgpt_harness.system import paths
from program import (
    MIRROR,
    NUMPY,
    PYTHON,
    ROOT,
    command,
    environment,
    needs_mirror,
    on_terminal,
    run,
    shown_lines,
    started,
    wait_for,
)

FOLDERS = paths.folders()
QUICK = ("--no-plot", "--val-every", 0)


@pytest.fixture(scope="module")
def trained(tmp_path_factory) -> Path:
    """Return the --out folder of a run on names with the lesson's own settings."""
    out = tmp_path_factory.mktemp("trained")
    (out / "stdout.txt").write_text(run(NUMPY, "--out", out, "--no-plot").stdout, encoding="utf-8")
    return out


@pytest.fixture(scope="module")
def stream(tmp_path_factory) -> Path:
    """Return the checkpoint of a short run on a user's own stream, whose letters repeat: a, b, c, d, a, ..."""
    folder = tmp_path_factory.mktemp("stream")
    (folder / "letters.txt").write_text("abcdabcdabcdabcd\n\n" * 40, encoding="utf-8")
    scenario = folder / "scenario.toml"
    scenario.write_text('[data]\ndataset = "letters.txt"\nmode = "stream"\n', encoding="utf-8")
    arguments = ("--config", scenario, "--out", folder, "--steps", 60, "--n-samples", 0, "--batch-size", 4)
    run(NUMPY, *arguments, *QUICK)
    return folder / "letters" / NUMPY / "checkpoint.safetensors"


def folder_of(out: Path, folder: str = NUMPY, dataset: str = "names") -> Path:
    return out / dataset / folder


def config_of(out: Path, **where: str) -> dict:
    return json.loads((folder_of(out, **where) / "config.json").read_text(encoding="utf-8"))


def losses_of(out: Path, **where: str) -> list[float]:
    return [record["loss"] for record in metrics.read(folder_of(out, **where))]


# ---- what a run prints and writes ----


def test_piped_output_is_plain_and_short(trained):
    lines = (trained / "stdout.txt").read_text(encoding="utf-8").splitlines()
    assert lines[0] == "names: 32,000 documents, 26 characters; 4,064 weights"
    steps = [line for line in lines if line.startswith("step ")]
    assert [int(line[5:9]) for line in steps] == list(range(50, 501, 50))
    assert all(re.fullmatch(r"step +\d+ / +500 \| loss \d\.\d{4}( \| val \d\.\d{4})?", line) for line in steps)
    assert lines[11].startswith("loss ") and lines[11].endswith("(smoothed)")
    assert [line[:11] for line in lines[12:32]] == [f"sample {i:2d}: " for i in range(1, 21)]
    assert lines[32].startswith("checkpoint, samples and metrics: ") and len(lines) == 33
    assert all(len(line) <= 80 for line in lines[:32])
    assert not any(ord(char) < 32 for line in lines for char in line)  # no colours, no cursor


def test_files_of_a_run(trained):
    folder = folder_of(trained)
    assert {path.name for path in folder.iterdir()} == {
        ".lock",
        "config.json",
        "metrics.jsonl",
        "samples.txt",
        "checkpoint.safetensors",
    }
    config = config_of(trained)
    assert config["folder"] == NUMPY and config["dataset"] == "names" and config["num_params"] == 4064
    assert config["config"]["num_steps"] == 500 and config["config"]["learning_rate"] == 0.01
    assert (config["dtype"], config["vocab_size"], config["documents"]) == ("float64", 27, 32_000)
    samples = (folder / "samples.txt").read_text(encoding="utf-8").splitlines()
    assert samples == re.findall(r"^sample +\d+: (.*)$", (trained / "stdout.txt").read_text(encoding="utf-8"), re.M)
    assert len(samples) == 20


def test_metrics_of_a_run(trained):
    lines = (folder_of(trained) / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    records = [json.loads(line) for line in lines]
    assert [record["step"] for record in records] == list(range(1, 501))
    assert all({"step", "loss", "ema", "lr", "seconds"} <= record.keys() for record in records)
    assert [record["step"] for record in records if "val_loss" in record] == [100, 200, 300, 400, 500]
    assert records[0]["ema"] == records[0]["loss"]
    assert records[1]["ema"] == pytest.approx(0.98 * records[0]["loss"] + 0.02 * records[1]["loss"], rel=1e-15)
    assert records[0]["lr"] == 0.01 and records[250]["lr"] == pytest.approx(0.005)
    assert any(len(str(record["loss"])) > 15 for record in records)  # in full precision


@pytest.mark.parametrize("folder", [NUMPY, "05_jax", "06_mlx"])
def test_program_repeats_its_lesson(folder, tmp_path, trained):
    """With nothing but defaults, main.py gives the losses and the names that microgpt.py gives."""
    lesson = [sys.executable, str(ROOT / folder / "microgpt.py")]
    said = subprocess.run(lesson, capture_output=True, encoding="utf-8", env=environment(), check=True).stdout
    out = trained if folder == NUMPY else tmp_path
    if folder != NUMPY:
        run(folder, "--out", out, "--no-plot", "--quiet")
    assert re.findall(r"loss (\S+)", said) == [f"{loss:.4f}" for loss in losses_of(out, folder=folder)]
    samples = (folder_of(out, folder) / "samples.txt").read_text(encoding="utf-8").splitlines()
    assert re.findall(r"^sample +\d+: (.*)$", said, re.MULTILINE) == samples


def test_log_every(tmp_path):
    options = ("--out", tmp_path, "--steps", 12, "--n-samples", 0, *QUICK)
    every = run(NUMPY, *options, "--log-every", 1).stdout.splitlines()
    assert every[1] == "step    1 /   12 | loss 3.3362"
    assert [line[5:9] for line in every if line.startswith("step ")] == [f"{step:4d}" for step in range(1, 13)]
    assert run(NUMPY, *options, "--log-every", 5).stdout.count("step ") == 3  # 5, 10 and the last
    assert run(NUMPY, *options, "--log-every", 0).stdout.count("step ") == 0


def test_quiet_prints_the_samples_only(tmp_path):
    options = ("--out", tmp_path, "--steps", 5, "--n-samples", 2, "--no-plot", "--quiet")
    assert re.fullmatch(r"sample  1: .*\nsample  2: .*\n", run(NUMPY, *options).stdout)


def test_validation_disturbs_nothing(tmp_path, trained):
    options = ("--steps", 60, "--no-plot", "--quiet", "--batch-size", 3)
    never = run(NUMPY, *options, "--out", tmp_path / "never", "--val-every", 0)
    always = run(NUMPY, *options, "--out", tmp_path / "always", "--val-every", 1, "--val-docs", 7)
    assert never.samples == always.samples
    assert losses_of(tmp_path / "never") == losses_of(tmp_path / "always")
    records = metrics.read(folder_of(tmp_path / "always"))
    assert all("val_loss" in record for record in records) and len(records) == 60


# ---- settings ----


@needs_mirror
def test_flag_before_scenario_before_dataset_before_lesson(tmp_path):
    scenario = tmp_path / "scenario.toml"
    scenario.write_text(
        "[data]\ndataset = 'pokemon'\n"
        "[model]\nn_embd = 24\nn_head = 2\n"
        "[training]\nsteps = 4\nlr = 0.02\n"
        "[sampling]\ntop_k = 7\nn_samples = 1\n",
        encoding="utf-8",
    )
    arguments = ("--config", scenario, "--out", tmp_path, "--lr", 0.03, "--n-head", 3, "--no-plot")
    run(NUMPY, *arguments, env={"MICROGPT_MIRROR": MIRROR})
    config = config_of(tmp_path, dataset="pokemon")
    chosen = config["config"]
    assert (chosen["learning_rate"], chosen["n_head"]) == (0.03, 3)  # flags
    assert (chosen["n_embd"], chosen["num_steps"], config["top_k"], config["n_samples"]) == (24, 4, 7, 1)  # scenario
    assert (chosen["n_layer"], chosen["block_size"], chosen["clip_grad"]) == (2, 12, 0.5)  # dataset
    assert (chosen["beta2"], chosen["batch_size"], chosen["temperature"]) == (0.95, 1, 0.5)  # lesson


def test_a_flag_overrules_what_the_folder_could_not_honour(tmp_path):
    scenario = tmp_path / "scenario.toml"
    scenario.write_text('[training]\ndtype = "float32"\nsteps = 2\n', encoding="utf-8")
    run(PYTHON, "--config", scenario, "--dtype", "float64", "--out", tmp_path, "--n-samples", 1, *QUICK)


def test_own_file_in_a_scenario_stands_beside_it(tmp_path):
    (tmp_path / "Meine Wörter.txt").write_text("\ufeff" + "äpfel\nbirnen\r\n" * 20, encoding="utf-8")
    scenario = tmp_path / "scenario.toml"
    scenario.write_text('[data]\ndataset = "Meine Wörter.txt"\n', encoding="utf-8")
    options = ("--steps", 3, "--n-samples", 1, "--out", tmp_path / "out", *QUICK)
    result = run(NUMPY, "--config", scenario, *options, cwd=ROOT)
    assert result.stdout.startswith("Meine_Wörter: 40 documents, 9 characters")


# ---- --list, --help ----


@pytest.mark.parametrize("arguments", [["--list"], ["--help"], ["sample", "--help"], ["bench", "--help"]], ids=" ".join)
@pytest.mark.parametrize("folder", FOLDERS)
def test_answers_without_importing_a_framework(folder, arguments):
    script = (
        "import runpy, sys\n"
        f"sys.argv = ['main.py', *{arguments}]\n"
        "try:\n"
        f"    runpy.run_path({str(ROOT / folder / 'main.py')!r}, run_name='__main__')\n"
        "except SystemExit as error:\n"
        "    assert not error.code, error.code\n"
        "heavy = {'numpy', 'torch', 'jax', 'mlx', 'matplotlib', 'rich', 'safetensors'} & sys.modules.keys()\n"
        "assert not heavy, heavy\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, encoding="utf-8", env=environment())
    assert done.returncode == 0, done.stderr
    assert done.stderr == "" and done.stdout


def test_list_shows_every_dataset(tmp_path):
    (tmp_path / "pokemon.csv").write_text("not looked into", encoding="utf-8")
    lines = run(PYTHON, "--list", env={"MICROGPT_CACHE": str(tmp_path)}).stdout.splitlines()
    rows = {line.split()[0]: line for line in lines[1:9]}
    assert list(rows) == registry.names()
    for words in ("discrete", "32,000", "198,946", "shipped", "public domain"):
        assert words in rows["names"]
    assert "cached" in rows["pokemon"] and "download" in rows["cities"]
    assert "block_size 64" in next(line for line in lines[9:] if line.startswith("shakespeare"))


# ---- on a terminal ----


@pytest.mark.parametrize("columns", [80, 60, 132])
def test_bar_on_a_terminal(columns, tmp_path):
    arguments = ("--out", tmp_path, "--steps", 3000, "--n-samples", 2, "--no-plot", "--val-every", 50)
    result = on_terminal(command(NUMPY, *arguments), columns)
    lines = shown_lines(result.stdout)
    assert result.code == 0 and result.stderr == ""
    bars = [line for line in lines if line.startswith("step ")]
    assert len(bars) > 1 and "\x1b[" in result.stdout  # it moved
    if columns >= 80:
        assert all(word in bars[-1] for word in ("3000/3000", "loss ", "ema ", "val ", "steps/s"))
    assert max(map(len, bars)) <= columns - 2
    assert any(line.startswith("sample  2: ") for line in lines)


@pytest.mark.parametrize("arguments", [("--steps", 3, "--no-plot"), ("sample",)])
def test_what_is_waited_for_stands_on_a_terminal_and_goes_again(arguments, tmp_path):
    train = ("--steps", 3, "--no-plot", "--out", tmp_path)
    assert "preparing" not in run(NUMPY, *train).stdout
    waiting, others = f"preparing {NUMPY} …", ("--out", tmp_path)
    received = on_terminal(command(NUMPY, *arguments, *others)).stdout
    assert received.count(f"{waiting}\r{' ' * len(waiting)}\r") == 2  # the framework, then the model
    assert received.count("preparing") == 2
    assert "preparing" not in on_terminal(command(NUMPY, *arguments, *others, "--quiet")).stdout


def test_bar_without_rich(tmp_path):
    hidden = tmp_path / "hidden"
    hidden.mkdir()
    (hidden / "sitecustomize.py").write_text(
        "import importlib.util as util\n"
        "find_spec = util.find_spec\n"
        "util.find_spec = lambda name, *rest: None if name == 'rich' else find_spec(name, *rest)\n",
        encoding="utf-8",
    )
    arguments = ("--out", tmp_path, "--steps", 3000, "--n-samples", 2, "--no-plot", "--val-every", 50)
    result = on_terminal(command(NUMPY, *arguments), env={"PYTHONPATH": str(hidden)})
    bars = [line for line in shown_lines(result.stdout) if line.startswith("step ")]
    assert result.code == 0 and "\x1b[" not in result.stdout and "\rstep " in result.stdout
    assert all(word in result.stdout for word in ("3000 / 3000", "loss ", "ema ", "val ", "steps/s", " s left"))
    assert max(map(len, bars)) <= 78


def drawn(bar: progress.RichBar, columns: int) -> str:
    from rich.console import Console

    console = Console(file=io.StringIO(), width=columns, force_terminal=True, color_system=None)
    with console.capture() as capture:
        console.print(bar)
    return capture.get().removesuffix("\n")


def bar_at(kind: type, total: int, step: int, seconds: float, val_loss: float | None):
    """Return a bar as it stands after `step` steps that took so many seconds."""
    bar = kind.__new__(kind)  # nothing is shown live
    progress.Bar.__init__(bar, total, 0)
    bar.take(0, 3.3, 3.3, None)
    bar.began = (0, bar.began[1] - seconds)
    bar.take(step, 2.2927, 2.2859, val_loss)
    return bar


SHAPES = {
    40: "step 6528 loss 2.2927 val 2.3416 0:02",
    50: "step  6528/20000 loss 2.2927 val 2.3416 0:02",
    60: "step  6528/20000 loss 2.2927 ema 2.2859 val 2.3416 0:02",
    80: "step  6528/20000 ═ loss 2.2927 ema 2.2859 val 2.3416 6528 steps/s 0:02",
    120: "step  6528/20000 ═ loss 2.2927 ema 2.2859 val 2.3416 6528 steps/s 0:02",
}


@pytest.mark.parametrize("columns", SHAPES)
def test_bar_leaves_out_what_matters_least(columns):
    line = drawn(bar_at(progress.RichBar, 20000, 6528, 1.0, 2.3416), columns)
    assert re.sub("[━╸╺ ]{5,}", " ═ ", line) == SHAPES[columns]
    assert len(line) <= columns - 2  # a ^C that is echoed must not make it two lines
    narrow = bar_at(progress.PlainBar, 20000, 6528, 1.0, 2.3416).line(columns - 2)
    assert len(narrow) <= columns - 2
    assert all(
        words in narrow for words in ("6528", "loss 2.2927", "val 2.3416", "2 s left" if columns > 80 else "0:02")
    )


@pytest.mark.parametrize("columns", SHAPES)
def test_what_matters_most_fits_in_every_width(columns):
    for total, step, seconds, left in (
        (500, 3, 1.0, "2:46"),
        (2_000_000, 1_000_000, 4000, "1:06:40"),
        (7, 7, 9, "0:00"),
    ):
        for val_loss in (None, 2.3416):
            line = drawn(bar_at(progress.RichBar, total, step, seconds, val_loss), columns)
            validation = [f"val {val_loss}"] if val_loss else []
            assert all(words in line for words in (str(step), "loss 2.2927", *validation, left)), line
            assert len(line) <= columns - 2 and "\n" not in line


def test_bar_before_the_first_step():
    bar = progress.RichBar.__new__(progress.RichBar)
    progress.Bar.__init__(bar, 500, 100)
    assert re.fullmatch("step 100/500 [━╸╺ ]+", drawn(bar, 80)) and drawn(bar, 15).rstrip() == "step 100/500"


@pytest.mark.parametrize("term", ["dumb", "unknown"])
def test_lines_on_a_terminal_that_cannot_write_over(term, tmp_path):
    arguments = ("--out", tmp_path, "--steps", 20, "--n-samples", 1, "--no-plot")
    result = on_terminal(["env", f"TERM={term}", *command(NUMPY, *arguments)])
    steps = [line for line in result.stdout.splitlines() if line.startswith("step ")]
    assert [line[5:9] for line in steps] == [f"{step:4d}" for step in range(2, 21, 2)]
    assert result.code == 0 and "\x1b[" not in result.stdout


def test_lines_show_the_validation_since_the_last_one(tmp_path):
    arguments = ("--out", tmp_path, "--steps", 60, "--val-every", 14, "--n-samples", 0, "--no-plot")
    steps = [line for line in run(NUMPY, *arguments).stdout.splitlines() if line.startswith("step ")]
    shown = {int(line[5:9]): line.partition(" | val ")[2] for line in steps}
    computed = {r["step"]: f"{r['val_loss']:.4f}" for r in metrics.read(folder_of(tmp_path)) if "val_loss" in r}
    assert list(computed) == [14, 28, 42, 56, 60]
    expected = {18: computed[14], 30: computed[28], 42: computed[42], 60: computed[60]}  # of two the later one
    assert shown == {step: expected.get(step, "") for step in range(6, 61, 6)}


def test_lines_on_a_terminal_when_asked_for(tmp_path):
    result = on_terminal(command(NUMPY, "--out", tmp_path, "--steps", 5, "--log-every", 1, *QUICK))
    assert "step    5 /    5 | loss" in result.stdout and "\x1b[" not in result.stdout


# ---- datasets ----


@pytest.fixture(scope="module")
def all_datasets(tmp_path_factory) -> tuple[Path, str]:
    """Return the --out folder and the output of three steps on every dataset, each with its own model."""
    out = tmp_path_factory.mktemp("all")
    arguments = ("--dataset", "all", "--out", out, "--steps", 3, "--n-samples", 2, "--val-docs", 2)
    # --max-tokens is cut down: a stream's default is 500
    return out, run(NUMPY, *arguments, "--max-tokens", 30, env={"MICROGPT_MIRROR": MIRROR}).stdout


@needs_mirror
@pytest.mark.parametrize("name", registry.names())
def test_every_dataset_trains_and_samples(name, all_datasets):
    out, stdout = all_datasets
    entry = registry.entries()[name]
    config, records = config_of(out, dataset=name), metrics.read(folder_of(out, dataset=name))
    assert config["documents"] == entry.documents and config["mode"] == entry.mode
    for group in ("model", "training"):
        for key, value in entry.defaults[group].items():
            assert key == "num_steps" or config["config"][key] == value
    assert [record["step"] for record in records] == [1, 2, 3] and "val_loss" in records[-1]
    assert f"=== {name} ===" in stdout
    arguments = ("sample", "--dataset", name.replace("_", "-"), "--out", out, "--n-samples", 2, "--max-tokens", 30)
    sampled = run(NUMPY, *arguments).stdout
    kept = (folder_of(out, dataset=name) / "samples.txt").read_text(encoding="utf-8")
    assert sampled in stdout and all(part in sampled for part in kept.split("\n"))
    if entry.mode == "stream":
        assert sampled.count("--- sample ") == 2


@needs_mirror
def test_all_datasets_are_drawn_together(all_datasets):
    out, stdout = all_datasets
    assert (out / "all_losses.png").read_bytes().startswith(b"\x89PNG")
    assert stdout.splitlines()[-1].startswith("all losses: ")
    assert [path.name for path in sorted(out.iterdir())] == sorted([*registry.names(), "all_losses.png"])


# ---- sampling ----


def sample(out: Path, *arguments: object) -> list[str]:
    return run(NUMPY, "sample", "--out", out, *arguments).samples


def test_sample_repeats_what_the_run_printed(trained):
    kept = (folder_of(trained) / "samples.txt").read_text(encoding="utf-8").splitlines()
    assert sample(trained) == kept
    assert sample(trained, "--n-samples", 5) == kept[:5]
    assert sample(trained, "--checkpoint", folder_of(trained) / "checkpoint.safetensors") == kept


def test_sample_prints_the_samples_only(trained):
    """With --quiet or without: there is nothing else to leave out."""
    for flags in ([], ["--quiet"]):
        result = run(NUMPY, "sample", "--out", trained, "--n-samples", 2, *flags)
        assert re.fullmatch(r"sample  1: .*\nsample  2: .*\n", result.stdout)


def test_seed_of_samples(trained):
    kept, seven = sample(trained), sample(trained, "--seed", 7)
    assert seven == sample(trained, "--seed", 7) and seven != kept


def test_prompt(trained):
    prompted = sample(trained, "--prompt", "mar")
    assert len(prompted) == 20 and all(name.startswith("mar") and len(name) <= 8 for name in prompted)
    assert prompted == sample(trained, "-i", "mar")


def test_greedy(trained):
    coldest = sample(trained, "--temperature", 0, "--n-samples", 5)
    assert len(coldest) == 5 and len(set(coldest)) == 1
    for flags in ([], ["--temperature", 5]):
        assert sample(trained, "--top-k", 1, "--n-samples", 5, *flags) == coldest


def test_temperature_and_top_k_change_the_draw(trained):
    assert len({tuple(sample(trained, "--temperature", t)) for t in (0.1, 0.5, 2)}) == 3
    assert sample(trained, "--top-k", 27) == sample(trained) != sample(trained, "--top-k", 3)


def test_max_tokens(trained, stream):
    assert all(len(name) <= 2 for name in sample(trained, "--max-tokens", 2))
    assert all(len(name) <= 5 for name in sample(trained, "--max-tokens", 2, "--prompt", "mar"))
    assert max(len(name) for name in sample(trained, "--max-tokens", 500, "--temperature", 3)) == 8


def test_repetition_penalty(trained):
    def repeats(names: list[str]) -> int:
        return sum(len(name) - len(set(name)) for name in names)

    assert repeats(sample(trained, "--repetition-penalty", 50)) < repeats(sample(trained)) / 2


def test_streams_run_past_the_block(stream):
    result = run(NUMPY, "sample", "--checkpoint", stream, "--n-samples", 1, "--max-tokens", 300, "-i", "ab")
    head, text = result.stdout.split("\n", 1)
    assert head == "--- sample 1 ---" and text.startswith("ab")
    assert len(text.replace("\n\n", "|").rstrip("\n")) in (301, 302)  # a paragraph's break is one token
    assert "\n\n" in text and "abcd" in text


@pytest.mark.parametrize("mode", ["discrete", "stream"])
def test_streaming_changes_no_text(mode, trained, stream):
    where = ("--out", trained) if mode == "discrete" else ("--checkpoint", stream, "--max-tokens", 60)
    streamed = run(NUMPY, "sample", *where, "--n-samples", 3, "--stream").stdout
    assert streamed == run(NUMPY, "sample", *where, "--n-samples", 3, "--no-stream").stdout
    on_screen = on_terminal(command(NUMPY, "sample", *where, "--n-samples", 3)).stdout
    waited_for, text = on_screen.replace("\r\n", "\n").rsplit("\r", 1)  # said and taken away before the first sample
    assert text == streamed and "preparing" in waited_for


def test_streaming_shows_what_is_drawn_at_once(stream):
    """Its lines can be read while the sample, which is endless for a test, is still being drawn."""
    with started(NUMPY, "sample", "--checkpoint", stream, "--stream", "--max-tokens", 10**9) as process:
        wait_for(process, "--- sample 1 ---")
        assert len(process.stdout.read(200)) == 200
        assert process.poll() is None
