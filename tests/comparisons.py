"""What "the same" means: the comparisons that the lessons must pass and that their mutants must not.

Each returns the largest difference it found and raises Different where that is more than allowed.
"""

import random
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
from lessons import REFERENCE, Lesson, load

# float64: a few hundred roundings of 1e-16 each; float32: of 6e-8 each.
TOLERANCE = {"float64": 1e-12, "float32": 1e-5}
FINITE_DIFFERENCES = 1e-8  # of the largest entry: what compare_finite_differences may miss by

# The point: no weight is 0 and all are large, so that every line of the model moves the logits far more than rounding
# does. At the initial weights attention and mlp add exactly nothing, and a mistake in them would change no first loss.
STD = 0.2
SHAPE = {"n_layer": 2, "n_embd": 24, "n_head": 3, "block_size": 12, "batch_size": 5, "num_steps": 10, "clip_grad": 5.0}
# clip_grad is a third of the gradients' norm at the point, so clipping acts
SMALL = {"n_layer": 2, "n_embd": 16, "n_head": 4, "block_size": 8}  # for samples: a forward pass for every letter
# one longer than the block, one of a single character, letters that come twice in a document and in several
DOCUMENTS = ("annabelle", "christopherjohn", "x", "zoe", "mohammed")
ALPHABET = "abcdefghijklmnopqrstuvwxyz"
STEPS_TAKEN = 7  # of a run under way: away from the schedule's flat start


class Different(AssertionError):
    """Two results are not the same. Its own type: a mutant that merely crashes has not been caught."""


def config_of(lesson: Lesson, **changes: Any) -> Any:
    return replace(lesson.microgpt.CONFIG, **(SHAPE | changes))


def tokenizer_of(lesson: Lesson) -> Any:
    return lesson.microgpt.Tokenizer([ALPHABET])


def batch_of(lesson: Lesson) -> list[list[int]]:
    return [tokenizer_of(lesson).encode(doc)[: SHAPE["block_size"] + 1] for doc in DOCUMENTS]


@cache
def params_at_point() -> dict[str, list[list[float]]]:
    return drawn(config_of(load(REFERENCE)), lambda rng: rng.gauss(0, STD), seed=1)


@cache
def moments_under_way() -> dict[str, dict[str, list[list[float]]]]:
    """Return Adam's means as a run might have them. No mean square is near 0, where rounding would be divided by it."""
    config = config_of(load(REFERENCE))
    return {
        "adam_m": drawn(config, lambda rng: rng.gauss(0, 0.01), seed=2),
        "adam_v": drawn(config, lambda rng: rng.uniform(5e-5, 2e-4), seed=3),
    }


def drawn(config: Any, number: Callable[[random.Random], float], seed: int) -> dict[str, list[list[float]]]:
    """Return rows of the model's names and shapes, each entry drawn by number(rng)."""
    rng = random.Random(seed)
    shapes = load(REFERENCE).microgpt.init_params(config, len(ALPHABET) + 1, rng)
    return {name: [[number(rng) for _ in row] for row in rows] for name, rows in shapes.items()}


def state_at_point(lesson: Lesson, dtype: str, **rest: Any) -> Any:
    return lesson.make_state(config_of(lesson), params_at_point(), dtype, **rest)


# Comparing
def largest_difference(actual: dict[str, Any], expected: dict[str, Any], tolerance: float) -> float:
    """Compare arrays by name, never by position, relative to the largest entry of each expected one."""
    if actual.keys() != expected.keys():
        raise Different(f"names: {sorted(actual)} instead of {sorted(expected)}")
    largest = 0.0
    for name, wanted in expected.items():
        got, wanted = np.asarray(actual[name]), np.asarray(wanted)
        if got.shape != wanted.shape:
            raise Different(f"{name}: shape {got.shape} instead of {wanted.shape}")
        difference = np.abs(got - wanted).max() / (np.abs(wanted).max() or 1.0)
        if not difference <= tolerance:  # so that nan is different from everything
            raise Different(f"{name}: differs by {difference:.1e} of its largest entry, allowed is {tolerance:.0e}")
        largest = max(largest, float(difference))
    return largest


def compare_point(lesson: Lesson, dtype: str = "float64") -> dict[str, float]:
    """Compare logits, then loss and every gradient, at the point with the reference in float64."""
    state, expected, tolerance = state_at_point(lesson, dtype), reference_at_point(), TOLERANCE[dtype]
    differences = {"logits": largest_difference(logits_at_point(lesson, state), expected["logits"], tolerance)}
    for what, result in loss_and_grads_at_point(lesson, state).items():
        differences[what] = largest_difference(result, expected[what], tolerance)
    return differences


@cache
def reference_at_point() -> dict[str, dict[str, Any]]:
    lesson = load(REFERENCE)
    state = state_at_point(lesson, "float64")
    return {"logits": logits_at_point(lesson, state)} | loss_and_grads_at_point(lesson, state)


def logits_at_point(lesson: Lesson, state: Any) -> dict[str, np.ndarray]:
    return dict(zip(DOCUMENTS, lesson.logits(state, batch_of(lesson), config_of(lesson)), strict=True))


