"""Signals: a run that trains finishes its step and saves; anything else ends at once. Exit code 128 + n, one line.

The moment of a signal is chosen by what the program has printed, or by a module put in its way that stops there.
"""

import contextlib
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from microgpt_harness.run import checkpoint, metrics
from program import (
    DEADLINE,
    NUMPY,
    PYTHON,
    ROOT,
    check,
    command,
    end,
    environment,
    interrupted,
    on_terminal,
    one_line,
    run,
    started,
    until,
    wait_for,
)

pytestmark = pytest.mark.skipif(os.name == "nt", reason="Windows cannot send a signal to one process")

SHORT = ("--no-plot", "--n-samples", 1, "--val-every", 0)
NAMES = ("SIGINT", "SIGTERM", "SIGHUP")


def code_of(name: str) -> int:
    return 128 + getattr(signal, name)


def checkpoint_in(out: Path, folder: str = NUMPY) -> checkpoint.Checkpoint:
    (path,) = (out / "names" / folder).glob("checkpoint.*")
    return checkpoint.load(path)


def losses(out: Path) -> list[tuple[int, float]]:
    return [(record["step"], record["loss"]) for record in metrics.read(out / "names" / NUMPY)]


# ---- while training ----


@pytest.mark.parametrize("name", NAMES)
def test_saves_and_resumes_to_the_same_losses(name, tmp_path):
    arguments = ("--out", tmp_path / "a", "--steps", 20000, *SHORT)
    with started(NUMPY, *arguments, "--log-every", 1) as process:
        wait_for(process, "step   25 /")
        process.send_signal(getattr(signal, name))
        result = end(process)
    check(result, code_of(name))
    saved = checkpoint_in(tmp_path / "a")
    one_line(result, f"stopped after step {saved.step} and saved", "--resume")
    assert [step for step, _ in losses(tmp_path / "a")] == list(range(1, saved.step + 1))
    run(NUMPY, *arguments, "--resume", "--stop-at", saved.step + 30)
    run(NUMPY, "--out", tmp_path / "b", "--steps", 20000, *SHORT, "--stop-at", saved.step + 30)
    assert losses(tmp_path / "a") == losses(tmp_path / "b")


def write_program(tmp_path: Path, step: str) -> None:
    """Write a folder whose training does `step`, a line of Python, before each step."""
    (tmp_path / "main.py").write_text(
        f"import sys\nsys.path[:0] = [{str(ROOT / 'harness')!r}, {str(ROOT / PYTHON)!r}]\n"
        "from microgpt_harness.start import program\n"
        "slow = (('default', 'slow_engine'),)\n"
        "program(__file__, dtypes=('float64',), checkpoint='checkpoint.json', backends=slow)\n",
        encoding="utf-8",
    )
    (tmp_path / "slow_engine.py").write_text(
        "import engine, hashlib, signal, time\nfrom engine import *\n"
        "def train_steps(state, batches, config):\n"
        f"    {step}\n"
        "    return engine.train_steps(state, batches, config)\n",
        encoding="utf-8",
    )


@contextlib.contextmanager
def in_a_long_step(tmp_path: Path, step: str):
    """Yield a program whose training has just begun this step."""
    write_program(tmp_path, f"print('a step begins', flush=True); {step}")
    with started(str(tmp_path), "--out", tmp_path / "out", *SHORT) as process:
        wait_for(process, "a step begins")
        yield process, tmp_path / "out" / "names" / tmp_path.name


def test_second_ctrl_c_does_not_wait_for_the_step(tmp_path):
    in_c_code = f"hashlib.pbkdf2_hmac('sha256', b'', b'', {2**31 - 1})"  # which comes back to Python after minutes
    with in_a_long_step(tmp_path, in_c_code) as (process, run_folder):
        process.send_signal(signal.SIGINT)
        assert "finishing this step" in process.stderr.readline()
        process.send_signal(signal.SIGINT)
        result = end(process)
    check(result, 130)
    one_line(result, "interrupted", "nothing was saved yet")
    assert not list(run_folder.glob("checkpoint*")) and not list(run_folder.glob(".*.tmp"))


def test_second_ctrl_c_gives_the_terminal_its_cursor_back(tmp_path):
    """A bar hides it. Nor is anything drawn after that: the shell's next prompt stands there."""
    write_program(tmp_path, "[(signal.raise_signal(2), time.sleep(0.5)) for _ in range(2)]; time.sleep(5)")
    result = on_terminal(command(str(tmp_path), "--out", tmp_path / "out", *SHORT))
    check(result, 130)
    assert result.stdout.count("\x1b[?25l") == 1 and result.stdout.endswith("\x1b[?25h")


