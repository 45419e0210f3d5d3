"""The lessons as data: their sections, the functions in them, and which of these belong side by side."""

import ast
import os
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from microgpt_harness.system.errors import UserError

ROOT = Path(__file__).resolve().parents[2]
SECTIONS = (
    "Data",
    "Tokenizer",
    "Hyperparameters",
    "Parameters",
    "Model",
    "Loss",
    "Gradients",
    "Optimizer",
    "Training",
    "Inference",
)
HEAD = "Head"  # what stands above the first banner: docstring and imports
BANNER = re.compile(r"# %% (.+)")


@dataclass(frozen=True)
class Cell:
    """A part of a lesson that is shown as one: a function, a class, or statements that stand together.

    Lines count from 1, and `last` is the cell's own. Comments above a function belong to it.
    """

    section: str
    name: str  # of the function or class, of the first name that statements set, or "" where a section begins
    kind: str  # "function", "class", "statements" or "banner"
    first: int
    last: int
    text: str


@dataclass(frozen=True)
class Lesson:
    folder: str
    path: Path
    source: str
    cells: tuple[Cell, ...]

    @property
    def number(self) -> str:
        return self.folder.partition("_")[0]

    @property
    def title(self) -> str:
        """What the file says of itself in the first line of its docstring, up to the colon: "microGPT in JAX"."""
        return (ast.get_docstring(ast.parse(self.source)) or self.folder).split(":")[0].split("\n")[0]

    @property
    def label(self) -> str:
        """A short name for people: 02 NumPy manual backprop."""
        return self.folder.replace("_", " ")

    def cell(self, name: str) -> Cell:
        return next(cell for cell in self.cells if cell.name == name)

    def functions(self) -> set[str]:
        """Return the qualified names of all functions and classes: "attention", "Value", "Value.exp"."""
        return set(qualified(ast.parse(self.source).body))


@dataclass(frozen=True)
class Row:
    """Cells that belong side by side: one for each folder that has it."""

    section: str
    key: str
    cells: dict[str, Cell]
    identical: bool  # the same text in every folder

    @property
    def anchor(self) -> str:
        return re.sub(r"[^a-z0-9]+", "-", f"{self.section}-{self.key}".lower()).strip("-")

    @property
    def names(self) -> list[str]:
        """Return what the folders call it, each name once: attention, CausalSelfAttention."""
        return list(dict.fromkeys(cell.name for cell in self.cells.values() if cell.name))


def where_called() -> Path:
    """Return the folder in which the command was called: by now `uv run --directory` has changed it.

    Shells keep it in PWD. Where nothing does, as on Windows, it is taken to be the checkout, where all examples begin.
    """
    called = Path(os.environ.get("PWD", ""))
    return called if called.is_absolute() and called.is_dir() else ROOT


def read_all(root: Path = ROOT) -> list[Lesson]:
    """Return the lessons of a checkout, in order of their folders. UserError for one that cannot be read."""
    lessons = [read(path.parent) for path in sorted(root.glob("[0-9]*/microgpt.py"))]
    for one, following in pairwise(lessons):
        if one.number == following.number:  # lines are linked to by it
            raise UserError(f"{following.path.parent}: {one.folder} has the number {one.number} too; choose another")
    return lessons


def read(folder: Path) -> Lesson:
    path = folder / "microgpt.py"
    try:
        source = path.read_text(encoding="utf-8")
        return Lesson(folder.name, path, source, tuple(cells_of(source, path)))
    except SyntaxError as error:
        raise UserError(f"{path}, line {error.lineno}: this is no Python: {error.msg}") from error
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: byte {error.start} is not UTF-8") from error


def cells_of(source: str, path: Path) -> Iterator[Cell]:
    """Yield the cells of a lesson in order. Together they hold every line once."""
    lines = source.removesuffix("\n").split("\n")  # as ast counts them: splitlines() also cuts at other characters
    starts = dict(begins(source, lines, path))
    section = HEAD
    ordered = sorted(starts)
    for first, following in zip(ordered, [*ordered[1:], len(lines) + 1]):
        kind, name = starts[first]
        section = name if kind == "banner" else section
        shown = "" if kind == "banner" else name
        yield Cell(section, shown, kind, first, following - 1, "\n".join(lines[first - 1 : following - 1]))


