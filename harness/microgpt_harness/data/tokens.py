"""Text at scale: what is too large to be held as Python's strings is turned into tokens once, in a file that is mapped.

The file lies in the cache. Its parts, one behind the other:

1. the header, a line of JSON: where the tokens come from, how they were read, the characters, the counts; filled up
   with spaces to a whole number of pages;
2. the starts: where the BOS in front of each document stands, and the one behind the last, 4 bytes each (8 where 4 may
   not be enough);
3. the tokens, 2 bytes each: BOS, then each document followed by BOS. That is a stream as it is trained on; and where
   each document is trained on by itself it has its BOS at both ends, one of them in common with the next;
4. CRC-32 of all that, 4 bytes.

A file is believed if its header names the very bytes that the dataset holds now (their sha256 is computed each time,
as it is for downloads), if it has the size that the header says, and if the checksum fits. Text and tokens are read
once for that, about a second a gigabyte of text. A checksum finds what disks and crashes do to a file; it is no guard
against somebody who may write into the cache, nor could a longer one be that stands in the same file. Whatever is
wrong, the tokens are made anew.
"""

import binascii
import errno
import hashlib
import json
import re
import sys
import time
from array import array
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from itertools import accumulate
from pathlib import Path
from typing import Any, BinaryIO, Literal, overload

from ..contract import Vocabulary
from ..system import files
from ..system.errors import RunError
from .documents import BETWEEN, PIECE, Readable
from .downloads import Progress

FORMAT = f"microgpt tokens 1, {sys.byteorder}-endian"
UTF_16 = "utf-16-le" if sys.byteorder == "little" else "utf-16-be"  # 2 bytes a token, in this machine's order
PAGE = 4096
MAX_HEADER = 2**20  # bytes
SHOWN_EVERY = 5.0  # seconds between two lines about how far it is
SILENT = 1.0  # seconds that nobody needs a line about
SMALL_ALPHABET = 256  # characters
SAMPLE = 2**14  # tokens that tell whether a lesson's tokenizer is one of characters
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


Positions = Literal["I", "Q"]  # a type of 4 or 8 bytes, as `array` and `memoryview` call it


class Unusable(Exception):
    """A token file that is not, or no longer, what it should be. The message is the reason."""


@dataclass(frozen=True)
class Source:
    """A text, and how its documents are found.

    `name` begins the token file's name. `place` is where the text lies, and `reading` says how its documents are found:
    with another of them the token file is another, while one whose text has changed is replaced. `where` names the text
    for people. `open` opens its bytes, about `size` of them. `documents` yields from what was opened the documents with
    BETWEEN between them, in pieces. `check` takes the number of documents and of distinct characters, and raises
    UserError where there are too few or too many.
    """

    name: str
    place: str
    reading: str
    where: str
    size: int
    open: Callable[[], BinaryIO]
    documents: Callable[[Readable], Iterator[str]]
    check: Callable[[int, int], None]

    @property
    def file_name(self) -> str:
        key = f"{self.place}\0{self.reading}".encode("utf-8", "backslashreplace")
        return f"{self.name}-{hashlib.sha256(key).hexdigest()[:16]}.tokens"


@dataclass(frozen=True)
class Header:
    """The first line of a token file. `source` is the sha256 of the text's bytes, `sha256` that of the documents.

    `positions` is the type of a start.
    """

    format: str
    source: str
    reading: str
    chars: str
    positions: Positions
    n_documents: int
    n_tokens: int
    sha256: str

    def line(self) -> bytes:
        line = json.dumps(asdict(self), ensure_ascii=False).encode()
        return line + b" " * (-(len(line) + 1) % PAGE) + b"\n"

    @property
    def starts_size(self) -> int:
        return (self.n_documents + 1) * array(self.positions).itemsize

    @property
    def size(self) -> int:
        """Bytes of the whole file."""
        return len(self.line()) + self.starts_size + 2 * self.n_tokens + 4


def positions_up_to(number: int) -> Positions:
    """Return the smaller of the two types if it holds positions up to there."""
    return "I" if number < 2**32 else "Q"


