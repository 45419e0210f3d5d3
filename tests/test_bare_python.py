"""01 on a bare Python: an empty virtual environment without pip, nothing installed, nothing found but the checkout."""

import os
import re
import shutil
import subprocess
import sys
import venv
from pathlib import Path

import pytest
from lessons import FOLDERS, required
from microgpt_harness import start
from microgpt_harness.run import metrics
from program import NUMPY, PYTHON, ROOT, Result, check, command, environment, on_terminal, one_line, run, shown_lines

QUICK = ("--steps", 30, "--n-samples", 3)


@pytest.fixture(scope="module")
def bare(tmp_path_factory) -> str:
    """Return the interpreter of an empty environment."""
    folder = tmp_path_factory.mktemp("bare") / "venv"
    venv.create(folder, with_pip=False, symlinks=os.name != "nt")
    python = folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    found = subprocess.run(
        [python, "-c", "import importlib.util as u; print(u.find_spec('numpy') or u.find_spec('rich'))"],
        capture_output=True,
        encoding="utf-8",
    )
    assert found.stdout.strip() == "None"
    return str(python)


@pytest.fixture(scope="module")
def trained(bare, tmp_path_factory) -> tuple[Path, Result]:
    out = tmp_path_factory.mktemp("trained")
    return out, run_bare(bare, "--out", out, *QUICK)


def run_bare(bare: str, *arguments: object, folder: str = PYTHON, code: int = 0) -> Result:
    done = subprocess.run(
        command(folder, *arguments, python=bare), capture_output=True, encoding="utf-8", env=environment()
    )
    result = Result(done.returncode, done.stdout, done.stderr)
    check(result, code)
    return result


def test_trains_and_says_what_it_leaves_out(trained):
    out, result = trained
    folder = out / "names" / PYTHON
    names = {".lock", "config.json", "metrics.jsonl", "samples.txt", "checkpoint.json"}
    assert {p.name for p in folder.iterdir()} == names
    left_out = [line for line in result.stdout.splitlines() if "not installed" in line]
    assert len(left_out) == 1 and "no pictures" in left_out[0] and "matplotlib" in left_out[0]
    assert re.search(r"^loss [▁▂▃▄▅▆▇█]{30} ", result.stdout, re.MULTILINE)
    assert len(result.samples) == 3


def test_gives_the_same_numbers_as_with_everything_installed(trained, tmp_path):
    out, result = trained
    installed = run(PYTHON, "--out", tmp_path, "--no-plot", *QUICK)
    assert installed.samples == result.samples
    here, there = (metrics.read(path / "names" / PYTHON) for path in (out, tmp_path))
    assert [r["loss"] for r in here] == [r["loss"] for r in there]


def test_large_text_is_mapped_without_numpy_and_without_a_cache(bare, tmp_path):
    text, cache = tmp_path / "large.txt", tmp_path / "cache"
    text.write_bytes(b"Four score and seven years ago our fathers brought forth\n" * 75_000)
    options = ("--dataset", text, "--steps", 3, "--n-samples", 3, "--no-plot")
    here = run_bare(bare, "--out", tmp_path / "bare", *options)
    assert "for this run only" in here.stdout and "75,000 documents" in here.stdout
    there = run(PYTHON, "--out", tmp_path / "installed", *options, env={"MICROGPT_CACHE": str(cache)})
    assert [path.suffix for path in cache.iterdir()] == [".tokens"]
    assert here.samples == there.samples
    bare_losses, losses = (metrics.read(tmp_path / name / "large" / PYTHON) for name in ("bare", "installed"))
    assert [r["loss"] for r in bare_losses] == [r["loss"] for r in losses]


def test_lists_samples_and_resumes(bare, trained, tmp_path):
    out = shutil.copytree(trained[0], tmp_path / "out")
    assert "shakespeare" in run_bare(bare, "--list").stdout
    assert run_bare(bare, "sample", "--out", out, "--n-samples", 3).samples == trained[1].samples
    resumed = run_bare(bare, "--out", out, "--resume", "--steps", 35, "--n-samples", 1)
    assert "going on after step 30 of 35" in resumed.stdout


