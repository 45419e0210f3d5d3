"""Exercises checked inside the test's own process, which costs milliseconds where `main.py exercise` costs seconds."""

import ast
import io
import json
import math
import tomllib
from dataclasses import dataclass
from functools import cache
from itertools import combinations
from pathlib import Path

from lessons import ROOT, offered
from microgpt_harness.tools import mistakes
from microgpt_harness.tools.exercises import attempt_process, catalogue, running, source, subjects, tensors
from microgpt_harness.tools.exercises.catalogue import FILL_IN, Exercise
from microgpt_harness.tools.exercises.checking import Checker, Verdict
from microgpt_harness.tools.exercises.extensions import EXTENSIONS
from microgpt_harness.tools.exercises.figures import SHOWS_IN, STAGES
from microgpt_harness.tools.mistakes import Mistake

ANSWERS = Path(__file__).with_name("answers")
SOLUTIONS = Path(__file__).with_name("solutions")  # of the extensions


@cache
def exercises(folder: str) -> dict[str, Exercise]:
    return catalogue.read(offered(folder))


def to_fill_in(folder: str) -> list[Exercise]:
    return [exercise for exercise in exercises(folder).values() if exercise.kind == FILL_IN]


@cache
def checker(folder: str, seed: int) -> Checker:
    return Checker(
        offered(folder), seed, time_limit=1000
    )  # an attempt that is too slow ends its process: here the tests'


def lesson_text(folder: str) -> str:
    return subjects.lesson_text(ROOT / folder)


def verdict(folder: str, name: str, text: str, place: Path, seed: int = 1) -> Verdict:
    """Return what a check says of an attempt, which is written to `place`, a folder."""
    exercise, at = exercises(folder)[name], checker(folder, seed)
    file = place / f"{name}.py"
    file.write_text(text, encoding="utf-8")
    if found := at.read(exercise, text):
        return found
    written = Written(at, exercise)
    attempt_process.run(at.job(exercise, file, text), written, asked=written)
    return at.judge(exercise, written.outcome())


class Written(io.StringIO):
    """What an attempt in this process writes for its checker, and what the checker then asks it for."""

    def __init__(self, at: Checker, exercise: Exercise) -> None:
        super().__init__()
        self.at, self.exercise = at, exercise

    def outcome(self) -> running.Outcome:
        outcome = running.Outcome()
        for line in self.getvalue().splitlines():
            running.take(outcome, json.loads(line))
        return outcome

    def readline(self) -> str:
        return self.at.to_look_into(self.exercise, self.outcome())


@dataclass(frozen=True)
class Answer:
    """What somebody might write into an exercise's holes, one text for each."""

    exercise: str
    bodies: tuple[str, ...]

    def text(self, folder: str) -> str:
        return source.fill(lesson_text(folder), exercises(folder)[self.exercise].holes, list(self.bodies))


@cache
def answers(folder: str, kind: str) -> list[Answer]:
    """Return a folder's answers of one kind, `right` or `wrong`: none where nobody has written any."""
    path = ANSWERS / f"{folder}.toml"
    content = tomllib.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    own = [Answer(table["exercise"], tuple(table["bodies"])) for table in content.get(kind, [])]
    like = content.get("like")
    return own + [
        answer for answer in (answers(like, kind) if like else ()) if same_part(folder, like, answer.exercise)
    ]


def same_part(folder: str, other: str, name: str) -> bool:
    """Return whether an exercise takes the same text out of both lessons."""
    parts = [taken_out(each, exercises(each)[name]) if name in exercises(each) else [] for each in (folder, other)]
    return parts[0] == parts[1]


def taken_out(folder: str, exercise: Exercise) -> list[list[str]]:
    lines = lesson_text(folder).splitlines()
    places = [source.find(lesson_text(folder), hole) for hole in exercise.holes]
    return [lines[place.start : place.stop] for place in places]


def solution(folder: str, name: str) -> str:
    paths = (SOLUTIONS / place / f"{name}.py" for place in (folder, "every_folder"))
    return next(path for path in paths if path.exists()).read_text(encoding="utf-8")


def solved(folder: str) -> list[str]:
    """Return the names of the extensions that have a solution for this folder."""
    names = {path.stem for place in (folder, "every_folder") for path in (SOLUTIONS / place).glob("*.py")}
    return [name for name in EXTENSIONS if name in names]


