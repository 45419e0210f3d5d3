"""Signals at random moments, and whether a run survives them: `uv run --directory tests python storm.py --help`.

Each trial starts a run, sends it one signal at a moment drawn evenly from the whole time such a run takes (the first
instruction of main.py to the end of the process; a few in the last fifth, where sampling and drawing are), looks at
what it left, goes on with --resume, and compares every loss with those of a run that nobody disturbed.

A trial fails on: a traceback; an exit code but 0, 128 + n, or -9 after SIGKILL; a checkpoint that cannot be loaded;
temporary files left by anything but SIGKILL; a record missing, twice, or different in any bit after --resume.
"""

import argparse
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from microgpt_harness import checkpoint, metrics
from microgpt_harness.errors import UserError
from program import DEADLINE, ROOT, command, environment

STEPS = {"01": 20, "02": 800, "03": 200, "04": 150, "05": 2000, "06": 200}  # about a second of training each
OPTIONS = ("--save-every", 50, "--n-samples", 5, "--log-every", 10)
# Tells when main.py's first instruction is about to run: what comes before is the interpreter's own time.
MARKER = """
import sys
def hook(event, args, seen=[]):
    if event == "exec" and not seen and args[0].co_filename.endswith("main.py"):
        seen.append(True)
        print("main.py begins", file=sys.stderr, flush=True)
sys.addaudithook(hook)
"""
BEGINS = "main.py begins\n"


@dataclass(frozen=True)
class Trial:
    number: int
    folder: str
    name: str  # of the signal
    moment: float  # seconds from main.py's first instruction


@dataclass(frozen=True)
class Outcome:
    trial: Trial
    phase: str
    faults: tuple[str, ...]


def arguments(folder: str, out: Path) -> tuple[object, ...]:
    return ("--out", out, "--steps", STEPS[folder[:2]], *OPTIONS)


def start(folder: str, out: Path, marker: Path, *more: str) -> subprocess.Popen:
    """Start a run and return when main.py's first instruction is about to be executed."""
    process = subprocess.Popen(
        command(folder, *arguments(folder, out), *more),
        env=environment(PYTHONPATH=str(marker)),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        encoding="utf-8",
    )
    line = process.stderr.readline()
    if line != BEGINS:
        raise RuntimeError(line + process.stderr.read())
    return process


def undisturbed(folder: str, work: Path) -> tuple[float, list[tuple[int, float]]]:
    """Return the seconds that a run takes and its losses. The second run counts: the first may have had to compile."""
    for _ in range(2):
        out = work / folder / "undisturbed"
        shutil.rmtree(out, ignore_errors=True)
        process = start(folder, out, work)
        began = time.perf_counter()
        _, errors = process.communicate(timeout=DEADLINE)
        seconds = time.perf_counter() - began
        assert process.returncode == 0, errors
    return seconds, losses(out / "names" / folder)


def losses(run_folder: Path) -> list[tuple[int, float]]:
    return [(record["step"], record["loss"]) for record in metrics.read(run_folder)]


def disturb(trial: Trial, expected: list[tuple[int, float]], work: Path) -> Outcome:
    """Run one trial in a folder of its own."""
    out = work / trial.folder / str(trial.number)
    process = start(trial.folder, out, work)
    time.sleep(trial.moment)
    process.send_signal(getattr(signal, trial.name))
    stdout, stderr = process.communicate(timeout=DEADLINE)
    run_folder = out / "names" / trial.folder
    phase = phase_of(stdout, stderr, process.returncode)
    faults = [*faults_of_process(trial, process.returncode, stdout, stderr), *faults_of_files(trial, run_folder)]
    if not faults:
        faults = faults_of_resumed(trial, run_folder, expected, work, out)
    if not faults:
        shutil.rmtree(out, ignore_errors=True)
    return Outcome(trial, phase, tuple(faults))


def phase_of(stdout: str, stderr: str, code: int) -> str:
    if code == 0:
        return "after the end"
    if "sample  1" in stdout:
        return "sampling, drawing"
    if "loss " in stdout or "stopped after" in stderr:
        return "training, saving"
    return "start-up"


def faults_of_process(trial: Trial, code: int, stdout: str, stderr: str) -> list[str]:
    faults = []
    for text in (stdout, stderr):
        if "Traceback" in text or "Exception ignored" in text:
            faults.append("a traceback: " + text.strip().splitlines()[-1])
    signum = getattr(signal, trial.name)
    if code not in ((0, -signum) if trial.name == "SIGKILL" else (0, 128 + signum)):
        faults.append(f"exit code {code}")
    lines = [line for line in stderr.splitlines() if "finishing this step" not in line]
    if len(lines) > 1 or any(not line.startswith("main.py: ") for line in lines):
        faults.append(f"on standard error: {stderr!r}")
    return faults


