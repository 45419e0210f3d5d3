"""What each of several processes does for test_distributed.py: train every case, and as number 0 write what came of it.

usage, by a launcher: several_processes.py FOLDER[:DEVICE] STEPS RESULT.json MODULE [MODULE ...]

FOLDER is a lesson's folder, DEVICE where it computes (by default the CPU), a MODULE one of its engines.
"""

import importlib
import json
import sys
from pathlib import Path
from typing import Any

from microgpt_harness.contract import Engine
from microgpt_harness.data import datasets
from microgpt_harness.program.engines import loaded
from microgpt_harness.program.settings import resolve
from microgpt_harness.run import training
from microgpt_harness.run.progress import Silent
from microgpt_harness.run.sampling import Sampler

ROOT = Path(__file__).resolve().parents[1]
# 5 documents come out even for no number of processes here; 1 leaves processes without any.
CASES = {"batch of 32": {"batch_size": 32}, "5, clipped": {"batch_size": 5, "clip_grad": 1.0}, "1": {"batch_size": 1}}
SHARED = {"dtype": "float64", "val_docs": 7}


class Records(list):
    """What stands in for metrics.jsonl."""

    write = list.extend

    def sync(self) -> None:
        pass


def main(folder: str, steps: str, result: str, *modules: str) -> None:
    folder, _, device = folder.partition(":")
    sys.path.insert(0, str(ROOT / folder))
    found: dict[str, Any] = {}
    for name in modules:
        engine = loaded(importlib.import_module(name), importlib.import_module("microgpt"))
        found[name] = train_all(engine, int(steps), Path(result).parent, device or "cpu")
    if engine.rank == 0:
        Path(result).write_text(json.dumps(found), encoding="utf-8")


def train_all(engine: Engine, steps: int, folder: Path, device: str = "cpu") -> dict[str, Any]:
    """Train every case. Return what came of each, by its name."""
    shared = SHARED | {"device": device, "num_steps": steps, "val_every": steps // 2}
    return {case: train(engine, values | shared, folder) for case, values in CASES.items()}


def train(engine: Engine, values: dict[str, Any], folder: Path) -> dict[str, Any]:
    """Train as the program does. Return losses, validation losses and samples."""
    settings = resolve([values], engine.lesson.CONFIG, ("float64",))
    run = training.start(engine, settings, datasets.load("names"), folder, folder / "checkpoint.safetensors")
    records = Records()
    training.train(run, records, Silent())
    sampler = Sampler(engine, run.state, run.data.tokenizer, run.data.dataset.mode, settings, run.rng)
    return {
        "losses": [record["loss"] for record in records],
        "validation losses": [record["val_loss"] for record in records if "val_loss" in record],
        "samples": ["".join(sampler.sample()) for _ in range(5)],
    }


if __name__ == "__main__":
    main(*sys.argv[1:])
