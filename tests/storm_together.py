"""One of several processes fails at a random moment: `uv run --directory tests python storm_together.py --help`.

Each trial has two processes train together by their launcher (04: torchrun, 05: none, 06: mlx.launch). At a random
moment after the first checkpoint it kills one of them, fills the disk that they save to, interrupts them as Ctrl-C
does, or sends the launcher SIGTERM. A trial fails if a process is left, if the checkpoint cannot be loaded, if what was
asked to end has not saved all its records, or if main.py says more than one line.

Filling a disk needs a small one, and so the right to mount it: without that these trials are left out.
"""

import argparse
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from lessons import offered
from microgpt_harness.run import checkpoint, metrics
from microgpt_harness.system.errors import UserError
from test_distributed import TOGETHER, Launched, own_lines, training_long

DISK_BYTES = 2**21
SIGNALS = ("SIGINT", "SIGTERM")
FATES = ("killed", "disk full", *SIGNALS)


@contextmanager
def small_disk() -> Iterator[Path]:
    place = Path(tempfile.mkdtemp(prefix="storm-"))
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={DISK_BYTES}", "tmpfs", place], check=True)
    try:
        yield place
    finally:
        subprocess.run(["umount", "--lazy", place], check=True)
        place.rmdir()


@contextmanager
def large_disk() -> Iterator[Path]:
    place = Path(tempfile.mkdtemp(prefix="storm-"))
    yield place
    shutil.rmtree(place)


def disk_can_be_made() -> bool:
    try:
        with small_disk():
            return True
    except (OSError, subprocess.CalledProcessError):
        return False


def trial(folder: str, fate: str, generator: random.Random, seconds: float) -> tuple[float, list[str]]:
    """Return how long the end took, and what is wrong with it."""
    with (
        small_disk() if fate == "disk full" else large_disk() as place,
        training_long(folder, place) as (several, path),
    ):
        time.sleep(generator.uniform(0, seconds))
        befall(several, folder, fate, generator, place)
        began = time.monotonic()
        _, _, stderr = several.end()
        took = time.monotonic() - began
        return took, [*faults_of_words(own_lines(stderr), fate), *faults_of_files(path, fate)]


def befall(several: Launched, folder: str, fate: str, generator: random.Random, place: Path) -> None:
    if fate == "killed":
        (victim,) = several.left(f"{offered(folder).ranks[0]}={generator.randrange(2)}")
        os.kill(victim, signal.SIGKILL)
    elif fate == "disk full":
        fill(place / "filler")
    elif fate == "SIGINT":
        os.killpg(several.running[0].pid, signal.SIGINT)  # as a terminal does at Ctrl-C
    else:
        several.running[0].send_signal(signal.SIGTERM)


def fill(path: Path) -> None:
    try:
        with path.open("wb", buffering=0) as file:
            while True:
                file.write(bytes(2**12))
    except OSError:  # no room is left
        pass


def faults_of_words(lines: list[str], fate: str) -> list[str]:
    stopping = [line for line in lines if "finishing this step" in line]
    rest = [line for line in lines if line not in stopping]
    if len(rest) > 1 or len(stopping) > 1 or (rest and fate in SIGNALS and "stopped after" not in rest[0]):
        return [f"said: {lines}"]
    if fate == "disk full" and "No space left" not in "".join(rest):
        return [f"did not say that the disk is full: {lines}"]
    return []


def faults_of_files(path: Path, fate: str) -> list[str]:
    try:
        saved = checkpoint.load(path)
    except UserError as error:
        return [str(error)]
    steps = [record["step"] for record in metrics.each(path.parent)]
    if steps[: saved.step] != list(range(1, saved.step + 1)):
        return [f"{len(steps)} records for {saved.step} steps, or not in order"]
    if fate in SIGNALS and len(steps) != saved.step:
        return [f"{len(steps)} records, and only {saved.step} steps saved"]
    return []


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--trials", type=int, default=20, help="of each kind in each folder")
    parser.add_argument("--folders", nargs="+", default=TOGETHER)
    parser.add_argument("--fates", nargs="+", default=FATES, choices=FATES)
    parser.add_argument("--seconds", type=float, default=2, help="the longest time after the first checkpoint")
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    fates = [fate for fate in args.fates if fate != "disk full" or disk_can_be_made()]
    if len(fates) < len(args.fates):
        print("disk full: left out, for no small disk can be mounted here", flush=True)
    generator, failures = random.Random(args.seed), Counter()
    for folder in args.folders:
        for fate in fates:
            longest = 0.0
            for _ in range(args.trials):
                took, faults = trial(folder, fate, generator, args.seconds)
                longest = max(longest, took)
                failures[folder, fate] += bool(faults)
                for fault in faults:
                    print(f"{folder}, {fate}: {fault}", flush=True)
            bad = failures[folder, fate]
            print(f"{folder}, {fate}: {args.trials} trials, {bad} failed, ended within {longest:.1f} s", flush=True)
    return int(failures.total() > 0)


if __name__ == "__main__":
    sys.exit(main())
