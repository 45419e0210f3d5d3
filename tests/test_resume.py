"""A run that was stopped, in whatever way, goes on as if it had not been: in the same folder or in another one."""

import json
import os
import random
import shutil
import signal
import subprocess
from collections.abc import Callable
from dataclasses import asdict
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from lessons import FOLDERS, each, load, offered
from microgpt_harness.data import datasets
from microgpt_harness.program.settings import resolve
from microgpt_harness.run import checkpoint, metrics, training
from microgpt_harness.run.progress import Silent
from microgpt_harness.run.sampling import Sampler
from program import NUMPY, PYTHON, end, one_line, run, started, until, wait_for

STEPS, HALF = 200, 100
TOLERANCE = 1e-9  # of a loss, between two folders in float64


class Records(list):
    """What stands in for metrics.jsonl where the test only wants the numbers."""

    def write(self, records: list[dict]) -> None:
        self.extend(records)

    def sync(self) -> None:
        pass

    @property
    def losses(self) -> list[float]:
        return [record["loss"] for record in self]


def begin(folder: str, path: Path, saved: checkpoint.Checkpoint | None = None, **values: Any) -> training.Run:
    """Begin a run on names, or take up a saved one, as the program does."""
    engine = load(folder).engine
    unless_saved = saved.config if saved else {"num_steps": STEPS}
    layers = [values, unless_saved, {"device": "cpu", "dtype": "float64", "val_every": 0}]
    settings = resolve(layers, engine.lesson.CONFIG, offered(folder).dtypes)
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


# ---- each folder going on where each other stopped ----


def file_of(folder: str) -> str:
    """Return the name that the folder saves to by itself."""
    return offered(folder).checkpoint


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


@pytest.mark.parametrize("dtype", ["float32", "float64", "bfloat16"])
@pytest.mark.parametrize("folder", each(FOLDERS))
def test_same_folder_goes_on_bit_for_bit(folder, dtype, tmp_path):
    if dtype not in offered(folder).dtypes:
        pytest.skip(f"it has no {dtype}")
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
    assert content(path) == content(whole.checkpoint_path)
    assert samples(resumed) == samples(whole)


@pytest.mark.parametrize("folder", each(FOLDERS))
def test_more_steps_asked_for_later_mean_the_same_in_every_folder(folder, tmp_path):
    """From there on the learning rate is that of a run which was to have so many steps from its beginning."""
    train(begin(NUMPY, tmp_path / CHECKPOINT, num_steps=10, batch_size=1))
    saved = checkpoint.load(tmp_path / CHECKPOINT)
    longer = [train(begin(of, tmp_path / f"{of}.json", saved, num_steps=20)) for of in (NUMPY, folder)]
    expected, losses = (records.losses for records in longer)
    assert [record["step"] for record in longer[1]] == list(range(11, 21))
    assert max(abs(a - b) for a, b in zip(losses, expected, strict=True)) <= TOLERANCE


def content(path: Path) -> str:
    """Return all of a checkpoint as text in which floats that differ in one bit look different."""
    saved = asdict(checkpoint.load(path))
    for group in checkpoint.TENSOR_GROUPS:
        saved[group] = {name: np.asarray(matrix).tolist() for name, matrix in saved[group].items()}
    return repr(saved)


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
    says = ("no record of the checkpoint's run", "is kept as metrics.aside-1.jsonl", "begin at step 21")
    says_in_passing(*options, "--resume", says=says)
    assert [r["step"] for r in metrics.read(folder)] == list(range(21, 41))
    assert list(metrics.each(folder, name="metrics.aside-1.jsonl")) == records
    run(NUMPY, *options, "--resume")  # and is not said again


def says_in_passing(*args: object, says: tuple[str, ...]) -> None:
    """Run 02 to a good end, with one line on standard error."""
    with started(NUMPY, *args) as process:
        result = end(process)
    assert result.code == 0, result.stderr
    one_line(result, *says)


def blank(line: str) -> str:
    return "\n"


def flip(line: str) -> str:
    """A bit of the loss's fifth digit."""
    at = line.index('"loss": ') + len('"loss": ') + 5
    return line[:at] + chr(ord(line[at]) ^ 1) + line[at + 1 :]


DAMAGE = {
    "a blank line": (lambda lines: [*lines[:69], blank(lines[69]), *lines[70:]], [70]),
    "a flipped bit": (lambda lines: [*lines[:69], flip(lines[69]), *lines[70:]], [70]),
    "the last line": (lambda lines: [*lines[:149], flip(lines[149])], [150]),
    "a missing tail": (lambda lines: lines[:148], [149, 150]),
    "a cut tail": (lambda lines: [*lines[:148], lines[148][:20]], [149, 150]),
}


