"""The type of the table that says which axes a value has: filled by axes.py, carried by each recording."""

Place = tuple[tuple[str, int], ...]  # the functions that called each other, each with the line it was called from
AxesKey = tuple[Place, str, int, int]  # place, name, line and number of axes; a weight matrix has no place and line 0
AxesTable = dict[AxesKey, tuple[str, ...]]


def key_of_weight(name: str) -> AxesKey:
    return ((), name, 0, 2)
