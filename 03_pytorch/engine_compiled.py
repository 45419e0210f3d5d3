"""`--compile`: the same engine, its model turned into machine code by torch.compile (which needs a C++ compiler).

It takes a minute before the first step, so it is for models large enough, and runs long enough, to earn that back.
"""

import engine
import torch
from engine import CONFIG, Tokenizer, export_state, init_params, train_steps

__all__ = ["CONFIG", "Tokenizer", "evaluate", "export_state", "init_params", "make_state", "next_logits", "train_steps"]

OUT_OF_MEMORY = engine.OUT_OF_MEMORY


def make_state(*args, **kwargs):
    state = engine.make_state(*args, **kwargs)
    state.model.compile(dynamic=True)  # one compilation for all lengths
    return state


# Without gradients it would all be compiled once more.
evaluate = torch.compiler.set_stance("force_eager")(engine.evaluate)
next_logits = torch.compiler.set_stance("force_eager")(engine.next_logits)
