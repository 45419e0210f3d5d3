"""What a lesson computes position by position, put together as what another computes at once.

A function that was given one position, or one head at one position, was called for each of them from the same line.
The values of all these calls belong together; so do those that a line in a loop over positions or heads gave a name.
Their order tells where each belongs, so no name of a lesson stands here.
"""

import math
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field, replace

import numpy as np

from .axes import UNNAMED
from .axes_table import Place
from .values import Call, Recording, Value


@dataclass(eq=False)
class Group:
    """Calls that belong together. `shape` is how they stand: (T,) or (H, T), and () for a call that stands alone."""

    function: str
    call: int
    parent: "Group | None"
    caller_line: int
    alone: bool  # it is one call, which was given all positions, goes on from another, or stands for many
    members: list[Call] = field(default_factory=list)
    shape: tuple[int, ...] = ()

    @property
    def place(self) -> Place:
        return (*(self.parent.place if self.parent else ()), (self.function, self.caller_line))


def joined(recording: Recording, like: Recording | None = None) -> dict[tuple[str, int, str], Value]:
    """Return the last value of each name in each call, as if the lesson had computed all positions at once.

    Calls are counted as they would be then: 01 calls rmsnorm for each position, which makes one call here. `became`
    says how a value was put together. What a position does not see is nan. With `like`, a recording of another lesson
    of the same document and step, values are also brought into the shape that this lesson has under the same name: q,
    (T, C) in 01, becomes (H, T, D) as in 02.
    """
    return {(value.function, value.call, value.name): value for value in joined_values(recording, like)}


def joined_values(recording: Recording, like: Recording | None = None) -> list[Value]:
    """Return all values put together, not only the last of each name in a call, in the order of their calls."""
    groups = groups_of(recording)
    together: dict[tuple[Group, str, int, int], list[Value]] = defaultdict(list)
    for value in recording.values:
        group = groups[value.function, value.call]
        together[group, value.name, value.nth, value.line].append(value)
    made = [join(group, values, recording) for (group, *_), values in together.items()]
    found = [value for value in made if value]
    if like is None:
        return found
    patterns = {(v.function, v.call, v.name, v.nth): v for v in joined_values(like)}
    return [fit(value, patterns.get((value.function, value.call, value.name, value.nth))) for value in found]


# Calls
def groups_of(recording: Recording) -> dict[tuple[str, int], Group]:
    """Return the group of each call."""
    by_key: dict[object, Group] = {}
    group_of: dict[tuple[str, int], Group] = {}
    counts: dict[str, int] = defaultdict(int)
    kept: dict[str, int] = defaultdict(int)
    for call in recording.calls.values():
        kept[call.function] += 1
    for key, call in recording.calls.items():
        parent = group_of.get((call.caller, call.caller_call))
        alone = call.whole or call.sequential or kept[call.function] < recording.counts[call.function]
        place = (parent, call.caller_line, call.function, call.weights, call.call if alone else None)
        if place not in by_key:
            by_key[place] = Group(call.function, counts[call.function], parent, call.caller_line, alone)
            counts[call.function] += 1
        by_key[place].members.append(call)
        group_of[key] = by_key[place]
    for group in by_key.values():  # parents stand before what they call
        group.shape = shape_of(group)
    return group_of


def shape_of(group: Group) -> tuple[int, ...]:
    """Return how the calls of a group stand: those of the caller, then its loops' turns, then calls in one turn."""
    if group.alone or (len(group.members) == 1 and not group.members[0].turn):
        return ()
    outer = group.parent.shape if group.parent else ()
    turns = turns_of(member.turn for member in group.members)
    rest, odd = divmod(len(group.members), math.prod(outer) * math.prod(turns))
    if odd:
        return (len(group.members),)
    return (*outer, *turns, *((rest,) if rest > 1 else ()))


def turns_of(turns: Iterable[tuple[int, ...]]) -> tuple[int, ...]:
    return tuple(max(along) + 1 for along in zip(*turns))


# Values
def join(group: Group, values: list[Value], recording: Recording) -> Value | None:
    """Return one value for those that belong together, or None where they are not alike."""
    last = values[-1]
    shape = (*group.shape, *turns_of(value.turn for value in values))
    if last.weight or not shape:
        return replace(last, call=group.call, turn=())
    if math.prod(shape) != len(values) or len({value.array.ndim for value in values}) > 1:
        return None
    array = stack([value.array for value in values], shape)
    grads = [value.grad for value in values if value.grad is not None]
    grad = stack(grads, shape) if len(grads) == len(values) else None
    key = (group.place, last.name, last.line, array.ndim)
    axes = recording.axes_table.get(key, (UNNAMED,) * array.ndim)
    became = f"{len(values)} × {tuple_text(last.axes)} → {tuple_text(axes)}"
    return replace(last, call=group.call, turn=(), array=array, axes=axes, grad=grad, became=became)


def stack(arrays: list[np.ndarray], shape: tuple[int, ...]) -> np.ndarray:
    """Return arrays as one that has `shape` in front of theirs. Where one is shorter than others, nan fills it up."""
    sizes = {array.shape for array in arrays}
    if len(sizes) > 1:
        longest = tuple(map(max, zip(*sizes)))
        arrays = [fill_up(array, longest) for array in arrays]
    return np.stack(arrays).reshape(*shape, *arrays[0].shape)


def fill_up(array: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    filled = np.full(shape, np.nan)
    filled[tuple(map(slice, array.shape))] = array
    return filled


def tuple_text(axes: tuple[str, ...]) -> str:
    return f"({', '.join(axes)})" if axes else "one number"


# Shapes of another lesson
def fit(value: Value, pattern: Value | None) -> Value:
    """Bring a value into the shape of another, where both hold the same numbers in another arrangement."""
    if pattern is None or value.array.shape == pattern.array.shape or value.array.size != pattern.array.size:
        return value
    array = rearrange(value.array, value.axes, pattern)
    if array is None:
        return value
    grad = None if value.grad is None else rearrange(value.grad, value.axes, pattern)
    first = value.became or tuple_text(value.axes)
    return replace(value, array=array, axes=pattern.axes, grad=grad, became=f"{first} → {tuple_text(pattern.axes)}")


def rearrange(array: np.ndarray, axes: tuple[str, ...], pattern: Value) -> np.ndarray | None:
    """Return the numbers in the order of the pattern's axes. C is split into H heads of D; axes of size 1 are added."""
    sizes = dict(zip(pattern.axes, pattern.array.shape))
    if "C" in axes and {"H", "D"} <= set(sizes):
        at = axes.index("C")
        axes = (*axes[:at], "H", "D", *axes[at + 1 :])
        array = array.reshape(tuple(sizes.get(name, 0) for name in axes))
    wanted = [name for name in pattern.axes if name in axes]
    added = [name for name in pattern.axes if name not in axes]
    if sorted(wanted) != sorted(axes) or len(set(axes)) < len(axes) or set(added) - {"1"}:
        return None
    return array.transpose([axes.index(name) for name in wanted]).reshape(pattern.array.shape)
