"""What exercises of this folder need beside their numbers (harness/microgpt_harness/tools/exercises/subjects.py)."""

import torch
from microgpt_harness.tools.exercises import points


def array(rows, lesson):
    return torch.tensor(rows, dtype=torch.float64, requires_grad=True)


def train_step(module, engine, point):
    """The loss is to be detached: it would keep all operations of its step in memory, of each step of a run."""
    config = points.config_of(module)
    state = engine.make_state(config, point.params, dtype="float64", device="cpu")
    loss = module.train_step(state, point.batch, config)
    if isinstance(loss, torch.Tensor) and loss.requires_grad:
        return (
            "All numbers are right, but what train_step returns keeps all operations that led to it in memory. "
            ".detach() is the loss without them."
        )
    return None


accumulate = train_step
