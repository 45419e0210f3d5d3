"""`microgpt compare`: say whether the folders' runs of one dataset compute the same losses, and why that is believed.

How it is judged stands in agreement.py. The exit code is 1 only where judged steps differ, as that of `diff` is.
"""

import os
import shlex
from argparse import Namespace
from collections.abc import Collection
from pathlib import Path
from statistics import median
from typing import Any

from ..data import registry
from ..program.run_folders import trained_folder
from ..program.settings import OPTIONS, dataset_values, lesson_defaults
from ..run import agreement, plots
from ..run.agreement import DATA, JUDGED_STEPS, REFERENCE, Comparison, Difference, Run
from ..system import paths
from ..system.console import printable, shown
from ..system.errors import UserError
from ..system.paths import ROOT, RUNS
from .bench import significant

BY_NAME = {option.name: option for option in OPTIONS}


def command(args: Namespace) -> int:
    """Print the comparison and draw the picture. Return 1 if comparable runs differ in judged steps, and 0 if not."""
    folder = compared_folder(args)
    comparison = agreement.read(folder)
    for what in comparison.left_out:
        print(f"left out: {printable(what)}")
    if not comparison.runs:
        raise UserError(f"no runs of {folder.name} in {shown(args.out)}; make one: {train_command(args, REFERENCE)}")
    for line in report(comparison, args):
        print(printable(line))
    draw(comparison)
    return int(not comparison.agrees)


def compared_folder(args: Namespace) -> Path:
    """Return where the runs are, under --out. A text file's runs stay there when the file itself has gone."""
    name = trained_folder(args, args.dataset)
    if name not in (args.dataset, *registry.names()) and os.path.isdir(args.dataset):  # noqa: PTH112 (never raises)
        raise UserError(
            f"--dataset {args.dataset}: a folder; name the dataset or its file here, and the runs with --out"
        )
    return args.out / name


def report(comparison: Comparison, args: Namespace) -> list[str]:
    lines = [heading(comparison), *table(comparison)]
    for run in comparison.others:
        lines += not_comparable(run, comparison, args)
    return [*lines, *verdict(comparison, args)]


# ---- the table ----


def heading(comparison: Comparison) -> str:
    count, reference = len(comparison.runs), comparison.reference.name
    instead = "" if reference == REFERENCE else f" (there is no run of {REFERENCE})"
    return f"{comparison.folder.name}: {count} {plural(count, 'run')}, held against {reference}{instead}"


def table(comparison: Comparison) -> list[str]:
    """One line a run. The differences are the largest of the losses: over the steps that are judged, and over later."""
    width = max(len(printable(run.name)) for run in comparison.runs)
    judged, later = f"steps 1 to {JUDGED_STEPS}", f"after step {JUDGED_STEPS}"
    lines = [
        f"{'':{width}s}  {'':27s}largest difference of loss",
        f"{'folder':{width}s}  dtype     steps   last loss  {judged:>14s}  diverges at  {later:>20s}  ms/step",
    ]
    for run in comparison.runs:
        name, last = printable(run.name), number(run.curve.losses[-1])
        apart, diverges_at, afterwards = cells(run, comparison)
        lines.append(
            f"{name:{width}s}  {run.dtype[:8]:8s} {len(run.curve):6d}  {last:>10s}"
            f"  {apart:>14s}  {diverges_at:>11s}  {afterwards:>20s}  {ms_per_step(run):>7s}"
        )
    return [line.rstrip() for line in lines]


def cells(run: Run, comparison: Comparison) -> tuple[str, str, str]:
    """Return the largest judged difference, the step where a difference passes its bound, and the largest later."""
    if run is comparison.reference:
        return "reference", "", ""
    apart = comparison.comparable.get(run.name)
    if apart is None:
        return "not comparable", "", ""
    later = str(apart.largest_later or "")
    if not apart.judged:
        return "none in common", "not judged", later
    return f"{max(distance for _, distance in apart.judged):.1e}", str(apart.diverges_at or "never"), later


def number(loss: float) -> str:
    return f"{loss:.6f}" if abs(loss) < 1000 else f"{loss:.3e}"


def ms_per_step(run: Run) -> str:
    return significant(1000 * median(run.seconds)) if run.seconds else "-"


# ---- the verdict ----


def verdict(comparison: Comparison, args: Namespace) -> list[str]:
    """Say whether the comparable runs agree, if not where each first differs, and what their later steps are worth."""
    reference, comparable = comparison.reference.name, comparison.comparable
    if not comparison.others:
        return [f"there is nothing to compare it with yet; train another folder too: {missing_run(comparison, args)}"]
    judged = {name: apart for name, apart in comparable.items() if apart.judged}
    lines = [unjudged(name, apart, reference) for name, apart in comparable.items() if name not in judged]
    diverging = {name: apart for name, apart in judged.items() if apart.diverges_at is not None}
    if diverging:
        parts = [
            f"{name} diverges from {reference} at step {apart.diverges_at} (by more than {apart.bound:.0e})"
            for name, apart in sorted(diverging.items(), key=lambda item: item[1].diverges_at or 0)
        ]
        if comparison.agrees:
            return [*lines, f"this cannot be judged: {'; '.join(parts)}", *unstable(comparison.reference)]
        return [*lines, f"they do not agree: {'; '.join(parts)}"]
    if not judged:
        return [*lines, "so no two runs can be judged"]
    who = "they agree" if len(judged) == len(comparison.others) else f"{', '.join(judged)} and {reference} agree"
    return [*lines, f"{who}: {agreeing(judged.values())}", *later(judged.values())]


