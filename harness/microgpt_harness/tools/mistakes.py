"""Known mistakes in a lesson, as data: tests check that each is caught, and others show learners which one they made.

`mistakes.toml` beside this file names them. Each folder's own `mistakes.toml` says how they are made there:

    [no-causal-mask]
    edits = [["is_causal=True", "is_causal=False"]]  # text that stands in microgpt.py exactly once, its replacement

    [gradients-not-reset]
    impossible = "jax.value_and_grad returns new gradients at each call"

Where a folder invites mistakes of its own, it says of them what this list says of the others: `says`, `unnoticed` and
`caught_by`. There `caught_by` may also be "gradients": the gradients are not those of the lesson's own loss, as finite
differences show. Under [same.NAME] it may list edits that change no result, for whoever wants to know what must not be
caught.
"""

import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..system.errors import UserError

LIST = Path(__file__).with_name("mistakes.toml")
CHECKS = ("point", "step", "steps", "samples", "main")
OWN_CHECKS = (*CHECKS, "gradients")
ABOUT = ("says", "unnoticed", "caught_by")  # what the list says of a mistake

Edits = tuple[tuple[str, str], ...]  # texts in a lesson, each with its replacement


@dataclass(frozen=True)
class Mistake:
    """A mistake in one folder's lesson. It has edits, or a reason why this framework makes it impossible."""

    name: str
    says: str  # a sentence for the learner
    unnoticed: str  # why whoever only watches the loss does not notice it, or what they see if they do
    caught_by: str
    edits: Edits = ()
    impossible: str = ""
    own: bool = False  # of this folder only: the harness's list does not have it


def names() -> list[str]:
    """Return the names that every folder's file should have."""
    return list(parse(LIST))


def read(folder: Path) -> list[Mistake]:
    """Return the mistakes in a folder's file. UserError, in one line, for what is wrong in it."""
    path = folder / "mistakes.toml"
    known = parse(LIST)
    tables = {name: table for name, table in parse(path).items() if name != "same"}
    return [mistake(path, name, table, known.get(name)) for name, table in tables.items()]


def read_same(folder: Path) -> dict[str, Edits]:
    """Return by name the edits in a folder's file that change no result."""
    path = folder / "mistakes.toml"
    same = parse(path).get("same", {})
    check_table(path, "same", same)
    return {name: edits_of(path, f"same.{name}", table) for name, table in same.items()}


def apply(source: str, edits: Edits) -> str:
    """Return the lesson's source with each text replaced. UserError where one does not stand there exactly once."""
    for old, new in edits:
        if (count := source.count(old)) != 1:
            raise UserError(f"the text to replace stands in the lesson {count} times, not once: {old!r}")
        source = source.replace(old, new)
    return source


def mistake(path: Path, name: str, table: Any, known: dict[str, str] | None) -> Mistake:
    check_table(path, name, table)
    unknown = table.keys() - {"edits", "impossible"} - (set() if known else set(ABOUT))
    if unknown:
        raise UserError(f"{path}: [{name}] has {', '.join(sorted(unknown))}, which has no place there")
    if ("edits" in table) == ("impossible" in table):
        raise UserError(f"{path}: [{name}] needs either edits or impossible")
    about = known or table
    words = sentence(about.get("says")) and sentence(about.get("unnoticed"))
    if not words or about.get("caught_by") not in OWN_CHECKS:
        checks = ", ".join(OWN_CHECKS)
        raise UserError(
            f"{path}: [{name}] is not in {LIST.name}'s list, so it needs says, unnoticed and caught_by ({checks})"
        )
    if "impossible" in table and not sentence(table["impossible"]):
        raise UserError(f"{path}: [{name}] impossible is to say why, in words")
    edits = edits_of(path, name, table) if "edits" in table else ()
    return Mistake(
        name,
        **{key: about[key] for key in ABOUT},
        edits=edits,
        impossible=table.get("impossible", ""),
        own=known is None,
    )


def sentence(value: object) -> bool:
    return isinstance(value, str) and bool(value.strip())


def check_table(path: Path, name: str, table: object) -> None:
    if not isinstance(table, dict):
        raise UserError(f"{path}: {name} is to be a table, [{name}]")


def edits_of(path: Path, name: str, table: Any) -> Edits:
    check_table(path, name, table)
    edits = table.get("edits")
    pairs = edits if isinstance(edits, list) else []
    if not pairs or not all(isinstance(pair, list) and list(map(type, pair)) == [str, str] for pair in pairs):
        raise UserError(f'{path}: [{name}] edits is to be a list of pairs: [["text in the lesson", "replacement"]]')
    return tuple((old, new) for old, new in pairs)


def parse(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(f"{path} is missing: copy the one of another folder, and put in this lesson's texts") from None
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise UserError(f"{path}: {error}") from error