def faults_of_files(trial: Trial, run_folder: Path) -> list[str]:
    faults = []
    for path in run_folder.glob("*checkpoint.*"):
        if not path.name.startswith("."):
            try:
                checkpoint.load(path)
            except UserError as error:
                faults.append(str(error))
    left = [path.name for path in run_folder.glob(".*.tmp")]
    if left and trial.name != "SIGKILL":
        faults.append(f"left behind: {left}")
    return faults


def faults_of_resumed(trial: Trial, run_folder: Path, expected: list, work: Path, out: Path) -> list[str]:
    saved = any(run_folder.glob("checkpoint.*"))
    process = start(trial.folder, out, work, *(["--resume"] if saved else []))
    _, stderr = process.communicate(timeout=DEADLINE)
    if process.returncode or stderr:
        return [f"resumed: exit code {process.returncode}, {stderr!r}"]
    found = losses(run_folder)
    if [step for step, _ in found] != [step for step, _ in expected]:
        return [f"records: {len(found)} in place of {len(expected)}, or not in order"]
    if found != expected:
        return ["resumed: another loss at step " + str(next(a for a, b in zip(found, expected) if a != b)[0])]
    return []


def draw_trials(args: argparse.Namespace, seconds: dict[str, float]) -> list[Trial]:
    """Every folder has its share of each signal; moments spread evenly, but for those that are concentrated."""
    generator = random.Random(args.seed)
    amounts = {"SIGKILL": args.kill, "SIGTERM": args.term, "SIGHUP": args.hup, "SIGINT": args.int}
    trials = []
    for name, amount in amounts.items():
        for i in range(amount):
            folder = args.folders[i % len(args.folders)]
            low, high = args.between
            share = low + (high - low) * generator.random()
            trials.append(Trial(len(trials), folder, name, share * seconds[folder]))
    generator.shuffle(trials)
    return trials


def table(outcomes: list[Outcome]) -> str:
    counts = Counter((o.trial.folder, o.trial.name, o.phase) for o in outcomes)
    failed = Counter((o.trial.folder, o.trial.name, o.phase) for o in outcomes if o.faults)
    phases = ("start-up", "training, saving", "sampling, drawing", "after the end")
    lines = [f"{'folder':26s}{'signal':9s}" + "".join(f"{phase:>20s}" for phase in phases)]
    for folder, name in sorted({(folder, name) for folder, name, _ in counts}):
        cells = []
        for phase in phases:
            bad = failed[folder, name, phase]
            cells.append(f"{counts[folder, name, phase]}" + (f" ({bad} FAILED)" if bad else ""))
        lines.append(f"{folder:26s}{name:9s}" + "".join(f"{cell:>20s}" for cell in cells))
    return "\n".join(lines)


def parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    made.add_argument("--folders", nargs="+", default=["02", "03", "05", "06"], help="how their names begin")
    for flag, amount in (("kill", 4), ("term", 4), ("hup", 4), ("int", 8)):
        made.add_argument(f"--{flag}", type=int, default=amount, metavar="N", help=f"how many SIG{flag.upper()}")
    made.add_argument("--seed", type=int, default=1)
    made.add_argument("--jobs", type=int, default=2, help="processes at a time")
    made.add_argument(
        "--between", type=float, nargs=2, default=(0, 1.05), metavar=("A", "B"), help="parts of a run's duration"
    )
    return made


def main() -> int:
    args = parser().parse_args()
    args.folders = [next(ROOT.glob(f"{start}*/main.py")).parent.name for start in args.folders]
    work = Path(tempfile.mkdtemp(prefix="storm-"))
    (work / "sitecustomize.py").write_text(MARKER, encoding="utf-8")
    known = {folder: undisturbed(folder, work) for folder in args.folders}
    trials = draw_trials(args, {folder: seconds for folder, (seconds, _) in known.items()})
    outcomes = []
    with ThreadPoolExecutor(args.jobs) as pool:
        for outcome in pool.map(lambda trial: disturb(trial, known[trial.folder][1], work), trials):
            outcomes.append(outcome)
            for fault in outcome.faults:
                print(
                    f"{outcome.trial}: {fault} (kept: {work / outcome.trial.folder / str(outcome.trial.number)})",
                    flush=True,
                )
    failures = sum(bool(outcome.faults) for outcome in outcomes)
    print(table(outcomes))
    print(f"{len(outcomes)} signals, {failures} failures, seed {args.seed}")
    if not failures:
        shutil.rmtree(work, ignore_errors=True)
    return int(failures > 0)


if __name__ == "__main__":
    sys.exit(main())
