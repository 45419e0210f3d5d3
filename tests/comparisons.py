"""What "the same" means: the comparisons that the lessons must pass and that their mutants must not.

Each returns what it compared, with the largest difference it found and the bound that this must keep; `judge` raises
Different where one does not. Every bound is that of one point, or of one step from one point: rounding has no time to
grow there, so no processor's way of rounding comes near it.
"""

import contextlib
import io
import math
import random
import re
from collections.abc import Callable, Iterable
from dataclasses import replace
from functools import cache
from typing import Any, NamedTuple

import numpy as np
from lessons import NAMES, REFERENCE, Lesson, in_float64, load
from microgpt_harness.tools.mistakes import Edits

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

# One step in float32 from a point of a real run. The loss and the moments are off by a few roundings: 2e-7 and 8e-7
# were the most seen, but 4e-6 of clipped moments in 06, whose CPU kernels add 4,064 squares one after the other for the
# norm: no usual order of adding rounds worse. Weights are compared in units of their own rounding, of which Adam's
# formula takes a handful.
EVERY = 25  # steps of the run between two points
LOSS, MOMENTS, ROUNDINGS = 2e-6, 1e-5, 32.0
ONE_STEP = {
    "one document": {"batch_size": 1},
    "four documents": {"batch_size": 4},
    "clipped": {"batch_size": 4, "clip_grad": 0.1},
}

SHORT_MAIN = 10  # steps of a lesson alone

Comparison = dict[str, tuple[float, float]]  # what was compared -> (the largest difference, its bound)


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
def judge(comparison: Comparison) -> None:
    """Raise Different for a difference beyond its bound."""
    for what, (difference, bound) in comparison.items():
        if not difference <= bound:  # so that nan is different from everything
            raise Different(f"{what}: differs by {difference:.1e}, allowed is {bound:.0e}")


def largest_difference(actual: dict[str, Any], expected: dict[str, Any]) -> float:
    """Compare arrays by name, never by position, relative to the largest entry of each expected one."""
    if actual.keys() != expected.keys():
        raise Different(f"names: {sorted(actual)} instead of {sorted(expected)}")
    return largest(relative_difference(name, actual[name], wanted) for name, wanted in expected.items())


def relative_difference(name: str, actual: Any, expected: Any) -> float:
    actual, expected = np.asarray(actual), np.asarray(expected)
    if actual.shape != expected.shape:
        raise Different(f"{name}: shape {actual.shape} instead of {expected.shape}")
    return float(np.abs(actual - expected).max() / (np.abs(expected).max() or 1.0))


def largest(differences: Iterable[float]) -> float:
    return float(np.max(list(differences)))  # unlike max(), it returns nan where there is one


def compare_point(lesson: Lesson, dtype: str = "float64") -> Comparison:
    """Compare logits, then loss and every gradient, at the point with the reference in float64."""
    state, expected = state_at_point(lesson, dtype), reference_at_point()
    actual = {"logits": logits_at_point(lesson, state)} | loss_and_grads_at_point(lesson, state)
    return {what: (largest_difference(actual[what], expected[what]), TOLERANCE[dtype]) for what in expected}


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


def compare_adam_step(lesson: Lesson, dtype: str = "float64") -> Comparison:
    """Compare the loss, both moments and the weights after a first step, and after one and two of a run under way.

    In the first step eps_adam weighs most, as m / √v is 1 for every weight but for eps: at the point gradients go down
    to the size of eps, and bias correction is largest. In the later one the schedule's slope and clipping show, which
    Adam's first step undoes. What the one after it shows is whether a step leaves anything behind that it should not.
    In float32 weights are compared with Adam's formula, for which see `roundings`.
    """
    comparison = {}
    for when, step, count in (("first", 0, 1), ("later", STEPS_TAKEN, 1), ("next", STEPS_TAKEN, 2)):
        actual, expected = adam_step_at_point(lesson, dtype, step, count), reference_adam_step(step, count)
        for what in ("loss", "adam_m", "adam_v"):
            difference = largest_difference(getattr(actual, what), getattr(expected, what))
            comparison[f"{when} step's {what}"] = difference, TOLERANCE[dtype]
        if dtype == "float32" and count == 1:
            comparison[f"{when} step's weights, in roundings"] = roundings(actual, step, config_of(lesson)), ROUNDINGS
        elif dtype == "float64":
            difference = largest_difference(actual.weights, expected.weights)
            comparison[f"{when} step's weights"] = difference, TOLERANCE[dtype]
    return comparison


@cache
def reference_adam_step(step: int, count: int) -> "Step":
    return adam_step_at_point(load(REFERENCE), "float64", step, count)


def adam_step_at_point(lesson: Lesson, dtype: str, step: int, count: int) -> "Step":
    moments = moments_under_way() if step else {}
    state = state_at_point(lesson, dtype, **moments, step=step)
    return steps_on(lesson, state, [batch_of(lesson)] * count, config_of(lesson))


