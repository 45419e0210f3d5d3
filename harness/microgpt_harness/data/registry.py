"""The registry data/datasets.toml: which datasets are known by name, and what is known of each."""

import re
from dataclasses import MISSING, dataclass, field, fields
from pathlib import Path
from typing import Any, get_origin

from ..system import files
from ..system.console import shortened
from ..system.errors import UserError
from ..system.paths import DATA
from .documents import decode

REGISTRY = DATA / "datasets.toml"
MAX_REGISTRY_BYTES = 2**20


Tables = dict[str, dict[str, Any]]  # of settings: model, training and sampling


@dataclass(frozen=True)
class Entry:
    """One table of data/datasets.toml; data/README.md describes the fields."""

    name: str
    title: str
    source: str
    licence: str
    file: str
    sha256: str
    format: str
    mode: str
    documents: int
    characters: int
    url: str | None = None  # None: shipped in data/
    column: str | None = None
    member: str | None = None
    content: str | None = None
    hash_of: str = "file"
    gutenberg: bool = False
    model: dict[str, Any] = field(default_factory=dict)
    training: dict[str, Any] = field(default_factory=dict)
    sampling: dict[str, Any] = field(default_factory=dict)

    @property
    def defaults(self) -> Tables:
        return {"model": dict(self.model), "training": dict(self.training), "sampling": dict(self.sampling)}


def entries() -> dict[str, Entry]:
    """The tables of data/datasets.toml in their order, without those that `faults` names."""
    return read_registry()[0]


def faults() -> dict[str, str]:
    """What is wrong with a table of data/datasets.toml, by its name. The others are not spoilt by it."""
    return read_registry()[1]


def read_registry() -> tuple[dict[str, Entry], dict[str, str]]:
    """The good tables, and the others' faults. UserError when there is no registry to read."""
    try:
        text = decode(files.read_regular(REGISTRY, MAX_REGISTRY_BYTES), str(REGISTRY))
    except OSError as error:
        raise UserError(f"{REGISTRY}: {error.strerror}; restore it from the repository") from error
    entries, wrong = {}, {}
    for name, table in tables(text):
        try:
            if isinstance(table, UserError):
                raise table
            if name in entries or name in wrong:
                raise UserError(f"{REGISTRY} [{name}]: there are two tables of this name")
            entries[name] = entry_of(name, table)
        except UserError as error:
            wrong[name] = str(error)
            entries.pop(name, None)
    return entries, wrong


def tables(text: str) -> list[tuple[str, object]]:
    """Each table's name and content; in place of the content, a UserError where it is not TOML."""
    import tomllib

    try:
        return [(key(name), table) for name, table in tomllib.loads(text).items()]
    except (ValueError, RecursionError):  # ValueError: TOMLDecodeError, and a number of thousands of digits
        pass
    tables, lines_before = [], 0
    for part in re.split(
        r"^(?=\[[^.\[\]]+\])", text, flags=re.MULTILINE
    ):  # where a table begins that is no [NAME.model]
        try:
            # Empty lines in front, so that a message tells the line in the file.
            tables += [(key(name), table) for name, table in tomllib.loads("\n" * lines_before + part).items()]
        except (ValueError, RecursionError) as error:
            name = re.match(r"\[[\"']?([^.\[\]]+?)[\"']?\]", part)
            if name is None:
                raise UserError(f"{REGISTRY}: not valid TOML: {error}") from error
            tables.append((key(name[1]), UserError(f"{REGISTRY} [{name[1]}]: not valid TOML: {error}")))
        lines_before += part.count("\n")
    return tables


def entry_of(name: str, table: object) -> Entry:
    where = f"{REGISTRY} [{name}]"
    if not isinstance(table, dict):
        raise UserError(f"{where}: a table of fields is needed, not one value")
    known = {f.name for f in fields(Entry)} - {"name"}
    required = {f.name for f in fields(Entry) if f.default is MISSING and f.default_factory is MISSING} - {"name"}
    required |= {"csv": {"column"}, "zip": {"member", "content"}}.get(str(table.get("format")), set())
    for problem, keys in (("unknown", table.keys() - known), ("missing", required - table.keys())):
        if keys:
            raise UserError(f"{where}: {problem} field: {', '.join(sorted(keys))}")
    for f in fields(Entry):
        kind: Any = dict if get_origin(f.type) is dict else f.type
        if f.name in table and not isinstance(table[f.name], kind):
            raise UserError(f"{where}: {f.name} is not of the right kind; see data/README.md")
    for key, allowed in (("format", ("lines", "text", "csv", "zip")), ("mode", ("discrete", "stream"))):
        if table[key] not in allowed:
            raise UserError(f"{where}: {key} is {table[key]!r}; it must be one of {', '.join(allowed)}")
    if Path(str(table["file"])).name != table["file"]:
        raise UserError(f"{where}: file must be a plain file name, not {table['file']!r}")
    return Entry(name=name, **table)


def names() -> list[str]:
    """The registry's names, in its order."""
    return list(entries())


def resolve(name_or_path: str) -> str:
    """A registry name, or the path of a user's own file as a string.

    A registry name wins over a file of the same name in the current folder: write ./names for the file. What has a
    suffix or a separator counts as a path even when nothing is there yet: `load` then says so.
    UserError when it is neither: the message lists the names and suggests the nearest.
    """
    name = key(name_or_path)
    known, wrong = read_registry()
    if name in known:
        return name
    if name in wrong:
        raise UserError(wrong[name])
    path = expanded(name_or_path)
    if name_or_path and (path.suffix or len(path.parts) > 1 or path.is_absolute() or exists(path)):
        return str(path)
    import difflib

    nearest = difflib.get_close_matches(name, known, n=1)
    hint = f" Did you mean {nearest[0]}?" if nearest else ""
    named = f"unknown dataset {shortened(name_or_path)}.{hint}"
    raise UserError(f"{named} There are {', '.join(known)}; the path of a text file works too")


def key(name: str) -> str:
    return name.strip().casefold().replace("-", "_")


def own_name(path: str | Path) -> str:
    """The name of a user's own file, safe as a folder name: its stem, marked where the registry has that name."""
    stem = re.sub(r"[^\w.-]+", "_", Path(path).stem).strip("._-")[:64] or "text"
    return f"{stem}_own" if key(stem) in names() else stem


def expanded(text: str) -> Path:
    try:
        return Path(text).expanduser()
    except RuntimeError:  # "~somebody" whom this machine does not know: then it is a name like any other
        return Path(text)


def exists(path: Path) -> bool:
    try:
        return path.exists()
    except (OSError, ValueError):  # no permission, a name too long, a NUL: nothing that can be read
        return False
