"""Datasets, ready to be trained on: those of the registry by name, and a user's own text file by its path."""

import errno
from dataclasses import dataclass
from pathlib import Path

from ..system import files
from ..system.errors import UserError
from . import columns
from .documents import decode, lines, paragraphs, without_gutenberg
from .downloads import Progress
from .registry import Entry, Tables, entries, own_name, resolve
from .sources import own_members, read_bytes

MAX_VOCABULARY = 5000  # distinct characters: beyond it a character-level model is the wrong tool
MAX_OWN_BYTES = 32 * 2**20  # of a user's own file: all of it is held in memory, several times over
MAX_OWN_LINES = 2**22  # a line of its own takes some hundred bytes however short it is


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
    defaults: Tables
    column: str | None = None
    file: str | None = None


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
    entry = entries().get(resolved)
    if entry is None:
        return load_own(Path(resolved), mode or "discrete", column, progress)
    if mode not in (None, entry.mode):
        raise UserError(f"dataset {entry.name} is {entry.mode}; mode {mode} is for a text file of your own")
    if column is not None:
        raise UserError(
            f"dataset {entry.name} is read as it stands in the registry; a column is for a file of your own"
        )
    data = read_bytes(entry, progress)
    return Dataset(entry.name, entry.mode, read_documents(entry, data), entry.defaults)


def read_documents(entry: Entry, data: bytes) -> list[str]:
    if entry.format == "zip":
        texts = [decode(content, f"{entry.file}: {name}") for name, content in own_members(entry, data)]
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


def load_own(path: Path, mode: str, column: str | None, progress: Progress) -> Dataset:
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
    defaults: Tables = {"model": {}, "training": {}, "sampling": {}}
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
