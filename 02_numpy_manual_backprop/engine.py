"""This folder's lesson behind the names that the harness calls (harness/microgpt_harness/contract.py)."""

import os

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # one document's matrices are too small to share among threads

import numpy as np
from microgpt import State, backward, gpt, loss_fn, named_views, train_step

np.seterr(all="ignore")  # the harness looks at every loss, and says what to do where one is no number


def make_state(config, params, adam_m=None, adam_v=None, step=0, dtype="float64", device="auto"):
    state = State(params, np.dtype(dtype))
    if adam_m:
        state.adam_m[:] = np.concatenate([np.ravel(adam_m[name]) for name in params])
        state.adam_v[:] = np.concatenate([np.ravel(adam_v[name]) for name in params])
    state.step, state.sampled = step, None
    return state


def export_state(state):
    return tuple(named_views(flat.copy(), state.shapes) for flat in (state.weights, state.adam_m, state.adam_v))


def train_steps(state, batches, config):
    state.sampled = None  # its keys and values are those of weights that are about to change
    return state, [train_step(state, batch, config) for batch in batches]


def evaluate(state, batch, config):
    n_tokens = sum(len(doc) - 1 for doc in batch)
    return float(sum(loss_fn(state.params, doc, n_tokens, config)[0] for doc in batch))


def next_logits(state, tokens, config):
    """Compute only the last position, if the call before was for the tokens in front of it."""
    start, past = 0, None
    if state.sampled and state.sampled[0] == tokens[:-1]:
        start, past = len(tokens) - 1, state.sampled[1]
    logits, (_, *past, _) = gpt(state.params, tokens[start:], config, start, past)
    state.sampled = list(tokens), past
    return logits[-1].tolist()


def logits(state, batch, config):
    return [gpt(state.params, doc[:-1], config)[0] for doc in batch]


def loss_and_grads(state, batch, config):
    n_tokens = sum(len(doc) - 1 for doc in batch)
    batch_loss, grads = 0.0, {name: np.zeros_like(w) for name, w in state.params.items()}
    for doc in batch:
        loss, saved = loss_fn(state.params, doc, n_tokens, config)
        backward(saved, state.params, grads, config)
        batch_loss += loss
    return float(batch_loss), grads