@pytest.mark.parametrize("name", ["SIGTERM", "SIGHUP"])
def test_the_same_signal_again_is_no_order_to_hurry(name, tmp_path):
    """A whole process group is told, and `uv run` hands on to its child what it was told itself."""
    with in_a_long_step(tmp_path, "time.sleep(3)") as (process, run_folder):
        process.send_signal(getattr(signal, name))
        assert "finishing this step" in process.stderr.readline()
        process.send_signal(getattr(signal, name))
        result = end(process)
    check(result, code_of(name))
    one_line(result, "stopped after step 1 and saved")
    assert checkpoint.load(run_folder / "checkpoint.json").step == 1


def test_the_limit_of_several_processes_leaves_a_save_its_time():
    """How long they wait for each other is limited: one may be gone. How long a large model's save takes is not."""
    code = (
        f"import signal, sys, time\nsys.path.insert(0, {str(ROOT / 'harness')!r})\n"
        "from microgpt_harness.system import interrupts\n"
        "interrupts.catch()\n"
        "with interrupts.StopRequest(lambda: 'all is kept', limit=lambda: 0.2) as request:\n"
        "    request.saving = True\n"
        "    signal.raise_signal(signal.SIGTERM)\n"
        "    time.sleep(0.8)\n"
        "    print('saved', flush=True)\n"
        "    request.saving = False\n"
        "    time.sleep(60)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment(), capture_output=True, text=True, timeout=DEADLINE
    )
    assert (done.returncode, done.stdout) == (143, "saved\n")
    assert done.stderr.endswith("main.py: ended by SIGTERM; all is kept\n")


def test_run_whose_last_step_is_taken_stops_too(tmp_path):
    """It says so instead of going on to draw and to sample; --resume does that."""
    env = sends_itself(tmp_path / "sender", ".checkpoint.", "SIGINT")
    options = ("--out", tmp_path, "--steps", 20, *SHORT)
    result = run(NUMPY, *options, code=130, env=env)
    one_line(result, "stopped after step 20 and saved", "--resume")
    assert not result.samples and len(run(NUMPY, *options, "--resume").samples) == 1


def test_nobody_reads_the_output(tmp_path):
    """A full pipe holds up the training; what was trained is saved all the same."""
    with started(NUMPY, "--out", tmp_path, "--steps", 10**6, "--log-every", 1, *SHORT) as process:
        wait_for(process, "step    1 /")
        until(lambda: stands_still(tmp_path / "names" / NUMPY / "metrics.jsonl"), "a full pipe")
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=DEADLINE) == 130
        result = end(process)
    saved = checkpoint_in(tmp_path)
    assert f"stopped after step {saved.step} and saved" in result.stderr
    assert saved.step == len(metrics.read(tmp_path / "names" / NUMPY))


def stands_still(path: Path) -> bool:
    size = path.stat().st_size
    time.sleep(0.5)
    return size == path.stat().st_size


def test_terminal_that_is_gone(tmp_path):
    """As after a dropped ssh: SIGHUP, and neither stdout nor stderr takes anything any more."""
    fcntl, pty, termios = (pytest.importorskip(name) for name in ("fcntl", "pty", "termios"))
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        command(NUMPY, "--out", tmp_path, "--steps", 10**6, *SHORT),
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        env=environment(TERM="xterm-256color"),
        start_new_session=True,
        preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
    )
    try:
        os.close(theirs)
        received = b""
        while b"loss" not in received:
            received += os.read(ours, 65536)
        os.close(ours)
        assert process.wait(timeout=DEADLINE) == code_of("SIGHUP")
    finally:
        process.kill()
        process.wait()
    assert checkpoint_in(tmp_path).step > 0


def test_signal_inherited_as_ignored_stays_ignored(tmp_path):
    """As under nohup, or in the background of a script."""
    with ignored("SIGINT"):
        process = subprocess.Popen(
            command(NUMPY, "--out", tmp_path, "--steps", 3000, "--log-every", 1, *SHORT),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=environment(),
            encoding="utf-8",
        )
    with process:
        wait_for(process, "step   25 /")
        process.send_signal(signal.SIGINT)
        wait_for(process, "step 2000 /")
        process.send_signal(signal.SIGTERM)
        check(end(process), code_of("SIGTERM"))


