"""Each lesson as a notebook: its own cells and no others, run with its own packages, prints what the script prints."""

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import jupytext
import nbformat
import pytest
from microgpt_course import lessons, notebooks, notes
from microgpt_course.lessons import ROOT, SECTIONS, Lesson
from microgpt_course.notes import Notes
from microgpt_course.site import HERE
from microgpt_harness.system import processes
from microgpt_harness.system.errors import RunError, UserError
from nbformat import NotebookNode

STEPS = 20
LESSONS = lessons.read_all()
COPIED = ("01_pure_python", "02_numpy_manual_backprop")  # what they need is small, and there in a moment
PATHS = re.compile(r"(?:/tmp|/root|/home|/Users|[A-Z]:\\\\)[\w/.\\-]*")


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkout with two lessons that take fewer steps."""
    root = tmp_path_factory.mktemp("checkout")
    ignored = shutil.ignore_patterns("__pycache__", ".*", "*.egg-info", "uv.lock")
    for folder in ("harness", "data", *COPIED):
        shutil.copytree(ROOT / folder, root / folder, ignore=ignored)
    for folder in COPIED:
        rewrite(root / folder / "microgpt.py", "num_steps: int = 500", f"num_steps: int = {STEPS}")
    return root


@pytest.fixture(scope="module")
def written(checkout: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, NotebookNode]:
    """The notebooks of that checkout, by folder."""
    out = tmp_path_factory.mktemp("notebooks") / "not" / "there yet"
    paths = list(notebooks.write(out, checkout))
    assert [path.name for path in paths] == sorted(path.name for path in out.iterdir())
    return {path.stem: nbformat.read(path, as_version=4) for path in paths}


@pytest.fixture
def with_lesson(tmp_path: Path) -> Callable[..., Path]:
    """Make a checkout of a lesson that takes one step, and of another one with this code and what it depends on."""

    def make(folder: str, code: str, dependency: str = "") -> Path:
        root = tmp_path / "checkout"
        shutil.copytree(ROOT / "data", root / "data")
        plain = (ROOT / COPIED[0] / "microgpt.py").read_text(encoding="utf-8")
        newest = re.search("exclude-newer = .*", (ROOT / COPIED[0] / "pyproject.toml").read_text(encoding="utf-8"))[0]
        for name, source in ((COPIED[0], plain.replace("num_steps: int = 500", "num_steps: int = 1")), (folder, code)):
            (root / name).mkdir()
            (root / name / "microgpt.py").write_text(source, encoding="utf-8")
            needs = f"dependencies = [{dependency if name == folder else ''}]"
            project = f'[project]\nname = "x"\nversion = "1"\nrequires-python = ">=3.11"\n{needs}\n'
            text = f"{project}[tool.uv]\npackage = false\n{newest}\n"
            (root / name / "pyproject.toml").write_text(text, encoding="utf-8")
        return root

    return make


def rewrite(path: Path, old: str, new: str) -> None:
    text = path.read_text(encoding="utf-8")
    assert text.count(old) == 1
    path.write_text(text.replace(old, new), encoding="utf-8")


def printed(notebook: NotebookNode) -> str:
    outputs = [output for cell in notebook.cells if cell.cell_type == "code" for output in cell.outputs]
    assert {(output.output_type, output.name) for output in outputs} == {("stream", "stdout")}
    return "".join(output.text for output in outputs)


def script(folder: Path) -> str:
    """Return what a lesson prints when it is run as its README says."""
    command = ["uv", "run", "--quiet", "--directory", str(folder), "python", "microgpt.py"]
    return subprocess.run(
        command, env=notebooks.environment(), check=True, capture_output=True, encoding="utf-8"
    ).stdout


def code_of(notebook: NotebookNode) -> list[str]:
    return [cell.source for cell in notebook.cells if cell.cell_type == "code"]


def cells_of(path: Path) -> list[str]:
    return [cell.source for cell in jupytext.reads(path.read_text(encoding="utf-8"), fmt="py:percent").cells]


@pytest.fixture(scope="module")
def said() -> Notes:
    return notes.load(HERE / "notes")


# Written
def test_a_notebook_has_the_lesson_s_cells_and_prints_what_it_prints(
    checkout: Path, written: dict[str, NotebookNode]
) -> None:
    assert sorted(written) == sorted(COPIED)
    for folder, notebook in written.items():
        nbformat.validate(notebook)
        assert code_of(notebook) == cells_of(checkout / folder / "microgpt.py")
        assert printed(notebook) == script(checkout / folder)
        assert printed(notebook).count("\n") == STEPS + 20
        assert [cell.execution_count for cell in notebook.cells if cell.cell_type == "code"] == list(range(1, 12))


def test_in_front_of_each_cell_stands_what_is_said_of_it(written: dict[str, NotebookNode]) -> None:
    for folder, notebook in written.items():
        kinds = [cell.cell_type for cell in notebook.cells]
        assert kinds == ["markdown", "code"] * (1 + len(SECTIONS))
        texts = [cell.source for cell in notebook.cells if cell.cell_type == "markdown"]
        first, *others = (text.split("\n")[0] for text in texts)
        assert first == f"# {notebook.metadata.title}" and folder in texts[0]
        assert others == [f"## {section}" for section in SECTIONS]
        assert all(len(text.split()) > 20 for text in texts), "a section that is only named"
        assert len({cell.id for cell in notebook.cells}) == len(notebook.cells)


def test_no_path_of_this_machine_and_no_time_is_in_it(
    checkout: Path, written: dict[str, NotebookNode], said: Notes
) -> None:
    for notebook in written.values():
        assert PATHS.findall(nbformat.writes(notebook)) == []
        assert all(not cell.metadata for cell in notebook.cells)
        assert notebook.metadata.kernelspec.name == "python3"
        assert set(notebook.metadata) == {"kernelspec", "language_info", "title"}
    lesson = lessons.read(checkout / COPIED[0])
    again = notebooks.executed(lesson, lessons.read_all(checkout), said)
    assert nbformat.writes(again) == nbformat.writes(written[lesson.folder]), "the same lesson, the same notebook"


@pytest.mark.parametrize(
    "lesson", [lesson for lesson in LESSONS if lesson.folder not in COPIED], ids=lambda x: x.folder
)
def test_each_other_lesson_as_it_is(lesson: Lesson, said: Notes) -> None:
    if not (lesson.path.parent / ".venv").is_dir():
        pytest.skip(f"its packages are not there yet: uv run --directory {lesson.folder} python microgpt.py")
    if package := notebooks.missing_package(lesson):
        pytest.skip(f"there is no package {package} for this system")
    notebook = notebooks.executed(lesson, LESSONS, said)
    nbformat.validate(notebook)
    assert code_of(notebook) == cells_of(lesson.path)
    assert printed(notebook) == script(lesson.path.parent)
    assert PATHS.findall(nbformat.writes(notebook)) == []


# What is said
def test_text_is_about_this_folder_with_its_own_numbers(said: Notes) -> None:
    texts = {lesson.number: text_of(lesson, said) for lesson in LESSONS}
    batched = said.of("Loss", "loss_fn").differs["04_pytorch_batched"].split()[0]
    assert batched and all("{{" not in text for text in texts.values())
    for lesson in LESSONS:
        for name in lesson.functions():
            assert f"**`{name}`**: " in texts[lesson.number], f"{lesson.folder} says nothing of {name}"
    assert "**`softmax_backward`**" not in texts["03"]
    assert "**`attention`**: " in texts["03"], "what CausalSelfAttention takes the place of"
    for text in texts.values():
        formulas = re.findall(r"^```\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
        in_section = [section.split("```\n")[1::2] for section in text.split("\n## ")]
        assert formulas and all(len(found) == len(set(found)) for found in in_section), "a formula twice"


def text_of(lesson: Lesson, said: Notes) -> str:
    keys = lessons.keys_of(LESSONS)
    notebook = notebooks.notebook_of(lesson, notebooks.Said(said, notebooks.values(lesson, LESSONS[0]), keys))
    return "\n".join(cell.source for cell in notebook.cells if cell.cell_type == "markdown")


def test_numbers_in_the_text_follow_the_lesson(said: Notes, checkout: Path) -> None:
    plain = lessons.read(checkout / COPIED[0])
    given = notebooks.values(plain, plain)
    assert given["config"].num_steps == STEPS and given["vocab_size"] == 27
    batched = next(lesson for lesson in LESSONS if lesson.number == "04")
    assert notebooks.values(batched, plain)["config"].batch_size == 32
    shown = notebooks.Said(said, {**given, "config": replace(given["config"], n_embd=48, n_head=4)}, {})
    note = said.of("Hyperparameters", "Config")
    assert "48 / 4 = 12" in "".join(notebooks.about(note, ["Config"], plain, shown))


# Where, and what goes wrong
def test_a_relative_folder_is_below_the_one_in_which_the_command_was_called(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PWD", str(tmp_path))
    assert notebooks.where_called() == tmp_path
    for not_a_folder in ("", "relative", str(tmp_path / "gone")):
        monkeypatch.setenv("PWD", not_a_folder)
        assert notebooks.where_called() == ROOT
    monkeypatch.delenv("PWD")
    assert notebooks.where_called() == ROOT


def test_a_file_in_the_way_is_said_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "notebooks").write_text("", encoding="utf-8")
    command = [sys.executable, "-m", "microgpt_course.command", "notebooks", "notebooks"]
    result = subprocess.run(command, env={**os.environ, "PWD": str(tmp_path)}, capture_output=True, encoding="utf-8")
    assert result.returncode == 2
    assert result.stderr.startswith(f"course: {tmp_path / 'notebooks'} is no folder") and result.stderr.count("\n") == 1


def test_without_uv_it_says_so(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("UV", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(UserError, match="uv is not installed"):
        next(notebooks.write(tmp_path))


def test_the_environment_of_this_process_is_not_handed_on(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """uv would otherwise put each lesson's packages in the place of these."""
    monkeypatch.setenv("VIRTUAL_ENV", str(tmp_path))
    monkeypatch.setenv("UV_PROJECT_ENVIRONMENT", str(tmp_path))
    assert not {"VIRTUAL_ENV", "UV_PROJECT_ENVIRONMENT"} & notebooks.environment().keys()
    monkeypatch.setenv("UV_PROJECT_ENVIRONMENT", ".venv-linux")
    assert notebooks.environment()["UV_PROJECT_ENVIRONMENT"] == ".venv-linux"


