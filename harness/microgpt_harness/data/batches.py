"""From a dataset to token sequences: what is trained on in which order, and what is held out."""

import hashlib
from array import array
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from random import Random
from typing import Any, overload

from ..contract import PADDING, Document, Vocabulary
from ..system.errors import UserError
from .datasets import Dataset
from .documents import joined
from .tokens import TokenFile, positions_up_to

HELD_OUT = 10  # one part in this many is for validation
AT_ONCE = 2**16  # characters to tokenise: a list of all tokens would take many times the text
AT_HAND = 64  # sequences read from a token file until its pages are let go: each may have brought half a megabyte


class Batch(Sequence[Document]):
    """The documents of a step: as a sequence, lists of tokens; as an array, integers of which no list is made."""

    def __init__(self, documents: Sequence[Sequence[int]]) -> None:
        self.documents = documents  # lists, or pieces of what is mapped into memory

    def __len__(self) -> int:
        return len(self.documents)

    @overload
    def __getitem__(self, index: int) -> Document: ...
    @overload
    def __getitem__(self, index: slice) -> "Batch": ...
    def __getitem__(self, index: int | slice) -> "Document | Batch":
        if isinstance(index, slice):
            return Batch(self.documents[index])
        return list(self.documents[index])

    def array(self, length: int | None = None, dtype: str = "int32") -> Any:
        """Return a NumPy array (B, length), with PADDING to the right of documents that are shorter.

        Without a length it is that of the longest document.
        """
        import numpy as np

        longest = max(map(len, self.documents), default=0)
        padded = np.full((len(self), longest if length is None else length), PADDING, dtype)
        for row, document in zip(padded, self.documents):
            row[: len(document)] = document
        return padded


@dataclass
class TrainingData:
    """Sequences of tokens, made when asked for.

    `train` and `held_out` hold what each is made from: a document's text, its number in a token file, or a window's
    first position in a stream of tokens. Numbers, positions and tokens are arrays, of 4 bytes an entry or 2: a list's
    entry takes 8, and a large int 32 more.
    """

    dataset: Dataset
    tokenizer: Vocabulary
    train: Sequence[str] | Sequence[int]
    held_out: Sequence[str] | Sequence[int]
    block_size: int
    tokens: Sequence[int] = ()  # what numbers and positions lead into
    starts: Sequence[int] = ()  # of the documents in `tokens`, if they are not one stream
    read: int = 0  # sequences since pages were let go

    def sequence(self, item: str | int) -> Sequence[int]:
        """Return at most block_size + 1 tokens."""
        if isinstance(item, str):
            return self.tokenizer.encode(item[: self.block_size])[: self.block_size + 1]
        start, end = item, item + self.block_size + 1
        if self.starts:
            start, end = self.starts[item], min(self.starts[item + 1], self.starts[item] + self.block_size) + 1
        return self.tokens[start:end]

    def sequences(self, items: Sequence[str | int]) -> Batch:
        self.read += len(items)
        if self.read > AT_HAND and isinstance(self.dataset.documents, TokenFile):
            self.dataset.documents.release()
            self.read = 0
        return Batch([self.sequence(item) for item in items])

    def batch(self, step: int, batch_size: int) -> Batch:
        """Return the sequences of one step, counted from 0: numbers (step · B + b) mod N."""
        first = step * batch_size
        return self.sequences([self.train[(first + b) % len(self.train)] for b in range(batch_size)])

    def validation_batch(self, size: int) -> Batch:
        """Return the same sequences at every call, spread evenly over what is held out."""
        every = max(1, len(self.held_out) // size)
        return self.sequences(self.held_out[::every][:size])

    @cached_property
    def sha256(self) -> str:
        """Names the data itself, so that a run is not resumed on another: of the documents with "\0" between them."""
        documents = self.dataset.documents
        if isinstance(documents, TokenFile):
            return documents.sha256
        digest = hashlib.sha256()
        for piece in joined(documents):
            digest.update(piece.encode())
        return digest.hexdigest()


def prepare(
    dataset: Dataset, tokenizer_class: Callable[[list[str]], Vocabulary], block_size: int, rng: Random
) -> TrainingData:
    """Shuffle once by `rng` and hold out the last tenth. The vocabulary is that of the whole dataset.

    A token file's tokens are used as they are, if they are those of the lesson's tokenizer; else, as for all smaller
    data, it is asked for them. Raises UserError if there is too little of it.
    """
    documents = dataset.documents
    starts: Sequence[int] = ()
    if isinstance(documents, TokenFile) and (tokenizer := documents.tokenizer(tokenizer_class)):
        tokens, starts = documents.tokens, documents.starts
    elif dataset.mode == "stream":
        tokenizer = tokenizer_class(list(documents))
        tokens = one_stream(documents, tokenizer)
    else:
        docs = list(documents)
        rng.shuffle(docs)
        n_train = len(docs) - len(docs) // HELD_OUT
        return TrainingData(dataset, tokenizer_class(docs), docs[:n_train], docs[n_train:], block_size)
    if dataset.mode == "stream":
        windows, held_out = windows_of(dataset, len(tokens), block_size)
        rng.shuffle(windows)
        return TrainingData(dataset, tokenizer, windows, held_out, block_size, tokens)
    order = positions(range(len(documents)))
    rng.shuffle(order)
    n_train = len(order) - len(order) // HELD_OUT
    parts = memoryview(order)  # a slice of the array itself would be a copy
    return TrainingData(dataset, tokenizer, parts[:n_train], parts[n_train:], block_size, tokens, starts)


def one_stream(documents: Sequence[str], tokenizer: Vocabulary) -> memoryview:
    """Return one sequence of tokens, BOS between paragraphs."""
    tokens = array("I", [tokenizer.bos])
    for paragraph in documents:
        for piece in pieces(paragraph):
            tokens.extend(tokenizer.encode(piece)[1:-1])
        tokens.append(tokenizer.bos)
    return memoryview(tokens)


def windows_of(dataset: Dataset, n_tokens: int, block_size: int) -> "tuple[array[int], array[int]]":
    """Return where the windows of block_size + 1 tokens begin: those to train on overlap by half, in order."""
    n_train = n_tokens - n_tokens // HELD_OUT
    window = block_size + 1
    if n_train < window:
        raise UserError(
            f"dataset {dataset.name}: {n_train:,} tokens to train on are fewer than one window of {window:,};"
            " use a smaller --block-size or more text"
        )
    train = positions(range(0, n_train - window + 1, max(1, window // 2)))
    return train, positions(range(n_train, n_tokens - window + 1, window))


def positions(counted: range) -> "array[int]":
    return array(positions_up_to(counted.stop), counted)


def pieces(text: str) -> Iterator[str]:
    return (text[start : start + AT_ONCE] for start in range(0, len(text), AT_ONCE))
