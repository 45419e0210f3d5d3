"""Which known mistake an attempt's figures look like: each is put into the lesson, and computed at the same point."""

import contextlib
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from .. import mistakes
from ..mistakes import Mistake
from . import figures, source, subjects
from .figures import ADDS, AFTER_LOGITS, AFTER_TRAINING, LATER, MODEL, SHOWS_IN, STAGES, STEPS, Stage, Subject
from .points import Point
from .tensors import Figure, Figures, compare, distance
from .tracing import Call, locate

FLOAT32 = 1e-5  # what rounding to float32 on the way moves at most


class Diagnosis:
    """The known mistakes of a folder at one point. What has been computed is kept, for as many attempts as come.

    `right` returns the lesson's own figures in a stage.
    """

    def __init__(self, folder: Path, lesson: Subject, point: Point, right: Callable[[str], Figures]) -> None:
        self.folder, self.lesson, self.point, self.right = folder, lesson, point, right
        self.lesson_text = subjects.lesson_text(folder)
        self.known = [mistake for mistake in mistakes.read(folder) if mistake.edits]
        self.written: dict[str, set[str]] = {}
        self.loaded: dict[str, tuple[Subject, set[str]]] = {}  # with the stages in which its numbers are the lesson's
        self.computed: dict[tuple[str, str], Figures | None] = {}
        self.begun: dict[tuple[str, str], Figures] = {}  # up to where they were not those of an attempt

    def look_up(self, attempt: dict[str, Figures], wrong: str, changed: set[str], calls: list[Call]) -> list[Mistake]:
        """Return the mistakes whose figures are the attempt's in every stage that it came to: one, or none.

        `wrong` is the first stage in which the attempt is not as the lesson, `changed` are the names that it writes
        otherwise. One nan is like another: where there are some, `calls` says what the attempt's functions held, and a
        mistake's have to hold the same.
        """
        later = list(attempt)[list(attempt).index(wrong) + 1 :]
        for known in self.in_turn(wrong, changed):
            found = [mistake for mistake in self.alike(known, attempt, wrong) if self.is_right_in(mistake, changed)]
            for name in later:
                found = [mistake for mistake in found if self.same(mistake, name, attempt[name])]
            if calls:
                found = [mistake for mistake in found if locate(calls, self.calls(mistake, wrong)) is None]
            if found:
                return found
        return []

    def is_right_in(self, mistake: Mistake, changed: set[str]) -> bool:
        """Return whether a mistake is as the lesson where an attempt with these changes is, and so computes nothing."""
        _, as_lesson = self.load(mistake)
        skipped = untouched(changed) - as_lesson
        return all(self.same(mistake, name, self.right(name)) for name in MODEL if name in skipped)

    def narrow(self, attempt: dict[str, Figures], wrong: str, changed: set[str], to_come: Iterable[str]) -> None:
        """Compute what `look_up` will need, when an attempt has come to the first stage in which it is wrong.

        `to_come` are the stages that follow, for as long as the attempt is expected to come to them.
        """
        for known in self.in_turn(wrong, changed):
            if found := self.alike(known, attempt, wrong):
                for name in to_come:
                    for mistake in found:
                        self.figures(mistake, name, once=False)
                return

    def in_turn(self, wrong: str, changed: set[str]) -> Iterator[list[Mistake]]:
        """Yield the mistakes that can show in a stage and in none before it: first those that are made where the
        attempt differs. No two have the same figures, so if one of these has the attempt's, the rest need no look.
        """
        there = [mistake for mistake in self.showing_in(wrong) if self.changed(mistake) & changed]
        yield there
        yield [mistake for mistake in self.showing_in(wrong) if mistake not in there]

    def alike(self, known: list[Mistake], attempt: dict[str, Figures], wrong: str) -> list[Mistake]:
        """Return those whose figures are an attempt's up to the first stage in which it is wrong.

        A mistake drops out where it differs, so few are computed in many stages. Where it cannot be the first to show,
        it has the lesson's figures, as the attempt has.
        """
        for name in list(attempt)[: list(attempt).index(wrong) + 1]:
            shows = SHOWS_IN[name]
            known = [m for m in known if m.caught_by not in shows or self.same(m, name, attempt[name], once=True)]
        return known

    def showing_in(self, stage: str) -> list[Mistake]:
        """Return the mistakes that can show in a stage and in none before it."""
        return [mistake for mistake in self.known if mistake.caught_by in SHOWS_IN[stage]]

    def likely(self) -> Iterator[tuple[Mistake, str]]:
        """Yield what most attempts are compared with: each mistake in each stage where it can be the first to show."""
        for stage in SHOWS_IN:
            for mistake in self.showing_in(stage):
                yield mistake, stage

    def same(self, mistake: Mistake, stage: str, attempt: Figures, once: bool = False) -> bool:
        """Return whether a mistake's figures are the attempt's. They are computed up to the first that is not."""
        key = (mistake.name, stage)
        begun = self.begun.get(key, {})
        if any(name not in attempt or compare(attempt[name], figure) for name, figure in begun.items()):
            return False
        if key not in self.computed:
            computed = Stage(figures=Expecting(attempt))
            try:
                self.compute(mistake, stage, computed, once)
            except Unexpected:
                self.begun[key] = dict(computed.figures)
                return False
        figures = self.computed[key]
        return figures is not None and distance(attempt, figures) == 0

    def figures(self, mistake: Mistake, stage: str, once: bool = True) -> Figures | None:
        """Return what a mistake computes, or None where it comes to an end with an exception."""
        if (mistake.name, stage) not in self.computed:
            self.compute(mistake, stage, Stage(), once)
        return self.computed[mistake.name, stage]

    def compute(self, mistake: Mistake, stage: str, computed: Stage, once: bool) -> None:
        key, (subject, as_lesson) = (mistake.name, stage), self.load(mistake)
        if stage in as_lesson:
            self.computed[key] = self.right(stage)
            return
        once = once and (stage in MODEL or as_lesson.issuperset(MODEL))  # gradients of its own are worth compiling
        try:
            figures.compute(subject, self.point, stage, once=once, stage=computed)
            self.computed[key] = dict(computed.figures)
        except Unexpected:
            raise
        except Exception:  # whatever a broken lesson raises
            self.computed[key] = None

    def calls(self, mistake: Mistake, stage: str) -> list[Call]:
        """Return what the functions of a lesson with this mistake hold, up to where it ends."""
        computed = Stage()
        with contextlib.suppress(Exception):
            figures.compute(self.load(mistake)[0], self.point, stage, calls=True, stage=computed)
        return computed.calls

    def load(self, mistake: Mistake) -> tuple[Subject, set[str]]:
        if mistake.name not in self.loaded:
            subject = subjects.load(self.folder, self.text(mistake), self.folder / "microgpt.py")
            as_lesson = untouched(self.changed(mistake))
            if as_lesson.issuperset(MODEL):
                subjects.share_model(self.folder, self.lesson, subject)
            self.loaded[mistake.name] = subject, as_lesson
        return self.loaded[mistake.name]

    def text(self, mistake: Mistake) -> str:
        return mistakes.apply(self.lesson_text, mistake.edits)

    def changed(self, mistake: Mistake) -> set[str]:
        """Return the names that a mistake has the lesson write otherwise."""
        if mistake.name not in self.written:
            self.written[mistake.name] = source.changed_names(self.lesson_text, self.text(mistake))
        return self.written[mistake.name]


