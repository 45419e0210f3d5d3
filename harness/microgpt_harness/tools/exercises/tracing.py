"""What the functions of a lesson hold and return while it computes: so a check can name the first number that is wrong.

Python calls `sys.setprofile`'s function whenever a function returns. Only those of one file are noted, and of what they
hold only numbers.
"""

import contextlib
import dis
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache
from types import CodeType, FrameType
from typing import Any

from .tensors import Difference, Figures, compare, from_json, tensor, to_json

CALLS = 16  # of one function, noted in one computation: enough for two layers, and for a vector at each position
NUMBERS = 5_000  # in one tensor
RESULT = "what it returns"
RETURNS = {dis.opmap[name] for name in ("RETURN_VALUE", "RETURN_CONST") if name in dis.opmap}


@dataclass(frozen=True)
class Call:
    """One call of a function, noted at its end: its arguments and other variables by name, and its result."""

    function: str
    nth: int  # from 1
    arguments: Figures
    held: Figures
    returned: bool = True  # False: it returned nothing


@dataclass
class Trace:
    calls: list[Call] = field(default_factory=list)
    seen: Counter[str] = field(default_factory=Counter)


@dataclass(frozen=True)
class Located:
    """The first tensor that is not as in the lesson."""

    function: str
    nth: int
    name: str
    difference: Difference


@contextlib.contextmanager
def traced(file: str, trace: Trace) -> Iterator[None]:
    """While the block runs, note the calls of the functions that stand in `file`."""

    def profile(frame: FrameType, event: str, result: Any) -> None:
        code = frame.f_code
        if event != "return" or code.co_filename != file or "<" in code.co_qualname:
            return
        trace.seen[code.co_qualname] += 1
        if trace.seen[code.co_qualname] > CALLS or code.co_code[frame.f_lasti] not in RETURNS:  # an exception passes
            return
        named = code.co_varnames[: code.co_argcount]
        variables = figures_of(frame.f_locals)
        arguments = {name: variables[name] for name in named if name in variables}
        held = {name: variables[name] for name in code.co_varnames if name in variables and name not in arguments}
        held = at_the_end(held, bound_again(code))
        if result is not None:
            held |= figures_of({RESULT: first_of(result)})
        nth = trace.seen[code.co_qualname]
        trace.calls.append(Call(code.co_qualname, nth, arguments, held, returned=result is not None))

    before = sys.getprofile()
    sys.setprofile(profile)
    try:
        yield
    finally:
        sys.setprofile(before)


@cache
def bound_again(code: CodeType) -> set[str]:
    """Return the variables that a function binds more than once: of them only the last value can be seen."""
    counts = Counter(step.argval for step in dis.get_instructions(code) if step.opname == "STORE_FAST")
    return {name for name, count in counts.items() if count > 1}


def at_the_end(held: Figures, again: set[str]) -> Figures:
    """Put the variables that were bound more than once behind the others, and say so in their names."""
    once = {name: figure for name, figure in held.items() if name not in again}
    return once | {f"{name}, as it is at the end,": held[name] for name in held if name in again}


def first_of(result: Any) -> Any:
    """Return the first of several results: the others are kept for later, and show when they are used."""
    return result[0] if isinstance(result, tuple) and result else result


def figures_of(variables: dict[str, Any]) -> Figures:
    """Return those variables that are numbers. What a framework will not show while it traces is left out."""
    found: Figures = {}
    for name, value in variables.items():
        if isinstance(value, bool | str | dict):
            continue
        with contextlib.suppress(Exception):
            figure = tensor(value)
            if 0 < len(figure.numbers) <= NUMBERS:
                found[name] = figure
    return found


def locate(got: list[Call], wanted: list[Call]) -> Located | None:
    """Return the first tensor, in order of computation, that differs from the lesson's.

    A function whose arguments differ already is not where it began, so one with the right arguments comes before it.
    Where an attempt computes in other steps than the lesson, only what both have under the same name is compared.
    """
    here = {(call.function, call.nth): call for call in got}
    calls, wanted_calls = (Counter(call.function for call in made) for made in (got, wanted))
    fallback = None
    for call in wanted:
        mine = here.get((call.function, call.nth))
        if mine is None:
            continue
        given = first_difference(mine.arguments, call.arguments)
        if given and isinstance(given[1].got, str):
            continue  # arguments of another shape: an attempt may call a function more often, and this is another call
        found = first_difference(mine.held, call.held)
        located = Located(call.function, call.nth, *found) if found else None
        if located and given is None:
            return located
        if calls[call.function] == wanted_calls[call.function]:  # else the nth call here is not the nth there
            fallback = fallback or located
    return fallback


def first_difference(got: Figures, wanted: Figures) -> tuple[str, Difference] | None:
    for name in wanted:
        if name in got and (difference := compare(got[name], wanted[name])):
            return name, difference
    return None


def returned_nothing(got: list[Call], wanted: list[Call]) -> str | None:
    """Return the first function that returned nothing, where the lesson's returns something."""
    returns = {call.function for call in wanted if call.returned}
    return next((call.function for call in got if not call.returned and call.function in returns), None)


def calls_to_json(calls: list[Call]) -> list[list[Any]]:
    return [[c.function, c.nth, to_json(c.arguments), to_json(c.held), c.returned] for c in calls]


def calls_from_json(content: list[list[Any]]) -> list[Call]:
    return [Call(name, nth, from_json(args), from_json(held), returned) for name, nth, args, held, returned in content]
