"""The two pictures of `microgpt bench`: time per step against model size and against batch size.

Both axes are logarithmic, so what is proportional is a straight line of slope 1: the dashed grey one. A curve flatter
than it is still paying for the calls rather than for the arithmetic.
"""

from dataclasses import dataclass
from pathlib import Path

from . import plots
from .bench import significant

# A series is told apart by its marker and its line first, so that a print in grey can be read. Dashes: the ideal.
STYLES = ("-", "-.", ":", (0, (5, 1)), (0, (3, 1, 1, 1, 1, 1)), (0, (1, 1)), (0, (8, 2)))


@dataclass(frozen=True)
class Point:
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
    draw_series(axes, shown, points, lambda p: p.num_params)
    sizes = {p.num_params: f"{p.n_embd}\n{weights(p.num_params)}" for p in shown}
    set_ticks(axes, sizes, "n_embd, and the number of weights that make it")
    axes.set_title(f"What a larger model costs: one training step, {documents(batch_size)}", fontsize=14)
    draw_ideal(axes, list(sizes), "in proportion to the weights")
    add_legend(axes, [axes])
    plots.save(figure, path)
    return path


def draw_batch_sizes(path: Path, points: list[Point]) -> Path:
    """Draw steps against the batch size, for the smallest model and for the largest."""
    sizes = sorted({p.n_embd for p in points})
    figure, panels = new_figure(len({sizes[0], sizes[-1]}))
    for axes, n_embd in zip(panels, dict.fromkeys((sizes[0], sizes[-1]))):
        shown = [p for p in points if p.n_embd == n_embd]
        draw_series(axes, shown, points, lambda p: p.batch_size)
        set_ticks(axes, {p.batch_size: str(p.batch_size) for p in points}, "batch size (documents in a step)")
        axes.set(title=f"n_embd {n_embd}, {weights(shown[0].num_params)} weights")
    figure.suptitle("What a larger batch costs: one training step", fontsize=14)
    for axes in panels:
        draw_ideal(axes, sorted({p.batch_size for p in points}), "in proportion to the batch")
    add_legend(panels[-1], panels)
    plots.save(figure, path)
    return path


def new_figure(n_panels: int):
    from matplotlib.figure import Figure  # without pyplot: no window system, and half the time to import

    figure = Figure(figsize=(10 if n_panels == 1 else 13, 5.6), layout="constrained")
    panels = figure.subplots(1, n_panels, sharey=True, squeeze=False)[0]
    for axes in panels:
        axes.set(xscale="log", yscale="log")
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(axis="y", color="0.9")
        axes.yaxis.set_major_formatter(lambda ms, _: plain(ms))
        axes.tick_params(labelsize=11)
    panels[0].set_ylabel("milliseconds a step (median)", fontsize=12)
    return figure, panels


def draw_series(axes, shown: list[Point], points: list[Point], x_of) -> None:
    """Draw a line for each series, in the style that it has in both pictures."""
    for number, series in enumerate(sorted({p.series for p in points})):
        mine = sorted((x_of(p), p.ms) for p in shown if p.series == series)
        if mine:
            axes.plot(
                *zip(*mine),
                label=series.replace("_", " "),
                marker=plots.MARKERS[number % len(plots.MARKERS)],
                linestyle=STYLES[number % len(STYLES)],
                color=plots.COLOURS[number % len(plots.COLOURS)],
                linewidth=2,
                markersize=8,
            )


def draw_ideal(axes, xs: list[int], text: str) -> None:
    """Draw proportional growth from below the fastest series' first point, where it crosses as few curves as can be."""
    if len(xs) < 2 or not axes.lines:
        return
    start = 0.6 * min(line.get_ydata()[0] for line in axes.lines)
    ideal = [start * x / xs[0] for x in (xs[0], xs[-1])]
    axes.plot([xs[0], xs[-1]], ideal, color="0.55", linestyle=(0, (6, 4)), linewidth=1.6, zorder=1, label=text)


def add_legend(axes, panels) -> None:
    """Name the lines to the right of `axes`, the slowest at the top as in the picture, the ideal at the bottom."""
    slowest: dict[str, tuple] = {}
    for line in (line for panel in panels for line in panel.lines if line.get_marker() != "None"):
        ms = max(line.get_ydata())
        if ms > slowest.get(line.get_label(), (0, None))[0]:
            slowest[line.get_label()] = (ms, line)
    lines = [line for _, line in sorted(slowest.values(), key=lambda pair: -pair[0])]
    lines += [line for line in axes.lines if line.get_marker() == "None"]
    axes.legend(
        handles=lines,
        loc="center left",
        bbox_to_anchor=(1.02, 0.5),
        frameon=False,
        handlelength=4,
        labelspacing=0.9,
        fontsize=11,
    )


def set_ticks(axes, ticks: dict[int, str], what: str) -> None:
    axes.set_xticks(list(ticks), labels=list(ticks.values()))
    axes.minorticks_off()
    axes.set_xlabel(what, fontsize=12)


def weights(number: int) -> str:
    return f"{number:,}" if number < 10_000 else f"{number / 1000:,.0f} k" if number < 1e6 else f"{number / 1e6:.1f} M"


def documents(batch_size: int) -> str:
    return "one document" if batch_size == 1 else f"{batch_size} documents"


def plain(ms: float) -> str:
    return f"{ms:,.0f}" if ms >= 1 else significant(ms).rstrip("0")
