"""Datasets: the registry data/datasets.toml, downloads that are checked and kept, and a user's own text file.

A file of the registry is looked for in this order, and its sha256 is checked wherever it was found:

1. shipped with the repository (names only),
2. the cache: data/cache/, or the folder named by MICROGPT_CACHE,
3. the mirror: MICROGPT_MIRROR, a folder (read in place) or a base URL (kept in the cache) holding the files by name,
4. the pinned address (kept in the cache).

A damaged file in the cache is fetched again and replaced only by a good one. A wrong file in the mirror is refused:
somebody put it there on purpose, so it has to be somebody who takes it away.
Nothing reaches the disk before its hash is right, and no zip member is ever written to the disk at all.
"""

import errno
import os
import re
from dataclasses import MISSING, dataclass, field, fields
from pathlib import Path

from ..system import files
from ..system.console import shortened
from ..system.errors import RunError, UserError
from ..system.paths import DATA
from . import columns
from .downloads import Progress, Unavailable, download

REGISTRY = DATA / "datasets.toml"
MAX_VOCABULARY = 5000  # distinct characters: beyond it a character-level model is the wrong tool
MAX_BYTES = 64 * 2**20  # of a registry's file, and of a zip's unpacked members; the largest real one has 4 MB
MAX_OWN_BYTES = 32 * 2**20  # of a user's own file: all of it is held in memory, several times over
MAX_OWN_LINES = 2**22  # a line of its own takes some hundred bytes however short it is
MAX_REGISTRY_BYTES = 2**20


@dataclass(frozen=True)
class Dataset:
    """Documents ready to be shuffled and tokenised.

    `documents` stand in file order, duplicates kept. mode "discrete": stripped non-empty lines. mode "stream":
    paragraphs, edges stripped, inner newlines kept. `defaults` has the tables model, training and sampling. `column`
    is the one of a user's own CSV that the documents were taken from, `file` the whole path of a user's own file.
    """

    name: str
    mode: str
    documents: list[str]
    defaults: dict[str, dict]
    column: str | None = None
    file: str | None = None


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
    model: dict = field(default_factory=dict)
    training: dict = field(default_factory=dict)
    sampling: dict = field(default_factory=dict)

    @property
    def defaults(self) -> dict[str, dict]:
        return {"model": dict(self.model), "training": dict(self.training), "sampling": dict(self.sampling)}


# ---- the registry ----


def registry() -> dict[str, Entry]:
    """The tables of data/datasets.toml in their order, without those that `faults` names."""
    return _read_registry()[0]


def faults() -> dict[str, str]:
    """What is wrong with a table of data/datasets.toml, by its name. The others are not spoilt by it."""
    return _read_registry()[1]


def _read_registry() -> tuple[dict[str, Entry], dict[str, str]]:
    """The good tables, and the others' faults. UserError when there is no registry to read."""
    try:
        text = decode(files.read_regular(REGISTRY, MAX_REGISTRY_BYTES), str(REGISTRY))
    except OSError as error:
        raise UserError(f"{REGISTRY}: {error.strerror}; restore it from the repository") from error
    entries, wrong = {}, {}
    for name, table in _tables(text):
        try:
            if isinstance(table, UserError):
                raise table
            if name in entries or name in wrong:
                raise UserError(f"{REGISTRY} [{name}]: there are two tables of this name")
            entries[name] = _entry(name, table)
        except UserError as error:
            wrong[name] = str(error)
            entries.pop(name, None)
    return entries, wrong


def _tables(text: str) -> list[tuple[str, object]]:
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


def _entry(name: str, table: object) -> Entry:
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
        if f.name in table and not isinstance(table[f.name], f.type):
            raise UserError(f"{where}: {f.name} is not of the right kind; see data/README.md")
    for key, allowed in (("format", ("lines", "text", "csv", "zip")), ("mode", ("discrete", "stream"))):
        if table[key] not in allowed:
            raise UserError(f"{where}: {key} is {table[key]!r}; it must be one of {', '.join(allowed)}")
    if Path(str(table["file"])).name != table["file"]:
        raise UserError(f"{where}: file must be a plain file name, not {table['file']!r}")
    return Entry(name=name, **table)


def names() -> list[str]:
    """The registry's names, in its order."""
    return list(registry())


