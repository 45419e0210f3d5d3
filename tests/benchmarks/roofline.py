"""How far is a training step from what one core of this machine can do?

`taskset -c 1 uv run --directory tests python benchmarks/roofline.py` (`taskset`, which Linux has, keeps it on one core)
measures how many floating-point operations a second a large product of matrices makes, and how many bytes a second a
large copy moves, in memory and in the cache: no program can be above these lines (Williams, Waterman & Patterson 2009).
Then it trains models of several sizes in 02 (by numba), 04 and 05, all in float32. It prints a table and draws
docs/roofline.png. All seconds are the processor's for this program alone; still, a busy machine shows in them. Some two
minutes.
"""

import dataclasses
import math
import multiprocessing
import os
import sys
import time
from argparse import Namespace
from dataclasses import dataclass
from pathlib import Path

os.environ |= dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")

import numpy as np
import torch

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "harness"))
from microgpt_harness.contract import Folder  # noqa: E402
from microgpt_harness.data import datasets  # noqa: E402
from microgpt_harness.program.engines import load_engine  # noqa: E402
from microgpt_harness.program.settings import resolve  # noqa: E402
from microgpt_harness.run import plots, training  # noqa: E402
from microgpt_harness.run.checkpoint import count_weights  # noqa: E402
from microgpt_harness.tools.bench import significant  # noqa: E402

ROUNDS, TURNS = 7, 3  # of products and copies; of some steps
MATRIX = 2048  # rows and columns
IN_MEMORY, IN_CACHE = 2**29, 2**18  # bytes to copy: far more than any cache holds, and less than a core's own

SERIES = {"02, numba": ("02_numpy_manual_backprop", "microgpt_numba")}
SERIES |= {"04": ("04_pytorch_batched", "engine"), "05": ("05_jax", "engine")}
SECONDS = 1  # that a turn's steps take
SIZES = {
    "default, 1 name": ("names", {"batch_size": 1}),
    "default, 32 names": ("names", {"batch_size": 32}),
    "64 wide, 4 windows": ("shakespeare", {"n_layer": 4, "n_embd": 64, "block_size": 64, "batch_size": 4}),
    "CPU recipe": ("shakespeare", {"n_layer": 4, "n_embd": 128, "block_size": 64, "batch_size": 12}),
    "GPU recipe's model,\n8 windows": (
        "shakespeare",
        {"n_layer": 6, "n_head": 6, "n_embd": 384, "block_size": 256, "batch_size": 8},
    ),
}


@dataclass(frozen=True)
class Point:
    """A step that was measured: its milliseconds, operations, and the fewest bytes that it has to move."""

    series: str
    size: str
    weights: int
    tokens: float
    ms: float
    flops: float
    n_bytes: float

    @property
    def intensity(self):
        return self.flops / self.n_bytes

    @property
    def speed(self):
        return self.flops / self.ms * 1e3


def fastest(work, times=ROUNDS):
    """Return the seconds of a processor that the fastest of several turns took: it was disturbed least."""
    seconds = math.inf
    for _ in range(times):
        began = time.process_time()
        work()
        seconds = min(seconds, time.process_time() - began)
    return seconds


def peak(dtype):
    """Return operations a second: those of the better of NumPy's and PyTorch's libraries."""
    torch.set_num_threads(1)
    a = torch.rand(MATRIX, MATRIX).to(dtype)
    works = [lambda: a @ a]
    if dtype != torch.bfloat16:
        b = a.numpy()
        works.append(lambda: b @ b)
    return 2 * MATRIX**3 / min(map(fastest, works))


