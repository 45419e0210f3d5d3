"""Watching a lesson's functions while they run, with nothing added to them.

Python calls the function given to `sys.settrace` when a call begins, before each line, and when the call returns. So
when a line has run, what it gave a value can be looked up by name.
"""

import contextlib
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from types import CodeType, FrameType
from typing import Any, NamedTuple

import numpy as np

from .axes_table import Place
from .numbers import is_number, numbers_of, numeric, plain
from .statements import Lines, Statement

# What runs too often is not kept, but for the first calls of a function and the first turns of a loop.
KEPT = 3
Key = tuple[str, int, str, int, int, tuple[int, ...]]


class Bound(NamedTuple):
    """What a name stands for at the moment."""

    held: Any
    nth: int  # which of the name's values it is
    depth: int  # in how many loops it got its value, not counting those outside a sequential one


@dataclass(eq=False)
class Running:
    """A call of a function, while it runs and after it."""

    function: str
    call: int
    caller: "Running | None"
    caller_line: int
    turn: tuple[int, ...]
    sequential: bool
    first_line: int
    lines: Lines
    arguments: list[str]
    forward: "Running | None" = None  # the call that this one is the backward pass of
    result: Any = None
    last: Statement | None = None  # the statement that is running
    turns: dict[Statement, int] = field(default_factory=dict)  # of the loops that it is in, from 0
    full: set[Statement] = field(default_factory=set)  # that ran so often that nothing more of them is kept
    slots: Counter[str] = field(default_factory=Counter)  # how many values each name has had
    slot_of_line: dict[tuple[str, int], int] = field(default_factory=dict)
    bound: dict[str, Bound] = field(default_factory=dict)

    @property
    def place(self) -> Place:
        return (*(self.caller.place if self.caller else ()), (self.function, self.caller_line))

    def turn_now(self) -> tuple[int, ...]:
        """Return the turns of the loops around the running statement that fill in positions."""
        last = self.last
        if last is None:
            return ()
        turn = tuple([self.turns[loop] for loop in last.positions])
        if not last.is_for or last.sequential or self.turns[last] < 0:
            return turn
        return (*turn, self.turns[last])  # names in the first line of a loop that is under way


@dataclass(eq=False)
class Noted:
    """A value as it was noted. `held` is the object that the name stood for: the same object may have many names."""

    running: Running
    line: int
    name: str
    nth: int
    turn: tuple[int, ...]
    held: Any
    array: np.ndarray
    objects: list[Any] = field(default_factory=list)
    weight: str = ""
    argument: bool = False
    grad: np.ndarray | None = None
    grad_from: "Noted | None" = None


@dataclass
class Turns:
    """Single numbers that a line in a loop gives a name, turn after turn: noted as one array."""

    noted: Noted
    numbers: list[Any] = field(default_factory=list)
    objects: list[Any] = field(default_factory=list)  # those with `data` and `grad`
    last: tuple[int, ...] = ()  # the last turn of each loop


