"""Is an attempt right? What is looked at, in this order: its text, then its numbers, stage by stage, then what known
mistake these look like.
"""

import contextlib
import importlib.util
import signal
import threading
import time
from argparse import Namespace
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from ...contract import Folder
from ...program.engines import missing_module
from ...system.errors import UserError
from . import figures, points, source, subjects
from .catalogue import EXTEND, FILL_IN, FIND, MARK, Exercise
from .diagnosis import Diagnosis, nearly, stages_for, untouched
from .figures import MODEL, STAGES, Subject
from .points import Point
from .running import Outcome, Running
from .tensors import Difference, Figures, compare, is_nan
from .tracing import RESULT, Call, Located, locate, returned_nothing

LOOK_AGAIN = 0.05  # seconds
NO_SINGLE_MISTAKE = "This looks like no single known mistake: it is two at once, or one that is not in the list."


@dataclass(frozen=True)
class Verdict:
    """What a check has found. `kind` is one word for machines, `says` sentences for the learner."""

    # right, not-begun, empty, syntax, unreadable, signature, no-return, raised, time, died, nan, shape, dtype, wrong
    # or own, which is what only its framework can get wrong
    kind: str
    says: tuple[str, ...]
    stages: dict[str, float | None] = field(default_factory=dict)  # largest difference; None: not computed
    where: Located | None = None
    looks_like: tuple[tuple[str, str], ...] = ()  # names and sentences of known mistakes
    printed: str = ""  # by the attempt
    seed: int | None = None  # of the point, where the attempt was run
    seconds: float = 0.0

    @property
    def right(self) -> bool:
        return self.kind == "right"


