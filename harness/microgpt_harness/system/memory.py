"""How much memory there is, so that what cannot fit is refused in one line before it is begun."""

import contextlib
import os
import sys
from pathlib import Path

CONTAINER = Path("/sys/fs/cgroup/memory.max")  # of Linux's control groups: a number of bytes, or the word max
UNKNOWN = 8 * 2**30  # where the system does not say, as in a browser


def total() -> int:
    """Return the bytes of memory that this machine has, or that this container may use."""
    with contextlib.suppress(OSError, ValueError):
        return min(of_machine(), int(CONTAINER.read_text(encoding="ascii")))
    return of_machine()


def of_machine() -> int:
    if sys.platform == "win32":
        import ctypes

        status = (ctypes.c_uint64 * 8)(64)  # a MEMORYSTATUSEX: first its own size in bytes, then the memory's
        ctypes.windll.kernel32.GlobalMemoryStatusEx(status)
        return status[1]
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError, OSError):
        return UNKNOWN