def extended_text(folder: str, extension: str) -> str:
    return f"{lesson_text(folder)}\n\n{extension}"


def possible(folder: str) -> list[Mistake]:
    return [mistake for mistake in mistakes.read(ROOT / folder) if mistake.edits]


def touching(folder: str, exercise: Exercise) -> list[Mistake]:
    """Return the known mistakes that are made in what an exercise takes out."""
    text = lesson_text(folder)
    places = [source.find(text, hole) for hole in exercise.holes]

    def inside(old: str) -> bool:
        line = text[: text.index(old)].count("\n")
        return any(place.start <= line < place.stop for place in places)

    return [mistake for mistake in possible(folder) if all(inside(old) for old, _ in mistake.edits)]


FAR = 1e-3  # two mistakes that are so far apart in one stage need not be compared in another


def distances(folder: str, seed: int) -> dict[tuple[str, str], float]:
    """Return how far each two known mistakes are apart, and each from the right lesson, which is called `the lesson`.

    It is the distance of their figures in the stage that tells them apart best, or a part of it where that is large.
    """
    at = Checker(offered(folder), seed, time_limit=10)
    at.subject = checker(folder, 1).lesson()
    known = at.diagnosis()
    known.loaded = checker(folder, 1).diagnosis().loaded  # what has been compiled once is the same at any point
    apart = dict.fromkeys(combinations(["the lesson", *(mistake.name for mistake in known.known)], 2), 0.0)
    for stage in STAGES:
        right = at.right_figures(stage)
        here = {
            mistake.name: known.figures(mistake, stage)
            for mistake in known.known
            if mistake.caught_by in SHOWS_IN[stage] and any(mistake.name in pair for pair in near(apart))
        }
        for pair in near(apart):
            one, other = (here.get(name, right) for name in pair)
            apart[pair] = max(apart[pair], math.inf if one is None or other is None else tensors.distance(one, other))
    return apart


def near(apart: dict[tuple[str, str], float]) -> list[tuple[str, str]]:
    return [pair for pair, distance in apart.items() if distance < FAR]


# Attempts that go wrong in a way that needs no knowledge of the exercise
SHORTER = '''

def shorter(value):
    """Return less than there should be."""
    if isinstance(value, tuple):
        return (shorter(value[0]), *value[1:])
    return value[:1] if hasattr(value, "__len__") or getattr(value, "shape", ()) else [value]
'''


def broken(folder: str, exercise: Exercise) -> dict[str, str]:
    """Return attempts at an exercise by what is wrong with them, each made of the lesson's own body."""
    text = lesson_text(folder)
    attempts = {
        "crash": at_each_hole(text, exercise, "undefined_name"),
        "endless loop": at_each_hole(text, exercise, "while True:\n    pass"),
    }
    whole = [hole.function for hole in exercise.holes if hole.function and not hole.first]
    if whole:
        attempts["empty body"] = source.fill(text, exercise.holes, ["pass"] * len(exercise.holes))
    if any(source.returns(function) for name, function in source.functions(ast.parse(text)).items() if name in whole):
        attempts["wrong shape"] = returning_less(text, whole) + SHORTER
    return attempts


def at_each_hole(text: str, exercise: Exercise, statement: str) -> str:
    """Return the lesson with a statement before what stands in each of an exercise's holes."""
    lines = text.splitlines()
    for place in sorted((source.find(text, hole) for hole in exercise.holes), key=lambda place: -place.start):
        first = next(line for line in lines[place.start : place.stop] if line.strip())
        indent = first[: len(first) - len(first.lstrip())]
        lines[place.start : place.start] = [indent + line for line in statement.splitlines()]
    return "\n".join(lines) + "\n"


def returning_less(text: str, names: list[str]) -> str:
    """Return the lesson in which what these functions return goes through `shorter` first."""
    tree = ast.parse(text)
    for name in names:
        for node in ast.walk(source.functions(tree)[name]):
            if isinstance(node, ast.Return) and node.value:
                node.value = ast.Call(ast.Name("shorter", ast.Load()), [node.value], [])
    return ast.unparse(ast.fix_missing_locations(tree)) + "\n"