@pytest.mark.parametrize("named", [False, True], ids=["--resume", "--resume --checkpoint"])
@pytest.mark.parametrize("what", DAMAGE)
def test_resuming_deletes_no_record(what, named, half_trained, tmp_path):
    """Nor where --checkpoint names the run's own checkpoint."""
    damage, lost = DAMAGE[what]
    out, whole = tmp_path / "out", metrics.read(half_trained["whole"])
    folder = shutil.copytree(half_trained["half"].parents[1], out) / "names" / NUMPY
    lines = damage((folder / metrics.FILE).read_text(encoding="utf-8").splitlines(keepends=True))
    (folder / metrics.FILE).write_text("".join(lines), encoding="utf-8")
    says = (f"{metrics.FILE} holds {150 - len(lost)} of the 150 records up to the checkpoint's step",)
    resume = ("--resume", "--checkpoint", folder / CHECKPOINT) if named else ("--resume",)
    says_in_passing(*QUICK, "--out", out, *resume, says=says)
    kept = [record for record in whole if record["step"] not in lost]
    assert without_seconds(metrics.read(folder)) == without_seconds(kept)
    aside = folder / "metrics.aside-1.jsonl"
    assert aside.exists() == (what != "a missing tail")  # of which all is kept where it was
    assert not aside.exists() or aside.read_text(encoding="utf-8") == "".join(lines)
    assert (folder / "checkpoint.safetensors").read_bytes() == (half_trained["whole"] / CHECKPOINT).read_bytes()


QUICK = ("--steps", 160, "--no-plot", "--n-samples", 0, "--val-every", 0)
CHECKPOINT = "checkpoint.safetensors"


@pytest.fixture(scope="module")
def half_trained(tmp_path_factory) -> dict[str, Path]:
    """Return the folders of a run of 160 steps, and of one that was stopped at step 150."""
    folders = {}
    for name, options in (("whole", ()), ("half", ("--stop-at", 150))):
        out = tmp_path_factory.mktemp(name)
        run(NUMPY, *QUICK, "--out", out, *options)
        folders[name] = out / "names" / NUMPY
    return folders


# ---- saving ----


@pytest.mark.parametrize("folder", each(FOLDERS))
def test_saving_changes_no_number(folder, tmp_path, monkeypatch):
    values = {"num_steps": 12, "batch_size": 2}
    for name in "ab":
        (tmp_path / name).mkdir()
    rarely = train(begin(folder, tmp_path / "a" / file_of(folder), **values), stop_at=11)
    saved = []
    original = training.save
    monkeypatch.setattr(training, "save", lambda a_run: (saved.append(a_run.step), original(a_run)))
    monkeypatch.setattr(training.SaveClock, "is_due", lambda clock: True)
    monkeypatch.setattr(training, "MAX_STEPS_PER_CALL", 2)
    often = train(begin(folder, tmp_path / "b" / file_of(folder), **values), stop_at=11)
    assert without_seconds(often) == without_seconds(rarely) and len(saved) > 5
    assert content(tmp_path / "a" / file_of(folder)) == content(tmp_path / "b" / file_of(folder))


class Clock:
    """What stands in for time, so that hours pass in a moment."""

    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now

    def pass_by(self, seconds: float) -> None:
        self.now += seconds


@pytest.mark.parametrize("saving", [0.0, 0.02, 8.0, 25.0])
@pytest.mark.parametrize("round_seconds", [0.1, 2.0, 7.0, 70.0])
def test_a_kill_costs_a_minute_at_most(saving, round_seconds, monkeypatch):
    """Or a step, where one takes longer, or three times as long as saving, where that is more.

    On disk is what was trained until a save began, and the next is there at its end.
    """
    clock = Clock()
    monkeypatch.setattr(training, "time", clock)
    saves, on_disk, worst, began = training.SaveClock(), clock.now, 0.0, clock.now
    for _ in range(2000):
        clock.pass_by(round_seconds)
        if saves.is_due():
            begins = clock.now
            saves.time(lambda: clock.pass_by(saving))
            if on_disk > began:  # how long the first save takes is not known before
                worst = max(worst, clock.now - on_disk)
            on_disk = begins
    assert 0 < worst <= max(training.SAVE_SECONDS, round_seconds + 3 * saving) + 1e-6
    assert worst > training.SAVE_SECONDS - 2 * round_seconds - 1e-6  # and not more often than that takes


def test_saving_that_takes_long_leaves_half_of_the_time(monkeypatch):
    clock = Clock()
    monkeypatch.setattr(training, "time", clock)
    saves, trained = training.SaveClock(), 0
    began = clock.now
    for _ in range(5000):
        clock.pass_by(1.0)
        trained += 1
        if saves.is_due():
            saves.time(lambda: clock.pass_by(100.0))
    assert trained / (clock.now - began) > 0.49


