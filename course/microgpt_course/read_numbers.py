"""The recorded numbers that the Read page offers: which names of a row have some, and the data themselves.

Values come from the folder that computes with whole matrices, since every other folder computes the same. The folder
that computes number by number has its own; where they are the same numbers, its data refer to the other's.
"""

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from . import record
from .figures import num
from .lessons import Cell, Lesson, Row
from .material import EXPLICIT, REFERENCE, Material
from .record import Value
from .recording.statements import bound
from .site import Site

SHAPE = re.compile(r"#.*(\([A-Z\d…][A-Z\d…+, ]*\))")  # in a comment at the end of a line; the last one if there are two


@dataclass(frozen=True)
class Summary:
    """One recorded value in a row's table: at the last moment of training, for the first document."""

    name: str
    folder: str
    shape: str  # "(H, T, D), 4 × 7 × 4"
    mean: str
    lowest: str
    highest: str
    calls: int  # of its function; the numbers are those of the first


class Recorded:
    """What was recorded, by row. `made` is what all pages are made from."""

    def __init__(self, made: Material) -> None:
        self.made = made
        self.reference, self.explicit = made.lesson(REFERENCE), made.lesson(EXPLICIT)
        self.documents = list(dict.fromkeys(document for document, _ in made.recordings))
        self.steps = sorted({step for _, step in made.recordings})

    # Which names
    @cached_property
    def own(self) -> dict[str, dict[str, list[Value]]]:
        """Return the values of the first document at the last moment, by row and name: all calls, all lines."""
        values = record.joined_values(self.made.recordings[self.documents[0], self.steps[-1]])
        return by_row(self.made.rows, self.reference, values)

    @cached_property
    def others(self) -> dict[str, dict[str, list[Value]]]:
        """Return the same of the folder that computes number by number, put together as if it did not."""
        first = self.documents[0], self.steps[-1]
        values = record.joined_values(self.made.explicit_recordings[first], self.made.recordings[first])
        return by_row(self.made.rows, self.explicit, values)

    @cached_property
    def values(self) -> dict[str, dict[str, list[Value]]]:
        anchors = [row.anchor for row in self.made.rows]
        found = {anchor: self.own.get(anchor, {}) for anchor in anchors}
        both = {anchor: names | without(names, self.others.get(anchor, {})) for anchor, names in found.items()}
        return {anchor: names for anchor, names in both.items() if names}

    def folder_of(self, anchor: str, name: str) -> str:
        return (self.reference if name in self.own.get(anchor, {}) else self.explicit).folder

    def summaries(self, row: Row) -> list[Summary]:
        return [self.summary(row, name, values) for name, values in self.values.get(row.anchor, {}).items()]

    def summary(self, row: Row, name: str, values: list[Value]) -> Summary:
        value = [value for value in values if value.call == values[0].call][-1]
        finite = value.array[np.isfinite(value.array)]
        figures = (finite.mean(), finite.min(), finite.max()) if finite.size else (np.nan,) * 3
        sizes = " × ".join(str(size) for size in value.array.shape)
        shape = f"{axes_text(value.axes)}, {sizes}" if sizes else "one number"
        calls = len({other.call for other in values if other.function == value.function})
        folder = self.folder_of(row.anchor, name)
        return Summary(name, folder, shape, *(num(figure) for figure in figures), calls)

    # For the page
    def for_page(self) -> dict[str, Any]:
        """Return what the page's script has to know before it loads any numbers."""
        rows = {row.anchor: self.row_data(row) for row in self.made.rows if row.anchor in self.values}
        return {
            "documents": self.documents,
            "steps": self.steps,
            "reference": self.reference.folder,
            "explicit": self.explicit.folder,
            "rows": rows,
        }

    def row_data(self, row: Row) -> dict[str, Any]:
        data = {
            "names": list(self.own.get(row.anchor, {})),
            "explicit": list(self.others.get(row.anchor, {})),
            "functions": sorted({value.function for found in self.values[row.anchor].values() for value in found}),
            "written": self.written(row),
        }
        return data | {"apart": self.apart[row.anchor]} if row.anchor in self.apart else data

    def written(self, row: Row) -> dict[str, dict[str, str]]:
        """Return, by number of a lesson and name, the shapes that this lesson writes otherwise than was recorded."""
        found: dict[str, dict[str, str]] = {}
        for lesson in self.made.lessons:
            cell = row.cells.get(lesson.folder)
            for name, shape in written_shapes(cell) if cell else ():
                axes = {axes_text(value.axes) for value in self.values[row.anchor].get(name, [])}
                if axes and shape not in axes:
                    found.setdefault(lesson.number, {})[name] = shape
        return found

    @cached_property
    def apart(self) -> dict[str, dict[str, float]]:
        """Return, by row and name, the largest difference between the two folders, over all documents and moments."""
        found: dict[str, dict[str, float]] = {}
        for key, recording in self.made.recordings.items():
            others = record.joined_values(self.made.explicit_recordings[key], recording)
            by_place = {place(value): value.array for value in others}
            for value in record.joined_values(recording):
                other = by_place.get(place(value))
                if other is not None and other.shape == value.array.shape:
                    names = found.setdefault(self.anchors.get(value.function, ""), {})
                    names[value.name] = max(names.get(value.name, 0.0), largest_difference(value.array, other))
        return found

    @cached_property
    def anchors(self) -> dict[str, str]:
        """Return the anchor of a function's row."""
        cells = {row.anchor: row.cells.get(self.reference.folder) for row in self.made.rows}
        return {cell.name: anchor for anchor, cell in cells.items() if cell and cell.name}

    # The data
    def write(self, site: Site) -> None:
        own, others = self.made.recordings.values(), self.made.explicit_recordings.values()
        data = record.to_site(self.made.training, own) | record.to_site(self.made.explicit_training, others, beside=own)
        for name, value in data.items():
            site.data(f"numbers/{name}", value, packed=True)


def by_row(rows: list[Row], lesson: Lesson, values: list[Value]) -> dict[str, dict[str, list[Value]]]:
    """Return values by the row in which their function stands, and by name."""
    anchors = {row.cells[lesson.folder].name: row.anchor for row in rows if lesson.folder in row.cells}
    found: dict[str, dict[str, list[Value]]] = {}
    for value in values:
        anchor = anchors.get(value.function.split(".")[0])
        if anchor:
            found.setdefault(anchor, {}).setdefault(value.name, []).append(value)
    return found


def without(names: dict[str, Any], of: dict[str, Any]) -> dict[str, Any]:
    return {name: values for name, values in of.items() if name not in names}


def place(value: Value) -> tuple[str, int, str, int]:
    return value.function, value.call, value.name, value.nth


def written_shapes(cell: Cell) -> Iterator[tuple[str, str]]:
    """Yield the names that a line sets, with the shape that the comment at the line's end gives them."""
    lines = cell.text.split("\n")
    for node in ast.walk(ast.parse(cell.text)):
        if isinstance(node, ast.Assign | ast.AnnAssign):
            rest = lines[node.end_lineno - 1].encode()[node.end_col_offset :].decode()  # ast counts bytes
            match = SHAPE.search(rest)
            yield from ((name, match[1]) for name in bound(node) if match)


def axes_text(axes: tuple[str, ...]) -> str:
    return f"({', '.join(axes)})"


def largest_difference(a: np.ndarray, b: np.ndarray) -> float:
    """Return the largest difference of two arrays, where both have a finite number."""
    both = np.isfinite(a) & np.isfinite(b)
    return float(np.abs(a[both] - b[both]).max()) if both.any() else 0.0
