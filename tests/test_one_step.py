"""Float32 on any processor: given the same numbers, all take the same step, at the first of a run and at the last.

Two whole runs in float32 part by their rounding, on another processor by another amount: Adam divides by the root of
small numbers, so after 500 steps 6e-8 has grown to 1e-3. A step from the same point has no time for that.
"""

import math

import comparisons
import jax
import pytest
from comparisons import ONE_STEP, compare_one_step
from lessons import FLOAT32_FOLDERS, REFERENCE, each, load

CASES = pytest.mark.parametrize("case", ONE_STEP)


@pytest.mark.parametrize("folder", each(FLOAT32_FOLDERS))
@CASES
def test_one_step_from_points_of_a_run(folder, case, record):
    for what, (difference, bound) in compare_one_step(load(folder), case).items():
        record(f"one step from the same point, {case}, {what}", folder, difference, bound)


@CASES
def test_one_step_of_jax_with_float64_off(case, record):
    """As every run in float32 has it. The other tests need float64 on, under which JAX computes the schedule in it."""
    jax.config.update("jax_enable_x64", False)
    try:
        comparison = compare_one_step(load("05_jax"), case, float32_schedule=True)
    finally:
        jax.config.update("jax_enable_x64", True)
    for what, (difference, bound) in comparison.items():
        record(f"one step from the same point, JAX without float64, {case}, {what}", "05_jax", difference, bound)


def test_the_points_cover_the_run_and_both_sides_start_from_the_same_numbers():
    points = comparisons.points_of_a_run()
    assert [point.step for point in points] == [*range(0, 500, 25), 499]
    for point in points:
        assert {rows.dtype.name for tensors in point[1:] for rows in tensors.values()} == {"float32"}
    for step, point in zip(comparisons.steps_of_the_reference("one document"), points, strict=True):
        assert all((step.weights_before[name] == rows).all() for name, rows in point.params.items())


def test_the_reference_itself_keeps_adams_formula_in_float64():
    """The formula is written once more in comparisons.py. Were it wrong, it would be wrong for all folders alike."""
    points = comparisons.points_of_a_run()
    config = load(REFERENCE).microgpt.CONFIG
    for step, point in zip(comparisons.steps_of_the_reference("one document"), points, strict=True):
        assert comparisons.roundings(step, point.step, config) < 1e-5  # in units of float32


def test_clipping_acts_at_every_point():
    """A clipped step adds to the moments what no unclipped one does: a gradient of norm 0.1."""
    config = load(REFERENCE).microgpt.CONFIG
    clipped, free = (comparisons.steps_of_the_reference(case) for case in ("clipped", "four documents"))
    for point, *steps in zip(comparisons.points_of_a_run(), clipped, free, strict=True):
        norms = [math.sqrt(sum((g**2).sum() for g in gradients(step, point, config))) for step in steps]
        assert norms[0] == pytest.approx(ONE_STEP["clipped"]["clip_grad"], rel=1e-3)
        assert norms[1] > 2 * norms[0]


def gradients(step, point, config):
    for name, before in point.adam_m.items():
        yield (step.adam_m[name] - config.beta1 * before) / (1 - config.beta1)
