"""What decides a run's numbers, and within what bounds."""

from dataclasses import dataclass
from typing import Any

# Attention gives every pair of positions a score, in each head. A layer of GPT-2 has 12.6 million of them.
MAX_SCORES = 2**26


@dataclass(frozen=True)
class Settings:
    """Everything that decides a run's numbers. `config` is the lesson's Config."""

    config: Any
    val_every: int
    val_docs: int
    dtype: str
    device: str
    top_k: int
    n_samples: int
    prompt: str
    max_tokens: int | None
    repetition_penalty: float