def test_reads_the_safetensors_file_of_another_folder(bare, tmp_path):
    ran = run(NUMPY, "--out", tmp_path, "--no-plot", *QUICK)
    path = tmp_path / "names" / NUMPY / "checkpoint.safetensors"
    assert run_bare(bare, "sample", "--checkpoint", path, "--n-samples", 3).samples == ran.samples
    run_bare(bare, "--out", tmp_path, "--checkpoint", path, "--steps", 33, "--n-samples", 1)
    assert (tmp_path / "names" / PYTHON / "checkpoint.json").exists()


def test_imports_the_standard_library_alone(bare, tmp_path):
    script = (
        "import runpy, sys\n"
        "before = set(sys.modules)\n"
        f"sys.argv = ['main.py', '--steps', '2', '--n-samples', '1', '--out', {str(tmp_path)!r}]\n"
        "try:\n"
        f"    runpy.run_path({str(ROOT / PYTHON / 'main.py')!r}, run_name='__main__')\n"
        "except SystemExit as error:\n"
        "    assert not error.code\n"
        "roots = {name.partition('.')[0] for name in set(sys.modules) - before}\n"
        "print('foreign:', sorted(roots - sys.stdlib_module_names))\n"
    )
    done = subprocess.run([bare, "-c", script], capture_output=True, encoding="utf-8", env=environment())
    assert done.stdout.splitlines()[-1] == "foreign: ['engine', 'microgpt', 'microgpt_harness']", done.stderr


def test_flags_that_need_more_say_so(bare, tmp_path):
    result = run_bare(bare, "--live-plot", "--out", tmp_path, code=2)
    one_line(result, "--live-plot", "matplotlib")


@pytest.mark.parametrize("folder", [folder for folder in FOLDERS if required(folder)])
def test_other_folders_say_what_to_install(bare, folder):
    result = run_bare(bare, "--steps", 1, folder=folder, code=2)
    one_line(result, "not installed", "`uv run python main.py`", folder)


def test_an_exercise_of_another_folder_says_so_too(bare, tmp_path):
    folder = next(folder for folder in FOLDERS if required(folder))
    for name in ("mistake-1", "dropout"):  # the first is compared with the lesson, the second is not
        run_bare(bare, "exercise", *name.split("-"), "--dir", tmp_path, folder=folder)
        path = tmp_path / f"{name}.py"
        path.write_text(path.read_text(encoding="utf-8").replace("raise NotImplementedError", "pass"), encoding="utf-8")
        result = run_bare(bare, "exercise", *name.split("-"), "--dir", tmp_path, folder=folder, code=2)
        one_line(result, "not installed", "`uv run python main.py`", folder)


def test_old_python_is_told_so(monkeypatch, capsys):
    monkeypatch.setattr(sys, "version_info", (3, 9, 1))
    with pytest.raises(SystemExit, match="2"):
        start.begin("main.py")
    assert capsys.readouterr().err == "main.py: this is Python 3.9; use 3.11 or newer, or `uv run python main.py`\n"


def test_plain_bar_on_a_terminal(bare, tmp_path):
    result = on_terminal(command(PYTHON, "--out", tmp_path, *QUICK, "--val-every", 10, python=bare))
    lines = [line for line in shown_lines(result.stdout) if line.startswith("step ")]
    assert result.code == 0 and "\x1b[" not in result.stdout
    assert any(re.match(r"step 30 / 30 \| loss .* ema .* val .* steps/s \| 0 s left", line) for line in lines)
    assert max(map(len, lines)) <= 80


def test_lesson_alone_and_its_program(bare, tmp_path):
    """With nothing but defaults, main.py gives the losses and the names that microgpt.py gives."""
    done = subprocess.run(
        [bare, str(ROOT / PYTHON / "microgpt.py")], capture_output=True, encoding="utf-8", cwd=ROOT.parent
    )
    lines = done.stdout.splitlines()
    assert done.returncode == 0 and done.stderr == "" and len(lines) == 520
    assert lines[0] == "step    1 /  500 | loss 3.3362" and lines[-1].startswith("sample 20: ")
    program = run_bare(bare, "--out", tmp_path, "--log-every", 1, "--val-every", 0)
    assert [line for line in program.stdout.splitlines() if line.startswith(("step ", "sample "))] == lines
