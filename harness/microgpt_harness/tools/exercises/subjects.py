"""Lessons loaded from text, as the checks compute with them: in float64, and with losses printed to the last digit."""

import contextlib
import re
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

from ...program.engines import execute, load_text
from .figures import Subject

CHECKS = "exercise_checks.py"  # of a folder, where it has something of its own to check: see `own_checks`


def load(folder: Path, source: str, file: Path) -> Subject:
    """Run a lesson's text as if it stood in `file`, behind the engine of its folder. What it raises is passed on."""
    if str(folder) not in sys.path:
        sys.path.insert(0, str(folder))
    engine = load_text(file, exact(source), folder / "engine.py")
    own = own_checks(folder)
    inspectable = getattr(own, "inspectable", contextlib.nullcontext)
    compiling_fast = getattr(own, "compiling_fast", contextlib.nullcontext)
    lesson: Any = engine.lesson
    return Subject(lesson, engine, inspectable, compiling_fast)


def exact(source: str) -> str:
    """Let a lesson that runs alone compute in float64, and print all digits of a loss. No line moves."""
    in_float64 = re.sub(r"(dtype=\w+\.float)32", r"\g<1>64", source)
    return re.sub(r":\.\d+f}", ":.17g}", in_float64)


def own_checks(folder: Path) -> ModuleType | None:
    """Return a folder's exercise_checks.py, which may offer, and nothing of it has to be there:

    `inspectable()`: a context in which what the framework compiles runs as plain Python, so that values can be seen.
    `compiling_fast()`: a context in which the framework compiles in the shortest time, into however slow a program.
    `share_model(lesson, other)`: where another lesson differs in nothing that its gradients depend on, have it take
    them from the lesson, compiled once for all of these.
    `prepare_extension(lesson)`: where a lesson is extended, have it compile what would else take long when called.
    `array(rows, lesson)`: nested lists of floats as what the lesson computes with, in float64.
    NAME(module, engine, point), with underscores for dashes: what only this framework can get wrong in the exercise
    NAME, although all numbers are right. It returns a sentence for the learner, or None.
    """
    path = folder / CHECKS
    name = f"exercise_checks_{folder.name}"
    if not path.exists():
        return None
    if name not in sys.modules:
        sys.modules[name] = execute(path, path.read_text(encoding="utf-8"), name)
    return sys.modules[name]


def share_model(folder: Path, lesson: Subject, other: Subject) -> None:
    if share := getattr(own_checks(folder), "share_model", None):
        share(lesson.module, other.module)


def prepare_extension(folder: Path, attempt: Subject) -> None:
    if prepare := getattr(own_checks(folder), "prepare_extension", None):
        prepare(attempt.module)


def lesson_text(folder: Path) -> str:
    return (folder / "microgpt.py").read_text(encoding="utf-8")