def unjudged(name: str, apart: Difference, reference: str) -> str:
    if not apart.steps:
        return f"not judged: {name} and {reference} have no step in common"
    return (
        f"not judged: the first step that {name} and {reference} have in common is {min(apart.steps)}; only the first"
        f" {JUDGED_STEPS} are judged, because rounding grows in any run"
    )


def unstable(reference: Run) -> list[str]:
    first, mean = number(reference.curve.losses[0]), number(reference.rises or 0)
    return [
        f"The loss of {reference.name} rises, from {first} to {mean} on average: at such a learning rate training is",
        "unstable, and rounding alone drives two right programs apart within steps. Train them with a smaller --lr.",
    ]


def agreeing(judged: Collection[Difference]) -> str:
    steps = min(len(apart.judged) for apart in judged)
    which = f"the first {steps} steps" if steps == JUDGED_STEPS else f"{steps} common {plural(steps, 'step')}"
    bounds = " or ".join(f"{bound:.0e}" for bound in sorted({apart.bound for apart in judged}))
    return f"over {which} no loss differs by more than {bounds}"


def later(judged: Collection[Difference]) -> list[str]:
    """Tell of the steps that are not judged, if there are any, and why they are not."""
    found = [apart.largest_later for apart in judged if apart.largest_later]
    if not found:
        return []
    most = max(found, key=lambda each: each.distance)
    if not most.distance:
        return ["the later losses have the same digits too"]
    return [
        f"after that rounding grows in any run: {most}",
        "Late differences are not judged: each step goes on from weights that the one before has rounded, so two right",
        "programs drift apart, and how fast depends on the processor.",
    ]


def plural(count: int, noun: str) -> str:
    return noun if count == 1 else f"{noun}s"


# ---- runs of other settings, and the command that makes them comparable ----


def not_comparable(run: Run, comparison: Comparison, args: Namespace) -> list[str]:
    """Say what differs, and on a line of its own the command that trains that folder with the reference's settings."""
    reference = comparison.reference
    if problem := comparison.problem(run):
        return [f"not comparable: {run.name}; its settings or those of {reference.name} are not known: {problem}"]
    other = comparison.other_settings(run)
    if not other:
        return []
    parts = [f"{each.name} {value(each.here)} and {reference.name} {value(each.there)}" for each in other]
    said = f"not comparable: {run.name} has {'; '.join(parts)}"
    if reference.is_coarse:
        return [f"{said}; no other run is held against such products: train {reference.name} with --dtype float32"]
    data = [each.name for each in other if each.name in DATA]
    if data and "column" not in data:  # another column of a file has other documents, but there is a flag for it
        return [f"{said}; no flag changes that: train both again on the same data"]
    try:
        again = train_command(args, run.name, flags_for(run.name, reference))
    except NoFlag as why:
        return [f"{said}; {why}"]
    return [f"{said}; this makes it comparable:", f"  {again}"]


class NoFlag(Exception):
    """There is no flag for what would have to change. The message says what to do instead."""


def flags_for(folder: str, reference: Run) -> list[str]:
    """Return flags for all that the reference's run did and the folder would not do by itself."""
    if not (ROOT / folder / "main.py").is_file():
        raise NoFlag("there is no such folder here to train it again")
    dataset, column = reference.settings.get("dataset"), reference.settings.get("column")
    entry = registry.entries().get(str(dataset))
    if entry is None and reference.settings.get("mode") == "stream":
        raise NoFlag("mode stream has no flag: train it again with the --config file that sets it")
    own = dataset_values(entry.defaults, entry.name) if entry else {}
    by_itself = lesson_defaults(ROOT / folder / "microgpt.py") | own
    flags = [] if column is None else ["--column", column]
    for name, wanted in reference.deciding.items():
        if name not in DATA and by_itself.get(name) != wanted:
            flags += flag(name, wanted)
    return flags


def flag(name: str, wanted: Any) -> list[str]:
    option = BY_NAME[name]
    if option.flag is None:
        raise NoFlag(f"{name} has no flag: set it to {wanted} in the [{option.group}] table of a --config file")
    return [option.flag, str(wanted)]


def value(given: Any) -> str:
    return "unset" if given is None else str(given)


def train_command(args: Namespace, folder: str, flags: list[str] | None = None) -> str:
    """Return the command that trains a folder on this dataset, to be given at the repository's root."""
    dataset = dataset_argument(args)
    data = [] if dataset == "names" else ["--dataset", dataset]
    out = [] if args.out == RUNS else ["--out", str(args.out.resolve())]
    return shlex.join(["uv", "run", "--directory", folder, "python", "main.py", *(flags or []), *data, *out])


def missing_run(comparison: Comparison, args: Namespace) -> str:
    """Return the command that makes the run which is needed first: 02's, or to go with that, the first folder's."""
    missing = next(folder for folder in [REFERENCE, *paths.folders()] if folder != comparison.reference.name)
    try:
        return train_command(args, missing, flags_for(missing, comparison.reference))
    except NoFlag:
        return train_command(args, missing)


def dataset_argument(args: Namespace) -> str:
    """Return the dataset as that command has to name it: it runs in another folder, so a file needs its whole path."""
    folder = compared_folder(args).name
    if folder in registry.names():
        return folder
    named = os.path.expanduser(args.dataset)  # noqa: PTH111 (Path's own fails where there is no such user)
    files = [Path(named), Path(f"{named}.txt")]
    found = next((path for path in files if path.is_file()), None)
    return str(found.resolve()) if found else f"PATH/TO/{folder}.txt"


def draw(comparison: Comparison) -> None:
    if not plots.available():
        if len(comparison.runs) > 1:
            print("no picture: matplotlib is not installed here")
    elif path := plots.draw_folders(comparison):
        print(f"picture: {shown(path)}")
