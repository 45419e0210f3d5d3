"""What a run keeps of its steps: a file on the disk, and next to nothing in memory."""

import json
import math
import os
import random
import tracemalloc
from pathlib import Path

import comparisons
import numpy as np
import pytest
from lessons import FOLDERS, each, load
from microgpt_harness.data import datasets
from microgpt_harness.program.settings import resolve
from microgpt_harness.run import metrics, training
from microgpt_harness.run.metrics import Curve
from microgpt_harness.run.progress import Silent
from program import NUMPY

STEPS = 2000
RECORD_BYTES = 300  # what a step would take that was kept as a dict


def test_memory_does_not_grow_with_the_steps(tmp_path):
    """Held is what does not depend on the steps: the weights, the data, a call of the engine."""
    engine = load(NUMPY).engine
    settings = resolve([{"num_steps": 4 * STEPS, "n_embd": 4, "val_every": 50}], engine.lesson.CONFIG, ("float64",))
    run = training.start(engine, settings, datasets.load("names"), tmp_path, tmp_path / "checkpoint.json")
    writer = metrics.Writer(tmp_path, [])
    training.train(run, writer, Silent(), stop_at=STEPS)  # for the caches and the length of the calls
    tracemalloc.start()
    try:
        training.train(run, writer, Silent(), stop_at=2 * STEPS)
        held, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
        writer.close()
    assert held < RECORD_BYTES * STEPS / 4
    assert len(metrics.read(tmp_path)) == 2 * STEPS


@pytest.mark.parametrize("folder", each(FOLDERS))
def test_a_record_says_the_learning_rate_that_the_lesson_took(folder):
    """The lesson computes it by itself. How far a step moves the weights tells which it was."""
    lesson, step = load(folder), 7
    config = comparisons.config_of(lesson)
    state = comparisons.state_at_point(lesson, "float64", **comparisons.moments_under_way(), step=step)
    state, _ = lesson.engine.train_steps(state, [comparisons.batch_of(lesson)], config)
    before, after, adam_m, adam_v = (
        np.asarray(tensors["lm_head"])
        for tensors in (comparisons.params_at_point(), *lesson.engine.export_state(state))
    )
    m_hat, v_hat = adam_m / (1 - config.beta1 ** (step + 1)), adam_v / (1 - config.beta2 ** (step + 1))
    taken = (before - after) * (np.sqrt(v_hat) + config.eps_adam) / m_hat
    assert taken == pytest.approx(training.learning_rate(config, step), rel=1e-9)


def test_curve_of_a_run(tmp_path):
    records = [{"step": i, "loss": 3 - i / 8, "ema": math.exp(-i), "lr": 0.1, "seconds": 0.5} for i in range(1, 9)]
    for record in records[3::4]:
        record["val_loss"] = 0.25 * record["step"]
    writer = metrics.Writer(tmp_path, records[:5])
    writer.write(records[5:])
    writer.close()
    assert metrics.read(tmp_path) == records
    curve = metrics.read_curve(tmp_path)
    assert list(curve.steps) == list(range(1, 9)) and len(curve) == 8
    assert list(curve.losses) == [r["loss"] for r in records] and list(curve.emas) == [r["ema"] for r in records]
    assert (list(curve.val_steps), list(curve.val_losses)) == ([4, 8], [1.0, 2.0])
    assert not Curve() and not metrics.read_curve(tmp_path / "none")


def test_curve_is_small():
    tracemalloc.start()
    try:
        curve = Curve({"step": i, "loss": 1 / (i + 1), "ema": 2 / (i + 1)} for i in range(10_000))
        held, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert len(curve) == 10_000 and held < 30 * 10_000  # three numbers of 8 bytes, and room to grow


# ---- files that anybody wrote ----

GOOD = {"step": 2, "loss": 1.5, "ema": 2.5, "lr": 0.1, "seconds": 0.5, "val_loss": 1.0}
FOREIGN = {
    "no smoothed loss": {"step": 2, "loss": 1.5},
    "null": {**GOOD, "ema": None},
    "text for a step": {**GOOD, "step": "2"},
    "truth for a step": {**GOOD, "step": True},
    "step 0": {**GOOD, "step": 0},
    "a huge step": {**GOOD, "step": 2**70},
    "a whole number": {**GOOD, "loss": 1},
    "a huge number": {**GOOD, "loss": 10**4000},
    "text": {**GOOD, "val_loss": "x"},
    "a list": {**GOOD, "val_loss": []},
    "a huge validation loss": {**GOOD, "val_loss": 10**400},
    "a validation loss that is none": {**GOOD, "val_loss": None},
    "not a number": {**GOOD, "ema": math.nan},
    "infinite": {**GOOD, "loss": math.inf},
    "nearly": {**GOOD, "loss": 1.7e308},
    "seconds": {**GOOD, "seconds": "0.1"},
    "a repeated step": {**GOOD, "step": 1},
    "no object": [],
    "a number": 7,
}


