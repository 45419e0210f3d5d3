"""What a run shows while it trains: a bar on a terminal, ten lines when piped, and a sparkline at the end."""

import contextlib
import importlib.util
import os
import shutil
import sys
import time
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Any, Protocol

from ..system.interrupts import on_leaving

LINES = 10  # how many a piped run prints
WITHOUT_CURSOR = ("dumb", "unknown")  # values of TERM: what stands on such a terminal cannot be written over
DRAWING_SECONDS = 0.1  # between two drawings of a bar
SPARE = 2  # columns left free: the ^C that a terminal echoes would make a full line two
MIN_BAR, MAX_BAR = 5, 30  # columns; with less room than that there is no bar
SPARKS = "▁▂▃▄▅▆▇█"


class Progress(Protocol):
    def update(self, step: int, loss: float, ema: float, val_loss: float | None) -> None:
        """Show one finished step. val_loss is None on steps without a validation."""

    def close(self) -> None:
        """Leave the terminal as it was. May be called twice."""


def make_progress(total: int, start: int, log_every: int | None, quiet: bool) -> Progress:
    """Return what suits the flags and the place that output goes to. `start` is the number of steps already taken."""
    if quiet:
        return Silent()
    if log_every is not None or not can_write_over():
        return Lines(total, max(1, -(-total // LINES)) if log_every is None else log_every)
    if importlib.util.find_spec("rich"):
        return RichBar(total, start)
    return PlainBar(total, start)


def can_write_over() -> bool:
    """Return whether output goes to a terminal on which a line can be written over."""
    return sys.stdout.isatty() and os.environ.get("TERM", "").lower() not in WITHOUT_CURSOR


@contextlib.contextmanager
def waiting_for(what: str, quiet: bool) -> Iterator[None]:
    """While the block runs, say on a terminal what it is that takes so long. Then the line is empty again."""
    if quiet or not can_write_over():
        yield
        return
    line = f"{what} …"[: shutil.get_terminal_size().columns - SPARE]
    print(line, end="\r", flush=True)
    try:
        yield
    finally:
        print(" " * len(line), end="\r", flush=True)


class Silent:
    def update(self, step: int, loss: float, ema: float, val_loss: float | None) -> None:
        pass

    def close(self) -> None:
        pass


class Lines:
    """A line every so many steps, and for the last. A validation loss stands in the next line after it was computed."""

    def __init__(self, total: int, every: int) -> None:
        self.total, self.every = total, every
        self.val_loss: float | None = None  # the latest, if no line has shown it

    def update(self, step: int, loss: float, ema: float, val_loss: float | None) -> None:
        self.val_loss = self.val_loss if val_loss is None else val_loss
        if self.every and (step % self.every == 0 or step == self.total):
            validation = f" | val {short(self.val_loss)}" if self.val_loss is not None else ""
            print(f"step {step:4d} / {self.total:4d} | loss {short(loss)}{validation}", flush=True)
            self.val_loss = None

    def close(self) -> None:
        pass


class Bar:
    """What both bars know of the run, and what of it fits on a line."""

    def __init__(self, total: int, start: int) -> None:
        self.total, self.step = total, start
        self.began: tuple[int, float] | None = None  # at the first update: a compiler's turn is over by then
        self.loss = self.ema = self.rate = 0.0
        self.val_loss: float | None = None

    def take(self, step: int, loss: float, ema: float, val_loss: float | None) -> None:
        now = time.perf_counter()
        self.step, self.loss, self.ema = step, loss, ema
        self.val_loss = self.val_loss if val_loss is None else val_loss
        self.began = self.began or (step, now)
        self.rate = (step - self.began[0]) / max(now - self.began[1], 1e-9)

    def forms(self) -> list[tuple[str, str]]:
        """Return the line's head and its rest, in full first and then ever shorter."""
        head = f"step {self.step:{len(str(self.total))}d}/{self.total}"
        if self.began is None:
            return [(head, "")]
        loss, ema, *validation = figures(self.loss, self.ema, self.val_loss)
        rate = [f"{speed(self.rate)} steps/s"] if self.rate else []
        left = [clock(self.seconds_left())] if self.rate else []
        shortest = " ".join([loss, *validation, *left])
        return [
            (head, " ".join([loss, ema, *validation, *rate, *left])),
            (head, " ".join([loss, ema, *validation, *left])),
            (head, shortest),
            (f"step {self.step}", shortest),
            (f"{self.step}", shortest),
        ]

    def seconds_left(self) -> float:
        return (self.total - self.step) / self.rate

    def fitting(self, room: int) -> str:
        """Return as much as there is room for, in one line: one that is wrapped could not be written over."""
        lines = [f"{head} {rest}" for head, rest in self.forms()]
        return next((line for line in lines if len(line) <= room), lines[-1][:room])


class PlainBar(Bar):
    """One line that is written over, for a Python without rich."""

    def __init__(self, total: int, start: int) -> None:
        super().__init__(total, start)
        self.shown = time.perf_counter()
        self.width = 0

    def update(self, step: int, loss: float, ema: float, val_loss: float | None) -> None:
        self.take(step, loss, ema, val_loss)
        now = time.perf_counter()
        if now - self.shown < DRAWING_SECONDS and step < self.total:
            return
        self.shown = now
        line = self.line(shutil.get_terminal_size().columns - SPARE)
        print("\r" + line.ljust(self.width), end="", flush=True)
        self.width = len(line)

    def line(self, room: int) -> str:
        parts = [f"step {self.step} / {self.total}", " ".join(figures(self.loss, self.ema, self.val_loss))]
        parts += [f"{speed(self.rate)} steps/s", f"{self.seconds_left():.0f} s left"] if self.rate else []
        line = " | ".join(parts)
        return line if len(line) <= room else self.fitting(room)

    def close(self) -> None:
        if self.width:
            print(flush=True)
            self.width = 0


class RichBar(Bar):
    """A line with a bar in it, drawn at most ten times a second, however many steps have been taken."""

    def __init__(self, total: int, start: int) -> None:
        from rich.live import Live

        super().__init__(total, start)
        # Without rich's own thread, which would go on drawing under the last words of a process that is leaving.
        self.live = Live(get_renderable=lambda: self, auto_refresh=False)
        self.leaving = on_leaving(self.show_cursor)  # rich hides it
        self.leaving.__enter__()
        self.live.start(refresh=True)
        self.shown = time.perf_counter()

    def show_cursor(self) -> None:
        self.live.console.show_cursor(True)

    def update(self, step: int, loss: float, ema: float, val_loss: float | None) -> None:
        self.take(step, loss, ema, val_loss)
        if (now := time.perf_counter()) - self.shown >= DRAWING_SECONDS:
            self.shown = now
            self.live.refresh()

    def __rich_console__(self, console: Any, options: Any) -> Iterator[Any]:
        from rich.progress_bar import ProgressBar
        from rich.text import Text

        room = options.max_width - SPARE
        head, rest = self.forms()[0]
        width = room - len(head) - len(rest) - 2
        if width < MIN_BAR:
            yield Text(self.fitting(room), no_wrap=True)
            return
        yield Text(f"{head} ", style="bold", end="")
        yield ProgressBar(self.total, self.step, width=min(width, MAX_BAR))
        yield Text(f" {rest}", no_wrap=True)

    def close(self) -> None:
        if self.live.is_started:
            self.live.stop()
            self.leaving.__exit__()


def figures(loss: float, ema: float, val_loss: float | None) -> list[str]:
    validation = [f"val {short(val_loss)}"] if val_loss is not None else []
    return [f"loss {short(loss)}", f"ema {short(ema)}", *validation]


def clock(seconds: float) -> str:
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{seconds:02d}" if hours else f"{minutes}:{seconds:02d}"


def short(loss: float) -> str:
    return f"{loss:.4f}" if abs(loss) < 1e5 else f"{loss:.3e}"  # a loss that runs away would fill the screen


def speed(rate: float) -> str:
    return f"{rate:.1f}" if rate < 100 else f"{rate:.0f}"


def sparkline(values: Sequence[float], width: int = 40) -> str:
    """Return the course of the values as one line of at most `width` characters, each the mean of its stretch."""
    if not values:
        return ""
    width = min(width, len(values))
    edges = [i * len(values) // width for i in range(width + 1)]
    means = [sum(values[a:b]) / (b - a) for a, b in pairwise(edges)]
    low, high = min(means), max(means)
    scale = (len(SPARKS) - 1) / (high - low) if high > low else 0
    return "".join(SPARKS[round((mean - low) * scale)] for mean in means)
