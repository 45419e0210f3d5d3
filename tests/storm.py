"""Signals at random moments, and whether a run survives them: `uv run --directory tests python storm.py --help`.

Each trial starts a run, sends it one signal at a random moment, looks at what it left, goes on with --resume, and
compares every loss with those of a run that nobody disturbed. Every other moment is drawn from the whole time such a
run takes, from the first instruction of main.py to the end of the process. Importing a framework may be most of that:
the moments between are drawn from the time after the first step.

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

from microgpt_harness.run import checkpoint, metrics
from microgpt_harness.system.errors import UserError
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
BEGINS, TRAINS = "main.py begins\n", "loss "  # what is printed first when main.py, and when training, begins


@dataclass(frozen=True)
class Trial:
    number: int
    folder: str
    name: str  # of the signal
    after: str  # BEGINS or TRAINS
    moment: float  # seconds from then


@dataclass(frozen=True)
class Known:
    """A run that nobody disturbs: its losses, and how long it goes on after main.py and after training have begun."""

    losses: list[tuple[int, float]]
    seconds: dict[str, float]


@dataclass(frozen=True)
class Outcome:
    trial: Trial
    phase: str
    faults: tuple[str, ...]


def arguments(folder: str, out: Path) -> tuple[object, ...]:
    return ("--out", out, "--steps", STEPS[folder[:2]], *OPTIONS)


class Run:
    """A run whose outputs go into files beside its folder, so that no pipe fills and all can be read at any time."""

    def __init__(self, folder: str, out: Path, marker: Path, *more: str) -> None:
        self.paths = [out.with_suffix(suffix) for suffix in (".stdout", ".stderr")]
        out.parent.mkdir(parents=True, exist_ok=True)
        stdout, stderr = (path.open("w") for path in self.paths)
        with stdout, stderr:
            self.process = subprocess.Popen(
                command(folder, *arguments(folder, out), *more),
                env=environment(PYTHONPATH=str(marker)),
                stdout=stdout,
                stderr=stderr,
            )

    def outputs(self) -> tuple[str, str]:
        stdout, stderr = (path.read_text(encoding="utf-8") for path in self.paths)
        return stdout, stderr.removeprefix(BEGINS)

    def wait_for(self, words: str) -> None:
        """Return when it has printed the words, or has ended."""
        while self.process.poll() is None and not any(words in path.read_text("utf-8") for path in self.paths):
            time.sleep(0.001)

    def end(self) -> int:
        """Wait for its end and return its exit code. One that does not end is killed, which its exit code says."""
        try:
            return self.process.wait(timeout=DEADLINE)
        except subprocess.TimeoutExpired:
            self.process.kill()
            return self.process.wait()


def undisturbed(folder: str, work: Path) -> Known:
    """Watch a run that nobody disturbs. The second one counts: the first may have had to compile."""
    for _ in range(2):
        out = work / folder / "undisturbed"
        shutil.rmtree(out, ignore_errors=True)
        run = Run(folder, out, work)
        began = {}
        for words in (BEGINS, TRAINS):
            run.wait_for(words)
            began[words] = time.perf_counter()
        code = run.end()
        ended = time.perf_counter()
        assert code == 0, run.outputs()
    return Known(losses(out / "names" / folder), {words: ended - moment for words, moment in began.items()})


def losses(run_folder: Path) -> list[tuple[int, float]]:
    return [(record["step"], record["loss"]) for record in metrics.read(run_folder)]


def disturb(trial: Trial, known: Known, work: Path) -> Outcome:
    """Run one trial in a folder of its own."""
    out = work / trial.folder / str(trial.number)
    run = Run(trial.folder, out, work)
    run.wait_for(trial.after)
    time.sleep(trial.moment)
    run.process.send_signal(getattr(signal, trial.name))
    code = run.end()
    stdout, stderr = run.outputs()
    run_folder = out / "names" / trial.folder
    faults = [*faults_of_process(trial, code, stdout, stderr), *faults_of_files(trial, run_folder)]
    if not faults:
        faults = faults_of_resumed(trial, run_folder, known.losses, work, out)
    if not faults:
        shutil.rmtree(out, ignore_errors=True)
    return Outcome(trial, phase_of(stdout, stderr, code), tuple(faults))


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
    run = Run(trial.folder, out, work, *(["--resume"] if saved else []))
    code = run.end()
    _, stderr = run.outputs()
    if code or stderr:
        return [f"resumed: exit code {code}, {stderr!r}"]
    found = losses(run_folder)
    if [step for step, _ in found] != [step for step, _ in expected]:
        return [f"records: {len(found)} in place of {len(expected)}, or not in order"]
    if found != expected:
        return ["resumed: another loss at step " + str(next(a for a, b in zip(found, expected) if a != b)[0])]
    return []


def draw_trials(args: argparse.Namespace, known: dict[str, Known]) -> list[Trial]:
    """Every folder has its share of each signal, and half of them after its training has begun."""
    generator = random.Random(args.seed)
    amounts = {"SIGKILL": args.kill, "SIGTERM": args.term, "SIGHUP": args.hup, "SIGINT": args.int}
    trials = []
    for name, amount in amounts.items():
        for i in range(amount):
            folder = args.folders[i % len(args.folders)]
            after = (BEGINS, TRAINS)[i // len(args.folders) % 2]
            moment = generator.uniform(*args.between) * known[folder].seconds[after]
            trials.append(Trial(len(trials), folder, name, after, moment))
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
        "--between", type=float, nargs=2, default=(0, 1.05), metavar=("A", "B"), help="moments, as parts of that time"
    )
    return made


def main() -> int:
    args = parser().parse_args()
    args.folders = [next(ROOT.glob(f"{start}*/main.py")).parent.name for start in args.folders]
    work = Path(tempfile.mkdtemp(prefix="storm-"))
    (work / "sitecustomize.py").write_text(MARKER, encoding="utf-8")
    known = {folder: undisturbed(folder, work) for folder in args.folders}
    trials = draw_trials(args, known)
    outcomes = []
    with ThreadPoolExecutor(args.jobs) as pool:
        for outcome in pool.map(lambda trial: disturb(trial, known[trial.folder], work), trials):
            outcomes.append(outcome)
            for fault in outcome.faults:
                kept = work / outcome.trial.folder / str(outcome.trial.number)
                print(f"{outcome.trial}: {fault} (kept: {kept})", flush=True)
            if len(outcomes) % 20 == 0:
                print(f"{len(outcomes)} of {len(trials)} signals", flush=True)
    failures = sum(bool(outcome.faults) for outcome in outcomes)
    print(table(outcomes))
    print(f"{len(outcomes)} signals, {failures} failures, seed {args.seed}")
    if not failures:
        shutil.rmtree(work, ignore_errors=True)
    return int(failures > 0)


if __name__ == "__main__":
    sys.exit(main())
