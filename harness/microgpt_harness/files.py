"""How files are written: whole or not at all. The bytes go into a temporary file beside it, which takes its place.

After a crash at any moment the old bytes or the new ones are there, and several processes may write the same file.
Only metrics.jsonl grows while a run goes on: metrics.py reads it up to a line that was cut off.
"""

import contextlib
import glob
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from .errors import RunError

STALE_SECONDS = 60  # a temporary file untouched for this long belongs to a process that was killed


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[BinaryIO]:
    """Open a file that takes `path`'s place at the end of the block, or leaves no trace if that is not reached.

    Whoever writes says what an OSError means; the folder must be there.
    """
    remove_stale_temporaries(path)
    # os.urandom, because the random module's generator is part of the run.
    temporary = path.with_name(f".{path.name}.{os.urandom(8).hex()}.tmp")
    try:
        with temporary.open("xb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:  # Ctrl-C too
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise
    sync_folder(path.parent)


def write_text(path: Path, content: str) -> None:
    """Write one of the files that --out is for, and make its folder. RunError says why it cannot be had."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path) as file:
            file.write(content.encode("utf-8"))
    except OSError as error:
        raise RunError(f"{path} cannot be written: {error.strerror}; choose a folder with --out") from None


def remove_stale_temporaries(path: Path) -> None:
    """Remove what killed processes left behind of this path, but not a file that another is just writing."""
    pattern = f".{glob.escape(path.name)}.{'[0-9a-f]' * 16}.tmp"
    for temporary in path.parent.glob(pattern):
        with contextlib.suppress(OSError):
            if time.time() - temporary.stat().st_mtime > STALE_SECONDS:
                temporary.unlink()


def sync_folder(folder: Path) -> None:
    """Make a rename survive a power cut. Where a folder cannot be synced, the file is whole all the same."""
    if os.name != "posix":
        return
    with contextlib.suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
