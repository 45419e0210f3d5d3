"""Every exercise of every folder, in the two ways in which that takes longer than the tests may.

    uv run python every_exercise.py program    through the real program, as learners would: for each exercise to fill in
                                               the lesson's own body, an empty body, a crash, a wrong shape, an endless
                                               loop; each planted mistake as it is and mended; extensions solved
    uv run python every_exercise.py answers    in this process: all that tests/answers has, right and wrong, and each
                                               known mistake, at several random points

Both say what is not as expected, and how long a check took.
"""

import argparse
import gc
import json
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from exercising import (
    answers,
    broken,
    exercises,
    extended_text,
    lesson_text,
    possible,
    solution,
    solved,
    to_fill_in,
    touching,
    verdict,
)
from lessons import FOLDERS, missing_here
from microgpt_harness.tools import mistakes
from microgpt_harness.tools.exercises.catalogue import FIND
from program import command, environment

TIME_LIMIT = 3  # seconds for an endless loop
DEFAULT_LIMIT = 10  # of the program
SLOW_MACHINE = 60  # for all else
AT_HAND = 10  # attempts whose compiled functions are kept
# What a check may call an attempt that goes wrong like this. Less than there should be shows as what is made of it.
EXPECTED = {
    "crash": {"raised"},
    "empty body": {"empty", "no-return", "wrong", "raised"},
    "wrong shape": {"shape", "wrong", "raised"},
    "endless loop": {"time"},
}


@dataclass(frozen=True)
class Case:
    exercise: str
    what: str
    text: str
    expected: frozenset[str]  # results, of which one is to come
    called: tuple[str, ...] = ()  # the known mistake that it is to look like
    seed: int = 1


def in_program(folder: str) -> Iterator[Case]:
    for exercise in to_fill_in(folder):
        yield Case(exercise.name, "the lesson's own body", lesson_text(folder), frozenset({"right"}))
        for what, text in broken(folder, exercise).items():
            yield Case(exercise.name, what, text, frozenset(EXPECTED[what]))
    for exercise in exercises(folder).values():
        if exercise.kind == FIND:
            planted = mistakes.apply(lesson_text(folder), exercise.mistake.edits)
            yield Case(
                exercise.name, "planted", planted, frozenset({"wrong", "nan", "shape", "dtype", "raised", "own"})
            )
            yield Case(exercise.name, "mended", lesson_text(folder), frozenset({"right"}))
        elif exercise.name in solved(folder):
            text = extended_text(folder, solution(folder, exercise.name))
            yield Case(exercise.name, "extended", text, frozenset({"right"}))


def of_answers(folder: str, seeds: int) -> Iterator[Case]:
    wrong = frozenset({"wrong", "nan", "shape", "dtype", "raised", "own", "no-return", "time"})
    for answer in answers(folder, "right"):
        yield Case(answer.exercise, "right answer", answer.text(folder), frozenset({"right"}))
    for answer in answers(folder, "wrong"):
        yield Case(answer.exercise, "wrong answer", answer.text(folder), wrong)
    for exercise in to_fill_in(folder):
        for mistake in touching(folder, exercise):
            text = mistakes.apply(lesson_text(folder), mistake.edits)
            for seed in range(seeds):
                yield Case(exercise.name, "known mistake", text, wrong, (mistake.name,), seed)


def run_program(folder: str, case: Case, place: Path) -> tuple[str, list[str], list[str], float]:
    """Return what the program calls an attempt, what it says, which mistakes it names, and the seconds of the check."""
    path = place / f"{case.exercise}.py"
    path.write_text(case.text, encoding="utf-8")
    # learners set no limit: a right extension has to come through with the program's own
    limit = {"endless loop": TIME_LIMIT, "extended": DEFAULT_LIMIT}.get(case.what, SLOW_MACHINE)
    arguments = ("exercise", case.exercise, "--dir", place, "--json", "--time-limit", limit)
    done = subprocess.run(command(folder, *arguments), env=environment(), capture_output=True, encoding="utf-8")
    if done.stderr or done.returncode not in (0, 1):
        return "failed", [done.stderr], [], 0.0
    found = json.loads(done.stdout)
    return found["result"], found["says"], found["looks_like"], found["seconds"]


def run_here(folder: str, case: Case, place: Path) -> tuple[str, list[str], list[str], float]:
    began = time.perf_counter()
    found = verdict(folder, case.exercise, case.text, place, case.seed)
    return found.kind, list(found.says), [name for name, _ in found.looks_like], time.perf_counter() - began


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("how", choices=("program", "answers"))
    parser.add_argument("folders", nargs="*", metavar="FOLDER", help="default: all")
    parser.add_argument("--every", type=int, default=1, metavar="N", help="only every Nth attempt (default: all)")
    parser.add_argument("--seeds", type=int, default=1, metavar="N", help="random points a mistake (default: 1)")
    args = parser.parse_args()
    run = run_program if args.how == "program" else run_here
    unexpected = 0
    for folder in args.folders or [folder for folder in FOLDERS if not missing_here(folder)]:
        seconds: dict[str, list[float]] = defaultdict(list)
        cases = in_program(folder) if args.how == "program" else of_answers(folder, args.seeds)
        with tempfile.TemporaryDirectory() as place:
            for number, case in enumerate(list(cases)[:: args.every], start=1):
                if number % AT_HAND == 0:
                    let_go_of_compiled()
                result, says, looks_like, took = run(folder, case, Path(place))
                seconds[case.what].append(took)
                if result not in case.expected or tuple(looks_like) != case.called:
                    unexpected += 1
                    which = f"{folder} {case.exercise}, {case.what} (seed {case.seed})"
                    print(f"{which}: {result} {looks_like} {says}", flush=True)
        for what, took_each in seconds.items():
            times = f"median {median(took_each):.1f} s, longest {max(took_each):.1f} s"
            print(f"{folder:26} {what:22} {len(took_each):4} attempts, {times}", flush=True)
        if args.how == "answers":
            report_untouched(folder)
    print("all as expected" if not unexpected else f"{unexpected} not as expected")
    return int(unexpected > 0)


def let_go_of_compiled() -> None:
    """Linux lets a process have 65,530 pieces of memory, of which each function that JAX has compiled takes some."""
    if "jax" in sys.modules:
        sys.modules["jax"].clear_caches()
        gc.collect()


def report_untouched(folder: str) -> None:
    touched = {mistake.name for exercise in to_fill_in(folder) for mistake in touching(folder, exercise)}
    names = [mistake.name for mistake in possible(folder) if mistake.name not in touched]
    if names:
        print(f"{folder:26} in no exercise to fill in: {', '.join(names)}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
