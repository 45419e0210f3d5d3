"""Pictures of losses. matplotlib is imported only when one is drawn."""

import contextlib
import importlib.util
import itertools
import math
import os
import re
import sys
import warnings
import zlib
from collections.abc import Collection, Iterable, Iterator
from pathlib import Path
from typing import Any

from ..system import files
from ..system.console import printable
from ..system.errors import RunError, UserError
from .agreement import FLOAT64_BOUND, JUDGED_STEPS, Comparison, Difference
from .metrics import Curve, Record

MISSING = "no pictures: matplotlib is not installed (the line of blocks above shows the loss)"
# Colours that a colour-blind reader can tell apart (Okabe & Ito 2008), and markers for a print in grey. A folder has
# those at its number in every picture, whatever other folders are there: see `look`.
COLOURS = ("#000000", "#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#777777")
MARKERS = "osD^vPX*"
MARKER_DISTANCE = 0.16  # between two markers of a line, in widths of the picture
MAX_DOTS = 2000  # of one run among the differences: more would only make a band of colour
MAX_DIFFERENCE = 1e6  # what is further apart, or no number, is drawn there
MAX_NAME = 40  # characters of a name in a picture
LIVE_SECONDS = 0.2


def available() -> bool:
    return importlib.util.find_spec("matplotlib") is not None


def draw_loss(path: Path, curve: Curve, title: str) -> None:
    """Draw one run: each step's loss, its smoothed course, and the validation loss."""
    figure, axes = new_figure(title)
    plot_run(axes, curve)
    save(figure, path)


def plot_run(axes: Any, curve: Curve) -> None:
    axes.plot(curve.steps, curve.losses, color="0.75", linewidth=0.8, label="loss of the step's batch")
    axes.plot(curve.steps, curve.emas, color="black", linewidth=1.8, label="smoothed (EMA)")
    if curve.val_steps:
        points = curve.val_steps, curve.val_losses
        axes.plot(*points, color="tab:red", linestyle="--", marker="o", markersize=5, label="held-out documents")
    axes.legend(frameon=False)


def look(name: str) -> dict[str, Any]:
    """Return the colour and the marker of a folder by its number, 05 by 5; of any other name by its letters."""
    number = re.match(r"[0-9]{1,9}", name)
    return nth_look(int(number.group()) if number else zlib.crc32(name.encode("utf-8", "replace")))


def nth_look(number: int) -> dict[str, Any]:
    return {"color": COLOURS[number % len(COLOURS)], "marker": MARKERS[number % len(MARKERS)]}


def label(name: str) -> str:
    """Return a name as a picture can show it: matplotlib takes $ for a formula, and _ at the start for "hide this"."""
    name = printable(name)
    name = name if len(name) <= MAX_NAME else name[: MAX_NAME - 1] + "…"
    return " " * name.startswith("_") + name.replace("$", r"\$")


def draw_datasets(path: Path, runs: Iterable[tuple[str, Curve]], title: str) -> None:
    """Draw one folder's smoothed losses of several datasets: `runs` gives each one's name and curve."""
    figure, axes = new_figure(title)
    plot_overlay(axes, [(name, curve, nth_look(i)) for i, (name, curve) in enumerate(runs)])
    save(figure, path)


def draw_folders(comparison: Comparison) -> Path | None:
    """Draw the smoothed losses of all folders as losses.png, and under them how far apart they are.

    None if there are fewer than two runs: one is no comparison.
    """
    if len(comparison.runs) < 2:
        return None
    path = comparison.folder / "losses.png"
    save(folders_figure(comparison), path)
    return path


def folders_figure(comparison: Comparison) -> Any:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 6.6), layout="constrained")
    upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=(4, 3))
    dress(upper, f"{label(comparison.folder.name)}: all folders")
    plot_overlay(upper, [(run.name, run.curve, look(run.name)) for run in comparison.runs])
    dress(lower, "")
    plot_differences(lower, comparison)
    upper.set_xlabel("")  # the lower one's is for both
    return figure


def plot_overlay(axes: Any, runs: list[tuple[str, Curve, dict[str, Any]]]) -> None:
    """Runs that agree lie on top of each other: markers that take turns along the line show that all are there."""
    for i, (name, curve, style) in enumerate(runs):
        axes.plot(curve.steps, curve.emas, **style, **turn(i, len(runs)), linewidth=1.6, label=label(name))
    axes.set_ylabel("smoothed loss (nats per character)")
    axes.legend(frameon=False)


