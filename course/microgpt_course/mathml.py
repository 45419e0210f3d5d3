"""Formulas in MathML, which browsers draw by themselves.

What stands on one line is written as text, with a space between its parts:

    math("y[t,o] =", total("i", "x[t,i] · w[o,i]"))

`x[t,i]` is x with the indices t and i, `x^2` a power, `x[i]^2` both; `w^⊤` is the transposed matrix. Fractions, roots,
sums and what stands above or below a name have functions. Their arguments are such texts, or what a function returns.
"""

import re
from itertools import pairwise

from markupsafe import Markup, escape

WORD = r"[^\W\d]\w*'?"
TOKEN = re.compile(
    rf"(?P<base>{WORD}|\d+(?:\.\d+)?(?:e-?\d+)?)(?:\[(?P<index>[^\[\]]*)\])?(?:\^(?P<exponent>\S))?|(?P<sign>\S)"
)
SPACE = Markup('<mspace width="0.2em"/>')  # between two factors: attn_weights v would read as one name

Part = str | int | float


def math(*parts: Part) -> Markup:
    """Return a formula on a line of its own."""
    return element("math", row(*parts), display="block")


def with_text(formula: str, text: str) -> Markup:
    """Return a formula with the text that is read aloud in its place.

    MathML calls it alttext, but Chromium tells screen readers the aria-label only.
    """
    return Markup(str(formula).replace("<math ", f'<math alttext="{escape(text)}" aria-label="{escape(text)}" ', 1))


def frac(above: Part, below: Part) -> Markup:
    return element("mfrac", row(above), row(below))


def root(*parts: Part) -> Markup:
    return element("msqrt", row(*parts))


def total(index: Part, *parts: Part) -> Markup:
    """Return a sum over an index."""
    return element("mrow", element("munder", element("mo", "∑"), row(index)), row(*parts))


def under(name: Part, below: Part) -> Markup:
    """Return a name with something below it, such as max over i."""
    return element("munder", row(name), row(below))


def hat(name: Part) -> Markup:
    return element("mover", row(name), element("mo", "^"), accent="true")


def power(base: Part, *exponent: Part) -> Markup:
    """Return a power whose exponent is more than one sign. A base of several parts needs its own brackets."""
    return element("msup", row(base), row(*exponent))


def one_if(*condition: Part) -> Markup:
    """Return a condition in square brackets: 1 where it holds, 0 elsewhere."""
    return element("mrow", element("mo", "["), row(*condition), element("mo", "]"))


def words(text: str) -> Markup:
    """Return words in a formula, such as "if" or "where", with space around them."""
    return element("mtext", f"\N{NO-BREAK SPACE}{text}\N{NO-BREAK SPACE}")


def row(*parts: Part) -> Markup:
    """Return the parts beside each other. What is in brackets is a row of its own, so brackets are as tall as that."""
    rows: list[list[Markup]] = [[]]
    for piece in pieces(parts):
        if piece == OPEN:
            rows.append([piece])
        elif piece != CLOSE:
            rows[-1].append(piece)
        elif len(rows) == 1:
            raise ValueError(f"a bracket is closed that nobody opened, in {parts}")
        else:
            inner = rows.pop()
            rows[-1].append(element("mrow", *spaced([*inner, piece])))
    if len(rows) > 1:
        raise ValueError(f"a bracket is not closed, in {parts}")
    only = spaced(rows[0])
    return only[0] if len(only) == 1 else element("mrow", *only)


def pieces(parts: tuple[Part, ...]) -> list[Markup]:
    found: list[Markup] = []
    for part in parts:
        found += [part] if isinstance(part, Markup) else [token(match) for match in TOKEN.finditer(str(part))]
    return found


def token(match: re.Match[str]) -> Markup:
    """Return a name or a number, with index and exponent if it has them, or a sign."""
    if sign := match["sign"]:
        if sign in "[]^":
            raise ValueError(f"{sign} is not part of an index or a power of one sign, in {match.string!r}")
        return element("mo", {"-": "−", "*": "·"}.get(sign, sign))
    base = element("mn" if match["base"][0].isdigit() else "mi", match["base"])
    if match["index"] and match["exponent"]:
        return element("msubsup", base, row(match["index"]), simple(match["exponent"]))
    if match["index"]:
        return element("msub", base, row(match["index"]))
    return element("msup", base, simple(match["exponent"])) if match["exponent"] else base


def simple(sign: str) -> Markup:
    return element("mn" if sign.isdigit() else "mi" if sign.isalpha() else "mo", sign)


def spaced(found: list[Markup]) -> list[Markup]:
    """Return the pieces with space between factors. A bracket after a name, as in exp(x), follows it closely."""
    parts = found[:1]
    for left, right in pairwise(found):
        parts += [right] if left.startswith(NO_FACTOR) or right.startswith((*NO_FACTOR, BRACKETS)) else [SPACE, right]
    return parts


def element(tag: str, *content: str, **attributes: str) -> Markup:
    shown = "".join(f' {name}="{escape(value)}"' for name, value in attributes.items())
    return Markup(f"<{tag}{shown}>{''.join(escape(part) for part in content)}</{tag}>")


IN_TEMPLATES = (math, frac, root, total, under, hat, power, one_if, words, row)

OPEN, CLOSE = element("mo", "("), element("mo", ")")
BRACKETS = Markup("<mrow>") + OPEN
NO_FACTOR = ("<mo>", "<mtext>")
