"""What the chapter on Parameters says: the matrices, and runs of 02 that begin from other weights than the lesson's."""

import math
import random
from collections.abc import Callable
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np

from ..figures import exact, num
from ..record import Recording, Training
from .beginning import batches, cut
from .loss import counted

BINS = 121  # of a histogram: an odd number, so that one is around 0
OTHER_SEEDS = (1, 2)
Gauss = Callable[[float, float], float]  # what init_params asks rng for: a number with this mean and standard deviation


def facts(lesson: ModuleType, training: Training, recording: Recording) -> SimpleNamespace:
    """Return what is said of the weights. `lesson` is what 02 defines."""
    config = lesson.CONFIG
    docs, _ = shuffled(lesson, config.seed)
    tokenizer = lesson.Tokenizer(docs)
    stds = stds_of(lesson, tokenizer.vocab_size)
    first, last = training.states[min(training.states)], training.states[max(training.states)]
    std = max(stds.values())
    letter = recording.document[0]
    return SimpleNamespace(
        shapes={name: matrix.shape for name, matrix in first.items()},
        total=sum(matrix.size for matrix in first.values()),
        in_mlp=sum(matrix.size for name, matrix in first.items() if ".mlp_" in name),
        mlp_shapes=[" × ".join(map(str, matrix.shape)) for name, matrix in first.items() if ".mlp_" in name],
        stds=stds,
        std=std,
        normal=normal(std),
        zeros=[name for name, drawn in stds.items() if drawn == 0],
        first=first,
        last=last,
        letter=letter,
        token=tokenizer.token_of[letter],
        nearest=nearest(last["wte"], tokenizer.token_of[letter], tokenizer.chars),
        runs=runs(lesson, std),
        tail=tail(config),
        ln_vocab=math.log(tokenizer.vocab_size),
        letters=counted(lesson)["letters"],
        unmoved=[name for name, grads in training.grads.items() if not grads[0].any()],
    )


def shuffled(lesson: ModuleType, seed: int) -> tuple[list[str], random.Random]:
    """Return the documents in order, and the generator as main() has it when it draws the weights."""
    rng = random.Random(seed)
    return lesson.load_docs(lesson.NAMES, rng), rng


def stds_of(lesson: ModuleType, vocab_size: int) -> dict[str, float]:
    """Return the standard deviation that each matrix is drawn with."""
    drawn = lesson.init_params(lesson.CONFIG, vocab_size, SimpleNamespace(gauss=lambda mean, std: std))
    return {name: float(rows[0][0]) for name, rows in drawn.items()}


def nearest(wte: np.ndarray, token: int, chars: list[str]) -> str:
    """Return the letter whose row points most nearly into the direction of a token's row."""
    rows = wte[: len(chars)] / np.linalg.norm(wte[: len(chars)], axis=1, keepdims=True)
    likeness = rows @ rows[token]
    likeness[token] = -1
    return chars[int(likeness.argmax())]


def tail(config: Any) -> int:
    """Return over how many of the last steps a loss is averaged: that of one name says little."""
    return max(1, config.num_steps // 5)


def normal(std: float) -> str:
    """Return how a formula names the bell curve around 0."""
    return f"N(0, {exact(std)}²)"


def runs(lesson: ModuleType, std: float) -> list[tuple[str, float, float]]:
    """Train from other first weights. Return for each what they were, the first loss, and the mean of the last ones."""
    ways: dict[str, Callable[[random.Random], Gauss]] = {
        "all zero": lambda rng: lambda mean, std: 0.0,
        f"all the same, {exact(std)}": lambda rng: lambda mean, drawn: std,
        f"as in the lesson, {normal(std)}": lambda rng: rng.gauss,
        f"a tenth as large, {normal(std / 10)}": lambda rng: lambda mean, std: rng.gauss(mean, std / 10),
        f"ten times as large, {normal(std * 10)}": lambda rng: lambda mean, std: rng.gauss(mean, std * 10),
        f"a hundred times as large, {normal(std * 100)}": lambda rng: lambda mean, std: rng.gauss(mean, std * 100),
        f"no matrix zero, all {normal(std)}": lambda rng: lambda mean, drawn: rng.gauss(mean, drawn or std),
    }
    losses = {name: losses_from(lesson, way) for name, way in ways.items()}
    last = tail(lesson.CONFIG)
    return [(name, each[0], sum(each[-last:]) / last) for name, each in losses.items()]


def losses_from(lesson: ModuleType, way: Callable[[random.Random], Gauss]) -> list[float]:
    """Return the losses of a run like main()'s, whose first weights are drawn in another way."""
    docs, rng = shuffled(lesson, lesson.CONFIG.seed)
    tokenizer = lesson.Tokenizer(docs)
    state = lesson.State(lesson.init_params(lesson.CONFIG, tokenizer.vocab_size, SimpleNamespace(gauss=way(rng))))
    return [
        lesson.train_step(state, [cut(lesson, tokenizer, doc) for doc in batch], lesson.CONFIG)
        for batch in batches(lesson)
    ]


def histograms(lesson: ModuleType, training: Training, stds: dict[str, float]) -> dict[str, Any]:
    """Return for the widget how the numbers of each matrix are spread: as drawn, by other seeds too, and as trained."""
    config = lesson.CONFIG
    first = min(training.states)
    states = {f"drawn with seed {config.seed}": training.states[first]}
    for seed in OTHER_SEEDS:
        docs, rng = shuffled(lesson, seed)
        drawn = lesson.init_params(config, lesson.Tokenizer(docs).vocab_size, rng)
        states[f"drawn with seed {seed}"] = {name: np.array(rows) for name, rows in drawn.items()}
    states |= {
        f"after {num(step)} step{'s' * (step != 1)}": params
        for step, params in training.states.items()
        if step != first
    }
    ends = {name: max(float(np.abs(params[name]).max()) for params in states.values()) for name in stds}
    return {
        "bins": BINS,
        "ends": ends,
        "states": {
            label: {
                name: {
                    "counts": np.histogram(params[name], BINS, (-ends[name], ends[name]))[0],
                    "std": float(params[name].std()),
                    "largest": float(np.abs(params[name]).max()),
                }
                for name in stds
            }
            for label, params in states.items()
        },
        "bells": {name: bell(std, ends[name], training.states[first][name].size) for name, std in stds.items()},
    }


def bell(std: float, end: float, size: int) -> list[float]:
    """Return how many of `size` numbers, drawn from N(0, std²), there are on average in each bin."""
    if not std:
        return []
    edges = np.linspace(-end, end, BINS + 1)
    below = [size * (1 + math.erf(edge / (std * math.sqrt(2)))) / 2 for edge in edges]
    return np.diff(below).tolist()
