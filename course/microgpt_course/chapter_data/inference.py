"""Figures of the chapter on inference: the scores and the random numbers that the first names were drawn with."""

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass, replace
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np

from ..material import Material
from .beginning import begin

SHOWN = 5  # names that are followed draw by draw
TIMES = (0.2, 1, 2, 4)  # the lesson's temperature, in what is compared with it
NAMES_EACH = 8  # names drawn at each temperature


def figures(made: Material, functions: ModuleType) -> SimpleNamespace:
    """Return all figures that the chapter's text takes, by name. `functions` are those of the recorded lesson."""
    start, config = begin(functions), functions.CONFIG
    drawn = draws(made, functions)
    names = made.training.names
    trained_on = start.docs[: config.num_steps * config.batch_size]
    return SimpleNamespace(
        draws=drawn,
        for_page=for_page(drawn),
        vocabulary=[*start.tokenizer.chars, "BOS"],
        names=names,
        printed=made.training.printed[len(made.training.losses) :],
        documents=len(start.docs),
        seen=len(trained_on),
        known=sorted(set(names) & set(start.docs)),
        copied=sorted(set(names) & set(trained_on)),
        names_at=names_at(made, functions),
        each=NAMES_EACH,
        likeliest=likeliest_name(made, functions),
        pair=highest_two(drawn[0][0].logits, [*start.tokenizer.chars, "BOS"]),
    )


@dataclass(frozen=True)
class Draw:
    """One token drawn: what stood before, the scores (V), the probabilities, the random number, and what it chose."""

    before: list[str]
    logits: np.ndarray
    probs: list[float]
    number: float
    index: int
    token: str


class Listening:
    """A generator that notes of each choice the random number behind it, and the weights."""

    def __init__(self, rng: random.Random) -> None:
        self.rng = rng
        self.made: list[tuple[float, list[float]]] = []

    def choices(self, population: Sequence[int], weights: list[float]) -> list[int]:
        beside = random.Random()
        beside.setstate(self.rng.getstate())
        self.made.append((beside.random(), weights))
        return self.rng.choices(population, weights=weights)


def draws(made: Material, functions: ModuleType, names: int = SHOWN) -> list[list[Draw]]:
    """Return the draws of the first names, made by the lesson's own generate() from the trained weights."""
    start, trained = begin(functions), functions.State(last_params(made))
    return [draws_of_a_name(functions, trained, start) for _ in range(names)]


def last_params(made: Material) -> dict[str, np.ndarray]:
    params: dict[str, np.ndarray] = made.training.states[max(made.training.states)]
    return params


def draws_of_a_name(functions: ModuleType, state: Any, start: Any) -> list[Draw]:
    tokenizer, listening = start.tokenizer, Listening(start.rng)
    vocabulary = [*tokenizer.chars, "BOS"]
    drawn = [*functions.generate(state, tokenizer.bos, listening, functions.CONFIG), tokenizer.bos]
    found = []
    for i, (number, probs) in enumerate(listening.made):
        before = [tokenizer.bos, *drawn[:i]]
        logits, _ = functions.gpt(state.params, before, functions.CONFIG)
        labels = [vocabulary[token] for token in before]
        found.append(Draw(labels, logits[-1], probs, number, drawn[i], vocabulary[drawn[i]]))
    return found


def for_page(draws: list[list[Draw]]) -> list[list[dict[str, Any]]]:
    """Return what the page needs: it computes the probabilities from the scores by itself."""
    return [
        [
            {
                "before": draw.before,
                "logits": draw.logits,
                "probs": draw.probs,
                "number": draw.number,
                "token": draw.token,
            }
            for draw in name
        ]
        for name in draws
    ]


def probability(draws: list[Draw]) -> float:
    """Return how probable a whole name was: the product of its draws."""
    return math.prod(draw.probs[draw.index] for draw in draws)


def names_at(made: Material, functions: ModuleType) -> dict[float, list[str]]:
    """Return names drawn at several temperatures, each time with the same random numbers."""
    found = {}
    for times in TIMES:
        temperature = times * functions.CONFIG.temperature
        start, state = begin(functions), functions.State(last_params(made))
        config = replace(functions.CONFIG, temperature=temperature)
        found[temperature] = [
            start.tokenizer.decode(functions.generate(state, start.tokenizer.bos, start.rng, config))
            for _ in range(NAMES_EACH)
        ]
    return found


def likeliest_name(made: Material, functions: ModuleType) -> str:
    """Return the name that comes out if the likeliest token is taken each time."""

    class Likeliest:
        def choices(self, population: Sequence[int], weights: list[float]) -> list[int]:
            return [population[weights.index(max(weights))]]

    start, state = begin(functions), functions.State(last_params(made))
    tokens = functions.generate(state, start.tokenizer.bos, Likeliest(), functions.CONFIG)
    return str(start.tokenizer.decode(tokens))


def highest_two(logits: np.ndarray, vocabulary: list[str]) -> dict[str, Any]:
    """Return the two tokens with the highest scores, and by how much these differ."""
    first, second = (int(token) for token in np.argsort(-logits)[:2])
    return {"tokens": [vocabulary[first], vocabulary[second]], "difference": float(logits[first] - logits[second])}
