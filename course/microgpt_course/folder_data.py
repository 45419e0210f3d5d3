"""What a folder's chapter says in figures: what the file shares with the one before, and what was measured of both.

Times, memory and downloads stand in README.md and PERFORMANCE.md, with the machine they were measured on. They are read
from there, so a page never shows others. All else is counted in the lessons, or computed by those that run here.
"""

import ast
import math
import random
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from html import escape
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
from markupsafe import Markup
from microgpt_harness.system.errors import UserError
from microgpt_harness.tools import mistakes
from microgpt_harness.tools.exercises import catalogue
from microgpt_harness.tools.mistakes import Mistake

from .lessons import HEAD, SECTIONS, Lesson, keys_of
from .material import Material
from .record import Recording

README, PERFORMANCE = "README.md", "PERFORMANCE.md"
ONE_DOCUMENT, BATCH = "The model grows", "The batch grows"  # headings of PERFORMANCE.md
FIRST_NUMBER = re.compile(r"[\d,]*\.?\d+")


def facts(made: Material, number: str) -> SimpleNamespace:
    """Return what every folder's chapter shows. `before` and what is compared with it are None in the first folder."""
    here = made.lesson(number)
    earlier = [lesson for lesson in made.lessons if lesson.folder < here.folder]
    before = earlier[-1] if earlier else None
    sections = compare(before, here) if before else []
    return SimpleNamespace(
        here=here,
        before=before,
        lines=len(lines_of(here)),
        lines_before=len(lines_of(before)) if before else 0,
        shared=sum(section.shared for section in sections),
        sections=sections,
        functions=compare_functions(before, here) if before else None,
        one_document=speeds(made.root, ONE_DOCUMENT),
        batch=speeds(made.root, BATCH),
        machine=machine(made.root),
        own_mistakes=[mistake for mistake in mistakes.read(here.path.parent) if mistake.own],
        impossible=newly_impossible(before, here),
    )


# Two files side by side
@dataclass(frozen=True)
class SectionCompared:
    name: str
    before: int  # lines, blank ones not counted
    here: int
    shared: int  # lines of one that stand in the other too, in the same order

    @property
    def same(self) -> bool:
        return self.before == self.here == self.shared


def compare(before: Lesson, here: Lesson) -> list[SectionCompared]:
    """Hold two lessons against each other, section by section, and their heads: docstring and imports."""
    compared = []
    for section in (HEAD, *SECTIONS):
        a, b = lines_of(before, section), lines_of(here, section)
        compared.append(SectionCompared(section, len(a), len(b), in_common(a, b)))
    return compared


def lines_of(lesson: Lesson, section: str = "") -> list[str]:
    """Return the lines of a section, or of all, without blank ones."""
    lines = [line for cell in lesson.cells if section in ("", cell.section) for line in cell.text.splitlines()]
    return [line.rstrip() for line in lines if line.strip()]


def in_common(a: list[str], b: list[str]) -> int:
    """Return how many lines two texts share in the same order: as many as a diff can leave standing."""
    row = [0] * (len(b) + 1)
    for line in a:
        above, row = row, [0]
        for i, other in enumerate(b):
            row.append(above[i] + 1 if line == other else max(above[i + 1], row[i]))
    return row[-1]


def shared_lines(before: Lesson, here: Lesson, renamed: dict[str, str]) -> int:
    """Return how many lines two lessons share once some texts of the first are replaced: {"jnp.": "mx."}."""
    texts = lines_of(before)
    for old, new in renamed.items():
        texts = [line.replace(old, new) for line in texts]
    return in_common(texts, lines_of(here))


@dataclass(frozen=True)
class FunctionsCompared:
    """Functions and classes by name, in the order of the file that has them."""

    same: list[str]  # the same text in both
    changed: list[str]  # the same name and another text
    replaced: list[tuple[str, str]]  # a function of one, and the class of the other that is aligned with it: mlp, MLP
    new: list[str]
    gone: list[str]


def compare_functions(before: Lesson, here: Lesson) -> FunctionsCompared:
    old, new = functions_of(before), functions_of(here)
    keys = keys_of([before, here])
    old_by_key = {keys[name]: name for name in old}
    replaced = [(old_by_key[keys[name]], name) for name in new if name not in old and keys[name] in old_by_key]
    return FunctionsCompared(
        same=[name for name in new if old.get(name) == new[name]],
        changed=[name for name in new if name in old and old[name] != new[name]],
        replaced=replaced,
        new=[name for name in new if name not in old and name not in (other for _, other in replaced)],
        gone=[name for name in old if name not in new and name not in dict(replaced)],
    )


def functions_of(lesson: Lesson) -> dict[str, str]:
    return {cell.name: cell.text.rstrip() for cell in lesson.cells if cell.kind in ("function", "class")}