def begins(source: str, lines: list[str], path: Path) -> Iterator[tuple[int, tuple[str, str]]]:
    """Yield the line at which each cell begins, with its kind and name."""
    yield 1, ("banner", HEAD)
    for number, line in enumerate(lines, start=1):
        if banner := BANNER.fullmatch(line):
            if banner[1] not in SECTIONS:
                sections = ", ".join(SECTIONS)
                raise UserError(f"{path}, line {number}: the section {banner[1]!r} is unknown; there are: {sections}")
            yield number, ("banner", banner[1])
    banners = [number for number, line in enumerate(lines, start=1) if BANNER.fullmatch(line)]
    nodes = [node for node in ast.parse(source).body if banners and node.lineno > banners[0]]
    for before, node in zip([None, *nodes], nodes):
        kind, name = what(node)
        first = first_line(node, lines)
        follows = before is not None and not any(before.end_lineno < banner < first for banner in banners)
        if kind == "statements" and follows and what(before)[0] == "statements":
            continue  # statements that stand together are one cell
        yield first, (kind, name)


def what(node: ast.stmt) -> tuple[str, str]:
    if isinstance(node, ast.FunctionDef):
        return "function", node.name
    if isinstance(node, ast.ClassDef):
        return "class", node.name
    named = next((sub.id for sub in ast.walk(node) if isinstance(sub, ast.Name)), "")
    return "statements", "if __name__" if isinstance(node, ast.If) else named


def first_line(node: ast.stmt, lines: list[str]) -> int:
    """Return where a statement begins, with its decorators and the comments right above it."""
    decorators = getattr(node, "decorator_list", [])
    first: int = min([node.lineno, *(decorator.lineno for decorator in decorators)])
    own = first
    while lines[first - 2].startswith("#"):
        if BANNER.fullmatch(lines[first - 2]):
            return own  # comments right below a banner are about the section
        first -= 1
    return first


def qualified(body: list[ast.stmt], before: str = "") -> Iterator[str]:
    for node in body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            yield before + node.name
            if isinstance(node, ast.ClassDef):
                yield from qualified(node.body, f"{before}{node.name}.")


# Side by side
def align(lessons: list[Lesson]) -> list[Row]:
    """Return the rows of all lessons, section by section. Each cell of each lesson is in exactly one row.

    Cells of the same name stand in one row, and so does a class beside the function that it replaces (MLP, mlp). What
    only some folders have stands before the function that follows it there.
    """
    cells = {lesson.folder: dict(placed(lesson, keys_of(lessons))) for lesson in lessons}
    rows = []
    for section in (HEAD, *SECTIONS):
        ordered: list[str] = []
        for own in cells.values():
            at = len(ordered)
            for key in reversed([key for within, key in own if within == section]):
                if key in ordered:
                    at = ordered.index(key)
                else:
                    ordered.insert(at, key)
        rows += [row_of(section, key, cells) for key in ordered]
    return rows


def placed(lesson: Lesson, keys: dict[str, str]) -> Iterator[tuple[tuple[str, str], Cell]]:
    """Yield each cell with the section and key of its row. What a lesson has twice, it has in two rows."""
    seen: Counter[tuple[str, str]] = Counter()
    for cell in lesson.cells:
        section, key = cell.section, keys[cell.name]
        seen[section, key] += 1
        times = seen[section, key]
        yield (section, key if times == 1 else f"{key} {times}"), cell


def row_of(section: str, key: str, cells: dict[str, dict[tuple[str, str], Cell]]) -> Row:
    found = {folder: own[section, key] for folder, own in cells.items() if (section, key) in own}
    texts = {cell.text.rstrip() for cell in found.values()}
    return Row(section, key, found, identical=len(found) == len(cells) and len(texts) == 1)


def keys_of(lessons: list[Lesson]) -> dict[str, str]:
    """Return for each name the one it is aligned by: a class's is that of the function whose name its own ends with."""
    kinds = {cell.name: cell.kind for lesson in lessons for cell in lesson.cells}
    functions = [name for name, kind in kinds.items() if kind == "function"]
    keys = {name: name for name in kinds}
    for name, kind in kinds.items():
        if kind == "class":
            keys[name] = next((function for function in functions if name.lower().endswith(function)), name)
    return keys
