"""A run that has finished is not failed by what lies in the folders beside it; a line says what it left out."""

import json
import os

import pytest
from microgpt_harness.run import metrics
from program import NUMPY, PYTHON, end, one_line, run, started

OPTIONS = ("--steps", 3, "--n-samples", 1, "--val-every", 0)
RECORD = {"step": 1, "loss": 2.5, "ema": 2.5, "lr": 0.1, "seconds": 0.5}


def written(path, *records):
    path.write_text("".join(json.dumps(record) + "\n" for record in records), encoding="utf-8")


UNREADABLE = {
    "nothing but what is no record": lambda path: written(
        path, {**RECORD, "val_loss": "x"}, {**RECORD, "ema": 10**400}
    ),
    "folder": lambda path: path.mkdir(),
    "pipe": lambda path: os.mkfifo(path),
    "device": lambda path: path.symlink_to("/dev/zero"),
    "enormous": lambda path: enormous(path),
    "one endless line": lambda path: path.write_bytes(b"[" * 30_000_000),
}


def enormous(path):
    with path.open("wb") as file:
        file.truncate(2**42)


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """Return the folder of a finished run of 01, a neighbour for 02."""
    out = tmp_path_factory.mktemp("finished")
    run(PYTHON, *OPTIONS, "--no-plot", "--out", out)
    return out


@pytest.fixture
def neighbour(finished):
    path = finished / "names" / "neighbour" / metrics.FILE
    path.parent.mkdir()
    yield path
    if path.is_dir():
        path.rmdir()
    else:
        path.unlink(missing_ok=True)
    for other in path.parent.iterdir():
        other.rmdir() if other.is_dir() else other.unlink()
    path.parent.rmdir()


@pytest.mark.skipif(os.name != "posix", reason="Windows makes none of these")
@pytest.mark.parametrize("what", UNREADABLE)
def test_what_cannot_be_read_is_left_out(finished, neighbour, what):
    UNREADABLE[what](neighbour)
    (neighbour.parent / "config.json").mkdir()
    with started(NUMPY, *OPTIONS, "--out", finished) as process:
        result = end(process)
    assert result.code == 0, result.stderr
    one_line(result, "left out of the picture", str(neighbour))
    assert (finished / "names" / "losses.png").exists() and result.samples


def test_what_is_damaged_in_part_is_drawn(finished, neighbour):
    bad = [{**RECORD, "step": 2, name: value} for name in RECORD for value in (None, "x", [], 10**400, float("nan"))]
    written(neighbour, RECORD, *bad, {**RECORD, "step": 3}, {**RECORD, "step": 2**53 - 1, "loss": 1e307, "ema": -1e307})
    (neighbour.parent / "config.json").write_text(json.dumps({"dtype": "\x1b[2J", "config": []}), encoding="utf-8")
    run(NUMPY, *OPTIONS, "--out", finished)
