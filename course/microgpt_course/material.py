"""What all pages are made from: the lessons, notes on them, a training run and recordings of it.

Recording takes some seconds, so what was recorded is kept until a lesson, the names or the recorder change.
"""

import hashlib
import pickle
from collections.abc import Iterable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from microgpt_harness.system import files

from . import lessons, notes, record
from .lessons import Lesson, Row
from .site import HERE

CACHE = HERE / ".cache"
KEPT = 2  # recordings of earlier versions of a lesson
REFERENCE = "02"  # the folder whose values pages show: float64, and a matrix at a time
EXPLICIT = "01"  # the folder that Run and the exercises use, a number at a time


@dataclass
class Material:
    root: Path
    lessons: list[Lesson]
    notes: notes.Notes
    training: record.Training  # of REFERENCE
    explicit_training: record.Training  # of EXPLICIT
    recordings: dict[tuple[str, int], record.Recording]  # of REFERENCE, by document and step
    explicit_recordings: dict[tuple[str, int], record.Recording]
    left_out: list[str] = field(default_factory=list)  # a line for each part that this build goes without

    @cached_property
    def rows(self) -> list[Row]:
        return lessons.align(self.lessons)

    def lesson(self, number: str) -> Lesson:
        return next(lesson for lesson in self.lessons if lesson.number == number)


def collect(root: Path) -> Material:
    """Return the material of a checkout. UserError where a lesson or a note is not as it has to be."""
    found = lessons.read_all(root)
    read_notes = notes.load(HERE / "notes")
    functions = {lesson.folder: lesson.functions() for lesson in found}
    names = {lesson.folder: {cell.name for cell in lesson.cells} for lesson in found}
    without_note = notes.check(read_notes, functions, names)
    folders = {lesson.number: lesson.path.parent for lesson in found}
    with ProcessPoolExecutor(2) as processes:
        recorded = processes.map(cached, [root, root], [folders[REFERENCE], folders[EXPLICIT]])
    (training, recordings), (explicit_training, explicit_recordings) = recorded
    return Material(
        root, found, read_notes, training, explicit_training, recordings, explicit_recordings, list(without_note)
    )


def cached(root: Path, folder: Path) -> tuple[record.Training, dict[tuple[str, int], record.Recording]]:
    """Return a training run and its recordings, from the cache if nothing that they depend on has changed."""
    recorder = [*sorted((HERE / "microgpt_course").rglob("record*/**/*.py")), Path(record.__file__)]
    key = digest([folder / "microgpt.py", root / "data" / "names.txt", *recorder])
    file = CACHE / f"recorded-{folder.name}-{key[:16]}.pickle"
    if file.exists():
        return pickle.loads(file.read_bytes())
    made = record_all(folder)
    CACHE.mkdir(exist_ok=True)
    for old in sorted(CACHE.glob(f"recorded-{folder.name}-*.pickle"), key=lambda path: path.stat().st_mtime)[:-KEPT]:
        old.unlink(missing_ok=True)
    with files.replacing(file) as whole:  # another build may be reading
        pickle.dump(made, whole)
    return made


def record_all(folder: Path) -> tuple[record.Training, dict[tuple[str, int], Any]]:
    training = record.train(folder)
    steps = sorted(training.states)
    return training, {
        (document, step): record.record(folder, training, document, step)
        for document in record.documents(folder)
        for step in steps
    }


def digest(files: Iterable[Path]) -> str:
    """Return one SHA-256 over the names and contents of files."""
    made = hashlib.sha256()
    for file in files:
        made.update(file.name.encode() + b"\0" + hashlib.sha256(file.read_bytes()).digest())
    return made.hexdigest()
