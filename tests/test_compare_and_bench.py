"""`microgpt compare`, `main.py bench` and `microgpt bench`: what they say, never how fast anything was."""

import json
import os
import shlex
import shutil
import subprocess
import sys
import tracemalloc
from pathlib import Path
from unittest import mock

import pytest
from microgpt_harness.program import outcome
from microgpt_harness.run import agreement, plots
from microgpt_harness.system.errors import RunError, UserError
from microgpt_harness.tools import bench, command_line, compare, suite
from microgpt_harness.tools.bench import Calls
from records import falling, write_run

ROOT = Path(__file__).resolve().parents[1]
PYTHON, REFERENCE, BATCHED = "01_pure_python", "02_numpy_manual_backprop", "04_pytorch_batched"
JAX, MLX = "05_jax", "06_mlx"
PNG = b"\x89PNG\r\n\x1a\n"
STEPS = 30


def program(folder: str, *flags: object) -> subprocess.CompletedProcess:
    return run_python(ROOT / folder / "main.py", *flags)


def microgpt(*flags: object) -> subprocess.CompletedProcess:
    return run_python("-m", "microgpt_harness", *flags)


def run_python(*argv: object) -> subprocess.CompletedProcess:
    command = [sys.executable, *map(str, argv)]
    environment = os.environ | {"PYTHONUTF8": "1"}
    return subprocess.run(command, capture_output=True, text=True, encoding="utf-8", env=environment, timeout=300)


def one_line(text: str) -> str:
    assert text.count("\n") == 1 and "Traceback" not in text, text
    return text.strip()


# ---- compare, on metrics made by hand ----


def moved(losses: list[float], step: int, by: float) -> list[float]:
    """Return the losses with those from `step` on (counted from 1) moved."""
    return [loss + (by if number >= step else 0.0) for number, loss in enumerate(losses, start=1)]


def compared(capsys, out: Path, *flags: str, draws: bool = False) -> tuple[int, list[str]]:
    """Return the exit code and the lines of `compare`. A picture takes longer than all the rest."""
    with mock.patch.object(plots, "available", return_value=draws):
        code = compare.command(command_line.parser().parse_args(["compare", "--out", str(out), *flags]))
    return code, capsys.readouterr().out.splitlines()


def line_with(lines: list[str], *parts: str) -> str:
    found = [line for line in lines if all(part in line for part in parts)]
    assert len(found) == 1, (parts, lines)
    return found[0]


def test_runs_that_agree(tmp_path, capsys):
    write_run(tmp_path / "names", REFERENCE, falling(40))
    write_run(tmp_path / "names", PYTHON, moved(falling(40), 7, 4e-10))
    write_run(tmp_path / "names", JAX, moved(falling(40), 9, 4e-5), "float32")
    code, lines = compared(capsys, tmp_path, draws=True)
    assert code == 0
    assert lines[0] == f"names: 3 runs, held against {REFERENCE}"
    assert line_with(lines, f"{PYTHON} ").split()[1:] == ["float64", "40", "2.910000", "4.0e-10", "never", "2.00"]
    assert line_with(lines, f"{JAX} ").split()[1:] == ["float32", "40", "2.910040", "4.0e-05", "never", "2.00"]
    assert line_with(lines, f"{REFERENCE} ", "float64").split()[-2:] == ["reference", "2.00"]
    assert lines[-2] == "they agree: over 40 common steps no loss differs by more than 1e-09 or 1e-04"
    assert (tmp_path / "names" / "losses.png").read_bytes().startswith(PNG)


@pytest.mark.parametrize(("dtype", "by"), [("float64", 1e-8), ("float32", 2e-4), ("float64", 1e300)])
def test_a_run_that_diverges_at_a_known_step(tmp_path, capsys, dtype, by):
    write_run(tmp_path / "names", REFERENCE, falling(60))
    write_run(tmp_path / "names", JAX, moved(falling(60), 23, by), dtype)
    write_run(tmp_path / "names", MLX, moved(falling(60), 11, 0.5), "float32")
    code, lines = compared(capsys, tmp_path)
    assert code == 1
    verdict = line_with(lines, "they do not agree")
    assert f"{JAX} diverges from {REFERENCE} at step 23 " in verdict
    assert f"{MLX} diverges from {REFERENCE} at step 11 " in verdict
    assert verdict.index(MLX) < verdict.index(JAX)  # the first to diverge comes first
    assert " 23 " in line_with(lines, f"{JAX} ", dtype)
    assert "rounding" not in " ".join(lines)  # which would excuse them


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(("step", "code"), [(50, 1), (51, 0)])
def test_only_the_first_50_steps_are_judged(tmp_path, capsys, dtype, step, code):
    """Not even 500 in float64: the runs may be of any size."""
    write_run(tmp_path / "names", REFERENCE, falling(80))
    write_run(tmp_path / "names", JAX, [*falling(80)[: step - 1], *moved(falling(80), 1, 2e-3)[step - 1 :]], dtype)
    assert compared(capsys, tmp_path)[0] == code


