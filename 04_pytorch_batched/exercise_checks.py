"""What exercises of this folder need beside their numbers (harness/microgpt_harness/tools/exercises/subjects.py)."""

import torch
from microgpt_harness.tools.exercises import points


def array(rows, lesson):
    return torch.tensor(rows, dtype=torch.float64, requires_grad=True)


def train_step(module, engine, point):
    """The loss is to be a number: a tensor would keep all operations of its step in memory, of each step of a run."""
    config = points.config_of(module)
    state = engine.make_state(config, point.params, dtype="float64", device="cpu")
    if isinstance(module.train_step(state, module.pad(point.batch), config), torch.Tensor):
        return (
            "All numbers are right, but train_step returns a tensor, which keeps all operations that led to it in "
            "memory. .item() takes the number out of it."
        )
    return None
