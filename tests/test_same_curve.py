"""All lessons learn the same: every loss of whole runs, the 20 names afterwards, and the original's figures."""

import hashlib
import json
import math
import os
import random
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from comparisons import largest
from lessons import FLOAT32_FOLDERS, FLOAT64_FOLDERS, NAMES, REFERENCE, ROOT, Lesson, each, load

# Adam amplifies rounding: in float64 1e-16 becomes 1e-12 in 500 steps. In float32 6e-8 becomes 4e-6 in 50 steps, and by
# 500 anything up to 4e-3, by how a processor happens to round. So float32 is bounded early, and later only recorded;
# test_one_step.py holds it to more, at every point of a run.
TOLERANCE = {"float64": 1e-9, "float32": 1e-4}
EARLY = 50
GOLDEN = json.loads((Path(__file__).parent / "golden" / "makemore_seed42.json").read_text(encoding="utf-8"))
ORIGINAL_FILE = "makemore_names.txt"

SHORT = 60
BATCHED = {"batch_size": 4, "num_steps": SHORT}
CLIPPED = {"clip_grad": 0.1, "num_steps": SHORT}
UNCLIPPED = {"num_steps": SHORT}

float64 = pytest.mark.parametrize("folder", each(FLOAT64_FOLDERS))
float32 = pytest.mark.parametrize("folder", each(FLOAT32_FOLDERS))


@dataclass(frozen=True)
class Run:
    """A finished training: its losses, and what the samples after it need."""

    lesson: Lesson
    config: Any
    state: Any
    tokenizer: Any
    rng_state: Any
    losses: list[float]

    def samples(self) -> list[str]:
        """Return the 20 names that the lesson prints after training, its one generator going on."""
        return self.lesson.samples(self.state, self.tokenizer, self.rng(), self.config)

    def rng(self) -> random.Random:
        rng = random.Random()
        rng.setstate(self.rng_state)
        return rng


@pytest.fixture(scope="module")
def run() -> Callable[..., Run]:
    """Return a function that trains, each lesson, dtype and setting once for all tests."""

    @cache
    def trained(folder: str, dtype: str, path: Path, settings: tuple[tuple[str, Any], ...]) -> Run:
        return train(load(folder), dtype, path, dict(settings))

    def run(folder: str, dtype: str, path: Path = NAMES, **settings: Any) -> Run:
        return trained(folder, dtype, path, tuple(settings.items()))

    return run


def train(lesson: Lesson, dtype: str, path: Path, settings: dict[str, Any]) -> Run:
    """Do what the lesson's main does, a document a step unless said, through its engine."""
    config = replace(lesson.microgpt.CONFIG, **({"batch_size": 1} | settings))
    rng = random.Random(config.seed)
    docs = lesson.microgpt.load_docs(path, rng)
    tokenizer = lesson.microgpt.Tokenizer(docs)
    state = lesson.make_state(config, lesson.microgpt.init_params(config, tokenizer.vocab_size, rng), dtype)
    docs = docs[: config.num_steps * config.batch_size]
    tokens = [tokenizer.encode(doc)[: config.block_size + 1] for doc in docs]
    batches = [tokens[start : start + config.batch_size] for start in range(0, len(tokens), config.batch_size)]
    state, losses = lesson.engine.train_steps(state, batches, config)
    return Run(lesson, config, state, tokenizer, rng.getstate(), losses)


def distance(actual: list[float], expected: list[float], steps: int) -> float:
    assert len(actual) == len(expected) == steps
    return largest(np.abs(np.subtract(actual, expected)))


# Names, 500 steps
@float64
def test_every_loss_in_float64(run, record, folder):
    difference = distance(run(folder, "float64").losses, run(REFERENCE, "float64").losses, 500)
    record("500 losses on names, float64", folder, difference, TOLERANCE["float64"])


@float32
def test_every_loss_in_float32(run, record, folder):
    losses, expected = run(folder, "float32").losses, run(REFERENCE, "float64").losses
    difference = distance(losses, expected, 500)
    assert 0 < difference < math.inf  # equal to the last digit would mean that this was not float32
    record("500 losses on names, float32", folder, difference)
    early = distance(losses[:EARLY], expected[:EARLY], EARLY)
    record("first 50 losses on names, float32", folder, early, TOLERANCE["float32"])