@pytest.mark.parametrize(
    "dependency",
    ["\"win32-setctime; sys_platform == 'nowhere'\"", '"pywin32>=306"'],
    ids=["not asked for here", "not made for here"],
)
def test_a_lesson_without_packages_for_this_system_is_left_out(
    with_lesson: Callable[..., Path], tmp_path: Path, capsys: pytest.CaptureFixture[str], dependency: str
) -> None:
    if sys.platform == "win32" and "pywin32" in dependency:
        pytest.skip("here it can be installed")
    root = with_lesson("00_elsewhere", "import win32_setctime\n", dependency)
    assert [path.stem for path in notebooks.write(tmp_path / "out", root)] == [COPIED[0]]
    line = r"^00_elsewhere … left out: there is no package \w+ for this system$"
    assert re.search(line, capsys.readouterr().out, re.MULTILINE)


@pytest.mark.parametrize(
    ("code", "says"),
    [
        ("import nowhere_to_be_found\n", "nowhere_to_be_found"),
        ("if __name__ == '__main__':\n    raise ValueError('two\\nlines')\n", "a cell ends with ValueError: two lines"),
        ("import os\nif __name__ == '__main__':\n    os._exit(3)\n", "cannot be run"),
    ],
    ids=["import", "error", "end"],
)
def test_a_lesson_that_fails_is_said_after_the_others_are_written(
    with_lesson: Callable[..., Path], tmp_path: Path, code: str, says: str
) -> None:
    names = []
    with pytest.raises(RunError) as error:
        for path in notebooks.write(tmp_path / "out", with_lesson("00_wrong", code)):
            names.append(path.stem)
    assert names == [path.stem for path in (tmp_path / "out").iterdir()] == [COPIED[0]]
    assert str(error.value).startswith("00_wrong: ") and says in str(error.value) and "\n" not in str(error.value)