class Step(NamedTuple):
    """What a step, or the last of several, began from and what came out of it."""

    weights_before: dict[str, Any]  # before the first of several
    loss: dict[str, float]  # by a name as well, so that it is compared as all else
    weights: dict[str, Any]
    adam_m: dict[str, Any]
    adam_v: dict[str, Any]


def steps_on(lesson: Lesson, state: Any, batches: list[list[list[int]]], config: Any) -> Step:
    weights_before, _, _ = lesson.engine.export_state(state)
    state, losses = lesson.engine.train_steps(state, batches, config)
    return Step(weights_before, {"loss": losses[-1]}, *lesson.engine.export_state(state))


def roundings(step: Step, steps_before: int, config: Any, float32_schedule: bool = False) -> float:
    """Compare the new weights with Adam's formula in float64, applied to the lesson's own new moments.

    Return the largest difference in roundings of float32, 2⁻²⁴ (|weight before| + |update|) for each weight. Another
    lesson's weights would say less: where a gradient is near eps_adam in size, its rounding alone turns m / √v into
    another number, and how it is rounded depends on the processor. The moments have been compared already.

    A schedule in float32 rounds 1 + cos as a number of size 1, whatever is left of it: then that counts too.
    """
    off = []
    left = schedule(steps_before, config)
    for name, before in step.weights_before.items():
        before, after, m, v = (
            np.float64(rows) for rows in (before, step.weights[name], step.adam_m[name], step.adam_v[name])
        )
        update = adam_update(m, v, steps_before, config)
        unit = 2.0**-24 * (np.abs(before) + np.abs(update) * (1 / left if float32_schedule else 1))
        off.append(np.max(np.abs(after - (before - update)) / np.where(unit, unit, 2.0**-149)))
    return largest(off)


def adam_update(adam_m: np.ndarray, adam_v: np.ndarray, steps_before: int, config: Any) -> np.ndarray:
    """Return what Adam takes off the weights (Kingma & Ba 2015), given its moments after the step."""
    learning_rate = config.learning_rate * schedule(steps_before, config)
    m_hat = adam_m / (1 - config.beta1 ** (steps_before + 1))
    v_hat = adam_v / (1 - config.beta2 ** (steps_before + 1))
    return learning_rate * m_hat / (np.sqrt(v_hat) + config.eps_adam)


def schedule(steps_before: int, config: Any) -> float:
    """Return the part of the learning rate that is left: from 1 down to 0 on half a cosine."""
    return 0.5 * (1 + math.cos(math.pi * steps_before / config.num_steps))


def compare_one_step(lesson: Lesson, case: str, float32_schedule: bool = False, nth_point: int = 1) -> Comparison:
    """Give a lesson in float32 the numbers of points along the reference's run, and compare one step from each.

    So a mistake shows that only trained weights bring out, or only moments under way, or the end of the schedule; and
    an honest lesson is as near at step 500 as at the first, where two whole runs have long parted by their rounding.
    Only every nth of the points is taken.
    """
    config = replace(lesson.microgpt.CONFIG, **ONE_STEP[case])
    points, expected = points_of_a_run()[::nth_point], steps_of_the_reference(case)[::nth_point]
    steps = [step_from(lesson, "float32", point, config) for point in points]
    differences = {
        what: largest(
            largest_difference(getattr(step, what), getattr(wanted, what))
            for step, wanted in zip(steps, expected, strict=True)
        )
        for what in ("loss", "adam_m", "adam_v")
    }
    off = largest(
        roundings(step, point.step, config, float32_schedule) for step, point in zip(steps, points, strict=True)
    )
    return {
        "loss": (differences["loss"], LOSS),
        "adam_m": (differences["adam_m"], MOMENTS),
        "adam_v": (differences["adam_v"], MOMENTS),
        "weights, in roundings": (off, ROUNDINGS),
    }


@cache
def steps_of_the_reference(case: str) -> list[Step]:
    lesson = load(REFERENCE)
    config = replace(lesson.microgpt.CONFIG, **ONE_STEP[case])
    return [step_from(lesson, "float64", point, config) for point in points_of_a_run()]


class Point(NamedTuple):
    """Where a run was after so many steps, rounded to float32, so that both dtypes can start from the same numbers."""

    step: int
    params: dict[str, np.ndarray]
    adam_m: dict[str, np.ndarray]
    adam_v: dict[str, np.ndarray]


@cache
def points_of_a_run() -> list[Point]:
    """Return points of the reference's run in float64, a document a step: every so many steps, and before the last."""
    lesson = load(REFERENCE)
    config = lesson.microgpt.CONFIG
    state = lesson.make_state(config, start_on_names().params, "float64")
    points = []
    for step in range(config.num_steps):
        if step % EVERY == 0 or step == config.num_steps - 1:
            tensors = lesson.engine.export_state(state)
            points.append(Point(step, *({name: np.float32(w) for name, w in rows.items()} for rows in tensors)))
        state, _ = lesson.engine.train_steps(state, [batch_of_names(step, 1)], config)
    return points