@contextlib.contextmanager
def ignored(name: str):
    before = signal.signal(getattr(signal, name), signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(getattr(signal, name), before)


# ---- at any other time ----

# Sends itself the signal when a module is about to be imported or a file opened whose name begins so, or at the end.
SENDER = """
import sys, os
def hook(event, args, kill=os.kill, us=os.getpid()):
    global moment
    if moment and event in ("import", "open") and str(args[0]).rpartition("/")[2].startswith(moment):
        moment = None
        kill(us, {signum})
moment = {moment!r}
if moment == "exit":
    import atexit
    atexit.register(os.kill, os.getpid(), {signum})
else:
    sys.addaudithook(hook)
"""


def sends_itself(folder: Path, moment: str, name: str) -> dict[str, str]:
    """Return an environment whose Python does that."""
    folder.mkdir(exist_ok=True)
    text = SENDER.format(moment=moment, signum=int(getattr(signal, name)))
    (folder / "sitecustomize.py").write_text(text, encoding="utf-8")
    return {"PYTHONPATH": str(folder)}


MOMENTS = {
    "pathlib": "the first of the standard library",
    "microgpt_harness.cli": "the program",
    "numpy": "a framework",
    "microgpt_harness.run.sampling": "a prompt is checked",
    "microgpt_harness.run.plots": "pictures are drawn",
    "matplotlib.figure": "what draws them",
}


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("moment", MOMENTS)
def test_leaves_at_once(moment, name, tmp_path):
    env = sends_itself(tmp_path / "sender", moment, name)
    result = run(NUMPY, "--out", tmp_path, "--steps", 20, "--n-samples", 1, code=code_of(name), env=env)
    one_line(result, "interrupted" if name == "SIGINT" else f"ended by {name}", "what was saved before is whole")


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("moment", ["microgpt_harness", "microgpt_harness.system.interrupts"])
def test_leaves_in_silence_before_the_harness_is_there(moment, name, tmp_path):
    result = run(NUMPY, "--list", code=code_of(name), env=sends_itself(tmp_path / "sender", moment, name))
    assert (result.stdout, result.stderr) == ("", "")


@pytest.mark.parametrize("folder", ["03_pytorch", "05_jax", "06_mlx"])
def test_leaves_at_once_while_its_framework_is_imported(folder, tmp_path):
    moment = {"03_pytorch": "torch.nn", "05_jax": "jax.numpy", "06_mlx": "mlx.core"}[folder]
    env = sends_itself(tmp_path / "sender", moment, "SIGINT")
    one_line(run(folder, "--out", tmp_path, "--steps", 20, code=130, env=env), "interrupted")


@pytest.mark.parametrize("arguments", [["--list"], ["--steps", "20", "--no-plot", "--n-samples", "1"]], ids=" ".join)
@pytest.mark.parametrize("name", NAMES)
def test_after_the_end_a_signal_changes_nothing(name, arguments, tmp_path):
    env = sends_itself(tmp_path / "sender", "exit", name)
    run(NUMPY, *arguments, *([] if "--list" in arguments else ["--out", tmp_path]), env=env)


def test_leaves_while_foreign_code_does_not_come_back(tmp_path):
    """A compiler, or the loading of a large library: no code of Python's runs for a long time."""
    (tmp_path / "numpy.py").write_text(
        "import hashlib\nprint('importing', flush=True)\nhashlib.pbkdf2_hmac('sha256', b'', b'', 2**31 - 1)\n",
        encoding="utf-8",
    )
    with started(NUMPY, "--out", tmp_path, env={"PYTHONPATH": str(tmp_path)}) as process:
        wait_for(process, "importing")
        one_line(interrupted(process), "interrupted", "what was saved before is whole")


def test_leaves_without_memory_for_another_thread(tmp_path):
    script = (
        "import _thread, time\nfrom microgpt_harness.system import interrupts\ninterrupts.catch()\n"
        'def no_thread(function, arguments):\n    raise RuntimeError("can\'t start new thread")\n'
        "_thread.start_new_thread = no_thread\nprint('ready', flush=True)\ntime.sleep(100)\n"
    )
    with running(script) as process:
        wait_for(process, "ready")
        one_line(interrupted(process), "interrupted")


def test_file_that_is_being_written_leaves_no_trace(tmp_path):
    script = (
        "from microgpt_harness.system import interrupts\ninterrupts.catch()\n"
        "from microgpt_harness.system.files import replacing\nfrom pathlib import Path\nimport time\n"
        f"with replacing(Path({str(tmp_path / 'file')!r})) as file:\n"
        "    print('writing', flush=True)\n    time.sleep(100)\n"
    )
    (tmp_path / "file").write_text("as it was", encoding="utf-8")
    with running(script) as process:
        wait_for(process, "writing")
        assert len(list(tmp_path.iterdir())) == 2
        one_line(interrupted(process), "interrupted")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
    assert (tmp_path / "file").read_text(encoding="utf-8") == "as it was"


def test_file_that_is_just_being_opened_leaves_no_trace(tmp_path):
    """On a slow disk, say, and while something else that is to be done before leaving takes its time."""
    script = (
        "from microgpt_harness.system import interrupts\ninterrupts.catch()\n"
        "from microgpt_harness.system.files import replacing\nfrom pathlib import Path\nimport time\n"
        "class SlowPath(type(Path())):\n    def open(self, *args, **kwargs):\n"
        "        print('opening', flush=True)\n        time.sleep(0.5)\n        return super().open(*args, **kwargs)\n"
        f"with interrupts.on_leaving(lambda: time.sleep(1)), replacing(SlowPath({str(tmp_path / 'file')!r})) as file:\n"
        "    time.sleep(100)\n"
    )
    with running(script) as process:
        wait_for(process, "opening")
        one_line(interrupted(process), "interrupted")
    assert not list(tmp_path.iterdir())


def test_measurements_end_with_the_process_that_they_run_in(tmp_path):
    """`microgpt bench` starts its children in groups of their own, where no Ctrl-C reaches them."""
    child = "import os, time; open('child', 'w').write(str(os.getpid())); time.sleep(100)"
    script = (
        "from microgpt_harness.system import interrupts\ninterrupts.catch('microgpt')\n"
        "import sys\nfrom pathlib import Path\nfrom microgpt_harness.tools import suite\n"
        f"out = Path({str(tmp_path)!r})\n"
        "with interrupts.on_leaving(suite.Results(out / 'bench', False).last_words):\n"
        f"    suite.run_process([sys.executable, '-c', {child!r}], out, None)\n"
    )
    with running(script) as process:
        text = until(lambda: (tmp_path / "child").exists() and (tmp_path / "child").read_text(), "the child")
        result = interrupted(process)
    assert re.fullmatch(
        r"microgpt: interrupted; 0 results are in .*; the same command goes on from there\n", result.stderr
    )
    until(lambda: not lives(int(text)), "the child's end")


def lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
        return "Z" not in Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2][:3]
    except OSError:
        return False