class Checker:
    """Checks attempts at one random point. Lesson and known mistakes are computed once, for as many as come."""

    def __init__(self, folder: Folder, seed: int, time_limit: float) -> None:
        self.folder, self.seed, self.time_limit = folder, seed, time_limit
        self.figures: dict[str, Figures] = {}
        self.calls: dict[str, list[Call]] = {}
        self.subject: Subject | None = None
        self.known: Diagnosis | None = None
        self.ahead: Running | None = None  # a process that is ready for the next attempt

    # The lesson's own numbers
    def lesson(self) -> Subject:
        if self.subject is None:
            path = self.folder.path
            self.subject = subjects.load(path, subjects.lesson_text(path), path / "microgpt.py")
            # which makes the framework ready for float64, where that has to be asked for, whatever stages follow
            self.subject.state(self.point(), points.config_of(self.subject.module))
        return self.subject

    def point(self) -> Point:
        return points.draw(self.lesson().module, self.seed)

    def right_figures(self, name: str) -> Figures:
        if name not in self.figures:
            self.figures[name] = figures.compute(self.lesson(), self.point(), name).figures
        return self.figures[name]

    def right_calls(self, name: str) -> list[Call]:
        if name not in self.calls:
            self.calls[name] = figures.compute(self.lesson(), self.point(), name, calls=True).calls
        return self.calls[name]

    def diagnosis(self) -> Diagnosis:
        if self.known is None:
            self.known = Diagnosis(self.folder.path, self.lesson(), self.point(), self.right_figures)
        return self.known

    # An attempt
    def check(
        self,
        exercise: Exercise,
        file: Path,
        text: str,
        preparing: Callable[[], contextlib.AbstractContextManager[Any]] = contextlib.nullcontext,
        progress: Callable[[str], None] = lambda stage: None,
    ) -> Verdict:
        """Return what is to be said of an attempt. `preparing` holds while the framework is loaded."""
        began = time.monotonic()
        verdict = self.read(exercise, text)
        if verdict is None:
            self.require_packages()
            outcome = Outcome()
            job = self.job(exercise, file, text)
            with self.process() as running:
                asked = ""
                with meanwhile(running.wait, job, outcome) as waiting:
                    if exercise.kind != EXTEND:
                        with preparing():
                            self.lesson()
                        named = exercise.kind == FILL_IN  # of a planted mistake nothing is looked for
                        ahead = self.work_ahead(job) if named else iter(())
                        wrong = self.compute_until_wrong(job["stages"], outcome, progress, waiting, ahead)
                        if named and wrong in MODEL:
                            running.ask(asked := wrong)  # now, so that its process is at work beside this one
                        if named and wrong:
                            self.search(job, outcome, wrong, waiting)
                if name := self.to_look_into(exercise, outcome):
                    if name != asked:
                        running.ask(name)
                    with meanwhile(running.take_calls, outcome):
                        self.right_calls(name)
                running.end(outcome)
            verdict = replace(self.judge(exercise, outcome), seed=self.seed)
        return replace(verdict, seconds=time.monotonic() - began)

    def require_packages(self) -> None:
        """Raise UserError if the folder's framework is not installed: nothing of the attempt could run."""
        for name in source.imported(subjects.lesson_text(self.folder.path)):
            if importlib.util.find_spec(name) is None:
                raise UserError(missing_module(self.folder, Namespace(), name))

    def process(self) -> contextlib.AbstractContextManager[Running]:
        """Return the process that was got ready, or a new one."""
        if self.ahead is None:
            return Running(self.start())
        ready, self.ahead = self.ahead, None
        return contextlib.closing(ready)

    def get_ready(self) -> Iterator[None]:
        """Do ahead, piece by piece, what the next check would be waited for: begin a process for the attempt, which
        `close` ends, and compute the lesson's numbers and those of the known mistakes.
        """
        if self.ahead is None or self.ahead.process.poll() is not None:  # the last check may not have needed one
            self.close()
            self.ahead = Running(self.start(), ahead=True)
            self.ahead.__enter__()
        for name in STAGES:
            yield
            self.right_figures(name)
        for name in MODEL:
            yield
            self.right_calls(name)
        for mistake, name in self.diagnosis().likely():
            yield
            self.diagnosis().figures(mistake, name)

    def work_ahead(self, job: dict[str, Any]) -> Iterator[bool]:
        """Do, piece by piece, what the search for a wrong attempt's mistake begins with. Yield True for each piece.

        What a framework computes in plain Python for the first time takes it long, so that comes first.
        """
        known = self.diagnosis()
        in_model = next((name for name in job["stages"] if name in MODEL), "")
        if in_model:
            self.right_calls(in_model)
            yield True
        for name in job["stages"]:
            for mistake in next(known.in_turn(name, set(job["changed"]))):
                if in_model:
                    known.load(mistake)
                else:
                    known.figures(mistake, name)
                yield True

    def search(self, job: dict[str, Any], outcome: Outcome, wrong: str, waiting: threading.Thread) -> None:
        """Compute what a diagnosis needs of an attempt that has come to the first stage in which it is wrong."""
        to_come = job["stages"][job["stages"].index(wrong) + 1 :]
        expected = (name for name in to_come if waiting.is_alive() or name in outcome.whole)
        self.diagnosis().narrow(dict(outcome.figures), wrong, set(job["changed"]), expected)

    def close(self) -> None:
        if self.ahead:
            self.ahead.close()

    def start(self) -> dict[str, Any]:
        return {"folder": str(self.folder.path), "seed": self.seed}

    def compute_until_wrong(
        self,
        stages: list[str],
        outcome: Outcome,
        progress: Callable[[str], None],
        waiting: threading.Thread,
        ahead: Iterator[bool],
    ) -> str:
        """Compute the lesson's stages, as far as they are needed, while the attempt computes its own. Return the first
        that is wrong, or nothing when the attempt has come to its end. What is `ahead` is short pieces of work for a
        wrong one, done in what would else be spent waiting.
        """
        for name in stages:
            if not waiting.is_alive() and name not in outcome.figures:  # it has ended before that
                break
            progress(name)
            self.right_figures(name)
            if wrong := self.first_wrong(outcome):
                return wrong
        while waiting.is_alive():
            if not next(ahead, False):
                waiting.join(LOOK_AGAIN)
            if wrong := self.first_wrong(outcome):
                return wrong
        return ""

    def first_wrong(self, outcome: Outcome) -> str:
        """Return the first of the stages so far, which both have come through, that is wrong, if one is."""
        so_far = list(outcome.figures)  # at once: the thread that waits for more adds to it
        come_to = [name for name in so_far if name in outcome.whole and name in self.figures]
        return next((name for name in come_to if self.is_wrong(name, outcome)), "")

    def to_look_into(self, exercise: Exercise, outcome: Outcome) -> str:
        """Return the stage that is wrong or broke off, if what the attempt's functions held in it tells more."""
        for name in outcome.figures:
            broke_off = name not in outcome.whole
            if broke_off or self.is_wrong(name, outcome):
                asked = name in MODEL and not outcome.too_long and (broke_off or exercise.kind != FIND)
                return name if asked else ""
        return ""

    def is_wrong(self, name: str, outcome: Outcome) -> bool:
        """Compute a stage of the lesson. Return whether the attempt has come through it already, with other numbers."""
        wanted = self.right_figures(name)
        return name in outcome.whole and worst_of(outcome.figures[name], wanted, whole=True) is not None

    def read(self, exercise: Exercise, text: str) -> Verdict | None:
        """Return what is wrong with an attempt's text, if that is to be seen without running it."""
        lesson = subjects.lesson_text(self.folder.path)
        if not text.strip():
            return Verdict("empty", ("The file is empty: --reset writes it anew.",))
        if unreadable := source.why_unreadable(text):
            return Verdict("syntax", (f"Python cannot read this: {unreadable.rstrip('.?')}.",))
        if line := source.line_of_mark(text, MARK):
            says = f"Nothing is written there yet: replace line {line}, `{MARK}`, by your own code."
            return Verdict("not-begun", (says,))
        if exercise.kind == EXTEND:
            return None
        if empty := source.empty_functions(lesson, text):
            return Verdict("empty", (f"{empty[0]} has no body yet: below its docstring nothing is computed.",))
        if changed := source.changed_signature(lesson, text):
            return Verdict("signature", (changed + ".",))
        if silent := source.without_return(lesson, text):
            return Verdict("no-return", (f"{silent[0]} returns nothing: is a `return` missing at its end?",))
        return None

    def job(self, exercise: Exercise, file: Path, text: str) -> dict[str, Any]:
        lesson = subjects.lesson_text(self.folder.path)
        return {
            **self.start(),
            "stages": stages_for(lesson, text),
            "changed": sorted(source.changed_names(lesson, text)) if exercise.kind != EXTEND else None,
            "file": str(file),
            "text": text,  # the file may be another by the time that the framework is there
            "time_limit": self.time_limit,
            "exercise": exercise.name,
            "extension": exercise.name if exercise.kind == EXTEND else "",
        }

    def judge(self, exercise: Exercise, outcome: Outcome) -> Verdict:
        """Return what is to be said of what an attempt computed: of the first stage that is not as it should be."""
        stages: dict[str, float | None] = dict.fromkeys(STAGES if exercise.kind != EXTEND else ())
        if outcome.changed is not None:
            stages |= dict.fromkeys(untouched(outcome.changed), 0.0)
        printed = outcome.said
        for name, computed in outcome.figures.items():
            whole = name in outcome.whole
            worst = worst_of(computed, self.right_figures(name), whole)
            stages[name] = worst.by if worst else 0.0
            if worst:
                return self.wrong(exercise, outcome, name, stages, printed)
            if not whole:
                stages[name] = None
        ended = self.ended(outcome)
        if ended:
            return Verdict(*ended, stages=stages, printed=printed)
        if outcome.complaint:
            return Verdict("own", (outcome.complaint,), stages, printed=printed)
        return Verdict("right", ("All is well.",), stages, printed=printed)

    def ended(self, outcome: Outcome) -> tuple[str, tuple[str, ...]] | None:
        """Say how an attempt came to an end before it was through."""
        if outcome.nothing:
            return "no-return", (f"{outcome.nothing} returns nothing: is a `return` missing?",)
        if outcome.raised:
            for name, calls in outcome.calls.items():
                if name not in outcome.whole and (silent := returned_nothing(calls, self.right_calls(name))):
                    return "no-return", (f"{silent} returns nothing, at least once: is a `return` missing?",)
            begun = next((name for name in outcome.figures if name not in outcome.whole), "")
            return "raised", (raised(outcome.raised, begun),)
        if outcome.too_long:
            limit = (
                f"After {outcome.too_long:g} seconds it had not come to an end, and was ended: does a loop never end? "
                "If not, --time-limit gives it more."
            )
            return "time", (limit,)
        if not outcome.done and not outcome.complaint:
            return "died", (f"Its process ended by itself, {how(outcome.exit_code)}.",)
        return None

    def wrong(
        self, exercise: Exercise, outcome: Outcome, name: str, stages: dict[str, float | None], printed: str
    ) -> Verdict:
        wanted, calls = self.right_figures(name), outcome.calls.get(name, [])
        # Of a planted mistake only what comes out is shown: in which function it began would be half of the answer.
        where = locate(calls, self.right_calls(name)) if calls and exercise.kind != FIND else None
        worst = worst_of(outcome.figures[name], wanted, name in outcome.whole)
        first = where or (worst and Located("", 0, worst_name(outcome.figures[name], wanted), worst))
        kind = kind_of(first.difference if first else None, outcome.figures[name], wanted)
        says = [located(first, self.right_calls(name) if where else [])] if first else []
        if kind == "nan":
            says += ["nan, not a number, comes of inf - inf, of 0 · inf, or of a softmax over nothing but -inf."]
        ended = self.ended(outcome)
        if ended:
            says += [f"Then it ended: {ended[1][0]}"] if name not in outcome.whole else []
        looks_like: tuple[tuple[str, str], ...] = ()
        if exercise.kind != FIND and name in outcome.whole:
            whole = {stage: outcome.figures[stage] for stage in outcome.figures if stage in outcome.whole}
            nan = any(is_nan(figure) for figure in outcome.figures[name].values())
            found = self.diagnosis().look_up(whole, name, outcome.changed or set(), calls if nan else [])
            looks_like = tuple((mistake.name, mistake.says) for mistake in found)
            if not looks_like and nearly(whole, self.right_figures):
                says += ["All is right to about seven digits: somewhere float64 becomes float32 on its way."]
            elif not looks_like and kind in ("wrong", "nan"):
                says += [NO_SINGLE_MISTAKE]
        return Verdict(kind, tuple(says), stages, first or None, looks_like, printed)


