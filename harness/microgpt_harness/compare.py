"""`microgpt compare`: do the folders' runs of one dataset tell the same story?

Every run is held against 02, whose gradients no framework computed. Two runs in float64 do the same arithmetic in
another order, so their losses may differ by its rounding, 1e-9 with room to spare. In float32 rounding is 6e-8 a step
and training carries it on from step to step: 1e-3 is what 500 steps make of it.
"""

import json
import math
import os
import shlex
from argparse import Namespace
from array import array
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from . import datasets, metrics, plots
from .bench import significant
from .console import shown
from .errors import UserError
from .metrics import Curve
from .paths import ROOT, RUNS

REFERENCE = "02_numpy_manual_backprop"
FLOAT64_TOLERANCE, TOLERANCE = 1e-9, 1e-3
SAMPLING = {"temperature"}  # of Config: decides nothing while training
DATA = ("dataset", "mode", "column", "documents", "vocab_size")  # of config.json, beside the config itself


@dataclass(frozen=True)
class Run:
    """What is left of a folder's run."""

    name: str
    curve: Curve
    seconds: array  # of each step, where the record says
    settings: dict[str, Any]  # config.json, empty if it cannot be read

    @property
    def dtype(self) -> str:
        return str(self.settings.get("dtype", "?"))

    @property
    def ms_per_step(self) -> str:
        return significant(1000 * median(self.seconds)) if self.seconds else "-"


@dataclass(frozen=True)
class Difference:
    """How far a run is from the reference, over the steps that both have."""

    common_steps: int
    largest: float
    largest_at: int | None
    parts_at: int | None  # the first step where it is more than the tolerance
    tolerance: float


def command(args: Namespace) -> int:
    """Print the comparison and draw the overlay. Return 1 if comparable runs part, as `diff` does, and 0 if not."""
    folder = dataset_folder(args)
    runs = read_runs(folder)
    if not runs:
        raise UserError(f"no runs of {folder.name} in {shown(args.out)}; make one: {train_command(args, [])}")
    reference = next((run for run in runs if run.name == REFERENCE), runs[0])
    differences = {run.name: compare(run, reference) for run in runs if run is not reference}
    settings = {run.name: differing_settings(run, reference) for run in runs if run is not reference}
    comparable = {name: d for name, d in differences.items() if d.common_steps and not settings[name]}
    print(heading(folder.name, runs, reference))
    print(table(runs, differences))
    for name, what in settings.items():
        if what:
            print(f"not comparable: {name} has {'; '.join(what)}")
    print(verdict(reference, differences, comparable, train_command(args, runs)))
    draw(folder, runs)
    return int(any(difference.parts_at is not None for difference in comparable.values()))


def dataset_folder(args: Namespace) -> Path:
    """Return where the runs are. A text file's runs stay there when the file itself has gone."""
    folder = args.out / Path(args.dataset).name
    if folder.name == args.dataset and folder.is_dir():
        return folder
    name = datasets.resolve(args.dataset)
    return args.out / (name if name in datasets.names() else datasets.own_name(name))


def train_command(args: Namespace, runs: list[Run]) -> str:
    """Return the command that makes the run which is missed most: the reference's, then any other."""
    folders = [REFERENCE, *sorted(path.parent.name for path in ROOT.glob("[0-9]*/main.py"))]
    missing = [folder for folder in folders if folder not in {run.name for run in runs}]
    command = ["uv", "run", "--directory", (missing or folders)[0], "python", "main.py"]
    out = [] if args.out == RUNS else ["--out", str(args.out.resolve())]
    return shlex.join([*command, "--dataset", dataset_argument(args), *out])


def dataset_argument(args: Namespace) -> str:
    """Return the dataset as that command has to name it: it runs in another folder, so a file needs its whole path."""
    folder = dataset_folder(args).name
    if folder in datasets.names():
        return folder
    named = os.path.expanduser(args.dataset)  # noqa: PTH111 (Path's own fails where there is no such user)
    files = [Path(named), Path(f"{named}.txt")]
    found = next((path for path in files if path.is_file()), None)
    return str(found.resolve()) if found else f"PATH/TO/{folder}.txt"


def read_runs(folder: Path) -> list[Run]:
    found = (read_run(path) for path in sorted(folder.glob("*/")))
    return [run for run in found if run.curve]


def read_run(folder: Path) -> Run:
    curve, seconds = Curve(), array("d")
    for record in metrics.each(folder):
        curve.add([record])
        if isinstance(record.get("seconds"), float):
            seconds.append(record["seconds"])
    return Run(folder.name, curve, seconds, read_settings(folder))


