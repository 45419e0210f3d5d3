"""What a run shows while it trains: a bar on a terminal, ten lines when piped, and a sparkline at the end."""

import importlib.util
import shutil
import sys
import time
from collections.abc import Sequence
from itertools import pairwise
from typing import Protocol

LINES = 10  # how many a piped run prints
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
    if log_every is not None or not sys.stdout.isatty():
        return Lines(total, max(1, -(-total // LINES)) if log_every is None else log_every)
    if importlib.util.find_spec("rich"):
        return RichBar(total, start)
    return PlainBar(total, start)


class Silent:
    def update(self, step: int, loss: float, ema: float, val_loss: float | None) -> None:
        pass

    def close(self) -> None:
        pass


class Lines:
    """A line every so many steps, and for the last."""

    def __init__(self, total: int, every: int) -> None:
        self.total, self.every = total, every

    def update(self, step: int, loss: float, ema: float, val_loss: float | None) -> None:
        if self.every and (step % self.every == 0 or step == self.total):
            validation = f" | val {short(val_loss)}" if val_loss is not None else ""
            print(f"step {step:4d} / {self.total:4d} | loss {short(loss)}{validation}", flush=True)

    def close(self) -> None:
        pass


class PlainBar:
    """One line that is written over, for a Python without rich."""

    def __init__(self, total: int, start: int) -> None:
        self.total, self.start = total, start
        self.began = self.shown = time.perf_counter()
        self.val_loss: float | None = None
        self.width = 0

    def update(self, step: int, loss: float, ema: float, val_loss: float | None) -> None:
        self.val_loss = self.val_loss if val_loss is None else val_loss
        now = time.perf_counter()
        if now - self.shown < 0.1 and step < self.total:
            return
        self.shown = now
        rate = (step - self.start) / max(now - self.began, 1e-9)
        shown = " ".join(figures(loss, ema, self.val_loss))
        parts = [f"step {step} / {self.total}", shown, f"{speed(rate)} steps/s"]
        parts.append(f"{(self.total - step) / rate:.0f} s left" if rate else "")
        line = " | ".join(parts)[: shutil.get_terminal_size().columns - 1]  # a wrapped line could not be written over
        print("\r" + line.ljust(self.width), end="", flush=True)
        self.width = len(line)

    def close(self) -> None:
        if self.width:
            print(flush=True)
            self.width = 0


class RichBar:
    def __init__(self, total: int, start: int) -> None:
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

        room = shutil.get_terminal_size().columns - 2 * len(str(total)) - 60  # what the other columns leave
        self.bar = Progress(
            TextColumn("[bold]step"),
            MofNCompleteColumn(),
            BarColumn(bar_width=min(max(room, 1), 30)),
            TextColumn("{task.fields[figures]}"),
            TextColumn("{task.fields[rate]}"),
            TimeRemainingColumn(compact=True),
        )
        self.start, self.began = start, time.perf_counter()
        self.val_loss: float | None = None
        self.task = self.bar.add_task("", total=total, completed=start, figures="", rate="")
        self.bar.start()

    def update(self, step: int, loss: float, ema: float, val_loss: float | None) -> None:
        self.val_loss = self.val_loss if val_loss is None else val_loss
        rate = (step - self.start) / max(time.perf_counter() - self.began, 1e-9)
        shown = " ".join(figures(loss, ema, self.val_loss))
        self.bar.update(self.task, completed=step, figures=shown, rate=f"{speed(rate)} steps/s")

    def close(self) -> None:
        self.bar.stop()


def figures(loss: float, ema: float, val_loss: float | None) -> list[str]:
    validation = [f"val {short(val_loss)}"] if val_loss is not None else []
    return [f"loss {short(loss)}", f"ema {short(ema)}", *validation]


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
