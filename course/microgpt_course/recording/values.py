"""What a recording holds: named numbers, and the calls in which they got their names."""

from dataclasses import dataclass, field

import numpy as np

from .axes_table import AxesTable, key_of_weight


@dataclass(frozen=True, eq=False)
class Value:
    """The numbers that a name stood for after one line had run."""

    function: str
    call: int  # how often the function had been called before, in this recording
    caller: str  # the function that called it, and the line of that call; "" and 0 where the recorder called it
    caller_line: int
    line: int  # of microgpt.py: the one that gave the name this value; for an argument, the line with `def`
    name: str
    array: np.ndarray  # float64 or int64, in the shape that it has in the file
    axes: tuple[str, ...]  # a name for each axis: ("H", "T", "D"); see axes.py
    grad: np.ndarray | None  # d loss / d value, where it is known
    # Where the lesson gives the gradient a name of its own (dq in attention_backward), and at which line.
    grad_name: str = ""
    grad_function: str = ""
    grad_line: int = 0
    # Which of the name's values in this call it is: 0, 1, … Lines that change an object in place keep the number, and
    # so do the turns of a loop that fills in one position after the other: `turn` tells these apart.
    nth: int = 0
    turn: tuple[int, ...] = ()
    weight: str = ""  # the name of the weight matrix, where it is one
    became: str = ""  # how the values of several calls, positions or heads were put together: "7 × (C) → (T, C)"


@dataclass(frozen=True)
class Call:
    """One call of a function of the lesson."""

    function: str
    call: int
    caller: str
    caller_call: int
    caller_line: int
    turn: tuple[int, ...]  # of the caller's loops that fill in one position after the other
    sequential: bool  # called in a loop in which each turn goes on from the one before
    weights: tuple[str, ...]  # names of the weight matrices that it was given
    whole: bool  # it was given all positions of the document at once


@dataclass(frozen=True, eq=False)
class Recording:
    """One document through a lesson at one moment of training: forward, loss, backward, one step of Adam, a sample."""

    folder: str
    document: str
    tokens: list[int]
    step: int  # steps that had been taken before
    loss: float
    values: list[Value]  # in the order in which the lines ran
    grads: dict[str, np.ndarray]  # d loss / d weight matrix, by name
    params: dict[str, np.ndarray]  # the weights before the step
    vocabulary: list[str] = field(default_factory=list)  # what stands along axis V: the characters, then BOS
    calls: dict[tuple[str, int], Call] = field(default_factory=dict)
    # How often each function was called. Where that is more often than `values` has calls, only the first were kept.
    counts: dict[str, int] = field(default_factory=dict)
    axes_table: AxesTable = field(default_factory=dict, repr=False)

    @property
    def param_axes(self) -> dict[str, tuple[str, ...]]:
        """The axes of each weight matrix and of its gradient, by name."""
        return {name: self.axes_table.get(key_of_weight(name), ("n", "n")) for name in self.params}

    def find(self, function: str, name: str, call: int = 0) -> Value:
        """Return the last value of a name in a call. KeyError says what there is instead."""
        found = [v for v in self.values if (v.function, v.call, v.name) == (function, call, name)]
        if found:
            return found[-1]
        raise KeyError(self.what_there_is(function, name, call))

    def what_there_is(self, function: str, name: str, call: int) -> str:
        here = [value for value in self.values if value.function == function]
        names = sorted({value.name for value in here})
        calls = sorted({value.call for value in here if value.name == name})
        if not here:
            functions = ", ".join(sorted({value.function for value in self.values}))
            return f"{self.folder} has no recorded function {function!r}; recorded are: {functions}"
        if not calls:
            return f"{function} of {self.folder} has no recorded value {name!r}; recorded are: {', '.join(names)}"
        return f"{name} in {function} of {self.folder} is not recorded for call {call}; recorded are: {calls}"


@dataclass(frozen=True, eq=False)
class Training:
    """One run of a lesson's main(), with the weights after every step."""

    folder: str
    losses: list[float]
    printed: list[str]  # the lines that main() printed
    names: list[str]  # the samples at the end
    states: dict[int, dict[str, np.ndarray]]  # the weights at the moments, by steps taken
    documents: list[str]  # that were trained on, in order
    paths: dict[
        str, np.ndarray
    ]  # (steps + 1, n_out, n_in) for each weight matrix: before the first step, and after each
    grads: dict[str, np.ndarray]  # (steps, n_out, n_in): what each step was taken by
    adam_m: dict[str, np.ndarray]  # (steps, n_out, n_in): Adam's means after each step
    adam_v: dict[str, np.ndarray]
    learning_rates: list[float]  # of each step
