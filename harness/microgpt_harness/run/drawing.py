"""The first weights: of a large model, the same numbers in a third of the time and half of the memory."""

import dataclasses
import math
from random import Random
from types import SimpleNamespace
from typing import Any

from ..contract import Lesson, Tensors
from .checkpoint import count_weights

LARGE = 2**18  # weights; to draw fewer takes no longer than to import NumPy
PAIRS = 2**14  # computed at a time: few enough to stay in the processor's cache


def first_weights(lesson: Lesson, config: Any, vocab_size: int, rng: Random) -> Tensors:
    """Return what `lesson.init_params` draws from `rng`, and leave `rng` as it would.

    The matrices are rows of floats; of a large model, where NumPy is installed, float64 arrays of the same numbers.
    """
    large = count_weights(dataclasses.asdict(config), vocab_size) >= LARGE
    if large and can_be_drawn_at_once(lesson, config):
        return draw_at_once(lesson, config, vocab_size, rng)
    return lesson.init_params(config, vocab_size, rng)


def can_be_drawn_at_once(lesson: Lesson, config: Any) -> bool:
    """Try it on a small model. Somebody may have changed the lesson, and NumPy may not be there."""
    small = dataclasses.replace(config, n_layer=2, n_embd=3, n_head=1, block_size=2)
    one_by_one, at_once = Random(1), Random(1)
    try:
        expected = lesson.init_params(small, 5, one_by_one)
        drawn = draw_at_once(lesson, small, 5, at_once)
        same = {name: matrix.tolist() for name, matrix in drawn.items()} == expected
    except Exception:  # as soon as it is asked in the usual way, the lesson itself says what it has to say
        return False
    return same and at_once.getstate() == one_by_one.getstate()


def draw_at_once(lesson: Lesson, config: Any, vocab_size: int, rng: Random) -> Tensors:
    """Ask the lesson for the spread of each weight, and give them the numbers in the order in which it asks."""
    import numpy as np

    normal = Normal(rng)
    spreads = lesson.init_params(config, vocab_size, SimpleNamespace(gauss=lambda mu, sigma: sigma))
    params = {}
    for name in list(spreads):
        spread = np.array(spreads.pop(name), float)
        if spread.any():
            params[name] = 0.0 + normal.take(spread.size).reshape(spread.shape) * spread
        else:  # two fifths of a model start from zero: their numbers count, but none has to be computed
            params[name] = spread
            normal.skip(spread.size)
    normal.settle()
    return params


class Normal:
    """The numbers of `rng.gauss(0, 1)`, many at a time. `rng` itself stays where it is until `settle` is called.

    Python's Random and NumPy's RandomState give the same uniform numbers: both are MT19937 (Matsumoto and Nishimura
    1998), and make 53 bits of two of its words. Random.gauss makes two normal numbers of a pair of uniform ones (Box
    and Muller 1958) and keeps the second for its next call. Cosine, sine and logarithm are Python's here too: NumPy's
    may differ in the last bit.
    """

    def __init__(self, rng: Random) -> None:
        import numpy as np

        self.np, self.rng = np, rng
        _, (*words, position), spare = rng.getstate()
        self.twister = np.random.RandomState(0)
        self.twister.set_state(("MT19937", words, position))
        self.spare = np.array([] if spare is None else [spare])  # at most one number, which comes before those of pairs

    def take(self, count: int) -> Any:
        """Return the next numbers as an array."""
        n_pairs = (count - len(self.spare) + 1) // 2
        parts = [self.of_pairs(min(PAIRS, n_pairs - done)) for done in range(0, n_pairs, PAIRS)]
        numbers = self.np.concatenate([self.spare, *parts])
        self.spare = numbers[count:].copy()
        return numbers[:count]

    def of_pairs(self, n_pairs: int) -> Any:
        """Return the numbers of the next pairs, by the operations of Random.gauss in the same order."""
        np = self.np
        first, second = self.twister.random_sample((n_pairs, 2)).T
        angles = (first * math.tau).tolist()
        logs = np.fromiter(map(math.log, (1.0 - second).tolist()), float, n_pairs)
        numbers = np.empty((n_pairs, 2))
        numbers[:, 0] = np.fromiter(map(math.cos, angles), float, n_pairs)
        numbers[:, 1] = np.fromiter(map(math.sin, angles), float, n_pairs)
        return (numbers * np.sqrt(-2.0 * logs)[:, None]).ravel()

    def skip(self, count: int) -> None:
        """Go past the next numbers without computing them."""
        if count and len(self.spare):
            self.take(1)
            count -= 1
        n_pairs = count // 2
        for done in range(0, n_pairs, PAIRS):
            self.twister.random_sample((min(PAIRS, n_pairs - done), 2))
        self.take(count % 2)

    def settle(self) -> None:
        """Bring the generator to where these numbers would have brought it."""
        _, words, position, *_ = self.twister.get_state()
        spare = self.spare.tolist()
        self.rng.setstate((3, (*words.tolist(), position), spare[0] if spare else None))
