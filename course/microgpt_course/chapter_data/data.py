"""What the chapter on Data says of the names: counted in the file, in its order and in shuffled ones."""

import random
from collections import Counter
from types import SimpleNamespace
from typing import Any

from ..record import Recording, Training

SHOWN = 12  # documents of an order that are shown
SHARES_OF_ALL = (1, 5, 20, 100, 500, 2000)  # how many documents a reader may count, besides all


def facts(lesson: SimpleNamespace, config: Any, training: Training, recording: Recording) -> SimpleNamespace:
    """Return what is said of the documents. `lesson` is what 01 defines."""
    lines = [line.strip() for line in lesson.NAMES.read_text(encoding="utf-8").split("\n") if line.strip()]
    docs = lesson.load_docs(lesson.NAMES, random.Random(config.seed))
    seen = config.num_steps * config.batch_size
    known = set(lines)
    name = recording.document
    return SimpleNamespace(
        lines=lines,
        docs=docs,
        seen=min(seen, len(docs)),
        distinct=len(known),
        longest=max(lines, key=len),
        mean_length=mean_length(lines),
        mean_first=mean_length(lines[:seen]),
        mean_seen=mean_length(docs[:seen]),
        first_in_file=most_common_end(lines[:seen]),
        name=name,
        line=lines.index(name) + 1 if name in known else 0,
        place=docs.index(name) + 1 if name in known else 0,
        samples_known=[sample for sample in training.names if sample in known],
        samples_seen=[sample for sample in training.names if sample in docs[:seen]],
        samples=training.names,
        moved=changed_places(lines, config.seed, seen),
    )


def mean_length(docs: list[str]) -> float:
    return sum(map(len, docs)) / len(docs)


def most_common_end(docs: list[str]) -> str:
    return Counter(doc[-1] for doc in docs).most_common(1)[0][0]


def changed_places(lines: list[str], seed: int, seen: int) -> list[int]:
    """Return at which of the first `seen` places another document stands if one line is added at the end of the file.

    Places are counted from 1.
    """
    orders = []
    for docs in (lines.copy(), [*lines, lines[0]]):
        random.Random(seed).shuffle(docs)
        orders.append(docs[:seen])
    return [place for place, (a, b) in enumerate(zip(*orders), start=1) if a != b]


def orders(lesson: SimpleNamespace, config: Any, lines: list[str]) -> dict[str, Any]:
    """Return for the widget: for each order, the first documents, and what is counted in the first 1, 5, 20 … of it."""
    seeds = [config.seed, *(seed for seed in range(1, 4) if seed != config.seed)][:3]
    shuffled = {f"seed {seed}": lesson.load_docs(lesson.NAMES, random.Random(seed)) for seed in seeds}
    sizes = [*(size for size in SHARES_OF_ALL if size < len(lines)), len(lines)]
    letters = sorted(set("".join(lines)))
    lengths = range(1, max(map(len, lines)) + 1)
    return {
        "sizes": sizes,
        "letters": letters,
        "lengths": [str(length) for length in lengths],
        "orders": {
            name: {
                "first": docs[:SHOWN],
                "letters": [shares(Counter("".join(docs[:size])), letters) for size in sizes],
                "begins": [shares(Counter(doc[0] for doc in docs[:size]), letters) for size in sizes],
                "ends": [shares(Counter(doc[-1] for doc in docs[:size]), letters) for size in sizes],
                "lengths": [shares(Counter(len(doc) for doc in docs[:size]), lengths) for size in sizes],
            }
            for name, docs in {"as in the file": lines, **shuffled}.items()
        },
    }


def shares(counts: Counter, keys: Any) -> list[float]:
    total = sum(counts.values())
    return [round(counts[key] / total, 5) for key in keys]