def read_settings(folder: Path) -> dict[str, Any]:
    try:
        content = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    return content if isinstance(content, dict) else {}


def compare(run: Run, reference: Run) -> Difference:
    both_float64 = run.dtype == reference.dtype == "float64"
    tolerance = FLOAT64_TOLERANCE if both_float64 else TOLERANCE
    expected = dict(zip(reference.curve.steps, reference.curve.losses))
    steps, distances = array("q"), array("d")
    for step, loss in zip(run.curve.steps, run.curve.losses):
        if step in expected:
            steps.append(step)
            distances.append(distance(loss, expected[step]))
    largest = max(distances, default=0.0)
    largest_at = steps[distances.index(largest)] if steps else None
    parts_at = next((step for step, apart in zip(steps, distances) if apart > tolerance), None)
    return Difference(len(steps), largest, largest_at, parts_at, tolerance)


def distance(a: float, b: float) -> float:
    return abs(a - b) if math.isfinite(a) and math.isfinite(b) else math.inf


def differing_settings(run: Run, reference: Run) -> list[str]:
    """Name what decides a loss, other than the kind of number, and is not the same in both runs."""
    if not (run.settings and reference.settings):
        nameless = run if not run.settings else reference
        return [f"no settings to compare (the config.json of {nameless.name} cannot be read)"]
    mine, theirs = deciding_settings(run), deciding_settings(reference)
    names = [name for name in mine | theirs if mine.get(name) != theirs.get(name)]
    return [f"{name} {mine.get(name, 'unset')} and {reference.name} {theirs.get(name, 'unset')}" for name in names]


def deciding_settings(run: Run) -> dict[str, Any]:
    config = run.settings.get("config")
    config = config if isinstance(config, dict) else {}
    data = {name: run.settings.get(name) for name in DATA}
    return data | {name: value for name, value in config.items() if name not in SAMPLING}


def heading(dataset: str, runs: list[Run], reference: Run) -> str:
    instead = "" if reference.name == REFERENCE else f" (there is no run of {REFERENCE})"
    return f"{dataset}: {len(runs)} {plural(len(runs), 'run')}, held against {reference.name}{instead}"


def table(runs: list[Run], differences: dict[str, Difference]) -> str:
    width = max(len(run.name) for run in runs)
    lines = [
        f"{'folder':{width}s}  dtype     steps  first loss   last loss  {'largest difference':>22s}  parts at  ms/step"
    ]
    for run in runs:
        first, last = run.curve.losses[0], run.curve.losses[-1]
        largest, parts_at = "reference", ""
        if run.name in differences:
            difference = differences[run.name]
            at = "" if difference.largest_at is None else f" at step {difference.largest_at:5d}"
            largest = f"{difference.largest:.1e}{at}" if difference.common_steps else "no common step"
            parts_at = "never" if difference.parts_at is None else str(difference.parts_at)
        lines.append(
            f"{run.name:{width}s}  {run.dtype:8s} {len(run.curve):6d}  {first:10.6f}  {last:10.6f}"
            f"  {largest:>22s}  {parts_at:>8s}  {run.ms_per_step:>7s}"
        )
    return "\n".join(line.rstrip() for line in lines)


def verdict(reference: Run, differences: dict[str, Difference], comparable: dict[str, Difference], remedy: str) -> str:
    """Say in one line whether the comparable runs agree, and if not, where each first parts."""
    if not differences:
        return f"there is nothing to compare it with yet; train another folder too: {remedy}"
    if not comparable:
        return "no two runs are comparable; train them with the same settings"
    parted = {name: d for name, d in comparable.items() if d.parts_at is not None}
    if parted:
        parts = [
            f"{name} parts from {reference.name} at step {d.parts_at} (more than {d.tolerance:.0e})"
            for name, d in sorted(parted.items(), key=lambda item: item[1].parts_at)
        ]
        return f"they do not agree: {'; '.join(parts)}"
    steps = min(d.common_steps for d in comparable.values())
    tolerances = " or ".join(f"{tolerance:.0e}" for tolerance in sorted({d.tolerance for d in comparable.values()}))
    who = "they agree" if len(comparable) == len(differences) else f"{', '.join(comparable)} and {reference.name} agree"
    return f"{who}: over {steps} common {plural(steps, 'step')} no loss differs by more than {tolerances}"


def plural(count: int, noun: str) -> str:
    return noun if count == 1 else f"{noun}s"


def draw(folder: Path, runs: list[Run]) -> None:
    if len(runs) < 2:
        return
    if not plots.available():
        print("no picture: matplotlib is not installed here")
        return
    print(f"picture: {shown(plots.draw_folders(folder))}")
