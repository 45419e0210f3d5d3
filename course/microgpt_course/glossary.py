"""The glossary of docs/teaching.md: what a word means, and where a lesson shows it."""

import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from microgpt_harness.system.errors import UserError

ROW = re.compile(r"\| *([^|]+?) *\| *([^|]+?) *\| *([^|]*?) *\|")


@dataclass(frozen=True)
class Entry:
    word: str
    meaning: str  # Markdown
    folder: str  # number of the folder that shows it: "01"; "" where no lesson does
    name: str  # of the function there


@cache
def read_glossary(root: Path) -> dict[str, Entry]:
    """Return the entries by word in small letters. "Shape, axis" is there under each of the two."""
    path = root / "docs" / "teaching.md"
    _, heading, text = path.read_text(encoding="utf-8").partition("\n## Glossary\n")
    if not heading:
        raise UserError(f"{path}: there is no section Glossary")
    entries = {}
    for word, meaning, place in ROW.findall(text):
        shown = re.match(r"\[(\d+): `([^`]+)`\]", place)
        entry = Entry(word, meaning, *(shown.groups() if shown else ("", "")))
        entries |= {part.strip().casefold(): entry for part in [word, *word.split(",")]}
    return entries


def look_up(glossary: dict[str, Entry], word: str) -> Entry:
    """Return a word's entry, also for its plural. UserError if it has none."""
    key = word.casefold()
    found = glossary.get(key) or glossary.get(key.removesuffix("s")) or glossary.get(key.removesuffix("es"))
    if not found:
        raise UserError(f"the glossary in docs/teaching.md has no word {word!r}")
    return found
