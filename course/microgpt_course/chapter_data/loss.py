"""Figures of the chapter on the loss: how surprised the model is by what comes, and what others would be."""

import math
import sys
from collections import Counter
from itertools import pairwise
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
from markupsafe import Markup

from .. import mathml
from ..material import Material
from ..record import Recording
from .averages import count_of_last, mean_of_last
from .beginning import begin, cut

LIKELIEST = 5  # guesses of the model that are shown beside the token that came


def figures(made: Material, functions: ModuleType) -> SimpleNamespace:
    """Return all figures that the chapter's text takes, by name. `functions` are those of the recorded lesson."""
    shown = surprises(made)
    losses = list(made.training.losses)
    labels = next(iter(made.recordings.values())).vocabulary
    return SimpleNamespace(
        shown=shown,
        doc=shown[0],
        last=shown[0]["moments"][-1],
        worst=int(np.argmin(shown[0]["moments"][-1]["probs"])),
        labels=labels,
        V=len(labels),
        counted=counted(functions),
        first_loss=losses[0],
        late_loss=mean_of_last(losses),
        late_steps=count_of_last(losses),
        seen=len(made.training.documents),
    )


def documents(made: Material) -> list[str]:
    return list(dict.fromkeys(document for document, _ in made.recordings))


def moments(made: Material) -> list[int]:
    return sorted({step for _, step in made.recordings})


def surprises(made: Material) -> list[dict[str, Any]]:
    """Return for each recorded document what comes in it, and what the model expected at each moment of training."""
    return [
        {
            "name": document,
            "tokens": tokens_of(made.recordings[document, moments(made)[0]]),
            "moments": [expected(made.recordings[document, step]) for step in moments(made)],
        }
        for document in documents(made)
    ]


def expected(recording: Recording) -> dict[str, Any]:
    """Return the probability of each token that came, and the guesses that the model thought likeliest there."""
    probs = next_probs(recording)
    targets = recording.tokens[1:]
    return {
        "step": recording.step,
        "loss": recording.loss,
        "probs": [row[target] for row, target in zip(probs, targets, strict=True)],
        "likeliest": [
            [(recording.vocabulary[token], row[token]) for token in np.argsort(-row)[:LIKELIEST]] for row in probs
        ],
    }


def tokens_of(recording: Recording) -> list[str]:
    return [recording.vocabulary[token] for token in recording.tokens]


def next_probs(recording: Recording) -> np.ndarray:
    """Return the probabilities (T, V) that the recorded model gave to each token, after each of the T tokens."""
    probs: np.ndarray = np.exp(recording.find("loss_fn", "log_probs").array)
    return probs


def surprise(prob: float) -> float:
    """Return how much surprise an event of this probability holds, in nats."""
    return abs(math.log(prob))


def counted(functions: ModuleType) -> dict[str, float]:
    """Return the losses of guessers that know how often tokens come, counted over all documents, in nats.

    `letters` knows how often each token comes, `pairs` how often it comes after each other one, `first` how often each
    is the first of a name.
    """
    start = begin(functions)
    pairs: Counter[tuple[int, int]] = Counter()
    for doc in start.docs:
        tokens = cut(functions, start.tokenizer, doc)
        pairs.update(pairwise(tokens))
    before: Counter[int] = Counter()
    after: Counter[int] = Counter()
    for (token, following), count in pairs.items():
        before[token] += count
        after[following] += count
    n = sum(pairs.values())
    return {
        "documents": len(start.docs),
        "letters": entropy(after),
        "pairs": sum(count / n * -math.log(count / before[token]) for (token, _), count in pairs.items()),
        "first": entropy(
            Counter({following: n for (token, following), n in pairs.items() if token == start.tokenizer.bos})
        ),
    }


def entropy(counts: Counter[int]) -> float:
    """Return the mean surprise of whoever knows how often each of these comes, in nats."""
    n = counts.total()
    return sum(count / n * -math.log(count / n) for count in counts.values())


def surprises_of(probs: list[float]) -> list[float]:
    return [surprise(prob) for prob in probs]


def recorded01(recording: Recording, name: str, position: int) -> float:
    """Return a number that 01's cross_entropy computed for a position of the document."""
    return float(recording.find("cross_entropy", name, position).array)


def logit_of_target(recording: Recording, position: int) -> float:
    logits = recording.find("cross_entropy", "logits", position).array
    return float(logits[recording.tokens[position + 1]])


def in_numbers(recording: Recording, position: int) -> Markup:
    """Return the last line of 01's cross_entropy for a position, with its numbers."""
    total, largest, logit = (
        recorded01(recording, "total", position),
        recorded01(recording, "largest", position),
        logit_of_target(recording, position),
    )
    loss = math.log(total) + largest - logit
    return mathml.math(f"ln {total:.3f} + {largest:.3f} - ({logit:.3f}) = {loss:.3f}".replace("+ -", "- "))


def largest_exponent() -> float:
    """Return the largest number whose exponential is a float."""
    return math.log(sys.float_info.max)
