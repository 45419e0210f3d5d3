"""`main.py exercise`: the list, a file to begin with, checks, hints, solutions, and the reports of teachers."""

import contextlib
import csv
import dataclasses
import difflib
import io
import json
import os
import random
import textwrap
import time
from argparse import Namespace
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

from ...contract import Folder
from ...program.engines import preparing
from ...run.progress import can_write_over, waiting_for
from ...system import interrupts
from ...system.console import printable, say, shown
from ...system.errors import UserError
from .. import mistakes
from . import attempts, catalogue, subjects
from .attempts import Attempts
from .catalogue import EXTEND, FILL_IN, FIND, Exercise, shown_name
from .checking import Checker, Verdict

WIDTH = 100
LOOK_AGAIN = 0.2  # seconds between two looks at a file that is watched
SEEDS = 10**6
PRINTED = 20  # lines of what an attempt prints


def command(folder: Folder, args: Namespace) -> int:
    exercises = catalogue.read(folder)
    kept = Attempts(folder, args.dir)
    if args.name is None:
        show_list(folder, exercises, kept, args.json)
        return 0
    exercise = chosen(exercises, kept, args)
    if args.check is not None:
        return check_files(folder, exercise, args)
    if args.solution:
        return show_solution(folder, exercise, kept)
    if args.reset:
        return begin_anew(exercise, kept)
    if args.hint:
        return show_hint(folder, exercise, kept)
    if not kept.begun(exercise) and not kept.file(exercise).exists():
        begin(exercise, kept)
        if not args.watch:
            return 0
    return watch(folder, exercise, kept, args) if args.watch else check(folder, exercise, kept, args)


def chosen(exercises: dict[str, Exercise], kept: Attempts, args: Namespace) -> Exercise:
    """Return the exercise that is meant. `mistake` alone is any that has not been begun. With a flag that asks for one
    at work, it is the one that was begun last and is not found yet.
    """
    if args.name.strip() != "mistake":
        if args.number is not None:
            raise UserError(f"a number belongs to `mistake` only: main.py exercise {args.name}")
        return catalogue.choose(exercises, args.name)
    if args.number is not None:
        return catalogue.choose(exercises, f"mistake-{args.number}")
    if args.hint or args.solution or args.reset or args.watch or args.check:
        return latest_mistake(exercises, kept)
    new = [e for e in exercises.values() if e.kind == FIND and not kept.begun(e)]
    if not new:
        raise UserError("all mistakes have been begun: name one, as in `main.py exercise mistake 7`")
    return random.choice(new)


def latest_mistake(exercises: dict[str, Exercise], kept: Attempts) -> Exercise:
    progress = kept.progress()
    open_ones = [name for name, entry in progress.items() if not entry.get("done") and name in exercises]
    begun = [exercises[name] for name in open_ones if exercises[name].kind == FIND]
    if not begun:
        raise UserError("no mistake has been begun that is not found: name one, as in `main.py exercise mistake 7`")
    return begun[-1]


# The list
def show_list(folder: Folder, exercises: dict[str, Exercise], kept: Attempts, as_json: bool) -> None:
    progress = kept.progress()
    if as_json:
        entries = [
            {"name": e.name, "kind": e.kind, "task": e.task, **progress.get(e.name, {})} for e in exercises.values()
        ]
        print(json.dumps({"folder": folder.name, "exercises": entries}, ensure_ascii=False))
        return
    done = {name for name, entry in progress.items() if entry.get("done") and name in exercises}
    print(f"{folder.name}: {len(done)} of {len(exercises)} exercises done")
    for kind, about in (
        (FILL_IN, "Write a part of the lesson yourself, in this order"),
        (EXTEND, "Add to the lesson"),
    ):
        print(f"\n{about}: main.py exercise NAME")
        for exercise in exercises.values():
            if exercise.kind == kind:
                print_line(exercise, exercise.name in done, progress.get(exercise.name, {}))
    numbers = {int(e.name.rpartition("-")[2]): e.name in done for e in exercises.values() if e.kind == FIND}
    found = ", ".join(str(number) for number, is_done in numbers.items() if is_done)
    print("\nFind the mistake that somebody has put into the lesson: main.py exercise mistake")
    print(f"    or mistake 1 to mistake {len(numbers)}; " + (f"found: {found}" if found else "none is found yet"))


