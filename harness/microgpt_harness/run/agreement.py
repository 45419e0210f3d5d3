"""Do the folders' runs of one dataset compute the same losses? Each is held against 02's, which no framework computed.

Judged are the first 50 steps only, and a step's number counts, not how many steps two runs happen to share. The rest is
reported. Each step goes on from weights that the step before has rounded, and Adam divides by the root of small
numbers: a difference in the last digit grows a hundredfold every few hundred steps, in a run without any mistake as
well, and how fast depends on the processor. Measured on the default model, float32 is 4e-6 from float64 by step 50 at
the worst and 3.5e-3 by step 500; float64 with 2e-16 of noise is 6e-3 off by step 2,000. So a late difference proves
nothing, and a bound on it fails by chance.

Two runs in float64 must agree to 1e-9, any others to 1e-4. The tests hold float64 to 1e-9 for 500 steps, which is known
to be safe for the default model. Here come runs of every size, learning rate and dataset: 50 steps are safe for those,
as long as training works at all. Where the learning rate is so large that the loss rises, rounding grows tenfold every
few steps (measured at 0.1: 1 apart by step 40): there being apart proves nothing, though being within the bound does.
"""

import math
from array import array
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from statistics import fmean
from typing import Any

from ..system.errors import UserError
from . import bounds, metrics, run_config
from .metrics import Curve

REFERENCE = "02_numpy_manual_backprop"
JUDGED_STEPS = 50
FLOAT64_BOUND, FLOAT32_BOUND = 1e-9, 1e-4
RISE = 1.1  # a mean loss of so many times the first one's: training does not work
SAMPLING = {"temperature"}  # of Config: decides nothing while training
DATA = ("dataset", "mode", "column", "documents", "vocab_size")  # of config.json, beside the config itself


@dataclass(frozen=True)
class Run:
    """What is left of a folder's run."""

    name: str
    curve: Curve
    seconds: "array[float]"  # of each step, where the record says
    settings: dict[str, Any]  # config.json, empty if it cannot be read
    problem: str  # why it cannot

    @property
    def dtype(self) -> str:
        return self.settings.get("dtype", "?")

    @property
    def is_coarse(self) -> bool:
        """Whether its products are rounded so much that they say nothing about another's."""
        return bounds.is_coarse(self.dtype)

    @cached_property
    def rises(self) -> float | None:
        """The mean loss of the judged steps, if it is above the first one: then the run is unstable. Else None."""
        if self.curve.steps[0] != 1:
            return None
        mean = fmean(loss for step, loss in zip(self.curve.steps, self.curve.losses) if step <= JUDGED_STEPS)
        return None if mean <= RISE * self.curve.losses[0] else mean

    @property
    def deciding(self) -> dict[str, Any]:
        """What decides a loss, other than the kind of number: the data, and Config without what is for sampling."""
        data = {name: self.settings.get(name) for name in DATA}
        config = self.settings.get("config", {})
        return data | {name: value for name, value in config.items() if name not in SAMPLING}


@dataclass(frozen=True)
class Largest:
    """The largest difference of some steps, and where it is."""

    distance: float
    step: int

    def __str__(self) -> str:
        return f"{self.distance:.1e} at step {self.step}"


@dataclass(frozen=True)
class Difference:
    """|loss − the reference's loss| at each step that both runs have."""

    steps: "array[int]"
    distances: "array[float]"
    bound: float

    @cached_property
    def judged(self) -> list[tuple[int, float]]:
        """The common steps among the first 50, each with its difference: none if a run's records begin later."""
        return [(step, apart) for step, apart in self.pairs() if step <= JUDGED_STEPS]

    def pairs(self) -> Iterable[tuple[int, float]]:
        return zip(self.steps, self.distances)

    @cached_property
    def largest_later(self) -> Largest | None:
        return largest((step, apart) for step, apart in self.pairs() if step > JUDGED_STEPS)

    @property
    def diverges_at(self) -> int | None:
        """The first judged step whose difference is above the bound."""
        return next((step for step, apart in self.judged if apart > self.bound), None)


