"""What a chapter's file has at hand. Tools.names() lists it; each function says here what it is for.

Blocks of HTML (code, tables, answers) are kept aside while Markdown is read, which would take some of their lines for
its own: in the text stands an empty element in their place, and `fill` puts them in.
"""

import ast
import importlib
import json
import math
import re
import textwrap
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from markdown_it import MarkdownIt
from markupsafe import Markup, escape
from microgpt_harness.system.errors import UserError
from microgpt_harness.tools import mistakes
from microgpt_harness.tools.exercises import catalogue

from . import folder_data, material, mathml, record
from .code import cell_html
from .figures import Head, exact, heat_html, letters, listed, num, percent, plain, plain_html, spelled, text
from .glossary import Entry, look_up
from .lessons import Cell, Lesson
from .material import Material
from .recording.program import load
from .site import WEB, Site

MARKDOWN = MarkdownIt("commonmark", {"html": True}).enable("table")
# What may be wider than a phone scrolls by itself, also by the keyboard.
MARKDOWN.add_render_rule(
    "table_open", lambda *_: '<div class="scroll" role="group" tabindex="0" aria-label="table"><table>'
)
MARKDOWN.add_render_rule("table_close", lambda *_: "</table></div>")
MARKDOWN.add_render_rule("fence", lambda _, tokens, i, *__: commands(tokens[i].content))
HELD = re.compile(r'<(div|span) data-held="(\d+)"></\1>')
# What closes a sentence stays on the line of the word before it, also where that is a button.
END_OF_TERM = re.compile(r'(<button [^>]*class="term"[^>]*>[^<]*</button>(?:<span popover.*?</span>)?)([.,:;?!)]+)')
Texts = Callable[[], str]  # what stands in a Jinja2 call block


