"""This folder's lesson behind the names that the harness calls (harness/microgpt_harness/contract.py)."""

import os

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # one document's matrices are too small to share among threads

import numpy as np
from microgpt import State, backward, gpt, loss_fn, train_step

np.seterr(all="ignore")  # the harness looks at every loss, and says what to do where one is no number


def make_state(config, params, adam_m=None, adam_v=None, step=0, dtype="float64", device="auto"):
    state = State(params, np.dtype(dtype))
    for name in params if adam_m else ():
        state.adam_m[name][:] = adam_m[name]
        state.adam_v[name][:] = adam_v[name]
    state.step = step
    return state


def export_state(state):
    return tuple(copies(matrices) for matrices in (state.params, state.adam_m, state.adam_v))


def copies(matrices):
    return {name: matrix.copy() for name, matrix in matrices.items()}


def train_steps(state, batches, config):
    return state, [float(train_step(state, batch, config)) for batch in batches]


def evaluate(state, batch, config):
    n_tokens = sum(len(doc) - 1 for doc in batch)
    return float(sum(loss_fn(state.params, doc, n_tokens, config)[0] for doc in batch))


def next_logits(state, tokens, config):
    logits, _ = gpt(state.params, tokens, config)
    return logits[-1].tolist()


def logits(state, batch, config):
    return [gpt(state.params, doc[:-1], config)[0] for doc in batch]


def loss_and_grads(state, batch, config):
    n_tokens = sum(len(doc) - 1 for doc in batch)
    batch_loss = 0.0
    grads = {name: np.zeros_like(w) for name, w in state.params.items()}
    for doc in batch:
        loss, saved = loss_fn(state.params, doc, n_tokens, config)
        backward(saved, state.params, grads, config)
        batch_loss += loss
    return float(batch_loss), grads
