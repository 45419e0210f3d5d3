"""What a sampler does to scores before it draws."""

import inspect
import math

import pytest
from microgpt_harness.run import sampling

LOGITS = [3.0, -2.0, 0.0, 1.5, -0.5]
WRONG = {
    "subtracted, not divided": ("logits[token] / penalty if logits[token] > 0", "logits[token] - penalty if True"),
    "negative scores divided too": (" if logits[token] > 0 else logits[token] * penalty", ""),
    "all tokens penalised": ("in repeated", "in range(len(logits))"),
    "penalised again for another": ("= logits[token] / penalty", "= max(penalised) / penalty"),
}


def check_penalty(penalise) -> None:
    """A repeated token's score is divided if positive, else multiplied (Keskar et al. 2019); no other score changes."""
    assert penalise(list(LOGITS), {0, 1, 2}, 2.0) == [1.5, -4.0, 0.0, 1.5, -0.5]
    assert penalise(list(LOGITS), {3}, 3.0) == [3.0, -2.0, 0.0, 0.5, -0.5]
    assert penalise(list(LOGITS), {0, 1}, 1.0) == LOGITS
    assert penalise(list(LOGITS), {1}, math.inf)[1] == -math.inf


def test_the_repetition_penalty():
    check_penalty(sampling.penalise)


@pytest.mark.parametrize(("old", "new"), WRONG.values(), ids=WRONG)
def test_a_wrong_penalty_is_caught(old, new):
    source = inspect.getsource(sampling.penalise)
    assert source.count(old) == 1
    names = {}
    exec(source.replace(old, new), names)
    with pytest.raises(AssertionError):
        check_penalty(names["penalise"])
