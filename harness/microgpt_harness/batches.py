"""From a dataset to token sequences: what is trained on in which order, and what is held out."""

import hashlib
from dataclasses import dataclass
from random import Random
from typing import Any

from .datasets import Dataset
from .errors import UserError

HELD_OUT = 10  # one part in this many is for validation


@dataclass
class TrainingData:
    """Sequences of tokens, made when asked for: document i is `encode(train[i])`.

    train and held_out hold documents (discrete) or the first positions of windows (stream).
    """

    dataset: Dataset
    tokenizer: Any
    train: list
    held_out: list
    block_size: int
    stream: list[int]  # empty for discrete data

    def encode(self, item: str | int) -> list[int]:
        """Return at most block_size + 1 tokens."""
        if isinstance(item, int):
            return self.stream[item : item + self.block_size + 1]
        return self.tokenizer.encode(item)[: self.block_size + 1]

    def batch(self, step: int, batch_size: int) -> list[list[int]]:
        """Return the sequences of one step, counted from 0: numbers (step · B + b) mod N."""
        first = step * batch_size
        return [self.encode(self.train[(first + b) % len(self.train)]) for b in range(batch_size)]

    def validation_batch(self, size: int) -> list[list[int]]:
        """Return the same sequences at every call, spread evenly over what is held out."""
        every = max(1, len(self.held_out) // size)
        return [self.encode(item) for item in self.held_out[::every][:size]]

    @property
    def sha256(self) -> str:
        """Names the data itself, so that a run is not resumed on another."""
        return hashlib.sha256("\0".join(self.dataset.documents).encode()).hexdigest()


def prepare(dataset: Dataset, tokenizer_class: Any, block_size: int, rng: Random) -> TrainingData:
    """Shuffle once by `rng` and hold out the last tenth. The vocabulary is that of the whole dataset.

    Raises UserError if there is too little of it.
    """
    if dataset.mode == "stream":
        return prepare_stream(dataset, tokenizer_class, block_size, rng)
    docs = list(dataset.documents)
    rng.shuffle(docs)
    n_train = len(docs) - len(docs) // HELD_OUT
    return TrainingData(dataset, tokenizer_class(docs), docs[:n_train], docs[n_train:], block_size, [])


def prepare_stream(dataset: Dataset, tokenizer_class: Any, block_size: int, rng: Random) -> TrainingData:
    """One sequence of tokens, BOS between paragraphs; windows of block_size + 1 that overlap by half."""
    tokenizer = tokenizer_class(dataset.documents)
    stream = [tokenizer.bos]
    for paragraph in dataset.documents:
        stream += tokenizer.encode(paragraph)[1:]
    n_train = len(stream) - len(stream) // HELD_OUT
    window = block_size + 1
    if n_train < window:
        raise UserError(
            f"dataset {dataset.name}: {n_train:,} tokens to train on are fewer than one window of {window:,};"
            " use a smaller --block-size or more text"
        )
    train = list(range(0, n_train - window + 1, max(1, window // 2)))
    rng.shuffle(train)
    held_out = list(range(n_train, len(stream) - window + 1, window))
    return TrainingData(dataset, tokenizer, train, held_out, block_size, stream)
