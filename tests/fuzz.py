"""Mutated files of every kind that the program reads, and what it makes of each.

    uv run --directory tests python fuzz.py --cases 20000
    uv run --directory tests python fuzz.py --only 1234      one of them again, with its command and what it said

Every case is drawn from the seed and its own number. 02 meets them all in this process, where that is fast, and every
so many of them in a process of their own, as people run it. Whatever a file holds: the exit code is 0, 1 or 2; no
exception is unexpected; no control character is printed; nothing is written outside --out; it takes less than 1 GB of
memory and 20 seconds. It needs an operating system that can fork.
"""

import argparse
import contextlib
import functools
import hashlib
import io
import json
import multiprocessing
import os
import re
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import traceback
import warnings
import zipfile
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from random import Random

from microgpt_harness import cli
from microgpt_harness.contract import Folder
from microgpt_harness.data import registry, sources
from microgpt_harness.program import outcome
from microgpt_harness.run import checkpoint
from microgpt_harness.system import interrupts
from microgpt_harness.tools import command_line, compare
from program import HARMFUL, ROOT

NUMPY = ROOT / "02_numpy_manual_backprop"
FOLDER = Folder(NUMPY, dtypes=("float64", "float32"))
SECONDS, MAX_MEMORY = 20, 2**30
CHUNK = 200  # cases in one process
SMALL = (
    *("--steps", "2", "--n-samples", "1", "--max-tokens", "3", "--n-layer", "1", "--n-embd", "4", "--n-head", "2"),
    *("--block-size", "4", "--batch-size", "1", "--val-docs", "2", "--val-every", "1", "--no-plot"),
)
TEXT = "anna\nbob\n\ncarla ann\nbob\n"
SCENARIO = """\
[data]
dataset = "data.txt"
mode = "stream"
[model]
n_embd = 4
n_head = 2
block_size = 4
[training]
num_steps = 2
learning_rate = 1e-2
dtype = "float64"
seed = 1
[sampling]
temperature = 0.5
prompt = "a"
top_k = 2
repetition_penalty = 1.5
"""
ENTRY = {
    "title": "t",
    "source": "s",
    "licence": "l",
    "file": "data.zip",
    "sha256": "",
    "format": "zip",
    "mode": "discrete",
    "documents": 3,
    "characters": 5,
    "url": "http://127.0.0.1:9/data.zip",
    "member": "*",
    "content": "lines",
}
# What stands where something else should: numbers and words that programs have failed at.
ODD_BYTES = (
    b"\x00",
    b"\xff",
    b"\x1b]0;x\x07\x1b[2J",
    b"\n",
    b"\r",
    b'"',
    b"\\",
    b"{",
    b"[",
    b"}",
    b"]",
    b",",
    b"-",
    b"9" * 400,
)
ODD_BYTES += (
    b"NaN",
    b"1e999",
    b"null",
    b"true",
    b"\xe2\x80\xae",
    b"\xed\xa0\x80",
    b"../",
    b"=",
    b"#",
    b"0x",
    b"[" * 3000,
)
ODD_VALUES = (None, True, -1, 0, 1, 2**31, 2**63, 10**400, 1e308, -0.5, float("nan"), "", "x", "\x1b[2J\x07", "\u202e")
ODD_VALUES += ("../../evil", "/dev/zero", "a" * 5000, [], {}, [[]], {"a": 1}, [1, 2])


class TooSlow(BaseException):
    """Not an Exception: whoever reports those may not take it for one of his."""


@dataclass
class Case:
    """One case: its folder, with the files in it, and the command that reads them."""

    kind: str
    folder: Path
    command: list[str]
    registry: Path | None = None
    program: str = "main.py"


# ---- mutations ----