def print_line(exercise: Exercise, done: bool, entry: dict[str, Any]) -> None:
    mark = "done" if done else ("…" if entry.get("begun") else "")
    lines = textwrap.wrap(exercise.task, WIDTH - 32)
    print(f"  {mark:>4} {exercise.name:22} {lines[0]}")
    for line in lines[1:]:
        print(" " * 30 + line)


# One exercise
def begin(exercise: Exercise, kept: Attempts) -> None:
    path = kept.write(exercise)
    print_wrapped(f"{shown(path)} is yours to work on. {exercise.task}")
    what = {
        FILL_IN: "It is the lesson without that part: look for `Your turn`.",
        FIND: "It is the lesson with one mistake in it: read it, run it, look at its numbers.",
        EXTEND: "It is the lesson with something to fill in: look for `# %% Extension`.",
    }
    print(what[exercise.kind])
    print(f"Check it: {kept.command(exercise)} (--watch: whenever you save; --hint, --solution, --reset)")


def begin_anew(exercise: Exercise, kept: Attempts) -> int:
    aside = kept.reset(exercise)
    print(f"{shown(kept.file(exercise))} is as it was at the beginning")
    if aside:
        print(f"your attempt is kept in {shown(aside)}")
    return 0


def show_hint(folder: Folder, exercise: Exercise, kept: Attempts) -> int:
    """Give one hint more. Of a mistake they come from where it stands."""
    hints = exercise.hints if exercise.kind != FIND else hints_for_mistake(folder, exercise)
    number = kept.next_hint(exercise, len(hints))
    if number >= len(hints):
        print(f"there are no more hints; {kept.command(exercise)} --solution shows what the lesson does")
        return 0
    print_wrapped(f"hint {number + 1} of {len(hints)}: {hints[number]}")
    return 0


def hints_for_mistake(folder: Folder, exercise: Exercise) -> list[str]:
    assert exercise.mistake
    text = subjects.lesson_text(folder.path)
    lines = planted_lines(text, exercise.mistake)
    banner = next(part for part in reversed(text.splitlines()[: lines[0]]) if part.startswith("# %%"))
    seen = {
        "main": "What is computed from given weights is right. Look at documents, their order, and the generator.",
        "samples": "Scores and training are right. Look at how a token is chosen.",
        "steps": "Scores, loss, gradients and a first step are right. Look at what a step leaves to the next.",
        "step": "Scores are right. Look at how a step makes one number of a batch, and new weights of gradients.",
        "gradients": "Scores and loss are right. Look at how gradients are computed and added up.",
        "point": "Already what the model computes for one batch is wrong: scores, loss, or their gradients.",
    }
    where = f"It is in the section {banner.removeprefix('# %% ')}."
    return [seen[exercise.mistake.caught_by], where, exercise.mistake.says]


def planted_lines(text: str, mistake: mistakes.Mistake) -> list[int]:
    """Return the lines, from 1, in which a mistake changes the lesson."""
    return sorted({text[: text.index(old)].count("\n") + 1 for old, _ in mistake.edits})


def show_solution(folder: Folder, exercise: Exercise, kept: Attempts) -> int:
    if exercise.kind == EXTEND:
        print_wrapped("An extension has many right answers, so none is shown: its hints go nearly to one.")
        return 0
    path = kept.file(exercise)
    mine = attempts.read(path, exercise) if path.exists() else catalogue.handed_out(folder.path, exercise, path)
    lesson = catalogue.at_home(subjects.lesson_text(folder.path), folder.path, path)
    lines = difflib.unified_diff(mine.splitlines(), lesson.splitlines(), shown(path), "the lesson", lineterm="", n=2)
    text = "\n".join(lines)
    print(printable(text, keep="\n\t") or "your file and the lesson are the same")
    return 0


# Checking
def check(folder: Folder, exercise: Exercise, kept: Attempts, args: Namespace) -> int:
    path = kept.file(exercise)
    text = attempts.read(path, exercise)
    verdict = run_check(new_checker(folder, args), exercise, path, text, args.json)
    note(kept, exercise, verdict)
    if args.json:
        print(json.dumps(as_json(folder, exercise, path, verdict), ensure_ascii=False, allow_nan=False))
    else:
        show(folder, exercise, kept, verdict)
    return 0 if verdict.right else 1


def note(kept: Attempts, exercise: Exercise, verdict: Verdict) -> None:
    with contextlib.suppress(UserError):  # the attempt lies where nothing can be written: it is checked all the same
        kept.note_check(exercise, verdict.right)