def test_what_comes_later_is_told_and_explained(tmp_path, capsys):
    losses = falling(600)
    losses[349] += 1.1e-3
    losses[599] += 1.0e-3
    write_run(tmp_path / "names", REFERENCE, falling(600))
    write_run(tmp_path / "names", JAX, losses)
    code, lines = compared(capsys, tmp_path)
    assert code == 0
    line_with(lines, "they agree: over the first 50 steps no loss differs by more than 1e-09")
    line_with(lines, "after that rounding grows in any run: 1.1e-03 at step 350")
    line_with(lines, "Late differences are not judged: each step goes on from weights that the one before has rounded")
    assert line_with(lines, f"{JAX} ", "600").split()[4:] == [
        "0.0e+00",
        "never",
        "1.1e-03",
        "at",
        "step",
        "350",
        "2.00",
    ]


def test_later_steps_that_are_the_same_are_not_called_rounding(tmp_path, capsys):
    write_run(tmp_path / "names", REFERENCE, falling(60))
    write_run(tmp_path / "names", JAX, falling(60))
    _, lines = compared(capsys, tmp_path)
    assert line_with(lines, "later losses have the same digits") and "rounding" not in " ".join(lines)


def test_records_that_begin_late_are_not_judged(tmp_path, capsys):
    """As after --resume from a checkpoint alone: by then rounding has grown, however few steps there are."""
    write_run(tmp_path / "names", REFERENCE, falling(200))
    write_run(tmp_path / "names", PYTHON, falling(200))
    write_run(tmp_path / "names", JAX, moved(falling(50), 1, 0.5), first=151, num_steps=200)
    code, lines = compared(capsys, tmp_path)
    assert code == 0 and "not judged" in line_with(lines, f"{JAX} ", "none in common")
    line_with(lines, f"not judged: the first step that {JAX} and {REFERENCE} have in common is 151; only the first 50")
    line_with(lines, f"{PYTHON} and {REFERENCE} agree: over the first 50 steps")


def test_records_that_begin_among_the_judged_steps(tmp_path, capsys):
    write_run(tmp_path / "names", REFERENCE, falling(60))
    write_run(tmp_path / "names", JAX, moved(falling(60)[30:], 21, 1.0), first=31, num_steps=60)
    code, lines = compared(capsys, tmp_path)
    assert code == 0 and line_with(lines, "they agree: over 20 common steps")


def test_nothing_at_all_to_judge(tmp_path, capsys):
    write_run(tmp_path / "names", REFERENCE, falling(10))
    write_run(tmp_path / "names", JAX, falling(10), first=11)
    code, lines = compared(capsys, tmp_path)
    assert code == 0 and line_with(lines, f"{JAX} and {REFERENCE} have no step in common")
    line_with(lines, "no two runs can be judged")


def test_runs_whose_training_is_unstable_accuse_nobody(tmp_path, capsys):
    """As at --lr 0.1: rounding alone drives two right programs apart within 50 steps, in float64 too."""
    rising = [3.3 + step / 10 for step in range(60)]
    write_run(tmp_path / "names", REFERENCE, rising)
    write_run(tmp_path / "names", JAX, moved(rising, 8, 1e-3))
    code, lines = compared(capsys, tmp_path)
    assert code == 0 and line_with(lines, "this cannot be judged", f"{JAX} diverges from {REFERENCE} at step 8 ")
    line_with(lines, f"The loss of {REFERENCE} rises, from 3.300000 to 5.750000 on average")
    write_run(tmp_path / "names", MLX, [9.0] * 60)
    (tmp_path / "names" / REFERENCE / "metrics.jsonl").write_bytes(
        (write_run(tmp_path / "b" / "names", REFERENCE, falling(60)) / "metrics.jsonl").read_bytes()
    )
    assert compared(capsys, tmp_path)[0] == 1  # it is the reference whose losses tell, not the one that is held against


def test_float32_is_not_held_to_the_bound_of_float64(tmp_path, capsys):
    write_run(tmp_path / "names", REFERENCE, falling(40), "float32")
    write_run(tmp_path / "names", JAX, moved(falling(40), 2, 1e-6), "float64")
    assert compared(capsys, tmp_path)[0] == 0


def test_without_02_the_first_folder_takes_its_place(tmp_path, capsys):
    write_run(tmp_path / "names", JAX, falling(40))
    write_run(tmp_path / "names", MLX, falling(40))
    code, lines = compared(capsys, tmp_path)
    assert code == 0 and lines[0] == f"names: 2 runs, held against {JAX} (there is no run of {REFERENCE})"


def test_a_shorter_run_is_compared_over_the_common_steps(tmp_path, capsys):
    write_run(tmp_path / "names", REFERENCE, moved(falling(40), 31, 1.0), num_steps=40)
    write_run(tmp_path / "names", JAX, falling(30), num_steps=40)
    code, lines = compared(capsys, tmp_path)
    assert code == 0 and line_with(lines, "over 30 common steps")