@pytest.mark.parametrize("what", FOREIGN)
def test_what_is_no_record_is_passed_over(tmp_path, what):
    first, last = {**GOOD, "step": 1}, {**GOOD, "step": 3}
    written = "".join(json.dumps(record) + "\n" for record in (first, FOREIGN[what], last))
    (tmp_path / metrics.FILE).write_text(written, encoding="utf-8")
    assert metrics.read(tmp_path) == [first, last]


@pytest.mark.parametrize("line", [b"", b"{", b"\xff", b"[" * 9000, b'{"step": ' + b"9" * 5000, b"\0" * 50_000_000])
def test_lines_of_any_kind_and_length(tmp_path, line):
    good = json.dumps(GOOD).encode()
    (tmp_path / metrics.FILE).write_bytes(line + b"\n" + good + b"\n" + line)
    tracemalloc.start()
    try:
        records = metrics.read(tmp_path)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert records == [GOOD] and peak < 1_000_000


def test_why_a_file_cannot_be_read(tmp_path):
    problems = []
    path = tmp_path / metrics.FILE
    assert not list(metrics.each(tmp_path, problems=problems)) and not problems  # a run may just have begun
    path.write_text("", encoding="utf-8")
    assert not list(metrics.each(tmp_path, problems=problems)) and not problems
    path.write_text("[]\n", encoding="utf-8")
    assert not list(metrics.each(tmp_path, problems=problems))
    assert not list(metrics.each(tmp_path, problems=problems, limit=2))
    path.unlink()
    path.mkdir()
    assert not list(metrics.each(tmp_path, problems=problems))
    assert problems == [
        f"{path} holds no record",
        f"{path} cannot be read (it is larger than 2 bytes)",
        f"{path} cannot be read (it is a folder, not a file)",
    ]


# ---- which records belong to a checkpoint ----


def made(seed: int, steps: int = 500, ema: float | None = None, first: int = 1) -> list[dict]:
    """Return records whose numbers go on from each other, as a run writes them."""
    rng, records = random.Random(seed), []
    for step in range(first, steps + 1):
        loss = rng.uniform(1, 3)
        ema = metrics.smoothed(ema, loss)
        records.append({"step": step, "loss": loss, "ema": ema, "lr": 0.1, "seconds": 0.5})
    return records


RUN = made(seed=1)
TRAIL = metrics.longer_trail({}, RUN)


def test_trail_is_short_and_dense_at_its_end():
    assert sorted(TRAIL, reverse=True) == [500, 499, 498, 496, 488, 480, 448, 384, 256]
    assert all(TRAIL[step] == RUN[step - 1]["ema"] for step in TRAIL)
    assert len(metrics.longer_trail(dict.fromkeys(range(2**53 - 5000, 2**53), 1.0), ())) < metrics.MAX_TRAIL


def test_trail_does_not_depend_on_where_a_run_was_stopped():
    rng, trail, at = random.Random(3), {}, 0
    while at < 500:
        upto = at + rng.randint(1, 40)
        trail = metrics.longer_trail(trail, RUN[at:upto])
        trail = metrics.trail_to(max(trail), through_a_file(trail))
        at = upto
    assert list(trail.items()) == list(TRAIL.items())


def through_a_file(trail: metrics.Trail) -> dict:
    extra = {"ema": trail[max(trail)], "trail": [list(pair) for pair in trail.items()]}
    return json.loads(json.dumps(extra))


@pytest.mark.parametrize("trail", [None, 7, [[1]], [1, 2], [["1", 2.0]], [[1, None]], [[9, 2.0]], [[2, 1.0]] * 65])
def test_a_trail_that_anybody_wrote(trail):
    assert metrics.trail_to(5, {"ema": 2.0, "trail": trail}) == {5: 2.0}
    assert metrics.trail_to(5, {"ema": None, "trail": trail}) == {}
    assert metrics.trail_to(5, {"ema": math.nan}) == metrics.trail_to(5, {}) == {}


