"""What a learner can add to a lesson: for each extension a task, hints, a stub to fill in, and what must hold of it.

The words stand in `extensions.toml` beside this file, the checks in `extension_checks.py`. A stub is the same for every
framework, and it says how the check calls it.
"""

import tomllib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from .extension_checks import CHECKS, Attempt, Wrong

__all__ = ["EXTENSIONS", "Attempt", "Extension", "Wrong"]

WORDS = Path(__file__).with_name("extensions.toml")


@dataclass(frozen=True)
class Extension:
    """Something to add to a lesson. `check` raises Wrong where the attempt does not do what it must."""

    name: str
    task: str  # a sentence
    hints: tuple[str, ...]  # from general to nearly the answer
    stub: str  # Python: what the learner fills in
    check: Callable[[Attempt], None]


def read() -> dict[str, Extension]:
    """Return the extensions by name, in the order in which they are best learnt."""
    tables = tomllib.loads(WORDS.read_text(encoding="utf-8"))
    return {
        name: Extension(name, table["task"], tuple(table["hints"]), table["stub"], CHECKS[name])
        for name, table in tables.items()
    }


EXTENSIONS = read()
