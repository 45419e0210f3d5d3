"""This folder's lesson behind the names that the harness calls (harness/microgpt_harness/contract.py)."""

import gc
import math

import microgpt
from microgpt import State, backward, loss_fn, train_step


def make_state(config, params, adam_m=None, adam_v=None, step=0, dtype="float64", device="auto"):
    """A Python float is a float64 on the CPU: there is nothing to choose."""
    state = State(params)
    if adam_m:
        state.adam_m, state.adam_v = flatten(adam_m, params), flatten(adam_v, params)
    state.step = step
    return state


def flatten(tensors, names):
    return [float(number) for name in names for row in tensors[name] for number in row]


def export_state(state):
    params = {name: [[w.data for w in row] for row in rows] for name, rows in state.params.items()}
    return params, like(params, state.adam_m), like(params, state.adam_v)


def like(tensors, flat):
    """Return the numbers of a flat list under the names and in the shapes of `tensors`."""
    numbers = iter(flat)
    return {name: [[next(numbers) for _ in row] for row in rows] for name, rows in tensors.items()}


def train_steps(state, batches, config):
    gc.disable()  # a Value refers to older ones only: there are no cycles for the collector to look for
    try:
        return state, [or_nan(lambda batch=batch: train_step(state, batch, config)) for batch in batches]
    finally:
        gc.enable()


def or_nan(compute):
    """Plain Python raises where the other folders compute inf or nan: let the harness see a number here too."""
    try:
        return compute()
    except ArithmeticError:
        return math.nan


def evaluate(state, batch, config):
    n_tokens = sum(len(doc) - 1 for doc in batch)
    return or_nan(lambda: sum(loss_fn(state.params, doc, n_tokens, config).data for doc in batch))


def next_logits(state, tokens, config):
    logits = or_nan(lambda: [logit.data for logit in microgpt.gpt(state.params, tokens, config)[-1]])
    return logits if isinstance(logits, list) else [logits] * len(state.params["lm_head"])


def logits(state, batch, config):
    return [[[v.data for v in row] for row in microgpt.gpt(state.params, doc[:-1], config)] for doc in batch]


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
