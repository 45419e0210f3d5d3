"""Numbers of any framework as plain lists, and how far two of them are apart.

Whatever has `tolist` is an array; a number of 01 has its own in `data`. Nothing here asks which framework that is.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain
from typing import Any

TOLERANCE = (
    1e-9  # relative to the largest number of a tensor: what two right ways of computing in float64 may differ by
)
EXCERPT = 60  # characters
Index = tuple[int, ...]


@dataclass(frozen=True)
class Tensor:
    """Numbers with a shape. `dtype` is empty where Python's own floats are meant, which have no name for it."""

    shape: tuple[int, ...]
    numbers: tuple[float, ...]
    dtype: str = ""


Figure = Tensor | str  # a text is compared as it is
Figures = dict[str, Figure]


@dataclass(frozen=True)
class Difference:
    """How a figure differs from the wanted one: `by` is relative to the largest wanted number, or inf."""

    by: float
    index: Index = ()
    got: float | str = ""
    wanted: float | str = ""


def plain(value: Any) -> Any:
    """Return a framework's array, or lists of numbers, as nested lists of floats. TypeError for anything else."""
    if isinstance(value, int | float):
        return float(value)
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if isinstance(value, dict):
        return {name: plain(item) for name, item in value.items()}
    if hasattr(value, "tolist"):
        return plain(value.tolist())
    if isinstance(getattr(value, "data", None), int | float):
        return float(value.data)
    raise TypeError(f"{type(value).__name__} is no number and no array")


def tensor(value: Any) -> Tensor:
    """Return a value as a Tensor. TypeError for what is none, and for rows of different lengths."""
    if hasattr(value, "tolist"):  # an array has no rows of different lengths: this way takes a tenth of the time
        nested = value.tolist()
        shape = tuple(shape_of(nested))
        numbers = nested if shape else [nested]
        for _ in shape[1:]:
            numbers = list(chain.from_iterable(numbers))
    else:
        nested = plain(value)
        shape = tuple(shape_of(nested))
        numbers = list(flat(nested, shape))
    return Tensor(shape, tuple(numbers), str(getattr(value, "dtype", "")).rpartition(".")[2])


def shape_of(nested: Any) -> Iterator[int]:
    while isinstance(nested, list):
        yield len(nested)
        nested = nested[0] if nested else None


def flat(nested: Any, shape: tuple[int, ...]) -> Iterator[float]:
    if not shape:
        if not isinstance(nested, float):
            raise TypeError("not a number")
        yield nested
        return
    if not isinstance(nested, list) or len(nested) != shape[0]:
        raise TypeError("rows of different lengths")
    for item in nested:
        yield from flat(item, shape[1:])


def compare(got: Figure, wanted: Figure) -> Difference | None:
    """Return the largest difference, or None where there is none beyond the tolerance."""
    if isinstance(got, str) or isinstance(wanted, str):
        return None if got == wanted else Difference(math.inf, (), *excerpts(str(got), str(wanted)))
    if got.shape != wanted.shape:
        return Difference(math.inf, (), f"shape {shape(got)}", f"shape {shape(wanted)}")
    if got.dtype != wanted.dtype:
        return Difference(math.inf, (), got.dtype or "Python's floats", wanted.dtype or "Python's floats")
    if got.numbers == wanted.numbers:
        return None
    scale = max((abs(number) for number in wanted.numbers if math.isfinite(number)), default=0.0) or 1.0
    by, at = 0.0, -1
    for position, (one, other) in enumerate(zip(got.numbers, wanted.numbers)):
        distance = apart(one, other) / scale
        if distance > by:
            by, at = distance, position
    return Difference(by, index(at, wanted.shape), got.numbers[at], wanted.numbers[at]) if by > TOLERANCE else None


def apart(one: float, other: float) -> float:
    """nan is nan's equal, and infinity its own: both say that the same thing has happened."""
    if one == other or (math.isnan(one) and math.isnan(other)):
        return 0.0
    distance = abs(one - other)
    return math.inf if math.isnan(distance) else distance


def distance(got: Figures, wanted: Figures) -> float:
    """Return how far apart two sets of figures are, by their most different one: 0 within the tolerance."""
    if got.keys() != wanted.keys():
        return math.inf
    differences = (compare(got[name], wanted[name]) for name in wanted)
    return max((difference.by for difference in differences if difference), default=0.0)


def index(position: int, shape: tuple[int, ...]) -> Index:
    """Return a place in a flat list as that in an array of this shape."""
    indices = []
    for length in reversed(shape):
        position, rest = divmod(position, length)
        indices.append(rest)
    return tuple(reversed(indices))


def shape(figure: Tensor) -> str:
    return f"({', '.join(map(str, figure.shape))})" if figure.shape else "of a single number"


def excerpts(got: str, wanted: str) -> tuple[str, str]:
    """Return two texts as far as they fit on a line, from shortly before where they begin to differ."""
    same = next((at for at, (one, other) in enumerate(zip(got, wanted)) if one != other), min(len(got), len(wanted)))
    begin = max(0, same - 20)
    return excerpt(got, begin), excerpt(wanted, begin)


def excerpt(text: str, begin: int) -> str:
    shown = text[begin : begin + EXCERPT]
    return ("… " if begin else "") + shown + (" …" if begin + EXCERPT < len(text) else "")


def is_nan(figure: Figure) -> bool:
    return not isinstance(figure, str) and any(map(math.isnan, figure.numbers))


def to_json(figures: Figures) -> dict[str, Any]:
    return {
        name: figure if isinstance(figure, str) else [figure.shape, figure.numbers, figure.dtype]
        for name, figure in figures.items()
    }


def from_json(content: dict[str, Any]) -> Figures:
    return {
        name: entry if isinstance(entry, str) else Tensor(tuple(entry[0]), tuple(entry[1]), entry[2])
        for name, entry in content.items()
    }
