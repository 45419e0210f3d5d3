"""`microgpt bench`: every folder's training, one after the other, each in its own environment, over a grid of sizes.

A measurement is a process of its own, `main.py bench --json` in the folder: two frameworks in one process would share
threads and memory. The results are kept in OUT/bench/results.json, written anew after each, and belong to a machine
and to what was asked for; those that are there already are not measured again.

Some of the grid would take pure Python hours. So before a measurement begins it is predicted from a smaller one of the
same folder, at worst in proportion to the arithmetic, n_embd² · batch size; what would take longer than the limit is
left out, and the reason kept in its place.
"""

import dataclasses
import json
import os
import shutil
import subprocess
import sys
from argparse import Namespace
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from ..run import plots
from ..system import files, interrupts, paths
from ..system.console import printable, say, shown
from ..system.errors import RunError, UserError
from ..system.paths import ROOT
from ..system.processes import stop
from . import bench

WARMUP_STEPS = 2  # what `bench` takes before it measures where a step is long
GRACE = 2  # a prediction may be wrong by this factor before the measurement is stopped


@dataclass(frozen=True)
class Case:
    """One measurement: what is measured, and for how long."""

    folder: str
    backend: str
    n_embd: int
    batch_size: int
    steps: int | None  # or, if None, as many as fit into
    seconds: float

    @property
    def series(self) -> tuple[str, str]:
        return self.folder, self.backend

    @property
    def arithmetic(self) -> int:
        return self.n_embd**2 * self.batch_size

    def __str__(self) -> str:
        return f"n_embd {self.n_embd}, batch size {self.batch_size}"


@dataclass(frozen=True)
class Record:
    """What became of a case: `status` is measured, skipped or failed; `reason` says why it is not measured."""

    case: Case
    machine: str
    status: str
    limit: float
    reason: str = ""
    result: dict[str, Any] = dataclasses.field(default_factory=dict)

    @property
    def ms(self) -> float:
        return self.result["ms_per_step_median"]

    def stands(self, limit: float) -> bool:
        """Whether it need not be tried again."""
        return self.status == "measured" or (self.status == "skipped" and limit <= self.limit)


class TooLong(Exception):
    """A measurement was stopped because it took longer than it may."""


class Runner(Protocol):
    """Who measures: uv in earnest, something quick in the tests. Raises RunError for what fails, UserError for all."""

    def backends(self, folder: str) -> list[str]:
        """Return the names of what a folder can compute with, the default first. Prepares its environment."""

    def measure(self, case: Case, is_default_backend: bool, timeout: float) -> dict[str, Any]:
        """Return what `bench --json` says. TooLong if it is not there after `timeout` seconds."""


# ---- the processes ----


class UvRunner:
    """Runs a folder's main.py in the environment that uv keeps for it."""

    def backends(self, folder: str) -> list[str]:
        listing = self.ask(folder, [], ["--list-backends"], timeout=None)
        return listing["backends"]

    def measure(self, case: Case, is_default_backend: bool, timeout: float) -> dict[str, Any]:
        amount = ["--steps", case.steps] if case.steps else ["--seconds", case.seconds]
        flags = ["--n-embd", case.n_embd, "--batch-size", case.batch_size, *amount]
        if is_default_backend:
            return self.ask(case.folder, [], flags, timeout)
        # By the project's convention a further backend is an extra of the same name.
        return self.ask(case.folder, ["--extra", case.backend], [*flags, "--backend", case.backend], timeout)

    def ask(self, folder: str, extra: list[str], flags: list[Any], timeout: float | None) -> dict[str, Any]:
        argv = [*self.python(folder, extra), "main.py", "bench", "--json", *map(str, flags)]
        code, output, errors = run_process(argv, ROOT / folder, timeout)
        if code:
            raise RunError(last_line(errors) or f"main.py bench ended with exit code {code}")
        try:
            return json.loads(output)
        except ValueError:
            raise RunError("main.py bench did not print a JSON object") from None

    def python(self, folder: str, extra: list[str]) -> list[str]:
        uv = os.environ.get("UV") or shutil.which("uv")
        if uv is None:
            raise UserError("uv is not installed, and every folder needs its own environment; see docs.astral.sh/uv")
        return [uv, "run", "--directory", str(ROOT / folder), *extra, "python"]