class TokenFile(Sequence[str]):
    """The documents of a token file, mapped into memory: `tokens` and `starts` are read from the disk where they are
    looked at. As a sequence it is that of the documents' texts.
    """

    def __init__(self, file: BinaryIO, header: Header) -> None:
        import mmap

        self.header = header
        self.chars = list(header.chars)
        try:
            self.map = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        except OSError as error:
            if error.errno == errno.ENOMEM:  # a limit of addresses, as `ulimit -v` sets it
                raise MemoryError from error
            raise
        begin = len(header.line())
        middle = begin + header.starts_size
        view = memoryview(self.map)
        self.starts = view[begin:middle].cast(header.positions)
        self.tokens = view[middle : middle + 2 * header.n_tokens].cast("H")

    @property
    def sha256(self) -> str:
        """That of the documents with BETWEEN between them."""
        return self.header.sha256

    def __len__(self) -> int:
        return self.header.n_documents

    @overload
    def __getitem__(self, index: int) -> str: ...
    @overload
    def __getitem__(self, index: slice) -> list[str]: ...
    def __getitem__(self, index: int | slice) -> str | list[str]:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        i = range(len(self))[index]
        return self.text(self.starts[i] + 1, self.starts[i + 1])

    def text(self, start: int, end: int) -> str:
        """Return the characters of these tokens. BOS has none."""
        return "".join(self.chars[token] for token in self.tokens[start:end] if token < len(self.chars))

    def tokenizer(self, tokenizer_class: Callable[[list[str]], Vocabulary]) -> Vocabulary | None:
        """Return the lesson's tokenizer if the tokens here are those that it would give, else None.

        It is made of a piece of the text and one document of all characters. For a tokenizer that gives each character
        its place among all of them that is the same as the whole text; any other one shows on the piece.
        """
        sample, alphabet = self.text(0, SAMPLE), "".join(self.chars)
        tokenizer = tokenizer_class([sample, alphabet])
        bos = len(self.chars)
        sample_tokens = [token for token in self.tokens[:SAMPLE] if token != bos]
        same = tokenizer.bos == bos and tokenizer.vocab_size == bos + 1 and tokenizer.chars == self.chars
        same = same and tokenizer.encode(sample) == [bos, *sample_tokens, bos]
        return tokenizer if same and tokenizer.encode(alphabet) == [bos, *range(bos), bos] else None

    def release(self) -> None:
        """Let the pages go that were looked at. The system keeps them as long as it has room: they come back fast."""
        import mmap

        if hasattr(mmap, "MADV_DONTNEED"):  # not on Windows, which takes them back by itself
            self.map.madvise(mmap.MADV_DONTNEED)


def kept(source: Source, folder: Path, progress: Progress) -> TokenFile:
    """Return the tokens of a source: those of its file in `folder`, if they are the right ones, else made anew.

    Where nothing can be written into the folder, they live as long as this process, in a temporary file. UserError as
    `source.check` has it; RunError where the disk is full, or the text changes while it is read.
    """
    path = folder / source.file_name
    try:
        return opened(path, source, lambda: hash_of(source, progress))
    except (FileNotFoundError, NotADirectoryError):
        pass
    except (OSError, Unusable) as error:
        reason = str(error) if isinstance(error, Unusable) else error.strerror
        progress(f"{path}: {reason}; making it anew")
    shown = Shown(f"turning {source.where} into tokens, once", 2 * source.size, progress)
    survey = survey_of(source, shown)
    source.check(survey.header.n_documents, len(survey.header.chars))
    try:
        return made(path, source, survey, shown)
    except OSError as error:
        if error.errno in FULL:
            raise unwritable(path, survey, error) from error
        progress(f"{folder}: {error.strerror}; the tokens are for this run only: set MICROGPT_CACHE to keep them")
    return made_for_this_run(source, survey, shown)


def made(path: Path, source: Source, survey: "Survey", shown: "Shown") -> TokenFile:
    """Write a token file, whole or not at all, and map it. Two processes may do so at the same time."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with files.replacing(path) as file:
        write(file, source, survey, shown)
    try:
        return opened(path, source, lambda: survey.header.source)
    except Unusable as error:
        raise RunError(f"{path}: another process has written it at the same time: {error}; begin again") from error


def made_for_this_run(source: Source, survey: "Survey", shown: "Shown") -> TokenFile:
    import tempfile

    temporary = Path(tempfile.gettempdir())
    try:
        file = tempfile.TemporaryFile()  # noqa: SIM115 (mapped as long as the program runs)
        write(file, source, survey, shown)
        return checked(file, source, lambda: survey.header.source)
    except OSError as error:
        raise unwritable(temporary, survey, error) from error


def unwritable(path: Path, survey: "Survey", error: OSError) -> RunError:
    megabytes = survey.header.size / 1e6
    remedy = f"it takes {megabytes:,.0f} MB: free some space, or set MICROGPT_CACHE to another folder"
    return RunError(f"{path}: cannot be written: {error.strerror}; {remedy}")


# ---- reading a token file ----


def opened(path: Path, source: Source, digest: Callable[[], str]) -> TokenFile:
    with files.open_regular(path) as file:
        return checked(file, source, digest)


def checked(file: BinaryIO, source: Source, digest: Callable[[], str]) -> TokenFile:
    """Map a token file that is what it should be; otherwise Unusable. `digest` is that of the source's bytes."""
    file.seek(0, 2)
    size = file.tell()
    header = header_of(file)
    if size != header.size:
        raise Unusable(f"damaged: {size:,} bytes, not {header.size:,}")
    if header.reading != source.reading or header.source != digest():
        raise Unusable(f"{source.where} has changed")
    file.seek(0)
    crc, left = 0, size - 4
    while left:
        data = file.read(min(left, PIECE))
        if not data:
            raise Unusable("damaged: it was cut while it was read")
        crc, left = binascii.crc32(data, crc), left - len(data)
    if file.read(4) != crc.to_bytes(4, "little"):
        raise Unusable("damaged: its checksum is wrong")
    return TokenFile(file, header)


