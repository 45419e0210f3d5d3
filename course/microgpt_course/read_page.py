"""Read: all lessons side by side, by section and function, with notes on each and the recorded numbers of each."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from markupsafe import Markup

from .code import cell_html
from .lessons import HEAD, SECTIONS, Cell, Lesson, Row
from .material import REFERENCE, Material
from .notes import Note, Rendered
from .read_numbers import Recorded, Summary
from .recording.program import load
from .site import Site


def build(site: Site, made: Material) -> None:
    site.web("charts.css", "plot.js", "charts.js", "numbers.js", "read.css", "read.js")
    recorded = Recorded(made)
    recorded.write(site)
    sections = list(sections_of(made, recorded))
    site.page(
        "read.html",
        "read.html",
        lessons=made.lessons,
        sections=sections,
        sets=column_sets(sections, made.lessons),
        numbers=recorded.for_page(),
        document=recorded.documents[0],
        steps=recorded.steps,
    )


@dataclass(frozen=True)
class Column:
    """What a row shows of one lesson."""

    lesson: Lesson
    cell: Cell | None  # None where the lesson has nothing in this row
    differs: Markup | None  # what this lesson does differently

    @cached_property
    def code(self) -> Markup:
        return Markup(cell_html(self.lesson, self.cell))

    @property
    def lines(self) -> str:
        last = self.cell.first + self.code.count("\n")
        return f"lines {self.cell.first} to {last}" if last > self.cell.first else f"line {last}"


@dataclass(frozen=True)
class Part:
    """Notes on a class or its methods, which stand beside the row's own note."""

    outer: str  # the name of the class
    having: str  # numbers of the lessons in which it is
    notes: list[tuple[str, Rendered]]  # by name


@dataclass(frozen=True)
class ShownRow:
    row: Row
    note: Rendered | None
    parts: list[Part]
    columns: list[Column]
    recorded: list[Summary]

    @cached_property
    def same(self) -> list[str]:
        """Return the numbers of lessons with the same text, where not all have it: ["03, 04"]."""
        by_text: dict[str, list[str]] = {}
        for column in self.columns:
            if column.cell:
                by_text.setdefault(column.cell.text.rstrip(), []).append(column.lesson.number)
        return [] if self.row.identical else [", ".join(found) for found in by_text.values() if len(found) > 1]

    @property
    def having(self) -> str:
        """Return the numbers of the lessons that have something in this row."""
        return " ".join(column.lesson.number for column in self.columns if column.cell)

    @property
    def title(self) -> str:
        return ", ".join(self.row.names)


@dataclass(frozen=True)
class Section:
    name: str
    note: dict[str, Markup] | None
    rows: list[ShownRow]

    @property
    def title(self) -> str:
        return "Docstring and imports" if self.name == HEAD else self.name

    @property
    def anchor(self) -> str:
        return self.name.lower()


def sections_of(made: Material, recorded: Recorded) -> Iterator[Section]:
    facts = facts_of(made)
    for name in (HEAD, *SECTIONS):
        rows = [shown(row, made, recorded, facts) for row in made.rows if row.section == name]
        if rows:
            note = made.notes.section(name)
            yield Section(name, note.render(**facts) if note else None, rows)


def facts_of(made: Material) -> dict[str, Any]:
    """Return the numbers that notes speak of."""
    size = len(next(iter(made.recordings.values())).vocabulary)
    config = load(made.lesson(REFERENCE).path.parent).config
    return {"config": config, "vocab_size": size, "ln_vocab": math.log(size)}


def shown(row: Row, made: Material, recorded: Recorded, facts: dict[str, Any]) -> ShownRow:
    main = next(filter(None, (made.notes.of(row.section, name) for name in row.names)), None)
    note = main.render(**facts) if main else None
    differs = note.differs if note else {}
    columns = [Column(lesson, row.cells.get(lesson.folder), differs.get(lesson.folder)) for lesson in made.lessons]
    parts = [part for name in row.names if (part := part_of(row, name, made, facts, main)).notes]
    return ShownRow(row, note, parts, columns, recorded.summaries(row))


def part_of(row: Row, name: str, made: Material, facts: dict[str, Any], main: Note | None) -> Part:
    """Return the notes on a class and its methods, apart from the note on the row as a whole."""
    notes = [note for (section, _), note in made.notes.notes.items() if section == row.section and note is not main]
    rendered = [(note.name, note.render(**facts)) for note in notes if note.name.split(".")[0] == name]
    cells = {lesson.number: row.cells.get(lesson.folder) for lesson in made.lessons}
    return Part(name, " ".join(number for number, cell in cells.items() if cell and cell.name == name), rendered)


def column_sets(sections: list[Section], lessons: list[Lesson]) -> dict[str, list[str]]:
    """Return the sets of columns that rows and notes belong to, but not that of all: "04 05" -> ["04", "05"]."""
    shown = [row for section in sections for row in section.rows]
    sets = {row.having for row in shown} | {part.having for row in shown for part in row.parts}
    return {having: having.split() for having in sorted(sets) if len(having.split()) < len(lessons)}
