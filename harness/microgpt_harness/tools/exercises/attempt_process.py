"""The process in which an attempt runs, whatever it does: an endless loop, a crash, os._exit.

It gets a job as a line of JSON on standard input, and writes what it computes, a line of JSON for each stage, into a
file: its standard output is the attempt's own. A process that is started ahead of its attempt gets the rest of its job
as a second line, when there is an attempt. Until then it loads the framework, and computes the lesson's own numbers
once, so that a framework which compiles has compiled. When an attempt has come to its end, a last line may ask for what
its functions held in one stage.
"""

import contextlib
import json
import os
import random
import sys
import threading
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import IO, Any

from . import figures, points, subjects
from .extensions import EXTENSIONS, Wrong
from .figures import ReturnedNothing, Stage, Subject
from .points import Point
from .tensors import plain, to_json
from .tracing import calls_to_json


def main() -> None:
    asked = taken_over(sys.stdin)
    job = json.loads(asked.readline())
    prepared = prepare(job)
    if job["ahead"]:
        for name in figures.STAGES:
            figures.compute(*prepared, name)
        for name in figures.MODEL:
            figures.compute(*prepared, name, calls=True)
        if not (rest := asked.readline()):
            os._exit(0)  # the checker is gone
        job |= json.loads(rest)
    sys.path.insert(1, str(Path(job["file"]).parent))  # for a module beside the attempt
    with Path(job["results"]).open("a", encoding="utf-8") as results:
        run(job, results, prepared, asked)
    os._exit(0)  # whatever threads an attempt has left


def taken_over(stdin: IO[str]) -> IO[str]:
    """Return what the checker writes to, and leave an empty standard input to the attempt."""
    asked = os.fdopen(os.dup(stdin.fileno()), encoding="utf-8")
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, stdin.fileno())
    os.close(nothing)
    return asked


def prepare(job: dict[str, Any]) -> tuple[Subject, Point]:
    """Return the lesson and the point, when what a framework loads at its first use is there: no attempt's time."""
    folder = Path(job["folder"])
    lesson = subjects.load(folder, subjects.lesson_text(folder), folder / "microgpt.py")
    point = points.draw(lesson.module, job["seed"])
    lesson.state(point, points.config_of(lesson.module))
    return lesson, point


def run(
    job: dict[str, Any],
    results: IO[str],
    prepared: tuple[Subject, Point] | None = None,
    asked: IO[str] | None = None,
) -> None:
    """Compute an attempt's stages. What its functions hold is noted where `asked` asks for it, and without it at once.

    The second takes longer, above all where a framework compiles: values can be seen only in what is not compiled.
    """
    watch = Watch(job["time_limit"])

    def tell(**content: Any) -> None:
        with watch.writing:
            results.write(json.dumps(content) + "\n")
            results.flush()
        watch.begin()

    folder, file = Path(job["folder"]), Path(job["file"])
    _, point = prepared or prepare(job)
    tell(ready=True, changed=job["changed"])
    watch.start(lambda: tell(too_long=watch.limit))
    attempt = None
    try:
        attempt = subjects.load(folder, job["text"], file)
        if job["extension"]:
            with attempt.compiling_fast():
                EXTENSIONS[job["extension"]].check(ExtensionAttempt(folder, attempt, point, job["seed"], tell))
        else:
            for name in job["stages"]:
                compute(attempt, point, name, tell, calls=asked is None)
            check_own(folder, job["exercise"], attempt, point, tell)
        tell(done=True)
    except Wrong as wrong:
        tell(complaint=str(wrong))
    except ReturnedNothing as nothing:
        tell(nothing=str(nothing))
    except (Exception, SystemExit, KeyboardInterrupt) as error:
        tell(raised=describe(error, str(file)))
    with contextlib.suppress(OSError, ValueError):  # the attempt has closed it
        sys.stdout.flush()
    if asked:
        tell(ended=True)
        if attempt and (name := asked.readline().strip()):
            look_into(attempt, point, name, tell)
    watch.stop()


