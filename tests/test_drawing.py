"""The first weights of a large model: the numbers of random.gauss, bit for bit, and the same generator afterwards."""

import random
import subprocess
import sys
from dataclasses import replace
from types import SimpleNamespace
from unittest.mock import patch

import numpy as np
import pytest
from lessons import load
from microgpt_harness.run import drawing
from program import PYTHON, ROOT

LESSON = load(PYTHON).microgpt


def moved(seed: int, words: int, spare: bool) -> random.Random:
    """Return a generator somewhere in its 624 words; `spare` leaves the second number of a pair in it."""
    rng = random.Random(seed)
    for _ in range(words):
        rng.getrandbits(32)
    if spare:
        rng.gauss(0, 1)
    return rng


def assert_same_numbers(calls: list[tuple[str, int]], rng: random.Random) -> None:
    """Take or skip numbers as the calls say, and hold them and the generator afterwards to Random.gauss."""
    other = random.Random()
    other.setstate(rng.getstate())
    normal = drawing.Normal(other)
    for call, count in calls:
        expected = [rng.gauss(0, 1) for _ in range(count)]
        if call == "take":
            assert normal.take(count).tobytes() == np.array(expected).tobytes(), (call, count)
        else:
            normal.skip(count)
    normal.settle()
    assert other.getstate() == rng.getstate()
    assert [other.gauss(0, 1) for _ in range(3)] == [rng.gauss(0, 1) for _ in range(3)]


@pytest.mark.parametrize("spare", [False, True])
@pytest.mark.parametrize("call", ["take", "skip"])
@pytest.mark.parametrize("pairs", [1, 2, 50])
def test_any_number_of_numbers(monkeypatch, pairs, call, spare):
    """Odd and even, none, and around the ends of what is computed at a time."""
    monkeypatch.setattr(drawing, "PAIRS", pairs)
    for count in (0, 1, 2, 3, *range(2 * pairs, 2 * pairs + 4), *range(6 * pairs - 1, 6 * pairs + 3)):
        for seed in range(3):
            assert_same_numbers([(call, count)], moved(seed, 7 * seed, spare))


@pytest.mark.parametrize("words", [0, 1, 617, 619, 620, 623, 624, 625])
def test_anywhere_in_the_generators_words(words):
    for spare in (False, True):
        assert_same_numbers([("take", 701)], moved(3, words, spare))


def test_takes_and_skips_in_any_order(monkeypatch):
    monkeypatch.setattr(drawing, "PAIRS", 5)
    chance = random.Random(1)
    for seed in range(100):
        calls = [
            (chance.choice(("take", "skip")), chance.choice((0, 1, 2, 3, 9, 10, 11, 31)))
            for _ in range(chance.randrange(8))
        ]
        assert_same_numbers(calls, moved(seed, seed, spare=bool(seed % 2)))


def draw_both_ways(lesson, config, vocab_size: int = 30) -> tuple[dict, dict]:
    """Return what init_params draws, and what first_weights does. The generators must end in the same state."""
    one, other = moved(5, 0, spare=True), moved(5, 0, spare=True)
    drawn = lesson.init_params(config, vocab_size, one), drawing.first_weights(lesson, config, vocab_size, other)
    assert other.getstate() == one.getstate()
    return drawn


def assert_same_bits(got: dict, expected: dict) -> None:
    assert list(got) == list(expected)
    for name, rows in expected.items():
        assert got[name].dtype == np.float64 and got[name].tobytes() == np.array(rows).tobytes(), name


def test_a_large_model():
    """Just large enough, and with an odd number of numbers in every matrix: 12 · 2 · 109² + 109 · (2 · 29 + 33)."""
    config = LESSON.Config(n_layer=2, n_embd=109, n_head=1, block_size=33)
    assert drawing.count_weights(vars(config), 29) > drawing.LARGE
    expected, got = draw_both_ways(LESSON, config, 29)
    assert_same_bits(got, expected)


def test_a_small_model_is_drawn_by_the_lesson():
    with patch.object(drawing, "can_be_drawn_at_once", side_effect=AssertionError("it was asked")):
        expected, got = draw_both_ways(LESSON, LESSON.CONFIG)
    assert got == expected


