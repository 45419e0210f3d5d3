"""metrics.jsonl: one JSON object a step, read by the plots, the comparison, and anybody's own tools."""

import contextlib
import json
from array import array
from collections.abc import Iterable, Iterator
from pathlib import Path

from . import files
from .errors import RunError

FILE = "metrics.jsonl"
PREVIOUS = f"previous.{FILE}"  # of the run before, once a new one has begun in the same folder


def each(folder: Path, last_step: int | None = None, name: str = FILE) -> Iterator[dict]:
    """Yield the records of a run up to a step, in order. A line cut off by a kill ends them."""
    with contextlib.suppress(OSError), (folder / name).open(encoding="utf-8", errors="replace") as file:
        for line in file:
            record = parse(line)
            if record is None or (last_step is not None and record["step"] > last_step):
                return
            yield record


def read(folder: Path) -> list[dict]:
    """Return all records at once; a long run's take much memory."""
    return list(each(folder))


def belongs(folder: Path, step: int, ema: float | None, name: str = FILE) -> bool:
    """Say whether the records lead to a checkpoint of this step and smoothed loss, and not to another run's."""
    last = None
    for record in each(folder, step, name):
        last = record
    return last is not None and (last["step"], last["ema"]) == (step, ema)


class Curve:
    """The course of a run in columns of 8 bytes a number: a list of its records takes 600 bytes a step."""

    def __init__(self, records: Iterable[dict] = ()) -> None:
        self.steps, self.losses, self.emas = array("q"), array("d"), array("d")
        self.val_steps, self.val_losses = array("q"), array("d")
        self.add(records)

    def __len__(self) -> int:
        return len(self.steps)

    def add(self, records: Iterable[dict]) -> None:
        for record in records:
            self.steps.append(record["step"])
            self.losses.append(record["loss"])
            self.emas.append(record["ema"])
            if "val_loss" in record:
                self.val_steps.append(record["step"])
                self.val_losses.append(record["val_loss"])


def read_curve(folder: Path) -> Curve:
    return Curve(each(folder))


def parse(line: str) -> dict | None:
    try:
        record = json.loads(line)
        numbers = isinstance(record["loss"], float) and isinstance(record["ema"], float)
        return record if isinstance(record["step"], int) and abs(record["step"]) < 2**53 and numbers else None
    except (ValueError, TypeError, KeyError, RecursionError):
        return None


class Writer:
    """Appends records to a run's file, after those that it keeps from before."""

    def __init__(self, folder: Path, kept: Iterable[dict]) -> None:
        self.path = folder / FILE
        try:
            with files.replacing(self.path) as file:
                file.writelines(to_line(record).encode("utf-8") for record in kept)
            self.file = self.path.open("a", encoding="utf-8", newline="\n")
        except OSError as error:
            raise RunError(f"{self.path} cannot be written: {error.strerror}; choose a folder with --out") from None

    def write(self, records: list[dict]) -> None:
        try:
            self.file.write("".join(map(to_line, records)))
            self.file.flush()
        except OSError as error:
            raise RunError(f"{self.path} cannot be written: {error.strerror}; the checkpoint is unchanged") from None

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self.file.close()


def to_line(record: dict) -> str:
    return json.dumps(record) + "\n"