class Unexpected(Exception):
    """A figure is not what was expected."""


class Expecting(dict[str, Figure]):
    """Takes figures one by one, up to the first that is not as in an attempt: no more are needed of this mistake."""

    def __init__(self, attempt: Figures) -> None:
        super().__init__()
        self.attempt = attempt

    def __setitem__(self, name: str, figure: Figure) -> None:
        super().__setitem__(name, figure)
        if name not in self.attempt or compare(self.attempt[name], figure):
            raise Unexpected(name)


def untouched(changed: set[str]) -> set[str]:
    """Return the stages whose numbers are the lesson's, whatever these functions, classes and constants do."""
    found = {"logits"} if changed <= AFTER_LOGITS else set()
    found |= set(MODEL) if changed <= LATER else set()
    return found | (set(STEPS) if changed <= AFTER_TRAINING else set())


def stages_for(lesson: str, text: str) -> list[str]:
    """Return the stages that have to be computed to know whether a changed lesson is right."""
    changed = source.changed_names(lesson, text)
    skipped = untouched(changed) if changed else set()
    if changed <= source.reaches(text, "loss_fn"):  # then a step is right if its gradients are
        skipped |= {name for name, function in STEPS.items() if not changed & source.uses(text, function)}
    in_steps = source.reaches(text, "train_step")
    for name, function in ADDS.items():
        added = source.uses(text, function) | (source.reaches(text, function) - in_steps)
        skipped |= set() if changed & added else {name}
    return [name for name in STAGES if name not in skipped]


def nearly(attempt: dict[str, Figures], right: Callable[[str], Figures]) -> bool:
    """Return whether all numbers are right to five digits at least, as those are that float32 rounded on their way."""
    return all(distance(figures, right(name)) < FLOAT32 for name, figures in attempt.items())
