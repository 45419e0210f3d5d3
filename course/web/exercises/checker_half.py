"""The checker's half of an exercise in a page: what `main.py exercise` does, in a Python in which no attempt ever runs.

The page calls `open_folder` once. Then for each attempt it calls, of `checking`: `begin`; `compute` for each stage,
while the attempt's Python computes its own; `take` with the lines that come from there; and `end`. What is returned can
be written as JSON.
"""

import contextlib
import io
import json
import os
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "course" / "harness"))

from microgpt_harness.contract import Folder
from microgpt_harness.system.console import printable
from microgpt_harness.system.errors import UserError
from microgpt_harness.tools.exercises import attempts, catalogue, command, running
from microgpt_harness.tools.exercises.attempts import Attempts
from microgpt_harness.tools.exercises.catalogue import EXTEND, Exercise
from microgpt_harness.tools.exercises.checking import Checker, Verdict
from microgpt_harness.tools.exercises.running import Outcome

checking: "Checking"


def open_folder(folder: str) -> None:
    """From now on check attempts at the exercises of this folder."""
    global checking
    checking = Checking(folder)


class Checking:
    """Checks attempts at the exercises of one folder. What a random point's numbers should be is computed once."""

    def __init__(self, folder: str) -> None:
        self.folder = Folder(Path(folder), dtypes=())
        self.exercises = catalogue.read(self.folder)
        self.kept = Attempts(self.folder)
        self.checker = Checker(self.folder, seed=-1, time_limit=0)
        os.chdir(folder)  # paths are shown as from there

    def begin(self, name: str, text: str, seed: int, time_limit: float) -> dict[str, Any]:
        """Return a verdict, where the text alone decides, or else the attempt's job and the stages to compute here."""
        self.began = time.monotonic()
        if self.checker.seed != seed:
            self.checker = Checker(self.folder, seed, time_limit)
        self.checker.time_limit = time_limit
        self.exercise = self.exercises[name]
        self.outcome, self.said = Outcome(), bytearray()
        file = self.write(self.exercise, text)
        try:
            text = attempts.read(file, self.exercise)
        except UserError as error:
            return {"verdict": self.to_json(Verdict("unreadable", (str(error),)))}
        if verdict := self.checker.read(self.exercise, text):
            return {"verdict": self.to_json(verdict)}
        job = self.checker.job(self.exercise, file, text)
        stages = [] if self.exercise.kind == EXTEND else job["stages"]
        # the page looks at the clock itself, and ends the attempt's Python from outside
        return {"job": json.dumps(job | {"time_limit": None}), "compute": stages}

    def compute(self, stage: str) -> bool:
        """Compute a stage of the lesson. Return whether that was enough: the attempt's is wrong, or is missing."""
        came_to_an_end = self.outcome.raised or self.outcome.nothing
        if came_to_an_end and stage not in self.outcome.figures:
            return True
        return self.checker.is_wrong(stage, self.outcome)

    def take(self, lines: list[str]) -> None:
        """Take lines that the attempt's Python has posted."""
        for line in lines:
            entry = json.loads(line)
            self.said += bytes.fromhex(entry.pop("said", ""))
            running.take(self.outcome, entry)

    def end(self, exit_code: int, too_long: float) -> dict[str, Any]:
        """Return the verdict, when the attempt's Python has ended, or has been ended after `too_long` seconds."""
        self.outcome.exit_code = exit_code
        self.outcome.too_long = too_long
        self.outcome.said = running.beginning(bytes(self.said))
        verdict = replace(self.checker.judge(self.exercise, self.outcome), seed=self.checker.seed)
        return self.to_json(verdict)

    def to_json(self, verdict: Verdict) -> dict[str, Any]:
        verdict = replace(verdict, seconds=time.monotonic() - self.began)
        afterwards = command.afterwards(self.folder, self.exercise, self.kept) if verdict.right else []
        return command.as_json(self.folder, self.exercise, self.kept.file(self.exercise), verdict) | {
            "looks_like": verdict.looks_like,  # with what is said of each
            "printed": printable(verdict.printed.rstrip(), keep="\n\t"),
            "afterwards": afterwards,
        }

    def solution(self, name: str, text: str) -> str:
        """Return what `--solution` prints of an attempt with this text."""
        exercise = self.exercises[name]
        self.write(exercise, text)
        said = io.StringIO()
        with contextlib.redirect_stdout(said):
            command.show_solution(self.folder, exercise, self.kept)
        return said.getvalue()

    def write(self, exercise: Exercise, text: str) -> Path:
        file = self.kept.file(exercise)
        file.parent.mkdir(exist_ok=True)
        file.write_text(text, encoding="utf-8")
        return file
