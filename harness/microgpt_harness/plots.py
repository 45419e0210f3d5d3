"""Pictures of losses. matplotlib is imported only when one is drawn."""

import contextlib
import importlib.util
import os
import sys
import warnings
from collections.abc import Iterable, Iterator
from pathlib import Path

from . import files, metrics
from .errors import RunError, UserError
from .metrics import Curve

MISSING = "no pictures: matplotlib is not installed (the line of blocks above shows the loss)"
# Colours that a colour-blind reader can tell apart (Okabe & Ito 2008), and markers for a print in grey.
COLOURS = ("#000000", "#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#777777")
MARKERS = "osD^vPX*"
MARKER_DISTANCE = 0.16  # between two markers of a line, in widths of the picture
LIVE_SECONDS = 0.2


def available() -> bool:
    return importlib.util.find_spec("matplotlib") is not None


def draw_loss(path: Path, curve: Curve, title: str) -> None:
    """Draw one run: each step's loss, its smoothed course, and the validation loss."""
    figure, axes = new_figure(title)
    plot_run(axes, curve)
    save(figure, path)


def plot_run(axes, curve: Curve) -> None:
    axes.plot(curve.steps, curve.losses, color="0.75", linewidth=0.8, label="loss of the step's batch")
    axes.plot(curve.steps, curve.emas, color="black", linewidth=1.8, label="smoothed (EMA)")
    if curve.val_steps:
        points = curve.val_steps, curve.val_losses
        axes.plot(*points, color="tab:red", linestyle="--", marker="o", markersize=5, label="held-out documents")
    axes.legend(frameon=False)


def draw_overlay(path: Path, runs: Iterable[tuple[str, Curve]], title: str) -> None:
    """Draw the smoothed losses of several runs over one another: `runs` gives each one's name and curve."""
    figure, axes = new_figure(title)
    plot_overlay(axes, list(runs))
    save(figure, path)


def plot_overlay(axes, runs: list[tuple[str, Curve]]) -> None:
    """Runs that agree lie on top of each other: markers that take turns along the line show that all are there."""
    for i, (name, curve) in enumerate(runs):
        turn = MARKER_DISTANCE * (i + 0.5) / len(runs)
        look = {"color": COLOURS[i % len(COLOURS)], "marker": MARKERS[i % len(MARKERS)], "markersize": 7}
        axes.plot(curve.steps, curve.emas, **look, markevery=(turn, MARKER_DISTANCE), linewidth=1.6, label=name)
    axes.set_ylabel("smoothed loss (nats per character)")
    axes.legend(frameon=False)


def draw_folders(dataset_folder: Path) -> Path | None:
    """Overlay all folders' runs of one dataset as losses.png. None if there are fewer than two."""
    found = ((folder.name, metrics.read_curve(folder)) for folder in sorted(dataset_folder.glob("*/")))
    runs = [(name, curve) for name, curve in found if curve]
    if len(runs) < 2:
        return None
    path = dataset_folder / "losses.png"
    draw_overlay(path, runs, f"{dataset_folder.name}: all folders")
    return path


def new_figure(title: str):
    from matplotlib.figure import Figure  # without pyplot: no window system, and half the time to import

    figure = Figure(figsize=(8, 4.5), layout="constrained")
    axes = figure.add_subplot()
    dress(axes, title)
    return figure, axes


def dress(axes, title: str) -> None:
    axes.set(title=title, xlabel="training step", ylabel="loss (nats per character)")
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis="y", color="0.9")
    axes.xaxis.get_major_locator().set_params(integer=True)  # there is no step 2.5


def save(figure, path: Path) -> None:
    try:
        with files.replacing(path) as file, without_glyph_warnings():
            figure.savefig(file, dpi=120, format="png")
    except OSError as error:
        raise RunError(f"{path} cannot be written: {error.strerror}") from None


@contextlib.contextmanager
def without_glyph_warnings() -> Iterator[None]:
    """The fonts of matplotlib lack many scripts, Chinese among them: a box in a title's place says so by itself."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing from", category=UserWarning)
        yield


class LivePlot:
    """A window that follows the training. UserError where there is no display to open one on."""

    def __init__(self, title: str) -> None:
        if not available():
            raise UserError("--live-plot needs matplotlib, which is not installed here; leave the flag out")
        if sys.platform.startswith("linux") and not (os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")):
            raise UserError("--live-plot: there is no display here; leave the flag out and look at loss.png")
        import matplotlib
        from matplotlib import pyplot

        self.pyplot, self.curve, self.title = pyplot, Curve(), title
        try:
            self.figure, self.axes = pyplot.subplots(figsize=(8, 4.5), layout="constrained")
        except Exception as error:  # every window system fails in a way of its own
            raise UserError(f"--live-plot: no window can be opened here ({first_line(error)})") from error
        if matplotlib.get_backend().lower() == "agg":
            raise UserError("--live-plot: matplotlib finds no window system here; install tkinter or PySide6")
        pyplot.show(block=False)
        self.next_drawing = 0.0

    def update(self, records: Iterable[dict]) -> None:
        import time

        self.curve.add(records)
        began = time.monotonic()
        if began < self.next_drawing or not self.pyplot.fignum_exists(self.figure.number):
            return
        self.axes.clear()
        plot_run(self.axes, self.curve)
        dress(self.axes, self.title)
        self.figure.canvas.draw_idle()
        with without_glyph_warnings():
            self.figure.canvas.flush_events()
        done = time.monotonic()
        self.next_drawing = done + max(LIVE_SECONDS, 5 * (done - began))  # a long curve must not slow the training

    def close(self) -> None:
        self.pyplot.close(self.figure)


def first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