# ---- compare, on runs whose products have few digits ----


@pytest.mark.parametrize("dtype", ["bfloat16", "tf32"])
def test_a_run_of_few_digits_is_not_judged(tmp_path, capsys, dtype):
    write_run(tmp_path / "names", REFERENCE, falling(60))
    write_run(tmp_path / "names", JAX, moved(falling(60), 5, 0.02), dtype)
    write_run(tmp_path / "names", MLX, falling(60), "float32")
    code, lines = compared(capsys, tmp_path)
    assert code == 0 and line_with(lines, f"{MLX} and {REFERENCE} agree: ")
    assert line_with(lines, f"{JAX} ", "2.730000").split()[1:] == [dtype, "60", "2.730000", "not", "comparable", "2.00"]
    said = f"not comparable: {JAX} has dtype {dtype} and {REFERENCE} float64; this makes it comparable:"
    assert not {"--dtype", dtype} & set(command_below(lines, said))


def test_nothing_is_held_against_a_run_of_few_digits(tmp_path, capsys):
    write_run(tmp_path / "names", "03_pytorch", falling(60), "tf32")
    write_run(tmp_path / "names", JAX, moved(falling(60), 5, 0.02), "bfloat16")
    code, lines = compared(capsys, tmp_path)
    assert code == 0 and line_with(lines, "so no two runs can be judged")
    line_with(lines, f"not comparable: {JAX} has dtype bfloat16 and 03_pytorch tf32; ", "--dtype float32")
    write_run(tmp_path / "names", MLX, falling(60), "float32")
    assert compared(capsys, tmp_path)[1][0].endswith(f"held against {MLX} (there is no run of {REFERENCE})")


# ---- compare, on runs of other settings ----


def command_below(lines: list[str], *parts: str) -> list[str]:
    """Return the words of the command that stands below the line with these parts."""
    words = shlex.split(lines[lines.index(line_with(lines, *parts)) + 1])
    assert words[:3] == ["uv", "run", "--directory"] and words[4:6] == ["python", "main.py"]
    assert words[-2] == "--out"
    return [words[3], *words[6:-2]]


def test_other_settings_are_named_and_left_out_of_the_verdict(tmp_path, capsys):
    write_run(tmp_path / "names", REFERENCE, falling(40))
    write_run(tmp_path / "names", JAX, moved(falling(40), 1, 0.5), "float32", n_embd=32, seed=1)
    write_run(tmp_path / "names", MLX, falling(40), temperature=0.9)
    code, lines = compared(capsys, tmp_path)
    assert code == 0
    line = line_with(lines, f"not comparable: {JAX}")
    assert f"{JAX} has n_embd 32 and {REFERENCE} 16; seed 1 and {REFERENCE} 42" in line
    assert "not comparable" in line_with(lines, f"{JAX} ", "float32")
    line_with(lines, f"{MLX} and {REFERENCE} agree")  # the temperature decides nothing while training


def test_the_command_has_only_the_flags_that_the_folder_needs(tmp_path, capsys):
    """04 takes 32 documents by itself, the others 1; what was asked of both runs has to be asked again."""
    write_run(tmp_path / "names", REFERENCE, falling(40), num_steps=500)
    write_run(tmp_path / "names", BATCHED, falling(40), "float32", num_steps=500, batch_size=32)
    write_run(tmp_path / "names", JAX, falling(40), num_steps=500, batch_size=8, learning_rate=0.5)
    write_run(tmp_path / "names", MLX, falling(40), num_steps=70)
    _, lines = compared(capsys, tmp_path)
    assert command_below(lines, f"not comparable: {BATCHED}") == [BATCHED, "--batch-size", "1"]
    assert command_below(lines, f"not comparable: {JAX}") == [JAX]
    assert command_below(lines, f"not comparable: {MLX}") == [MLX]


def test_the_command_repeats_what_both_runs_were_asked_for(tmp_path, capsys):
    settings = {"n_embd": 8, "learning_rate": 0.5, "num_steps": 40}
    write_run(tmp_path / "names", REFERENCE, falling(40), **settings, batch_size=2)
    write_run(tmp_path / "names", BATCHED, falling(40), **settings, batch_size=32)
    _, lines = compared(capsys, tmp_path)
    words = command_below(lines, f"not comparable: {BATCHED}")
    assert dict(zip(words[1::2], words[2::2])) == {
        "--n-embd": "8",
        "--lr": "0.5",
        "--steps": "40",
        "--batch-size": "2",
    }