def header_of(file: BinaryIO) -> Header:
    file.seek(0)
    try:
        content: dict[str, Any] = json.loads(file.readline(MAX_HEADER).decode("utf-8"))
        header = Header(**content)
        right = header.format == FORMAT and header.n_tokens > header.n_documents > 0
        right = right and isinstance(header.chars, str) and header.positions in ("I", "Q")
    except (ValueError, TypeError, RecursionError):
        right = False
    if not right:
        raise Unusable("not a token file of this version")
    return header


def hash_of(source: Source, progress: Progress) -> str:
    shown = Shown(f"looking whether {source.where} has changed", source.size, progress)
    with source.open() as file:
        watched = Watched(file, source.where, shown)
        while watched.read(PIECE):
            pass
    return watched.sha256.hexdigest()


# ---- making a token file ----


class Shown:
    """Says how far it is, where it takes long enough for somebody to wonder."""

    def __init__(self, what: str, total: int, progress: Progress) -> None:
        self.what, self.total, self.progress = what, total, progress
        self.done, self.next = 0, time.monotonic() + SILENT

    def add(self, n_bytes: int) -> None:
        self.done += n_bytes
        if time.monotonic() > self.next:
            self.next = time.monotonic() + SHOWN_EVERY
            self.progress(f"{self.what}: {min(100, 100 * self.done // max(self.total, 1))} %")


class Watched:
    """An open file that is hashed while it is read."""

    def __init__(self, file: BinaryIO, where: str, shown: Shown) -> None:
        self.file, self.where, self.shown = file, where, shown
        self.sha256 = hashlib.sha256()

    def read(self, size: int) -> bytes:
        try:
            data = self.file.read(size)
        except OSError as error:
            raise RunError(f"{self.where}: cannot be read: {error.strerror}; copy it to another disk") from error
        self.sha256.update(data)
        self.shown.add(len(data))
        return data


@dataclass(frozen=True)
class Survey:
    """What has to be known of a text before its first token can be written."""

    header: Header
    starts: "array[int]" = field(repr=False)


def survey_of(source: Source, shown: Shown) -> Survey:
    """Read all of a source, and remember the characters and where documents start."""
    positions = positions_up_to(source.size + 2)
    digest, chars, starts = hashlib.sha256(), Characters(), array(positions, [0])
    position = 1  # of the next character's token: the first BOS stands before it
    with source.open() as file:
        watched = Watched(file, source.where, shown)
        for piece in source.documents(watched):
            digest.update(piece.encode())
            chars.add(piece)
            lengths = [len(part) + 1 for part in piece.split(BETWEEN)]
            lengths[0] += position - 1
            *ends, position = accumulate(lengths)
            starts.extend(ends)
    n_documents = len(starts) if position > 1 else 0
    starts.append(position)
    header = Header(
        FORMAT,
        watched.sha256.hexdigest(),
        source.reading,
        "".join(sorted(chars.found - {BETWEEN})),
        positions,
        n_documents,
        position + 1,
        digest.hexdigest(),
    )
    return Survey(header, starts)


class Characters:
    """The distinct characters of a text.

    `set(text)` looks at each character as a string of its own: an expression that knows those found so far passes over
    a piece without new ones eight times as fast. For a large alphabet, in which new ones go on turning up, it would be
    compiled too often.
    """

    def __init__(self) -> None:
        self.found: set[str] = set()
        self.only_found = re.compile("")

    def add(self, text: str) -> None:
        if not self.only_found.fullmatch(text):
            self.found.update(text)
            if len(self.found) <= SMALL_ALPHABET:
                self.only_found = re.compile(f"[{re.escape(''.join(self.found))}]*")


def write(file: BinaryIO, source: Source, survey: Survey, shown: Shown) -> None:
    crc = 0
    for part in parts(source, survey, shown):
        file.write(part)
        crc = binascii.crc32(part, crc)
    file.write(crc.to_bytes(4, "little"))
    file.flush()


def parts(source: Source, survey: Survey, shown: Shown) -> Iterator[bytes | memoryview]:
    """Yield all of a token file but its checksum. RunError if the text is not what it was for the survey."""
    header = survey.header
    yield header.line()
    yield memoryview(survey.starts).cast("B")
    bos = len(header.chars)
    # A string whose characters are the tokens, written in UTF-16: no loop over characters, and no NumPy. The numbers
    # from 0xD800 on, which UTF-16 writes otherwise, are beyond any vocabulary that a dataset may have.
    token_of = {ord(char): token for token, char in enumerate(header.chars)} | {ord(BETWEEN): bos}
    yield chr(bos).encode(UTF_16)
    with source.open() as file:
        watched = Watched(file, source.where, shown)
        for piece in source.documents(watched):
            yield piece.translate(token_of).encode(UTF_16)
    yield chr(bos).encode(UTF_16)
    if watched.sha256.hexdigest() != header.source:
        raise RunError(f"{source.where}: it changed while it was read; begin again when nothing writes into it")
