"""What every command says in the same way: a line on standard error, a path."""

import contextlib
import os
import sys
from pathlib import Path


def say(message: str, program: str = "main.py") -> None:
    """Print one line on standard error."""
    print(f"{program}: " + " ".join(message.split()), file=sys.stderr, flush=True)


def shown(path: Path) -> str:
    """A path as short as it can be written from here."""
    with contextlib.suppress(ValueError):
        return os.path.relpath(path)
    return str(path)
