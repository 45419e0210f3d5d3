"""What becomes of a command: an exit code, and one line on standard error where something went wrong."""

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ..system import interrupts
from ..system.console import last_words
from ..system.errors import RunError, UserError

OUT_OF_MEMORY = "out of memory; use a smaller model (--n-embd, --n-layer, --block-size) or --batch-size"


def run_program(command: Callable[[], int]) -> int:
    """Run a command and return its exit code; whatever goes wrong becomes one line and a code."""
    prepare_streams()
    code = attempt(command)
    lost = flush(sys.stdout)
    interrupts.wait_for_reader(True)
    if lost and not code:
        code = lost_output(lost)
    flush(sys.stderr)  # nobody is left to be told
    if code and interrupts.together:  # what a framework does at the end may wait for processes that are gone
        os._exit(code)
    interrupts.ignore()
    return code


def flush(stream: Any) -> OSError | None:
    """Write what is still held back. If it cannot be, drop it: Python would try again at its end and exit with 120."""
    try:
        stream.flush()
        return None
    except OSError as error:
        interrupts.wait_for_reader(True)  # of this pipe: behind it will be another file
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
        return error


def lost_output(error: OSError) -> int:
    """Say why nobody takes our output any more. A reader who has gone, as `head` does, needs no telling."""
    if not isinstance(error, BrokenPipeError):
        last_words(f"the output could not be written: {error.strerror or error}; make room, or send it elsewhere")
    return 1


def prepare_streams() -> None:
    """Speak UTF-8 everywhere: Windows' consoles would not take a sparkline. A stream that is closed swallows all."""
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            setattr(sys, name, Path(os.devnull).open("w"))  # noqa: SIM115 (open as long as the program runs)
        getattr(sys, name).reconfigure(encoding="utf-8", errors="replace")


def attempt(command: Callable[[], int]) -> int:
    try:
        return command()
    except SystemExit as error:  # --help, and a run that was asked to stop
        return int(error.code or 0)
    except (UserError, RunError) as error:
        last_words(str(error))
        return error.exit_code
    except MemoryError:
        last_words(OUT_OF_MEMORY)
        return 1
    except OSError as error:
        if error.filename is None:  # of standard output
            return lost_output(error)
        last_words(f"{os.fsdecode(error.filename)} cannot be used: {error.strerror}")
        return UserError.exit_code
    except Exception as error:
        if os.environ.get("MICROGPT_DEBUG"):
            raise
        last_words(f"unexpected {type(error).__name__}: {error}; set MICROGPT_DEBUG=1 to see where")
        return 1
