"""What decides a run's numbers, and within what bounds. They are said here for flags, scenarios and checkpoints alike:
else a run could be trained, and then not be saved."""

import math
import sys
from dataclasses import dataclass
from typing import Any

# Attention gives every pair of positions a score, in each head. A layer of GPT-2 has 12.6 million of them.
MAX_SCORES = 2**26


@dataclass(frozen=True)
class Whole:
    """Whole numbers from the smallest to the largest."""

    smallest: int
    largest: int = 2**31 - 1

    def __contains__(self, value: object) -> bool:
        return isinstance(value, int) and not isinstance(value, bool) and self.smallest <= value <= self.largest

    def parse(self, given: Any) -> int:
        """Return what a flag's text or a TOML value says. ValueError says what is wanted instead."""
        wanted = f"a whole number of at least {self.smallest:,}"
        if isinstance(given, (bool, float)):
            raise ValueError(wanted)
        try:
            number = int(given)
        except (ValueError, TypeError):
            raise ValueError(wanted) from None
        if number not in self:
            raise ValueError(wanted if number < self.smallest else f"a whole number of at most {self.largest:,}")
        return number


@dataclass(frozen=True)
class Real:
    """Finite numbers from the smallest, or only those above it (`above`), and below `below`."""

    smallest: float
    above: bool = False
    below: float = math.inf

    def __contains__(self, value: object) -> bool:
        if isinstance(value, bool) or not isinstance(value, (int, float)) or value > sys.float_info.max:
            return False
        return self.smallest <= value < self.below and not (self.above and value == self.smallest)

    def parse(self, given: Any) -> float:
        """Return what a flag's text or a TOML value says. ValueError says what is wanted instead."""
        wanted = f"a number {'above' if self.above else 'of at least'} {self.smallest:g}"
        wanted += f" and below {self.below:g}" if self.below < math.inf else ""
        if isinstance(given, bool):
            raise ValueError(wanted)
        try:
            number = float(given)
        except (ValueError, TypeError, OverflowError):  # OverflowError: TOML has whole numbers of any length
            raise ValueError(wanted) from None
        if number not in self:
            raise ValueError(wanted)
        return number


# Of the lessons' Config. Sizes are bounded so that a hostile file cannot ask for more memory than a machine has.
CONFIG: dict[str, Whole | Real] = {
    "n_layer": Whole(1, 96),
    "n_embd": Whole(1, 2**16),
    "n_head": Whole(1, 2**16),
    "block_size": Whole(1, 2**20),
    "num_steps": Whole(1),
    "learning_rate": Real(0, above=True),
    "beta1": Real(0, below=1),
    "beta2": Real(0, below=1),
    "eps_adam": Real(1e-300),
    "clip_grad": Real(0),
    "batch_size": Whole(1, 2**20),
    "temperature": Real(0),
    "seed": Whole(0),
}


# The kinds of numbers that a run computes with, and for each what its weights and Adam's means are kept in, in memory
# and in files. Of a number's digits, in bits, float64 has 53, float32 24, tf32 11 and bfloat16 8: the last two are for
# products of matrices, and what is added up, a small step at a time, has to have more.
DTYPES = {"float32": "float32", "float64": "float64", "bfloat16": "float32", "tf32": "float32"}


def is_coarse(dtype: str) -> bool:
    """Whether a run computes with fewer digits than its weights have."""
    return DTYPES.get(dtype, dtype) != dtype


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
