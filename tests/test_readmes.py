"""The folders' READMEs quote the lessons: what they quote must be there, and what they link to as well."""

import re

import pytest
from lessons import FOLDERS, ROOT

FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
LINK = re.compile(r"\]\(((?!https?:)[^)#]+)")
READMES = [ROOT / "README.md", ROOT / "ARCHITECTURE.md", ROOT / "PERFORMANCE.md", ROOT / "data" / "README.md"]
READMES += [ROOT / folder / "README.md" for folder in FOLDERS]


def source(folder):
    return (ROOT / folder / "microgpt.py").read_text(encoding="utf-8").splitlines()


def quoted(folder):
    """Yield (sign, line) of the code before the exercises: a diff's "-" is the folder before, all else this one's."""
    text = (ROOT / folder / "README.md").read_text(encoding="utf-8").split("## Exercises")[0]
    for language, code in FENCE.findall(text):
        for line in filter(str.strip, code.splitlines()):
            if language == "diff" and line != "@@":
                yield line[0], line[1:]
            elif language == "python":
                yield " ", line


@pytest.mark.parametrize("folder", FOLDERS)
def test_what_a_readme_quotes_stands_in_the_lesson(folder):
    before = source(FOLDERS[max(FOLDERS.index(folder) - 1, 0)])
    here = source(folder)
    lines = [(sign, line) for sign, line in quoted(folder) if line.strip()]
    assert lines, "a README that quotes nothing shows no difference"
    assert [line for sign, line in lines if line not in (before if sign == "-" else here)] == []


@pytest.mark.parametrize("path", READMES, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_link_leads_somewhere(path):
    text = path.read_text(encoding="utf-8")
    assert [target for target in LINK.findall(text) if not (path.parent / target).exists()] == []