ENDLESS = """import os, pathlib
if __name__ == "__main__":
    pathlib.Path({started!r}).write_text(f"{{os.getpid()}}.")
    while True:
        pass
"""


@pytest.mark.skipif(os.name != "posix", reason="Windows has no SIGINT for another process")
def test_ctrl_c_ends_it_and_leaves_nothing_behind(with_lesson: Callable[..., Path], tmp_path: Path) -> None:
    started, home, temporary = (tmp_path / name for name in ("started", "home", "tmp"))
    root = with_lesson("00_endless", ENDLESS.format(started=str(started)))
    home.mkdir()
    temporary.mkdir()
    code = (
        "import signal, sys; from pathlib import Path; from microgpt_course import notebooks\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"  # ignored where the tests run in the background
        "list(notebooks.write(Path(sys.argv[1]), Path(sys.argv[2])))"
    )
    cache = subprocess.run(["uv", "cache", "dir"], check=True, capture_output=True, encoding="utf-8").stdout.strip()
    places = {"HOME": str(home), "TMPDIR": str(temporary), "UV_CACHE_DIR": cache, "UV_PYTHON": sys.executable}
    command = [sys.executable, "-B", "-c", code, str(tmp_path / "out"), str(root)]
    process = subprocess.Popen(
        command, env={**os.environ, **places}, stderr=subprocess.PIPE, encoding="utf-8", start_new_session=True
    )
    kernel = 0
    try:
        wait_until(lambda: started.exists() and started.read_text().endswith("."), "the notebook does not begin to run")
        kernel = int(started.read_text().rstrip("."))
        os.killpg(process.pid, signal.SIGINT)
        assert process.communicate(timeout=120)[1].rstrip().endswith("KeyboardInterrupt")
        wait_until(lambda: not alive(kernel), "the kernel goes on")
    finally:
        processes.stop(process)
        if kernel and alive(kernel):
            os.kill(kernel, signal.SIGKILL)
    assert [path for path in home.rglob("*") if path.is_file()] == []
    assert list(temporary.glob("microgpt-notebook-*")) == []


def wait_until(true: Callable[[], object], otherwise: str) -> None:
    end = time.monotonic() + 120
    while not true():
        assert time.monotonic() < end, otherwise
        time.sleep(0.1)


def alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    return True