def mutated(data: bytes, rng: Random) -> bytes:
    """Return bytes with a few changes of the usual kinds; now and then as they were."""
    changed = bytearray(data)
    for _ in range(rng.choice((0, 1, 1, 1, 2, 3, 8))):
        at = rng.randrange(len(changed) + 1)
        until = min(len(changed), at + rng.choice((1, 2, 10, 100)))
        change = rng.randrange(6)
        if change == 0 and at < len(changed):
            changed[at] ^= 1 << rng.randrange(8)
        elif change == 1:
            changed[at:at] = rng.choice(ODD_BYTES)
        elif change == 2:
            changed[at:until] = rng.choice(ODD_BYTES)
        elif change == 3:
            del changed[at:until]
        elif change == 4:
            del changed[at:]
        else:
            changed[at:at] = changed[at:until] * rng.choice((1, 2, 50))
    return bytes(changed)


def odd(value: object, rng: Random, depth: int = 4) -> object:
    """Return a JSON value in which one thing, somewhere, is another."""
    if depth and isinstance(value, dict) and value and rng.random() < 0.9:
        key = rng.choice(list(value))
        if rng.random() < 0.1:
            return {name: each for name, each in value.items() if name != key} | {"\x1b[2J": value[key]}
        return value | {key: odd(value[key], rng, depth - 1)}
    if depth and isinstance(value, list) and value and rng.random() < 0.9:
        at = rng.randrange(len(value))
        return [*value[:at], odd(value[at], rng, depth - 1), *value[at + 1 :]]
    return rng.choice(ODD_VALUES)


# ---- the kinds of files ----


def hostile_checkpoint(folder: Path, rng: Random, seeds: Path) -> Case:
    """Half of them with a right checksum over the wrong content."""
    suffix = rng.choice((".safetensors", ".json"))
    path = folder / f"checkpoint{suffix}"
    if rng.random() < 0.5:
        path.write_bytes(mutated((seeds / f"checkpoint{suffix}").read_bytes(), rng))
    else:
        saved = checkpoint.load(seeds / "checkpoint.json")  # its matrices are lists, which `odd` can change
        part = rng.choice(("config", "chars", "dataset", "extra", "step", "dtype", "params"))
        changed = replace(saved, **{part: odd(getattr(saved, part), rng)})
        if rng.random() < 0.3:  # a vocabulary that is right, and hostile
            changed = replace(saved, chars=sorted({*saved.chars[2:], "\x1b", "\u202e"}))
        write = checkpoint._json_parts if suffix == ".json" else checkpoint._safetensors_parts
        try:
            path.write_bytes(b"".join(write(changed)))
        except Exception:  # what cannot be written cannot be read: then a file of any bytes
            path.write_bytes(rng.randbytes(100))
    sample = ["sample", "--checkpoint", str(path), "--n-samples", "2", "--max-tokens", "5"]
    train = ["--checkpoint", str(path), "--dataset", "data.txt", "--steps", "4", "--n-samples", "1", "--no-plot"]
    return Case("checkpoint", folder, rng.choice((sample, sample, train)))


def hostile_scenario(folder: Path, rng: Random, seeds: Path) -> Case:
    (folder / "scenario.toml").write_bytes(mutated(SCENARIO.encode(), rng))
    return Case("scenario", folder, ["--config", "scenario.toml", *SMALL])


def hostile_dataset(folder: Path, rng: Random, seeds: Path) -> Case:
    no_text = "caf\udce9.txt" if sys.platform == "linux" else "caf\xe9.txt"  # macOS allows no such name
    name = rng.choice(("data.txt", "data.csv", "\x1b[2J.txt", no_text))
    text = TEXT if not name.endswith("csv") else "name,kind\n" + "".join(f'{line},"x"\n' for line in TEXT.split())
    (folder / name).write_bytes(mutated(text.encode(), rng))
    (folder / "mode.toml").write_text(f'[data]\nmode = "{rng.choice(("discrete", "stream"))}"\n')
    options = rng.choice(([], ["--config", "mode.toml"], ["--column", rng.choice(("name", "kind", "\x1b[2J"))]))
    return Case("dataset", folder, ["--dataset", name, *options, *SMALL])


