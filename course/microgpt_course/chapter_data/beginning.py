"""What a lesson's main() has made before its first step: documents in their order, tokenizer, weights, generator."""

import random
from dataclasses import dataclass
from types import ModuleType
from typing import Any


@dataclass
class Beginning:
    rng: random.Random  # as it is when training begins, which does not use it: sampling goes on from here
    docs: list[str]
    tokenizer: Any
    params: dict[str, list[list[float]]]


def begin(functions: ModuleType) -> Beginning:
    """Return what training begins with. `functions` is what a lesson's file defines."""
    config = functions.CONFIG
    rng = random.Random(config.seed)
    docs = functions.load_docs(functions.NAMES, rng)
    tokenizer = functions.Tokenizer(docs)
    return Beginning(rng, docs, tokenizer, functions.init_params(config, tokenizer.vocab_size, rng))


def cut(functions: ModuleType, tokenizer: Any, doc: str) -> list[int]:
    """Return a document's tokens, as many of them as the model sees, and the one after."""
    tokens: list[int] = tokenizer.encode(doc)
    return tokens[: functions.CONFIG.block_size + 1]


def batches(functions: ModuleType) -> list[list[str]]:
    """Return the documents of each step."""
    config, docs = functions.CONFIG, begin(functions).docs
    size = config.batch_size
    return [[docs[(step * size + b) % len(docs)] for b in range(size)] for step in range(config.num_steps)]
