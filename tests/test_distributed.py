"""Several processes compute what one does, and stop, fail and go on together: by the launchers that people use."""

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import comparisons
import numpy as np
import pytest
from lessons import FOLDERS, NVIDIA, load, offered
from microgpt_harness.program.engines import execute
from microgpt_harness.run import checkpoint, metrics
from program import DEADLINE, ROOT, command, environment, until
from several_processes import train_all
from test_resume import begin, file_of, samples, train

TOLERANCE = 1e-12  # of a loss in float64, against one process: only the order of additions differs
STEPS = 30
PATIENCE = 3 * DEADLINE  # several processes on a busy machine wait for each other too
TOGETHER = [folder for folder in FOLDERS if offered(folder).distributed]
PYTORCH = "04_pytorch_batched"
BIN = Path(sys.executable).parent
WORKER = Path(__file__).with_name("several_processes.py")
ONE_THREAD = {"OMP_NUM_THREADS": "1"}  # as torchrun has it

pytestmark = pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="looks for processes in Linux's /proc")


# Launchers
def launch_torchrun(count: int, arguments: list[str]) -> list[list[str]]:
    return [[str(BIN / "torchrun"), "--standalone", "--nproc_per_node", str(count), *arguments[1:]]]


def launch_mlx(count: int, arguments: list[str]) -> list[list[str]]:
    return [[str(BIN / "mlx.launch"), "-n", str(count), "--starting-port", str(free_port()), *arguments]]


def launch_jax(count: int, arguments: list[str]) -> list[list[str]]:
    """JAX has no launcher: each process is told by its environment."""
    shared = [f"JAX_COORDINATOR_ADDRESS=127.0.0.1:{free_port()}", f"JAX_NUM_PROCESSES={count}"]
    return [["env", *shared, f"JAX_PROCESS_ID={i}", *arguments] for i in range(count)]


DEVICES = {"05_jax": "--xla_force_host_platform_device_count"}  # any number in one process
LAUNCHERS = {PYTORCH: launch_torchrun, "05_jax": launch_jax, "06_mlx": launch_mlx}


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@dataclass
class Launched:
    """A launcher at work, or several processes that need none, and a mark in the environment of all that they start."""

    running: list[subprocess.Popen]
    mark: str

    def left(self, *more: str) -> list[int]:
        """Return the processes that are there, of those whose environment holds `more` words too."""
        wanted = {word.encode() for word in (f"MARK={self.mark}", *more)}
        return [pid for pid, environ in environments() if wanted <= set(environ.split(b"\0"))]

    def end(self) -> tuple[list[int], str, str]:
        """Wait for the end. Return exit codes, and what all have printed."""
        outputs = [process.communicate(timeout=PATIENCE) for process in self.running]
        until(lambda: not self.left(), "the end of what was started")
        codes = [process.returncode for process in self.running]
        return codes, "".join(out for out, _ in outputs), "".join(err for _, err in outputs)


def environments() -> Iterator[tuple[int, bytes]]:
    for path in Path("/proc").glob("[0-9]*/environ"):
        with contextlib.suppress(OSError):  # another user's, or gone meanwhile
            yield int(path.parent.name), path.read_bytes()


@contextlib.contextmanager
def launched(folder: str, count: int, arguments: list[str], **env: str) -> Iterator[Launched]:
    """Start a command in `count` processes, and leave none of them behind."""
    mark = f"{os.getpid()}-{free_port()}"
    env = environment(no_proxy="127.0.0.1,localhost", MARK=mark, **ONE_THREAD, **env)
    keyboard, end = os.pipe()  # at which nobody sits: where there is none, mlx.launch looks for one without a pause
    # a group of its own is what a terminal gives a command, and what it sends SIGINT to
    pipes = {
        "process_group": 0,
        "stdin": keyboard,
        "stdout": subprocess.PIPE,
        "stderr": subprocess.PIPE,
        "encoding": "utf-8",
    }
    commands = [arguments] if folder in DEVICES and count == 1 else LAUNCHERS[folder](count, arguments)
    started = Launched([subprocess.Popen(each, env=env, **pipes) for each in commands], mark)
    try:
        yield started
    finally:
        for pid in started.left():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        for process in started.running:
            process.communicate()
        os.close(keyboard)
        os.close(end)


def own_lines(stderr: str) -> list[str]:
    """Return what main.py said, of all that launchers and frameworks say."""
    return [line for line in stderr.splitlines() if line.startswith(("main.py: ", "main.py ("))]


