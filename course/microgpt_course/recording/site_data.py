"""Recordings as data for pages: numbers with 6 significant digits, and each array once however many names it has."""

import math
from collections.abc import Iterable
from typing import Any

import numpy as np

from .joining import joined_values
from .program import split
from .values import Recording, Training, Value

DIGITS = 6
LONG = 1000  # numbers: a longer array is not in a document's entry but in one of its own
SAME = 1e-9  # numbers that differ by less are the same in 6 digits
Data = dict[str, Any]


class Arrays:
    """Arrays as JSON, each once, in the order in which they were first asked for."""

    def __init__(self) -> None:
        self.listed: list[Data] = []
        self.places: dict[tuple[bytes, tuple[int, ...], tuple[str, ...]], int] = {}

    def place(self, array: np.ndarray, axes: tuple[str, ...]) -> int:
        key = (array.tobytes() + array.dtype.str.encode(), array.shape, axes)
        if key not in self.places:
            self.places[key] = len(self.listed)
            self.listed.append(array_data(array, axes))
        return self.places[key]


def to_site(training: Training, recordings: Iterable[Recording], beside: Iterable[Recording] = ()) -> dict[str, Data]:
    """Return the data of one lesson by name. All arrays are {"shape", "axes", "data"}; nan is null, infinity is a text.

    FOLDER/training           losses, printed lines, sampled names, documents and learning rates
    FOLDER/weights-STEP       the weight matrices after so many steps, by name. Not with `beside`
    FOLDER/DOCUMENT           how each value moved: mean, min, max and rms at each moment
    FOLDER/DOCUMENT-STEP      `values`: all of them. Their arrays are in `arrays`, at the places that `array` and `grad`
                              say. A weight matrix is only named, and a long array has only its statistics
    FOLDER/DOCUMENT-STEP-long of the first document: the values with long arrays, and the gradients of all weights.
                              What has a number for each weight is there as `matrices`, by name

    `beside` are recordings of another lesson. A value that this other lesson has as well says so: `same_as` is its
    place in `values` of the other lesson's entry, where its numbers are. There are no long arrays then.
    """
    recordings = sorted(recordings, key=lambda recording: recording.step)
    others = {(other.document, other.step): other for other in beside}
    folder = training.folder
    site: dict[str, Data] = {f"{folder}/training": training_data(training)}
    for step, params in training.states.items() if not others else ():
        site[f"{folder}/weights-{step}"] = {"step": step, "weights": weights_data(params, recordings[0])}
    documents = list(dict.fromkeys(recording.document for recording in recordings))
    for document in documents:
        by_step = {each.step: joined_values(each) for each in recordings if each.document == document}
        site[f"{folder}/{document}"] = moved_data(document, by_step)
    for recording in recordings:
        name = f"{folder}/{recording.document}-{recording.step}"
        site[name] = recording_data(recording, others.get((recording.document, recording.step)))
        if recording.document == documents[0] and not others:
            site[f"{name}-long"] = long_data(recording)
    return site


# Entries
def training_data(training: Training) -> Data:
    return {
        "folder": training.folder,
        "moments": list(training.states),
        "losses": rounded(training.losses),
        "learning_rates": rounded(training.learning_rates),
        "printed": training.printed,
        "documents": training.documents,
        "names": training.names,
    }


def weights_data(matrices: dict[str, np.ndarray], recording: Recording) -> Data:
    return {name: array_data(matrix, recording.param_axes[name]) for name, matrix in matrices.items()}


def recording_data(recording: Recording, other: Recording | None) -> Data:
    arrays = Arrays()
    data = {
        "folder": recording.folder,
        "document": recording.document,
        "step": recording.step,
        "loss": rounded(recording.loss),
        "tokens": recording.tokens,
        "vocabulary": recording.vocabulary,
        "calls": recording.counts,
        "arrays": arrays.listed,
    }
    if other is None:
        return data | {"values": [value_data(value, arrays) for value in joined_values(recording)]}
    theirs = joined_values(other)
    places = {(v.function, v.call, v.name, v.nth): place for place, v in enumerate(theirs)}
    values = []
    for value in joined_values(recording, like=other):
        place = places.get((value.function, value.call, value.name, value.nth))
        same = place is not None and same_numbers(value, theirs[place])
        values.append(about(value) | {"same_as": place} if same else value_data(value, arrays))
    return data | {"beside": other.folder, "values": values}


