"""metrics.jsonl: one JSON object a step, read by the plots, the comparison, and anybody's own tools.

Anybody may have written such a file, and a disk may have damaged it: what is no record is passed over. Which records
belong to a checkpoint, they say themselves. Each holds a smoothed loss made of its own loss and of the smoothed loss
before it, to the last bit, and the checkpoint keeps that of some steps on the way to it: its trail.
"""

import contextlib
import json
import math
import os
from array import array
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from ..system import files
from ..system.console import shown
from ..system.errors import RunError

FILE = "metrics.jsonl"
PREVIOUS = f"previous.{FILE}"  # of the run before, once a new one has begun in the same folder
EMA_DECAY = 0.98  # the smoothed loss looks back about 50 steps
MAX_LINE_BYTES = 10_000  # a record takes about 150
MAX_BYTES = 2**30  # of a neighbour's file: 7 million steps
MAX_TRAIL = 64  # steps in a trail: one for each bit of the step's number
LARGEST = 1e307  # of a loss: what draws it would overflow beyond

Record = dict[str, Any]  # of one step, by name
Trail = dict[int, float]  # step → smoothed loss


def smoothed(ema: float | None, loss: float) -> float:
    """Return the smoothed loss (EMA) after one more step."""
    return loss if ema is None else EMA_DECAY * ema + (1 - EMA_DECAY) * loss


# ---- reading ----


def each(
    folder: Path, name: str = FILE, limit: int | None = None, problems: list[str] | None = None
) -> Iterator[Record]:
    """Yield the records of a run in order, passing over what is damaged.

    Where the file cannot be read, or holds nothing but what is no record, `problems` gets one more line that says why.
    A file that is not there is none: a run may just have begun.
    """
    problems = [] if problems is None else problems
    last = 0
    try:
        for record in parsed(folder / name, limit):
            if record is not None and record["step"] > last:
                yield record
                last = record["step"]
    except FileNotFoundError:
        return
    except OSError as error:
        problems.append(f"{folder / name} cannot be read ({error.strerror})")
        return
    if not last and has_content(folder / name):
        problems.append(f"{folder / name} holds no record")


def has_content(path: Path) -> bool:
    with contextlib.suppress(OSError):
        return path.stat().st_size > 0
    return False


def read(folder: Path) -> list[Record]:
    """Return all records at once; a long run's take much memory."""
    return list(each(folder))


def parsed(path: Path, limit: int | None = None) -> Iterator[Record | None]:
    """Yield the record in each line, None for a line that holds none. However long a line is, memory is not."""
    with files.open_regular(path, limit) as file:
        yield from map(parse, lines(file))


def lines(file: BinaryIO) -> Iterator[bytes]:
    while line := file.readline(MAX_LINE_BYTES):
        yield line
        while len(line) == MAX_LINE_BYTES and not line.endswith(b"\n"):
            line = file.readline(MAX_LINE_BYTES)  # the rest of one that is too long to be a record


def parse(line: bytes) -> Record | None:
    try:
        record = json.loads(line.decode("utf-8"))
    except (ValueError, RecursionError):
        return None
    return record if is_record(record) else None


def is_record(record: Any) -> bool:
    """Whether it has a step and losses, and every number of a run that is there is one."""
    if not isinstance(record, dict) or not all(is_loss(record.get(name)) for name in ("loss", "ema")):
        return False
    step = record.get("step")
    whole = isinstance(step, int) and not isinstance(step, bool) and 0 < step < 2**53
    others = [record[name] for name in ("lr", "seconds") if name in record]
    numbers = all(isinstance(value, float) and math.isfinite(value) for value in others)
    return whole and numbers and ("val_loss" not in record or is_loss(record["val_loss"]))


def is_loss(value: Any) -> bool:
    return isinstance(value, float) and abs(value) <= LARGEST  # not where it is no number (NaN)