def the_line(stderr: str) -> str:
    (line,) = own_lines(stderr)
    return line


# The same numbers
@cache
def alone(folder: str) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as path:  # for its checkpoints
        return train_all(load(folder).engine, STEPS, Path(path))


def training(folder: str, result: Path, *modules: str) -> list[str]:
    return [sys.executable, str(WORKER), folder, str(STEPS), str(result), *modules]


@pytest.mark.parametrize("count", [2, 4])
@pytest.mark.parametrize("folder", TOGETHER)
def test_the_same_losses_as_one_process(folder, count, tmp_path, record):
    processes, modules, env = count, modules_of(folder), {}
    if folder in DEVICES:  # which compiles each of them for each number of devices: so one for 2, the other for 4
        processes, modules, env = 1, modules[count // 4 :][:1], {"XLA_FLAGS": f"{DEVICES[folder]}={count}"}
    elif count > 2:
        pytest.skip("so many processes take long to start")
    found = together(folder, processes, modules, tmp_path, **env)
    compare_with_one(folder, f"{count} processes", found, record)


@pytest.mark.parametrize("folder", [folder for folder in NVIDIA if folder.partition(":")[0] in TOGETHER])
def test_the_same_losses_on_all_gpus_as_on_one_cpu(folder, tmp_path, record):
    import torch

    name, gpus = folder.partition(":")[0], torch.cuda.device_count()
    found = together(folder, 1 if name in DEVICES else gpus, modules_of(name), tmp_path)
    compare_with_one(folder, f"{gpus} GPUs", found, record)


def modules_of(folder: str) -> list[str]:
    return [module for module in (offered(folder).distributed, offered(folder).sharded) if module]


def together(folder: str, processes: int, modules: list[str], path: Path, **env: str) -> dict[str, Any]:
    """Train FOLDER or FOLDER:DEVICE in several processes, by each of these engines. Return figures by engine."""
    name = folder.partition(":")[0]
    with launched(name, processes, training(folder, path / "result.json", *modules), **env) as several:
        codes, _, stderr = several.end()
    assert not any(codes), stderr
    found = json.loads((path / "result.json").read_text(encoding="utf-8"))
    assert list(found) == modules
    return found


def compare_with_one(folder: str, how: str, found: dict[str, Any], record: Any) -> None:
    expected = alone(folder.partition(":")[0])
    for module, cases in found.items():
        assert list(cases) == list(expected)
        for case, figures in expected.items():
            for what in ("losses", "validation losses"):
                difference = furthest(cases[case][what], figures[what])
                record(f"{how}, {what}", f"{folder} {module} {case}", difference, bound=TOLERANCE)
            assert cases[case]["samples"] == figures["samples"]


def furthest(some: list[float], others: list[float]) -> float:
    assert len(some) == len(others) > 0
    return max(abs(a - b) for a, b in zip(some, others))


@pytest.mark.parametrize("folder", TOGETHER)
def test_a_run_goes_on_with_any_number_of_processes(folder, tmp_path):
    values = {"num_steps": 24, "batch_size": 5}
    whole = begin(folder, tmp_path / "whole" / file_of(folder), **values)
    whole.checkpoint_path.parent.mkdir()
    expected = train(whole).losses
    path = tmp_path / "names" / folder / file_of(folder)
    path.parent.mkdir(parents=True)
    losses = train(begin(folder, path, **values), stop_at=6).losses
    here = ["--no-plot", "--val-every", 0, "--device", "cpu", "--out", tmp_path, "--resume"]
    with_3 = "--shard" if offered(folder).sharded else "--distributed"
    for count, way, last in ((3, with_3, 12), (2, "--distributed", 18)):
        with launched(folder, count, command(folder, *here, way, "--stop-at", last)) as several:
            codes, _, stderr = several.end()
        assert not any(codes), stderr
    losses += [record["loss"] for record in metrics.each(path.parent)]
    end = begin(folder, path, checkpoint.load(path))
    losses += train(end).losses
    assert furthest(losses, expected) <= TOLERANCE
    assert samples(end) == samples(whole)


# What goes wrong
def test_jax_says_where_it_would_not_compute_as_asked(monkeypatch):
    """All devices are those of one kind: on a machine with GPUs, these, whatever --device says."""
    lesson = load("05_jax")
    monkeypatch.setitem(sys.modules, "microgpt", lesson.microgpt)
    monkeypatch.setitem(sys.modules, "engine", lesson.engine)
    path = ROOT / "05_jax" / "engine_distributed.py"
    several = execute(path, path.read_text(encoding="utf-8"), "engine_distributed_05_jax")
    config = comparisons.config_of(lesson)
    assert several.make_state(config, comparisons.params_at_point(), device="cpu").step == 0
    several.mesh = SimpleNamespace(devices=np.array([SimpleNamespace(platform="gpu")]))
    with pytest.raises(ValueError, match="here gpu; for others set JAX_PLATFORMS=cpu"):
        several.make_state(config, comparisons.params_at_point(), device="cpu")


def test_what_is_wrong_in_all_of_them_is_said_once():
    with launched(PYTORCH, 2, command(PYTORCH, "--distributed", "--n-embd", 15)) as several:
        codes, stdout, stderr = several.end()
    assert any(codes)
    assert not stdout.strip()
    assert "n_embd 15 is not divisible by n_head 4" in the_line(stderr)


def test_what_is_wrong_in_one_of_them_it_says_itself(tmp_path):
    """Process 1 cannot read the file that process 0 reads."""
    script = tmp_path / "main.py"
    script.write_text(
        "import os, runpy, sys\n"
        f"sys.argv[0] = {str(ROOT / PYTORCH / 'main.py')!r}\n"
        "if os.environ['RANK'] == '1':\n"
        "    sys.argv[-1] += '.missing'\n"
        "runpy.run_path(sys.argv[0], run_name='__main__')\n",
        encoding="utf-8",
    )
    flags = ["--distributed", "--out", str(tmp_path), "--no-plot", "--dataset", str(ROOT / "data" / "names.txt")]
    with launched(PYTORCH, 2, [sys.executable, str(script), *flags]) as several:
        codes, _, stderr = several.end()
    assert any(codes)
    own, *others = own_lines(stderr)
    assert own.startswith("main.py (process 1): ")
    assert ".missing: no such file" in own
    gone, ended = "main.py: another process of this run is gone", "main.py: ended by SIGTERM; "
    assert not others or (len(others) == 1 and others[0].startswith((gone, ended)))


@contextlib.contextmanager
def training_long(folder: str, out: Path) -> Iterator[tuple[Launched, Path]]:
    """Two processes that have saved once and train on, and their checkpoint."""
    path = out / "names" / folder / offered(folder).checkpoint
    flags = ["--steps", 10**6, "--save-every", 20, "--log-every", 0, "--no-plot", "--val-every", 0, "--out", out]
    with launched(folder, 2, command(folder, "--distributed", *flags)) as several:
        until(path.exists, "a checkpoint")
        yield several, path


@pytest.mark.parametrize("folder", TOGETHER)
def test_where_one_is_killed_the_others_end(folder, tmp_path):
    with training_long(folder, tmp_path) as (several, path):
        (victim,) = several.left(f"{offered(folder).ranks[0]}=1")
        os.kill(victim, signal.SIGKILL)
        _, _, stderr = several.end()
    assert "another process of this run is gone; the checkpoint of step " in the_line(stderr)
    assert checkpoint.load(path).step >= 20


def test_where_nobody_reads_on_all_of_them_save_and_end(tmp_path):
    """Process 0 alone writes, and finds out; to put weights together that lie in shares takes all of them."""
    flags = ["--steps", 10**6, "--log-every", 1, "--no-plot", "--val-every", 0, "--out", tmp_path]
    with launched(PYTORCH, 2, command(PYTORCH, "--shard", *flags)) as several:
        assert "documents" in several.running[0].stdout.readline()
        several.running[0].stdout.close()
        _, _, stderr = several.end()
    assert "the output cannot be written (Broken pipe); stopped after step " in the_line(stderr)
    path = tmp_path / "names" / PYTORCH / offered(PYTORCH).checkpoint
    assert [record["step"] for record in metrics.each(path.parent)] == list(range(1, checkpoint.load(path).step + 1))


def test_without_its_launcher_it_says_which_one_is_meant():
    done = subprocess.run(command(PYTORCH, "--distributed"), env=environment(), capture_output=True, text=True)
    assert done.returncode == 2
    assert "torchrun --nproc_per_node 2 main.py --distributed" in the_line(done.stderr)


@pytest.mark.parametrize("folder", TOGETHER)
def test_a_launcher_that_is_asked_to_end_has_all_of_them_save(folder, tmp_path):
    with training_long(folder, tmp_path) as (several, path):
        several.running[0].send_signal(signal.SIGTERM)
        several.end()
    saved = checkpoint.load(path)
    assert [record["step"] for record in metrics.each(path.parent)] == list(range(1, saved.step + 1))
