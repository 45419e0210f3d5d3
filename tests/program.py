"""Running a folder's main.py as people do: in a process of its own, reading its exit code and its words."""

import contextlib
import os
import re
import signal
import socket
import struct
import subprocess
import sys
import time
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
NUMPY, PYTHON = "02_numpy_manual_backprop", "01_pure_python"
DEADLINE = 120  # seconds: far more than anything here takes on a busy machine
GIVEN_MIRROR = os.environ.get("MICROGPT_MIRROR")
MIRROR = GIVEN_MIRROR or str(ROOT.parent / "shared" / "datasets")

# What commands a terminal, or turns the order of its text around. Newlines and tabs do not.
HARMFUL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")

NO_TERMINAL = "this system has no terminals that a program could play"

# Under `nohup` or as a script's background job we were told to ignore a signal. We still do, but with a handler: the
# programs that we start inherit an ignored signal, and not a handler.
for name in ("SIGINT", "SIGTERM", "SIGHUP"):
    if hasattr(signal, name) and signal.getsignal(getattr(signal, name)) is signal.SIG_IGN:
        signal.signal(getattr(signal, name), lambda signum, frame: None)

needs_mirror = pytest.mark.skipif(
    not GIVEN_MIRROR and not Path(MIRROR).is_dir(),
    reason="needs the datasets' files: set MICROGPT_MIRROR to a folder or base URL that holds them",
)


@dataclass(frozen=True)
class Result:
    code: int
    stdout: str
    stderr: str

    @property
    def samples(self) -> list[str]:
        return re.findall(r"^sample +\d+: (.*)$", self.stdout, re.MULTILINE)


def command(folder: str, *args: object, python: str = sys.executable) -> list[str]:
    return [python, str(ROOT / folder / "main.py"), *map(str, args)]


def environment(**changes: str) -> dict[str, str]:
    """Return an environment from which no address outside this machine can be reached, with what a test changes."""
    nowhere = f"http://127.0.0.1:{closed_port()}"
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("MICROGPT_", "COLUMNS"))}
    away = {"MICROGPT_CACHE": os.devnull + "/none", "http_proxy": nowhere, "https_proxy": nowhere, "no_proxy": ""}
    return kept | away | changes


@cache
def closed_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def run(folder: str, *args: object, code: int = 0, env: dict[str, str] | None = None, **options) -> Result:
    """Run main.py to its end and check what must hold of every run: the exit code, and that no traceback is shown."""
    env = environment(**(env or {}))
    done = subprocess.run(
        command(folder, *args), env=env, capture_output=True, encoding="utf-8", timeout=DEADLINE, **options
    )
    result = Result(done.returncode, done.stdout, done.stderr)
    check(result, code)
    return result


def check(result: Result, code: int) -> None:
    for words in (result.stdout, result.stderr):
        assert "Traceback" not in words and "Exception ignored" not in words, words
    assert result.code == code, f"exit code {result.code}, expected {code}: {result.stderr}"
    if code == 0:
        assert result.stderr == ""


def fails(folder: str, *args: object, code: int = 2, says: tuple[str, ...], **options) -> str:
    """Run what must fail with one line on standard error that holds all of `says`. Return the line."""
    return one_line(run(folder, *args, code=code, **options), *says)


def one_line(result: Result, *says: str) -> str:
    line, *more = result.stderr.splitlines()
    assert not more, result.stderr
    assert line.startswith("main.py: ")
    for words in says:
        assert words in line, line
    return line


# Processes that a test watches, interrupts and kills
@contextlib.contextmanager
def started(folder: str, *args: object, env: dict[str, str] | None = None, **options):
    """Start main.py with both outputs piped, and never leave it behind."""
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "encoding": "utf-8"} | options
    process = subprocess.Popen(command(folder, *args), env=environment(**(env or {})), **pipes)
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def wait_for(process: subprocess.Popen, words: str) -> None:
    """Read the process's output up to the line that holds `words`."""
    for line in process.stdout:
        if words in line:
            return
    raise AssertionError(f"it ended without saying {words!r}: {process.stderr.read()}")


def end(process: subprocess.Popen) -> Result:
    stdout, stderr = process.communicate(timeout=DEADLINE)
    return Result(process.returncode, stdout, stderr)


def interrupted(process: subprocess.Popen) -> Result:
    process.send_signal(signal.SIGINT)
    result = end(process)
    check(result, 130)
    return result


def on_terminal(arguments: list[str], columns: int = 80, env: dict[str, str] | None = None) -> Result:
    """Run a command whose output goes to a terminal of this width. Return what the terminal received as stdout."""
    fcntl, pty, termios = (pytest.importorskip(name, reason=NO_TERMINAL) for name in ("fcntl", "pty", "termios"))
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    env = environment(TERM="xterm-256color", **(env or {}))
    process = subprocess.Popen(arguments, stdout=theirs, stderr=subprocess.PIPE, env=env, encoding="utf-8")
    os.close(theirs)
    received = bytearray()
    with contextlib.suppress(OSError):  # how Linux says that the other end is closed
        while data := os.read(ours, 65536):
            received += data
    os.close(ours)
    _, stderr = process.communicate(timeout=DEADLINE)
    return Result(process.returncode, received.decode("utf-8"), stderr)


def shown_lines(received: str) -> list[str]:
    """Return what stood on the terminal's lines, each time that one was written over too, without colours."""
    plain = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", received)
    return [line for line in re.split(r"[\r\n]+", plain) if line]


def until(condition, what: str):
    """Return the first true value of condition(), asked again and again."""
    deadline = time.monotonic() + DEADLINE
    while time.monotonic() < deadline:
        if value := condition():
            return value
        time.sleep(0.0005)
    raise AssertionError(f"waited in vain for {what}")