def run_process(argv: list[str], folder: Path, timeout: float | None) -> tuple[int, str, str]:
    """Run a command to its end. Whatever stops us stops it with all that it has started."""
    own = {name: value for name, value in os.environ.items() if name != "VIRTUAL_ENV"}  # ours is not the folder's
    started: list[subprocess.Popen[str]] = []
    with interrupts.on_leaving(lambda: stop_all(started)):
        with interrupts.staying:  # or a signal could come between the start and the note of it
            process = subprocess.Popen(
                argv,
                cwd=folder,
                env=own | {"PYTHONUTF8": "1"},
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                encoding="utf-8",
                errors="replace",
                start_new_session=True,
            )
            started.append(process)
        try:
            output, errors = process.communicate(timeout=timeout)
        except subprocess.TimeoutExpired:
            raise TooLong from None
        finally:
            stop(process)
    return process.returncode, output, errors


def stop_all(processes: list[subprocess.Popen[str]]) -> None:
    for process in processes:
        stop(process)


def last_line(errors: str) -> str:
    """Return the line that says what went wrong, without the name of the program that says it."""
    lines = [line.strip() for line in errors.splitlines() if line.strip()]
    return lines[-1].removeprefix("main.py: ") if lines else ""


# ---- the results ----


class Results:
    """The records of OUT/bench/results.json, of this machine and of others."""

    def __init__(self, folder: Path, fresh: bool) -> None:
        self.path = folder / "results.json"
        if fresh and self.path.exists():
            files.keep_previous(self.path, self.path.with_name("previous.json"))
            self.path.unlink(missing_ok=True)
        self.records = read_records(self.path)

    def find(self, case: Case, machine: str) -> Record | None:
        return next((r for r in self.records if r.case == case and r.machine == machine), None)

    def add(self, record: Record) -> None:
        """Put it in place of an older one of the same case, and on the disk: whole, or not at all."""
        kept = [r for r in self.records if (r.case, r.machine) != (record.case, record.machine)]
        self.records = [*kept, record]
        lines = ",\n".join(json.dumps(dataclasses.asdict(r), ensure_ascii=False) for r in self.records)
        files.write_text(self.path, f"[\n{lines}\n]\n")

    def last_words(self) -> str:
        return f"{len(self.records)} results are in {shown(self.path)}; the same command goes on from there"


def read_records(path: Path) -> list[Record]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        return [Record(**(each | {"case": Case(**each["case"])})) for each in content]
    except FileNotFoundError:
        return []
    except (OSError, ValueError, TypeError, KeyError, RecursionError) as error:
        reason = getattr(error, "strerror", None) or "it is not what this program wrote"
        raise UserError(f"{path} cannot be read: {reason}; start anew with --fresh") from None


# ---- the work ----


def command(args: Namespace, runner: Runner) -> int:
    """Measure what is not there yet, print the tables, draw the pictures. Return 1 if a measurement failed."""
    results = Results(args.out / "bench", args.fresh)
    machine = bench.machine()
    with interrupts.on_leaving(results.last_words):
        cases, lost = all_cases(args, runner)
        measure_all(cases, results, machine, args.limit, runner)
    records = [record for case in cases if (record := results.find(case, machine))]
    report(records, args.out / "bench")
    return int(lost or any(record.status == "failed" for record in records))


def all_cases(args: Namespace, runner: Runner) -> tuple[dict[Case, bool], bool]:
    """Return every case, small before large, and whether its backend is the default; and whether a folder was lost."""
    cases, lost = {}, False
    for folder in chosen_folders(args.folders):
        tell(f"preparing {folder}")
        try:
            backends = runner.backends(folder)
        except RunError as error:
            say(f"{folder} is left out: {error}")
            lost = True
            continue
        for backend in backends:
            for batch_size in sorted(set(args.batch_sizes)):
                for n_embd in sorted(set(args.sizes)):
                    case = Case(folder, backend, n_embd, batch_size, args.steps, args.seconds)
                    cases[case] = backend == backends[0]
    return cases, lost


def chosen_folders(wanted: Sequence[str] | None) -> list[str]:
    """Return the folders whose names begin with one of `wanted`: 02 is enough. UserError if one means none of them."""
    folders = paths.folders()
    if wanted is None:
        return folders
    for start in wanted:
        if not any(folder.startswith(start) for folder in folders):
            raise UserError(f"--folders {start}: there is no such folder; there are {', '.join(folders)}")
    return [folder for folder in folders if folder.startswith(tuple(wanted))]


def measure_all(cases: dict[Case, bool], results: Results, machine: str, limit: float, runner: Runner) -> None:
    done = {case: record for case in cases if (record := results.find(case, machine)) and record.stands(limit)}
    tell(f"{len(cases)} measurements, {len(done)} of them made before; Ctrl-C stops, the same command goes on")
    for number, (case, is_default) in enumerate(cases.items(), start=1):
        if case in done:
            continue
        head = f"[{number:{len(str(len(cases)))}d}/{len(cases)}] {label(case, is_default)}, {case}: "
        with_terminal = sys.stderr.isatty()
        tell(head, end="" if with_terminal else None)
        record = measure(case, is_default, [*done.values()], machine, limit, runner)
        tell(("" if with_terminal else head) + outcome(record))
        results.add(record)
        done[case] = record


