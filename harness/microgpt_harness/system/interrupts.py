"""Signals: Ctrl-C, SIGTERM (Slurm, Docker, a preempted machine) and SIGHUP (a dropped ssh), all answered alike.

A run that trains is asked to stop: it finishes the step in hand and saves. At any other time the process leaves at
once, with one line and exit code 128 + n. It leaves without an exception: one that is raised at a random moment is
swallowed by some callbacks, and breaks a module that is just being imported.

Signals are answered in a thread of their own, so that code which does not come back to Python for seconds, such as a
compiler or one large step, keeps nobody waiting. Only modules that every Python has loaded at its start are imported
here: `import signal` takes long enough for a Ctrl-C to fall into it.
"""

import _signal
import _thread
import os
import sys
import time

TYPE_CHECKING = False  # typing's own takes time to import
if TYPE_CHECKING:
    from collections.abc import Callable

NAMES = {getattr(_signal, name): name for name in ("SIGINT", "SIGTERM", "SIGHUP", "SIGBREAK") if hasattr(_signal, name)}
BY_HAND = ("SIGINT", "SIGBREAK")  # somebody at the keyboard, who may become impatient
SAME_PRESS = 0.1  # seconds: `uv run` and `timeout` may hand one Ctrl-C on twice
PATIENCE = 0.7  # seconds before somebody who waits is told what for
LOOK_AGAIN = 0.05  # seconds
LAST_SECONDS = 2.0  # how long leaving may take: a full pipe could hold up the last line for ever

program = "main.py"  # in whose name everything is said, here and by console.say
together = False  # whether several processes train together
rank = 0  # this process's number among them: only 0 speaks
duties: "list[Callable[[], str | None]]" = []
request: "StopRequest | None" = None  # of the run that trains now
asked_to_stop = False  # a run has stopped for a signal, or tried to: nothing else is to begin
# Held while something must not be left half done, and for good by whoever makes the process leave.
staying = _thread.allocate_lock()


def catch(name: str = "main.py") -> None:
    """From now on answer signals in the name of `name`. One that was inherited as ignored (nohup) stays ignored."""
    global program
    program = name
    fill_standard_descriptors()
    reader, writer = os.pipe()
    if hasattr(os, "set_blocking"):
        os.set_blocking(writer, False)
    _signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
    take_signals()
    _thread.start_new_thread(answer, (reader,))


def take_signals() -> None:
    """Have Python told of signals. A framework that looks out for SIGTERM itself would keep it from us."""
    for signum in NAMES:
        if _signal.getsignal(signum) != _signal.SIG_IGN:
            _signal.signal(signum, give_up_writing)


def fill_standard_descriptors() -> None:
    """Where a standard stream is closed, the next file to be opened would get its number, and a library's warnings."""
    while (descriptor := os.open(os.devnull, os.O_RDWR)) <= 2:
        pass
    os.close(descriptor)


def give_up_writing(signum: int, frame: object) -> None:
    """What Python calls in the main thread. A run that is to stop waits no longer for a reader who does not read."""
    if request is not None:
        wait_for_reader(False)


def wait_for_reader(wait: bool) -> None:
    """Make writing to standard output wait while a pipe is full, or fail. Others may have the same pipe after us."""
    try:
        if not sys.stdout.isatty():
            os.set_blocking(sys.stdout.fileno(), wait)
    except (OSError, ValueError, AttributeError):  # no descriptor behind it; an older Python on Windows
        pass


def ignore() -> None:
    """All is done: a signal from now on changes nothing, the exit code least of all."""
    with staying:
        for signum in NAMES:
            if _signal.getsignal(signum) == give_up_writing:
                _signal.signal(signum, _signal.SIG_IGN)