def test_the_command_makes_runs_comparable(tmp_path):
    """End to end, with a folder whose own default differs from the reference's settings."""
    flags = ("--steps", 8, "--out", tmp_path, "--quiet", "--no-plot", "--n-samples", 0)
    assert program(REFERENCE, *flags, "--batch-size", 2).returncode == 0
    assert program(PYTHON, *flags, "--n-embd", 8).returncode == 0
    lines = microgpt("compare", "--out", tmp_path).stdout.splitlines()
    words = shlex.split(lines[lines.index(line_with(lines, "this makes it comparable")) + 1])
    assert program(words[3], *words[6:], "--quiet", "--no-plot", "--n-samples", 0).returncode == 0
    line_with(microgpt("compare", "--out", tmp_path).stdout.splitlines(), "they agree: over 8 common steps")


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"beta1": 0.5}, (f"beta1 0.9 and {REFERENCE} 0.5", "beta1 has no flag", "[training]", "--config")),
        ({"eps_adam": 1e-5, "n_embd": 8}, (f"eps_adam unset and {REFERENCE} 1e-05", "eps_adam has no flag")),
    ],
)
def test_settings_that_no_flag_can_set(tmp_path, capsys, change, says):
    write_run(tmp_path / "names", REFERENCE, falling(40), **change)
    write_run(tmp_path / "names", JAX, falling(40), **({"beta1": 0.9} if "beta1" in change else {}))
    code, lines = compared(capsys, tmp_path)
    line = line_with(lines, f"not comparable: {JAX}", *says)
    assert code == 0 and "main.py" not in line and not any(each.startswith("  uv run") for each in lines)


@pytest.mark.parametrize(("name", "value"), [("vocab_size", 28), ("documents", 7), ("mode", "stream")])
def test_other_data_can_be_changed_by_no_flag(tmp_path, capsys, name, value):
    write_run(tmp_path / "names", REFERENCE, falling(40))
    change_config(write_run(tmp_path / "names", JAX, falling(40)), **{name: value})
    code, lines = compared(capsys, tmp_path)
    assert code == 0 and line_with(lines, f"{name} {value}", "no flag changes that", "the same data")


def test_another_column_of_the_same_file(tmp_path, capsys):
    change_config(
        write_run(tmp_path / "names", REFERENCE, falling(40)), column="first name", documents=3, num_steps=500
    )
    change_config(write_run(tmp_path / "names", JAX, falling(40)), column="kind", documents=4)
    _, lines = compared(capsys, tmp_path)
    assert command_below(lines, f"not comparable: {JAX}", "column")[:3] == [JAX, "--column", "first name"]


def test_a_run_whose_folder_is_not_here(tmp_path, capsys):
    write_run(tmp_path / "names", REFERENCE, falling(40))
    write_run(tmp_path / "names", "09_elsewhere", falling(40), n_embd=32)
    code, lines = compared(capsys, tmp_path)
    assert code == 0 and line_with(lines, "09_elsewhere has n_embd 32", "no such folder here")


# ---- compare, on what is damaged or means harm ----


def change_config(folder: Path, **changes: object) -> None:
    path = folder / "config.json"
    content = json.loads(path.read_text(encoding="utf-8")) | changes
    path.write_text(json.dumps(content), encoding="utf-8")


def test_a_last_line_cut_off_and_a_config_that_cannot_be_read(tmp_path, capsys):
    write_run(tmp_path / "names", REFERENCE, falling(40))
    cut = write_run(tmp_path / "names", JAX, falling(40)) / "metrics.jsonl"
    cut.write_text(cut.read_text(encoding="utf-8")[:-20], encoding="utf-8")
    (write_run(tmp_path / "names", MLX, falling(40)) / "config.json").write_text("{", encoding="utf-8")
    code, lines = compared(capsys, tmp_path)
    assert code == 0
    line_with(lines, f"{JAX} and {REFERENCE} agree: over 39 common steps")
    line_with(lines, f"not comparable: {MLX}", "config.json is damaged")


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"config": {}, "dtype": []}', '{"config": {"n_embd": [1]}}'])
@pytest.mark.parametrize("folder", [REFERENCE, JAX])
def test_a_config_that_no_run_has_written(tmp_path, capsys, folder, content):
    for each in (REFERENCE, JAX):
        write_run(tmp_path / "names", each, falling(40))
    (tmp_path / "names" / folder / "config.json").write_text(content, encoding="utf-8")
    code, lines = compared(capsys, tmp_path)
    assert code == 0 and line_with(lines, f"not comparable: {JAX}", f"{Path(folder, 'config.json')} ")
    line_with(lines, "no two runs can be judged")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no FIFOs")
@pytest.mark.parametrize("name", ["config.json", "metrics.jsonl"])
def test_a_pipe_in_a_files_place_keeps_nobody_waiting(tmp_path, name):
    write_run(tmp_path / "names", REFERENCE, falling(40))
    folder = write_run(tmp_path / "names", JAX, falling(40))
    (folder / name).unlink()
    os.mkfifo(folder / name)
    result = microgpt("compare", "--out", tmp_path)
    assert (result.returncode, result.stderr) == (0, "")


