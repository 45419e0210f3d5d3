"""Numbers in a text, and tables of them as pictures."""

import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from markupsafe import Markup, escape

from .site import WORDS

STRENGTH = 48  # per cent of the colour in the strongest cell of a heat map: text on it stays readable


def num(number: float, digits: int = 4) -> str:
    """Return a number as pages show it: 4,064 and 0.0123, 1.500, 3.20e-7.

    Whole numbers are whole. Others have as many digits as help: `digits` behind the point where they are below 1, fewer
    where they are larger.
    """
    number = float(number)
    if not math.isfinite(number):
        return {"inf": "∞", "-inf": "−∞"}.get(str(number), "–")
    size = abs(number)
    if number.is_integer() and size < 1e15:
        return f"{number:,.0f}".replace("-", "−")
    if size < 10.0**-digits or size >= 1e5:
        return re.sub(r"e([+-])0*", lambda sign: "e" + sign[1].strip("+"), f"{number:.2e}").replace(
            "-", "−", number < 0
        )
    behind = digits if size < 1 else digits - 1 if size < 100 else digits - 3
    return f"{number:,.{max(0, behind)}f}".replace("-", "−")


def exact(number: float) -> str:
    """Return a number that somebody chose, with the digits that it was chosen with: 0.02, 1e-08."""
    return f"{number:g}"


def spelled(number: int) -> str:
    """Return a small number as a word, as in a sentence: six; larger ones in digits."""
    return WORDS[number] if 0 < number < len(WORDS) else num(number)


def listed(items: Iterable[Any], code: bool = False) -> Markup:
    """Return things as a sentence lists them: a, b and c. Each may be HTML, or the name of something in the code."""
    *others, last = [Markup("<code>{}</code>").format(item) if code else escape(item) for item in items]
    return Markup(", ").join(others) + Markup(" and ") + last if others else last


def percent(share: float, digits: int = 0) -> str:
    return f"{100 * share:.{digits}f}\N{NO-BREAK SPACE}%"


def text(value: Any) -> Markup:
    """Show letters as they are: a name, a token's character."""
    return Markup(f'<code class="text">{escape(value)}</code>')


def letters(chars: Iterable[str], tokens: Iterable[int]) -> list[str]:
    """Return a label for each token: its character, or BOS."""
    known = list(chars)
    return [known[token] if token < len(known) else "BOS" for token in tokens]


def plain(value: Any) -> Any:
    """Return a value as JSON can say it: lists for arrays, None for what is not finite, numbers of 6 digits."""
    if isinstance(value, np.ndarray):
        return plain(value.tolist())
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple | range):
        return [plain(item) for item in value]
    if isinstance(value, float | np.floating):
        return float(f"{value:.6g}") if math.isfinite(value) else None
    return value.item() if isinstance(value, np.generic) else value


@dataclass(frozen=True)
class Head:
    """The labels of a table, and what they say."""

    rows: Sequence[Any]
    cols: Sequence[Any]
    row_title: str = ""
    col_title: str = ""


def heat_html(array: np.ndarray, head: Head, title: str, digits: int, numbers: bool) -> str:
    """Return a table whose cells are coloured by their numbers, and empty for nan. `title` is HTML."""
    finite = array[np.isfinite(array)]
    largest = float(np.abs(finite).max()) if finite.size else 0.0
    cells = [[heat_cell(x, largest, digits, numbers) for x in row] for row in array]
    return table_html(cells, head, f"{title} {legend(array, largest, digits)}", "heat" if numbers else "heat small")


def plain_html(array: np.ndarray, head: Head, title: str, digits: int) -> str:
    """Return a table of numbers that are no amounts, so without colours."""
    return table_html([[f"<td>{x:.{digits}f}</td>" for x in row] for row in array], head, title, "heat plain")


def table_html(cells: list[list[str]], head: Head, caption: str, css: str) -> str:
    titles = filter(None, [head.row_title and f"{head.row_title} ↓", head.col_title and f"{head.col_title} →"])
    corner = " ".join(f"<span>{escape(title)}</span>" for title in titles)
    top = "".join(f'<th scope="col">{escape(label)}</th>' for label in head.cols)
    body = "".join(
        f'<tr><th scope="row">{escape(label)}</th>{"".join(row)}</tr>'
        for label, row in zip(head.rows, cells, strict=True)
    )
    name = escape(re.sub(r"<[^>]*>", "", caption)) or "numbers"
    return (
        f'<figure class="tensor"><div class="scroll" role="group" tabindex="0" aria-label="{name}">'
        f'<table class="{css}"><thead><tr><td class="corner">{corner}</td>{top}</tr></thead>'
        f"<tbody>{body}</tbody></table></div><figcaption>{caption}</figcaption></figure>"
    )


def heat_cell(number: float, largest: float, digits: int, numbers: bool) -> str:
    if not math.isfinite(number):
        return '<td class="hidden-cell"></td>'
    share = round(STRENGTH * abs(number) / largest) if largest else 0
    shown = f"{number:.{digits}f}".replace("-", "−")
    css = "minus" if number < 0 else "plus"
    inner = shown if numbers else f'<span class="only-heard">{shown}</span>'
    return f'<td class="{css}" style="--share:{share}%" title="{num(number)}">{inner}</td>'


def legend(array: np.ndarray, largest: float, digits: int) -> str:
    """Say what the colours mean, with the numbers at the ends of the scale."""
    shown = f"{largest:.{digits}f}"
    ends = [("minus", f"−{shown}")] if np.nanmin(array) < 0 else []
    ends += [("zero", "0"), ("plus", shown)]
    swatches = "".join(f'<span><i class="{css}"></i>{label}</span>' for css, label in ends)
    return f'<span class="scale" aria-hidden="true">{swatches}</span>'
