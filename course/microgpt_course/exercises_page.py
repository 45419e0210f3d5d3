"""The exercises in a page: what `main.py exercise` hands out, and the harness's own files, which check it there.

Tasks, hints and what a learner begins with are taken from the harness when the site is built, so that they are there
without Python. The files that check are embedded as they are, and run in the page.
"""

import base64
import contextlib
import difflib
import io
import itertools
import math
import zipfile
from pathlib import Path
from typing import Any

from microgpt_harness.contract import Folder
from microgpt_harness.program import flags
from microgpt_harness.tools.exercises import catalogue, command, subjects
from microgpt_harness.tools.exercises.attempts import Attempts
from microgpt_harness.tools.exercises.catalogue import EXTEND, FILL_IN, FIND, Exercise, shown_name
from microgpt_harness.tools.exercises.tensors import TOLERANCE

from . import bundle
from .material import EXPLICIT, Material
from .run_page import AT
from .site import WEB, Site

SCRIPTS = ("attempts", "checking", "verdict", "exercises")
HALVES = ("checker_half.py", "attempt_half.py")  # what the page's two Pythons run
PLACE = AT.relative_to("/").as_posix()
PARTS = ("*.py", "*.toml")
EARLIEST = (1980, 1, 1, 0, 0, 0)  # the date of every file in the archive: the same files make the same archive
KINDS = (
    (FILL_IN, "Write a part of the lesson yourself", "They are in the order in which they are best learnt."),
    (EXTEND, "Add to the lesson", "What newer models do otherwise. Each has many right answers."),
    (FIND, "Find the mistake", "Somebody has put one mistake into the lesson. Find it by its numbers, and mend it."),
)


def build(site: Site, made: Material) -> None:
    left_out = bundle.build(site)
    if left_out and left_out not in made.left_out:
        made.left_out.append(left_out)
    path = made.lesson(EXPLICIT).path.parent
    folder = Folder(path, dtypes=())
    exercises = catalogue.read(folder)
    groups = [(kind, title, about, [e for e in exercises.values() if e.kind == kind]) for kind, title, about in KINDS]
    site.web("exercises/exercises.css", "run/run.css")
    if not left_out:
        site.web(*(f"exercises/{name}.js" for name in SCRIPTS))
        site.data("exercises/list", page_data(folder) | {"printed": made.explicit_training.printed})
        site.data("exercises/python", base64.b64encode(archive(made.root, path)).decode())
    site.page(
        "exercises.html",
        "exercises.html",
        folder=path.name,
        groups=groups,
        count=len(exercises),
        FIND=FIND,
        shown_name=shown_name,
        limit=time_limit(folder),
        digits=-round(math.log10(TOLERANCE)),
        scripts=SCRIPTS,
        left_out=left_out,
    )


def page_data(folder: Folder) -> dict[str, Any]:
    """Return what the page needs at first. `place` is where the folder stands in a page's Python."""
    return {
        "limit": time_limit(folder),
        "seeds": command.SEEDS,
        "folder": folder.name,
        "place": str(AT / folder.name),
        "lesson": lesson_text(folder),
        "exercises": described(folder),
    }


def time_limit(folder: Folder) -> float:
    """Return how many seconds an attempt may compute at a stretch."""
    limit: float = flags.exercise_parser(folder).get_default("time_limit")
    return int(limit) if limit == int(limit) else limit


def described(folder: Folder) -> list[dict[str, Any]]:
    """Return what the page says of each exercise, in the order in which they are best learnt."""
    exercises = list(catalogue.read(folder).values())
    pairs = itertools.zip_longest(exercises, exercises[1:])
    return [describe(folder, exercise) | {"next": name_after(exercise, after)} for exercise, after in pairs]


def name_after(exercise: Exercise, after: Exercise | None) -> str | None:
    """Return the name of the exercise that follows, if it is of the same kind."""
    return after.name if after and after.kind == exercise.kind else None


def describe(folder: Folder, exercise: Exercise) -> dict[str, Any]:
    changed = edits(lesson_text(folder), handed_out(folder, exercise))
    hints = command.hints_for_mistake(folder, exercise) if exercise.kind == FIND else list(exercise.hints)
    return {
        "name": exercise.name,
        "shown": shown_name(exercise),
        "kind": exercise.kind,
        "task": exercise.task,
        "notes": list(exercise.notes),
        "hints": hints,
        "edits": changed,
        # of a planted mistake the page must not show where it is
        "line": changed[0][0] + 1 if exercise.kind != FIND else 1,
        "noSolution": no_solution(folder, exercise),
    }


def lesson_text(folder: Folder) -> str:
    """Return the lesson as it stands in a folder of attempts."""
    text = subjects.lesson_text(folder.path)
    return catalogue.at_home(text, folder.path, folder.path / "exercises" / "microgpt.py")


def handed_out(folder: Folder, exercise: Exercise) -> str:
    return catalogue.handed_out(folder.path, exercise, Attempts(folder).file(exercise))


def edits(before: str, after: str) -> list[tuple[int, int, list[str]]]:
    """Return what makes one text of another: which lines, counted from 0, to put which in place of."""
    old, new = before.splitlines(), after.splitlines()
    changes = difflib.SequenceMatcher(None, old, new, autojunk=False).get_opcodes()
    return [(start, stop, new[begin:end]) for tag, start, stop, begin, end in changes if tag != "equal"]


def no_solution(folder: Folder, exercise: Exercise) -> str:
    """Return what is said of an exercise for which no solution is shown, or an empty text."""
    if exercise.kind != EXTEND:
        return ""
    said = io.StringIO()
    with contextlib.redirect_stdout(said):
        command.show_solution(folder, exercise, Attempts(folder))
    return " ".join(said.getvalue().split())


def archive(root: Path, folder: Path) -> bytes:
    """Return a zip archive of the files that check, each at its place in the checkout, and of the page's two halves.

    It is unpacked at the root of the file system that a Python in a page has.
    """
    harness = [path for pattern in PARTS for path in root.glob(f"harness/microgpt_harness/**/{pattern}")]
    lesson = [path for pattern in PARTS for path in folder.glob(pattern)]
    files = {f"{PLACE}/{path.relative_to(root).as_posix()}": path for path in (*harness, *lesson)}
    files |= {f"course_page/{name}": WEB / "exercises" / name for name in HALVES}
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as made:
        for name, path in sorted(files.items()):
            made.writestr(zipfile.ZipInfo(name, EARLIEST), path.read_bytes(), zipfile.ZIP_DEFLATED)
    return packed.getvalue()
