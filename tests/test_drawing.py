"""The first weights of a large model: the numbers of random.gauss, bit for bit, and the same generator afterwards."""

import random
import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pytest
from lessons import load
from microgpt_harness.run import drawing
from program import PYTHON, ROOT


def moved(seed: int, words: int, spare: bool) -> random.Random:
    """Return a generator somewhere in its 624 words; `spare` leaves the second number of a pair in it."""
    rng = random.Random(seed)
    for _ in range(words):
        rng.getrandbits(32)
    if spare:
        rng.gauss(0, 1)
    return rng


def drawn_both_ways(asked: list[tuple[float, float]], rng: random.Random) -> tuple[list[str], list[str]]:
    """Return the numbers for each (mu, sigma), and the generator's state and next numbers, from Random and ahead."""
    other = random.Random()
    other.setstate(rng.getstate())
    numbers = [rng.gauss(mu, sigma) for mu, sigma in asked]
    ahead = drawing.GaussAhead(other, np)
    numbers_ahead = [ahead.gauss(mu, sigma) for mu, sigma in asked]
    ahead.settle()
    return tuple(
        [*map(float.hex, each), repr(generator.getstate()), repr([generator.gauss(0, 1) for _ in range(3)])]
        for each, generator in ((numbers, rng), (numbers_ahead, other))
    )


@pytest.mark.parametrize("spare", [False, True])
@pytest.mark.parametrize("pairs", [1, 2, 50])
def test_any_number_of_numbers(monkeypatch, pairs, spare):
    """Odd and even, none, and around the ends of what is computed at a time."""
    monkeypatch.setattr(drawing, "PAIRS", pairs)
    for count in (0, 1, 2, 3, *range(2 * pairs - 2, 2 * pairs + 3), *range(6 * pairs - 1, 6 * pairs + 2)):
        for seed in range(3):
            expected, got = drawn_both_ways([(0, 0.02)] * max(0, count), moved(seed, 7 * seed, spare))
            assert got == expected, (count, seed)


@pytest.mark.parametrize("words", [0, 1, 617, 619, 620, 623, 624, 625])
def test_anywhere_in_the_generators_words(words):
    for spare in (False, True):
        expected, got = drawn_both_ways([(0.0, 1.0)] * 701, moved(3, words, spare))
        assert got == expected


def test_numbers_that_need_not_be_computed_count_all_the_same(monkeypatch):
    """Stretches of random lengths with and without a spread, and means other than 0."""
    monkeypatch.setattr(drawing, "PAIRS", 5)
    lengths = random.Random(1)
    for seed in range(60):
        asked = []
        for _ in range(lengths.randrange(6)):
            asked += [(lengths.choice((0, 0.5, -2)), 0)] * lengths.choice((0, 1, 2, 3, 9, 10, 11, 31))
            asked += [(lengths.choice((0, 0.5, -2)), 0.02)] * lengths.choice((0, 1, 2, 3, 9, 10, 11, 31))
        expected, got = drawn_both_ways(asked, moved(seed, seed, spare=bool(seed % 2)))
        assert got == expected, (seed, asked)


def test_a_large_model():
    """Just large enough, and with odd numbers of numbers in every matrix: 12 · 2 · 109² + 109 · (2 · 30 + 33)."""
    lesson = load(PYTHON).microgpt
    config = lesson.Config(n_layer=2, n_embd=109, n_head=1, block_size=33)
    assert drawing.count_weights(vars(config), 30) > drawing.LARGE
    one, other = moved(5, 0, spare=True), moved(5, 0, spare=True)
    expected = lesson.init_params(config, 30, one)
    got = drawing.first_weights(lesson, config, 30, other)
    assert list(got) == list(expected)
    for name, rows in expected.items():
        assert got[name].dtype == np.float64 and got[name].tobytes() == np.array(rows).tobytes(), name
    assert other.getstate() == one.getstate()


def test_a_small_model_is_drawn_without_numpy(monkeypatch):
    lesson = load(PYTHON).microgpt
    monkeypatch.setattr(drawing, "GaussAhead", None)  # calling it would fail
    params = drawing.first_weights(lesson, lesson.CONFIG, 27, random.Random(42))
    assert params == lesson.init_params(lesson.CONFIG, 27, random.Random(42))


def test_a_lesson_that_draws_in_another_way_gets_the_generator_itself(monkeypatch):
    """Somebody has changed init_params. What it had drawn by then is drawn again."""
    names = {name for name in dir(drawing.GaussAhead(random.Random(), np)) if not name.startswith("_")}
    assert names & set(dir(random.Random)) == {"gauss"}
    monkeypatch.setattr(drawing, "LARGE", 0)

    def init_params(config, vocab_size, rng):
        return {"wte": [[rng.gauss(0, 1), rng.gauss(0, 1), rng.gauss(0, 1), rng.uniform(-1, 1)]]}

    one, other = random.Random(1), random.Random(1)
    config = load(PYTHON).microgpt.CONFIG
    got = drawing.first_weights(SimpleNamespace(init_params=init_params), config, 5, one)
    assert got == init_params(config, 5, other) and one.getstate() == other.getstate()


def test_a_large_model_on_a_bare_python():
    """The same numbers, as rows."""
    program = """
        import sys
        sys.modules["numpy"] = None  # importing it now fails
        sys.path[:0] = sys.argv[1:]
        import random, microgpt
        from microgpt_harness.run import drawing
        drawing.LARGE = 0
        params = drawing.first_weights(microgpt, microgpt.CONFIG, 27, random.Random(42))
        assert params == microgpt.init_params(microgpt.CONFIG, 27, random.Random(42))
    """
    lines = "\n".join(line.strip() for line in program.splitlines())
    command = [sys.executable, "-I", "-c", lines, ROOT / PYTHON, ROOT / "harness"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
