"""A seventh framework is one folder: copied and renamed, it is held to everything, and shown by every tool.

In a copy of the repository stands one that is right, and three that are each broken in one way.
"""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from lessons import FOLDERS, REFERENCE, ROOT
from microgpt_harness.tools import mistakes

# Tests, {} being a folder's name: of its numbers, of its text, of its mistakes.
POINT = "test_same_point.py::test_logits_loss_and_gradients[{}-float64]"
STRUCTURE = "test_lesson_structure.py::"
IMPORTS = f"{STRUCTURE}test_a_lesson_imports_the_standard_library_and_its_framework_only[{{}}]"
SECTIONS = f"{STRUCTURE}test_the_first_four_sections_are_the_same_bytes[Parameters-{{}}]"
LISTED = "test_mutants.py::test_a_folder_says_of_every_known_mistake_how_it_is_made_or_why_it_cannot_be[{}]"
CAUGHT = "test_mutants.py::test_the_point_catches[no-scale-{}]"
CAUGHT_BY_FAR = "test_mutants.py::test_one_step_in_float32_catches_by_far[no-scale-{}]"
CHECKED = (POINT, IMPORTS, SECTIONS, LISTED, CAUGHT, CAUGHT_BY_FAR)


def wrong_model(folder: Path) -> None:
    wrong = next(mistake for mistake in mistakes.read(folder) if mistake.name == "no-input-norm")
    rewrite(folder / "microgpt.py", lambda source: mistakes.apply(source, wrong.edits))


def wrong_imports(folder: Path) -> None:
    rewrite(folder / "microgpt.py", lambda source: source.replace("# %% Model\n", "# %% Model\nimport jax\n"))


def mistake_that_is_none(folder: Path) -> None:
    """Nothing changes, so nothing can be caught: a comparison that catches it would catch everything."""
    none = '[no-scale]\nedits = [["# %% Model", "# %% Model"]]\n'
    rewrite(folder / "mistakes.toml", lambda text: re.sub(r"^\[no-scale\]\n.*?(?=^\[)", none, text, flags=re.S | re.M))


# What is done to each copy, and which of the tests above it must then fail.
COPIES: dict[str, tuple[Callable[[Path], None], set[str]]] = {
    "91_again": (lambda folder: None, set()),
    "92_wrong_model": (wrong_model, {POINT}),
    "93_wrong_imports": (wrong_imports, {IMPORTS}),
    "94_wrong_mistakes": (mistake_that_is_none, {CAUGHT, CAUGHT_BY_FAR}),
}


def rewrite(path: Path, change: Callable[[str], str]) -> None:
    before = path.read_text(encoding="utf-8")
    after = change(before)
    assert after != before
    path.write_text(after, encoding="utf-8")


@pytest.fixture(scope="module")
def repository(tmp_path_factory) -> Path:
    """Return a copy of the repository, with the copies of the reference's folder under their own names."""
    root = tmp_path_factory.mktemp("repository")
    left_behind = shutil.ignore_patterns(".*", "__pycache__", "cache")
    for name in (*FOLDERS, "harness", "tests", "data"):
        shutil.copytree(ROOT / name, root / name, ignore=left_behind)
    for name, (change, _) in COPIES.items():
        shutil.copytree(root / REFERENCE, root / name)
        rewrite(root / name / "pyproject.toml", lambda text, name=name: re.sub('name = ".*"', f'name = "{name}"', text))
        change(root / name)
    return root


def python(repository: Path, *args: object, folder: str = ".") -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, *map(str, args)],
        cwd=repository / folder,
        env=os.environ | {"PYTHONPATH": str(repository / "harness"), "PYTHONUTF8": "1"},
        capture_output=True,
        encoding="utf-8",
    )


@pytest.fixture(scope="module")
def failed(repository) -> set[str]:
    """Return which of the tests above fail, for all copies."""
    asked = [test.format(name) for test in CHECKED for name in COPIES]
    done = python(repository, "-m", "pytest", "-n0", "-rA", *asked, folder="tests")
    outcomes = {test: word for word, test in re.findall(r"^(PASSED|FAILED) (\S+\])", done.stdout, re.MULTILINE)}
    assert outcomes.keys() == set(asked), done.stdout + done.stderr
    return {test for test, word in outcomes.items() if word == "FAILED"}


@pytest.mark.parametrize("name", COPIES)
def test_a_copy_passes_and_a_broken_one_fails_where_it_is_broken(name, failed):
    assert {test for test in CHECKED if test.format(name) in failed} == COPIES[name][1]


def test_the_tools_show_it(repository):
    for folder in (REFERENCE, "91_again"):
        options = ("--steps", 3, "--n-samples", 1, "--val-every", 0, "--out", repository / "runs", "--no-plot")
        assert python(repository, "main.py", *options, folder=folder).returncode == 0
    compared = python(repository, "-m", "microgpt_harness", "compare", "--out", repository / "runs")
    assert compared.returncode == 0, compared.stderr
    assert "2 runs" in compared.stdout and "91_again" in compared.stdout and "they agree" in compared.stdout
    assert (repository / "runs" / "names" / "losses.png").is_file()
    measured = python(repository, "-c", "from microgpt_harness.tools.suite import *; print(*chosen_folders(None))")
    assert measured.stdout.split() == sorted([*FOLDERS, *COPIES])
