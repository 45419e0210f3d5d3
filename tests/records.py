"""Runs written by hand, as a folder's main.py would leave them: what compare and the pictures are tried on."""

import json
from pathlib import Path

from microgpt_harness.run import metrics


def falling(steps: int = 120, by: float = 0.0) -> list[float]:
    """Return losses that are `by` too high from step 2 on, and right at the first."""
    return [3.3 - 0.01 * step + (by if step else 0.0) for step in range(steps)]


def write_run(
    runs: Path, folder: str, losses: list[float] | None = None, dtype: str = "float64", first: int = 1, **settings
) -> Path:
    """Write a folder's run beside the others of a dataset, its records from step `first` on. Return its folder."""
    losses = falling() if losses is None else losses
    path = runs / folder
    path.mkdir(parents=True)
    records = [
        {"step": step, "loss": loss, "ema": loss, "lr": 0.01, "seconds": 0.002}
        for step, loss in enumerate(losses, start=first)
    ]
    (path / metrics.FILE).write_text("".join(map(metrics.to_line, records)), encoding="utf-8")
    config = {"n_embd": 16, "batch_size": 1, "num_steps": len(losses), "seed": 42, "temperature": 0.5} | settings
    content = {"folder": folder, "dataset": runs.name, "vocab_size": 27, "dtype": dtype, "config": config}
    (path / "config.json").write_text(json.dumps(content), encoding="utf-8")
    return path