def newly_impossible(before: Lesson | None, here: Lesson) -> list[Mistake]:
    """Return the known mistakes that can be made in the folder before and not in this one, with the reason."""
    if before is None:
        return []
    possible = {mistake.name for mistake in mistakes.read(before.path.parent) if mistake.edits}
    return [mistake for mistake in mistakes.read(here.path.parent) if mistake.impossible and mistake.name in possible]


# What was measured
@dataclass(frozen=True)
class Table:
    """A table of a page in Markdown: the line above it, its head, and its rows by what stands in their first cell."""

    said: str
    head: list[str]
    rows: dict[str, list[str]]

    def label(self, lesson: Lesson) -> str | None:
        """Return the row of a lesson; None where it has none yet.

        A row is called after the folder or after its number. Where a folder has several, for several engines, the
        lesson's own comes first, or says so: "02_numpy_manual_backprop (numpy)".
        """
        labels = [label for label in self.rows if lesson.number in numbers_of(label)]
        own = [label for label in labels if (engine := re.search(r"\((\w+)\)", label)) and engine[1] in lesson.folder]
        return next(iter([*own, *labels]), None)

    def cell(self, lesson: Lesson, column: str) -> str:
        """Return what a table says of a lesson in the column whose head begins so; "" if it says nothing."""
        label = self.label(lesson)
        columns = [i for i, head in enumerate(self.head) if head.startswith(column)]
        return self.rows[label][columns[0]] if label and columns else ""


def numbers_of(label: str) -> list[str]:
    """Return the numbers of the folders that a row is about: "02, `--backend numba`", "03, 04", "05_jax"."""
    return re.findall(r"\b\d\d(?=_|\b)", label)


@cache
def tables(path: Path, changed: int) -> dict[str, Table]:
    """Return a page's tables by the heading that they stand under, of each heading the first."""
    found: dict[str, Table] = {}
    heading = said = ""
    block: list[list[str]] = []
    for line in [*path.read_text(encoding="utf-8").splitlines(), ""]:
        if line.startswith("|"):
            block.append([cell.strip() for cell in line.strip("|").split("|")])
            continue
        if block:
            head, _, *rows = block
            found.setdefault(heading, Table(said, head[1:], {row[0]: row[1:] for row in rows}))
            block = []
        if line.startswith("#"):
            heading = line.lstrip("#").strip()
        elif line:
            said = line
    return found


def table(root: Path, page: str, heading: str) -> Table:
    """Return a table of README.md or PERFORMANCE.md by its heading. UserError if it is not there."""
    path = root / page
    found = tables(path, path.stat().st_mtime_ns) if path.exists() else {}
    if heading not in found:
        raise UserError(f"{path}: there is no table under the heading {heading!r}, from which chapters take figures")
    return found[heading]


@dataclass(frozen=True)
class Speeds:
    """Milliseconds of a training step, for several sizes of the model."""

    documents: int  # in a step
    table: Table

    @property
    def sizes(self) -> list[str]:
        return self.table.head

    def of(self, lesson: Lesson) -> list[float | None]:
        """Return a lesson's figure for each size; None where nothing was measured."""
        label = self.table.label(lesson)
        return [number_in(cell) for cell in self.table.rows[label]] if label else [None] * len(self.sizes)

    def text(self, lesson: Lesson, size: int = 0) -> str:
        """Return a figure as it stands in the table; "–" where nothing was measured."""
        label = self.table.label(lesson)
        return self.table.rows[label][size] if label else "–"

    def times(self, slow: Lesson, fast: Lesson, size: int = 0) -> float | None:
        """Return how many times as long the one takes as the other."""
        a, b = self.of(slow)[size], self.of(fast)[size]
        return a / b if a and b else None

    def first_faster(self, lesson: Lesson, than: Lesson) -> str | None:
        """Return the first size at which a lesson is faster than another: "n_embd 128"; None if it never is."""
        pairs = zip(self.sizes, self.of(lesson), self.of(than))
        return next((size for size, a, b in pairs if a and b and a < b), None)


def speeds(root: Path, heading: str) -> Speeds:
    found = table(root, PERFORMANCE, heading)
    documents = re.search(r"(\w+) documents?\b", found.said)
    if not documents or not (documents[1] == "one" or documents[1].isdigit()):
        raise UserError(
            f"{root / PERFORMANCE}: the line above the table of {heading!r} does not say how many documents"
        )
    return Speeds(1 if documents[1] == "one" else int(documents[1]), found)


def number_in(cell: str) -> float | None:
    """Return the first number of a cell: 1706 for "1,706", 0.28 for "0.28 GB"; None for "–"."""
    found = FIRST_NUMBER.search(cell)
    return float(found[0].replace(",", "")) if found else None


