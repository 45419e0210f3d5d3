"""What every command says in the same way: text from outside made harmless, a line on standard error, a path."""

import contextlib
import os
import re
import sys
import time
from pathlib import Path
from typing import Any

from . import interrupts

# What commands a terminal (C0, DEL, C1), breaks a line (U+2028, U+2029), turns around the order in which text is read
# (Unicode's twelve bidirectional controls: Boucher & Anderson 2021, "Trojan Source"), or is no character (surrogates).
UNPRINTABLE = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")


FIRST_SPEAKS = 1.0  # seconds that a process with another number than 0 waits before it says why it ends


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
    if interrupts.rank:
        return
    with contextlib.suppress(OSError):
        print(f"{interrupts.program}: " + printable(" ".join(message.split())), file=sys.stderr, flush=True)


def follow(rank: int) -> None:
    """This process is number `rank` of several, which do the same at the same time. Only number 0 speaks."""
    interrupts.together, interrupts.rank = True, rank
    if rank:
        sys.stdout = Path(os.devnull).open("w", encoding="utf-8")  # noqa: SIM115 (open as long as the program runs)


def last_words(message: str) -> None:
    """Say why this process ends. What all find wrong, number 0 says, and the launcher ends the others meanwhile."""
    if interrupts.rank:
        time.sleep(FIRST_SPEAKS)
        interrupts.program += f" (process {interrupts.rank})"
        interrupts.rank = 0
    say(message)


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
