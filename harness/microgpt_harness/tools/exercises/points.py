"""A random point to compare two lessons at: a model, weights, Adam's means, documents. All follow from a seed.

At a lesson's own first weights attention and MLP add exactly nothing, so a mistake in them would show nowhere. Here all
weights are N(0, 0.2²), so that every line of the model moves the scores far more than rounding does.
"""

import dataclasses
import random
from collections.abc import Callable
from dataclasses import dataclass
from types import ModuleType
from typing import Any

STD = 0.2
LETTERS = "abcdefghij"
# All different, so that an axis taken for another shows: D = 15 / 3 = 5, T up to 7, V = 11, four documents, two layers.
# D is neither 1 nor 4: there a missing 1/√D would change nothing, or the same as a factor of two.
SHAPE = {"n_layer": 2, "n_embd": 15, "n_head": 3, "block_size": 7, "batch_size": 4, "num_steps": 10}
LENGTHS = (3, 1, 9, 5)  # of the documents' texts: one is longer than the block, one a single letter
SMALL = {"n_layer": 1, "n_embd": 8, "n_head": 2, "block_size": 5, "batch_size": 2, "num_steps": 3}  # what runs alone
STEPS_TAKEN = 7  # of a run under way: away from the schedule's flat start
CLIP = 0.5  # smaller than the gradients' norm at any such point, so clipping acts

Tensors = dict[str, list[list[float]]]


@dataclass(frozen=True)
class Point:
    """What both lessons are given. `texts` are documents as text, `batch` others as tokens, BOS included."""

    seed: int
    texts: list[str]
    batch: list[list[int]]
    params: Tensors
    adam_m: Tensors
    adam_v: Tensors

    @property
    def vocab_size(self) -> int:
        return len(LETTERS) + 1


def config_of(lesson: ModuleType, **changes: Any) -> Any:
    return dataclasses.replace(lesson.CONFIG, **(SHAPE | {"temperature": 0.7, "clip_grad": 0.0} | changes))


def draw(lesson: ModuleType, seed: int) -> Point:
    """Return the point of a seed. Of the lesson only names and shapes of the weights are taken."""
    rng = random.Random(seed)
    bos = len(LETTERS)
    texts = ["".join(rng.choices(LETTERS, k=rng.randint(1, 9))) for _ in range(30)]
    documents = [[bos, *repeating(rng, length), bos][: SHAPE["block_size"] + 1] for length in LENGTHS]
    shapes = lesson.init_params(config_of(lesson), len(LETTERS) + 1, random.Random(0))

    def drawn(number: Callable[[], float]) -> Tensors:
        return {name: [[number() for _ in row] for row in rows] for name, rows in shapes.items()}

    return Point(
        seed,
        [*texts, LETTERS],  # so that every letter is in it
        documents,
        params=drawn(lambda: rng.gauss(0, STD)),
        adam_m=drawn(lambda: rng.gauss(0, 0.01)),
        adam_v=drawn(lambda: rng.uniform(5e-5, 2e-4)),  # none near 0, where rounding would be divided by it
    )


def repeating(rng: random.Random, length: int) -> list[int]:
    """Return tokens of which one comes twice, if there is room for that: gradients of a repeated token add up."""
    tokens = [rng.randrange(len(LETTERS)) for _ in range(length)]
    if length > 2:
        tokens[2] = tokens[0]
    return tokens