class Curve:
    """The course of a run in columns of 8 bytes a number: a list of its records takes 600 bytes a step."""

    def __init__(self, records: Iterable[Record] = ()) -> None:
        self.steps, self.losses, self.emas = array("q"), array("d"), array("d")
        self.val_steps, self.val_losses = array("q"), array("d")
        self.add(records)

    def __len__(self) -> int:
        return len(self.steps)

    def add(self, records: Iterable[Record]) -> None:
        for record in records:
            self.steps.append(record["step"])
            self.losses.append(record["loss"])
            self.emas.append(record["ema"])
            if "val_loss" in record:
                self.val_steps.append(record["step"])
                self.val_losses.append(record["val_loss"])


def read_curve(folder: Path, limit: int | None = None, problems: list[str] | None = None) -> Curve:
    """Return the curve of a run, as `each` yields it: an empty one where there is none."""
    return Curve(each(folder, limit=limit, problems=problems))


# ---- which records belong to a checkpoint ----


def longer_trail(trail: Trail, records: Iterable[Record]) -> Trail:
    """Return a trail that goes on over these records: dense at its end, ever sparser before it.

    A step stays while the last one is less than twice its largest power of two away: of 500 steps 500, 499, 498, 496,
    488, 480, 448, 384, 256. What is left depends on the last step only, not on when the run was stopped.
    """
    trail = trail | {record["step"]: record["ema"] for record in records}
    last = max(trail, default=0)
    return {step: ema for step, ema in trail.items() if last - step < 2 * (step & -step)}


def trail_to(step: int, extra: dict[str, Any]) -> Trail:
    """Return the trail that a checkpoint of this step keeps in `extra`; of earlier versions only its end is known."""
    kept = extra.get("trail")
    pairs = kept if isinstance(kept, list) and len(kept) <= MAX_TRAIL else []
    pairs = [pair for pair in pairs if isinstance(pair, list) and len(pair) == 2]
    trail = {at: ema for at, ema in pairs if isinstance(at, int) and 0 < at < step and is_loss(ema)}
    return trail | {step: extra["ema"]} if is_loss(extra.get("ema")) else {}


@dataclass(frozen=True)
class Found:
    """What of a file belongs to a checkpoint: the records up to step `last`, `count` of them.

    `passed_over` lines before that are damaged, or of another run; with a tail missing, all that follow are among them.
    """

    path: Path
    trail: Trail
    last: int
    count: int
    passed_over: int

    @property
    def is_whole(self) -> bool:
        return self.last == max(self.trail) and not self.passed_over

    def records(self, path: Path | None = None) -> Iterator[Record]:
        """Yield them, from where the file is by now."""
        for _, record in connected(parsed(path or self.path), self.trail):
            if record["step"] > self.last:
                return
            yield record


def find(path: Path, trail: Trail) -> Found | None:
    """Look for the records that lead to a checkpoint. None if the file holds none of them.

    A file belongs to the checkpoint when it holds a step of the trail. It does so up to the checkpoint's step, unless
    it leaves the trail: then up to the last step that is known to be on it. OSError says why it cannot be read.
    """
    end = max(trail, default=0)
    sure = latest = (0, 0, 0)  # step, line, count: up to the last step on the trail, and up to the last at all
    left = False
    read_lines = Counted(parsed(path))
    for count, (line, record) in enumerate(connected(read_lines, trail), start=1):
        if record["step"] > end:
            break
        latest = (record["step"], line, count)
        if record["step"] in trail:
            left = trail[record["step"]] != record["ema"]
            sure = sure if left else latest
    if not sure[0]:
        return None
    last, line, count = sure if left else latest
    return Found(path, trail, last, count, (line if last == end else read_lines.count) - count)


class Counted:
    """Counts what is taken from an iterator."""

    def __init__(self, items: Iterable[Any]) -> None:
        self.items, self.count = iter(items), 0

    def __iter__(self) -> "Counted":
        return self

    def __next__(self) -> Any:
        item = next(self.items)
        self.count += 1
        return item


