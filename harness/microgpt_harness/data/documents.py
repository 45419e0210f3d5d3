"""From bytes to documents: text in UTF-8, lines or paragraphs of it, the members of a zip. columns.py reads a CSV."""

import re
from typing import TYPE_CHECKING

from ..system.errors import RunError, UserError

if TYPE_CHECKING:
    from zipfile import ZipFile, ZipInfo

MAX_BYTES = 64 * 2**20  # of a zip's unpacked members; the largest real one has 4 MB


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
