"""`main.py --list`: the datasets, and each one's own defaults."""

import shutil
import sys
import textwrap

from ..data import registry, sources
from ..system.console import printable, say
from .settings import plain

NARROWEST = 20  # columns for the words of a line, however narrow the terminal


def command() -> int:
    """Print a table of the datasets and their defaults: on a terminal as wide as that is, else one line each."""
    width = shutil.get_terminal_size().columns if sys.stdout.isatty() else None
    rows = sources.listing()
    print(f"{'name':14s} {'mode':9s} {'documents':>9s} {'characters':>10s}  {'where':9s} licence")
    for row in rows:
        counts = f"{row['documents']:9,d} {row['characters']:10,d}"
        print(hanging(f"{row['name']:14s} {row['mode']:9s} {counts}  {row['where']:9s} ", row["licence"], width))
    print("\ndefaults that differ from the lesson's Config:")
    for row in rows:
        own = {key: value for table in row["defaults"].values() for key, value in table.items()}
        # A space that does not break keeps a name and its value on one line.
        pairs = ", ".join(f"{key}\N{NO-BREAK SPACE}{plain(value)}" for key, value in own.items())
        print(hanging(f"{row['name']:14s} ", pairs or "none", width).replace("\N{NO-BREAK SPACE}", " "))
    for fault in registry.faults().values():
        say(f"left out: {fault}")
    return 0


def hanging(head: str, text: str, width: int | None) -> str:
    """Return `head` and `text` on lines of at most `width` columns, broken between words, aligned behind the head."""
    if width is None:
        return printable(head + text)
    room = max(width - len(head), NARROWEST)
    lines = textwrap.wrap(text, room, break_long_words=False, break_on_hyphens=False)
    return printable(head + ("\n" + " " * len(head)).join(lines), keep="\n")
