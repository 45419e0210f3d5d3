"""What every command says in the same way: text from outside made harmless, a line on standard error, a path."""

import contextlib
import os
import re
import sys
from pathlib import Path
from typing import Any

from . import interrupts

# What commands a terminal (C0, DEL, C1), breaks a line (U+2028, U+2029), turns around the order in which text is read
# (Unicode's twelve bidirectional controls: Boucher & Anderson 2021, "Trojan Source"), or is no character (surrogates).
UNPRINTABLE = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")


def printable(text: str, keep: str = "") -> str:
    """Return text from a file, a name or a server as it may be shown: control characters as Python spells them, \\x1b.

    `keep` names those that are meant, such as the newlines of a stream. What is printable already comes back as it is.
    """

    def escaped(found: re.Match[str]) -> str:
        char = found.group()
        return char if char in keep else char.encode("unicode_escape").decode("ascii")

    return UNPRINTABLE.sub(escaped, text)


def say(message: str) -> None:
    """Print one line on standard error. If nobody can read it, the exit code says enough."""
    with contextlib.suppress(OSError):
        print(f"{interrupts.program}: " + printable(" ".join(message.split())), file=sys.stderr, flush=True)


def shown(path: Path) -> str:
    """A path as short as it can be written from here."""
    with contextlib.suppress(ValueError):
        return printable(os.path.relpath(path))
    return printable(str(path))


def shortened(value: Any) -> str:
    """Return a value as Python writes it, in no more than a line's length."""
    try:
        text = repr(value)
    except ValueError:  # Python refuses to write a number of more than 4300 digits
        return "a number of thousands of digits"
    return text if len(text) <= 60 else text[:57] + "..."
