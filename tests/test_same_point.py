"""All lessons compute the same at one point that hides nothing: logits, loss, gradients, Adam, samples, state."""

import random
from dataclasses import replace

import comparisons
import numpy as np
import pytest
from lessons import FLOAT32_FOLDERS, FLOAT64_FOLDERS, REFERENCE, each, load

FLOAT64 = [pytest.param(*folder.values, "float64", marks=folder.marks) for folder in each(FLOAT64_FOLDERS)]
FLOAT32 = [pytest.param(*folder.values, "float32", marks=folder.marks) for folder in each(FLOAT32_FOLDERS)]
DTYPES = pytest.mark.parametrize(("folder", "dtype"), FLOAT64 + FLOAT32)


def test_the_batch_is_what_it_claims_to_be():
    lengths = [len(doc) for doc in comparisons.DOCUMENTS]
    assert len(set(lengths)) == 5
    assert min(lengths) == 1
    assert max(lengths) > comparisons.SHAPE["block_size"]
    assert len(set(comparisons.DOCUMENTS[0])) < len(comparisons.DOCUMENTS[0])  # a letter twice


@DTYPES
def test_logits_loss_and_gradients(folder, dtype, record):
    for what, (difference, bound) in comparisons.compare_point(load(folder), dtype).items():
        record(f"same point, {what}, {dtype}", folder, difference, bound)


def test_gradients_by_hand_against_finite_differences(record):
    difference, bound = comparisons.compare_finite_differences(load(REFERENCE))["gradients"]
    record("gradients against finite differences", REFERENCE, difference, bound)


@DTYPES
def test_one_adam_step(folder, dtype, record):
    for what, (difference, bound) in comparisons.compare_adam_step(load(folder), dtype).items():
        record(f"Adam, {what}, {dtype}", folder, difference, bound)


def test_clipping_acts_at_the_point():
    grads = comparisons.reference_at_point()["gradients"]
    assert np.sqrt(sum((grad**2).sum() for grad in grads.values())) > 2 * comparisons.SHAPE["clip_grad"]


@DTYPES
def test_samples(folder, dtype):
    comparisons.compare_samples(load(folder), dtype)


@DTYPES
def test_evaluate_is_the_loss_and_changes_nothing(folder, dtype):
    lesson = load(folder)
    config, batch = comparisons.config_of(lesson), comparisons.batch_of(lesson)
    state = comparisons.state_at_point(lesson, dtype)
    before = lesson.engine.export_state(state)
    loss = lesson.engine.evaluate(state, batch, config)
    assert loss == pytest.approx(lesson.loss_and_grads(state, batch, config)[0], rel=comparisons.TOLERANCE[dtype])
    assert_same_bits(lesson.engine.export_state(state), before)


@DTYPES
def test_asking_for_gradients_leaves_none_behind(folder, dtype):
    """A step adds to the gradients that it finds: it is the same after somebody has asked for them."""
    lesson = load(folder)
    config, batch = comparisons.config_of(lesson), comparisons.batch_of(lesson)
    asked, fresh = (comparisons.state_at_point(lesson, dtype) for _ in range(2))
    lesson.logits(asked, batch, config)
    lesson.loss_and_grads(asked, batch, config)
    ends = [lesson.engine.train_steps(state, [batch], config)[0] for state in (asked, fresh)]
    assert_same_bits(*map(lesson.engine.export_state, ends))


@DTYPES
def test_next_logits_is_the_last_row_of_the_logits(folder, dtype):
    lesson = load(folder)
    config, batch = comparisons.config_of(lesson), comparisons.batch_of(lesson)
    state = comparisons.state_at_point(lesson, dtype)
    for doc, logits in zip(batch, lesson.logits(state, batch, config), strict=True):
        row = lesson.engine.next_logits(state, doc[:-1], config)
        assert comparisons.relative_difference("row", row, logits[-1]) <= comparisons.TOLERANCE[dtype]


@DTYPES
def test_next_logits_in_a_block_much_larger_than_the_text(folder, dtype):
    """An engine may pad to whatever length: neither what stands behind the text nor the block changes a score."""
    lesson = load(folder)
    rng = random.Random(1)
    large = replace(lesson.microgpt.CONFIG, block_size=200)
    params = lesson.microgpt.init_params(large, 5, rng)
    params = {name: [[rng.gauss(0, 0.2) for _ in row] for row in rows] for name, rows in params.items()}
    for n_tokens in (1, 65, 128):
        tokens = [rng.randrange(5) for _ in range(n_tokens)]
        exact = replace(large, block_size=n_tokens)
        short = params | {"wpe": params["wpe"][:n_tokens]}
        states = [(lesson.make_state(c, p, dtype), c) for c, p in ((large, params), (exact, short))]
        rows = [lesson.engine.next_logits(state, tokens, config) for state, config in states]
        assert comparisons.relative_difference("row", *rows) <= comparisons.TOLERANCE[dtype]


@DTYPES
def test_state_goes_out_and_comes_back_bit_for_bit(folder, dtype):
    lesson = load(folder)
    state = comparisons.state_at_point(lesson, dtype, **comparisons.moments_under_way(), step=comparisons.STEPS_TAKEN)
    exported = lesson.engine.export_state(state)
    params, adam_m, adam_v = exported
    config = comparisons.config_of(lesson)
    again = lesson.make_state(config, params, dtype, adam_m=adam_m, adam_v=adam_v, step=comparisons.STEPS_TAKEN)
    assert_same_bits(lesson.engine.export_state(again), exported)
    assert all(np.asarray(rows).dtype == dtype for tensors in exported for rows in tensors.values())


@DTYPES
@pytest.mark.parametrize("given", ["float32", "float64"])
def test_arrays_and_rows_make_the_same_state(folder, dtype, given):
    """Of either dtype: a checkpoint of another folder may have the other one."""
    lesson = load(folder)
    config = comparisons.config_of(lesson)
    groups = comparisons.params_at_point(), *comparisons.moments_under_way().values()
    arrays = [{name: np.array(rows, given) for name, rows in group.items()} for group in groups]
    lists = [{name: matrix.tolist() for name, matrix in group.items()} for group in arrays]
    states = [
        lesson.make_state(config, params, dtype, adam_m=adam_m, adam_v=adam_v, step=comparisons.STEPS_TAKEN)
        for params, adam_m, adam_v in (arrays, lists)
    ]
    assert_same_bits(*map(lesson.engine.export_state, states))


@DTYPES
def test_a_state_from_exported_parts_steps_on_bit_for_bit(folder, dtype):
    """Step, export, rebuild, step: the same bits as two steps without a break. The step count is part of the state."""
    lesson = load(folder)
    config, batch = comparisons.config_of(lesson), comparisons.batch_of(lesson)
    straight, _ = lesson.engine.train_steps(comparisons.state_at_point(lesson, dtype), [batch], config)
    params, adam_m, adam_v = lesson.engine.export_state(straight)
    rebuilt = lesson.make_state(config, params, dtype, adam_m=adam_m, adam_v=adam_v, step=1)
    ends = [lesson.engine.train_steps(state, [batch], config) for state in (straight, rebuilt)]
    assert ends[0][1] == ends[1][1]
    assert_same_bits(*(lesson.engine.export_state(state) for state, _ in ends))


def assert_same_bits(actual, expected):
    for got, wanted in zip(actual, expected, strict=True):
        assert got.keys() == wanted.keys()
        for name in wanted:
            assert np.asarray(got[name]).tobytes() == np.asarray(wanted[name]).tobytes(), name