def resolve(name_or_path: str) -> str:
    """A registry name, or the path of a user's own file as a string.

    A registry name wins over a file of the same name in the current folder: write ./names for the file. What has a
    suffix or a separator counts as a path even when nothing is there yet: `load` then says so.
    UserError when it is neither: the message lists the names and suggests the nearest.
    """
    name = key(name_or_path)
    known, wrong = _read_registry()
    if name in known:
        return name
    if name in wrong:
        raise UserError(wrong[name])
    path = _path(name_or_path)
    if name_or_path and (path.suffix or len(path.parts) > 1 or path.is_absolute() or _exists(path)):
        return str(path)
    import difflib

    nearest = difflib.get_close_matches(name, known, n=1)
    hint = f" Did you mean {nearest[0]}?" if nearest else ""
    named = f"unknown dataset {shortened(name_or_path)}.{hint}"
    raise UserError(f"{named} There are {', '.join(known)}; the path of a text file works too")


def key(name: str) -> str:
    return name.strip().casefold().replace("-", "_")


def _path(text: str) -> Path:
    try:
        return Path(text).expanduser()
    except RuntimeError:  # "~somebody" whom this machine does not know: then it is a name like any other
        return Path(text)


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except (OSError, ValueError):  # no permission, a name too long, a NUL: nothing that can be read
        return False


# ---- loading ----


def load(
    name_or_path: str, mode: str | None = None, column: str | None = None, progress: Progress | None = None
) -> Dataset:
    """Read a dataset, downloading it first where that is needed.

    `mode` ("discrete" or "stream", default discrete) and `column` (of a CSV) are for a user's own file. `progress`
    receives lines for people.
    UserError: wrong input (unknown name, file missing, empty, not UTF-8, too few or too many characters).
    RunError: the network, a wrong hash, or the disk.
    """
    if mode not in (None, "discrete", "stream"):
        raise UserError(f"mode {mode!r}: it must be discrete or stream")
    progress = progress or (lambda message: None)
    resolved = resolve(name_or_path)
    entry = registry().get(resolved)
    if entry is None:
        return _load_own(Path(resolved), mode or "discrete", column, progress)
    if mode not in (None, entry.mode):
        raise UserError(f"dataset {entry.name} is {entry.mode}; mode {mode} is for a text file of your own")
    if column is not None:
        raise UserError(
            f"dataset {entry.name} is read as it stands in the registry; a column is for a file of your own"
        )
    data = _read_bytes(entry, progress)
    return Dataset(entry.name, entry.mode, read_documents(entry, data), entry.defaults)


def _load_own(path: Path, mode: str, column: str | None, progress: Progress) -> Dataset:
    text = decode(read_own(path), str(path))
    if (n_lines := text.count("\n")) > MAX_OWN_LINES:
        raise UserError(f"{path}: {n_lines:,} lines; the limit is {MAX_OWN_LINES:,}: take a part of it")
    if column is not None:
        documents = columns.column(text, column, str(path))
    else:
        documents = lines(text) if mode == "discrete" else paragraphs(text)
        if found := columns.found_in(text, path.suffix):
            progress(f"{path} looks like CSV, and all of each line is used; take one column of it by --column NAME")
            progress(f"its columns: {columns.listed(found)}")
    check_documents(documents, str(path))
    defaults = {"model": {}, "training": {}, "sampling": {}}
    file = str(path.resolve()).encode("utf-8", "backslashreplace").decode("utf-8")  # Linux allows any bytes in a name
    return Dataset(own_name(path), mode, documents, defaults, column, file)


def check_documents(documents: list[str], path: str) -> None:
    """Raise UserError where there is nothing to learn, or more kinds of characters than a model of characters takes."""
    if not documents:
        raise UserError(f"{path}: empty: a dataset needs at least one line of text")
    distinct = len(set().union(*documents))
    if distinct < 2:
        raise UserError(f"{path}: only {distinct} distinct character; a model needs at least 2 to learn anything")
    if distinct > MAX_VOCABULARY:
        raise UserError(
            f"{path}: {distinct} distinct characters, the limit is {MAX_VOCABULARY}; "
            "use text in one script, or spell it in fewer characters"
        )


def read_own(path: Path) -> bytes:
    try:
        return files.read_regular(path, MAX_OWN_BYTES)
    except FileNotFoundError as error:
        raise UserError(f"{path}: no such file; check the path, or see --list for the datasets by name") from error
    except IsADirectoryError as error:
        raise UserError(f"{path}: a folder; name a text file inside it") from error
    except PermissionError as error:
        raise UserError(f"{path}: it may not be read; check its permissions") from error
    except OSError as error:
        advice = "take a part of it" if error.errno == errno.EFBIG else "name a text file"
        raise UserError(f"{path}: cannot be read: {error.strerror}; {advice}") from error


def differ(path: Path, other: Path) -> bool:
    """Say whether two files of a user's own are there, and do not hold the same."""
    try:
        return not path.samefile(other) and read_own(path) != read_own(other)
    except (OSError, ValueError, UserError):
        return False


