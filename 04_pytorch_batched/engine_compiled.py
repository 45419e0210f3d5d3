"""`--compile`: the same engine, with the model turned into machine code by torch.compile (needs a C++ compiler).

It takes a minute before the first step, so it is for models large enough, and runs long enough, to earn that back.
"""

import engine
from engine import CONFIG, Tokenizer, evaluate, export_state, init_params, next_logits, train_steps

__all__ = ["CONFIG", "Tokenizer", "evaluate", "export_state", "init_params", "make_state", "next_logits", "train_steps"]


def make_state(*args, **kwargs):
    state = engine.make_state(*args, **kwargs)
    state.model.compile(dynamic=True)  # one compilation for all lengths
    return state
