"""metrics.jsonl: one JSON object a step, read by the plots, the comparison, and anybody's own tools."""

import contextlib
import json
import os
from pathlib import Path

from .errors import RunError

FILE = "metrics.jsonl"


def read(folder: Path, last_step: int | None = None) -> list[dict]:
    """Return the records of a run up to a step, in order. A line cut off by a kill ends them."""
    records: list[dict] = []
    with contextlib.suppress(OSError), (folder / FILE).open(encoding="utf-8", errors="replace") as file:
        for line in file:
            record = parse(line)
            if record is None or (last_step is not None and record["step"] > last_step):
                break
            records.append(record)
    return records


def parse(line: str) -> dict | None:
    try:
        record = json.loads(line)
        return record if isinstance(record["step"], int) and isinstance(record["loss"], float) else None
    except (ValueError, TypeError, KeyError, RecursionError):
        return None


class Writer:
    """Appends records to a run's file, after those that it keeps from before."""

    def __init__(self, folder: Path, kept: list[dict]) -> None:
        self.path = folder / FILE
        temporary = self.path.with_name(f".{FILE}.{os.getpid()}.tmp")
        try:
            temporary.write_text("".join(map(to_line, kept)), encoding="utf-8")
            temporary.replace(self.path)
            self.file = self.path.open("a", encoding="utf-8")
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
