"""What the chapter on the Model says: one recorded name on its way through the model, and what is asked about it."""

from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np

from ..figures import letters, num, percent
from ..record import Recording, Training


def facts(lesson: ModuleType, training: Training, recording: Recording, untrained: Recording) -> SimpleNamespace:
    """Return what is said of a recorded name. `lesson` is what 02 defines."""
    find = recording.find
    labels = letters(recording.vocabulary[:-1], recording.tokens)
    scores = valid(find("attention", "attn_scores").array)
    weights = find("attention", "attn_weights").array
    probs = lesson.softmax(find("loss_fn", "logits").array)
    h = find("mlp", "h").array
    before = find("gpt", "tok_emb").array + find("gpt", "pos_emb").array
    return SimpleNamespace(
        name=recording.document,
        place=training.documents.index(recording.document) + 1 if recording.document in training.documents else 0,
        read=labels[:-1],
        targets=labels[1:],
        places=[f"{place} {label}" for place, label in enumerate(labels[:-1])],
        T=len(labels) - 1,
        D=find("attention", "D").array,
        before=before,
        normed=lesson.rmsnorm(before)[0],
        sizes_before=[num(size, 3) for size in rms(before)],
        size_after=float(rms(lesson.rmsnorm(before)[0])[0]),
        after_ten=float(np.abs(lesson.rmsnorm(10 * before)[0] - lesson.rmsnorm(before)[0]).max()),
        scores=scores,
        weights=weights,
        products=scores[0, -1] * np.sqrt(find("attention", "D").array),
        strongest=[strongest(number, head[-1], labels) for number, head in enumerate(weights)],
        streams=streams(recording),
        first_streams=streams(untrained),
        zeros=float((h == 0).mean()),
        width=h.shape[1],
        guesses=guesses(probs, recording.vocabulary, recording.tokens),
        firsts=sorted({num(weight) for weight in weights[:, 0, 0]}),
        twice=twice(lesson, training, recording.vocabulary),
    )


def valid(scores: np.ndarray) -> np.ndarray:
    """Return scores with nan where the mask hides them."""
    return np.where(np.isfinite(scores), scores, np.nan)


def rms(rows: np.ndarray) -> np.ndarray:
    """Return the root mean square of each position's numbers, (T,)."""
    return np.sqrt(np.square(rows).mean(axis=-1))


def strongest(head: int, weights: np.ndarray, labels: list[str]) -> str:
    place = int(weights.argmax())
    return f"head {head} takes most from {labels[place]} at position {place} ({num(weights[place], 2)})"


def streams(recording: Recording) -> dict[str, np.ndarray]:
    """Return how large, at each position, the numbers are of what comes into the block and of what it adds."""
    names = {"x": "what comes in", "attn_out": "added by attention", "mlp_out": "added by the MLP"}
    return {text: rms(recording.find("block", name).array) for name, text in names.items()}


def guesses(probs: np.ndarray, vocabulary: list[str], tokens: list[int]) -> list[SimpleNamespace]:
    """Return for each position its three likeliest tokens, and the right one with its probability and rank."""
    made = []
    for row, target in zip(probs, tokens[1:]):
        order = np.argsort(-row)
        made.append(
            SimpleNamespace(
                likeliest=[f"{vocabulary[token]} {percent(row[token])}" for token in order[:3]],
                right=vocabulary[target],
                prob=float(row[target]),
                rank=int(np.flatnonzero(order == target)[0]) + 1,
            )
        )
    return made


def twice(lesson: ModuleType, training: Training, vocabulary: list[str]) -> SimpleNamespace:
    """Take the first document in which a letter stands twice, and compare what the model has at the two positions.

    Each difference is the largest one between the numbers of the two positions: as it is, and as it would be if the
    position embeddings were all zero.
    """
    block_size = lesson.CONFIG.block_size
    params = training.states[max(training.states)]
    document, first, second = next(filter(None, (repeated(doc[: block_size - 1]) for doc in training.documents)))
    tokens = [vocabulary.index(label) for label in ["BOS", *document]]
    without = params | {"wpe": np.zeros_like(params["wpe"])}
    return SimpleNamespace(
        document=document,
        letter=document[first],
        places=(first + 1, second + 1),  # BOS stands in front
        differences=differences(lesson, params, tokens, first + 1, second + 1),
        without_positions=differences(lesson, without, tokens, first + 1, second + 1),
    )


def repeated(doc: str) -> tuple[str, int, int] | None:
    """Return a document with the places of the first letter in it that comes again."""
    return next(((doc, i, doc.index(char, i + 1)) for i, char in enumerate(doc) if char in doc[i + 1 :]), None)


def differences(lesson: ModuleType, params: Any, tokens: list[int], first: int, second: int) -> dict[str, float]:
    """Return how far the rows of two positions are apart, on their way through 02's first block to the scores."""
    tok_emb = params["wte"][tokens]
    x, _ = lesson.rmsnorm(tok_emb + params["wpe"][: len(tokens)])
    q = lesson.linear(lesson.rmsnorm(x)[0], params["layer0.attn_wq"])
    logits, _ = lesson.gpt(params, tokens, lesson.CONFIG)
    rows = {"tok_emb": tok_emb, "x": x, "q": q, "logits": logits}
    return {name: float(np.abs(array[first] - array[second]).max()) for name, array in rows.items()}


def patterns(recordings: dict[tuple[str, int], Recording]) -> dict[str, Any]:
    """Return for the widget the queries and keys of each recorded document at each moment, (H, T, D)."""
    some = next(iter(recordings.values()))
    return {
        "steps": sorted({step for _, step in recordings}),
        "documents": {name: letters(rec.vocabulary[:-1], rec.tokens)[:-1] for (name, _), rec in recordings.items()},
        "heads": some.find("attention", "q").array.shape[0],
        "q": by_document(recordings, "q"),
        "k": by_document(recordings, "k"),
    }


def by_document(recordings: dict[tuple[str, int], Recording], name: str) -> dict[str, list[np.ndarray]]:
    """Return a value of attention for each document, one for each moment in order."""
    found: dict[str, list[np.ndarray]] = {}
    for (document, _), recording in sorted(recordings.items(), key=lambda item: item[0][1]):
        found.setdefault(document, []).append(recording.find("attention", name).array)
    return found
