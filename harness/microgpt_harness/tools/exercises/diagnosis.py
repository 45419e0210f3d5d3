"""Which known mistake an attempt's figures look like: each is put into the lesson, and computed at the same point."""

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path

from .. import mistakes
from ..mistakes import Mistake
from . import figures, subjects
from .figures import SHOWS_IN, Stage, Subject
from .points import Point
from .tensors import Figures, distance
from .tracing import Call

FLOAT32 = 1e-5  # what rounding to float32 on the way moves at most


class Diagnosis:
    """The known mistakes of a folder at one point. What has been computed is kept, for as many attempts as come."""

    def __init__(self, folder: Path, point: Point) -> None:
        self.folder, self.point = folder, point
        self.known = [mistake for mistake in mistakes.read(folder) if mistake.edits]
        self.loaded: dict[str, Subject] = {}
        self.computed: dict[tuple[str, str], Figures | None] = {}

    def look_up(self, attempt: dict[str, Figures], wrong: str) -> list[Mistake]:
        """Return the mistakes whose figures are the attempt's in every stage that it came to: one, or none.

        `wrong` is the first stage in which the attempt is not as the lesson. Stages are compared from there to the
        last, then from the first on. A mistake drops out where it differs, so few are computed in many stages.
        """
        names = list(attempt)
        begin = names.index(wrong)
        found = self.showing_in(wrong)
        for name in [*names[begin:], *names[:begin]]:
            found = [mistake for mistake in found if self.same(mistake, name, attempt[name])]
        return found

    def showing_in(self, stage: str) -> list[Mistake]:
        """Return the mistakes that can show in a stage and in none before it."""
        return [mistake for mistake in self.known if mistake.caught_by in SHOWS_IN[stage]]

    def likely(self) -> Iterator[tuple[Mistake, str]]:
        """Yield what most attempts are compared with: each mistake in each stage where it can be the first to show."""
        for stage in SHOWS_IN:
            for mistake in self.showing_in(stage):
                yield mistake, stage

    def same(self, mistake: Mistake, stage: str, attempt: Figures) -> bool:
        figures = self.figures(mistake, stage)
        return figures is not None and distance(attempt, figures) == 0

    def figures(self, mistake: Mistake, stage: str) -> Figures | None:
        """Return what a mistake computes, or None where it comes to an end with an exception."""
        key = (mistake.name, stage)
        if key not in self.computed:
            try:
                self.computed[key] = figures.compute(self.subject(mistake), self.point, stage).figures
            except Exception:  # whatever a broken lesson raises
                self.computed[key] = None
        return self.computed[key]

    def calls(self, mistake: Mistake, stage: str) -> list[Call]:
        """Return what the functions of a lesson with this mistake hold, up to where it ends."""
        computed = Stage()
        with contextlib.suppress(Exception):
            figures.compute(self.subject(mistake), self.point, stage, calls=True, stage=computed)
        return computed.calls

    def subject(self, mistake: Mistake) -> Subject:
        if mistake.name not in self.loaded:
            text = mistakes.apply(subjects.lesson_text(self.folder), mistake.edits)
            self.loaded[mistake.name] = subjects.load(self.folder, text, self.folder / "microgpt.py")
        return self.loaded[mistake.name]


def nearly(attempt: dict[str, Figures], right: Callable[[str], Figures]) -> bool:
    """Return whether all numbers are right to five digits at least, as those are that float32 rounded on their way."""
    return all(distance(figures, right(name)) < FLOAT32 for name, figures in attempt.items())