@dataclass
class Tools:
    """The tools of one chapter, and what has been used of them."""

    site: Site
    made: Material
    glossary: dict[str, Entry]
    chapters: dict[str, Any]  # by section or folder
    file: Path
    held: list[str] = field(default_factory=list)
    questions: int = 0
    widgets: dict[str, None] = field(default_factory=dict)  # names, in order and each once
    terms: set[str] = field(default_factory=set)

    def names(self) -> dict[str, Any]:
        """Return all that a chapter's file may use, by name."""
        tools = (
            self.code, self.side, self.same, self.tensor, self.widget, self.question, self.exercise, self.term,
            self.read, self.chapter, self.folder, self.mistake, self.wrong, self.rec, self.rec01, self.functions,
        )  # fmt: skip
        formulas = (
            mathml.math, mathml.frac, mathml.root, mathml.total, mathml.under, mathml.hat, mathml.power, mathml.words,
        )  # fmt: skip
        builtins = (
            abs, all, any, dict, enumerate, float, int, len, list, max, min, range, round, set, sorted, str, sum, zip,
        )  # fmt: skip
        return {
            **{
                tool.__name__: tool
                for tool in (*builtins, *formulas, *tools, num, exact, listed, percent, spelled, text, letters)
            },
            "np": np,
            "ln": math.log,
            "made": self.made,
            "lessons": self.made.lessons,
            "config": self.functions(material.EXPLICIT).Config(),
            "here": self.own_module(),
            "folder_data": folder_data,
        }

    def own_module(self) -> Any:
        """Return the chapter's own module of computations, chapter_data/<section or folder>.py; None without one."""
        name = f"{__package__}.chapter_data.{re.sub(r'[^a-z0-9]+', '_', self.file.stem.split('-', 1)[1])}"
        return importlib.import_module(name) if find_spec(name) else None

    # Code
    def code(self, name: str, folder: str = material.EXPLICIT, first: str = "", last: str = "") -> Markup:
        """Show a function, class, method ("Value.exp") or the statements that begin by setting a name.

        `folder` is a folder's name or its number. `first` and `last` are beginnings of lines: only these lines and
        those between them are shown.
        """
        lesson = self.lesson(folder)
        return self.hold(block(lesson, part(lesson, self.cell(lesson, name), first, last)))

    def side(self, name: str, *folders: str, first: str = "", last: str = "") -> Markup:
        """Show the same function in two folders beside each other: in 01 and another, or in the two that are named.

        `first` and `last` are as in `code`.
        """
        pair = folders if len(folders) > 1 else (material.EXPLICIT, *folders)
        lessons = [self.lesson(folder) for folder in pair]
        blocks = "".join(block(lesson, part(lesson, self.cell(lesson, name), first, last)) for lesson in lessons)
        return self.hold(f'<div class="side">{blocks}</div>')

    def same(self, name: str) -> bool:
        """Return whether a function is the same text in every folder."""
        return any(row.identical for row in self.made.rows if name in row.names)

    def lesson(self, folder: str) -> Lesson:
        found = [lesson for lesson in self.made.lessons if folder in (lesson.folder, lesson.number)]
        if not found:
            raise UserError(f"there is no folder {folder}; there are: {', '.join(x.folder for x in self.made.lessons)}")
        return found[0]

    def cell(self, lesson: Lesson, name: str) -> Cell:
        """Return a lesson's cell by its name, or by the name that another folder gives to its like."""
        outer, _, method = name.partition(".")
        cells = [cell for cell in lesson.cells if cell.name == outer]
        cells += [
            row.cells[lesson.folder] for row in self.made.rows if outer in row.names and lesson.folder in row.cells
        ]
        if not cells:
            raise UserError(f"{lesson.folder} has no {outer} to show")
        return method_of(lesson, cells[0], method) if method else cells[0]

    # Numbers
    def rec(self, document: int = 0, moment: int = -1) -> record.Recording:
        """Return a recording of 02: `document` counts those that are recorded, `moment` the moments of training."""
        return recording(self.made.recordings, document, moment)

    def rec01(self, document: int = 0, moment: int = -1) -> record.Recording:
        return recording(self.made.explicit_recordings, document, moment)

    def functions(self, folder: str) -> ModuleType:
        """Return what a lesson defines, to compute with: functions("01").Tokenizer. Only 01 and 02 can be run here."""
        return run_lesson(self.lesson(folder).path, self.lesson(folder).source)

    def tensor(
        self,
        values: Any,
        rows: Sequence[Any] = (),
        cols: Sequence[Any] = (),
        caption: str = "",
        digits: int = 2,
        numbers: bool = True,
        coloured: bool = True,
        row_title: str = "",
        col_title: str = "",
    ) -> Markup:
        """Show a recorded Value, or an array, of one or two axes as a table coloured by its numbers.

        Rows and columns are labelled by what is given, otherwise by counting from 0. Without `numbers` the cells are
        small and say theirs when pointed at. What is no amount, such as tokens, is not coloured. nan is shown as an
        empty cell: what a mask hides.
        """
        array = np.atleast_2d(np.asarray(getattr(values, "array", values), dtype=float))
        if array.ndim != 2:
            raise UserError(f"tensor: an array of shape {array.shape} is no table; choose a part of it: value.array[0]")
        title = caption or getattr(values, "name", "")
        head = Head(list(rows) or range(array.shape[0]), list(cols) or range(array.shape[1]), row_title, col_title)
        shown = MARKDOWN.renderInline(str(title))
        return self.hold(
            heat_html(array, head, shown, digits, numbers) if coloured else plain_html(array, head, shown, digits)
        )

    # Text
    def question(self, asked: str, caller: Texts) -> Markup:
        """Ask a question; its answer, in the call block, is folded away."""
        self.questions += 1
        number = self.questions
        return self.hold(
            f'<section class="question" aria-labelledby="question-{number}">'
            f'<h3 id="question-{number}">Question {number}</h3>{markdown(asked)}'
            f"<details><summary>Answer</summary>{markdown(caller())}</details></section>"
        )

    def widget(self, name: str, /, caller: Texts | None = None, **data: Any) -> Markup:
        """Make room for web/widgets/<name>.js. The call block says in text what there is without JavaScript."""
        if not (WEB / "widgets" / f"{name}.js").exists():
            raise UserError(f"there is no widget {name} in web/widgets")
        self.widgets[name] = None
        given = json.dumps(plain(data), ensure_ascii=False, allow_nan=False, separators=(",", ":")).replace(
            "<", "\\u003c"
        )
        fallback = f'<div class="fallback">{markdown(caller())}</div>' if caller else ""
        return self.hold(
            f'<div class="widget" data-widget="{name}"><script type="application/json">{given}</script>{fallback}</div>'
        )

    def term(self, word: str, shown: str = "") -> Markup:
        """Explain a word from the glossary when it is pressed. `shown` is how it stands in the sentence."""
        entry = look_up(self.glossary, word)
        key = "term-" + re.sub(r"[^a-z0-9]+", "-", entry.word.lower()).strip("-")
        button = f'<button type="button" class="term" popovertarget="{key}">{escape(shown or word)}</button>'
        if key in self.terms:
            return self.hold(button, inline=True)
        self.terms.add(key)
        shows = f" In the code: {self.read(entry.name)}" if entry.name and self.row_of(entry.name) else ""
        meaning = MARKDOWN.renderInline(entry.meaning)
        tip = f'<span popover class="tip" id="{key}"><b>{escape(entry.word)}</b>{meaning}{shows}</span>'
        return self.hold(button + tip, inline=True)

    def exercise(self, name: str) -> Markup:
        """Link to an exercise of 01, in the page and on the command line."""
        folder = self.lesson(material.EXPLICIT).path.parent
        exercises = {exercise.name: exercise for exercise in [*catalogue.fill_in(folder), *catalogue.extend()]}
        if name not in exercises:
            raise UserError(f"01 has no exercise {name}; there are: {', '.join(exercises)}")
        terminal = commands(f"cd {folder.name}\nuv run python main.py exercise {name}")
        return self.hold(
            f'<aside class="exercise"><h3>Exercise</h3><p>{MARKDOWN.renderInline(exercises[name].task)} '
            f'<a href="exercises.html#{name}">Do it in the browser</a>, or in a terminal:</p>'
            f"{terminal}</aside>"
        )

    def read(self, name: str, shown: str = "") -> Markup:
        """Link to a function where all folders stand side by side."""
        row = self.row_of(name)
        if not row:
            raise UserError(f"no lesson has a {name} to read")
        return Markup(f'<a href="read.html#{row.anchor}">{escape(shown) or f"<code>{escape(name)}</code>"}</a>')

    def row_of(self, name: str) -> Any:
        return next((row for row in self.made.rows if name in row.names), None)

    def chapter(self, name: str, shown: str = "") -> Markup:
        """Link to another chapter: that of a section, or of a folder. Its name alone while it is not written."""
        for key, chapter in self.chapters.items():
            if name in (key, key.partition("_")[0]):
                return Markup(f'<a href="{chapter.address}">{escape(shown or chapter.kicker)}</a>')
        return escape(shown or name)

    def folder(self, number: str) -> Markup:
        """Name a folder in a sentence."""
        return Markup(f"<code>{escape(self.lesson(number).folder)}</code>")

    def mistake(self, name: str, folder: str = material.EXPLICIT) -> mistakes.Mistake:
        """Return a known mistake: what it `says`, and why it stays `unnoticed` by whoever watches the loss."""
        found = {mistake.name: mistake for mistake in mistakes.read(self.lesson(folder).path.parent)}
        if name not in found:
            raise UserError(f"{folder} knows no mistake {name}; there are: {', '.join(found)}")
        return found[name]

    def wrong(self, name: str, folder: str = material.EXPLICIT) -> Markup:
        """Show a known mistake: what is wrong in it, and what somebody sees who only watches the loss."""
        mistake = self.mistake(name, folder)
        says, unnoticed = (MARKDOWN.renderInline(part) for part in (mistake.says, mistake.unnoticed))
        return self.hold(
            f'<aside class="mistake"><h3>If it is wrong</h3><p>{says}</p>'
            f"<p><b>What you see if you only watch the loss:</b> {unnoticed}</p></aside>"
        )

    # Blocks
    def hold(self, html: str, inline: bool = False) -> Markup:
        self.held.append(html)
        tag = "span" if inline else "div"
        mark = f'<{tag} data-held="{len(self.held) - 1}"></{tag}>'
        return Markup(mark if inline else f"\n\n{mark}\n\n")

    def fill(self, html: str) -> str:
        """Put the blocks in, also those that stand in others."""
        while HELD.search(html):
            html = HELD.sub(lambda match: self.held[int(match[2])], html)
        html = re.sub(r"(?<=\d) × (?=\d)", "\N{NO-BREAK SPACE}×\N{NO-BREAK SPACE}", html)
        return END_OF_TERM.sub(r'<span class="term-end">\1\2</span>', html)