def own_name(path: str | Path) -> str:
    """The name of a user's own file, safe as a folder name: its stem, marked where the registry has that name."""
    stem = re.sub(r"[^\w.-]+", "_", Path(path).stem).strip("._-")[:64] or "text"
    return f"{stem}_own" if key(stem) in names() else stem


# ---- bytes to documents ----


def read_documents(entry: Entry, data: bytes) -> list[str]:
    if entry.format == "zip":
        texts = [decode(content, f"{entry.file}: {name}") for name, content in _own_members(entry, data)]
        text, kind = "\n\n".join(texts), entry.content
    else:
        text, kind = decode(data, entry.file), entry.format
    if entry.gutenberg:
        text = without_gutenberg(text)
    if kind == "csv":
        documents = columns.column(text, entry.column or "", entry.file)
    elif kind == "text":
        documents = paragraphs(text)
    else:
        documents = lines(text)
    if not documents:
        raise UserError(f"{entry.file}: empty: dataset {entry.name} has no documents")
    return documents


def decode(data: bytes, where: str) -> str:
    """UTF-8 to text: a byte-order mark is dropped, CRLF and CR become LF."""
    try:
        # Plain utf-8, not utf-8-sig: that one would count a bad byte's offset from behind the mark.
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        bad = data[error.start]
        raise UserError(f"{where}: not UTF-8 at byte {error.start} (0x{bad:02x}); save it as UTF-8 text") from error
    if "\0" in text:
        raise UserError(f"{where}: not a text file: NUL at byte {data.index(0)}; save it as UTF-8 text")
    return text.removeprefix("\ufeff").replace("\r\n", "\n").replace("\r", "\n")


def lines(text: str) -> list[str]:
    # Not splitlines(): that would also break at form feeds and other separators inside a line.
    return [line.strip() for line in text.split("\n") if line.strip()]


def paragraphs(text: str) -> list[str]:
    return [part.strip() for part in re.split(r"\n\s*\n", text) if part.strip()]


def without_gutenberg(text: str) -> str:
    """The book alone. Without the start or end line, the text on that side stays as it is."""
    start = re.search(r"^\*\*\* ?START OF .*$", text, re.MULTILINE)
    text = text[start.end() :] if start else text
    end = re.search(r"^(\*\*\* ?END OF |End of (the )?Project Gutenberg)", text, re.MULTILINE)
    return text[: end.start()] if end else text


def _own_members(entry: Entry, data: bytes) -> list[tuple[str, bytes]]:
    return members(data, entry.member or "*", entry.file)


def members(data: bytes, pattern: str, where: str) -> list[tuple[str, bytes]]:
    """(name, content) of a zip's members that fit the pattern, in name order, read in memory.

    RunError when the zip is damaged or unpacks to more than MAX_BYTES.
    """
    import zipfile
    from fnmatch import fnmatchcase
    from io import BytesIO

    try:
        with zipfile.ZipFile(BytesIO(data)) as archive:
            infos = [info for info in archive.infolist() if fnmatchcase(info.filename, pattern)]
            infos.sort(key=lambda info: info.filename)
            if sum(info.file_size for info in infos) > MAX_BYTES:
                raise ValueError(f"unpacks to more than {MAX_BYTES // 2**20} MB")
            found = [(info.filename, _unpack(archive, info)) for info in infos]
    except Exception as error:  # damaged bytes make zipfile and zlib raise eight kinds, RuntimeError among them
        raise RunError(f"{where}: damaged zip: {str(error) or type(error).__name__}") from error
    if not found:
        raise RunError(f"{where}: holds no member {pattern}")
    return found


def _unpack(archive, info) -> bytes:
    if info.compress_type not in (0, 8):  # stored, deflated: the two whose unpacking zipfile bounds
        raise ValueError(f"{info.filename!r} is compressed in an unusual way")
    with archive.open(info) as member:
        return member.read(info.file_size)  # a plain read() would unpack up to 2 GB where the header lies


# ---- finding the bytes: shipped, cache, mirror, network ----


def cache_folder() -> Path:
    """MICROGPT_CACHE, or data/cache/."""
    chosen = os.environ.get("MICROGPT_CACHE", "").strip()
    return _path(chosen) if chosen else DATA / "cache"


def is_cached(entry: Entry) -> bool:
    """Whether a download of it is there (by name: the hash is checked when it is read)."""
    return entry.url is not None and _exists(cache_folder() / entry.file)