@contextlib.contextmanager
def meanwhile(work: Callable[..., None], *arguments: Any) -> Iterator[threading.Thread]:
    """Do some work beside what the block does, and wait for it at the end."""
    worker = threading.Thread(target=work, args=arguments)
    worker.start()
    yield worker
    worker.join()


def worst_of(got: Figures, wanted: Figures, whole: bool) -> Difference | None:
    """Return the first difference of a stage. What is missing counts only if the stage came to its end."""
    for name in wanted:
        if name in got:
            if difference := compare(got[name], wanted[name]):
                return difference
        elif whole:
            return Difference(float("inf"), (), "nothing", name)
    return None


def worst_name(got: Figures, wanted: Figures) -> str:
    return next((name for name in wanted if name not in got or compare(got[name], wanted[name])), "")


def kind_of(difference: Difference | None, got: Figures, wanted: Figures) -> str:
    if difference is None or not isinstance(difference.wanted, str):
        new_nan = any(is_nan(got[name]) and not is_nan(wanted[name]) for name in wanted if name in got)
        return "nan" if new_nan and (difference is None or difference.got != difference.got) else "wrong"
    if difference.wanted.startswith("shape"):
        return "shape"
    return "dtype" if "float" in difference.wanted or "int" in difference.wanted else "wrong"