@contextlib.contextmanager
def running(script: str):
    process = subprocess.Popen(
        [sys.executable, "-c", script],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environment(PYTHONPATH=str(ROOT / "harness")),
        encoding="utf-8",
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def test_while_sampling(tmp_path):
    run(NUMPY, "--out", tmp_path, "--steps", 30, *SHORT)
    with started(NUMPY, "sample", "--out", tmp_path, "--n-samples", 2**20) as process:
        wait_for(process, "sample 20:")
        process.send_signal(signal.SIGINT)
        process.stdout.read()
        result = end(process)
    check(result, 130)
    one_line(result, "interrupted")


def test_with_several_datasets_those_that_failed_are_reported(tmp_path):
    with started(NUMPY, "--dataset", "none.txt", "names", "--out", tmp_path, "--steps", 10**6, *SHORT) as process:
        wait_for(process, "32,000 documents")
        result = interrupted(process)
    assert any(line.startswith("main.py: none.txt failed: ") for line in result.stderr.splitlines())


def test_with_several_datasets_none_begins_after_a_signal(tmp_path):
    """Nor where the run that was to stop could not be saved: signals are answered no more by then."""
    (tmp_path / "out" / "names").mkdir(parents=True)
    write_program(
        tmp_path,
        "(signal.raise_signal(15), time.sleep(0.2), __import__('shutil').rmtree('out/names'),"
        " open('out/names', 'w').close())",
    )
    options = ("--out", "out", "--steps", 20, *SHORT)
    result = run(str(tmp_path), "--dataset", "names", "pokemon", *options, code=1, cwd=tmp_path)
    assert "names failed: " in result.stderr and "cannot be written" in result.stderr
    assert "pokemon" not in result.stdout


def test_closed_streams_do_not_give_their_numbers_to_files(tmp_path):
    """What a library writes to standard error would else stand in metrics.jsonl."""
    line = f'"{sys.executable}" "{ROOT / NUMPY / "main.py"}" --steps 3 --no-plot --out "{tmp_path}" <&- >&- 2>&-'
    code = "import os; [os.fstat(n) for n in (0, 1, 2)]"
    (tmp_path / "numpy.py").write_text(
        f"{code}\nopen({str(tmp_path / 'seen')!r}, 'w').close()\nraise ImportError('no')"
    )
    subprocess.run(["sh", "-c", line], env=environment(PYTHONPATH=str(tmp_path)))
    assert (tmp_path / "seen").exists()
