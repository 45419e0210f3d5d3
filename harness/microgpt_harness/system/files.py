"""How files are read that anybody may have put there, and how files are written: whole or not at all.

What is written goes into a temporary file beside it, which takes its place. After a crash at any moment the old bytes
or the new ones are there, and several processes may write the same file. Only metrics.jsonl grows while a run goes on.
"""

import contextlib
import errno
import glob
import itertools
import os
import shutil
import stat
import time
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from .errors import RunError
from .interrupts import on_leaving, staying

STALE_SECONDS = 60  # a temporary file untouched for this long belongs to a process that was killed
WINDOWS = os.name == "nt"
PATIENCE = 3.0  # seconds to wait until another program closes a file; virus scanners and indexers soon do


def open_regular(path: Path, limit: int | None = None) -> BinaryIO:
    """Open a file to read its bytes: a regular one of at most `limit` bytes, or one that a link leads to.

    Anything else is an OSError whose `strerror` says what it is, at once: opening a FIFO would wait for ever, reading
    a device would never end. A path that no system can have (a NUL character in it) is an OSError too. The file may
    still grow while it is read: read no more than `limit` bytes of it, as `read_regular` does.
    """
    try:
        check_regular(path.stat(), path, limit)  # before opening, which does something to some devices
        # Not O_RDONLY alone: a FIFO may have taken the file's place meanwhile. Windows has neither FIFO nor the flag.
        flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
        descriptor = os.open(path, flags)
    except ValueError:
        raise OSError(errno.EINVAL, "its name holds a NUL character", str(path)) from None
    try:
        check_regular(os.fstat(descriptor), path, limit)
        return os.fdopen(descriptor, "rb")
    except BaseException:
        os.close(descriptor)
        raise


def read_regular(path: Path, limit: int) -> bytes:
    """Return the bytes of a regular file of at most `limit` bytes. OSError for anything else, as of `open_regular`."""
    with open_regular(path, limit) as file:
        content = file.read(limit + 1)
    if len(content) > limit:  # it has grown, or is one of those in /proc, whose size is said to be 0
        raise too_large(path, limit)
    return content


def check_regular(status: os.stat_result, path: Path, limit: int | None) -> None:
    if stat.S_ISDIR(status.st_mode):
        raise OSError(errno.EISDIR, "it is a folder, not a file", str(path))
    if not stat.S_ISREG(status.st_mode):
        raise OSError(errno.EINVAL, "it is a device or a pipe, not a file", str(path))
    if limit is not None and status.st_size > limit:
        raise too_large(path, limit)


def too_large(path: Path, limit: int) -> OSError:
    return OSError(errno.EFBIG, f"it is larger than {limit:,} bytes", str(path))


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[BinaryIO]:
    """Open a file that takes `path`'s place at the end of the block, or leaves no trace if that is not reached.

    Whoever writes says what an OSError means; the folder must be there.
    """
    remove_stale_temporaries(path)
    # os.urandom, because the random module's generator is part of the run.
    temporary = path.with_name(f".{path.name}.{os.urandom(8).hex()}.tmp")
    with contextlib.ExitStack() as ending:
        with staying:  # a signal finds no file, or one that is known to be removed
            ending.enter_context(on_leaving(lambda: temporary.unlink(missing_ok=True)))
            file = temporary.open("xb")
        try:
            with file:
                yield file
                file.flush()
                os.fsync(file.fileno())
            put_in_place(temporary, path)
        except BaseException:
            with contextlib.suppress(OSError):
                temporary.unlink()
            raise
    sync_folder(path.parent)


def put_in_place(temporary: Path, path: Path) -> None:
    """Rename. On Windows a file that another program has open cannot be replaced: wait a little for that to end."""
    deadline = time.monotonic() + PATIENCE
    while True:
        try:
            temporary.replace(path)
            return
        except PermissionError as error:
            if not WINDOWS:
                raise
            if time.monotonic() > deadline:
                raise PermissionError(
                    error.errno, "another program has it open, or it is read-only", str(path)
                ) from None
            time.sleep(0.02)


def write_text(path: Path, content: str) -> None:
    """Write one of the files that --out is for, and make its folder. RunError says why it cannot be had."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path) as file:
            file.write(content.encode("utf-8"))
    except OSError as error:
        raise RunError(f"{path} cannot be written: {error.strerror}; choose a folder with --out") from None


def set_aside(path: Path) -> Path:
    """Keep what is at `path`, whatever it is, under a name of its own beside it. Return that. RunError if it cannot be.

    Nothing is ever written over. The old name stays until another file takes its place, so that at no moment is nothing
    there; only what can have no second name (a folder, and all files on some disks) is renamed.
    """
    names = (path.with_name(f"{path.stem}.aside-{number}{path.suffix}") for number in itertools.count(1))
    aside = next(name for name in names if not (name.exists() or name.is_symlink()))
    try:
        try:
            os.link(path, aside, follow_symlinks=False)
        except (OSError, NotImplementedError):
            path.rename(aside)
    except OSError as error:
        raise RunError(f"{path} cannot be kept under another name: {error.strerror}; move it away") from None
    return aside


def keep_previous(path: Path, previous: Path) -> None:
    """Copy what is about to be written anew to `previous`. What is no file at all, and in the way, is set aside.

    RunError if it cannot be; `path` is unchanged then.
    """
    if not path.is_file():
        set_aside(path)
        return
    if previous.is_dir():
        set_aside(previous)
    try:
        with open_regular(path) as source, replacing(previous) as file:
            shutil.copyfileobj(source, file)
    except OSError as error:
        remedy = "it is unchanged; choose another folder with --out"
        raise RunError(f"{path} could not be copied: {error.strerror}; {remedy}") from None


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
