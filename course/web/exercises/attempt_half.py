"""The attempt's half of an exercise in a page: a Python of its own, in which one attempt runs and nothing else.

On the command line this is a process (the harness's attempt_process.py, which does the work here as well). What an
attempt computes and prints is posted to the page as it comes: an endless loop never comes back to say it later.
The page ends this Python after each attempt, and calls `get_ready` and `run_in_page` of the next.
"""

import io
import json
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "course" / "harness"))

from microgpt_harness.tools.exercises import attempt_process
from microgpt_harness.tools.exercises.running import SAID

Post = Callable[[str], Any]


def get_ready() -> None:
    """Nothing is left to do: what takes its time is to import this module."""


def run_in_page(given: str) -> int:
    import course_page  # of the page's worker

    return run(given, lambda line: course_page.post("line", line))


class Results(io.TextIOBase):
    """Where the harness writes a line of JSON for each stage."""

    def __init__(self, post: Post) -> None:
        self.post = post

    def write(self, line: str) -> int:
        self.post(line)
        return len(line)


class Said(io.RawIOBase):
    """What an attempt prints: posted as it comes, and no more of it than the harness shows."""

    def __init__(self, post: Post) -> None:
        self.post, self.left = post, SAID + 1

    def writable(self) -> bool:
        return True

    def write(self, part: Any) -> int:
        shown = bytes(part)[: self.left]
        self.left -= len(shown)
        if shown:
            self.post(json.dumps({"said": shown.hex()}))
        return len(part)


def run(given: str, post: Post) -> int:
    """Run an attempt, posting lines of JSON. Return what its exit code would be as a process.

    `given` is the job, as JSON, with the attempt's text.
    """
    job = json.loads(given)
    file = Path(job["file"])
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(job["text"], encoding="utf-8")
    sys.path.insert(1, str(file.parent))
    sys.stdin = io.StringIO()  # nobody answers what an attempt asks
    sys.stdout = sys.stderr = io.TextIOWrapper(
        Said(post), encoding="utf-8", errors="surrogateescape", write_through=True
    )
    try:
        attempt_process.run(job, Results(post))
    except BaseException:  # one that the harness leaves to the process
        traceback.print_exc()
        return 1
    return 0