def kept_of(folder: Path, lines: list, own: bool = True) -> tuple[list[int], str]:
    """Write a file of records and damaged lines. Return what is kept of it for a checkpoint of step 500, and the note.

    What is kept is always what the run wrote.
    """
    (folder / metrics.FILE).write_text("".join(map(line_of, lines)), encoding="utf-8")
    kept, note = metrics.recover(folder, 500, TRAIL, own)
    kept = list(kept)
    assert all(record == RUN[record["step"] - 1] for record in kept)
    return [record["step"] for record in kept], note


def line_of(line: dict | str) -> str:
    return line if isinstance(line, str) else metrics.to_line(line)


def steps(*ranges: tuple[int, int]) -> list[int]:
    return [step for first, last in ranges for step in range(first, last + 1)]


def test_all_records(tmp_path):
    assert kept_of(tmp_path, RUN) == (steps((1, 500)), "")


def test_records_after_the_checkpoint_are_trained_again(tmp_path):
    longer = made(seed=1, steps=700)
    assert longer[:500] == RUN
    assert kept_of(tmp_path, [*longer[:620], '{"step": 62']) == (steps((1, 500)), "")
    assert kept_of(tmp_path, [*longer[:520], "?\n", *longer[521:]]) == (steps((1, 500)), "")
    assert only_file(tmp_path)


DAMAGED = {
    "a line without content": (lambda record: "\n"),
    "a line that is cut": (lambda record: metrics.to_line(record)[:30] + "\n"),
    "two lines in one": (lambda record: metrics.to_line(record)[:30]),
    "another loss": (lambda record: {**record, "loss": record["loss"] + 1e-12}),
    "another smoothed loss": (lambda record: {**record, "ema": record["ema"] + 1e-15}),
    "no number": (lambda record: {**record, "loss": math.nan}),
    "an earlier step": (lambda record: {**record, "step": 7}),
    "a later step": (lambda record: {**record, "step": 90}),
    "a step after the checkpoint's": (lambda record: {**record, "step": 5000}),
}


@pytest.mark.parametrize("what", DAMAGED)
@pytest.mark.parametrize("step", [1, 70, 256, 499, 500])
def test_one_damaged_record_costs_no_other(tmp_path, what, step):
    lines = [*RUN[: step - 1], DAMAGED[what](RUN[step - 1]), *RUN[step:]]
    lost = {step, step + 1} if what == "two lines in one" else {step}
    kept, note = kept_of(tmp_path, lines)
    assert kept == [number for number in range(1, 501) if number not in lost]
    assert f"holds {len(kept)} of the 500 records" in note and note.endswith("is kept as metrics.aside-1.jsonl")
    assert (tmp_path / "metrics.aside-1.jsonl").read_text(encoding="utf-8") == "".join(map(line_of, lines))


def test_what_is_set_aside_stays_there(tmp_path):
    for number in (1, 2, 3):
        _, note = kept_of(tmp_path, [*RUN[:70], f"damage {number}\n", *RUN[71:]])
        assert note.endswith(f"is kept as metrics.aside-{number}.jsonl")
        (tmp_path / metrics.FILE).unlink()
    assert all(f"damage {n}\n" in (tmp_path / f"metrics.aside-{n}.jsonl").read_text("utf-8") for n in (1, 2, 3))


def test_repeated_and_mixed_in_records(tmp_path):
    other = made(seed=2)
    mixed = [*RUN[:100], *RUN[80:100], *RUN[100:200], *other[150:190], *RUN[200:]]
    kept, note = kept_of(tmp_path, mixed)
    assert kept == steps((1, 500)) and "the file as it was is kept as" in note


def test_a_gap_is_not_damage(tmp_path):
    """As it is left where records were lost before: nothing is set aside each time that the run goes on."""
    assert kept_of(tmp_path, RUN[300:]) == (steps((301, 500)), "")
    assert kept_of(tmp_path, [*RUN[:69], *RUN[70:]]) == (steps((1, 69), (71, 500)), "")
    assert only_file(tmp_path)


@pytest.mark.parametrize("last", [499, 498, 480, 400, 256])
@pytest.mark.parametrize("cut", ["", '{"step": 4', "\0\0\0"])
def test_a_missing_tail(tmp_path, last, cut):
    kept, note = kept_of(tmp_path, [*RUN[:last], cut])
    assert kept == steps((1, last)) and f"holds {last} of the 500 records up to the checkpoint's step" in note
    assert only_file(tmp_path) == (not cut)