def turn(i: int, count: int) -> dict[str, Any]:
    return {"markersize": 7, "markevery": (MARKER_DISTANCE * (i + 0.5) / count, MARKER_DISTANCE)}


def plot_differences(axes: Any, comparison: Comparison) -> None:
    """Plot |loss − the reference's| of the runs with its settings: a dot for each step, a line for the largest so far.

    A logarithmic axis has no place for 0, which two losses with the same digits make: it stands at the bottom.
    """
    apart = {name: d for name, d in comparison.comparable.items() if d.steps}
    if not apart:
        axes.set(yticks=[], ylabel="")
        caption(axes, "Nothing to compare: no two runs have the same settings and a step in common.")
        return
    zero = dress_differences(axes, apart.values())
    for i, (name, each) in enumerate(apart.items()):
        heights = [min(max(d, zero), MAX_DIFFERENCE) for d in each.distances]
        style = look(name)
        dots = {"marker": ".", "markersize": 4, "markeredgewidth": 0, "markevery": 1 + len(heights) // MAX_DOTS}
        axes.plot(each.steps, heights, color=style["color"], linestyle="", alpha=0.5, **dots)
        so_far = list(itertools.accumulate(heights, max))
        axes.plot(each.steps, so_far, **style, **turn(i, len(apart)), linewidth=1.6, label=label(name))
    show_what_is_judged(axes, apart.values())
    axes.set_ylabel(f"|loss − loss of {label(comparison.reference.name).partition('_')[0]}|")
    if left_out := [label(run.name) for run in comparison.others if run.name not in apart]:
        axes.set_xlabel(f"training step\n(not comparable: {', '.join(left_out)})")


def dress_differences(axes: Any, differences: Collection[Difference]) -> float:
    """Make the axis logarithmic with few ticks, wide enough for the bounds. Return the height that stands for 0."""
    every = [min(d, MAX_DIFFERENCE) for each in differences for d in each.distances]
    shown = [d for d in every if d] + [each.bound for each in differences]
    low, high = math.floor(math.log10(min(shown))), math.ceil(math.log10(max(shown)))
    zero = 10.0 ** (low - 1)
    powers = range(low, high + 1, 1 + (high - low) // 6)
    ticks = {10.0**power: f"$10^{{{power}}}$" for power in powers} | ({zero: "0"} if 0 in every else {})
    axes.set(yscale="log", ylim=(min(ticks) / 3, 3 * 10.0**high))
    axes.set_yticks(list(ticks), labels=list(ticks.values()))
    axes.minorticks_off()
    return zero


def show_what_is_judged(axes: Any, differences: Collection[Difference]) -> None:
    """Shade the judged steps and draw the bounds that hold there."""
    judged = [step for each in differences for step, _ in each.judged]
    if not judged:
        caption(
            axes, f"Not judged: no two runs have a step up to {JUDGED_STEPS} in common. Later, rounding grows in any."
        )
        return
    begin, end = min(judged), max(judged)
    axes.axvspan(begin, end, color="0.92", zorder=0)
    for bound in {each.bound for each in differences}:
        kind = "float64" if bound == FLOAT64_BOUND else "float32"
        axes.hlines(bound, begin, end, color="0.2", linestyle="--", linewidth=1.4)
        place = {"xytext": (2, 3), "textcoords": "offset points", "color": "0.2", "fontsize": 9}
        axes.annotate(f"bound for {kind}: {bound:.0e}", (begin, bound), **place)
    caption(axes, "Dots: each step. Lines: the largest so far. Shaded: judged; after that, rounding grows in any run.")


def caption(axes: Any, text: str) -> None:
    axes.set_title(text, loc="left", fontsize=10)


def new_figure(title: str) -> Any:
    from matplotlib.figure import Figure  # without pyplot: no window system, and half the time to import

    figure = Figure(figsize=(8, 4.5), layout="constrained")
    axes = figure.add_subplot()
    dress(axes, title)
    return figure, axes


def dress(axes: Any, title: str) -> None:
    axes.set(title=title, xlabel="training step", ylabel="loss (nats per character)")
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis="y", color="0.9")
    axes.xaxis.get_major_locator().set_params(integer=True)  # there is no step 2.5


def save(figure: Any, path: Path) -> None:
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

    def update(self, records: Iterable[Record]) -> None:
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
