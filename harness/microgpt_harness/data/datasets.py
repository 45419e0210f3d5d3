"""Datasets, ready to be trained on: those of the registry by name, and a user's own text file by its path."""

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from ..system import files
from ..system.errors import UserError
from . import columns
from .documents import BETWEEN, PIECE, decode, decoded, in_a_row, joined, lines, paragraphs, without_gutenberg
from .downloads import Progress
from .registry import Entry, Tables, entries, own_name, resolve
from .sources import cache_folder, own_members, read_bytes

if TYPE_CHECKING:
    from .tokens import TokenFile

MAX_VOCABULARY = 5000  # distinct characters: beyond it a character-level model is the wrong tool
# Bytes from which on a text is turned into tokens that are kept in a file. As strings and lists it takes 11 times its
# size of memory, and a tenth of a second a megabyte at each start. Every dataset of the registry is smaller.
LARGE = 4 * 2**20


@dataclass(frozen=True)
class Dataset:
    """Documents ready to be shuffled and tokenised.

    `documents` stand in file order, duplicates kept: a list, or a TokenFile where the text is large. mode "discrete":
    stripped non-empty lines. mode "stream": paragraphs, edges stripped, inner newlines kept. `defaults` has the tables
    model, training and sampling. `column` is the one of a user's own CSV that the documents were taken from, `file` the
    whole path of a user's own file.
    """

    name: str
    mode: str
    documents: Sequence[str]
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
    text, kind = text_of(entry, read_bytes(entry, progress))
    documents: Sequence[str]
    if len(text) <= LARGE:
        documents = read_documents(entry, text, kind)
    else:
        content = text.encode()
        reading = Reading(kind, entry.column, entry.file)
        documents = reading.kept(entry.name, "the registry", lambda: BytesIO(content), len(content), progress)
    return Dataset(entry.name, entry.mode, documents, entry.defaults)


def text_of(entry: Entry, data: bytes) -> tuple[str, str]:
    """Return the text of a registry file, and how its documents are found: "lines", "text" (paragraphs) or "csv"."""
    if entry.format == "zip":
        texts = [decode(content, f"{entry.file}: {name}") for name, content in own_members(entry, data)]
        text, kind = "\n\n".join(texts), entry.content or "text"
    else:
        text, kind = decode(data, entry.file), entry.format
    return without_gutenberg(text) if entry.gutenberg else text, kind


def read_documents(entry: Entry, text: str, kind: str) -> list[str]:
    documents = Reading(kind, entry.column, entry.file).documents(text)
    if not documents:
        raise UserError(f"{entry.file}: empty: dataset {entry.name} has no documents")
    return documents


@dataclass(frozen=True)
class Reading:
    """How documents are found in a text: its `kind` is "lines", "text" (paragraphs) or "csv" (one column).

    `where` names the text in messages.
    """

    kind: str
    column: str | None
    where: str

    def in_a_row(self, text: Iterable[str]) -> Iterator[str]:
        """Yield the documents with BETWEEN between them, in pieces, of a text that comes in pieces."""
        if self.kind == "csv":
            return joined(columns.column(text, self.column or "", self.where))
        return in_a_row(text, lines if self.kind == "lines" else paragraphs)

    def documents(self, text: str) -> list[str]:
        row = "".join(self.in_a_row([text]))
        return row.split(BETWEEN) if row else []

    def kept(self, name: str, place: str, open: Callable[[], BinaryIO], size: int, progress: Progress) -> "TokenFile":
        """Return the documents of a large text, as tokens in a file. The arguments are those of tokens.Source."""
        from .tokens import Source, kept

        source = Source(
            name,
            place,
            reading=f"{self.kind} {self.column or ''}",
            where=self.where,
            size=size,
            open=open,
            documents=lambda file: self.in_a_row(decoded(file, self.where, PIECE)),
            check=lambda n_documents, n_characters: check_counts(n_documents, n_characters, self.where),
        )
        return kept(source, cache_folder(), progress)


def load_own(path: Path, mode: str, column: str | None, progress: Progress) -> Dataset:
    reading = Reading("csv" if column is not None else "lines" if mode == "discrete" else "text", column, str(path))
    with open_own(path) as opened:
        beginning = opened.read(LARGE + 1)
        size = os.fstat(opened.fileno()).st_size
    whole = len(beginning) <= LARGE
    text = decode(beginning, str(path)) if whole else next(decoded(BytesIO(beginning), str(path), LARGE + 1))
    if column is None and (found := columns.found_in(text, path.suffix)):
        progress(f"{path} looks like CSV, and all of each line is used; take one column of it by --column NAME")
        progress(f"its columns: {columns.listed(found)}")
    file = str(path.resolve()).encode("utf-8", "backslashreplace").decode("utf-8")  # Linux allows any bytes in a name
    documents: Sequence[str]
    if whole:
        documents = reading.documents(text)
        check_documents(documents, str(path))
    else:
        documents = reading.kept(own_name(path), file, lambda: open_own(path), size, progress)
    defaults: Tables = {"model": {}, "training": {}, "sampling": {}}
    return Dataset(own_name(path), mode, documents, defaults, column, file)


def check_documents(documents: list[str], path: str) -> None:
    """Raise UserError where there is nothing to learn, or more kinds of characters than a model of characters takes."""
    check_counts(len(documents), len(set().union(*documents)), path)


def check_counts(n_documents: int, n_characters: int, path: str) -> None:
    if not n_documents:
        raise UserError(f"{path}: empty: a dataset needs at least one line of text")
    if n_characters < 2:
        raise UserError(f"{path}: only {n_characters} distinct character; a model needs at least 2 to learn anything")
    if n_characters > MAX_VOCABULARY:
        raise UserError(
            f"{path}: {n_characters} distinct characters, the limit is {MAX_VOCABULARY}; "
            "use text in one script, or spell it in fewer characters"
        )


def open_own(path: Path) -> BinaryIO:
    """Open a user's own file. UserError says why it cannot be read."""
    try:
        return files.open_regular(path)
    except FileNotFoundError as error:
        raise UserError(f"{path}: no such file; check the path, or see --list for the datasets by name") from error
    except IsADirectoryError as error:
        raise UserError(f"{path}: a folder; name a text file inside it") from error
    except PermissionError as error:
        raise UserError(f"{path}: it may not be read; check its permissions") from error
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror}; name a text file") from error


def differ(path: Path, other: Path) -> bool:
    """Say whether two files of a user's own are there, and do not hold the same."""
    try:
        if path.samefile(other):
            return False
        with open_own(path) as one, open_own(other) as another:
            return not same_content(one, another)
    except (OSError, ValueError, UserError):
        return False


def same_content(one: BinaryIO, other: BinaryIO) -> bool:
    if os.fstat(one.fileno()).st_size != os.fstat(other.fileno()).st_size:
        return False
    while (piece := one.read(PIECE)) == other.read(PIECE):
        if not piece:
            return True
    return False