def step_from(lesson: Lesson, dtype: str, point: Point, config: Any) -> Step:
    step, params, adam_m, adam_v = point
    state = lesson.make_state(config, params, dtype, adam_m=adam_m, adam_v=adam_v, step=step)
    return steps_on(lesson, state, [batch_of_names(step, config.batch_size)], config)


class Start(NamedTuple):
    """What a run on names begins with, and the generator's state after that, by which samples are drawn."""

    docs: list[str]
    tokenizer: Any
    params: dict[str, list[list[float]]]
    rng_state: Any


@cache
def start_on_names() -> Start:
    lesson = load(REFERENCE)
    rng = random.Random(lesson.microgpt.CONFIG.seed)
    docs = lesson.microgpt.load_docs(NAMES, rng)
    tokenizer = lesson.microgpt.Tokenizer(docs)
    params = lesson.microgpt.init_params(lesson.microgpt.CONFIG, tokenizer.vocab_size, rng)
    return Start(docs, tokenizer, params, rng.getstate())


def batch_of_names(step: int, batch_size: int) -> list[list[int]]:
    docs = start_on_names().docs
    return [tokens_of_name(docs[(step * batch_size + b) % len(docs)]) for b in range(batch_size)]


def tokens_of_name(doc: str) -> list[int]:
    return start_on_names().tokenizer.encode(doc)[: load(REFERENCE).microgpt.CONFIG.block_size + 1]


def compare_main(lesson: Lesson) -> None:
    """Compare what a lesson prints by itself, loaded with short_main's edits, with a run of the reference."""
    said = io.StringIO()
    with contextlib.redirect_stdout(said):
        lesson.microgpt.main()
    losses, _, names = run_of_the_reference(lesson.microgpt.CONFIG.num_steps, lesson.microgpt.CONFIG.batch_size)
    if re.findall(r"loss (\S+)", said.getvalue()) != [f"{loss:.4f}" for loss in losses]:
        raise Different("losses")
    if re.findall(r"sample +\d+: (.*)", said.getvalue()) != names:
        raise Different("names")


def short_main(folder: str) -> Edits:
    """Return the edits after which a lesson alone is soon done, and computes what no rounding moves in four digits."""
    return (*in_float64(folder), ("num_steps: int = 500", f"num_steps: int = {SHORT_MAIN}"))


@cache
def run_of_the_reference(num_steps: int, batch_size: int) -> tuple[list[float], dict[int, float], list[str]]:
    """Return what main.py shows of a run on names in float64: losses, validation by step, names.

    Every 100 steps it validates on 20 documents, spread evenly over the last tenth.
    """
    lesson, start = load(REFERENCE), start_on_names()
    config = replace(lesson.microgpt.CONFIG, num_steps=num_steps, batch_size=batch_size)
    held_out = start.docs[-(len(start.docs) // 10) :]
    validated_on = [tokens_of_name(doc) for doc in held_out[:: len(held_out) // 20][:20]]
    state = lesson.make_state(config, start.params, "float64")
    losses, validation = [], {}
    for step in range(num_steps):
        state, (loss,) = lesson.engine.train_steps(state, [batch_of_names(step, batch_size)], config)
        losses.append(loss)
        if (step + 1) % 100 == 0:
            validation[step + 1] = lesson.engine.evaluate(state, validated_on, config)
    rng = random.Random()
    rng.setstate(start.rng_state)
    return losses, validation, lesson.samples(state, start.tokenizer, rng, config)


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


def compare_finite_differences(lesson: Lesson, entries: int = 60) -> Comparison:
    """Compare 02's gradients with (loss(w + h) - loss(w - h)) / 2h for as many random entries of each matrix.

    With h = 1e-5 the formula errs by some h² and by the loss's rounding / h: 1e-10, of gradients of up to 0.1. The
    second derivative of ReLU² jumps at 0, so a step that takes any ReLU across 0 says little: another entry is drawn.
    """
    h = 1e-5
    config, batch, state = config_of(lesson), batch_of(lesson), state_at_point(lesson, "float64")
    _, grads = lesson.loss_and_grads(state, batch, config)
    rng = np.random.default_rng(5)
    errors = []
    for name, grad in grads.items():
        weights = state.params[name].reshape(-1)  # a view: what is written to it, the model sees
        compared = 0
        for i in rng.permutation(weights.size):
            difference, smooth = central_difference(lesson, state, batch, config, weights, i, h)
            if not smooth:
                continue
            errors.append(abs(difference - grad.reshape(-1)[i]) / np.abs(grad).max())
            compared += 1
            if compared == entries:
                break
        assert compared == entries, name
    return {"gradients": (largest(errors), FINITE_DIFFERENCES)}


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
        doc_loss, saved = lesson.microgpt.loss_fn(state.params, doc, n_tokens, config)
        loss += doc_loss
        signs += [(block.mlp.relu > 0).ravel() for block in saved.gpt.blocks]
    return loss, np.concatenate(signs)
