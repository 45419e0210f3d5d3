"""The first weights: of a large model, the same numbers in less than half of the time."""

import dataclasses
import math
from random import Random
from typing import Any

from ..contract import Lesson, Tensors
from .checkpoint import count_weights

LARGE = 2**18  # weights; to draw fewer takes no longer than to import NumPy
PAIRS = 2**14  # computed at a time: few enough to stay in the processor's cache


def first_weights(lesson: Lesson, config: Any, vocab_size: int, rng: Random) -> Tensors:
    """Return what `lesson.init_params` draws from `rng`, and leave `rng` as it would.

    The matrices are rows of floats; of a large model, where NumPy is installed, float64 arrays of the same numbers.
    """
    if count_weights(dataclasses.asdict(config), vocab_size) < LARGE:
        return lesson.init_params(config, vocab_size, rng)
    try:
        import numpy as np

        ahead = GaussAhead(rng, np)
        params = lesson.init_params(config, vocab_size, ahead)
    except (ImportError, AttributeError):  # a lesson that somebody has changed may ask for more than gauss
        return lesson.init_params(config, vocab_size, rng)
    ahead.settle()
    # A float in a list takes 32 bytes, in an array 8: so each list goes as soon as its array is there.
    return {name: np.array(params.pop(name)) for name in list(params)}


class GaussAhead:
    """`Random.gauss` with its numbers computed many at a time. The generator itself moves on in `settle`, not before.

    Python's Random and NumPy's RandomState give the same uniform numbers: both are MT19937 (Matsumoto and Nishimura
    1998), and make 53 bits of two of its words. Random.gauss makes two normal numbers of a pair of uniform ones (Box
    and Muller 1958) and keeps the second for its next call. Cosine, sine and logarithm are Python's here too: NumPy's
    may differ in the last bit.
    """

    def __init__(self, rng: Random, np: Any) -> None:
        self.rng, self.np = rng, np
        _, (*words, position), spare = rng.getstate()
        self.start = ("MT19937", words, position)
        self.twister = np.random.RandomState(0)
        self.twister.set_state(self.start)
        self.ahead = [] if spare is None else [spare]  # the numbers that come next, the nearest one last
        self.pairs = 0  # of uniform numbers, as many as were taken
        self.skipped = 0  # numbers that were asked for and are still in `ahead`, or beyond

    def gauss(self, mu: float = 0.0, sigma: float = 1.0) -> float:
        # Two fifths of a model's weights start from zero. Their numbers count, but nobody has to compute them.
        if not sigma:
            self.skipped += 1
            return mu + 0.0
        if self.skipped:
            self.skip()
        if not self.ahead:
            self.compute()
        return mu + self.ahead.pop() * sigma

    def compute(self) -> None:
        """Put the numbers of the next pairs ahead, by the operations of Random.gauss in the same order."""
        np = self.np
        first, second = self.take(PAIRS).T
        angles = (first * math.tau).tolist()
        logs = np.fromiter(map(math.log, (1.0 - second).tolist()), float, PAIRS)
        normal = np.empty((PAIRS, 2))
        normal[:, 0] = np.fromiter(map(math.cos, angles), float, PAIRS)
        normal[:, 1] = np.fromiter(map(math.sin, angles), float, PAIRS)
        normal *= np.sqrt(-2.0 * logs)[:, None]
        self.ahead = normal.ravel()[::-1].tolist()

    def take(self, pairs: int) -> Any:
        self.pairs += pairs
        return self.twister.random_sample((pairs, 2))

    def pass_over(self, pairs: int) -> None:
        for taken in range(0, pairs, PAIRS):
            self.take(min(PAIRS, pairs - taken))

    def skip(self) -> None:
        """Go to behind the numbers that were skipped."""
        beyond = self.skipped - len(self.ahead)
        del self.ahead[max(0, -beyond) :]
        if beyond > 0:
            self.pass_over(beyond // 2)
            if beyond % 2:
                self.compute()
                self.ahead.pop()
        self.skipped = 0

    def settle(self) -> None:
        """Bring the generator to where all numbers that were asked for have been drawn from it."""
        self.skip()
        pairs = self.pairs - len(self.ahead) // 2
        spare = self.ahead[-1] if len(self.ahead) % 2 else None
        self.twister.set_state(self.start)
        self.pass_over(pairs)
        _, words, position, *_ = self.twister.get_state()
        self.rng.setstate((3, (*words.tolist(), position), spare))
