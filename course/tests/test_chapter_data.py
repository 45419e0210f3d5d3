"""The figures that chapters compute for themselves, each held against another way to get them."""

import math
import random
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from itertools import accumulate, pairwise
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest
from microgpt_course import lessons
from microgpt_course.chapter_data import averages, gradients, inference, loss, optimizer, training
from microgpt_course.chapter_data.beginning import batches, begin
from microgpt_course.material import EXPLICIT, REFERENCE, Material
from microgpt_course.recording.program import load
from microgpt_harness.tools import mistakes

EXACT = 1e-12  # the same computation in another order
MEASURED = 1e-6  # a finite difference, relative to what it measures


@pytest.fixture(scope="session")
def functions(made: Material) -> ModuleType:
    return load(made.lesson(REFERENCE).path.parent).module


@pytest.fixture(scope="session")
def explicit(made: Material) -> ModuleType:
    return load(made.lesson(EXPLICIT).path.parent).module


def lesson_with(name: str, number: str = EXPLICIT) -> ModuleType:
    """Return a lesson that has a known mistake."""
    lesson = next(lesson for lesson in lessons.read_all() if lesson.number == number)
    mistake = next(mistake for mistake in mistakes.read(lesson.path.parent) if mistake.name == name)
    module = ModuleType("changed")
    module.__dict__["__file__"] = str(lesson.path)
    exec(compile(mistakes.apply(lesson.source, mistake.edits), str(lesson.path), "exec"), module.__dict__)
    return module


def difference(loss_of: Callable[[float], float], at: float, distance: float = 1e-5) -> float:
    return (loss_of(at + distance) - loss_of(at - distance)) / (2 * distance)


# Loss
def test_surprises_have_the_recorded_loss_as_their_mean(made: Material) -> None:
    found = loss.surprises(made)
    assert len(found) == len(loss.documents(made))
    for document in found:
        for moment in document["moments"]:
            recorded = made.recordings[document["name"], moment["step"]]
            assert np.mean(loss.surprises_of(moment["probs"])) == pytest.approx(recorded.loss, abs=EXACT)
            assert document["tokens"][1:-1] == list(document["name"])


def test_guesses_are_the_likeliest_and_in_order(made: Material) -> None:
    recording = next(iter(made.recordings.values()))
    likeliest = loss.expected(recording)["likeliest"]
    for row, guesses in zip(loss.next_probs(recording), likeliest, strict=True):
        assert row.sum() == pytest.approx(1, abs=EXACT)
        assert [prob for _, prob in guesses] == sorted(row, reverse=True)[: loss.LIKELIEST]
        assert all(row[recording.vocabulary.index(token)] == prob for token, prob in guesses)


def test_the_numbers_of_01_make_its_loss(made: Material) -> None:
    document, step = next(iter(made.explicit_recordings))
    recording = made.explicit_recordings[document, step]
    probs = loss.expected(made.recordings[document, step])["probs"]
    for position, prob in enumerate(probs):
        total, largest = (loss.recorded01(recording, name, position) for name in ("total", "largest"))
        surprise = math.log(total) + largest - loss.logit_of_target(recording, position)
        assert surprise == pytest.approx(loss.surprise(prob), abs=EXACT)


def few_documents(docs: list[str]) -> SimpleNamespace:
    """What a lesson defines, with these documents for its own."""
    return SimpleNamespace(
        CONFIG=SimpleNamespace(seed=1, block_size=100),
        NAMES=None,
        load_docs=lambda _, rng: docs,
        Tokenizer=load(lessons.read_all()[0].path.parent).module.Tokenizer,
        init_params=lambda *_: {},
    )


def test_who_counts_letters_and_pairs() -> None:
    # a, b and BOS come equally often, and each after one other only
    sure = loss.counted(few_documents(["ab", "ab"]))
    assert sure["letters"] == pytest.approx(math.log(3))
    assert sure["pairs"] == sure["first"] == 0
    # after BOS come a and b, after these BOS
    open_beginning = loss.counted(few_documents(["a", "b"]))
    assert open_beginning["pairs"] == pytest.approx(math.log(2) / 2)
    assert open_beginning["first"] == pytest.approx(math.log(2))


# Gradients
def test_the_small_graph_has_the_gradients_that_finite_differences_measure(explicit: ModuleType) -> None:
    grads = gradients.small_graph(explicit)["grads"]
    for name, start in gradients.START.items():
        measured = difference(lambda number, name=name: gradients.small_loss(explicit, **{name: number}), start)
        assert grads[name] == pytest.approx(measured, rel=MEASURED)


