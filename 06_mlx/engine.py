"""This folder's lesson behind the names that the harness calls (harness/microgpt_harness/contract.py)."""

import math
import os
from types import SimpleNamespace

import microgpt
import mlx.core as mx
import numpy as np
from microgpt import State, init_state, loss_fn, pad, train_step

OUT_OF_MEMORY = ("allocate",)
# Steps handed over together: waking MLX's thread each time takes a good part of a small step.
AT_ONCE = 4

# From the M5 on, MLX multiplies float32 matrices on Apple's GPUs with 11 of a number's 24 bits. This asks for all 24.
# MLX reads it at the first product.
os.environ.setdefault("MLX_ENABLE_TF32", "0")


# mx.exp, and what MLX builds on it, has the 7 digits of float32 in float64 too; a power of e has all 16. So what the
# lesson calls mx is from here on MLX with these three functions in place of its own.
def exp(x):
    return mx.power(math.e, x) if x.dtype == mx.float64 else mx.exp(x)


def softmax(x, axis=None, precise=False):
    if x.dtype != mx.float64:
        return mx.softmax(x, axis=axis, precise=precise)
    exps = mx.power(math.e, x - x.max(axis=axis, keepdims=True))
    return exps / exps.sum(axis=axis, keepdims=True)


def logsumexp(x, axis=None, keepdims=False):
    if x.dtype != mx.float64:
        return mx.logsumexp(x, axis=axis, keepdims=keepdims)
    largest = x.max(axis=axis, keepdims=True)
    total = largest + mx.log(mx.power(math.e, x - largest).sum(axis=axis, keepdims=True))
    return total if keepdims else total.squeeze(axis)


microgpt.mx = SimpleNamespace(**vars(mx) | {"exp": exp, "softmax": softmax, "logsumexp": logsumexp})


lesson_gpt = microgpt.gpt
computes_in_bfloat16 = False  # as make_state was last asked for, like the device


class Table:
    """An embedding's rows, rounded once they have been looked up. So its gradients are added up in float32.

    In bfloat16 the sum over the many places of a common token would soon stop growing.
    """

    def __init__(self, rows):
        self.rows = rows

    def __getitem__(self, which):
        return self.rows[which].astype(mx.bfloat16)


def gpt(params, tokens, config):
    """The lesson's, computed in bfloat16 if asked for.

    The weights that are kept are float32, so that small steps add up, and the scores, for the loss is made of them.
    """
    if not computes_in_bfloat16:
        return lesson_gpt(params, tokens, config)
    rounded = {name: w.astype(mx.bfloat16) for name, w in params.items()}
    rounded |= {name: Table(params[name]) for name in ("wte", "wpe")}
    return lesson_gpt(rounded, tokens, config).astype(mx.float32)


microgpt.gpt = gpt  # what the lesson calls by that name is this from here on


def make_state(config, params, adam_m=None, adam_v=None, step=0, dtype="float32", device="auto"):
    global computes_in_bfloat16
    choose_device(device, dtype)
    computes_in_bfloat16 = dtype == "bfloat16"
    kept_in = mx.float64 if dtype == "float64" else mx.float32
    state = init_state(params, kept_in)
    if adam_m:
        adam_m, adam_v = ({name: mx.array(moment[name], kept_in) for name in params} for moment in (adam_m, adam_v))
        state = State(state.params, adam_m, adam_v, step)
    return state


def choose_device(device, dtype):
    """Set MLX's default device. `auto` is the GPU where there is one, unless float64 asks for the CPU."""
    if device == "gpu" and not mx.is_available(mx.gpu):
        raise ValueError("MLX finds no GPU here; use --device cpu")
    if device == "gpu" and dtype == "float64":
        raise ValueError("a GPU has no float64 in MLX; use --dtype float32 or --device cpu")
    on_cpu = device == "cpu" or dtype == "float64" or not mx.is_available(mx.gpu)
    mx.set_default_device(mx.cpu if on_cpu else mx.gpu)


def export_state(state):
    return tuple({name: np.array(w) for name, w in tensors.items()} for tensors in state[:3])


def prepared(batch):
    """Return a batch as train_step takes it: one padded array. Those of a run need no lists for that."""
    return mx.array(batch.array()) if hasattr(batch, "array") else pad(batch)


def train_steps(state, batches, config):
    """Hand over a few steps at a time, which MLX computes while Python describes the next ones."""
    losses = []
    for batch in batches:
        state, loss = train_step(state, prepared(batch), config)
        losses.append(loss)
        if len(losses) % AT_ONCE == 0:
            mx.async_eval(state, losses[-AT_ONCE:])
    mx.eval(state, losses)
    return state, [loss.item() for loss in losses]


def evaluate(state, batch, config):
    return loss_fn(state.params, prepared(batch), config).item()


def next_logits(state, tokens, config):
    return gpt(state.params, mx.array([tokens]), config)[0, -1].tolist()


def logits(state, batch, config):
    padded = gpt(state.params, prepared(batch)[:, :-1], config)  # (B, T, V)
    return [rows[: len(doc) - 1] for rows, doc in zip(np.array(padded), batch)]


def loss_and_grads(state, batch, config):
    loss, grads = microgpt.loss_and_grads(state.params, prepared(batch), config)
    return loss.item(), {name: np.array(grad) for name, grad in grads.items()}
