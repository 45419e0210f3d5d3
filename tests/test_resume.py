"""A run that was stopped, in whatever way, goes on as if it had not been: in the same folder or in another one."""

import random
import signal
import subprocess
from collections.abc import Callable
from dataclasses import asdict
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from lessons import FOLDERS, each, load
from microgpt_harness import checkpoint, datasets, metrics, training
from microgpt_harness.progress import Silent
from microgpt_harness.sampling import Sampler
from microgpt_harness.settings import resolve
from program import NUMPY, PYTHON, run, started, until, wait_for

STEPS, HALF = 200, 100
TOLERANCE = 1e-9  # of a loss, between two folders in float64


class Records(list):
    """What stands in for metrics.jsonl where the test only wants the numbers."""

    def write(self, records: list[dict]) -> None:
        self.extend(records)

    @property
    def losses(self) -> list[float]:
        return [record["loss"] for record in self]


def begin(folder: str, path: Path, saved: checkpoint.Checkpoint | None = None, **values: Any) -> training.Run:
    """Begin a run on names, or take up a saved one, as the program does."""
    engine = load(folder).engine
    unless_saved = saved.config if saved else {"num_steps": STEPS}
    layers = [values, unless_saved, {"device": "cpu", "dtype": "float64", "val_every": 0}]
    settings = resolve(layers, engine.CONFIG, ("float64", "float32"))
    if saved is None:
        return training.start(engine, settings, names(), path.parent, path)
    return training.resume(engine, settings, names(), path.parent, path, saved)


@cache
def names() -> datasets.Dataset:
    return datasets.load("names")


def train(a_run: training.Run, **options: Any) -> Records:
    records = Records()
    training.train(a_run, records, Silent(), **options)
    return records


def samples(a_run: training.Run) -> list[str]:
    sampler = Sampler(a_run.engine, a_run.state, a_run.data.tokenizer, "discrete", a_run.settings, a_run.rng)
    return ["".join(sampler.sample()) for _ in range(20)]


# ---- six folders, each going on where each other stopped ----


def file_of(folder: str) -> str:
    """Return the name that the folder saves to by itself."""
    return "checkpoint.json" if folder == PYTHON else "checkpoint.safetensors"


@pytest.fixture(scope="module")
def half_way(tmp_path_factory) -> Callable[[str], tuple[Path, list[float]]]:
    """Return a function that gives a folder's checkpoint of step 100 of 200, and its losses up to there."""

    @cache
    def train_half(folder: str) -> tuple[Path, list[float]]:
        path = tmp_path_factory.mktemp(folder) / file_of(folder)
        return path, train(begin(folder, path, batch_size=1), stop_at=HALF).losses

    return train_half


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory) -> Callable[[str], tuple[list[float], list[str]]]:
    @cache
    def train_whole(folder: str) -> tuple[list[float], list[str]]:
        whole = begin(folder, tmp_path_factory.mktemp(folder) / file_of(folder), batch_size=1)
        return train(whole).losses, samples(whole)

    return train_whole


@pytest.mark.parametrize("second", each(FOLDERS))
@pytest.mark.parametrize("first", each(FOLDERS))
def test_trained_in_one_folder_goes_on_in_another(first, second, half_way, uninterrupted, tmp_path, record):
    path, losses = half_way(first)
    resumed = begin(second, tmp_path / file_of(second), checkpoint.load(path))
    losses = losses + train(resumed).losses
    expected, expected_samples = uninterrupted(second)
    difference = max(abs(a - b) for a, b in zip(losses, expected, strict=True))
    record("100 steps in one folder, 100 in another", f"{first[:2]}→{second[:2]}", difference, TOLERANCE)
    assert samples(resumed) == expected_samples
    if first == second:
        assert difference == 0


# ---- the same folder, bit for bit ----


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("folder", each(FOLDERS))
def test_same_folder_goes_on_bit_for_bit(folder, dtype, tmp_path):
    if folder == PYTHON and dtype == "float32":
        pytest.skip("a Python float has 64 bits")
    values = {"dtype": dtype, "num_steps": 60, "batch_size": 2, "clip_grad": 1.0}
    whole = begin(folder, tmp_path / "whole" / file_of(folder), **values)
    whole.checkpoint_path.parent.mkdir()
    expected = train(whole)
    path = tmp_path / file_of(folder)
    records = train(begin(folder, path, **values), stop_at=37)
    for stop_at in (38, 51, 60):
        resumed = begin(folder, path, checkpoint.load(path), dtype=dtype)
        records += train(resumed, stop_at=stop_at)
    assert without_seconds(records) == without_seconds(expected)
    written, wanted = (asdict(checkpoint.load(p)) for p in (path, whole.checkpoint_path))
    assert repr(written) == repr(wanted)
    assert samples(resumed) == samples(whole)


def without_seconds(records: list[dict]) -> list[dict]:
    return [{key: value for key, value in record.items() if key != "seconds"} for record in records]


def test_validation_falls_on_the_same_steps(tmp_path):
    whole = train(begin(NUMPY, tmp_path / "a.json", num_steps=50, val_every=7))
    first = train(begin(NUMPY, tmp_path / "b.json", num_steps=50, val_every=7), stop_at=20, save_every=3)
    rest = train(begin(NUMPY, tmp_path / "b.json", checkpoint.load(tmp_path / "b.json"), num_steps=50, val_every=7))
    assert without_seconds(first + rest) == without_seconds(whole)
    assert [record["step"] for record in whole if "val_loss" in record] == [7, 14, 21, 28, 35, 42, 49, 50]