@pytest.mark.skipif(os.name != "posix", reason="Windows has no such file names")
def test_control_characters_do_not_reach_the_terminal(tmp_path, capsys):
    write_run(tmp_path / "names", REFERENCE, falling(40))
    evil = "\x1b[2J\x1b]0;mine\x07\x9b"
    for name in ("05" + evil, "06" + evil):
        change_config(write_run(tmp_path / "names", name, falling(40)), dataset=evil)
    change_config(write_run(tmp_path / "names", JAX, falling(40)), mode=evil)
    code, lines = compared(capsys, tmp_path, draws=True)
    text = "".join(lines)
    assert code == 0 and text.isprintable() and text.count("\\x1b[2J") == 6
    assert (tmp_path / "names" / "losses.png").read_bytes().startswith(PNG)


@pytest.mark.parametrize("named", ["..", ".", "", "../w", "{}", "{}/out", "{}/out/names", "names/", "a" * 300, "~"])
def test_a_dataset_that_leads_elsewhere_writes_nothing(tmp_path, capsys, monkeypatch, named):
    """`--dataset ..` once drew its picture beside the folder of --out."""
    out = tmp_path / "out"
    (tmp_path / "w").mkdir()
    for folder in (REFERENCE, JAX):
        write_run(out / "names", folder, falling(40))
        shutil.copytree(out / "names" / folder, out / folder)
        shutil.copytree(out / "names" / folder, tmp_path / folder)
        shutil.copytree(out / "names" / folder, tmp_path / "w" / folder)
    monkeypatch.chdir(tmp_path / "w")
    args = command_line.parser().parse_args(["compare", "--out", str(out), "--dataset", named.format(tmp_path)])
    assert outcome.attempt(lambda: compare.command(args)) == 2
    said = capsys.readouterr()
    assert said.out == "" and one_line(said.err)
    assert ": a folder; name the dataset" in said.err or not os.path.isdir(args.dataset)  # noqa: PTH112
    assert not list(tmp_path.rglob("*.png"))


# ---- compare, where something is missing ----


def test_one_run_has_nothing_to_be_compared_with(tmp_path, capsys):
    write_run(tmp_path / "names", REFERENCE, falling(40))
    code, lines = compared(capsys, tmp_path)
    assert code == 0 and f"uv run --directory 01_pure_python python main.py --steps 40 --out {tmp_path}" in lines[-1]


def test_no_runs(tmp_path):
    result = microgpt("compare", "--out", tmp_path)
    assert result.returncode == 2 and result.stdout == ""
    line = one_line(result.stderr)
    assert line.startswith("microgpt: no runs of names in ")
    assert f"uv run --directory {REFERENCE} python main.py --out {tmp_path}" in line


