"""The two pictures of `microgpt bench`: time per step against model size and against batch size.

A folder has the colour and the marker that it has in every picture; its second backend a broken line and a hollow
marker. Model sizes are many, and lines join them: on two logarithmic axes what is proportional is a straight line of
slope 1, the dashed grey one. Batch sizes are few, mostly two, and what lies between them was not measured: so each
series has a row of its own, with a marker for each size and a grey stroke where the largest would be in proportion.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..run import plots
from .bench import significant

LINES = ("-", (0, (5, 2)), (0, (1, 1)))  # of a folder's backends
LABEL_SIZE = 11


@dataclass(frozen=True)
class Point:
    """One measurement. `series` is the folder's name, with the backend behind it where the folder has several."""

    folder: str
    series: str
    n_embd: int
    batch_size: int
    num_params: int
    ms: float


def draw_model_sizes(path: Path, points: list[Point]) -> Path:
    """Draw the smallest batch size's steps against the number of weights."""
    batch_size = min(p.batch_size for p in points)
    shown = [p for p in points if p.batch_size == batch_size]
    figure, (axes,) = new_figure(1)
    axes.set(xscale="log", yscale="log")
    axes.grid(axis="y", color="0.9")
    axes.yaxis.set_major_formatter(lambda ms, _: plain(ms))
    axes.set_ylabel("milliseconds a step (median)", fontsize=12)
    draw_series(axes, shown, points)
    sizes = {p.num_params: f"{p.n_embd}\n{weights(p.num_params)}" for p in shown}
    set_ticks(axes, sizes, "n_embd, and the number of weights that make it")
    axes.set_title(f"What a larger model costs: one training step, {documents(batch_size)}", fontsize=14)
    draw_ideal(axes, list(sizes), "in proportion to the weights")
    add_legend(axes)
    plots.save(figure, path)
    return path


def draw_batch_sizes(path: Path, points: list[Point]) -> Path:
    """Draw a row for each series with its steps at every batch size, for the smallest model and for the largest."""
    sizes = sorted({p.n_embd for p in points})
    ends = dict.fromkeys((sizes[0], sizes[-1]))
    looks = looks_of(points)
    figure, panels = new_figure(len(ends), height=2.1 + 0.5 * len(looks))
    for axes, n_embd in zip(panels, ends):
        shown = [p for p in points if p.n_embd == n_embd]
        draw_rows(axes, shown, looks)
        axes.set(xscale="log", title=f"n_embd {n_embd}, {weights(shown[0].num_params)} weights")
        axes.set_xlabel("milliseconds a step (median)", fontsize=12)
        axes.xaxis.set_major_formatter(lambda ms, _: plain(ms))
        axes.grid(axis="x", color="0.9")
    panels[0].set_yticks(range(len(looks)), labels=[spaced(series) for series in looks])
    panels[0].set_ylim(len(looks) - 0.4, -0.6)  # the first at the top
    figure.suptitle("What a larger batch costs: one training step", fontsize=14)
    figure.supxlabel(explanation(points), fontsize=LABEL_SIZE)
    plots.save(figure, path)
    return path


def explanation(points: list[Point]) -> str:
    batch_sizes = sorted({p.batch_size for p in points})
    if len(batch_sizes) == 1:
        return f"{documents(batch_sizes[0])} in a step"
    return (
        f"Each row: from {documents(batch_sizes[0])} in a step (small) to {batch_sizes[-1]} (large), and how many times"
        f" as long that takes. Grey stroke: {batch_sizes[-1] / batch_sizes[0]:g} times, in proportion to the batch."
    )