# Code
def commands(lines: str) -> str:
    return f'<pre role="group" tabindex="0" aria-label="in a terminal"><code>{escape(lines)}</code></pre>'


def block(lesson: Lesson, cell: Cell) -> str:
    """Return lines of a lesson as a figure. Their numbers lead to the page where all folders stand side by side."""
    lines = re.sub(r' id="[^"]*"', "", cell_html(lesson, cell)).replace('href="#', 'href="read.html#')
    last = cell.first + lines.count("\n")
    title = f"{lesson.folder}/microgpt.py, " + (
        f"lines {cell.first} to {last}" if last > cell.first else f"line {last}"
    )
    return (
        f'<figure class="code-block"><figcaption>{title}</figcaption>'
        f'<pre class="code" role="group" aria-label="{title}">{lines}</pre></figure>'
    )


def part(lesson: Lesson, cell: Cell, first: str, last: str) -> Cell:
    """Return the part of a cell from the line that begins with `first` to the one that begins with `last`."""
    lines = lesson.source.splitlines()[cell.first - 1 : cell.last]
    begin = find_line(cell, lines, first, 0) if first else 0
    end = find_line(cell, lines, last, begin) if last else len(lines) - 1
    return replace(cell, first=cell.first + begin, last=cell.first + end)


def find_line(cell: Cell, lines: list[str], start: str, after: int) -> int:
    for i in range(after, len(lines)):
        if lines[i].lstrip().startswith(start):
            return i
    raise UserError(f"no line of {cell.name} begins with {start!r}")


def method_of(lesson: Lesson, cell: Cell, name: str) -> Cell:
    for node in ast.walk(ast.parse(lesson.source)):
        if isinstance(node, ast.FunctionDef) and node.name == name and cell.first <= node.lineno <= cell.last:
            return replace(cell, first=node.lineno, last=node.end_lineno)
    raise UserError(f"{lesson.folder} has no {cell.name}.{name} to show")


@cache
def run_lesson(path: Path, source: str) -> ModuleType:
    """Return what a lesson's file defines. `source` is what it was when it was run: a changed file is run anew."""
    return load(path.parent).module


# Numbers
def recording(recordings: dict[tuple[str, int], record.Recording], document: int, moment: int) -> record.Recording:
    documents = list(dict.fromkeys(name for name, _ in recordings))
    steps = sorted({step for _, step in recordings})
    return recordings[documents[document], steps[moment]]


# Text
def markdown(source: str) -> str:
    return MARKDOWN.render(textwrap.dedent(str(source)).strip())