def hostile_archive(folder: Path, rng: Random, seeds: Path) -> Case:
    """A file that the registry vouches for: its hash is right, whatever it holds."""
    kind = rng.choice(("zip", "zip", "lines", "text", "csv"))
    data = make_zip(rng) if kind == "zip" else TEXT.encode() if kind != "csv" else b"name,kind\nanna,x\nbob,y\n"
    data = mutated(data, rng)
    (folder / "mirror").mkdir()
    (folder / "mirror" / "data.zip").write_bytes(data)
    entry = ENTRY | {"format": kind, "sha256": hashlib.sha256(data).hexdigest(), "column": "name"}
    entry |= {"mode": rng.choice(("discrete", "stream")), "content": rng.choice(("lines", "text", "csv"))}
    return Case("archive", folder, ["--dataset", "small", *SMALL], write_registry(folder, entry))


def make_zip(rng: Random) -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", rng.choice((zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED))) as archive:
        for _ in range(rng.randrange(4)):
            name = rng.choice(("a.txt", "../../evil.txt", "/tmp/evil.txt", "\x1b[2J.txt", "a" * 5000, "b/"))
            content = rng.choice((TEXT.encode(), b"", bytes(2**20), b"ab\n" * 2**18, mutated(TEXT.encode(), rng)))
            with warnings.catch_warnings(action="ignore"):  # of a name that is there twice
                archive.writestr(name, content)
    return packed.getvalue()


def write_registry(folder: Path, entry: dict[str, object]) -> Path:
    path = folder / "datasets.toml"
    path.write_text("[small]\n" + "".join(f"{key} = {json.dumps(value)}\n" for key, value in entry.items()))
    return path


def hostile_registry(folder: Path, rng: Random, seeds: Path) -> Case:
    (folder / "mirror").mkdir()
    path = write_registry(folder, ENTRY)
    content = path.read_bytes() + b"[other]\n" + path.read_bytes().partition(b"\n")[2]
    path.write_bytes(mutated(content, rng))
    command = rng.choice((["--list"], ["--dataset", "small", *SMALL], ["--dataset", "data.txt", *SMALL]))
    return Case("registry", folder, command, path)


def hostile_records(folder: Path, rng: Random, seeds: Path) -> Case:
    """metrics.jsonl or config.json of a run's own folder or of a neighbour's."""
    shutil.copytree(seeds / "out", folder / "out")
    run_folder = folder / "out" / "data" / rng.choice((NUMPY.name, "03_neighbour"))
    file = run_folder / rng.choice(("metrics.jsonl", "metrics.jsonl", "config.json"))
    if rng.random() < 0.5:
        file.write_bytes(mutated(file.read_bytes(), rng))
    else:
        lines = [file.read_text()] if file.suffix == ".json" else file.read_text().splitlines()
        at = rng.randrange(len(lines))
        lines[at] = json.dumps(odd(json.loads(lines[at]), rng))
        file.write_text("\n".join(lines) + "\n")
    if rng.random() < 0.05:
        file.unlink()
        rng.choice((os.mkfifo, Path.mkdir, lambda path: path.symlink_to("/dev/zero")))(file)
    resume = ["--dataset", "data.txt", "--resume", "--steps", "6", "--n-samples", "1", "--no-plot"]
    if rng.random() < 0.4:
        return Case("records", folder, ["compare", "--dataset", "data"], program="microgpt")
    return Case("records", folder, rng.choice((resume, ["sample", "--dataset", "data.txt"])))


KINDS: tuple[Callable[[Path, Random, Path], Case], ...] = (
    hostile_checkpoint,
    hostile_checkpoint,
    hostile_scenario,
    hostile_dataset,
    hostile_archive,
    hostile_registry,
    hostile_records,
)


# ---- running one ----


def make_case(number: int, seed: int, folder: Path, seeds: Path) -> Case:
    rng = Random(f"{seed}:{number}")
    (folder / "data.txt").write_text(TEXT)
    case = KINDS[number % len(KINDS)](folder, rng, seeds)
    if "--list" not in case.command:
        case.command += ["--out", "out"]
    return case