def test_what_a_missing_tail_cannot_prove_is_set_aside(tmp_path):
    """It ends before the first step of the trail: it might be of any run."""
    kept, note = kept_of(tmp_path, RUN[:255])
    assert kept == [] and "no record of the checkpoint's run" in note and "metrics.aside-1.jsonl" in note


@pytest.mark.parametrize("length", [3, 500, 700])
def test_another_runs_records(tmp_path, length):
    kept, note = kept_of(tmp_path, made(seed=2, steps=length))
    assert kept == [] and "no record of the checkpoint's run" in note and "the records begin at step 501" in note
    assert "kept as metrics.aside-1.jsonl" in note and len(list(tmp_path.iterdir())) == 2


def test_a_run_that_went_another_way_from_the_same_beginning(tmp_path):
    """It may share the first 300 steps: those after are not the checkpoint's, and of the shared ones 256 are sure."""
    branch = RUN[:300] + made(seed=2, ema=RUN[299]["ema"], first=301, steps=450)
    kept, note = kept_of(tmp_path, branch)
    assert kept == steps((1, 256)) and "holds 256 of the 500" in note and "aside" in note


def test_records_among_the_previous_runs(tmp_path):
    metrics.Writer(tmp_path, RUN).close()
    (tmp_path / metrics.FILE).rename(tmp_path / metrics.PREVIOUS)
    kept, note = metrics.recover(tmp_path, 500, TRAIL, own=True)
    assert (list(kept), note) == (RUN, "")
    assert kept_of(tmp_path, made(seed=2, steps=100), own=False) == (steps((1, 500)), "")
    kept, note = kept_of(tmp_path, made(seed=2, steps=100))
    assert kept == steps((1, 500)) and "kept as metrics.aside-1.jsonl" in note
    kept, note = kept_of(tmp_path, RUN[:300])  # holds fewer
    assert kept == steps((1, 500)) and "kept as metrics.aside-2.jsonl" in note


def test_no_records(tmp_path):
    kept, note = metrics.recover(tmp_path, 500, TRAIL, own=True)
    assert not list(kept) and "is missing" in note and "the records begin at step 501" in note
    assert metrics.recover(tmp_path, 500, TRAIL, own=False)[1] == ""  # somebody's checkpoint may come alone
    metrics.Writer(tmp_path, RUN).close()
    kept, note = metrics.recover(tmp_path, 500, {}, own=True)  # a checkpoint that says nothing of its losses
    assert not list(kept) and "no record of the checkpoint's run" in note


@pytest.mark.skipif(os.name != "posix", reason="Windows makes none of these")
@pytest.mark.parametrize("what", ["folder", "pipe", "link to a device", "link to nothing"])
def test_what_stands_in_the_place_of_the_records(tmp_path, what):
    path = tmp_path / metrics.FILE
    {
        "folder": path.mkdir,
        "pipe": lambda: os.mkfifo(path),
        "link to a device": lambda: path.symlink_to("/dev/zero"),
        "link to nothing": lambda: path.symlink_to("nothing"),
    }[what]()
    kept, note = metrics.recover(tmp_path, 500, TRAIL, own=True)
    metrics.Writer(tmp_path, kept).close()
    assert "is kept as metrics.aside-1.jsonl; the records begin at step 501" in note
    assert path.is_file() and not path.is_symlink() and os.path.lexists(tmp_path / "metrics.aside-1.jsonl")


def test_records_of_another_folder_stay_as_they_are(tmp_path):
    kept, note = kept_of(tmp_path, [*RUN[:70], "?\n", *RUN[71:]], own=False)
    assert len(kept) == 499 and "holds 499 of the 500" in note and "kept as" not in note
    assert only_file(tmp_path)


def only_file(folder: Path) -> bool:
    return [path.name for path in folder.iterdir()] == [metrics.FILE]


def test_records_that_are_kept_are_read_while_their_file_is_written_anew(tmp_path):
    """As when a run is resumed in its own folder, without holding them in memory."""
    metrics.Writer(tmp_path, [*RUN, *made(seed=2, first=501, steps=510)]).close()
    kept, _ = metrics.recover(tmp_path, 500, TRAIL, own=True)
    metrics.Writer(tmp_path, kept).close()
    assert metrics.read(tmp_path) == RUN and only_file(tmp_path)