def bandwidth(n_bytes):
    """Return the bytes that are read and written in a second while one array is copied into another."""
    source, target = np.ones(n_bytes // 2 // 8), np.empty(n_bytes // 2 // 8)
    times = max(1, 2**26 // n_bytes)  # what is over in microseconds is repeated

    def copy():
        for _ in range(times):
            np.copyto(target, source)

    return times * n_bytes / fastest(copy)


def operations(config, vocab_size, tokens):
    """Return a step's floating-point operations: for each token 6 N + 12 L C T (docs/scaling.md).

    N counts the weights of matrix products. T is the tokens that a document has on average.
    """
    C, L = config["n_embd"], config["n_layer"]
    T = tokens / config["batch_size"]
    in_products = 12 * L * C**2 + vocab_size * C
    return tokens * (6 * in_products + 12 * L * C * T)


def least_bytes(config, vocab_size, tokens):
    """Return the bytes that a step cannot do without, in float32, if no cache outlives what it computes.

    Each weight is read in the forward pass and in the backward pass, its gradient written and read; Adam reads and
    writes it and its two means. Each token leaves 16 C numbers a layer (x, what is normed, q, k, v, attention's, the
    MLP's 4 C twice) and its scores in the forward pass, and the backward pass reads them.
    """
    weights = count_weights(config, vocab_size)
    activations = tokens * (16 * config["n_embd"] * config["n_layer"] + 2 * vocab_size)
    return 4 * (10 * weights + 2 * activations)


def measure_all(series):
    """Return the points of a folder. It takes a process of its own: every folder calls its modules the same."""
    folder, module = SERIES[series]
    engine = load_engine(Folder(ROOT / folder, ("float32",), backends=(("", module),)), Namespace(quiet=True))
    return [measure(series, engine, size) for size in SIZES]


def measure(series, engine, size):
    dataset, values = SIZES[size]
    settings = resolve([values], engine.lesson.CONFIG, ("float32",))
    run = training.start(engine, settings, datasets.load(dataset), Path(), Path("checkpoint.safetensors"))
    training.take_steps(run, 1)  # a compiler's turn
    began = time.process_time()
    training.take_steps(run, 1)
    steps = max(1, min(500, int(SECONDS / (time.process_time() - began))))
    training.take_steps(run, steps)
    seconds = fastest(lambda: training.take_steps(run, steps), TURNS) / steps
    tokens = sum(len(document) - 1 for i in range(steps) for document in run.data.batch(i, settings.config.batch_size))
    shape = dataclasses.asdict(settings.config), run.data.tokenizer.vocab_size
    costs = operations(*shape, tokens / steps), least_bytes(*shape, tokens / steps)
    print(f"{series}, {size}: {1e3 * seconds:.3f} ms".replace("\n", " "), file=sys.stderr, flush=True)
    return Point(series, size, count_weights(*shape), tokens / steps, 1e3 * seconds, *costs)


def table(points, roof):
    rows = ["| step | folder | weights | tokens | ms | GFLOP | GFLOP/s | of the peak | FLOP a byte |"]
    rows.append("|---|---|" + "---:|" * 7)
    for p in points:
        speeds = " | ".join(map(significant, (p.ms, p.flops / 1e9, p.speed / 1e9)))
        size = p.size.replace("\n", " ")
        rows.append(
            f"| {size} | {p.series} | {p.weights:,} | {p.tokens:,.0f} | {speeds}"
            f" | {p.speed / roof:.0%} | {p.intensity:.0f} |"
        )
    return "\n".join(rows)


def draw(points, roofs, bandwidths, path):
    """Draw what can be reached as lines, and the steps as markers of their folders."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 6), layout="constrained")
    axes = figure.add_subplot()
    low, high = 0.4, 600
    top = roofs["float32"]
    for (name, speed), style in zip(roofs.items(), ("-", ":")):
        axes.plot([low, high], [speed, speed], color="0.3", linestyle=style, linewidth=1.8)
        axes.text(high, speed * 1.05, f"{name} products: {speed / 1e9:.0f} GFLOP/s", ha="right", color="0.3")
    for series, (folder, *_) in SERIES.items():
        mine = [p for p in points if p.series == series]
        spots = [p.intensity for p in mine], [p.speed for p in mine]
        axes.plot(*spots, **plots.look(folder), linestyle="", markersize=9, label=series)
    for size in SIZES:
        lowest = min((p for p in points if p.size == size), key=lambda p: p.speed)
        place = {"xytext": (0, -9), "textcoords": "offset points", "ha": "center", "va": "top", "fontsize": 9}
        axes.annotate(size, (lowest.intensity, lowest.speed), **place)
    bottom = min(p.speed for p in points) / 3
    axes.set(xscale="log", yscale="log", xlim=(low, high * 1.1), ylim=(bottom, 2 * roofs["bfloat16"]))
    axes.set_xlabel("floating-point operations for each byte that a step has to move")
    axes.set_ylabel("floating-point operations a second")
    axes.yaxis.set_major_formatter(lambda speed, _: f"{speed / 1e9:g} G")
    axes.xaxis.set_major_formatter(lambda intensity, _: f"{intensity:g}")
    axes.set_title("One training step in float32, and what one core of this machine can do", fontsize=13)
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(color="0.92")
    axes.legend(frameon=False, loc="lower right")
    draw_bandwidths(figure, axes, bandwidths, top)
    plots.save(figure, path)


def draw_bandwidths(figure, axes, bandwidths, top):
    """Draw bytes a second as lines up to `top`, their names along them, once all else has given the axes a size."""
    low, high = axes.get_xlim()
    figure.draw_without_rendering()
    for (name, speed), style in zip(bandwidths.items(), ("-", "--")):
        corner = min(high, top / speed)
        axes.plot([low, corner], [low * speed, corner * speed], color="0.3", linestyle=style, linewidth=1.8)
        (x0, y0), (x1, y1) = axes.transData.transform([(low, low * speed), (corner, corner * speed)])
        place = {"rotation": math.degrees(math.atan2(y1 - y0, x1 - x0)), "rotation_mode": "anchor", "color": "0.3"}
        axes.text(low * 1.05, low * 1.17 * speed, f"{name}: {speed / 1e9:.0f} GB/s", fontsize=9, **place)


def main():
    roofs = {"float32": peak(torch.float32), "bfloat16": peak(torch.bfloat16)}
    bandwidths = {"memory": bandwidth(IN_MEMORY), "its own cache": bandwidth(IN_CACHE)}
    for name, speed in roofs.items():
        print(f"products of matrices in {name}: {speed / 1e9:.0f} GFLOP/s")
    for name, speed in bandwidths.items():
        print(f"{name}: {speed / 1e9:.0f} GB/s")
    points = []
    for series in SERIES:
        with multiprocessing.get_context("spawn").Pool(1) as pool:
            points += pool.apply(measure_all, (series,))
    points.sort(key=lambda point: list(SIZES).index(point.size))
    print(table(points, roofs["float32"]))
    draw(points, roofs, bandwidths, ROOT / "docs" / "roofline.png")


if __name__ == "__main__":
    main()