@pytest.mark.parametrize("named", ["{}/uni corn.txt", "uni corn.txt", "uni corn", "uni_corn"])
def test_the_command_for_an_own_file_works_from_another_folder(tmp_path, capsys, monkeypatch, named):
    """uv runs it in the folder's own: a relative path means another file there, a run's name none at all."""
    write_run(tmp_path / "names", REFERENCE, falling(40))
    (tmp_path / "names").rename(tmp_path / "uni_corn")
    file = tmp_path / "uni corn.txt"
    file.write_text("anna\nbob\n", encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    if named == "uni corn":
        file = file.rename(tmp_path / named)
    _, lines = compared(capsys, tmp_path, "--dataset", named.format(tmp_path))
    words = shlex.split(lines[-1].partition("; train another folder too: ")[2])
    expected = "PATH/TO/uni_corn.txt" if named == "uni_corn" else str(file)
    assert words[words.index("--dataset") + 1] == expected and words[:4] == ["uv", "run", "--directory", PYTHON]


def test_the_command_for_a_runs_name_finds_the_file_beside_it(tmp_path, capsys, monkeypatch):
    write_run(tmp_path / "out" / "names", REFERENCE, falling(40))
    (tmp_path / "out" / "names").rename(tmp_path / "out" / "uni")
    (tmp_path / "uni.txt").write_text("anna\nbob\n", encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    _, lines = compared(capsys, Path("out"), "--dataset", "uni")
    assert f"--dataset {tmp_path / 'uni.txt'} --out {tmp_path / 'out'}" in lines[-1]


def test_runs_are_held_in_columns(tmp_path):
    folder = write_run(tmp_path / "names", REFERENCE, falling(10_000))
    tracemalloc.start()
    try:
        run = agreement.read_run(folder)
        held, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert len(run.curve) == len(run.seconds) == 10_000 and held < 60 * 10_000


@pytest.mark.parametrize(
    "flags", [("compare", "--dataset", "nmes"), ("compare", "--wrong"), (), ("bench", "--steps", "0")]
)
def test_wrong_flags(flags):
    result = microgpt(*flags)
    assert result.returncode == 2 and result.stdout == ""
    assert one_line(result.stderr).startswith("microgpt: ")


# ---- compare, on real runs ----


def test_real_runs_agree(tmp_path):
    for folder in (REFERENCE, JAX):
        flags = ("--steps", STEPS, "--out", tmp_path, "--quiet", "--no-plot", "--n-samples", 0)
        assert program(folder, *flags).returncode == 0
    result = microgpt("compare", "--out", tmp_path)
    assert (result.returncode, result.stderr) == (0, "")
    lines = result.stdout.splitlines()
    line_with(lines, f"they agree: over {STEPS} common steps")
    assert line_with(lines, "05_jax ").split()[1:3] == ["float32", str(STEPS)]
    assert (tmp_path / "names" / "losses.png").read_bytes().startswith(PNG)


# ---- main.py bench ----


def test_quantiles_weigh_a_call_by_its_steps():
    calls = Calls()
    calls.add(steps=1, seconds=10.0)
    calls.add(steps=98, seconds=98.0)
    calls.add(steps=1, seconds=5.0)
    assert [calls.quantile(part) for part in (0.5, 0.95, 0.98, 0.99, 1.0)] == [1.0, 1.0, 1.0, 5.0, 10.0]


def test_quantiles_of_single_steps_are_the_usual_ones():
    calls = Calls()
    for seconds in (4.0, 1.0, 3.0, 2.0, 5.0):
        calls.add(1, seconds)
    assert calls.quantile(0.5) == 3.0 and calls.quantile(0.95) == 5.0


@pytest.mark.parametrize(("folder", "dtype"), [(REFERENCE, "float64"), (JAX, "float32")])
def test_bench_json(folder, dtype):
    result = program(folder, "bench", "--json", "--steps", STEPS, "--batch-size", 2, "--n-embd", 8)
    assert (result.returncode, result.stderr) == (0, "")
    figures = json.loads(result.stdout)
    assert result.stdout.count("\n") == 1
    assert (figures["folder"], figures["dataset"], figures["dtype"]) == (folder, "names", dtype)
    assert figures["config"]["n_embd"] == 8 and figures["config"]["batch_size"] == 2
    assert figures["num_params"] == 2 * 27 * 8 + 8 * 8 + 12 * 8 * 8
    assert figures["full_run_steps"] == figures["config"]["num_steps"] == 500  # --steps is what is measured
    check_consistency(figures)


def check_consistency(figures: dict) -> None:
    for name in ("steps", "calls", "tokens", "warmup_steps", "max_steps_per_call", "num_params"):
        assert isinstance(figures[name], int) and figures[name] > 0, name
    for name in (name for name in figures if "second" in name or name.startswith("ms_")):
        assert isinstance(figures[name], float) and figures[name] >= 0, name
    assert figures["steps"] == STEPS <= figures["calls"] * figures["max_steps_per_call"]
    assert 2 * STEPS * 2 <= figures["tokens"] <= 2 * STEPS * 8  # a name has 1 letter at least, block_size is 8
    assert figures["ms_per_step_median"] <= figures["ms_per_step_p95"]
    assert figures["steps_per_second"] == pytest.approx(figures["steps"] / figures["seconds"])
    assert figures["tokens_per_second"] == pytest.approx(figures["tokens"] / figures["seconds"])
    assert figures["ms_per_step_mean"] == pytest.approx(1000 / figures["steps_per_second"])
    assert figures["full_run_seconds"] > 499 * figures["ms_per_step_mean"] / 1000
    memory = figures["peak_memory_bytes"]
    assert memory is None if sys.platform == "win32" else 2**20 < memory < 2**36  # bytes, not KiB


def test_bench_for_people_and_the_settings_of_the_dataset(tmp_path):
    text = tmp_path / "words.txt"
    text.write_text("anna\nbob\ncarla\n", encoding="utf-8")
    result = program("01_pure_python", "bench", "--dataset", text, "--steps", 2, "--n-embd", 4)
    assert (result.returncode, result.stderr) == (0, "")
    lines = result.stdout.splitlines()
    assert lines[0].startswith("01_pure_python on words: n_embd 4, n_layer 1") and lines[0].endswith("float64")
    assert [line.split("  ")[1] for line in lines[1:]] == [
        *("weights", "warm-up", "measured", "ms/step", "steps/s", "tokens/s", "peak memory", "full run")
    ]
    line_with(lines, "measured", " 2 steps in ")
    line_with(lines, "full run", "500 steps")


def test_bench_for_people_says_what_was_compiled():
    figures = json.loads(program(REFERENCE, "bench", "--json", "--steps", 2).stdout)
    assert bench.table(figures).startswith(f"{REFERENCE}, numpy on names: ")
    assert bench.table(figures | {"compile": True}).startswith(f"{REFERENCE}, numpy, compiled on names: ")


def test_bench_lists_backends_without_importing_them():
    result = program(JAX, "bench", "--list-backends", "--json")
    assert json.loads(result.stdout) == {
        "folder": JAX,
        "backends": ["default"],
        "dtypes": ["float32", "float64", "bfloat16"],
    }


@pytest.mark.parametrize("flags", [("--n-embd", "30"), ("--steps", "0"), ("--seconds", "0"), ("--dataset", "nmes")])
def test_bench_with_wrong_input(flags):
    result = program(REFERENCE, "bench", "--json", *flags)
    assert (result.returncode, result.stdout) == (2, "")
    assert one_line(result.stderr).startswith("main.py: ")


def test_bench_does_not_time_a_run_that_diverged():
    result = program(REFERENCE, "bench", "--lr", "1e300")
    assert (result.returncode, result.stdout) == (1, "")
    assert "--lr" in one_line(result.stderr)


@pytest.mark.parametrize(
    ("number", "text"), [(12345.6, "12,346"), (99.94, "99.9"), (1.234, "1.23"), (0.0371, "0.0371")]
)
def test_numbers_have_three_digits(number, text):
    assert bench.significant(number) == text


# ---- microgpt bench, with a runner that only pretends ----


class FakeRunner:
    """Answers at once: a step takes as many milliseconds as the folder's number, times the arithmetic."""

    def __init__(self, interrupt_after: int | None = None, fails: str = "", hangs: str = "") -> None:
        self.asked: list[suite.Case] = []
        self.interrupt_after, self.fails, self.hangs = interrupt_after, fails, hangs

    def backends(self, folder: str) -> list[str]:
        return ["numpy", "numba"] if folder == REFERENCE else ["default"]

    def measure(self, case: suite.Case, is_default_backend: bool, timeout: float) -> dict:
        if len(self.asked) == self.interrupt_after:
            raise KeyboardInterrupt
        self.asked.append(case)
        assert is_default_backend == (case.backend != "numba")
        if self.fails and case.backend == self.fails:
            raise RunError("the package numba is not installed")
        if self.hangs and case.folder == self.hangs:
            raise suite.TooLong
        ms = int(case.folder[:2]) * case.arithmetic / 256
        return {"ms_per_step_median": ms, "num_params": 62 * case.n_embd + 12 * case.n_embd**2}


def suite_run(capsys, out: Path, runner: suite.Runner, *flags: object) -> tuple[int, str, str]:
    args = command_line.parser().parse_args(["bench", "--out", str(out), *map(str, flags)])
    code = outcome.attempt(lambda: suite.command(args, runner))
    captured = capsys.readouterr()
    return code, captured.out, captured.err


SMALL = ("--folders", "01", "02", "--sizes", 32, 16, "--batch-sizes", 1, 4)


def test_suite_measures_each_case_once_and_draws(tmp_path, capsys):
    runner = FakeRunner()
    code, output, progress = suite_run(capsys, tmp_path, runner, *SMALL)
    assert code == 0 and len(set(runner.asked)) == len(runner.asked) == 12
    assert [(c.batch_size, c.n_embd) for c in runner.asked[:4]] == [(1, 16), (1, 32), (4, 16), (4, 32)]
    assert {case.backend for case in runner.asked if case.folder == REFERENCE} == {"numpy", "numba"}
    lines = output.splitlines()
    assert lines[1].split() == ["n_embd", "16", "32"]
    assert lines[2].split() == ["01_pure_python", "1.00", "4.00"]
    assert lines[4].split() == [REFERENCE, "(numba)", "2.00", "8.00"]
    assert progress.count("ms/step") == 12
    for name in ("step_by_model_size.png", "step_by_batch_size.png"):
        assert (tmp_path / "bench" / name).read_bytes().startswith(PNG)


def test_suite_goes_on_where_it_was_interrupted(tmp_path, capsys):
    first, second, third = FakeRunner(interrupt_after=5), FakeRunner(), FakeRunner()
    with pytest.raises(KeyboardInterrupt):
        suite_run(capsys, tmp_path, first, *SMALL)
    code, output, progress = suite_run(capsys, tmp_path, second, *SMALL)
    assert code == 0 and "12 measurements, 5 of them made before" in progress
    assert len(first.asked) == 5 and not set(first.asked) & set(second.asked)
    assert len(second.asked) == 7 and "4.00" in output
    suite_run(capsys, tmp_path, third, *SMALL)
    assert third.asked == []


@pytest.mark.parametrize("change", [("--seconds", 1), ("--steps", 7), ("--fresh",)])
def test_suite_measures_anew_what_was_asked_for_differently(tmp_path, capsys, change):
    suite_run(capsys, tmp_path, FakeRunner(), *SMALL)
    runner = FakeRunner()
    suite_run(capsys, tmp_path, runner, *SMALL, *change)
    assert len(runner.asked) == 12
    assert (tmp_path / "bench" / "previous.json").exists() == (change == ("--fresh",))


def test_suite_does_not_take_another_machines_results_for_its_own(tmp_path, capsys, monkeypatch):
    suite_run(capsys, tmp_path, FakeRunner(), *SMALL)
    monkeypatch.setattr(bench, "machine", lambda: "another")
    runner = FakeRunner()
    suite_run(capsys, tmp_path, runner, *SMALL)
    assert len(runner.asked) == 12
    assert len(suite.read_records(tmp_path / "bench" / "results.json")) == 24


def test_suite_leaves_out_what_would_take_too_long(tmp_path, capsys):
    flags = ("--folders", "01", "--sizes", 16, 64, 256, "--batch-sizes", 1, 32, "--steps", 98)
    runner = FakeRunner()  # with its 2 steps of warm-up a measurement takes 0.1 s at n_embd 16, 1.6 s, 25.6 s; · 32
    code, output, _ = suite_run(capsys, tmp_path, runner, *flags, "--limit", 30)
    assert code == 0 and [(c.n_embd, c.batch_size) for c in runner.asked] == [(16, 1), (64, 1), (256, 1), (16, 32)]
    lines = output.splitlines()
    line_with(lines, "n_embd 64, batch size 32: skipped, would take about 51.2 s, judging by n_embd 16, batch size 32")
    line_with(lines, "n_embd 256, batch size 32: skipped, n_embd 64, batch size 32 took too long already")
    patient = FakeRunner()
    suite_run(capsys, tmp_path, patient, *flags, "--limit", 60)
    assert [(c.n_embd, c.batch_size) for c in patient.asked] == [(64, 32)]  # the limit that was raised lets it pass


def test_suite_stops_what_takes_too_long_and_reports_what_fails(tmp_path, capsys):
    runner = FakeRunner(fails="numba", hangs="01_pure_python")
    code, output, _ = suite_run(capsys, tmp_path, runner, *SMALL)
    assert code == 1  # a failure; what is skipped is none
    assert len([case for case in runner.asked if case.folder == "01_pure_python"]) == 1
    lines = output.splitlines()
    line_with(lines, "01_pure_python, n_embd 16, batch size 1: skipped, stopped after")
    line_with(lines, "(numba), n_embd 16, batch size 1: failed, the package numba is not installed")
    again = FakeRunner()
    suite_run(capsys, tmp_path, again, *SMALL)
    assert {case.backend for case in again.asked} == {"numba"}  # what failed is tried again, what is skipped is not


def test_suite_leaves_out_a_folder_that_cannot_be_prepared(tmp_path, capsys):
    class Lame(FakeRunner):
        def backends(self, folder):
            if folder == MLX:
                raise RunError("no wheel for this platform")
            return super().backends(folder)

    code, output, progress = suite_run(capsys, tmp_path, Lame(), "--folders", "05", "06", "--sizes", 16)
    assert code == 1 and JAX in output and MLX not in output
    assert "06_mlx is left out: no wheel for this platform" in progress


@pytest.mark.parametrize("content", ["", "[1]", '[{"case": {}}]', "{", "[" * 5000])
def test_suite_with_damaged_results(tmp_path, capsys, content):
    (tmp_path / "bench").mkdir()
    (tmp_path / "bench" / "results.json").write_text(content, encoding="utf-8")
    code, output, progress = suite_run(capsys, tmp_path, FakeRunner(), *SMALL)
    assert (code, output) == (2, "") and "--fresh" in one_line(progress)
    assert suite_run(capsys, tmp_path, FakeRunner(), *SMALL, "--fresh")[0] == 0


def test_suite_with_an_unknown_folder(tmp_path, capsys):
    code, _, progress = suite_run(capsys, tmp_path, FakeRunner(), "--folders", "99")
    assert code == 2 and "01_pure_python" in one_line(progress)


# ---- microgpt bench, with real processes in place of uv's ----


class ThisPython(suite.UvRunner):
    """Asks main.py with the Python of the tests. Only the default backend: the others are extras."""

    def backends(self, folder):
        return super().backends(folder)[:1]

    def python(self, folder, extra):
        return [sys.executable]


def test_suite_runs_main_py(tmp_path, capsys):
    flags = ("--folders", "02", "--sizes", 8, 6, "--batch-sizes", 1, "--steps", 3)
    code, output, _ = suite_run(capsys, tmp_path, ThisPython(), *flags)
    assert code == 1  # of n_embd 6
    line_with(output.splitlines(), "n_embd 6, batch size 1: failed, n_embd 6 is not divisible by n_head 4")
    measured = [r for r in suite.read_records(tmp_path / "bench" / "results.json") if r.status == "measured"]
    assert [(r.case.n_embd, r.result["steps"], r.result["config"]["n_embd"]) for r in measured] == [(8, 3, 8)]


def test_a_process_that_takes_too_long_is_stopped(tmp_path):
    with pytest.raises(suite.TooLong):
        suite.run_process([sys.executable, "-c", "while True: pass"], tmp_path, timeout=0.2)


def test_without_uv_there_is_one_line(monkeypatch):
    monkeypatch.delenv("UV", raising=False)
    monkeypatch.setattr(suite.shutil, "which", lambda name: None)
    with pytest.raises(UserError, match="uv is not installed"):
        suite.UvRunner().backends(JAX)
