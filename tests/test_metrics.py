"""What a run keeps of its steps: a file on the disk, and next to nothing in memory."""

import math
import tracemalloc

from lessons import load
from microgpt_harness import datasets, metrics, training
from microgpt_harness.metrics import Curve
from microgpt_harness.progress import Silent
from microgpt_harness.settings import resolve
from program import NUMPY

STEPS = 2000
RECORD_BYTES = 300  # what a step would take that was kept as a dict


def test_memory_does_not_grow_with_the_steps(tmp_path):
    """Held is what does not depend on the steps: the weights, the data, a call of the engine."""
    engine = load(NUMPY).engine
    settings = resolve([{"num_steps": 4 * STEPS, "n_embd": 4, "val_every": 50}], engine.CONFIG, ("float64",))
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


def test_curve_of_a_run(tmp_path):
    records = [{"step": i, "loss": 3 - i / 8, "ema": math.exp(-i), "lr": 0.1, "seconds": 0.5} for i in range(1, 9)]
    for record in records[3::4]:
        record["val_loss"] = 0.25 * record["step"]
    writer = metrics.Writer(tmp_path, records[:5])
    writer.write(records[5:])
    writer.close()
    assert metrics.read(tmp_path) == records
    assert metrics.belongs(tmp_path, 6, records[5]["ema"]) and not metrics.belongs(tmp_path, 6, records[6]["ema"])
    assert not metrics.belongs(tmp_path, 9, records[7]["ema"]) and not metrics.belongs(tmp_path / "none", 6, None)
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


def test_records_that_are_kept_are_read_while_their_file_is_written_anew(tmp_path):
    """As when a run is resumed in its own folder."""
    records = [{"step": i, "loss": 1.5 * i, "ema": 2.5} for i in range(1, 31)]
    metrics.Writer(tmp_path, records).close()
    metrics.Writer(tmp_path, metrics.each(tmp_path, 20)).close()
    assert metrics.read(tmp_path) == records[:20]
    assert [path.name for path in tmp_path.iterdir()] == [metrics.FILE]


def test_a_foreign_record_ends_what_is_read(tmp_path):
    """Anybody may put a file there; a finished run draws its neighbours' curves too."""
    good = {"step": 1, "loss": 1.5, "ema": 2.5}
    for foreign in (
        {"step": 2, "loss": 1.5},
        {**good, "ema": None},
        {**good, "step": "2"},
        {**good, "loss": 1},
        {**good, "step": 2**70},
        [],
        7,
    ):
        metrics.Writer(tmp_path, [good, foreign, good]).close()
        assert metrics.read(tmp_path) == [good]