def same_numbers(value: Value, other: Value) -> bool:
    """Return whether the other value shows a reader the same: the same numbers where both have any, and a gradient."""
    if value.array.shape != other.array.shape or (value.grad is not None and other.grad is None):
        return False
    seen = ~np.isnan(value.array)
    return bool(np.allclose(value.array[seen], other.array[seen], rtol=SAME, atol=SAME))


def about(value: Value) -> Data:
    """Return what a value is, without its numbers."""
    data: Data = {
        "function": value.function,
        "call": value.call,
        "caller": value.caller,
        "caller_line": value.caller_line,
        "line": value.line,
        "name": value.name,
        "nth": value.nth,
    }
    for name in ("weight", "became", "grad_name", "grad_function", "grad_line"):
        if given := getattr(value, name):
            data[name] = given
    return data


def value_data(value: Value, arrays: Arrays, longest: float = LONG) -> Data:
    data = about(value)
    if value.weight:
        return data
    if value.array.size > longest:
        return data | {"shape": value.array.shape, "axes": value.axes, "statistics": statistics(value.array)}
    data["array"] = arrays.place(value.array, value.axes)
    if value.grad is not None:
        data["grad"] = arrays.place(value.grad, value.axes)
    return data


def long_data(recording: Recording) -> Data:
    weights = (sum(matrix.size for matrix in recording.params.values()),)
    arrays = Arrays()
    values = []
    for value in joined_values(recording):
        if value.array.shape == weights:
            matrices = weights_data(split(value.array, recording.params), recording)
            values.append(about(value) | {"matrices": matrices})
        elif value.array.size > LONG and not value.weight:
            values.append(value_data(value, arrays, math.inf))
    return {
        "document": recording.document,
        "step": recording.step,
        "grads": weights_data(recording.grads, recording),
        "values": values,
        "arrays": arrays.listed,
    }


def moved_data(document: str, by_step: dict[int, list[Value]]) -> Data:
    """Return the statistics of each value at all moments, without what not all have, such as a fifth sampled token."""
    found: dict[tuple[str, int, int, str, int], list[Data]] = {}
    for values in by_step.values():
        for value in values:
            if value.array.ndim or value.array.dtype.kind == "f":
                key = (value.function, value.call, value.line, value.name, value.nth)
                found.setdefault(key, []).append(statistics(value.array))
    moved = [
        {"function": function, "call": call, "line": line, "name": name, "nth": nth, **columns(rows)}
        for (function, call, line, name, nth), rows in found.items()
        if len(rows) == len(by_step)
    ]
    return {"document": document, "steps": list(by_step), "values": moved}


def columns(rows: list[Data]) -> Data:
    return {name: [row[name] for row in rows] for name in rows[0]}


# Numbers
def statistics(array: np.ndarray) -> Data:
    """Return mean, smallest, largest and root mean square of the finite numbers."""
    finite = array[np.isfinite(array)]
    if not finite.size:
        return dict.fromkeys(("mean", "min", "max", "rms"))
    found = (finite.mean(), finite.min(), finite.max(), np.sqrt(np.square(finite).mean()))
    return {name: rounded(number) for name, number in zip(("mean", "min", "max", "rms"), found)}


def array_data(array: np.ndarray, axes: tuple[str, ...]) -> Data:
    return {"shape": list(array.shape), "axes": list(axes), "data": rounded(array.ravel())}


def rounded(numbers: Any) -> Any:
    """Return a number, or a row of numbers, as JSON can hold them: with 6 significant digits."""
    given = np.asarray(numbers).tolist()
    return [number_data(number) for number in given] if isinstance(given, list) else number_data(given)


def number_data(number: float) -> float | int | str | None:
    if math.isnan(number):
        return None
    if math.isinf(number):
        return "Infinity" if number > 0 else "-Infinity"
    short = float(f"{number:.{DIGITS}g}")
    return int(short) if short.is_integer() and abs(short) < 10**DIGITS else short
