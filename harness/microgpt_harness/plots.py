"""Pictures of losses. matplotlib is imported here alone, and only when a picture is drawn."""

import importlib.util
import os
import sys
from collections.abc import Iterable
from pathlib import Path

from . import metrics
from .errors import RunError, UserError

MISSING = "no pictures: matplotlib is not installed (the sparkline above shows the course of the loss)"
# Told apart without colour by their lines, so that a print in grey can be read.
LINE_STYLES = ("-", "--", "-.", ":", (0, (5, 1)), (0, (3, 1, 1, 1, 1, 1)), (0, (1, 1)), (0, (8, 2)))
LIVE_SECONDS = 0.2


def available() -> bool:
    return importlib.util.find_spec("matplotlib") is not None


def draw_loss(path: Path, records: list[dict], title: str) -> None:
    """Draw one run: each step's loss, its smoothed course, and the validation loss."""
    figure, axes = new_figure(title)
    plot_run(axes, records)
    save(figure, path)


def plot_run(axes, records: list[dict]) -> None:
    steps = [record["step"] for record in records]
    axes.plot(steps, [r["loss"] for r in records], color="0.75", linewidth=0.8, label="loss of the step's batch")
    axes.plot(steps, [r["ema"] for r in records], color="black", linewidth=1.8, label="smoothed (EMA)")
    validated = [r for r in records if "val_loss" in r]
    if validated:
        points = [r["step"] for r in validated], [r["val_loss"] for r in validated]
        axes.plot(*points, color="tab:red", linestyle="--", marker="o", markersize=5, label="held-out documents")
    axes.legend(frameon=False)


def draw_overlay(path: Path, runs: Iterable[tuple[str, list[dict]]], title: str) -> None:
    """Draw the smoothed losses of several runs over one another: `runs` gives each one's name and records."""
    figure, axes = new_figure(title)
    for (name, records), style in zip(runs, LINE_STYLES * 4):
        steps, losses = [r["step"] for r in records], [r["ema"] for r in records]
        # Runs that agree lie on top of each other: thinner lines above thicker ones keep all of them visible.
        width = 4.5 - 0.6 * len(axes.lines)
        axes.plot(steps, losses, linestyle=style, linewidth=max(width, 1.0), label=name)
    axes.set_ylabel("smoothed loss (nats per character)")
    axes.legend(frameon=False)
    save(figure, path)


def draw_folders(dataset_folder: Path) -> Path | None:
    """Overlay all folders' runs of one dataset as losses.png. None if there are fewer than two."""
    runs = [(folder.name, records) for folder in sorted(dataset_folder.glob("*/")) if (records := metrics.read(folder))]
    if len(runs) < 2:
        return None
    path = dataset_folder / "losses.png"
    draw_overlay(path, runs, f"{dataset_folder.name}: all folders")
    return path


def new_figure(title: str):
    from matplotlib.figure import Figure  # without pyplot: no window system, and half the time to import

    figure = Figure(figsize=(8, 4.5), layout="constrained")
    axes = figure.add_subplot()
    axes.set(title=title, xlabel="training step", ylabel="loss (nats per character)")
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis="y", color="0.9")
    return figure, axes


def save(figure, path: Path) -> None:
    temporary = path.with_name(f".{path.stem}.{os.getpid()}.png")
    try:
        figure.savefig(temporary, dpi=120)
        temporary.replace(path)
    except OSError as error:
        raise RunError(f"{path} cannot be written: {error.strerror}") from None


class LivePlot:
    """A window that follows the training. UserError where there is no display to open one on."""

    def __init__(self, title: str) -> None:
        if not available():
            raise UserError("--live-plot needs matplotlib, which is not installed here; leave the flag out")
        if sys.platform.startswith("linux") and not (os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")):
            raise UserError("--live-plot: there is no display here; leave the flag out and look at loss.png")
        import matplotlib
        from matplotlib import pyplot

        self.pyplot, self.records, self.title = pyplot, [], title
        try:
            self.figure, self.axes = pyplot.subplots(figsize=(8, 4.5), layout="constrained")
        except Exception as error:  # every window system fails in a way of its own
            raise UserError(f"--live-plot: no window can be opened here ({first_line(error)})") from error
        if matplotlib.get_backend().lower() == "agg":
            raise UserError("--live-plot: matplotlib finds no window system here; install tkinter or PySide6")
        pyplot.show(block=False)
        self.drawn = 0.0

    def update(self, records: list[dict]) -> None:
        import time

        self.records += records
        if time.monotonic() - self.drawn < LIVE_SECONDS or not self.pyplot.fignum_exists(self.figure.number):
            return
        self.axes.clear()
        plot_run(self.axes, self.records)
        self.axes.set(title=self.title, xlabel="training step", ylabel="loss (nats per character)")
        self.figure.canvas.draw_idle()
        self.figure.canvas.flush_events()
        self.drawn = time.monotonic()

    def close(self) -> None:
        self.pyplot.close(self.figure)


def first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
