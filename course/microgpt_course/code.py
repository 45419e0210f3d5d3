"""A lesson's code as HTML: highlighted, with an anchor for each line and the names marked.

Every word is an element of its own, so that a page can compare two columns word by word. A name is marked with
`data-name`, and the cell that it stands in says its function, so that a click on it finds its recorded numbers.
"""

import html
from collections.abc import Iterator

from pygments.lexers import PythonLexer
from pygments.token import Comment, Keyword, Name, Number, Operator, String, Token

from .lessons import Cell, Lesson

CLASSES = {Comment: "c", Keyword: "k", String: "s", Number: "m", Operator.Word: "k", Operator: "o"}


def cell_html(lesson: Lesson, cell: Cell) -> str:
    """Return the lines of a cell, each `<span class="line">` with a link to itself."""
    lines = highlighted(lesson)[cell.first - 1 : cell.last]
    while lines and not lines[-1]:  # the blank lines between two functions
        lines.pop()
    last = cell.first + len(lines) - 1
    return "".join(line_html(lesson, number, line, number < last) for number, line in enumerate(lines, cell.first))


def line_html(lesson: Lesson, number: int, line: str, goes_on: bool) -> str:
    """Return a line as a block of its own. Where lines follow, it ends with the line break: between two blocks a break
    would be drawn as a blank line.
    """
    anchor = line_anchor(lesson, number)
    rest = line.lstrip(" ")
    blanks = line[: len(line) - len(rest)]
    # they are there to be copied; the style sheet moves the line, and further in what of it does not fit
    indent = f' style="--in:{len(blanks)}"' if blanks else ""
    line = f"<b>{blanks}</b>{rest}" if blanks else line
    # the number is drawn by the style sheet, so that copied code has none
    link = f'<a class="no" href="#{anchor}" aria-label="line {number}" data-no="{number}" tabindex="-1"></a>'
    end = "\n" if goes_on else ""
    return f'<span class="line" id="{anchor}"{indent}>{link}{line}{end}</span>'


def line_anchor(lesson: Lesson, number: int) -> str:
    return f"{lesson.number}-{number}"


def block_html(lesson: Lesson, cell: Cell, caption: str = "") -> str:
    """Return a cell as a whole block of code, with its caption and its line numbers, for use within a text."""
    title = html.escape(caption or f"{lesson.folder}/microgpt.py, lines {cell.first} to {cell.last}")
    label = f'role="region" aria-label="{title}"'
    opened = f'<pre class="code" {label} data-folder="{lesson.folder}" data-function="{html.escape(cell.name)}">'
    return f"<figure class=code-block><figcaption>{title}</figcaption>{opened}{cell_html(lesson, cell)}</pre></figure>"


def highlighted(lesson: Lesson) -> list[str]:
    """Return each line of a lesson as HTML. Pygments sees the whole file: a docstring may go over several lines."""
    key = (lesson.folder, lesson.source)
    if key not in _lines:
        _lines[key] = list(to_lines(lesson.source))
    return _lines[key]


_lines: dict[tuple[str, str], list[str]] = {}


def to_lines(source: str) -> Iterator[str]:
    line: list[str] = []
    for kind, text in PythonLexer(stripnl=False).get_tokens(source):
        first, *rest = text.split("\n")
        line.append(words(kind, first))
        for part in rest:
            yield "".join(line).rstrip()
            line = [words(kind, part)]


def words(kind: Token, text: str) -> str:
    """Return a token's text in elements, one for each word, and blanks between them as they are."""
    css = next((css for base, css in CLASSES.items() if kind in base), "")
    parts = []
    word = ""
    for char in text + " ":
        if char != " ":
            word += char
            continue
        if word:
            parts.append(word_html(kind, css, word))
        parts.append(" ")
        word = ""
    return "".join(parts[:-1])


def word_html(kind: Token, css: str, word: str) -> str:
    attributes = f' class="{css}"' if css else ""
    if kind in Name and word.isidentifier():
        attributes += f' data-name="{word}"'
    return f"<i{attributes}>{html.escape(word, quote=False)}</i>"