def listing() -> list[dict]:
    """One row a dataset for --list: name, title, mode, documents, characters, licence, where, defaults.

    `where` is "shipped", "cached", "mirror" (in the mirror folder) or "download" (on first use).
    """
    return [
        {
            "name": entry.name,
            "title": entry.title,
            "mode": entry.mode,
            "documents": entry.documents,
            "characters": entry.characters,
            "licence": entry.licence,
            "where": _where(entry),
            "defaults": entry.defaults,
        }
        for entry in registry().values()
    ]


def _where(entry: Entry) -> str:
    if entry.url is None:
        return "shipped"
    if is_cached(entry):
        return "cached"
    mirror = _mirror()
    return "mirror" if mirror and _exists(Path(mirror) / entry.file) else "download"


def _mirror() -> str:
    mirror = os.environ.get("MICROGPT_MIRROR", "").strip()
    return mirror if is_url(mirror) or not mirror else str(_path(mirror))


def is_url(text: str) -> bool:
    return text.lower().startswith(("http://", "https://"))


def _read_bytes(entry: Entry, progress: Progress) -> bytes:
    """The right bytes of a registry file, from the first source that has them; see the top of this file."""
    if entry.url is None:
        return _read_shipped(entry)
    notes = []
    for source in (_from_cache, _from_mirror, _from_network):
        try:
            return source(entry, progress)
        except Unavailable as error:
            notes.append(str(error))
    causes = "; ".join(note for note in reversed(notes) if note)
    raise RunError(f"dataset {entry.name}: {causes}. {_by_hand(entry)}")


def _by_hand(entry: Entry) -> str:
    place = cache_folder() / entry.file
    return f"Put the file by hand at {place}, or set MICROGPT_MIRROR to a folder or base URL that holds {entry.file}"


def _read_shipped(entry: Entry) -> bytes:
    path = DATA / entry.file
    remedy = "restore it from the repository, e.g. `git checkout data`"
    try:
        data = files.read_regular(path, MAX_BYTES)
    except OSError as error:
        raise RunError(f"{path}: {error.strerror}; {remedy}") from error
    fault = _fault(entry, data)
    if fault:
        raise RunError(f"{path}: {fault}; {remedy}, or give your own file under another name")
    return data


def _from_cache(entry: Entry, progress: Progress) -> bytes:
    path = cache_folder() / entry.file
    try:
        data = files.read_regular(path, MAX_BYTES)
    except FileNotFoundError as error:
        raise Unavailable("") from error  # the usual case: not worth a word
    except OSError as error:
        raise Unavailable(f"{path}: {error.strerror}") from error
    fault = _fault(entry, data)
    if fault:
        progress(f"{path}: {fault}; fetching it again")
        raise Unavailable(f"{path}: {fault}")
    return data


def _from_mirror(entry: Entry, progress: Progress) -> bytes:
    mirror = _mirror()
    if not mirror:
        raise Unavailable("")
    if is_url(mirror):
        from urllib.parse import quote

        address = f"{mirror.rstrip('/')}/{quote(entry.file)}"
        data = download(address, progress)
    else:
        address = str(Path(mirror) / entry.file)
        try:
            data = files.read_regular(Path(address), MAX_BYTES)
        except OSError as error:
            raise Unavailable(f"MICROGPT_MIRROR: {address}: {error.strerror}") from error
    fault = _fault(entry, data)
    if fault:
        raise RunError(f"dataset {entry.name}: {address}: {fault}. Replace it there, or unset MICROGPT_MIRROR")
    if is_url(mirror):
        _keep(entry, data)
    return data


def _from_network(entry: Entry, progress: Progress) -> bytes:
    data = download(entry.url, progress)
    fault = _fault(entry, data)
    if fault:
        raise Unavailable(f"{entry.url}: {fault}, nothing kept")
    _keep(entry, data)
    return data


def _fault(entry: Entry, data: bytes) -> str | None:
    """What is wrong with these bytes, or None."""
    try:
        found = sha256(entry, data)
    except RunError as error:
        return str(error)
    return None if found == entry.sha256 else f"wrong hash: sha256 {found[:12]}…, expected {entry.sha256[:12]}…"


def sha256(entry: Entry, data: bytes) -> str:
    """The hash that the registry knows a file by: an archive made on request by its members'. RunError: no zip."""
    import hashlib

    content = b"".join(c for _, c in _own_members(entry, data)) if entry.hash_of == "members" else data
    return hashlib.sha256(content).hexdigest()


def _keep(entry: Entry, data: bytes) -> None:
    """Write into the cache: whole under its name, or not at all. Two processes may do so at the same time."""
    path = cache_folder() / entry.file
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with files.replacing(path) as file:
            file.write(data)
    except OSError as error:
        raise RunError(
            f"{path}: cannot be written: {error.strerror}; free some space, or set MICROGPT_CACHE to another folder"
        ) from error
