"""`--compile`: the same engine, its model turned into machine code by torch.compile (which needs a C++ compiler).

It takes a minute before the first step, so it is for models large enough, and runs long enough, to earn that back.
"""

# %% PyTorch
# The same in every folder that uses PyTorch: a test compares the bytes.
import warnings

import engine
import torch
from engine import export_state, loss_and_grads, train_steps

__all__ = ["evaluate", "export_state", "logits", "loss_and_grads", "make_state", "next_logits", "train_steps"]

OUT_OF_MEMORY = engine.OUT_OF_MEMORY
warnings.filterwarnings("ignore", module=r"torch\._inductor")  # how it compiles is no business of whoever trains


def make_state(*args, **kwargs):
    state = engine.make_state(*args, **kwargs)
    state.model.compile(dynamic=True)  # one compilation for all lengths
    return state


# Without gradients it would all be compiled once more.
evaluate = torch.compiler.set_stance("force_eager")(engine.evaluate)
logits = torch.compiler.set_stance("force_eager")(engine.logits)
next_logits = torch.compiler.set_stance("force_eager")(engine.next_logits)