@float64
def test_the_same_names_after_training_in_float64(run, folder):
    samples = run(folder, "float64").samples()
    assert samples == run(REFERENCE, "float64").samples()
    assert len(samples) == 20
    assert all(samples)


@float32
def test_the_same_names_in_float32_from_the_same_weights(run, folder):
    """A draw picks the same letter unless it comes within rounding, 1e-7, of a border; none of these within 4e-5."""
    reference, lesson = run(REFERENCE, "float64"), load(folder)
    params, _, _ = reference.lesson.engine.export_state(reference.state)
    config = replace(lesson.microgpt.CONFIG, batch_size=1)
    state = lesson.make_state(config, params, "float32")
    assert lesson.samples(state, reference.tokenizer, reference.rng(), config) == reference.samples()


@float32
def test_how_many_names_agree_after_training_in_float32(run, record, folder):
    """Say it rather than demand it: one draw that rounding tips moves every later name, as the generator goes on.

    After 500 steps probabilities differ by a thousandth of themselves or more, and some of these draws come nearer than
    that to a border between two letters.
    """
    samples, expected = run(folder, "float32").samples(), run(REFERENCE, "float64").samples()
    agreeing = sum(a == b for a, b in zip(samples, expected, strict=True))
    record("names that agree after training in float32", folder, f"{agreeing} of 20")


# Batches and clipping, 60 steps
@float64
@pytest.mark.parametrize("settings", [BATCHED, CLIPPED], ids=["batch of 4", "clipped"])
def test_every_loss_of_a_short_run_in_float64(run, record, folder, settings):
    expected = run(REFERENCE, "float64", **settings).losses
    difference = distance(run(folder, "float64", **settings).losses, expected, SHORT)
    record(f"60 losses on names, {describe(settings)}, float64", folder, difference, TOLERANCE["float64"])


@float32
@pytest.mark.parametrize("settings", [BATCHED, CLIPPED], ids=["batch of 4", "clipped"])
def test_every_loss_of_a_short_run_in_float32(run, record, folder, settings):
    expected = run(REFERENCE, "float64", **settings).losses
    difference = distance(run(folder, "float32", **settings).losses[:EARLY], expected[:EARLY], EARLY)
    record(f"first 50 losses on names, {describe(settings)}, float32", folder, difference, TOLERANCE["float32"])


def describe(settings):
    return "batch of 4" if settings is BATCHED else "clipped"


def test_clipping_acts(run):
    clipped, free = run(REFERENCE, "float64", **CLIPPED).losses, run(REFERENCE, "float64", **UNCLIPPED).losses
    assert clipped[0] == free[0]  # nothing has moved yet
    assert max(abs(a - b) for a, b in zip(clipped, free, strict=True)) > 0.01


# The original
@pytest.fixture(scope="module")
def original_names() -> Path:
    """Return the file of names that the original microGPT downloads, found on this machine, its hash checked."""
    mirror = os.environ.get("MICROGPT_MIRROR")
    cached = Path(os.environ.get("MICROGPT_CACHE") or ROOT / "data" / "cache")
    folders = [ROOT.parent / "shared" / "datasets", cached]
    if mirror and "://" not in mirror:
        folders.insert(0, Path(mirror))
    for folder in folders:
        path = folder / ORIGINAL_FILE
        if path.is_file():
            assert hashlib.sha256(path.read_bytes()).hexdigest() == GOLDEN["sha256"], f"{path} is another file"
            return path
    pytest.skip(
        f"{ORIGINAL_FILE} is not here: name a folder that holds it in MICROGPT_MIRROR, or train on makemore once"
    )


@float64
def test_the_originals_losses_and_names(run, record, original_names, folder):
    made = run(folder, "float64", original_names)
    difference = distance(made.losses, GOLDEN["losses"], 500)
    record("500 losses of the original", folder, difference, TOLERANCE["float64"])
    assert made.samples() == GOLDEN["samples"]
