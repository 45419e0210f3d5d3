"""Which axes a recorded value has, by name: T time, C n_embd, H heads, D head size, V vocabulary, 4C the MLP's width.

Sizes alone do not tell: in the model that is trained, H and D are both 4. So the unchanged lesson is run once more, as
a model in which all sizes differ. There the size of an axis is its name, and a value has the same axes in both.
"""

from collections.abc import Iterable
from itertools import product

import numpy as np

from .axes_table import AxesKey, AxesTable

UNNAMED = "n"  # an axis whose size is none of the model's
VISIBLE = "t+1"  # as many positions as the one at t sees: its size changes from position to position


def distinct_sizes(vocab_size: int) -> dict[str, int]:
    """Return sizes for a small model and a document, of which no two are equal and none is 3 or less."""
    for H, D, T in product(range(4, 9), repeat=3):
        C = H * D
        sizes = {"T": T, "T+1": T + 1, "H": H, "D": D, "C": C, "4C": 4 * C, "V": vocab_size, "block_size": T + 3}
        if len(set(sizes.values())) == len(sizes):
            return sizes
    raise ValueError("no sizes differ")  # cannot be: V coincides with few of the 125 tried


def name_axes(values: Iterable[tuple[AxesKey, np.ndarray]], sizes: dict[str, int]) -> AxesTable:
    """Return the axes of values that were computed in a model of these sizes."""
    shapes: dict[AxesKey, set[tuple[int, ...]]] = {}
    for key, array in values:
        shapes.setdefault(key, set()).add(array.shape)
    names = {size: name for name, size in sizes.items()} | {1: "1"}
    table = {}
    for key, seen in shapes.items():
        table[key] = tuple(name_axis(set(along), names, sizes["T"]) for along in zip(*seen))
    return table


def name_axis(sizes: set[int], names: dict[int, str], T: int) -> str:
    if len(sizes) == 1:
        return names.get(sizes.pop(), UNNAMED)
    return VISIBLE if sizes == set(range(1, T + 1)) else UNNAMED
