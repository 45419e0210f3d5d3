"""READMEs quote lessons and runs: what they quote must be there and come out so, and what they link to be there."""

import re

import comparisons
import pytest
from lessons import FOLDERS, ROOT, load, offered
from microgpt_harness.tools.exercises import catalogue

FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
LINK = re.compile(r"\]\(((?!https?:)[^)#]+)")
TEACHING = ROOT / "docs" / "teaching.md"
READMES = [*sorted(ROOT.glob("*.md")), ROOT / "data" / "README.md", TEACHING]
READMES += [ROOT / folder / "README.md" for folder in FOLDERS]
STEP = re.compile(r"^step +(\d+) / +500 \| loss (\S+)(?: \| val (\S+))?$", re.MULTILINE)
SAMPLE = re.compile(r"^sample +(\d+): (.*)$", re.MULTILINE)
EXERCISE = re.compile(r"main\.py exercise ([a-z][\w-]*)(?: (\d+))?")
IN_FOLDER = re.compile(r"\bcd (\d\d_\w+)")
SHORT_WAY = re.compile(r"^\| (\d\d) \| [^|]* \| ([^|]*) \|", re.MULTILINE)  # docs/teaching.md: | 01 | 3 | `head`, … |
ROUNDED = 5.1e-5  # by the four digits that are shown


def source(folder):
    return (ROOT / folder / "microgpt.py").read_text(encoding="utf-8").splitlines()


def quoted(folder):
    """Yield (sign, line) of the code before the exercises: a diff's "-" is of another folder, all else of this one."""
    text = (ROOT / folder / "README.md").read_text(encoding="utf-8").split("## Exercises")[0]
    for language, code in FENCE.findall(text):
        for line in filter(str.strip, code.splitlines()):
            if language == "diff" and line != "@@":
                yield line[0], line[1:]
            elif language == "python":
                yield " ", line


def exercises_named(path):
    """Yield (folders, name): an exercise that a page has its reader call, and where.

    A folder's README means that folder, a block that changes into a folder means that one, all else any that has it.
    """
    text = path.read_text(encoding="utf-8")
    here = [path.parent.name] if path.parent.name in FOLDERS else FOLDERS
    for part in (FENCE.sub("", text), *(code for _, code in FENCE.findall(text))):
        changed = IN_FOLDER.search(part)
        for name, number in EXERCISE.findall(part):
            yield [changed[1]] if changed else here, f"{name}-{number}" if number else name


def compared_with(folder):
    """Return the folder whose lines a README's diffs take away: the one that it links to first."""
    return re.search(r"\]\(\.\./(\d\w+)", (ROOT / folder / "README.md").read_text(encoding="utf-8"))[1]


@pytest.mark.parametrize("folder", FOLDERS)
def test_what_a_readme_quotes_stands_in_the_lesson(folder):
    before = source(compared_with(folder))
    here = source(folder)
    lines = [(sign, line) for sign, line in quoted(folder) if line.strip()]
    assert lines, "a README that quotes nothing shows no difference"
    assert [line for sign, line in lines if line not in (before if sign == "-" else here)] == []


@pytest.mark.parametrize("folder", FOLDERS)
def test_the_run_that_a_readme_shows_is_the_reference_s(folder):
    """Its losses, validation and names, whatever machine it was made on: by then float32 has parted a little."""
    in_float64 = offered(folder).dtypes[0] == "float64"
    assert_shows_the_run(ROOT / folder / "README.md", load(folder).microgpt.CONFIG.batch_size, exact=in_float64)


def test_the_run_that_the_front_page_shows_is_the_reference_s():
    assert_shows_the_run(ROOT / "README.md", 1, exact=False)


def assert_shows_the_run(path, batch_size, exact):
    text = path.read_text(encoding="utf-8")
    losses, validation, names = comparisons.run_of_the_reference(500, batch_size)
    steps, samples = STEP.findall(text), SAMPLE.findall(text)
    assert steps and samples
    for step, loss, val_loss in steps:
        allowed = ROUNDED if exact or int(step) <= 50 else 4e-3
        assert float(loss) == pytest.approx(losses[int(step) - 1], abs=allowed), step
        assert (int(step) in validation) == bool(val_loss)
        if val_loss:
            assert float(val_loss) == pytest.approx(validation[int(step)], abs=allowed), step
    assert all(names[int(number) - 1] == name for number, name in samples)


@pytest.mark.parametrize("path", READMES, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_link_leads_somewhere(path):
    text = path.read_text(encoding="utf-8")
    assert [target for target in LINK.findall(text) if not (path.parent / target).exists()] == []


@pytest.mark.parametrize("folder", FOLDERS)
def test_a_readme_shows_an_exercise_from_beginning_to_end(folder):
    _, heading, section = (ROOT / folder / "README.md").read_text(encoding="utf-8").partition("## Exercises\n")
    assert heading and "These numbers look like" in section and "all is well" in section


@pytest.mark.parametrize("path", READMES, ids=lambda path: str(path.relative_to(ROOT)))
def test_an_exercise_that_is_named_exists(path):
    known = {folder: {*catalogue.read(offered(folder)), "mistake"} for folder in FOLDERS}
    named = list(exercises_named(path))
    assert named or (path != TEACHING and path.parent.name not in FOLDERS)
    assert [name for folders, name in named if not any(name in known[folder] for folder in folders)] == []


def test_the_exercises_of_the_short_way_exist():
    rows = SHORT_WAY.findall(TEACHING.read_text(encoding="utf-8"))
    assert [number for number, _ in rows] == [folder[:2] for folder in FOLDERS]
    for folder, (_, names) in zip(FOLDERS, rows, strict=True):
        assert set(re.findall(r"`(.+?)`", names)) <= catalogue.read(offered(folder)).keys()
