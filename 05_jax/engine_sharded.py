"""`--shard`: as `--distributed`, and each device keeps only its share of every weight and of Adam's means.

    python main.py --shard

The compiler puts weights together where it needs them. A weight stays whole where the number of devices divides the
length of none of its axes.
"""

import engine_distributed
import jax
from engine_distributed import (
    LOST_PROCESS,
    OUT_OF_MEMORY,
    evaluate,
    logits,
    loss_and_grads,
    maximum,
    mesh,
    next_logits,
    rank,
    train_steps,
    whole,
)
from jax.sharding import NamedSharding, PartitionSpec

__all__ = ["LOST_PROCESS", "OUT_OF_MEMORY", "evaluate", "export_state", "logits", "loss_and_grads", "make_state"]
__all__ += ["maximum", "next_logits", "rank", "train_steps"]


def make_state(*args, **kwargs):
    state = engine_distributed.make_whole(*args, **kwargs)
    return jax.tree.map(lambda array: engine_distributed.place(array, sharding(array)), state)


def sharding(array):
    """Return over which axis the devices share an array: the first one that comes out even."""
    for axis, length in enumerate(array.shape):
        if length % mesh.size == 0:
            return NamedSharding(mesh, PartitionSpec(*[None] * axis, "devices"))
    return whole


put_together = jax.jit(lambda state: state, out_shardings=whole)


def export_state(state):
    return engine_distributed.export_state(put_together(state))
