"""Asks the model that the program in the page has trained, by the program's own functions.

Nothing is computed a second way: its `generate` draws the characters, and what it draws them from is what is shown. The
prompt comes in through the generator of random numbers that `generate` is given.
"""

import dataclasses
import random
import sys
import types
from typing import Any

import course_page

FUNCTIONS = ("generate", "CONFIG")
LOCALS_OF_MAIN = ("state", "tokenizer")
BOS = "BOS"


class CannotAsk(Exception):
    """Why this program, or this prompt, gives no answer: one line for the reader."""


class Prompted(random.Random):
    """Draws the given tokens first. After them it draws at random. `probs` are those it was last asked to draw from."""

    given: list[int]
    probs: list[float]

    def choices(self, population: Any, weights: Any = None, **rest: Any) -> list[Any]:
        self.probs = list(weights)
        return [self.given.pop(0)] if self.given else super().choices(population, weights=weights, **rest)


class Attention:
    """Keeps each head's attn_weights of the last call of gpt, as sys.settrace shows them."""

    def __init__(self) -> None:
        self.heads: list[dict[str, Any]] = []
        self.seen: object = None

    def __call__(self, frame: types.FrameType, event: str, value: object) -> Any:
        if frame.f_code.co_name == "gpt":
            self.heads.clear()
        return self.line if frame.f_code.co_name == "attention" else None

    def line(self, frame: types.FrameType, event: str, value: object) -> Any:
        weights = frame.f_locals.get("attn_weights")
        if weights is not None and weights is not self.seen:
            self.seen = weights
            self.take(str(frame.f_locals.get("layer", "")), [number.data for number in weights])
        return self.line

    def take(self, layer: str, row: list[float]) -> None:
        if len(row) == 1:  # the first position sees itself only, so here another head begins
            self.heads.append({"layer": layer, "rows": []})
        self.heads[-1]["rows"].append(row)

    def matrices(self, size: int) -> list[dict[str, Any]]:
        """Return each head's weights (T, T), with None where a position is not seen."""
        return [head | {"rows": [row + [None] * (size - len(row)) for row in head["rows"]]} for head in self.heads]


def look(prompt: str, temperature: float | None) -> dict[str, Any]:
    """Return what may come after a prompt, and where each position of it looks."""
    state, tokenizer, config = trained(temperature)
    tokens = tokens_of(prompt, tokenizer, config)
    rng = prompted([*tokens, tokenizer.bos])
    attention = Attention()
    sys.settrace(attention)
    try:
        course_page.program["generate"](state, tokenizer.bos, rng, config)
    finally:
        sys.settrace(None)
    seen = [BOS, *prompt]
    return {
        "seen": seen,
        "labels": [*tokenizer.chars, BOS],
        "probs": rng.probs,
        "heads": attention.matrices(len(seen)),
        "temperature": config.temperature,
        "longest": config.block_size - 1,
        "characters": "".join(tokenizer.chars),
    }


def continuations(prompt: str, temperature: float, count: int) -> list[str]:
    """Return documents that begin with the prompt, each drawn on from there."""
    state, tokenizer, config = trained(temperature)
    tokens = tokens_of(prompt, tokenizer, config)
    drawn = (course_page.program["generate"](state, tokenizer.bos, prompted(tokens), config) for _ in range(count))
    return [tokenizer.decode(document) for document in drawn]


def prompted(tokens: list[int]) -> Prompted:
    rng = Prompted()
    rng.given = list(tokens)
    return rng


def trained(temperature: float | None) -> tuple[Any, Any, Any]:
    """Return the state, tokenizer and configuration of the program that ran last."""
    main = course_page.kept_locals.get("main", {})
    missing = [name for name in FUNCTIONS if name not in course_page.program]
    missing += [f"{name} in main()" for name in LOCALS_OF_MAIN if name not in main]
    if missing:
        raise CannotAsk(f"After this edit the model cannot be asked: there is no {', no '.join(missing)}.")
    config = course_page.program["CONFIG"]
    if temperature is not None:
        config = dataclasses.replace(config, temperature=temperature)
    return main["state"], main["tokenizer"], config


def tokens_of(prompt: str, tokenizer: Any, config: Any) -> list[int]:
    unknown = [char for char in prompt if char not in tokenizer.token_of]
    if unknown:
        raise CannotAsk(
            f"The model has never seen {unknown[0]!r}. It knows these characters: {' '.join(tokenizer.chars)}"
        )
    if len(prompt) >= config.block_size:
        raise CannotAsk(
            f"The model sees {config.block_size} tokens at most: {BOS} and {config.block_size - 1} characters."
        )
    return [tokenizer.token_of[char] for char in prompt]