def new_checker(folder: Folder, args: Namespace) -> Checker:
    seed = args.at_seed if args.at_seed is not None else random.SystemRandom().randrange(SEEDS)
    return Checker(folder, seed, args.time_limit)


def run_check(checker: Checker, exercise: Exercise, path: Path, text: str, quiet: bool) -> Verdict:
    """Check, and show on a terminal what is being waited for."""
    args = Namespace(quiet=quiet)
    with contextlib.ExitStack() as line:

        def progress(stage: str) -> None:
            line.close()
            line.enter_context(waiting_for(f"checking {path.name}: {stage}", quiet=quiet))

        return checker.check(exercise, path, text, lambda: preparing(checker.folder, args), progress)


def watch(folder: Folder, exercise: Exercise, kept: Attempts, args: Namespace) -> int:
    """Check at every save, until all is well or somebody presses Ctrl-C."""
    path = kept.file(exercise)
    with contextlib.closing(new_checker(folder, args)) as checker:
        text = attempts.read(path, exercise)
        while True:
            verdict = run_check(checker, exercise, path, text, quiet=False)
            note(kept, exercise, verdict)
            print(f"-- {time.strftime('%H:%M:%S')}")
            show(folder, exercise, kept, verdict)
            if verdict.right:
                return 0
            print(f"waiting until {shown(path)} is saved; Ctrl-C ends this", flush=True)
            with interrupts.on_leaving(lambda: "your file is as you saved it"):
                text = wait_for_another(path, text, checker.get_ready())


def wait_for_another(path: Path, before: str, meanwhile: Iterator[None]) -> str:
    """Return a file's text when it is another. Editors save it in ways in which it is gone or empty for a moment.

    Between two looks at it the next piece of `meanwhile` is done.
    """
    while True:
        began = time.monotonic()
        next(meanwhile, None)
        time.sleep(max(0.0, began + LOOK_AGAIN - time.monotonic()))
        with contextlib.suppress(UserError):
            if (text := attempts.read(path)) != before:
                return text


def show(folder: Folder, exercise: Exercise, kept: Attempts, verdict: Verdict) -> None:
    """Print what a check has found, for the learner."""
    name = shown_name(exercise)
    if verdict.printed.strip():
        print("what your code printed:")
        lines = printable(verdict.printed.rstrip(), keep="\n\t").splitlines()
        print(textwrap.indent("\n".join(lines[:PRINTED] + ["…"] * (len(lines) > PRINTED)), "  "))
    if verdict.right:
        print(f"{name}: all is well (checked at random weights, seed {verdict.seed}, in {verdict.seconds:.1f} s)")
        for sentence in afterwards(folder, exercise, kept):
            print_wrapped(sentence)
        return
    seed = f" (seed {verdict.seed}, {verdict.seconds:.1f} s)" if verdict.seed is not None else ""
    print(f"{name}: not yet{seed}")
    for stage, difference in verdict.stages.items():
        if difference is not None:
            print(f"  {stage:35} {'not ' if difference else ''}as in the lesson")
    for sentence in verdict.says:
        print_wrapped(sentence)
    for mistake, says in verdict.looks_like:
        print_wrapped(f"These numbers look like {mistake}: {says}")
    print(f"next: {kept.command(exercise)} again, or with --hint")


def afterwards(folder: Folder, exercise: Exercise, kept: Attempts) -> list[str]:
    """Say of a mistake that has been found what it was, and why it often stays unnoticed. Say what may come next."""
    if exercise.mistake is None:
        compare = ["To hold it against the lesson: --solution."] if exercise.kind == FILL_IN else []
        after = following(folder, exercise)
        return [*compare, *([f"The next one: {kept.command(after)}"] if after else [])]
    lines = planted_lines(subjects.lesson_text(folder.path), exercise.mistake)
    where = f"line{'s' if len(lines) > 1 else ''} {' and '.join(map(str, lines))}"
    return [
        f"It was {exercise.mistake.name}, in {where} of the lesson: {exercise.mistake.says}",
        f"Would a test notice that only sees whether the loss falls? {exercise.mistake.unnoticed}",
    ]


