"""Ctrl-C where Python's own way, an exception at once, would do harm."""

import contextlib
import signal
import threading
from collections.abc import Iterator
from types import FrameType

from .console import say

PATIENCE = 0.7  # seconds before somebody who waits is told what for


class InterruptFlag:
    """Turns the first Ctrl-C into a flag, so that the step in hand is finished; a second one interrupts at once."""

    def __init__(self) -> None:
        self.raised = False
        self.notice = threading.Timer(PATIENCE, say, ["finishing this step, then saving; Ctrl-C again leaves at once"])
        self.notice.daemon = True

    def __enter__(self) -> "InterruptFlag":
        self.before = signal.getsignal(signal.SIGINT)
        signal.signal(signal.SIGINT, self.handle)
        return self

    def handle(self, signum: int, frame: FrameType | None) -> None:
        self.raised = True
        signal.signal(signal.SIGINT, signal.default_int_handler)
        self.notice.start()

    def __exit__(self, *exc_info: object) -> None:
        self.notice.cancel()
        signal.signal(signal.SIGINT, self.before)


@contextlib.contextmanager
def held_back() -> Iterator[None]:
    """Let a block run to its end and only then raise the KeyboardInterrupt that came meanwhile.

    For code that does not survive an exception anywhere inside it: extension modules while they are imported, and
    callbacks that swallow it.
    """
    came = []
    before = signal.getsignal(signal.SIGINT)
    signal.signal(signal.SIGINT, lambda signum, frame: came.append(signum))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
        if came:
            raise KeyboardInterrupt
