"""`main.py bench`: how fast this folder trains, and what it needs for it.

What is measured is training itself: the same batches in the same order, handed to `engine.train_steps` in calls that
last about as long as training's own (`training.adapt`). Importing, building the weights, the first step (a compiler's
turn) and the growth of the calls to their size are the warm-up, timed apart: a call of one step would tell of the cost
of calling, not of a step.

A step inside a call cannot be timed by itself, so each of a call's n steps counts with the call's seconds / n. The
median and the 95th percentile are those of all steps: a call of 100 steps weighs 100 times what a call of one weighs.
"""

import contextlib
import dataclasses
import json
import math
import os
import platform
import sys
import time
from argparse import Namespace
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..contract import Engine, Folder
from ..data import datasets, registry
from ..program.engines import load_engine, memory_errors
from ..program.flags import computed_by
from ..program.settings import dataset_values, resolve
from ..run import training
from ..system.console import say
from ..system.errors import RunError

MIN_STEPS = 20  # fewer have no 95th percentile to speak of
SECONDS = 3.0
SHOWN_EVERY = 0.2  # seconds between two signs of life on a terminal


@dataclass
class Calls:
    """The timed calls: the steps and the seconds of each."""

    steps: list[int] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)

    def add(self, steps: int, seconds: float) -> None:
        self.steps.append(steps)
        self.seconds.append(seconds)

    def quantile(self, part: float) -> float:
        """Return the seconds that this part of all steps did not exceed."""
        per_step = sorted((seconds / steps, steps) for steps, seconds in zip(self.steps, self.seconds))
        so_far, wanted = 0, part * sum(self.steps)
        for seconds, steps in per_step:
            so_far += steps
            if so_far >= wanted:
                return seconds
        raise ValueError("no calls")


def command(folder: Folder, args: Namespace) -> int:
    """Measure and print. Nothing but the result goes to standard output, whatever a framework has to say."""
    if args.list_backends:
        print_backends(folder, args.json)
        return 0
    with contextlib.redirect_stdout(sys.stderr):
        result = measure(folder, args)
    print(json.dumps(result, ensure_ascii=False) if args.json else table(result), flush=True)
    return 0


def print_backends(folder: Folder, as_json: bool) -> None:
    """Say what there is to measure without importing any of it; the default backend comes first."""
    backends = [name for name, _ in folder.backends]
    content = {"folder": folder.name, "backends": backends, "dtypes": list(folder.dtypes)}
    print(json.dumps(content) if as_json else "\n".join(backends))


def measure(folder: Folder, args: Namespace) -> dict[str, Any]:
    """Return all figures by name, seconds and bytes unless the name says otherwise."""
    began = time.perf_counter()
    engine = load_engine(folder, args)
    imported = time.perf_counter()
    with memory_errors(engine):
        return measure_run(folder, args, engine, imported - began)


def measure_run(folder: Folder, args: Namespace, engine: Engine, import_seconds: float) -> dict[str, Any]:
    began = time.perf_counter()
    run = start(folder, args, engine)
    ready = time.perf_counter()
    _, first_step = training.take_steps(run, 1)
    run.step += 1
    settling = time.perf_counter()
    call_size = settle(run)
    settled = time.perf_counter()
    first_measured = run.step
    calls = timed_calls(run, args, call_size)
    warmup = {
        "import_seconds": import_seconds,
        "setup_seconds": ready - began,
        "first_step_seconds": first_step,
        "settling_seconds": settled - settling,
        "warmup_steps": first_measured,
    }
    return describe(folder, args, run) | warmup | figures(run, calls, count_tokens(run, first_measured), warmup)


def start(folder: Folder, args: Namespace, engine: Engine) -> training.Run:
    """Begin a run that writes nothing."""
    dataset = datasets.load(registry.resolve(args.dataset or "names"), column=args.column, progress=say)
    layers = [args.values, dataset_values(dataset.defaults, dataset.name)]
    settings = resolve(layers, engine.lesson.CONFIG, folder.dtypes, folder.device_dtypes)
    return training.start(engine, settings, dataset, Path(), Path())  # nothing is saved, so no file's format is a limit


def settle(run: training.Run) -> int:
    """Call as training does until the calls have stopped growing. Return how many steps one of them takes."""
    steps_per_call = 1
    while True:
        n_steps, seconds = timed_call(run, steps_per_call)
        wanted = training.adapt(steps_per_call, n_steps, seconds)
        if wanted <= steps_per_call:
            return steps_per_call
        steps_per_call = wanted


def timed_calls(run: training.Run, args: Namespace, steps_per_call: int) -> Calls:
    """Take the steps that are measured: as many as asked for, or as many as fit into the time.

    They may go on past the run's last step: the documents start over and so does the learning rate's cosine, which
    changes what is learnt and not how long it takes.
    """
    calls, total, elapsed = Calls(), 0, 0.0
    show = terminal_progress()
    at_least = args.steps or (1 if args.seconds else MIN_STEPS)
    for_seconds = 0.0 if args.steps else args.seconds or SECONDS
    while total < at_least or elapsed < for_seconds:
        size = min(steps_per_call, args.steps - total) if args.steps else steps_per_call
        n_steps, seconds = timed_call(run, size)
        calls.add(n_steps, seconds)
        total, elapsed = total + n_steps, elapsed + seconds
        if size == steps_per_call:
            steps_per_call = training.adapt(steps_per_call, n_steps, seconds)
        show(f"measuring: {total:,} steps in {elapsed:.1f} s")
    show("")
    return calls