def test_every_edge_of_the_small_graph_is_walked_once(explicit: ModuleType) -> None:
    graph = gradients.small_graph(explicit)
    walked = [(move["node"], move["child"]) for move in graph["passes"]]
    assert Counter(walked) == Counter((edge["node"], edge["child"]) for edge in graph["edges"])
    assert len(set(walked)) == len(walked)
    for name, grad in graph["grads"].items():
        amounts = [move["amount"] for move in graph["passes"] if move["child"] == name]
        assert grad == (sum(amounts) if amounts else 1.0)
    assert max(Counter(child for _, child in walked).values()) > 1  # something is used twice, or there is little to see
    assert explicit.tape == []


def test_the_moves_are_those_that_the_file_makes(explicit: ModuleType) -> None:
    changed = gradients.small_graph(lesson_with("gradient-assigned-not-added"))
    assert changed["grads"] != gradients.small_graph(explicit)["grads"]


def test_the_small_computation_is_shown_as_it_runs() -> None:
    code = gradients.small_code()
    for name in (*gradients.START, *gradients.small_computation.__code__.co_varnames):
        assert f'data-name="{name}"' in code
    assert "return" not in code


def test_nudged_weights_agree_with_the_recorded_gradients(made: Material, functions: ModuleType) -> None:
    recording = made.recordings[loss.documents(made)[0], loss.moments(made)[-1]]
    found = gradients.nudged(recording, functions)
    assert len(found) == len(recording.grads)
    for weight in found:
        closest = min(abs(quotient - weight["grad"]) for quotient in weight["quotients"])
        assert closest < MEASURED * abs(weight["grad"])
        assert weight["losses"][gradients.NUDGES // 2] == pytest.approx(recording.loss, abs=EXACT)
        assert weight["nudges"][gradients.NUDGES // 2] == 0


def test_a_wrong_gradient_does_not_agree(made: Material) -> None:
    wrong = lesson_with("relu-squared-without-its-factor", REFERENCE)
    recording = made.recordings[loss.documents(made)[0], loss.moments(made)[-1]]
    state = wrong.State(recording.params)
    _, saved = wrong.loss_fn(state.params, recording.tokens, len(recording.tokens) - 1, wrong.CONFIG)
    wrong.backward(saved, state.params, state.grads, wrong.CONFIG)
    found = gradients.nudged(replace(recording, grads=dict(state.grads)), wrong)
    assert max(min(abs(q / weight["grad"] - 1) for q in weight["quotients"]) for weight in found) > 0.1


def test_a_name_touches_the_rows_of_its_own_tokens(made: Material, explicit: ModuleType, functions: ModuleType) -> None:
    figures = gradients.figures(made, explicit, functions)
    assert set(figures.tokens_with_gradient) == set(figures.rows)
    assert figures.digits >= 6
    assert figures.tape["nodes"] > 1000
    assert figures.without_gradient
    assert figures.zeros_before


# Optimizer
def test_adams_formula_gives_the_recorded_moves(made: Material, functions: ModuleType) -> None:
    config = functions.CONFIG
    for place in optimizer.chosen(made):
        for row in optimizer.moves(made, config, place, steps=50):
            expected = -row["learning_rate"] * row["m_hat"] / (row["root"] + config.eps_adam)
            assert row["moved"] == pytest.approx(expected, abs=EXACT)


def test_the_last_chosen_weight_moves_least_often(made: Material) -> None:
    *_, rare = optimizer.chosen(made)
    used = (made.training.grads["wte"] != 0).any(axis=2).sum(axis=0)
    assert used[rare.row] == min(count for count in used if count)
    assert optimizer.at(made.training.grads, rare).any()


def test_plain_descent_begins_with_the_recorded_gradients(made: Material, functions: ModuleType) -> None:
    times = 3.0
    descent = optimizer.descend(made, functions, times)
    assert descent["losses"][0] == pytest.approx(made.training.losses[0], abs=EXACT)
    for place, path in zip(optimizer.chosen(made), descent["paths"], strict=True):
        step = times * made.training.learning_rates[0] * optimizer.at(made.training.grads, place)[0]
        assert path[1] == pytest.approx(path[0] - step, abs=EXACT)
        assert len(path) == functions.CONFIG.num_steps + 1


def test_plain_descent_that_runs_away_is_said_to(made: Material, functions: ModuleType) -> None:
    descent = optimizer.descend(made, functions, 1e6)
    assert not descent["complete"]
    assert descent["late_loss"] is None
    assert len(descent["losses"]) < functions.CONFIG.num_steps


def test_a_training_at_the_lessons_own_rate_is_the_recorded_one(made: Material, functions: ModuleType) -> None:
    assert optimizer.train(functions, functions.CONFIG) == pytest.approx(list(made.training.losses), abs=1e-9)


# Training
def test_each_steps_documents_are_those_of_the_run(made: Material, functions: ModuleType) -> None:
    assert [name for batch in batches(functions) for name in batch] == list(made.training.documents)


def test_unseen_documents_are_unseen(made: Material, functions: ModuleType) -> None:
    start = begin(functions)
    seen = len(made.training.documents)
    losses = training.losses_of(functions, made.training.states[0])
    assert losses == training.losses_of(functions, made.training.states[0], start.docs[seen : seen + training.UNSEEN])
    assert not set(start.docs[seen : seen + training.UNSEEN]) & set(made.training.documents)


def test_training_with_no_change_ends_as_recorded(made: Material, functions: ModuleType) -> None:
    no_mistake = mistakes.Mistake("none", says="", unnoticed="", caught_by="main")
    ended = training.train_with(made, functions, no_mistake)
    recorded = made.training.states[max(made.training.states)]
    assert all(np.abs(ended[name] - recorded[name]).max() < 1e-9 for name in recorded)


def test_the_largest_jump_is_the_largest(made: Material, functions: ModuleType) -> None:
    jump = training.largest_jump(made, functions)
    losses = list(made.training.losses)
    late = losses[-averages.count_of_last(losses) - 1 :]
    assert jump["after"] - jump["before"] == max(b - a for a, b in pairwise(late))
    assert (losses[jump["step"] - 1], losses[jump["step"]]) == (jump["before"], jump["after"])
    assert made.training.printed[jump["step"] - 1].startswith(f"step {jump['step']:4d} ")


def test_means_of_several_differ_less() -> None:
    losses = random.Random(1).choices([1.0, 3.0], k=3200)
    assert training.spread(losses) == pytest.approx(1, abs=0.05)
    assert training.spread(losses, together=16) == pytest.approx(1 / 4, abs=0.05)
    assert training.spread([1.0, 3.0, 2.0, 2.0, 99.0], together=2) == 0  # means 2 and 2; what is left over is left out


def test_a_batch_size_is_read_from_the_file(made: Material) -> None:
    sizes = {}
    for lesson in made.lessons:
        stated = [line for line in lesson.source.splitlines() if line.startswith("CONFIG = Config(batch_size=")]
        if stated:
            sizes[lesson.number] = training.default_batch(lesson)
            assert f"batch_size={sizes[lesson.number]})" in stated[0]
    assert sizes


# Inference
def test_the_draws_are_those_of_the_run(made: Material, functions: ModuleType) -> None:
    drawn = inference.draws(made, functions)
    ends = ("", "BOS")
    names = ["".join(draw.token for draw in name if draw.token not in ends) for name in drawn]
    assert names == list(made.training.names[: len(names)])


def test_the_random_number_falls_on_the_drawn_token(made: Material, functions: ModuleType) -> None:
    for name in inference.draws(made, functions):
        for draw in name:
            *before, end = accumulate(draw.probs[: draw.index + 1])
            assert sum(before[-1:]) <= draw.number < end


def test_the_pages_formula_gives_the_recorded_probabilities(made: Material, functions: ModuleType) -> None:
    for name in inference.draws(made, functions):
        for draw in name:
            exps = np.exp((draw.logits - draw.logits.max()) / functions.CONFIG.temperature)
            assert exps / exps.sum() == pytest.approx(np.array(draw.probs), abs=EXACT)


def test_the_probability_of_a_name_is_the_product_of_its_draws(made: Material, functions: ModuleType) -> None:
    first = inference.draws(made, functions, names=1)[0]
    logs = [math.log(draw.probs[draw.index]) for draw in first]
    assert math.log(inference.probability(first)) == pytest.approx(sum(logs))


def test_low_temperatures_come_near_to_the_likeliest_name(made: Material, functions: ModuleType) -> None:
    cold = SimpleNamespace(**{**vars(functions), "CONFIG": replace(functions.CONFIG, temperature=1e-4)})
    names: Any = inference.names_at(made, cold)
    assert set(names[1e-4 * inference.TIMES[0]]) == {inference.likeliest_name(made, functions)}
    assert inference.names_at(made, functions)[functions.CONFIG.temperature] == list(
        made.training.names[: inference.NAMES_EACH]
    )