def draw_rows(axes: Any, shown: list[Point], looks: dict[str, dict[str, Any]]) -> None:
    """Draw each series' markers on its row, small for the smallest batch and large for the largest."""
    for row, (series, look) in enumerate(looks.items()):
        mine = sorted((p for p in shown if p.series == series), key=lambda p: p.batch_size)
        marks = {name: look[name] for name in ("color", "marker", "markerfacecolor")}
        if not mine:
            continue
        first, last = mine[0], mine[-1]
        axes.plot([first.ms, last.ms], [row, row], color=look["color"], linewidth=2, alpha=0.4, zorder=1)
        for point in mine:
            axes.plot(point.ms, row, **marks, linestyle="", markersize=11 if point is last and len(mine) > 1 else 6)
        if len(mine) > 1:
            in_proportion = first.ms * last.batch_size / first.batch_size
            axes.plot(in_proportion, row, color="0.55", marker="|", markersize=16, markeredgewidth=2, zorder=1)
            place = {"xytext": (0, 9), "textcoords": "offset points", "ha": "center", "fontsize": 9}
            axes.annotate(f"{significant(last.ms / first.ms)}×", (last.ms, row), **place)


def new_figure(n_panels: int, height: float = 5.6) -> Any:
    from matplotlib.figure import Figure  # without pyplot: no window system, and half the time to import

    figure = Figure(figsize=(10 if n_panels == 1 else 13, height), layout="constrained")
    panels = figure.subplots(1, n_panels, sharey=True, squeeze=False)[0]
    for axes in panels:
        axes.spines[["top", "right"]].set_visible(False)
        axes.tick_params(labelsize=LABEL_SIZE)
    return figure, panels


def looks_of(points: Iterable[Point]) -> dict[str, dict[str, Any]]:
    """Return how each series is drawn, in the folders' order. Of a folder's backends the first measured is filled."""
    folders = {p.series: p.folder for p in sorted(points, key=lambda p: p.folder)}
    looks = {}
    for series, folder in folders.items():
        nth = [each for each in folders if folders[each] == folder].index(series)
        look = plots.look(folder)
        hollow = {"markerfacecolor": "white" if nth else look["color"], "linestyle": LINES[nth % len(LINES)]}
        looks[series] = look | hollow
    return looks


def draw_series(axes: Any, shown: list[Point], points: list[Point]) -> None:
    """Draw a line over the model sizes for each series."""
    for series, look in looks_of(points).items():
        mine = sorted((p.num_params, p.ms) for p in shown if p.series == series)
        if mine:
            axes.plot(*zip(*mine), label=spaced(series), **look, linewidth=2, markersize=8)


def spaced(series: str) -> str:
    return plots.label(series).replace("_", " ")


def draw_ideal(axes: Any, xs: list[int], text: str) -> None:
    """Draw proportional growth from below the fastest series' first point, where it crosses as few curves as can be."""
    if len(xs) < 2 or not axes.lines:
        return
    start = 0.6 * min(line.get_ydata()[0] for line in axes.lines)
    ideal = [start * x / xs[0] for x in (xs[0], xs[-1])]
    axes.plot([xs[0], xs[-1]], ideal, color="0.55", linestyle=(0, (6, 4)), linewidth=1.6, zorder=1, label=text)


def add_legend(axes: Any) -> None:
    """Name the lines to the right of `axes`, the slowest at the top as in the picture, the ideal at the bottom."""
    lines = sorted(axes.lines, key=lambda line: (line.get_marker() == "None", -max(line.get_ydata())))
    axes.legend(
        handles=lines,
        loc="center left",
        bbox_to_anchor=(1.02, 0.5),
        frameon=False,
        handlelength=4,
        labelspacing=0.9,
        fontsize=LABEL_SIZE,
    )


def set_ticks(axes: Any, ticks: dict[int, str], what: str) -> None:
    axes.set_xticks(list(ticks), labels=list(ticks.values()))
    axes.minorticks_off()
    axes.set_xlabel(what, fontsize=12)


def weights(number: int) -> str:
    return f"{number:,}" if number < 10_000 else f"{number / 1000:,.0f} k" if number < 1e6 else f"{number / 1e6:.1f} M"


def documents(batch_size: int) -> str:
    return "one document" if batch_size == 1 else f"{batch_size} documents"


def plain(ms: float) -> str:
    return f"{ms:,.0f}" if ms >= 1 else significant(ms).rstrip("0")
