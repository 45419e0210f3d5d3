"""What a variable of a lesson holds, as an array: NumPy's arrays, Python's numbers, lists of them, and 01's Values."""

from dataclasses import dataclass
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Numbers:
    """An array, and where each number is an object with `data` and `grad`, these objects in the array's order."""

    array: np.ndarray
    objects: list[Any]


def numbers_of(held: Any) -> Numbers | None:
    """Return a copy of the numbers, or None for what is no number, for rows of different lengths and for no rows."""
    if isinstance(held, np.ndarray | np.generic):
        return Numbers(numeric(np.asarray(held)), []) if held.dtype.kind in "biuf" and held.size else None
    flat: list[Any] = []
    shape = shape_of(held, flat)
    if shape is None or not flat:
        return None
    objects = flat if all(hasattr(number, "grad") for number in flat) else []
    return Numbers(numeric(np.array([plain(number) for number in flat])).reshape(shape), objects)


def numeric(array: np.ndarray) -> np.ndarray:
    return array.astype(np.float64 if array.dtype.kind == "f" else np.int64)


def plain(number: Any) -> Any:
    return number if isinstance(number, int | float) else number.data


def is_number(held: Any) -> bool:
    """Return whether it is a number of Python, or an object that has one in `data` and its gradient in `grad`."""
    number = getattr(held, "data", None) if hasattr(held, "grad") else held
    return isinstance(number, int | float) and not isinstance(number, bool)


def shape_of(held: Any, flat: list[Any]) -> tuple[int, ...] | None:
    """Return the shape of nested lists, and add their numbers to `flat`. None where they have none."""
    if is_number(held):
        flat.append(held)
        return ()
    if not isinstance(held, list | tuple | range):
        return None
    shapes = {shape_of(item, flat) for item in held}
    if len(shapes) != 1:
        return None
    inner = shapes.pop()
    return None if inner is None else (len(held), *inner)