def loss_and_grads_at_point(lesson: Lesson, state: Any) -> dict[str, dict[str, Any]]:
    loss, grads = lesson.loss_and_grads(state, batch_of(lesson), config_of(lesson))
    return {"loss": {"loss": loss}, "gradients": grads}


def compare_adam_step(lesson: Lesson, dtype: str = "float64") -> dict[str, float]:
    """Compare the loss, the weights and both moments after a first step, and after a step of a run under way.

    In the first step eps_adam weighs most, as m / √v is 1 for every weight but for eps: at the point gradients go down
    to the size of eps, and bias correction is largest. In the later one the schedule's slope and clipping show, which
    Adam's first step undoes.
    """
    actual, expected = results_of_adam_steps(lesson, dtype), reference_adam_steps()
    return {what: largest_difference(actual[what], expected[what], TOLERANCE[dtype]) for what in expected}


@cache
def reference_adam_steps() -> dict[str, dict[str, Any]]:
    return results_of_adam_steps(load(REFERENCE), "float64")


def results_of_adam_steps(lesson: Lesson, dtype: str) -> dict[str, dict[str, Any]]:
    first = one_step(lesson, state_at_point(lesson, dtype))
    under_way = state_at_point(lesson, dtype, **moments_under_way(), step=STEPS_TAKEN)
    later = one_step(lesson, under_way)
    return {f"first step's {what}": result for what, result in first.items()} | {
        f"later step's {what}": result for what, result in later.items()
    }


def one_step(lesson: Lesson, state: Any) -> dict[str, dict[str, Any]]:
    state, losses = lesson.engine.train_steps(state, [batch_of(lesson)], config_of(lesson))
    params, adam_m, adam_v = lesson.engine.export_state(state)
    return {"loss": {"loss": losses[0]}, "weights": params, "adam_m": adam_m, "adam_v": adam_v}


def compare_samples(lesson: Lesson, dtype: str = "float64") -> None:
    """Compare 20 samples, the only place where temperature acts, from weights like the point's in a small model."""
    samples, expected = samples_at_point(lesson, dtype), reference_samples()
    if samples != expected:
        raise Different(f"samples {samples} instead of {expected}")


@cache
def reference_samples() -> list[str]:
    return samples_at_point(load(REFERENCE), "float64")


def samples_at_point(lesson: Lesson, dtype: str) -> list[str]:
    config = config_of(lesson, **SMALL)
    state = lesson.make_state(config, drawn(config, lambda rng: rng.gauss(0, STD), seed=1), dtype)
    return lesson.samples(state, tokenizer_of(lesson), random.Random(4), config)


def compare_finite_differences(lesson: Lesson, entries: int = 60) -> float:
    """Compare 02's gradients with (loss(w + h) - loss(w - h)) / 2h for as many random entries of each matrix.

    With h = 1e-5 the formula errs by some h² and by the loss's rounding / h: 1e-10, of gradients of up to 0.1. The
    second derivative of ReLU² jumps at 0, so a step that takes any ReLU across 0 says little: another entry is drawn.
    """
    h, tolerance = 1e-5, FINITE_DIFFERENCES
    config, batch, state = config_of(lesson), batch_of(lesson), state_at_point(lesson, "float64")
    _, grads = lesson.loss_and_grads(state, batch, config)
    rng = np.random.default_rng(5)
    largest = 0.0
    for name, grad in grads.items():
        weights = state.params[name].reshape(-1)  # a view: what is written to it, the model sees
        compared = 0
        for i in rng.permutation(weights.size):
            difference, smooth = central_difference(lesson, state, batch, config, weights, i, h)
            if not smooth:
                continue
            error = abs(difference - grad.reshape(-1)[i]) / np.abs(grad).max()
            if not error <= tolerance:
                raise Different(f"{name}: the gradient is off by {error:.1e} of its largest entry, not {tolerance:.0e}")
            largest, compared = max(largest, float(error)), compared + 1
            if compared == entries:
                break
        assert compared == entries, name
    return largest


def central_difference(lesson, state, batch, config, weights, i, h):
    weight = weights[i]
    weights[i] = weight + h
    above, signs_above = loss_and_relu_signs(lesson, state, batch, config)
    weights[i] = weight - h
    below, signs_below = loss_and_relu_signs(lesson, state, batch, config)
    weights[i] = weight
    return (above - below) / (2 * h), np.array_equal(signs_above, signs_below)


def loss_and_relu_signs(lesson, state, batch, config):
    """Return the batch's loss, and for every ReLU in it whether it is on, as 02 keeps it for its gradients."""
    n_tokens = sum(len(doc) - 1 for doc in batch)
    loss, signs = 0.0, []
    for doc in batch:
        doc_loss, (*_, gpt_saved) = lesson.microgpt.loss_fn(state.params, doc, n_tokens, config)
        loss += doc_loss
        for _, _, _, (_, relu, _), *_ in gpt_saved[1 : 1 + config.n_layer]:
            signs.append((relu > 0).ravel())
    return loss, np.concatenate(signs)