def machine(root: Path) -> str:
    """Return what PERFORMANCE.md says of the machine on which its figures were taken."""
    text = " ".join((root / PERFORMANCE).read_text(encoding="utf-8").split())
    found = re.search(r"All figures were taken on (.+?)\. ", text)
    if not found:
        raise UserError(f"{root / PERFORMANCE}: no sentence begins with 'All figures were taken on'; chapters quote it")
    return found[1]


def bounds(root: Path, compared: str) -> dict[str, str]:
    """Return how far results may differ, by the type of their numbers, from README.md's row that begins so."""
    found = table(root, README, "What agrees with what, and how closely")
    rows = [cells for label, cells in found.rows.items() if label.startswith(compared)]
    if not rows:
        raise UserError(f"{root / README}: no row of what agrees with what begins with {compared!r}; chapters show it")
    return {
        head.removeprefix("bound in "): cell for head, cell in zip(found.head, rows[0]) if head.startswith("bound in ")
    }


def exercise(lesson: Lesson, name: str) -> Markup:
    """Say what an exercise of a folder asks for, and how to begin it in a terminal. UserError if there is none."""
    known = {found.name: found for found in catalogue.fill_in(lesson.path.parent)}
    if name not in known:
        raise UserError(f"{lesson.folder} has no exercise {name}; there are: {', '.join(known)}")
    return Markup(
        f'<aside class="exercise"><h3>Exercise</h3><p>{escape(known[name].task)} In a terminal:</p>'
        f"<pre><code>cd {lesson.folder}\nuv run python main.py exercise {name}</code></pre></aside>"
    )


# 01: all folders before one is read, and the graph of a document
def overview(made: Material) -> list[tuple[str, list[int], bool]]:
    """Return for each section its lines in each folder, and whether it is the same text in all of them."""
    rows = []
    for section in SECTIONS:
        texts = [lines_of(lesson, section) for lesson in made.lessons]
        rows.append((section, [len(text) for text in texts], all(text == texts[0] for text in texts)))
    return rows


def alike(made: Material, name: str) -> list[list[str]]:
    """Return the numbers of the lessons that have a function, those together in which it is the same text."""
    groups: dict[str, list[str]] = {}
    for row in made.rows:
        for folder, cell in row.cells.items() if name in row.names else ():
            groups.setdefault(cell.text.rstrip(), []).append(folder.partition("_")[0])
    return [sorted(group) for group in groups.values()]


@dataclass(frozen=True)
class Graph:
    """What a document makes of 01's loss_fn: Values, each computed from others, its children."""

    values: int
    edges: int  # from a Value to a child
    largest: int  # the most children of one Value
    binary: int  # the fewest Values that would do if each had two children at most
    silent: int  # Values whose gradient is 0, so that backward passes nothing on
    reused: int  # numbers, weights among them, that are a child several times
    most: int  # how often that happens to one at most
    weights: int
    touched: int  # weights with a gradient other than 0


def graph(lesson: SimpleNamespace, params: dict[str, np.ndarray], tokens: list[int]) -> Graph:
    """Count what 01 makes of one document, forward and backward. `lesson` is what its file defines."""
    state = lesson.State({name: rows.tolist() for name, rows in params.items()})
    lesson.tape.clear()
    loss = lesson.loss_fn(state.params, tokens, len(tokens) - 1, lesson.CONFIG)
    made = list(lesson.tape)
    uses = Counter(id(child) for value in made for child in value.children)
    lesson.backward(loss)
    return Graph(
        values=len(made),
        edges=uses.total(),
        largest=max(len(value.children) for value in made),
        binary=sum(max(1, len(value.children) - 1) for value in made),
        silent=sum(not value.grad for value in made),
        reused=sum(count > 1 for count in uses.values()),
        most=max(uses.values()),
        weights=len(state.weights),
        touched=sum(w.grad != 0 for w in state.weights),
    )


def mean_edges(lesson: SimpleNamespace, params: dict[str, np.ndarray], count: int) -> float:
    """Return how many edges the first documents of a run have on average."""
    state = lesson.State({name: rows.tolist() for name, rows in params.items()})
    run = batches(lesson, 1)
    edges = 0
    for _ in range(count):
        tokens = next(run)[0]
        lesson.loss_fn(state.params, tokens, len(tokens) - 1, lesson.CONFIG)
        edges += sum(len(value.children) for value in lesson.tape)
        lesson.tape.clear()
    return edges / count


# 02: gradients by hand
def with_backward(lesson: Lesson) -> list[str]:
    """Return the functions that have a partner for the way back: linear, for there is linear_backward."""
    names = functions_of(lesson)
    return [name for name in names if f"{name}_backward" in names]


def gradients_apart(a: Recording, b: Recording) -> float:
    """Return the largest difference of two recordings' gradients by name."""
    return max(float(np.abs(a.grads[name] - b.grads[name]).max()) for name in a.grads)


