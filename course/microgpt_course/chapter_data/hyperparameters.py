"""What the chapter on Hyperparameters says: how many weights a setting makes, and what a block size cuts off."""

import random
from dataclasses import fields, replace
from types import ModuleType, SimpleNamespace
from typing import Any

WIDTHS = (4, 8, 16, 32, 64)  # C to choose from, besides the lesson's own
NO_NUMBERS = SimpleNamespace(gauss=lambda mean, std: 0.0)  # where only shapes are asked for


def facts(lesson: ModuleType, config: Any) -> SimpleNamespace:
    """Return what is said of the settings. `lesson` is what 01 defines."""
    docs = lesson.load_docs(lesson.NAMES, random.Random(config.seed))
    vocab_size = lesson.Tokenizer(docs).vocab_size
    return SimpleNamespace(
        settings=[field.name for field in fields(config)],
        vocab_size=vocab_size,
        weights=count(lesson, config, vocab_size),
        with_twice_the_heads=count(lesson, replace(config, n_head=2 * config.n_head), vocab_size),
        with_twice_the_width=count(lesson, replace(config, n_embd=2 * config.n_embd), vocab_size),
        with_a_layer_more=count(lesson, replace(config, n_layer=config.n_layer + 1), vocab_size),
        ends_seen={
            size: ends_seen(docs, size) for size in (config.block_size // 2, config.block_size, 2 * config.block_size)
        },
    )


def sizes(lesson: ModuleType, config: Any, vocab_size: int) -> dict[str, int]:
    """Return how many weights each matrix has, as init_params makes them."""
    params = lesson.init_params(config, vocab_size, NO_NUMBERS)
    return {name: len(rows) * len(rows[0]) for name, rows in params.items()}


def count(lesson: ModuleType, config: Any, vocab_size: int) -> int:
    return sum(sizes(lesson, config, vocab_size).values())


def ends_seen(docs: list[str], block_size: int) -> float:
    """Return the share of documents that the model sees with their end: BOS, the letters, and BOS again to guess."""
    return sum(len(doc) + 1 <= block_size for doc in docs) / len(docs)


def weight_counts(lesson: ModuleType, config: Any, vocab_size: int) -> dict[str, Any]:
    """Return for the widget how many weights there are once, for each position and for each layer, by width C.

    What depends on what is found by calling init_params, not by knowing its formula.
    """
    widths = sorted({*WIDTHS, config.n_embd})
    return {
        "widths": {str(width): parts(lesson, replace(config, n_embd=width), vocab_size) for width in widths},
        "config": {name: getattr(config, name) for name in ("n_layer", "n_embd", "n_head", "block_size")},
        "vocab_size": vocab_size,
    }


def parts(lesson: ModuleType, config: Any, vocab_size: int) -> dict[str, dict[str, int]]:
    one = sizes(lesson, replace(config, n_layer=1, block_size=1), vocab_size)
    longer = sizes(lesson, replace(config, n_layer=1, block_size=2), vocab_size)
    none = sizes(lesson, replace(config, n_layer=0, block_size=1), vocab_size)
    return {
        "layer": {name.partition(".")[2]: size for name, size in one.items() if name not in none},
        "position": {name: longer[name] - size for name, size in none.items() if longer[name] != size},
        "once": {name: size for name, size in none.items() if longer[name] == size},
    }
