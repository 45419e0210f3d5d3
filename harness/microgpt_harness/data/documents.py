"""From bytes to documents: text in UTF-8, lines or paragraphs of it, the members of a zip. columns.py reads a CSV.

What is too large to be held in memory is read in pieces, and comes out in pieces of its documents in a row.
"""

import codecs
import io
import re
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from typing import TYPE_CHECKING, Protocol

from ..system.errors import RunError, UserError

if TYPE_CHECKING:
    from zipfile import ZipFile, ZipInfo

MAX_BYTES = 64 * 2**20  # of a zip's unpacked members; the largest real one has 4 MB
PIECE = 2**20  # bytes read at once
AT_ONCE = 2**16  # documents joined at once: all of them would take as much memory once more
BETWEEN = "\0"  # stands between documents in a row: no document holds one


class Readable(Protocol):
    """An open file, as far as it is needed to read it from front to back."""

    def read(self, size: int, /) -> bytes: ...


def decode(data: bytes, where: str) -> str:
    """UTF-8 to text: a byte-order mark is dropped, CRLF and CR become LF."""
    return "".join(decoded(io.BytesIO(data), where, len(data)))


def decoded(file: Readable, where: str, piece: int) -> Iterator[str]:
    """Yield the text of an open file, so many bytes at a time, as `decode` turns it into text."""
    # Plain utf-8, not utf-8-sig: that one would count a bad byte's offset from behind the mark.
    decoder = io.IncrementalNewlineDecoder(codecs.getincrementaldecoder("utf-8")(), translate=True)
    offset, begun = 0, False
    while True:
        data = file.read(piece)
        try:
            text = decoder.decode(data, final=not data)
        except UnicodeDecodeError as error:
            # The decoder may have kept the first bytes of a character from the piece before.
            place = offset + len(data) - len(error.object) + error.start
            bad = error.object[error.start]
            raise UserError(f"{where}: not UTF-8 at byte {place} (0x{bad:02x}); save it as UTF-8 text") from error
        if (place := data.find(0)) >= 0:
            raise UserError(f"{where}: not a text file: NUL at byte {offset + place}; save it as UTF-8 text")
        if text:
            yield text if begun else text.removeprefix("\ufeff")
            begun = True
        if not data:
            return
        offset += len(data)


def lines(text: str) -> list[str]:
    # Not splitlines(): that would also break at form feeds and other separators inside a line.
    return [line.strip() for line in text.split("\n") if line.strip()]


def paragraphs(text: str) -> list[str]:
    return [part.strip() for part in re.split(r"\n\s*\n", text) if part.strip()]


def in_a_row(pieces: Iterable[str], split: Callable[[str], list[str]]) -> Iterator[str]:
    """Yield the documents of a text that comes in pieces, with BETWEEN between them, in pieces too.

    `split` is `lines` or `paragraphs`. Both take whitespace with enough newlines in it for the end of a document, and
    any other whitespace inside of one as it is. So each piece is split by itself, but for the whitespace at its edges,
    which may go on in the next.
    """
    enough = 1 if split is lines else 2
    begun, gap = False, []  # whitespace since the last character
    for piece in pieces:
        body = piece.strip()
        if not body:
            gap.append(piece)
            continue
        gap.append(piece[: len(piece) - len(piece.lstrip())])
        if begun:
            space = "".join(gap)
            yield BETWEEN if space.count("\n") >= enough else space
        yield BETWEEN.join(split(body))
        begun, gap = True, [piece[len(piece.rstrip()) :]]


def joined(documents: Iterable[str]) -> Iterator[str]:
    """Yield documents with BETWEEN between them, many at once."""
    documents, begun = iter(documents), False
    while part := list(islice(documents, AT_ONCE)):
        yield BETWEEN * begun + BETWEEN.join(part)
        begun = True


def without_gutenberg(text: str) -> str:
    """The book alone. Without the start or end line, the text on that side stays as it is."""
    start = re.search(r"^\*\*\* ?START OF .*$", text, re.MULTILINE)
    text = text[start.end() :] if start else text
    end = re.search(r"^(\*\*\* ?END OF |End of (the )?Project Gutenberg)", text, re.MULTILINE)
    return text[: end.start()] if end else text


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
            found = [(info.filename, unpack(archive, info)) for info in infos]
    except MemoryError:  # says nothing of the zip
        raise
    except Exception as error:  # damaged bytes make zipfile and zlib raise eight kinds, RuntimeError among them
        reason = str(error) or "it ends too early"  # an EOFError has no words of its own
        raise RunError(f"{where}: damaged zip: {reason}") from error
    if not found:
        raise RunError(f"{where}: holds no member {pattern}")
    return found


def unpack(archive: "ZipFile", info: "ZipInfo") -> bytes:
    if info.compress_type not in (0, 8):  # stored, deflated: the two whose unpacking zipfile bounds
        raise ValueError(f"{info.filename!r} is compressed in an unusual way")
    with archive.open(info) as member:
        return member.read(info.file_size)  # a plain read() would unpack up to 2 GB where the header lies
