"""What is trained on and what is held out: a run's losses come from the one, its validation from the other."""

import contextlib
import json
import random
from array import array
from dataclasses import replace
from itertools import product
from types import ModuleType

import comparisons
import numpy as np
import pytest
from lessons import FOLDERS, REFERENCE, ROOT, each, load, offered
from microgpt_harness.data.batches import Batch
from microgpt_harness.data.datasets import Dataset
from microgpt_harness.program.engines import execute
from program import run

PATH = ROOT / "harness" / "microgpt_harness" / "data" / "batches.py"
BLOCK_SIZE = 4
# No two alike, so that a document says where it came from; nor any two windows of the text.
DOCUMENTS = ["".join(letters) for letters in product("abcdefg", "hijklmn")]
HELD_OUT = len(DOCUMENTS) // 10
TEXT = "".join(random.Random(1).choices("abcdefghijklmnopqrstuvwxyz", k=403))


def changed(*edits: tuple[str, str]) -> ModuleType:
    """Load the harness's batches.py with each of the edits' texts, which must stand there once, replaced."""
    source = PATH.read_text(encoding="utf-8")
    for old, new in edits:
        assert source.count(old) == 1, f"{PATH.name} no longer holds {old!r} once"
        source = source.replace(old, new)
    return execute(PATH, source, "microgpt_harness.data.batches_changed")


def mapped(tokens: list[int]) -> memoryview:
    return memoryview(array("H", tokens))


def tokenizer():
    return load(REFERENCE).microgpt.Tokenizer


def check_documents(batches: ModuleType) -> None:
    data = batches.prepare(Dataset("own", "discrete", DOCUMENTS, {}), tokenizer(), BLOCK_SIZE, random.Random(1))
    docs = list(DOCUMENTS)
    random.Random(1).shuffle(docs)
    encode = tokenizer()(docs).encode
    train, held_out = docs[:-HELD_OUT], docs[-HELD_OUT:]
    for step in range(40):
        expected = [train[(3 * step + b) % len(train)] for b in range(3)]
        assert list(data.batch(step, 3)) == [encode(doc) for doc in expected]
    assert list(data.validation_batch(100)) == [encode(doc) for doc in held_out]
    assert list(data.validation_batch(2)) == [encode(held_out[0]), encode(held_out[2])]  # spread evenly