@dataclass(frozen=True)
class Scaled:
    array: np.ndarray
    factor: int


def scaled(array: np.ndarray) -> Scaled:
    """Return small numbers times a power of ten, so that the largest has one digit before the point, or more."""
    largest = float(np.abs(array).max())
    factor = 10 ** max(0, math.ceil(-math.log10(largest))) if largest else 1
    return Scaled(array * factor + 0.0, factor)  # and −0 becomes 0


def digits(dtype: type[np.floating]) -> int:
    """Return about how many digits a number of a type has: 7 in float32."""
    return round(-math.log10(np.finfo(dtype).eps))


def with_repeated_tokens(lesson: SimpleNamespace) -> list[str]:
    """Return the documents of a run in which a letter stands twice, in the order of training."""
    tokenizer = lesson.Tokenizer(lesson.load_docs(lesson.NAMES, random.Random(lesson.CONFIG.seed)))
    docs = [tokenizer.decode(doc[1:-1]) for batch in batches(lesson, 1) for doc in batch]
    return [doc for doc in docs if len(set(doc)) < len(doc)]


# 04: padding
def own_settings(lesson: Lesson) -> dict[str, Any]:
    """Return the settings in which a lesson differs from the others: those of CONFIG = Config(batch_size=32)."""
    calls = [node for node in ast.walk(ast.parse(lesson.source)) if isinstance(node, ast.Call)]
    configs = [call for call in calls if isinstance(call.func, ast.Name) and call.func.id == "Config"]
    return {word.arg: ast.literal_eval(word.value) for call in configs for word in call.keywords if word.arg}


def recordings_at_the_end(made: Material) -> list[Recording]:
    """Return the recordings of all documents with the weights that training ended with."""
    last = max(step for _, step in made.recordings)
    return [recording for (_, step), recording in made.recordings.items() if step == last]


def shortest(made: Material) -> Recording:
    return min(recordings_at_the_end(made), key=lambda recording: len(recording.tokens))


def batches(lesson: SimpleNamespace, batch_size: int) -> Iterator[list[list[int]]]:
    """Yield the batches of a whole run, as `main` cuts them out of the shuffled documents."""
    config = lesson.CONFIG
    docs = lesson.load_docs(lesson.NAMES, random.Random(config.seed))
    tokenizer = lesson.Tokenizer(docs)
    for step in range(config.num_steps):
        batch = [docs[(step * batch_size + b) % len(docs)] for b in range(batch_size)]
        yield [tokenizer.encode(doc)[: config.block_size + 1] for doc in batch]


def places(lesson: SimpleNamespace, batch_size: int, longest: int = 0) -> tuple[int, int]:
    """Return how many places the padded batches of a run have, and how many of them hold a prediction.

    Each batch is padded to its longest document, or all to one length.
    """
    all_places = predictions = 0
    for batch in batches(lesson, batch_size):
        lengths = [len(doc) - 1 for doc in batch]
        all_places += len(batch) * (longest or max(lengths))
        predictions += sum(lengths)
    return all_places, predictions


def padded(lesson: SimpleNamespace, batch_size: int, labels: list[str], shown: int) -> list[list[str]]:
    """Return the first documents of the first batch as rows of one length: letters, BOS, and "" for padding."""
    batch = next(batches(lesson, batch_size))
    longest = max(len(doc) for doc in batch)
    return [[labels[token] for token in doc] + [""] * (longest - len(doc)) for doc in batch[:shown]]


@dataclass(frozen=True)
class Padded:
    """What padding does to a document's logits: the largest difference over its own tokens."""

    count: int  # tokens of padding
    right: float
    left: float


def moved_by_padding(lesson: SimpleNamespace, recording: Recording, padding: int) -> Padded:
    """Run 02's gpt on a document alone, and filled up to block_size on the right and on the left."""
    tokens = recording.tokens[:-1]
    filler = [padding] * (lesson.CONFIG.block_size - len(tokens))

    def logits(row: list[int]) -> np.ndarray:
        result: np.ndarray = lesson.gpt(recording.params, np.array(row), lesson.CONFIG)[0]
        return result

    alone = logits(tokens)
    right = logits([*tokens, *filler])[: len(tokens)]
    left = logits([*filler, *tokens])[len(filler) :]
    return Padded(len(filler), float(np.abs(right - alone).max()), float(np.abs(left - alone).max()))


def two_means(recordings: list[Recording]) -> tuple[float, float]:
    """Return the mean loss over all tokens of some documents, and the mean of the documents' means."""
    lengths = np.array([len(recording.tokens) - 1 for recording in recordings])
    losses = np.array([recording.loss for recording in recordings])
    return float((losses * lengths).sum() / lengths.sum()), float(losses.mean())
