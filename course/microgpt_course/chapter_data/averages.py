"""Means over the steps of a training run."""

import numpy as np
from microgpt_harness.run.metrics import smoothed

LAST = 0.2  # the share of the steps that "the last steps" are


def count_of_last(losses: list[float]) -> int:
    return max(1, round(LAST * len(losses)))


def mean_of_last(losses: list[float]) -> float:
    """Return the mean loss of the last steps."""
    return float(np.mean(losses[-count_of_last(losses) :]))


def smooth(losses: list[float]) -> list[float]:
    """Return the smoothed course of losses, as the program shows it beside its progress."""
    course: list[float] = []
    for loss in losses:
        course.append(smoothed(course[-1] if course else None, loss))
    return course