# ---- through the program ----


def test_program_goes_on_where_another_folder_stopped(tmp_path):
    """The flags that a reader of the lessons uses: 01's JSON file read by 02, 02's safetensors file read by 01."""
    options = ("--steps", 40, "--no-plot", "--out", tmp_path)
    for first, second in ((PYTHON, NUMPY), (NUMPY, PYTHON)):
        run(first, *options, "--stop-at", 20)
        source = tmp_path / "names" / first / file_of(first)
        resumed = run(second, *options, "--checkpoint", source)
        assert "going on after step 20 of 40" in resumed.stdout
        records = metrics.read(tmp_path / "names" / second)
        assert [r["step"] for r in records] == list(range(1, 41))  # the other folder's first 20 too
        sampled = run(PYTHON, "sample", "--checkpoint", tmp_path / "names" / second / file_of(second))
        assert sampled.samples == resumed.samples and len(resumed.samples) == 20


def test_metrics_of_another_run_are_not_taken_for_this_one(tmp_path):
    """A new run that is killed before it saves leaves its metrics beside the checkpoint of the run before."""
    options = ("--steps", 40, "--no-plot", "--out", tmp_path)
    run(NUMPY, *options, "--stop-at", 20)
    folder = tmp_path / "names" / NUMPY
    records = [r | {"loss": 1.0, "ema": 1.0} for r in metrics.read(folder)]
    metrics.Writer(folder, records).close()
    run(NUMPY, *options, "--resume")
    assert [r["step"] for r in metrics.read(folder)] == list(range(21, 41))


def test_going_on_from_the_run_before_finds_its_records(tmp_path):
    """They are among the files that the new run's own are about to be kept as."""
    options = ("--no-plot", "--n-samples", 0, "--out", tmp_path)
    folder = tmp_path / "names" / NUMPY
    for seed, steps in ((1, 5), (2, 6)):
        run(NUMPY, *options, "--steps", steps, "--seed", seed)
    first, second = losses_in(folder, metrics.PREVIOUS), losses_in(folder, metrics.FILE)
    run(NUMPY, *options, "--checkpoint", folder / "previous.safetensors", "--steps", 8)
    third = losses_in(folder, metrics.FILE)
    assert (len(first), len(third), third[:5]) == (5, 8, first)
    assert losses_in(folder, metrics.PREVIOUS) == second


def losses_in(folder: Path, name: str) -> list[float]:
    return [record["loss"] for record in metrics.each(folder, name=name)]


def test_new_run_keeps_the_checkpoint_of_the_one_before(tmp_path):
    options = ("--no-plot", "--n-samples", 0, "--out", tmp_path)
    run(NUMPY, *options, "--steps", 5)
    path = tmp_path / "names" / NUMPY / "checkpoint.safetensors"
    before = path.read_bytes()
    run(NUMPY, *options, "--steps", 6)
    assert path.with_name("previous.safetensors").read_bytes() == before
    run(NUMPY, *options, "--steps", 7, "--resume")
    assert path.with_name("previous.safetensors").read_bytes() == before


# ---- SIGKILL ----


@pytest.mark.parametrize("folder, kills", [(NUMPY, 50), (PYTHON, 6)])
def test_killed_at_random_moments(folder, kills, tmp_path, record):
    """One run, killed again and again. It saves after every step, so that many kills fall into the writing of a file;
    every fourth one waits for such a file to appear, to be sure of some.
    """
    options = ("--steps", 100_000, "--no-plot", "--val-every", 0)
    arguments = (*options, "--out", tmp_path / "killed", "--resume", "--save-every", 1, "--log-every", 1)
    run(folder, *options, "--out", tmp_path / "killed", "--stop-at", 1)
    run_folder = tmp_path / "killed" / "names" / folder
    moments, step, during_a_write = random.Random(8), 1, 0
    for kill in range(kills):
        left = set(temporaries(run_folder))
        with started(folder, *arguments) as process:
            wait_for(process, f"step {step + 1:4d} /")
            if kill % 4 == 0:
                until(lambda left=left: set(temporaries(run_folder)) - left, "a checkpoint being written")
            else:
                wait_at_most(process, moments.uniform(0, 0.15))
            process.send_signal(signal.SIGKILL)
            assert process.wait() == -signal.SIGKILL
        during_a_write += bool(set(temporaries(run_folder)) - left)
        saved = checkpoint.load(run_folder / file_of(folder))
        assert saved.step >= step
        step = saved.step
    run(folder, *arguments[:-4], "--stop-at", step + 5)
    run(folder, *options, "--out", tmp_path / "whole", "--stop-at", step + 5)
    assert losses(run_folder) == losses(tmp_path / "whole" / "names" / folder)
    assert [number for number, _ in losses(run_folder)] == list(range(1, step + 6))
    record("killed", folder, f"{kills} times up to step {step}, {during_a_write} times while writing a checkpoint")
    assert during_a_write > 0


def temporaries(folder: Path) -> list[Path]:
    return list(folder.glob(".checkpoint.*.tmp"))


def wait_at_most(process: subprocess.Popen, seconds: float) -> None:
    with pytest.raises(subprocess.TimeoutExpired):
        process.wait(timeout=seconds)


def losses(folder: Path) -> list[tuple[int, float]]:
    return [(record["step"], record["loss"]) for record in metrics.read(folder)]
