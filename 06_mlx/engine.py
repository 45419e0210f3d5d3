"""This folder's lesson behind the names that the harness calls (harness/microgpt_harness/contract.py)."""

import os

import microgpt
import mlx.core as mx
import numpy as np
from microgpt import State, gpt, loss_fn, pad, train_step, unflatten

OUT_OF_MEMORY = ("allocate",)

# From the M5 on, Apple's GPUs multiply float32 matrices with ten bits of each number unless told not to, before the
# first product. What this program calls float32 has 24.
os.environ.setdefault("MLX_ENABLE_TF32", "0")


def make_state(config, params, adam_m=None, adam_v=None, step=0, dtype="float32", device="auto"):
    choose_device(device, dtype)
    dtype = getattr(mx, dtype)
    state = State(params, dtype)
    if adam_m:
        moments = (
            {name: moment[name] for name in params} for moment in (adam_m, adam_v)
        )  # in the order of the weights
        state.adam_m, state.adam_v = (State(moment, dtype).weights for moment in moments)
    state.step = step
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
    named = (unflatten(flat, state.shapes) for flat in (state.weights, state.adam_m, state.adam_v))
    return tuple({name: np.array(matrix) for name, matrix in matrices.items()} for matrices in named)


def train_steps(state, batches, config):
    losses = [train_step(state, batch, config) for batch in batches]
    return state, [loss.item() for loss in losses]


def evaluate(state, batch, config):
    return loss_fn(state.weights, batch, state.stacked, config).item()


def next_logits(state, tokens, config):
    return gpt(unflatten(state.weights, state.stacked), mx.array([tokens]), config)[-1].tolist()


def logits(state, batch, config):
    tokens, _, _ = pad(batch, state.weights.dtype)
    padded = gpt(unflatten(state.weights, state.stacked), tokens, config).reshape(*tokens.shape, -1)  # (B, T, V)
    return [rows[: len(doc) - 1] for rows, doc in zip(np.array(padded), batch)]


def loss_and_grads(state, batch, config):
    loss, grads = microgpt.loss_and_grads(state.weights, batch, state.stacked, config)
    return loss.item(), {name: np.array(grad) for name, grad in unflatten(grads, state.shapes).items()}