def test_zeros_have_no_sign(monkeypatch):
    """The second number of a uniform pair may be 0, and sqrt(-2 log(1 - 0)) is -0.0. But gauss adds 0: that is 0.0."""
    monkeypatch.setattr(drawing.Normal, "take", lambda self, count: np.full(count, -0.0))
    drawn = drawing.draw_at_once(LESSON, LESSON.CONFIG, 5, random.Random(1))
    assert not any(np.signbit(matrix).any() for matrix in drawn.values())


# ---- lessons that somebody has changed ----


def with_spread(spread):
    """The lesson's init_params with another spread of the first weights, where they have one."""

    def init_params(config, vocab_size, rng):
        wide = SimpleNamespace(gauss=lambda mu, sigma: rng.gauss(mu, sigma and spread(config)))
        return LESSON.init_params(config, vocab_size, wide)

    return SimpleNamespace(init_params=init_params)


@pytest.mark.parametrize("spread", [lambda config: 0.5, lambda config: config.n_embd**-0.5])
def test_another_spread_is_drawn_at_once_too(spread, monkeypatch):
    monkeypatch.setattr(drawing, "LARGE", 0)
    expected, got = draw_both_ways(with_spread(spread), replace(LESSON.CONFIG, n_layer=3, n_embd=20))
    assert_same_bits(got, expected)
    assert any(matrix.any() for matrix in got.values())


def in_another_order(config, vocab_size, rng):
    params = LESSON.init_params(config, vocab_size, rng)
    return {name: [list(column) for column in zip(*rows, strict=True)] for name, rows in params.items()}


def with_another_mean(config, vocab_size, rng):
    return {"wte": [[rng.gauss(1, 0.02) for _ in range(config.n_embd)] for _ in range(vocab_size)]}


def scaled_afterwards(config, vocab_size, rng):
    params = LESSON.init_params(config, vocab_size, rng)
    return {name: [[number / 3 for number in row] for row in rows] for name, rows in params.items()}


def uniform(config, vocab_size, rng):
    return {"wte": [[rng.gauss(0, 1), rng.uniform(-1, 1)] for _ in range(vocab_size)]}


def one_left_out(config, vocab_size, rng):
    params = LESSON.init_params(config, vocab_size, rng)
    return {name: rows for name, rows in params.items() if name != "wte"}


def one_too_many(config, vocab_size, rng):
    params = LESSON.init_params(config, vocab_size, rng)
    rng.gauss(0, 1)
    return params


@pytest.mark.parametrize(
    "changed", [in_another_order, with_another_mean, scaled_afterwards, uniform, one_left_out, one_too_many]
)
def test_what_is_drawn_in_another_way_is_drawn_by_the_lesson(changed, monkeypatch):
    monkeypatch.setattr(drawing, "LARGE", 0)
    expected, got = draw_both_ways(SimpleNamespace(init_params=changed), LESSON.CONFIG)
    assert got == expected


def test_a_lesson_that_fails_says_so_itself(monkeypatch):
    monkeypatch.setattr(drawing, "LARGE", 0)

    def init_params(config, vocab_size, rng):
        raise ValueError(f"n_embd {config.n_embd}")

    with pytest.raises(ValueError, match="n_embd 16"):
        drawing.first_weights(SimpleNamespace(init_params=init_params), LESSON.CONFIG, 5, random.Random(1))


def test_a_large_model_on_a_bare_python():
    """The same numbers, as rows."""
    lines = (
        "import sys",
        "sys.modules['numpy'] = None",  # importing it now fails
        "sys.path[:0] = sys.argv[1:]",
        "import random, microgpt",
        "from microgpt_harness.run import drawing",
        "drawing.LARGE = 0",
        "params = drawing.first_weights(microgpt, microgpt.CONFIG, 27, random.Random(42))",
        "assert params == microgpt.init_params(microgpt.CONFIG, 27, random.Random(42))",
    )
    command = [sys.executable, "-I", "-c", "\n".join(lines), ROOT / PYTHON, ROOT / "harness"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
