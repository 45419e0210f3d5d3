"""One document through a lesson, watched: what `record` keeps, and what axes.py needs to know of it."""

import random
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from .axes import UNNAMED
from .axes_table import AxesKey, AxesTable, key_of_weight
from .gradients import connect, read_objects
from .program import Matrices, Program, encode, grads_of, make_state, shuffled_documents, vocabulary
from .statements import read_statements
from .trace import Noted, Running, Trace, watching
from .values import Call, Recording, Value

# A lesson calls a function for each position of each head in each layer, and a few of them several times. What is
# called more often than this works on single numbers: of dot and the like only the first calls are kept.
MOST_CALLS = 8  # times positions, heads and layers


@dataclass(frozen=True)
class Moment:
    """A point of training: the weights, Adam's means, and the number of steps taken."""

    params: Matrices
    adam_m: Matrices
    adam_v: Matrices
    step: int


@dataclass(frozen=True)
class Seen:
    """What was seen while one document ran, before its axes have names."""

    document: str
    tokens: list[int]
    vocabulary: list[str]
    moment: Moment
    loss: float
    grads: Matrices
    noted: list[Noted]
    calls: list[Running]
    counts: dict[str, int]

    def arrays(self) -> Iterator[tuple[AxesKey, np.ndarray]]:
        """Yield the array of each weight matrix and each value, with the key of its axes."""
        for name, matrix in self.moment.params.items():
            yield key_of_weight(name), matrix
        for noted in self.noted:
            array = self.array(noted)
            yield (noted.running.place, noted.name, noted.line, array.ndim), array

    def array(self, noted: Noted) -> np.ndarray:
        return self.moment.params[noted.weight] if noted.weight else noted.array


def run(program: Program, config: Any, moment: Moment, document: str) -> Seen:
    """Take a step on one document as train_step does, then draw a sample with the weights from before that step."""
    module = program.module
    docs, _ = shuffled_documents(program)
    tokenizer = module.Tokenizer(docs)
    tokens = encode(program, tokenizer, document, config)
    state, untouched = (make_state(program, moment.params, moment.adam_m, moment.adam_v, moment.step) for _ in range(2))
    positions = len(tokens) - 1
    most_calls = MOST_CALLS * positions * config.n_head * config.n_layer
    trace = Trace(str(program.file), read_statements(program.source), state.params, most_calls)
    grads: Matrices = {}

    def before_adam_step() -> None:
        grads.update(grads_of(state))
        read_objects(trace.so_far())

    trace.at_call["adam_step"] = before_adam_step
    with watching(trace):
        loss = float(module.train_step(state, [tokens], config))
    trace.only = "generate"
    with watching(trace):
        module.generate(untouched, tokenizer.bos, random.Random(config.seed), config)
    noted = trace.finish()
    connect(noted, trace.calls)
    return Seen(document, tokens, vocabulary(tokenizer), moment, loss, grads, noted, trace.calls, dict(trace.counts))


def recording_of(folder: str, seen: Seen, table: AxesTable) -> Recording:
    """Return what was seen as a Recording, with the axes that the table says."""
    values = [value_of(noted, seen, table) for noted in seen.noted]
    whole = {
        (value.function, value.call)
        for noted, value in zip(seen.noted, values)
        if noted.argument and not value.weight and "T" in value.axes
    }
    weights: dict[tuple[str, int], tuple[str, ...]] = {}
    for noted, value in zip(seen.noted, values):
        if noted.argument and value.weight:
            key = (value.function, value.call)
            weights[key] = (*weights.get(key, ()), value.weight)
    calls = {}
    for running in seen.calls:
        key = (running.function, running.call)
        calls[key] = Call(
            *key,
            running.caller.function if running.caller else "",
            running.caller.call if running.caller else 0,
            running.caller_line,
            running.turn,
            running.sequential,
            weights.get(key, ()),
            key in whole,
        )
    return Recording(
        folder=folder,
        document=seen.document,
        tokens=seen.tokens,
        step=seen.moment.step,
        loss=seen.loss,
        values=values,
        grads=seen.grads,
        params=seen.moment.params,
        vocabulary=seen.vocabulary,
        calls=calls,
        counts=seen.counts,
        axes_table=table,
    )


def value_of(noted: Noted, seen: Seen, table: AxesTable) -> Value:
    running, source = noted.running, noted.grad_from
    array = seen.array(noted)
    key = (running.place, noted.name, noted.line, array.ndim)
    return Value(
        function=running.function,
        call=running.call,
        caller=running.caller.function if running.caller else "",
        caller_line=running.caller_line,
        line=noted.line,
        name=noted.name,
        array=array,
        axes=table.get(key, (UNNAMED,) * array.ndim),
        grad=seen.grads[noted.weight] if noted.weight else noted.grad,
        grad_name=source.name if source else "",
        grad_function=source.running.function if source else "",
        grad_line=source.line if source else 0,
        nth=noted.nth,
        turn=noted.turn,
        weight=noted.weight,
    )