@dataclass(frozen=True)
class Setting:
    """A setting that is not the same in a run and in the reference. None where a config.json does not have it."""

    name: str
    here: Any
    there: Any


@dataclass(frozen=True)
class Comparison:
    """The runs of one dataset, and how each but the reference differs from it. Without runs there is no reference.

    `left_out` says what could not be read, and why.
    """

    folder: Path
    runs: list[Run]
    left_out: tuple[str, ...] = ()

    @cached_property
    def reference(self) -> Run:
        fine = [run for run in self.runs if not run.is_coarse] or self.runs
        return next((run for run in fine if run.name == REFERENCE), fine[0])

    @property
    def agrees(self) -> bool:
        """Whether no judged step of any comparable run says otherwise: always so where the reference is unstable."""
        apart = any(each.diverges_at is not None for each in self.comparable.values())
        return not apart or self.reference.rises is not None

    @property
    def others(self) -> list[Run]:
        return [run for run in self.runs if run is not self.reference]

    @cached_property
    def differences(self) -> dict[str, Difference]:
        return {run.name: difference(run, self.reference) for run in self.others}

    @cached_property
    def comparable(self) -> dict[str, Difference]:
        """The differences of the runs that the same settings made."""
        same = {run.name for run in self.others if not (self.problem(run) or self.other_settings(run))}
        return {name: apart for name, apart in self.differences.items() if name in same}

    def problem(self, run: Run) -> str:
        """Why it is not known whether the settings are the same, if it is not."""
        return run.problem or self.reference.problem

    def other_settings(self, run: Run) -> list[Setting]:
        here, there = run.deciding, self.reference.deciding
        names = [name for name in here | there if here.get(name) != there.get(name)]
        coarse = (
            [Setting("dtype", run.dtype, self.reference.dtype)] if run.is_coarse or self.reference.is_coarse else []
        )
        return [*coarse, *(Setting(name, here.get(name), there.get(name)) for name in names)]


def read(folder: Path) -> Comparison:
    """Read the runs under a dataset's folder. What is damaged there is left out, or its settings are empty."""
    left_out: list[str] = []
    found = [read_run(path, left_out) for path in sorted(folder.glob("*/"))]
    return Comparison(folder, [run for run in found if run.curve], tuple(left_out))


def read_run(folder: Path, left_out: list[str] | None = None) -> Run:
    curve, seconds = Curve(), array("d")
    for record in metrics.each(folder, limit=metrics.MAX_BYTES, problems=left_out):
        curve.add([record])
        took = record.get("seconds")
        if isinstance(took, float) and 0 <= took < math.inf:
            seconds.append(took)
    return Run(folder.name, curve, seconds, *read_settings(folder))


def read_settings(folder: Path) -> tuple[dict[str, Any], str]:
    """Return what config.json says, or nothing and the reason."""
    try:
        settings = run_config.read(folder)
    except UserError as error:
        return {}, str(error)
    return (settings, "") if "config" in settings else ({}, f"{folder / run_config.FILE} has no settings in it")


def difference(run: Run, reference: Run) -> Difference:
    expected = dict(zip(reference.curve.steps, reference.curve.losses))
    steps, distances = array("q"), array("d")
    for step, loss in zip(run.curve.steps, run.curve.losses):
        if step in expected:
            steps.append(step)
            distances.append(distance(loss, expected[step]))
    both_float64 = run.dtype == reference.dtype == "float64"
    return Difference(steps, distances, FLOAT64_BOUND if both_float64 else FLOAT32_BOUND)


def distance(a: float, b: float) -> float:
    return abs(a - b) if math.isfinite(a) and math.isfinite(b) else math.inf


def largest(pairs: Iterable[tuple[int, float]]) -> Largest | None:
    found = max(pairs, key=lambda pair: pair[1], default=None)
    return Largest(found[1], found[0]) if found else None
