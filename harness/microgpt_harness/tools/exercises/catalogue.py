"""The exercises of a folder: what `exercises.toml` beside this file and the one beside the lesson say of them.

The harness's file names exercises that several folders have, with what is to be done and hints. A folder's own says, in
the order in which they are best learnt, what each takes out of its lesson:

    [rmsnorm]
    holes = [{ function = "rmsnorm" }]

    [head]
    holes = [{ function = "attention", first = "attn_scores = q @", last = "attn_weights =" }]
    hints = ["NumPy's np.tri(T) is 1 where a position may look."]  # after those of the harness's file
    notes = ["attention_backward needs attn_weights."]  # what else is to be known, written into the hole

Where the harness's file has holes and notes too, a folder's own take their place.
Where a folder has an exercise of its own, or where one is another matter there, it says `task` and `hints` itself.
Exercises in finding a planted mistake come from the folder's mistakes.toml, those in extending the lesson from
extensions.py.
"""

import difflib
import hashlib
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...contract import Folder
from ...system.console import shortened
from ...system.errors import UserError
from .. import mistakes
from ..mistakes import Mistake
from . import source, subjects
from .extensions import EXTENSIONS
from .source import Hole

LIST = Path(__file__).with_name("exercises.toml")
FILL_IN, FIND, EXTEND = "fill in", "find the mistake", "extend"
MARK = "raise NotImplementedError"  # what stands in a hole until something is written there


@dataclass(frozen=True)
class Exercise:
    """One exercise of a folder. `name` is that of its file, too."""

    name: str
    kind: str
    task: str
    hints: tuple[str, ...]
    holes: tuple[Hole, ...] = ()  # of FILL_IN
    notes: tuple[str, ...] = ()
    mistake: Mistake | None = None  # of FIND


def read(folder: Folder) -> dict[str, Exercise]:
    """Return a folder's exercises by name: to fill in, mistakes to find, extensions. UserError for a wrong file."""
    exercises = [*fill_in(folder.path), *find_mistakes(folder.path), *extend()]
    return {exercise.name: exercise for exercise in exercises}


def fill_in(folder: Path) -> list[Exercise]:
    known = parse(LIST)
    path = folder / "exercises.toml"
    text = subjects.lesson_text(folder)
    return [exercise(path, name, table, known.get(name, {}), text) for name, table in parse(path).items()]


def exercise(path: Path, name: str, table: Any, shared: dict[str, Any], text: str) -> Exercise:
    if not isinstance(table, dict):
        raise UserError(f"{path}: {name} is to be a table, [{name}]")
    if unknown := table.keys() - {"holes", "hints", "notes", "task"}:
        raise UserError(f"{path}: [{name}] has {', '.join(sorted(unknown))}, which has no place there")
    shared = {} if "task" in table else shared
    task = table.get("task", shared.get("task"))
    hints = [*shared.get("hints", []), *table.get("hints", [])]
    if not isinstance(task, str) or not hints or not all(isinstance(hint, str) for hint in hints):
        raise UserError(f"{path}: [{name}] is not in {LIST.name} of the harness, so it needs task and hints")
    notes = table.get("notes", shared.get("notes", []))
    if not isinstance(notes, list) or not all(isinstance(note, str) for note in notes):
        raise UserError(f"{path}: [{name}] notes is to be a list of sentences")
    holes = table.get("holes", shared.get("holes"))
    fields = {"function", "first", "last"}
    if not isinstance(holes, list) or not holes or not all(isinstance(h, dict) and h.keys() <= fields for h in holes):
        raise UserError(f'{path}: [{name}] holes is to be a list: [{{ function = "rmsnorm" }}]')
    made = tuple(Hole(**hole) for hole in holes)
    for hole in made:
        try:
            source.find(text, hole)
        except UserError as error:
            raise UserError(f"{path}: [{name}] {error}") from None
    return Exercise(name, FILL_IN, task, tuple(hints), made, tuple(notes))


def find_mistakes(folder: Path) -> list[Exercise]:
    """Return an exercise for each mistake, in an order that tells nothing about them."""
    task = "Something in this lesson is wrong. Find it by its numbers, and mend it."
    possible = [mistake for mistake in mistakes.read(folder) if mistake.edits]
    possible.sort(key=lambda mistake: hashlib.sha256(f"{folder.name} {mistake.name}".encode()).digest())
    return [
        Exercise(f"mistake-{number}", FIND, task, (), mistake=mistake)
        for number, mistake in enumerate(possible, start=1)
    ]


def extend() -> list[Exercise]:
    return [Exercise(extension.name, EXTEND, extension.task, extension.hints) for extension in EXTENSIONS.values()]


def choose(exercises: dict[str, Exercise], name: str) -> Exercise:
    """Return the exercise of that name; dashes, underscores, capitals and a file's ending do not matter. UserError."""
    wanted = name.strip().casefold().replace("_", "-").removesuffix(".py")
    if wanted in exercises:
        return exercises[wanted]
    if wanted.startswith("mistake-"):
        count = sum(exercise.kind == FIND for exercise in exercises.values())
        raise UserError(f"there is no {shortened(name)}: mistakes are numbered from 1 to {count}")
    named = [exercise.name for exercise in exercises.values() if exercise.kind != FIND]
    nearest = difflib.get_close_matches(wanted, [*named, "mistake"], n=1)
    hint = f"Did you mean {nearest[0]}? " if nearest else ""
    raise UserError(f"there is no exercise {shortened(name)}. {hint}`main.py exercise` lists them")


def handed_out(folder: Path, exercise: Exercise, file: Path) -> str:
    """Return what a learner begins with."""
    text = subjects.lesson_text(folder)
    command = f"main.py exercise {shown_name(exercise)}"
    if exercise.kind == FILL_IN:
        text = source.cut(
            text, exercise.holes, [f"Your turn. {exercise.task}", *exercise.notes, f"Check it: {command}"], MARK
        )
    elif exercise.mistake:
        text = mistakes.apply(text, exercise.mistake.edits)
    else:
        stub = EXTENSIONS[exercise.name].stub.strip("\n")
        text = text.replace(
            '\n\nif __name__ == "__main__":',
            f'\n\n# %% Extension\n# Check it: {command}\n{stub}\n\n\nif __name__ == "__main__":',
        )
    return at_home(text, folder, file)


def at_home(text: str, folder: Path, file: Path) -> str:
    """Let a lesson that stands elsewhere find the names where its original does."""
    place = "Path(__file__).parent "
    there = (
        "Path(__file__).resolve().parents[1] " if file.resolve().parent.parent == folder else f"Path({str(folder)!r}) "
    )
    return text.replace(place, there)


def shown_name(exercise: Exercise) -> str:
    """Return an exercise's name as one types it: mistake 7."""
    return exercise.name.replace("-", " ") if exercise.kind == FIND else exercise.name


def parse(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(
            f"{path} is missing: copy the one of another folder, and put in this lesson's functions"
        ) from None
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise UserError(f"{path}: {error}") from error