@contextlib.contextmanager
def within(seconds: int) -> Iterator[None]:
    def ring(signum: int, frame: object) -> None:
        raise TooSlow

    signal.signal(signal.SIGALRM, ring)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)


def run_here(case: Case) -> tuple[int, str, str]:
    """Run the command in this process. Return its exit code and what it printed."""
    streams = [io.TextIOWrapper(io.BytesIO(), encoding="utf-8", errors="replace") for _ in range(2)]
    program = functools.partial(cli.dispatch, FOLDER) if case.program == "main.py" else command_line.dispatch
    with contextlib.redirect_stdout(streams[0]), contextlib.redirect_stderr(streams[1]):
        interrupts.program = case.program
        code = outcome.attempt(lambda: program(case.command))
    for stream in streams:
        stream.flush()
    return (code, *(stream.buffer.getvalue().decode("utf-8") for stream in streams))


def run_apart(case: Case) -> tuple[int, str, str, int]:
    """Run the command as people do. Return the peak of its memory too, in bytes."""
    script = [str(NUMPY / "main.py")] if case.program == "main.py" else ["-m", "microgpt_harness"]
    command = [sys.executable, *script, *(os.fsencode(word) for word in case.command)]
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        process = subprocess.Popen(
            command, stdout=out, stderr=err, env={**os.environ, "PYTHONPATH": str(ROOT / "harness")}
        )
        try:
            with within(SECONDS):
                _, status, usage = os.wait4(process.pid, 0)
        except TooSlow:
            process.kill()
            process.wait()
            raise
        process.returncode = os.waitstatus_to_exitcode(status)
        said = []
        for stream in (out, err):
            stream.seek(0)
            said.append(stream.read().decode("utf-8", "backslashreplace"))
    return (process.returncode, *said, peak_of(usage))


def peak_of(usage: resource.struct_rusage) -> int:
    """Return the peak of memory in bytes, which macOS counts in and others in KiB."""
    return usage.ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def faults(code: int, out: str, err: str) -> list[str]:
    lines = err.splitlines()
    conditions = {
        f"exit code {code}": code not in (0, 1, 2),
        "a control character": bool(HARMFUL.search(out + err)),
        "a traceback": "Traceback" in out + err or "unexpected " in err,
        "no line that says why": code != 0 and not (lines or out),
        "more than lines of its own": not all(line.startswith(("main.py: ", "microgpt: ")) for line in lines),
        "an exception's own words": bool(re.search(r"\b[A-Z]\w+Error\b", err)),
    }
    return [fault for fault, is_so in conditions.items() if is_so]


def outside(place: Path) -> dict[str, tuple[int, int]]:
    """Everything under a folder but what belongs to the case's --out, files with size and time of change."""
    found = {}
    for path in place.rglob("*"):
        if path.relative_to(place).parts[:2] != ("case", "out"):
            status = path.lstat()
            found[str(path)] = (0, 0) if path.is_dir() else (status.st_size, status.st_mtime_ns)
    return found


def try_case(number: int, options: argparse.Namespace, seeds: Path) -> tuple[str, int, str, str, list[str]]:
    """Return the kind, the exit code, what was printed, and the faults that were found."""
    with tempfile.TemporaryDirectory(dir=seeds.parent) as place:
        folder = Path(place) / "case"
        folder.mkdir()
        case = make_case(number, options.seed, folder, seeds)
        os.chdir(folder)
        os.environ["MICROGPT_MIRROR"], os.environ["MICROGPT_CACHE"] = str(folder / "mirror"), str(folder / "cache")
        registry.REGISTRY = case.registry or sources.DATA / "datasets.toml"
        before = outside(Path(place))
        peak = peak_of(resource.getrusage(resource.RUSAGE_SELF))  # of the cases before this one
        began, code, out, err, memory = time.monotonic(), -1, "", "", 0
        apart = case.registry is None and number // len(KINDS) % options.apart == 0
        try:
            if apart:
                code, out, err, memory = run_apart(case)
            else:
                with within(SECONDS):
                    code, out, err = run_here(case)
                memory = peak_of(resource.getrusage(resource.RUSAGE_SELF))
            found = faults(code, out, err)
        except BaseException:
            found, err = ["an exception"], traceback.format_exc()
        found += [f"{time.monotonic() - began:.0f} seconds"] * (time.monotonic() - began > SECONDS)
        found += [f"{memory / 1e6:.0f} MB"] * (memory > max(MAX_MEMORY, peak))
        after = outside(Path(place))
        found += [f"{name} was written" for name in {*before, *after} if before.get(name) != after.get(name)]
        return case.kind, code, out, f"{err}\n{case.command}", found