class Watch:
    """Ends the process when it has computed for `limit` seconds since it last told something.

    What counts is the processor's time, so that nothing is taken for an endless loop because others use the processor.
    Without a limit somebody else watches, and ends it from outside: Python in a web page has no threads.
    """

    def __init__(self, limit: float | None) -> None:
        self.limit = limit
        self.writing = threading.Lock()
        self.stopped = threading.Event()
        self.begin()

    def begin(self) -> None:
        self.since = time.process_time()

    def start(self, tell: Callable[[], None]) -> None:
        limit = self.limit
        if limit is None:
            return

        def watch() -> None:
            while not self.stopped.wait(0.05):
                if time.process_time() - self.since > limit:
                    tell()
                    os._exit(1)

        threading.Thread(target=watch, daemon=True).start()

    def stop(self) -> None:
        self.stopped.set()


def compute(attempt: Subject, point: Point, name: str, tell: Any, calls: bool) -> None:
    stage = Stage()
    try:
        figures.compute(attempt, point, name, calls=calls, stage=stage)
    finally:
        whole = sys.exc_info()[0] is None
        noted = {"calls": calls_to_json(stage.calls)} if calls else {}
        tell(stage=name, figures=to_json(stage.figures), whole=whole, **noted)


def look_into(attempt: Subject, point: Point, name: str, tell: Any) -> None:
    stage = Stage()
    with contextlib.suppress(Exception, SystemExit, KeyboardInterrupt):  # has been told when it came first
        figures.compute(attempt, point, name, calls=True, stage=stage)
    tell(stage=name, calls=calls_to_json(stage.calls))


def check_own(folder: Path, exercise: str, attempt: Subject, point: Point, tell: Any) -> None:
    """Let the folder look for what only its framework can get wrong, although all numbers are right."""
    check = getattr(subjects.own_checks(folder), exercise.replace("-", "_"), None)
    if check and (complaint := check(attempt.module, attempt.engine, point)):
        tell(complaint=complaint)


def describe(error: BaseException, file: str) -> dict[str, Any]:
    """Return an exception with the last of the learner's own lines that it came through."""
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if frame.filename == file]
    if isinstance(error, SyntaxError) and error.filename == file:
        return {"type": "SyntaxError", "message": error.msg, "line": error.lineno, "text": (error.text or "").strip()}
    last = frames[-1] if frames else None
    message = str(error).strip().splitlines()
    return {
        "type": type(error).__name__,
        "message": message[0] if message else "",
        "line": last.lineno if last else None,
        "text": last.line if last else "",
    }


class ExtensionAttempt:
    """What an extension's check is given: see `extension_checks.Attempt`.

    A check computes more than a stage does. So whatever it asks for is told as a sign of life, and time counts anew.
    """

    def __init__(
        self,
        folder: Path,
        attempt: Subject,
        point: Point,
        seed: int,
        tell: Callable[..., None] = lambda **content: None,
    ) -> None:
        subjects.prepare_extension(folder, attempt)
        self.module: ModuleType = attempt.module
        self.engine = attempt.engine
        self.config = points.config_of(attempt.module)
        self.batch = [list(document) for document in point.batch]
        self.rng = random.Random(seed)
        self.point, self.folder, self.tell = point, folder, tell
        self.state()  # which makes the framework ready for float64, where that has to be asked for

    def state(self, **changes: Any) -> Any:
        self.tell(alive=True)
        params = changes.pop("params", self.point.params)
        config = points.config_of(self.module, **changes)
        return self.engine.make_state(config, params, dtype="float64", device="cpu")

    def params(self) -> dict[str, list[list[float]]]:
        return {name: [list(row) for row in rows] for name, rows in self.point.params.items()}

    def array(self, rows: Any) -> Any:
        """Return nested lists as what the lesson computes with: as its folder's exercise_checks.py makes them."""
        made: Any = subjects.own_checks(self.folder)
        return made.array(rows, self.module)

    def plain(self, value: Any) -> Any:
        self.tell(alive=True)
        return plain(value)


if __name__ == "__main__":
    main()