class Trace:
    """What has been seen. `calls` and `noted` are in the order in which they began."""

    def __init__(self, file: str, statements: dict[str, Lines], weights: dict[str, Any], most_calls: int) -> None:
        self.file = file
        self.statements = statements
        self.weights = {id(matrix): name for name, matrix in weights.items()}
        self.most_calls = most_calls  # that are kept of a function
        self.most_turns = sum(len(rows) * len(rows[0]) for rows in weights.values())  # one for each weight
        self.only: str | None = None  # the one function to watch; None: all
        self.functions: dict[CodeType, str | None] = {}  # the names of those that are watched
        self.calls: list[Running] = []
        self.counts: Counter[str] = Counter()
        self.noted: dict[Key, Noted] = {}
        self.at_call: dict[str, Callable[[], None]] = {}  # by function: what to do before it runs
        self.returned_beside_results: dict[int, Running] = {}
        self.alive: list[Any] = [weights]  # so that no other object gets the same id
        self.running: dict[FrameType, Running] = {}
        self.collected: dict[Key, Turns] = {}

    # What Python calls
    def on_call(self, frame: FrameType, event: str, argument: Any) -> Any:
        """Begin to watch a call, if it is one of a function of the lesson."""
        code = frame.f_code
        if code not in self.functions:
            self.functions[code] = code.co_qualname if self.watches(code) else None
        function = self.functions[code]
        if function is None or (self.only and function != self.only):
            return None
        if function in self.at_call:
            self.at_call[function]()
        call = self.counts[function]
        self.counts[function] += 1
        if call >= self.most_calls:
            return None
        caller = self.calling(frame)
        if caller and caller not in self.running:
            return None  # nobody could say for what it was called
        running = self.begin(frame, call, self.running[caller] if caller else None, caller)
        return self.watcher(running)

    def watches(self, code: CodeType) -> bool:
        """Return whether it is a function of the lesson. A comprehension is a part of the function around it."""
        return code.co_filename == self.file and code.co_qualname in self.statements

    def calling(self, frame: FrameType) -> FrameType | None:
        """Return the frame of the lesson's function that made this call, and None if the lesson did not make it."""
        found = frame.f_back
        while found and found.f_code.co_filename == self.file and "<" in found.f_code.co_name:
            found = found.f_back
        return found if found and found.f_code.co_filename == self.file else None

    def begin(self, frame: FrameType, call: int, caller: Running | None, caller_frame: FrameType | None) -> Running:
        code = frame.f_code
        arguments = list(code.co_varnames[: code.co_argcount])
        last = caller.last if caller else None
        running = Running(
            code.co_qualname,
            call,
            caller,
            caller_frame.f_lineno if caller_frame else 0,
            caller.turn_now() if caller else (),
            any(loop.sequential for loop in last.around) if last else False,
            code.co_firstlineno,
            self.statements[code.co_qualname],
            arguments,
        )
        self.running[frame] = running
        self.calls.append(running)
        held = frame.f_locals
        for name in arguments:
            running.forward = running.forward or self.returned_beside_results.get(id(held[name]))
            self.bind(running, name, held[name], code.co_firstlineno, argument=True)
        return running

    def watcher(self, running: Running) -> Callable[[FrameType, str, Any], Any]:
        line = running.first_line

        def watch(frame: FrameType, event: str, argument: Any) -> Any:
            nonlocal line
            if event == "line":
                self.move(running, frame, line, running.lines.get(frame.f_lineno))
                line = frame.f_lineno
            elif event == "return":
                self.move(running, frame, line, None)
                self.end(running, frame, argument)
            return watch

        return watch

    def end(self, running: Running, frame: FrameType, result: Any) -> None:
        del self.running[frame]
        first, *beside = result if isinstance(result, tuple) and result else (result,)
        running.result = first
        self.alive.append(result)
        for held in beside:
            if hasattr(held, "__dict__"):  # an object made for this call, as a dict or a text need not be
                self.returned_beside_results[id(held)] = running

    # Lines
    def move(self, running: Running, frame: FrameType, line: int, following: Statement | None) -> None:
        """Note what the last statement did, now that another begins (None: the call ends)."""
        last = running.last
        if following is last:
            return  # its next line, or the next turn of a comprehension in it
        ran = last is not None
        if last and last.is_for:
            ran = following is not None and last in following.around  # a turn begins; otherwise the loop has ended
            running.turns[last] += 1
        if last and ran and last not in running.full:
            self.note_statement(running, frame, line, last)
        running.last = following
        if following and following.is_for and (last is None or following not in last.around):
            running.turns[following] = -1

    def note_statement(self, running: Running, frame: FrameType, line: int, statement: Statement) -> None:
        if not statement.binds and not statement.changes:
            return
        held = frame.f_locals
        for name in statement.binds:
            if name in held:
                self.bind(running, name, held[name], line)
        for name, attribute in dict.fromkeys(statement.changes):
            if name in running.bound and name in held and changes_numbers(held[name], attribute):
                self.change(running, name, held[name], line)

    def bind(self, running: Running, name: str, held: Any, line: int, argument: bool = False) -> None:
        """Note that a name was given a value."""
        if name in running.bound and running.bound[name].held is held and not is_plain(held):
            self.change(running, name, held, line)  # array += other
            return
        turn = running.turn_now()
        if any(turn) and (name, line) in running.slot_of_line:
            nth = running.slot_of_line[name, line]
        else:
            nth = running.slots[name]
            running.slots[name] += 1
        running.slot_of_line[name, line] = nth
        running.bound[name] = Bound(held, nth, len(turn))
        self.note(running, name, held, line, nth, turn, argument)

    def change(self, running: Running, name: str, held: Any, line: int) -> None:
        """Note an object that a line changed in place. Only how it is in the end is kept of each line."""
        bound = running.bound[name]
        self.note(running, name, held, line, bound.nth, running.turn_now()[: bound.depth], argument=False)

    def note(
        self, running: Running, name: str, held: Any, line: int, nth: int, turn: tuple[int, ...], argument: bool
    ) -> None:
        if turn and is_number(held):
            self.collect(running, name, held, line, nth, turn)
            return
        key: Key = (running.function, running.call, name, line, nth, turn)
        self.noted.pop(key, None)
        if id(held) in self.weights:
            weight = self.weights[id(held)]
            self.noted[key] = Noted(running, line, name, nth, turn, held, np.empty(0), [], weight, argument)
            return
        numbers = numbers_of(held)
        if numbers:
            self.alive.append(held)
            noted = Noted(running, line, name, nth, turn, held, numbers.array, numbers.objects, "", argument)
            self.noted[key] = noted

    def collect(self, running: Running, name: str, held: Any, line: int, nth: int, turn: tuple[int, ...]) -> None:
        """Add a single number to those that the same line gave in other turns of the loop."""
        key: Key = (running.function, running.call, name, line, nth, ())
        turns = self.collected.get(key)
        if turns is None:
            noted = self.noted[key] = Noted(running, line, name, nth, (), held, np.empty(0))
            turns = self.collected[key] = Turns(noted)
        turns.numbers.append(plain(held))
        turns.objects += [held] if hasattr(held, "grad") else []
        turns.last = turn
        if len(turns.numbers) > self.most_turns and running.last:
            running.full.add(running.last)

    # Afterwards
    def so_far(self) -> list[Noted]:
        """Return all that was noted until now."""
        for turns in self.collected.values():
            self.put_together(turns)
        return list(self.noted.values())

    def finish(self) -> list[Noted]:
        """Return what was noted, without the calls beyond the first of functions that were called very often."""
        noted = self.so_far()
        self.calls = [running for running in self.calls if self.keeps(running)]
        return [value for value in noted if self.keeps(value.running)]

    def put_together(self, turns: Turns) -> None:
        """Make one array of the numbers of all turns, in the loops' shape, or in a row where inner loops differ."""
        if len(turns.numbers) > self.most_turns:
            turns.numbers, turns.objects, turns.last = turns.numbers[:KEPT], turns.objects[:KEPT], (KEPT - 1,)
        shape = tuple(last + 1 for last in turns.last)
        numbers = numeric(np.array(turns.numbers))
        turns.noted.array = numbers.reshape(shape) if numbers.size == np.prod(shape) else numbers
        turns.noted.objects = turns.objects if len(turns.objects) == numbers.size else []

    def keeps(self, running: Running) -> bool:
        """Return whether a call stays: of a function called too often only few, with the calls that those made."""
        if self.counts[running.function] > self.most_calls and running.call >= KEPT:
            return False
        return running.caller is None or self.keeps(running.caller)


@contextlib.contextmanager
def watching(trace: Trace) -> Iterator[None]:
    before = sys.gettrace()
    sys.settrace(trace.on_call)
    try:
        yield
    finally:
        sys.settrace(before)


def is_plain(held: Any) -> bool:
    """Numbers and texts are never changed in place, and two of them may be one object by chance."""
    return isinstance(held, int | float | str | None)


def changes_numbers(held: Any, attribute: str) -> bool:
    """Return whether changing this attribute changes what numbers.py reads: of a single number, only `data` does."""
    return not is_number(held) or attribute == "data"
