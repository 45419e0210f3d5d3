"""The checker's side of an attempt's process: start it, wait for what it computes, and end it where it does not end."""

import contextlib
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any

from ...system import interrupts
from ...system.errors import RunError
from ...system.processes import stop
from .tensors import Figures, from_json
from .tracing import Call, calls_from_json

HARNESS = Path(__file__).resolve().parents[3]
START = f"""
import sys
sys.path.insert(0, {str(HARNESS)!r})
from microgpt_harness.tools.exercises.attempt_process import main
main()
"""
PREPARING = 300.0  # seconds until the framework is there: loading it from a slow disk takes long, and no attempt's time
PATIENCE = 6  # times the limit, on a clock on the wall: others may be using the processor, too
ENDING = 1.0  # seconds that a process whose work is done has for ending by itself
SAID = 2_000  # bytes of what an attempt prints that are shown


@dataclass
class Outcome:
    """What came out of an attempt. `figures` and `calls` are by stage; a stage that was begun may not be whole.

    Calls are there for the stages that were looked into.
    """

    figures: dict[str, Figures] = field(default_factory=dict)
    calls: dict[str, list[Call]] = field(default_factory=dict)
    whole: set[str] = field(default_factory=set)
    changed: set[str] | None = (
        None  # what it writes otherwise than the lesson, by name; None: not told, or an extension
    )
    raised: dict[str, Any] | None = None
    nothing: str = ""  # the function that returned nothing, where something is wanted
    complaint: str = ""
    done: bool = False
    too_long: float = 0.0  # seconds after which it was ended
    exit_code: int | None = None
    said: str = ""


class Running:
    """A process for one attempt: first `wait`, then `take_calls`, if they are asked for, then `end`. With the block it
    is ended.

    `start` says what every attempt needs: folder and seed. With `ahead` the process gets itself ready for an attempt
    that may come much later.
    """

    def __init__(self, start: dict[str, Any], ahead: bool = False) -> None:
        self.start = start | {"ahead": ahead}
        self.ending = contextlib.ExitStack()
        self.said = bytearray()

    def __enter__(self) -> "Running":
        try:
            self.folder = Path(self.ending.enter_context(tempfile.TemporaryDirectory(ignore_cleanup_errors=True)))
            self.results = self.folder / "results"
            self.results.touch()
            self.process = subprocess.Popen(
                [sys.executable, "-c", START],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # so that it can be ended with all that it has started
                env=os.environ | {"PYTHONUTF8": "1", "PYTHONDONTWRITEBYTECODE": "1"},
            )
            self.ending.enter_context(interrupts.on_leaving(lambda: stop(self.process)))
            self.ending.callback(stop, self.process)
            self.listening = threading.Thread(target=self.listen, daemon=True)
            self.listening.start()
            if self.start["ahead"]:
                self.send(json.dumps(self.start))
        except OSError as error:
            self.ending.close()
            raise RunError(f"the attempt cannot be run: {error.strerror or error}") from None
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        self.ending.close()

    def send(self, line: str) -> None:
        assert self.process.stdin
        with contextlib.suppress(BrokenPipeError):  # it has ended already, and its exit code says how
            self.process.stdin.write(line.encode() + b"\n")
            self.process.stdin.flush()

    def listen(self) -> None:
        """Take what the attempt prints, and keep the beginning."""
        assert self.process.stdout
        while part := os.read(self.process.stdout.fileno(), 65_536):
            self.said += part[: SAID + 1 - len(self.said)]

    def wait(self, job: dict[str, Any], outcome: Outcome) -> None:
        """Hand over the attempt, and put into `outcome` what it computes, as it comes.

        The process ends itself when it has computed for `time_limit` seconds at a stretch. One that cannot, because it
        sleeps or never comes back to Python, is ended after a longer time.
        """
        job |= {"results": str(self.results)}
        self.allowed = PATIENCE * job["time_limit"]
        self.written = self.entries()
        self.send(json.dumps(job if self.start["ahead"] else self.start | job))
        self.follow(outcome, "ready", PREPARING)
        self.follow(outcome, "ended", self.allowed)

    def ask(self, stage: str) -> None:
        """Ask, once, for what the attempt's functions hold in a stage: computed when it has come to its end."""
        self.send(stage)

    def take_calls(self, outcome: Outcome) -> None:
        """Put into `outcome` what was asked for, as far as it comes."""
        self.follow(outcome, "calls", self.allowed)

    def follow(self, outcome: Outcome, last: str, allowed: float) -> None:
        """Take what the process writes, until an entry has the key `last`, or the process is gone or has to go."""
        since = time.monotonic()
        for entry in self.written:
            if entry is None:
                if time.monotonic() - since > allowed:
                    outcome.too_long = allowed
                    stop(self.process)
                continue
            since = time.monotonic()
            take(outcome, entry)
            if last in entry:
                return

    def end(self, outcome: Outcome) -> None:
        """Let the process come to its end, and note how it did."""
        assert self.process.stdin
        with contextlib.suppress(BrokenPipeError):
            self.process.stdin.close()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(timeout=ENDING)
        stop(self.process)
        self.listening.join(timeout=1)
        outcome.exit_code = self.process.returncode
        outcome.said = beginning(bytes(self.said))

    def entries(self) -> Iterator[dict[str, Any] | None]:
        """Yield what the process has written, entry by entry, and None while there is nothing new."""
        with self.results.open(encoding="utf-8") as results:
            begun = ""
            while True:
                ended = self.process.poll() is not None
                for line in results:
                    begun += line
                    if begun.endswith("\n"):
                        yield json.loads(begun)
                        begun = ""
                if ended:
                    return
                yield None
                time.sleep(0.01)


def beginning(said: bytes) -> str:
    """Return what is shown of what an attempt has printed: `said` need not hold more than a byte above that."""
    text = said.decode("utf-8", errors="replace")
    return text if len(said) <= SAID else text + "…"


def take(outcome: Outcome, entry: dict[str, Any]) -> None:
    if name := entry.get("stage"):
        if "calls" in entry:
            outcome.calls[name] = calls_from_json(entry["calls"])
        if "figures" in entry:
            outcome.figures[name] = from_json(entry["figures"])
        if entry.get("whole"):
            outcome.whole.add(name)
    if (changed := entry.get("changed")) is not None:
        outcome.changed = set(changed)
    outcome.raised = entry.get("raised", outcome.raised)
    outcome.nothing = entry.get("nothing", outcome.nothing)
    outcome.too_long = entry.get("too_long", outcome.too_long)
    outcome.complaint = entry.get("complaint", outcome.complaint)
    outcome.done = entry.get("done", outcome.done)
