"""`--compile`: the same engine, its loss and gradients traced once and fused by mx.compile.

On the CPU that needs a C++ compiler (g++) and takes seconds before the first step, but only the first time for a model
of that shape: MLX keeps what was compiled in the system's folder for temporary files.
"""

import shutil

import engine
import mlx.core as mx
from engine import evaluate, export_state, logits, loss_and_grads, next_logits
from microgpt import adam_step, cross_entropy, gpt, pad, unflatten

__all__ = ["evaluate", "export_state", "logits", "loss_and_grads", "make_state", "next_logits", "train_steps"]

OUT_OF_MEMORY = engine.OUT_OF_MEMORY


def make_state(config, *args, **kwargs):
    state = engine.make_state(config, *args, **kwargs)
    if mx.default_device() == mx.cpu and not shutil.which("g++"):
        raise ValueError("--compile needs the C++ compiler g++ on the CPU; install it or leave the flag out")

    def loss_of_arrays(weights, tokens, targets, shares):  # all else is the same at every step
        return cross_entropy(gpt(unflatten(weights, state.stacked), tokens, config), targets, shares)

    state.loss_and_grads = mx.compile(mx.value_and_grad(loss_of_arrays))
    return state


def train_steps(state, batches, config):
    losses = [train_step(state, batch, config) for batch in batches]
    return state, [loss.item() for loss in losses]


def train_step(state, batch, config):
    """The lesson's, but for the compiled function."""
    loss, grads = state.loss_and_grads(state.weights, *pad(batch, state.weights.dtype))
    adam_step(state, grads, config)
    mx.async_eval(loss, state.weights, state.adam_m, state.adam_v)
    return loss