def located(found: Located, right: list[Call]) -> str:
    """Say which tensor is the first that differs, where it differs most, what stands there, and what should."""
    difference = found.difference
    calls = sum(call.function == found.function for call in right)
    nth = f" (call {found.nth} of {calls})" if calls > 1 else ""
    if not found.function:
        what = found.name
    elif found.name == RESULT:
        what = f"what {found.function} returns{nth}"
    else:
        what = f"{found.name} in {found.function}{nth}"
    if not isinstance(difference.got, float | int) or not isinstance(difference.wanted, float | int):
        return f"The first that differs is {what}: {difference.got}, wanted is {difference.wanted}."
    where = "at [" + ", ".join(map(str, difference.index)) + "] " if difference.index else ""
    numbers = f"it is {difference.got:.10g}, wanted is {difference.wanted:.10g}"
    off = f" (off by {percent(difference.by)} % of the largest number in it)" if difference.by < 10 else ""
    return f"The first that differs is {what}: {where}{numbers}{off}."


def how(exit_code: int | None) -> str:
    with contextlib.suppress(ValueError):
        if exit_code is not None and exit_code < 0:
            return f"by the signal {signal.Signals(-exit_code).name}"
    return f"with exit code {exit_code}"


def percent(part: float) -> str:
    return f"{100 * part:.2g}" if part < 0.095 else f"{100 * part:.0f}"


def raised(error: dict[str, Any], stage: str) -> str:
    """Say what an exception was, and which of the learner's lines it came from, or what was computed then."""
    unknown = f"while this was computed: {stage}: " if stage else ""
    where = f"line {error['line']}, `{error['text']}`: " if error["line"] else unknown
    message = f": {error['message']}" if error["message"] else ""
    return f"{where}{error['type']}{message}".rstrip(".") + "."
