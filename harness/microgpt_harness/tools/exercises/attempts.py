"""A learner's files: written once, never written over without a copy, and what has been done so far."""

import contextlib
import datetime
import json
from pathlib import Path
from typing import Any

from ...contract import Folder
from ...system import files
from ...system.console import say, shown
from ...system.errors import RunError, UserError
from .catalogue import Exercise, handed_out, shown_name

LIMIT = 2**20  # bytes of an attempt
PROGRESS = "progress.json"


class Attempts:
    """The folder that holds the attempts of one lesson's exercises."""

    def __init__(self, folder: Folder, place: Path | None = None) -> None:
        self.folder = folder
        self.place = (place or folder.path / "exercises").absolute()

    def command(self, exercise: Exercise) -> str:
        """Return what one types to check an attempt that is kept here."""
        elsewhere = "" if self.place == self.folder.path / "exercises" else f" --dir {shown(self.place)}"
        return f"main.py exercise {shown_name(exercise)}{elsewhere}"

    def file(self, exercise: Exercise) -> Path:
        return self.place / f"{exercise.name}.py"

    def begun(self, exercise: Exercise) -> bool:
        return "begun" in self.progress().get(exercise.name, {})

    def write(self, exercise: Exercise) -> Path:
        """Write what the learner begins with, and note it. UserError where the place cannot be written to."""
        path = self.file(exercise)
        self.write_text(path, handed_out(self.folder.path, exercise, path))
        self.note(exercise, begun=today())
        return path

    def reset(self, exercise: Exercise) -> Path | None:
        """Begin anew. Return where the old attempt is kept, if there was one."""
        path = self.file(exercise)
        there = path.exists() or path.is_symlink()
        aside = files.set_aside(path) if there and not self.untouched(exercise) else None
        self.write(exercise)
        self.note(exercise, hints=0)
        return aside

    def untouched(self, exercise: Exercise) -> bool:
        path = self.file(exercise)
        with contextlib.suppress(OSError):
            return files.read_regular(path, LIMIT) == handed_out(self.folder.path, exercise, path).encode("utf-8")
        return False

    def write_text(self, path: Path, content: str) -> None:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with files.replacing(path) as file:
                file.write(content.encode("utf-8"))
        except OSError as error:
            remedy = "choose another folder for attempts with --dir"
            raise UserError(f"{shown(path)} cannot be written: {error.strerror}; {remedy}") from None

    def progress(self) -> dict[str, dict[str, Any]]:
        """Return what is noted of each exercise: begun, done (dates), checks, hints. A damaged file counts as empty."""
        with contextlib.suppress(OSError, ValueError, RecursionError):
            return self.read_progress()
        return {}

    def read_progress(self) -> dict[str, dict[str, Any]]:
        content = json.loads(files.read_regular(self.place / PROGRESS, LIMIT))
        if not (isinstance(content, dict) and all(isinstance(entry, dict) for entry in content.values())):
            raise ValueError("not what is noted there")
        return content

    def note(self, exercise: Exercise, **facts: Any) -> None:
        """Note facts of an exercise. UserError where that cannot be; what is no notes is kept under another name."""
        path, progress = self.place / PROGRESS, {}
        try:
            progress = self.read_progress()
        except FileNotFoundError:
            pass
        except OSError as error:  # it may be readable again soon, and then is not to be gone
            raise UserError(f"{shown(path)} cannot be read: {error.strerror}") from None
        except (ValueError, RecursionError):
            say(f"{shown(path)} is damaged, so what it noted is begun anew; it is kept as {files.set_aside(path).name}")
        progress[exercise.name] = progress.get(exercise.name, {}) | facts
        self.write_text(path, json.dumps(progress, indent=1) + "\n")

    def note_check(self, exercise: Exercise, right: bool) -> None:
        entry = self.progress().get(exercise.name, {})
        checks = entry.get("checks")
        facts = {"checks": (checks if isinstance(checks, int) else 0) + 1}
        self.note(exercise, **facts, **({"done": entry.get("done") or today()} if right else {}))

    def next_hint(self, exercise: Exercise, count: int) -> int:
        """Return which of so many hints comes next, counted from 0, and note that it has been given."""
        given = self.progress().get(exercise.name, {}).get("hints", 0)
        number = given if isinstance(given, int) and 0 <= given <= count else 0
        with contextlib.suppress(UserError):  # where nothing can be written, it is the same hint again
            self.note(exercise, hints=min(number + 1, count))
        return number


def read(path: Path, exercise: Exercise | None = None) -> str:
    """Return the text of an attempt. UserError, in one line, where there is none."""
    try:
        return files.read_regular(path, LIMIT).decode("utf-8-sig")  # some editors begin a file with a mark of UTF-8
    except FileNotFoundError:
        anew = f"; `main.py exercise {shown_name(exercise)} --reset` writes it anew" if exercise else ""
        raise UserError(f"{shown(path)} is not there{anew}") from None
    except OSError as error:
        raise UserError(f"{shown(path)} cannot be read: {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise UserError(f"{shown(path)} is not UTF-8: byte {error.start} is no text; save it as UTF-8") from None


def today() -> str:
    return datetime.date.today().isoformat()


def keep_csv(path: Path, content: str) -> Path | None:
    """Write a table of results. Return where a file that was there is kept."""
    aside = files.set_aside(path) if path.exists() else None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with files.replacing(path) as file:
            file.write(content.encode("utf-8"))
    except OSError as error:
        raise RunError(f"{shown(path)} cannot be written: {error.strerror}; choose another place with --csv") from None
    return aside