def timed_call(run: training.Run, steps_per_call: int) -> tuple[int, float]:
    """Take up to so many steps, as training would: it stops for every validation. Return their number and seconds."""
    n_steps = min(steps_per_call, run.settings.val_every or steps_per_call)
    losses, seconds = training.take_steps(run, n_steps)
    run.step += n_steps
    if not all(map(math.isfinite, losses)):
        remedy = f"try a smaller --lr than {run.config.learning_rate:g}, or --clip-grad 1"
        raise RunError(f"the loss is not finite any more by step {run.step}, so there is no training to time; {remedy}")
    return n_steps, seconds


def terminal_progress() -> Callable[[str], None]:
    """Return what shows a line in place of the last one; an empty one clears it. When piped it shows nothing."""
    shown = 0.0

    def show(line: str) -> None:
        nonlocal shown
        now = time.perf_counter()
        if not line or now - shown > SHOWN_EVERY:
            print(f"\r\033[K{line}", end="", file=sys.stderr, flush=True)
            shown = now

    return show if sys.stderr.isatty() else lambda line: None


def count_tokens(run: training.Run, first: int) -> int:
    """Return how many tokens the measured steps predicted: padding is work, but nobody asked for it."""
    batches = (run.data.batch(step, run.config.batch_size) for step in range(first, run.step))
    return sum(len(document) - 1 for batch in batches for document in batch)


def describe(folder: Folder, args: Namespace, run: training.Run) -> dict[str, Any]:
    """Say what was measured, and where."""
    return {
        "folder": folder.name,
        **computed_by(folder, args),
        "dataset": run.data.dataset.name,
        "dtype": run.settings.dtype,
        "device": run.settings.device,
        "config": dataclasses.asdict(run.config),
        "vocab_size": run.data.tokenizer.vocab_size,
        "num_params": training.count_params(run.config, run.data.tokenizer.vocab_size),
        "machine": machine(),
        "python": platform.python_version(),
    }


def figures(run: training.Run, calls: Calls, tokens: int, warmup: dict[str, float]) -> dict[str, Any]:
    steps, seconds = sum(calls.steps), sum(calls.seconds)
    before = warmup["import_seconds"] + warmup["setup_seconds"] + warmup["first_step_seconds"]
    return {
        "steps": steps,
        "seconds": seconds,
        "calls": len(calls.steps),
        "max_steps_per_call": max(calls.steps),
        "tokens": tokens,
        "ms_per_step_median": 1000 * calls.quantile(0.5),
        "ms_per_step_p95": 1000 * calls.quantile(0.95),
        "ms_per_step_mean": 1000 * seconds / steps,
        "steps_per_second": steps / seconds,
        "tokens_per_second": tokens / seconds,
        "peak_memory_bytes": peak_memory(),
        "full_run_steps": run.config.num_steps,
        "full_run_seconds": before + (run.config.num_steps - 1) * seconds / steps,
    }


def peak_memory() -> int | None:
    """Return the most memory this process has held resident, in bytes; None where the system does not say (Windows)."""
    with contextlib.suppress(OSError, ValueError, IndexError):
        # Linux: getrusage counts what our parent held when it started us, too; VmHWM is ours alone.
        status = Path("/proc/self/status").read_text(encoding="utf-8")
        return 1024 * int(status.split("VmHWM:")[1].split()[0])
    try:
        import resource
    except ImportError:
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else 1024 * peak  # macOS counts bytes, the others KiB


def machine() -> str:
    """Name the kind of machine in a line, so that figures are not compared across two of them unawares."""
    processor = platform.processor() or platform.machine()
    with contextlib.suppress(OSError, IndexError):
        processor = (
            Path("/proc/cpuinfo").read_text(encoding="utf-8").split("model name")[1].split("\n")[0].strip(" \t:")
        )
    return f"{platform.system()} {platform.machine()}, {processor}, {os.cpu_count()} CPUs"


def table(result: dict[str, Any]) -> str:
    config = result["config"]
    median, p95 = significant(result["ms_per_step_median"]), significant(result["ms_per_step_p95"])
    shape = ", ".join(f"{name} {config[name]}" for name in ("n_embd", "n_layer", "n_head", "block_size", "batch_size"))
    parts = ("import", "setup", "first_step", "settling")
    warmup = {name.replace("_", " "): result[f"{name}_seconds"] for name in parts}
    memory = result["peak_memory_bytes"]
    steps_per_call = result["max_steps_per_call"]
    rows = {
        "weights": f"{result['num_params']:,}",
        "warm-up": f"{sum(warmup.values()):.2f} s: " + ", ".join(f"{name} {s:.3f}" for name, s in warmup.items()),
        "measured": f"{result['steps']:,} steps in {result['seconds']:.2f} s"
        + (f", up to {steps_per_call} in a call" if steps_per_call > 1 else ""),
        "ms/step": f"{median} (median), {p95} (p95)",
        "steps/s": significant(result["steps_per_second"]),
        "tokens/s": significant(result["tokens_per_second"]),
        "peak memory": f"{memory / 2**20:,.0f} MiB" if memory else "unavailable on this system",
        "full run": f"{result['full_run_steps']:,} steps in {duration(result['full_run_seconds'])}, start-up included,"
        " validation and samples not",
    }
    backend = "" if result["backend"] == "default" else f", {result['backend']}"
    backend += ", compiled" if result["compile"] else ""
    head = f"{result['folder']}{backend} on {result['dataset']}: {shape}, {result['dtype']}"
    return "\n".join([head, *(f"  {name:<12s} {value}" for name, value in rows.items())])


def significant(number: float) -> str:
    """Write a number with three significant digits, and never with an exponent."""
    if number >= 100:
        return f"{number:,.0f}"
    decimals = 1 if number >= 10 else 2 if number >= 1 else 3 if number >= 0.1 else 4
    return f"{number:.{decimals}f}"


def duration(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.1f} s"
    if seconds < 7200:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h"