def connected(records: Iterable[Record | None], trail: Trail) -> Iterator[tuple[int, Record]]:
    """Yield line numbers and records, without those whose numbers do not go on from the ones around them.

    A record must go on from the one before it; behind a gap, the next must go on from it, or it must be on the trail.
    """
    last: Record | None = None
    waiting: tuple[int, Record] | None = None
    for line, record in enumerate(records, start=1):
        if record is None:
            continue
        if waiting and goes_on(waiting[1], record):
            yield waiting
            last = waiting[1]
        waiting = None
        step = record["step"]
        if step == (last["step"] if last else 0) + 1:
            keep = goes_on(last, record)
        elif last is None or step > last["step"]:
            keep = trail.get(step) == record["ema"]
            waiting = None if keep else (line, record)
        else:
            keep = False
        if keep:
            yield line, record
            last = record


def goes_on(before: Record | None, record: Record) -> bool:
    ema, step = (before["ema"], before["step"]) if before else (None, 0)
    return bool(record["step"] == step + 1 and record["ema"] == smoothed(ema, record["loss"]))


def recover(folder: Path, step: int, trail: Trail, own: bool) -> tuple[Iterator[Record], str]:
    """Return the records up to a checkpoint's step, and in one line what is not as it should be ("" if all is well).

    They are in metrics.jsonl or, where a new run has begun since, among the previous run's. Nothing is lost: if the
    folder is the run's `own`, where they are about to be written anew, a file that holds anything else than them is
    kept under another name. RunError if it cannot be.
    """
    path = folder / FILE
    here, problem = look(path, trail)
    found = here
    if here is None or here.last < step:
        before, _ = look(folder / PREVIOUS, trail)
        found = max(filter(None, (here, before)), key=lambda found: found.last, default=None)
    is_there = path.exists() or path.is_symlink()
    keep_apart = own and is_there and (found is not here or here is None or here.passed_over > 0)
    notes = []
    if problem and (keep_apart or (own and not found)):
        notes.append(problem)
    if found and not found.is_whole:
        notes.append(f"{shown(found.path)} holds {found.count} of the {step} records up to the checkpoint's step")
    if keep_apart:
        aside = files.set_aside(path)
        notes.append(f"the file as it was is kept as {aside.name}")
    if own and not found:
        notes.append(f"the records begin at step {step + 1}")
    if found is None:
        return iter(()), "; ".join(notes)
    return found.records(aside if keep_apart and found is here else None), "; ".join(notes)


def look(path: Path, trail: Trail) -> tuple[Found | None, str]:
    """Return what a file holds of a checkpoint's records, and why it holds none."""
    try:
        found = find(path, trail)
    except FileNotFoundError:
        return None, f"{shown(path)} is missing"
    except OSError as error:
        return None, f"{shown(path)} cannot be read ({error.strerror})"
    return found, "" if found else f"{shown(path)} holds no record of the checkpoint's run"


# ---- writing ----


class Writer:
    """Appends records to a run's file, after those that it keeps from before."""

    def __init__(self, folder: Path, kept: Iterable[Record]) -> None:
        self.path = folder / FILE
        try:
            with files.replacing(self.path) as file:
                file.writelines(to_line(record).encode("utf-8") for record in kept)
            self.file = self.path.open("a", encoding="utf-8", newline="\n")
        except OSError as error:
            raise RunError(f"{self.path} cannot be written: {error.strerror}; choose a folder with --out") from None

    def write(self, records: list[Record]) -> None:
        with self.unwritable():
            self.file.write("".join(map(to_line, records)))
            self.file.flush()

    def sync(self) -> None:
        """Wait until all that was written is on the disk, where a power cut cannot take it any more."""
        with self.unwritable():
            os.fsync(self.file.fileno())

    @contextlib.contextmanager
    def unwritable(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise RunError(f"{self.path} cannot be written: {error.strerror}; the checkpoint is unchanged") from None

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self.file.close()


def to_line(record: Record) -> str:
    return json.dumps(record) + "\n"
