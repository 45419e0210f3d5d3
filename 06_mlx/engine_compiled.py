"""`--compile`: the same engine, each step as one function that mx.compile traced and fused.

On the CPU that needs a C++ compiler (g++) and takes seconds before the first step, but only the first time for a model
of that shape: MLX keeps what was compiled in the system's folder for temporary files.
"""

import shutil
from functools import cache, partial

import engine
import microgpt
import mlx.core as mx
from engine import AT_ONCE, evaluate, export_state, logits, loss_and_grads, next_logits, prepared
from microgpt import State, adam_step, schedule

__all__ = ["evaluate", "export_state", "logits", "loss_and_grads", "make_state", "next_logits", "train_steps"]

OUT_OF_MEMORY = engine.OUT_OF_MEMORY


def make_state(config, *args, **kwargs):
    state = engine.make_state(config, *args, **kwargs)
    if mx.default_device() == mx.cpu and not shutil.which("g++"):
        raise ValueError("--compile needs the C++ compiler g++ on the CPU; install it or leave the flag out")
    return state


@cache
def compiled_step(config, in_bfloat16):
    """Return a compiled step, and the dict of arrays that it starts from and puts new ones into.

    `in_bfloat16` is what the engine computes in, which compiling makes a part of the step.
    """
    state = {}

    @partial(mx.compile, inputs=state, outputs=state)
    def step(batch, learning_rate):
        loss, grads = microgpt.loss_and_grads(state["params"], batch, config)
        state.update(adam_step(State(**state), grads, learning_rate, config)._asdict())
        return loss

    return step, state


def train_steps(state, batches, config):
    """What differs from step to step goes in as arrays: mx.compile takes any other number for a constant."""
    step, arrays = compiled_step(config, engine.computes_in_bfloat16)
    dtype = state.params["wte"].dtype
    arrays.update(state._asdict(), step=mx.array(state.step, dtype))
    losses = []
    for taken, batch in enumerate(batches, start=state.step):
        losses.append(step(prepared(batch), mx.array(schedule(taken, config), dtype)))
        if len(losses) % AT_ONCE == 0:
            mx.async_eval(arrays, losses[-AT_ONCE:])
    mx.eval(arrays, losses)
    return State(**arrays | {"step": state.step + len(batches)}), [loss.item() for loss in losses]