def make_seeds(folder: Path) -> None:
    """One short run, and a copy of it under a neighbour's name."""
    folder.mkdir()
    os.chdir(folder)
    (folder / "data.txt").write_text(TEXT)
    small = [*SMALL, "--steps", "4", "--out", "out", "--quiet"]
    with contextlib.redirect_stdout(io.StringIO()):
        assert cli.dispatch(FOLDER, ["--dataset", "data.txt", *small]) == 0
    run_folder = folder / "out" / "data" / NUMPY.name
    shutil.copytree(run_folder, run_folder.with_name("03_neighbour"))
    saved = checkpoint.load(run_folder / "checkpoint.safetensors")
    for suffix in (".safetensors", ".json"):
        checkpoint.save(folder / f"checkpoint{suffix}", saved)


def work(numbers: range, options: argparse.Namespace, seeds: Path, results: multiprocessing.Queue) -> None:
    compare.draw = lambda *args: None  # in a process of its own the picture is drawn
    for number in numbers:
        results.put((number, "began", 0, "", "", []))
        results.put((number, *try_case(number, options, seeds)))
    results.put((numbers[-1], "peak", peak_of(resource.getrusage(resource.RUSAGE_SELF)), "", "", []))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--cases", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--apart", type=int, default=50, metavar="N", help="every N-th in a process of its own")
    parser.add_argument("--only", type=int, metavar="CASE", help="this case, and show what it says")
    options = parser.parse_args()
    began, counts, peak, failed = time.monotonic(), Counter(), 0, 0
    memory_disk = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None  # every case waits for the disk several times
    with tempfile.TemporaryDirectory(dir=memory_disk) as place:
        seeds = Path(place) / "seeds"
        make_seeds(seeds)
        numbers = range(options.cases) if options.only is None else range(options.only, options.only + 1)
        for first in range(0, len(numbers), CHUNK):
            results = multiprocessing.get_context("fork").SimpleQueue()
            chunk = numbers[first : first + CHUNK]
            process = multiprocessing.get_context("fork").Process(target=work, args=(chunk, options, seeds, results))
            process.start()
            number = chunk[0]
            while process.is_alive() or not results.empty():
                if results.empty():
                    process.join(0.05)
                    continue
                number, kind, code, out, err, found = results.get()
                if kind == "peak":
                    peak = max(peak, code)
                elif kind != "began":
                    counts[kind, code] += 1
                    failed += bool(found)
                    if found or options.only is not None:
                        print(
                            f"case {number} ({kind}): {'; '.join(found) or 'held'}\n{ascii_lines(out + err)}",
                            flush=True,
                        )
            if process.exitcode:
                failed += 1
                print(f"case {number}: the process ended with {process.exitcode}", flush=True)
        os.chdir("/")
    for kind in sorted({kind for kind, _ in counts}):
        codes = ", ".join(f"{n} exit {code}" for (k, code), n in sorted(counts.items()) if k == kind)
        print(f"{kind:10s} {codes}")
    seconds = time.monotonic() - began
    print(f"{sum(counts.values())} cases in {seconds:.0f} s, at most {peak / 1e6:.0f} MB; {failed} failed")
    return int(failed > 0)


def ascii_lines(text: str) -> str:
    return "\n".join("    " + ascii(line)[1:-1][:300] for line in text.splitlines()[-25:])


if __name__ == "__main__":
    sys.exit(main())
