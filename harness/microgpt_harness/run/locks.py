"""One process at a time writes a run's folder."""

import errno
import os
import sys
from pathlib import Path

from ..system.console import say
from ..system.errors import RunError, UserError

FILE = ".lock"
TAKEN = (errno.EACCES, errno.EAGAIN, errno.EDEADLK)  # how systems say that another has a lock


class FolderLock:
    """A run's folder, while one process writes there. The system gives it back when that process ends, however it ends.

    The file `.lock` stays behind, and means nothing by itself. Who only reads takes no lock: files are replaced whole.
    Within `with`, it is taken at once if the folder is there, else by `take`, which makes the folder.
    """

    def __init__(self, folder: Path) -> None:
        self.folder, self.path = folder, folder / FILE
        self.descriptor: int | None = None

    def __enter__(self) -> "FolderLock":
        if os.path.isdir(self.folder):  # noqa: PTH112 (Path's own fails where the name is too long)
            self.take()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.release()

    def take(self) -> None:
        """Take the folder; again, if it was deleted since. UserError if another process has it.

        Where the file system knows no locks (some NFS), one line says so and nothing is locked.
        """
        if self.is_held():
            return
        self.release()
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            # Never through a link, which may lead anywhere. Processes that this one starts do not inherit it.
            flags = os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)
            self.descriptor = os.open(self.path, flags, 0o666)
        except OSError as error:
            raise RunError(f"{self.path} cannot be written: {error.strerror}; choose a folder with --out") from None
        try:
            lock(self.descriptor)
        except OSError as error:
            if error.errno not in TAKEN:
                say(f"{self.folder} cannot be locked here ({error.strerror}); let no other process train into it")
                return
            self.release()
            remedy = "wait for its end, or choose another folder with --out"
            raise UserError(f"{self.folder}: another process is training there; {remedy}") from None

    def is_held(self) -> bool:
        """Whether the file that this process has locked is still the one in the folder."""
        if self.descriptor is None:
            return False
        try:
            return os.path.samestat(os.fstat(self.descriptor), self.path.stat())
        except OSError:
            return False

    def release(self) -> None:
        if self.descriptor is not None:
            os.close(self.descriptor)
            self.descriptor = None


def lock(descriptor: int) -> None:
    """Lock an open file without waiting. OSError if another process has, or if this file system cannot."""
    if sys.platform == "win32":
        import msvcrt

        msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
    else:
        import fcntl

        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
