"""From a dataset to token sequences: what is trained on in which order, and what is held out."""

import hashlib
from array import array
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from random import Random

from ..contract import Vocabulary
from ..system.errors import UserError
from .datasets import Dataset

HELD_OUT = 10  # one part in this many is for validation
AT_ONCE = 2**16  # characters to tokenise, or documents to hash: a list of them all would take many times the text


@dataclass
class TrainingData:
    """Sequences of tokens, made when asked for: document i is `encode(train[i])`.

    train and held_out hold documents (discrete) or the first positions of windows (stream). Positions and tokens of a
    stream are arrays of 4 bytes a number, where a list's entry takes 8 and a large int 32 more.
    """

    dataset: Dataset
    tokenizer: Vocabulary
    train: Sequence[str] | Sequence[int]
    held_out: Sequence[str] | Sequence[int]
    block_size: int
    stream: Sequence[int]  # empty for discrete data

    def encode(self, item: str | int) -> list[int]:
        """Return at most block_size + 1 tokens."""
        if isinstance(item, int):
            return list(self.stream[item : item + self.block_size + 1])
        return self.tokenizer.encode(item[: self.block_size])[: self.block_size + 1]

    def batch(self, step: int, batch_size: int) -> list[list[int]]:
        """Return the sequences of one step, counted from 0: numbers (step · B + b) mod N."""
        first = step * batch_size
        return [self.encode(self.train[(first + b) % len(self.train)]) for b in range(batch_size)]

    def validation_batch(self, size: int) -> list[list[int]]:
        """Return the same sequences at every call, spread evenly over what is held out."""
        every = max(1, len(self.held_out) // size)
        return [self.encode(item) for item in self.held_out[::every][:size]]

    @cached_property
    def sha256(self) -> str:
        """Names the data itself, so that a run is not resumed on another: of the documents with "\\0" between them."""
        digest = hashlib.sha256()
        documents = self.dataset.documents
        for start in range(0, len(documents), AT_ONCE):
            digest.update(("\0" * (start > 0) + "\0".join(documents[start : start + AT_ONCE])).encode())
        return digest.hexdigest()


def prepare(
    dataset: Dataset, tokenizer_class: Callable[[list[str]], Vocabulary], block_size: int, rng: Random
) -> TrainingData:
    """Shuffle once by `rng` and hold out the last tenth. The vocabulary is that of the whole dataset.

    Raises UserError if there is too little of it.
    """
    if dataset.mode == "stream":
        return prepare_stream(dataset, tokenizer_class, block_size, rng)
    docs = list(dataset.documents)
    rng.shuffle(docs)
    n_train = len(docs) - len(docs) // HELD_OUT
    return TrainingData(dataset, tokenizer_class(docs), docs[:n_train], docs[n_train:], block_size, array("I"))


def prepare_stream(
    dataset: Dataset, tokenizer_class: Callable[[list[str]], Vocabulary], block_size: int, rng: Random
) -> TrainingData:
    """One sequence of tokens, BOS between paragraphs; windows of block_size + 1 that overlap by half."""
    tokenizer = tokenizer_class(dataset.documents)
    stream = array("I", [tokenizer.bos])
    for paragraph in dataset.documents:
        for piece in pieces(paragraph):
            stream.extend(tokenizer.encode(piece)[1:-1])
        stream.append(tokenizer.bos)
    n_train = len(stream) - len(stream) // HELD_OUT
    window = block_size + 1
    if n_train < window:
        raise UserError(
            f"dataset {dataset.name}: {n_train:,} tokens to train on are fewer than one window of {window:,};"
            " use a smaller --block-size or more text"
        )
    train = array("I", range(0, n_train - window + 1, max(1, window // 2)))
    rng.shuffle(train)
    held_out = array("I", range(n_train, len(stream) - window + 1, window))
    return TrainingData(dataset, tokenizer, train, held_out, block_size, stream)


def pieces(text: str) -> Iterator[str]:
    return (text[start : start + AT_ONCE] for start in range(0, len(text), AT_ONCE))
