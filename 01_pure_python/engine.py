"""This folder's lesson behind the names that the harness calls (harness/microgpt_harness/contract.py)."""

import gc
import math

from microgpt import State, backward, gpt, loss_fn, tape, train_step


def make_state(config, params, adam_m=None, adam_v=None, step=0, dtype="float64", device="auto"):
    """A Python float is a float64 on the CPU: there is nothing to choose."""
    state = State({name: lists(rows) for name, rows in params.items()})
    if adam_m:
        state.adam_m, state.adam_v = flatten(adam_m, params), flatten(adam_v, params)
    state.step = step
    return state


def lists(rows):
    """Return rows of Python floats. Where NumPy is installed, another folder's checkpoint comes as arrays."""
    return rows.tolist() if hasattr(rows, "tolist") else rows


def flatten(tensors, names):
    return [float(number) for name in names for row in lists(tensors[name]) for number in row]


def export_state(state):
    params = {name: [[w.data for w in row] for row in rows] for name, rows in state.params.items()}
    return params, like(params, state.adam_m), like(params, state.adam_v)


def like(tensors, flat):
    """Return the numbers of a flat list under the names and in the shapes of `tensors`."""
    numbers = iter(flat)
    return {name: [[next(numbers) for _ in row] for row in rows] for name, rows in tensors.items()}


def compute(function, *arguments):
    """Call a function of the lesson. Return nan where plain Python raises and the other folders compute inf or nan."""
    gc.disable()  # a Value refers to older ones only: there are no cycles for the collector to look for
    try:
        return function(*arguments)
    except ArithmeticError:
        return math.nan
    finally:
        gc.enable()
        tape.clear()  # of what no backward() has ended


def train_steps(state, batches, config):
    return state, [compute(train_step, state, batch, config) for batch in batches]


def evaluate(state, batch, config):
    n_tokens = sum(len(doc) - 1 for doc in batch)
    return sum(compute(lambda doc=doc: loss_fn(state.params, doc, n_tokens, config).data) for doc in batch)


def next_logits(state, tokens, config):
    return scores(state, tokens, config)[-1]


def logits(state, batch, config):
    return [scores(state, doc[:-1], config) for doc in batch]


def scores(state, tokens, config):
    rows = compute(lambda: [[logit.data for logit in row] for row in gpt(state.params, tokens, config)])
    return rows if isinstance(rows, list) else [[rows] * len(state.params["lm_head"])] * len(tokens)


def loss_and_grads(state, batch, config):
    n_tokens = sum(len(doc) - 1 for doc in batch)
    batch_loss = 0.0
    for doc in batch:
        loss = loss_fn(state.params, doc, n_tokens, config)
        backward(loss)
        batch_loss += loss.data
    grads = {name: [[w.grad for w in row] for row in rows] for name, rows in state.params.items()}
    for w in state.weights:
        w.grad = 0.0  # as a step expects them
    return batch_loss, grads
