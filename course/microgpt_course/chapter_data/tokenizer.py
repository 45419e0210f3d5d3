"""What the chapter on the Tokenizer says: the tokens, what they cost, and what a longer token would save."""

import random
from collections import Counter
from itertools import pairwise
from types import SimpleNamespace
from typing import Any

from ..record import Recording

OUTSIDE = "Zoë"  # a name that has letters which the names of the file do not have


def facts(lesson: SimpleNamespace, config: Any, recording: Recording, other: Recording) -> SimpleNamespace:
    """Return what is said of tokens. `lesson` is what 01 defines, `other` a second document to ask about."""
    docs = lesson.load_docs(lesson.NAMES, random.Random(config.seed))
    tokenizer = lesson.Tokenizer(docs)
    pair, saved = longest_saving(docs)
    predictions = sum(len(doc) + 1 for doc in docs)
    return SimpleNamespace(
        tokenizer=tokenizer,
        chars=tokenizer.chars,
        bos=tokenizer.bos,
        vocab_size=tokenizer.vocab_size,
        labels=[*tokenizer.chars, "BOS"],
        name=recording.document,
        tokens=tokenizer.encode(recording.document),
        other=other.document,
        other_tokens=tokenizer.encode(other.document),
        error=what_goes_wrong(tokenizer, OUTSIDE),
        outside=OUTSIDE,
        documents=len(docs),
        pair=pair,
        saved=saved,
        mean=predictions / len(docs),
        mean_with_pair=(predictions - saved) / len(docs),
    )


def longest_saving(docs: list[str]) -> tuple[str, int]:
    """Return the pair of letters that stands in the documents most often, and how many tokens it would save as one.

    In "aaa" the pair "aa" can be put together once only, which is what `str.count` counts.
    """
    pairs = Counter(a + b for doc in docs for a, b in pairwise(doc))
    saved = {pair: sum(doc.count(pair) for doc in docs) for pair, _ in pairs.most_common(3)}
    best = max(saved, key=lambda pair: saved[pair])
    return best, saved[best]


def what_goes_wrong(tokenizer: Any, name: str) -> str:
    """Return what Python says when a name is encoded that the tokenizer cannot know; "" if it can."""
    try:
        tokenizer.encode(name)
    except KeyError as error:
        return f"KeyError: {error}"
    return ""
