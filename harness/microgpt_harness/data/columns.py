"""CSV: one column of it as documents, and whether a text looks like it."""

import re
from collections.abc import Iterable, Iterator
from itertools import chain

from ..system.errors import UserError

DELIMITERS = ",;\t|"
SUFFIXES = (".csv", ".tsv")
LOOKED_AT = 1000  # lines
FEWEST_LINES = 20  # that have to agree before a file without such a suffix looks like CSV
SHOWN, LONGEST = 12, 40  # columns that a message names, and characters of one's name


def column(pieces: Iterable[str], name: str, where: str) -> Iterator[str]:
    """Yield the column's values without empty ones, each on one line, of a text that comes in pieces.

    The first line is the header, and the delimiter is the one that it holds most of: comma, semicolon, tab or bar.
    UserError lists the columns if this one is not there.
    """
    import csv

    lines = physical_lines(pieces)
    header = next((line for line in lines if line != "\n"), "")
    rows = csv.reader(chain([header], lines), delimiter=delimiter(header) or ",")
    try:
        columns = next(filter(None, rows), [])
        if name not in columns:
            raise UserError(f"{where}: no column {name!r}; the columns are {listed(columns) or 'none'}")
        place = columns.index(name)
        for row in rows:
            # A quoted field may hold newlines, but a document is one line.
            if len(row) > place and (value := " ".join(row[place].splitlines()).strip()):
                yield value
    except csv.Error as error:
        raise UserError(f"{where}: not readable as CSV: {error}") from error


def physical_lines(pieces: Iterable[str]) -> Iterator[str]:
    """Yield the lines of a text that comes in pieces, each with its newline."""
    begun: list[str] = []
    for piece in pieces:
        first, *others = piece.split("\n")
        begun.append(first)
        for line in others:
            yield "".join(begun) + "\n"
            begun = [line]
    if last := "".join(begun):
        yield last


def delimiter(text: str) -> str:
    """Return the delimiter of the first line that is not empty, or "" if there is none outside quotes."""
    header = text.lstrip("\n").partition("\n")[0]
    outside = re.sub(r'"[^"]*"', "", header)
    most = max(DELIMITERS, key=outside.count)
    return most if most in outside else ""


def found_in(text: str, suffix: str) -> list[str]:
    """Return the columns of a text that looks like CSV, else none.

    A list of names or a play must never look like it: without the suffix of a CSV file, all its first lines have to
    split into equally many fields, at delimiters that no space follows ("Doe, Jane" is a name, not two fields).
    """
    import csv

    mark = delimiter(text)
    if not mark:
        return []
    lines = [line for line in text.split("\n", LOOKED_AT)[:LOOKED_AT] if line.strip()]
    try:
        rows = list(csv.reader(lines, delimiter=mark))
    except csv.Error:
        return []
    if suffix.lower() in SUFFIXES:
        return rows[0]
    regular = len({len(row) for row in rows}) == 1 and not any(mark + " " in line for line in lines)
    return rows[0] if regular and len(rows) >= FEWEST_LINES else []


def listed(columns: list[str]) -> str:
    more = f" and {len(columns) - SHOWN} more" if len(columns) > SHOWN else ""
    names = [name if len(name) <= LONGEST else name[: LONGEST - 1] + "…" for name in columns[:SHOWN]]
    return ", ".join(names) + more