class StopRequest:
    """While the block runs, a signal asks it to stop. Look at `signum`, and once more behind the block.

    A second Ctrl-C leaves at once; `last_words` then says what is left of the run. SIGTERM and SIGHUP often come twice
    (to the whole group, and handed on by `uv run`), so a second one of them is not an order to hurry.

    A step in which several processes wait for each other never ends where one of them is gone. So then `limit()`, if it
    is given, says for how many seconds the step in hand is waited for. They begin anew when the run has done `saving`.
    """

    def __init__(self, last_words: "Callable[[], str]", limit: "Callable[[], float] | None" = None) -> None:
        self.signum = 0  # 0 as long as none has come
        self.at = 0.0
        self.obeyed = False  # the step in hand is finished, and what follows is saving
        self.saving = False  # what training goes on after
        self.leaving = on_leaving(last_words)
        self.limit = limit

    def __enter__(self) -> "StopRequest":
        global request
        self.leaving.__enter__()
        with staying:
            request = self
        return self

    def __exit__(self, *exc_info: object) -> None:
        global request, asked_to_stop
        self.leaving.__exit__()
        with staying:
            request = None
        if self.signum:
            asked_to_stop = True
            ignore()  # it is being obeyed

    def take(self, signum: int) -> bool:
        """Return whether it is content with the run's stopping when it can."""
        if self.signum:
            return NAMES[signum] not in BY_HAND or time.monotonic() - self.at < SAME_PRESS
        self.signum, self.at = signum, time.monotonic()
        beside(self.notice)
        if self.limit:
            beside(self.wait_no_longer, self.limit())
        return True

    def notice(self) -> None:
        time.sleep(PATIENCE)
        if request is self:
            end_line(self.signum)
            write_line("finishing this step, then saving; Ctrl-C again leaves at once")

    def wait_no_longer(self, seconds: float) -> None:
        until = time.monotonic() + seconds
        while (now := time.monotonic()) < until:
            if self.saving:
                until = now + seconds
            time.sleep(min(LOOK_AGAIN, until - now))
        with staying:
            if request is self and not self.obeyed:
                leave(self.signum)


class on_leaving:
    """While the block runs, call `duty` if a signal ends the process. What it returns, if anything, is shown.

    If the process is leaving already, the block does not end: nothing may go on beside the duties.
    """

    def __init__(self, duty: "Callable[[], str | None]") -> None:
        self.duty = duty

    def __enter__(self) -> None:
        duties.append(self.duty)

    def __exit__(self, *exc_info: object) -> None:
        with staying:
            duties.remove(self.duty)


def answer(reader: int) -> None:
    """Answer each signal as it comes, for as long as the process lives."""
    while number := os.read(reader, 1):
        signum = number[0]
        if signum not in NAMES:
            continue
        held = staying.acquire(timeout=LAST_SECONDS)
        if request is None or not request.take(signum):
            leave(signum)
        if held:
            staying.release()


def leave(signum: int) -> None:
    """End the process, with its duties done but for one that hangs."""
    done = _thread.allocate_lock()
    done.acquire()
    beside(do_duties, signum, done)
    done.acquire(timeout=LAST_SECONDS)
    wait_for_reader(True)
    os._exit(128 + signum)


def beside(function: "Callable[..., None]", *arguments: object) -> None:
    """Call a function in a thread of its own, or here where there is no memory for one."""
    try:
        _thread.start_new_thread(function, arguments)
    except (RuntimeError, MemoryError):
        function(*arguments)


def do_duties(signum: int, done: "_thread.LockType") -> None:
    words = ""
    for duty in reversed(duties):
        try:
            words = duty() or words
        except Exception:  # the others are still to be done
            pass
    end_line(signum)
    what = "interrupted" if NAMES[signum] in BY_HAND else f"ended by {NAMES[signum]}"
    write_line(f"{what}; {words or 'what was saved before is whole'}")
    done.release()


def end_line(signum: int) -> None:
    """A terminal has written ^C behind what was printed last."""
    if NAMES[signum] in BY_HAND and sys.stderr is not None and sys.stderr.isatty():
        write("\n")


def write_line(message: str) -> None:
    if rank == 0:
        write(f"{program}: {message}\n")


def write(text: str) -> None:
    """Write past Python's own buffer, which the main thread may just be using."""
    try:
        os.write(sys.stderr.fileno(), text.encode())
    except (OSError, ValueError, AttributeError):  # nobody there to read it
        pass