def check_stream(batches: ModuleType) -> None:
    data = batches.prepare(Dataset("own", "stream", [TEXT], {}), tokenizer(), BLOCK_SIZE, random.Random(1))
    stream, window = tokenizer()([TEXT]).encode(TEXT), BLOCK_SIZE + 1
    position = {tuple(stream[i : i + window]): i for i in range(len(stream) - window + 1)}
    assert len(position) == len(stream) - window + 1
    border = len(stream) - len(stream) // 10
    trained_on = [position[tuple(*data.batch(step, 1))] for step in range(border // 2)]
    validated_on = [position[tuple(tokens)] for tokens in data.validation_batch(1000)]
    assert sorted(set(trained_on)) == list(range(0, border - window + 1, window // 2))
    assert validated_on == list(range(border, len(stream) - window + 1, window))


def test_documents_held_out_are_validated_on_and_never_trained_on():
    check_documents(changed())


def test_text_held_out_is_validated_on_and_never_trained_on():
    check_stream(changed())


WRONG_DOCUMENTS = {
    "trained on what is held out": ("docs[:n_train], docs[n_train:]", "docs, docs[n_train:]"),
    "validated on what is trained on": ("docs[:n_train], docs[n_train:]", "docs[:n_train], docs[:n_train]"),
    "batches of what is held out": ("self.train[(first + b) % len(self.train)]", "self.held_out[b % 4]"),
    "validation batch of what is trained on": ("self.held_out[::every]", "self.train[::every]"),
    "validation not spread": ("[::every][:size]", "[:size]"),
    "batches that overlap": ("first = step * batch_size", "first = step"),
}
WRONG_STREAM = {
    "trained on what is held out": ("range(0, n_train - window + 1,", "range(0, n_tokens - window + 1,"),
    "trained across the border": ("range(0, n_train - window + 1,", "range(0, n_train,"),
    "validated on what is trained on": ("range(n_train, n_tokens -", "range(0, n_train -"),
}


@pytest.mark.parametrize("edit", WRONG_DOCUMENTS.values(), ids=WRONG_DOCUMENTS)
def test_wrong_documents_are_caught(edit):
    with pytest.raises(AssertionError):
        check_documents(changed(edit))


@pytest.mark.parametrize("edit", WRONG_STREAM.values(), ids=WRONG_STREAM)
def test_a_wrong_part_of_the_text_is_caught(edit):
    with pytest.raises(AssertionError):
        check_stream(changed(edit))


# ---- a batch as lists and as an array ----


MAPPED = memoryview(array("H", [7, 0, 1, 7, 2, 7, 3, 4, 5, 7]))
BATCHES = {
    "lists": Batch([[7, 0, 1, 7], [7, 2, 7], [7, 3, 4, 5, 7]]),
    "mapped": Batch([MAPPED[0:4], MAPPED[3:6], MAPPED[5:10]]),
}


@pytest.fixture(params=BATCHES.values(), ids=BATCHES)
def batch(request) -> Batch:
    return request.param


def test_a_batch_is_a_sequence_of_lists(batch):
    documents = [[7, 0, 1, 7], [7, 2, 7], [7, 3, 4, 5, 7]]
    assert list(batch) == documents and len(batch) == 3 and batch[1] == documents[1] and batch[-1] == documents[-1]
    assert all(type(document) is list for document in batch)
    part = batch[1::2]
    assert isinstance(part, Batch) and list(part) == documents[1::2]
    with pytest.raises(IndexError):
        batch[3]


def test_a_batch_is_an_array_padded_on_the_right(batch):
    rows = [[7, 0, 1, 7, -1], [7, 2, 7, -1, -1], [7, 3, 4, 5, 7]]
    assert batch.array().tolist() == rows and batch.array().dtype == np.int32
    assert (
        batch.array(6, "int64").tolist() == [[*row, -1] for row in rows] and batch.array(6, "int64").dtype == np.int64
    )
    assert batch[:2].array().tolist() == [row[:4] for row in rows[:2]]
    assert batch[:0].array().shape == (0, 0) and batch[:0].array(4).shape == (0, 4)


@pytest.mark.parametrize("folder", each(FOLDERS))
@pytest.mark.parametrize("documents", [list, mapped], ids=["lists", "mapped"])
def test_a_run_s_batches_give_every_engine_the_same_bits_as_plain_lists(folder, documents):
    lesson, dtype = load(folder), offered(folder).dtypes[0]
    config, plain = comparisons.config_of(lesson), comparisons.batch_of(lesson)
    results = []
    for batch in (plain, Batch([documents(tokens) for tokens in plain])):
        state = comparisons.state_at_point(lesson, dtype)
        found = [lesson.logits(state, batch, config), lesson.engine.evaluate(state, batch, config)]
        found.append(lesson.loss_and_grads(state, batch, config))
        state, losses = lesson.engine.train_steps(state, [batch, batch[::-1]], config)
        results.append([*found, losses, lesson.engine.export_state(state)])
    np.testing.assert_equal(results[1], results[0])


class OnlyAnArray(Batch):
    def __getitem__(self, index):
        raise AssertionError("its documents are taken one by one")


@pytest.mark.parametrize("folder", each(FOLDERS))
def test_where_a_lesson_pads_no_list_is_made_of_a_run_s_batch(folder):
    lesson = load(folder)
    config, plain = comparisons.config_of(lesson), comparisons.batch_of(lesson)
    state = comparisons.state_at_point(lesson, offered(folder).dtypes[0])
    refused = (
        contextlib.nullcontext() if hasattr(lesson.microgpt, "pad") else pytest.raises(AssertionError, match="one")
    )
    with refused:
        lesson.engine.evaluate(state, OnlyAnArray(plain), config)
        lesson.engine.train_steps(state, [OnlyAnArray(plain)], config)


def test_a_run_s_losses_and_validation_are_those_of_these_documents(tmp_path):
    """The program's figures against the reference's, which gets its documents here and not from the harness."""
    file = tmp_path / "own.txt"
    file.write_text("\n".join(DOCUMENTS), encoding="utf-8")
    options = ("--steps", 20, "--batch-size", 3, "--val-every", 5, "--val-docs", 2, "--n-samples", 0, "--no-plot")
    run(REFERENCE, "--dataset", file, "--out", tmp_path, *options)
    lines = (tmp_path / "own" / REFERENCE / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    losses, validation = losses_and_validation()
    assert [json.loads(line)["loss"] for line in lines] == pytest.approx(losses, rel=1e-12)
    shown = {step: json.loads(line)["val_loss"] for step, line in enumerate(lines, 1) if "val_loss" in line}
    assert shown == pytest.approx(validation, rel=1e-12)


def losses_and_validation() -> tuple[list[float], dict[int, float]]:
    """Return 20 losses, three documents a step, and the validation loss on two held-out ones by step, every five."""
    lesson = load(REFERENCE)
    config = replace(lesson.microgpt.CONFIG, num_steps=20, batch_size=3)
    rng, docs = random.Random(config.seed), list(DOCUMENTS)
    rng.shuffle(docs)
    train, held_out = docs[:-HELD_OUT], [docs[-HELD_OUT], docs[-HELD_OUT + 2]]
    tokens_of = tokenizer()(docs)
    state = lesson.make_state(config, lesson.microgpt.init_params(config, tokens_of.vocab_size, rng), "float64")
    losses, validation = [], {}
    for step in range(config.num_steps):
        batch = [tokens_of.encode(train[(3 * step + b) % len(train)]) for b in range(3)]
        state, (loss,) = lesson.engine.train_steps(state, [batch], config)
        losses.append(loss)
        if (step + 1) % 5 == 0:
            validation[step + 1] = lesson.engine.evaluate(state, [tokens_of.encode(doc) for doc in held_out], config)
    return losses, validation