def following(folder: Folder, exercise: Exercise) -> Exercise | None:
    """Return the next exercise of the same kind, if there is one."""
    same_kind = [other for other in catalogue.read(folder).values() if other.kind == exercise.kind]
    return next((after for before, after in pairwise(same_kind) if before.name == exercise.name), None)


def print_wrapped(text: str) -> None:
    width = min(WIDTH, os.get_terminal_size().columns) if can_write_over() else WIDTH
    print(
        textwrap.fill(
            printable(text), max(width, 20), subsequent_indent="  ", break_on_hyphens=False, break_long_words=False
        )
    )


def as_json(folder: Folder, exercise: Exercise, path: Path, verdict: Verdict) -> dict[str, Any]:
    where = None
    if verdict.where:
        where = dataclasses.asdict(verdict.where)
        where["difference"] = {name: finite(value) for name, value in where["difference"].items()}
    return {
        "folder": folder.name,
        "exercise": exercise.name,
        "file": str(path),
        "result": verdict.kind,
        "right": verdict.right,
        "says": list(verdict.says),
        "stages": {name: finite(difference) for name, difference in verdict.stages.items()},
        "first_wrong": where,
        "looks_like": [name for name, _ in verdict.looks_like],
        "seed": verdict.seed,
        "seconds": round(verdict.seconds, 2),
    }


def finite(value: Any) -> Any:
    """JSON has no inf and no nan."""
    return (
        str(value) if isinstance(value, float) and (value != value or value in (float("inf"), -float("inf"))) else value
    )


# For teachers
COLUMNS = ("file", "result", "looks_like", "says", "seconds")


def check_files(folder: Folder, exercise: Exercise, args: Namespace) -> int:
    """Check files that were handed in, all at the same point; print a table and write it as CSV, or print JSON."""
    if args.csv and args.csv.is_dir():
        raise UserError(f"--csv {shown(args.csv)} is a folder; name a file")
    checker = new_checker(folder, args)
    verdicts = [(path, check_file(checker, exercise, path, args.json)) for path in expanded(args.check)]
    if args.json:
        entries = [as_json(folder, exercise, path, verdict) for path, verdict in verdicts]
        print(json.dumps(entries, ensure_ascii=False, allow_nan=False))
    else:
        rows = [row(path, verdict) for path, verdict in verdicts]
        print_table(rows)
        right = sum(verdict.right for _, verdict in verdicts)
        print(f"{right} of {len(rows)} right, seed {checker.seed}")
        target = args.csv or Attempts(folder, args.dir).place / f"{exercise.name}.csv"
        if aside := attempts.keep_csv(target, as_csv(rows)):
            say(f"the {shown(target)} that was there is kept as {shown(aside)}")
        print(f"table: {shown(target)}")
    return 0 if all(verdict.right for _, verdict in verdicts) else 1


def expanded(paths: list[Path]) -> list[Path]:
    """Return the files, and of a folder the Python files in it. UserError where there is none."""
    found = [path for given in paths for path in (sorted(given.glob("*.py")) if given.is_dir() else [given])]
    if gone := [path for path in found if not path.exists()]:
        raise UserError(f"{shown(gone[0])} is not there")
    if not found:
        raise UserError(f"there is no Python file in {', '.join(shown(path) for path in paths)}")
    return found


def check_file(checker: Checker, exercise: Exercise, path: Path, quiet: bool) -> Verdict:
    try:
        text = attempts.read(path)
    except UserError as error:
        return Verdict("unreadable", (str(error),))
    return run_check(checker, exercise, path.absolute(), text, quiet)


def row(path: Path, verdict: Verdict) -> dict[str, str]:
    looks_like = ", ".join(name for name, _ in verdict.looks_like)
    cells = (str(path), verdict.kind, looks_like, " ".join(verdict.says), f"{verdict.seconds:.1f}")
    return dict(zip(COLUMNS, map(printable, cells), strict=True))


def print_table(rows: list[dict[str, str]]) -> None:
    short = ("file", "result", "looks_like")
    width = {name: max(len(name), *(len(row[name]) for row in rows)) for name in short}
    for row in [dict.fromkeys(short, ""), *rows]:
        cells = [row[name] or name.replace("_", " ") if row["file"] == "" else row[name] for name in short]
        print("  ".join(f"{cell:{width[name]}}" for cell, name in zip(cells, short)).rstrip())


def as_csv(rows: list[dict[str, str]]) -> str:
    text = io.StringIO()
    writer = csv.DictWriter(text, COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()