def label(case: Case, is_default: bool) -> str:
    return case.folder if is_default else f"{case.folder} ({case.backend})"


def tell(message: str, end: str | None = "\n") -> None:
    """Show progress on standard error: the tables alone are the output. Nothing where `end` is None."""
    if end is not None:
        print(message, end=end, file=sys.stderr, flush=True)


def outcome(record: Record) -> str:
    if record.status == "measured":
        return f"{bench.significant(record.ms)} ms/step"
    return f"{record.status}: {record.reason}"


def measure(case: Case, is_default: bool, done: list[Record], machine: str, limit: float, runner: Runner) -> Record:
    """Return what became of the case. It is tried only if a smaller one does not say that it takes too long."""
    if reason := too_long(case, done, limit):
        return Record(case, machine, "skipped", limit, reason)
    try:
        result = runner.measure(case, is_default, GRACE * limit)
    except TooLong:
        return Record(case, machine, "skipped", limit, f"stopped after {bench.duration(GRACE * limit)}")
    except RunError as error:
        return Record(case, machine, "failed", limit, str(error))
    return Record(case, machine, "measured", limit, result=result)


def too_long(case: Case, done: list[Record], limit: float) -> str:
    """Return why the case is bound to take longer than the limit, or nothing. The nearest smaller one decides."""
    smaller = [r for r in done if r.case.series == case.series and is_smaller(r.case, case)]
    for record in sorted(smaller, key=lambda r: r.case.arithmetic, reverse=True):
        if record.status == "skipped":
            return f"{record.case} took too long already"
        if record.status == "measured":
            step = record.ms / 1000 * case.arithmetic / record.case.arithmetic
            seconds = step * (WARMUP_STEPS + case.steps) if case.steps else step * (WARMUP_STEPS + 1) + case.seconds
            if seconds <= limit:
                return ""
            return f"would take about {bench.duration(seconds)}, judging by {record.case}; --limit is {limit:g} s"
    return ""


def is_smaller(a: Case, b: Case) -> bool:
    return a != b and a.n_embd <= b.n_embd and a.batch_size <= b.batch_size


# ---- what there is to see at the end ----


def report(records: list[Record], folder: Path) -> None:
    measured = [record for record in records if record.status == "measured"]
    for batch_size in sorted({record.case.batch_size for record in measured}):
        print(table([record for record in records if record.case.batch_size == batch_size], batch_size))
        print()
    for record in records:
        if record.status != "measured":
            reason = printable(f"{record.case}: {record.status}, {record.reason}")
            print(f"- {series_name(record.case.series, records)}, {reason}")
    if not measured:
        print("nothing was measured")
    elif not plots.available():
        print("no pictures: matplotlib is not installed here")
    else:
        draw(measured, folder)


def table(records: list[Record], batch_size: int) -> str:
    """One line a series, one column a model size."""
    sizes = sorted({record.case.n_embd for record in records})
    names = {series: series_name(series, records) for series in dict.fromkeys(r.case.series for r in records)}
    width = max(map(len, names.values()))
    cells = {
        (r.case.series, r.case.n_embd): bench.significant(r.ms) if r.status == "measured" else "-" for r in records
    }
    lines = [
        f"milliseconds of a training step (median), batch size {batch_size}",
        f"{'n_embd':{width}s}" + "".join(f"{size:10d}" for size in sizes),
    ]
    for series, name in names.items():
        lines.append(f"{name:{width}s}" + "".join(f"{cells.get((series, size), '-'):>10s}" for size in sizes))
    return "\n".join(lines)


def series_name(series: tuple[str, str], records: list[Record]) -> str:
    """Name the folder, and the backend where it has several."""
    folder, backend = series
    several = len({r.case.backend for r in records if r.case.folder == folder}) > 1
    return f"{folder} ({backend})" if several else folder


def draw(measured: list[Record], folder: Path) -> None:
    from . import scaling_plots

    points = [
        scaling_plots.Point(
            folder=r.case.folder,
            series=series_name(r.case.series, measured),
            n_embd=r.case.n_embd,
            batch_size=r.case.batch_size,
            num_params=r.result["num_params"],
            ms=r.ms,
        )
        for r in measured
    ]
    for path in (
        scaling_plots.draw_model_sizes(folder / "step_by_model_size.png", points),
        scaling_plots.draw_batch_sizes(folder / "step_by_batch_size.png", points),
    ):
        print(f"picture: {shown(path)}")