def test_records_are_on_the_disk_before_the_checkpoint_that_counts_on_them(tmp_path, monkeypatch):
    a_run = begin(NUMPY, tmp_path / CHECKPOINT, num_steps=30)
    writer = metrics.Writer(tmp_path, [])
    synced, checked = {}, []
    fsync, replace = os.fsync, Path.replace

    def noting_fsync(descriptor: int) -> None:
        fsync(descriptor)
        status = os.fstat(descriptor)
        synced[status.st_ino] = status.st_size

    def checking_replace(path: Path, target: Path) -> Path:
        if target.name == CHECKPOINT:
            status = (tmp_path / metrics.FILE).stat()
            steps = [record["step"] for record in metrics.read(tmp_path)]
            checked.append((synced.get(status.st_ino) == status.st_size, steps == list(range(1, a_run.step + 1))))
        return replace(path, target)

    monkeypatch.setattr(os, "fsync", noting_fsync)
    monkeypatch.setattr(Path, "replace", checking_replace)
    training.train(a_run, writer, Silent(), save_every=10)
    writer.close()
    assert checked == [(True, True)] * 3


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


def test_the_run_before_is_there_until_what_goes_on_from_it_is_saved(tmp_path):
    options = ("--no-plot", "--n-samples", 0, "--out", tmp_path)
    folder = tmp_path / "names" / NUMPY
    for seed in (1, 2):
        run(NUMPY, *options, "--steps", 5, "--seed", seed)
    first = (folder / "previous.safetensors").read_bytes()
    run(NUMPY, *options, "--checkpoint", folder / "previous.safetensors", "--steps", 8)
    assert (folder / "previous.aside-1.safetensors").read_bytes() == first


def test_records_of_a_run_that_was_never_saved_do_not_replace_more_of_the_same(tmp_path):
    options = ("--no-plot", "--n-samples", 0, "--out", tmp_path)
    folder = tmp_path / "names" / NUMPY
    run(NUMPY, *options, "--steps", 300)
    lines = (folder / metrics.FILE).read_bytes().splitlines(keepends=True)
    (folder / metrics.PREVIOUS).write_bytes(b"".join(lines))  # what the same command left when it began again,
    (folder / metrics.FILE).write_bytes(b"".join(lines[:280]))  # and was killed
    run(NUMPY, *options, "--steps", 5, "--seed", 2)
    assert (folder / metrics.PREVIOUS).read_bytes() == b"".join(lines)


def test_a_run_goes_on_validating_as_it_did(tmp_path):
    options = ("--no-plot", "--n-samples", 0, "--steps", 20, "--out", tmp_path)
    run(NUMPY, *options, "--val-every", 7, "--val-docs", 3, "--stop-at", 8)
    run(NUMPY, *options, "--resume")
    folder = tmp_path / "names" / NUMPY
    assert [record["step"] for record in metrics.each(folder) if "val_loss" in record] == [7, 14, 20]
    assert json.loads((folder / "config.json").read_text(encoding="utf-8"))["val_docs"] == 3


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


# ---- shapes ----


def test_the_shapes_of_a_checkpoint_are_those_that_a_lesson_draws():
    """The harness says them by itself, before anything is drawn, and the lesson decides them. So is their order."""
    lesson = load(PYTHON).microgpt
    config = lesson.Config(n_layer=2, n_embd=4, n_head=2, block_size=3)
    drawn = lesson.init_params(config, 5, random.Random(0))
    shapes = checkpoint.parameter_shapes(asdict(config), 5)
    assert [(name, (len(rows), len(rows[0]))) for name, rows in drawn.items()] == list(shapes.items())


# ---- SIGKILL ----


@pytest.mark.parametrize("folder, kills", [(NUMPY, 20), (PYTHON, 4)])
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


# ---- what stands in the place of a run's files ----


@pytest.mark.parametrize("name", ["checkpoint.safetensors", "previous.safetensors", "previous.metrics.jsonl"])
def test_a_folder_in_the_place_of_a_file_is_moved_out_of_the_way(name, half_trained, tmp_path):
    """Known at the end only, it would have cost the training."""
    folder = shutil.copytree(half_trained["half"].parents[1], tmp_path / "out") / "names" / NUMPY
    (folder / name).unlink(missing_ok=True)
    (folder / name).mkdir()
    run(NUMPY, *QUICK, "--steps", 3, "--out", tmp_path / "out")
    aside = folder / name.replace(".safetensors", ".aside-1.safetensors").replace(".jsonl", ".aside-1.jsonl")
    assert aside.is_dir() and checkpoint.load(folder / CHECKPOINT).step == 3
    assert (folder / name).is_file()
