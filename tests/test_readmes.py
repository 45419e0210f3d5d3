"""READMEs quote lessons and runs: what they quote must be there and come out so, and what they link to be there."""

import re

import comparisons
import pytest
from lessons import FOLDERS, ROOT, load, offered

FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
LINK = re.compile(r"\]\(((?!https?:)[^)#]+)")
READMES = [*sorted(ROOT.glob("*.md")), ROOT / "data" / "README.md"]
READMES += [ROOT / folder / "README.md" for folder in FOLDERS]
STEP = re.compile(r"^step +(\d+) / +500 \| loss (\S+)(?: \| val (\S+))?$", re.MULTILINE)
SAMPLE = re.compile(r"^sample +(\d+): (.*)$", re.MULTILINE)
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
