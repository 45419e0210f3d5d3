"""One process at a time writes a run's folder; the others are told so at once, and who only reads goes on reading."""

import errno
import os
import signal
import subprocess
import sys

import pytest
from lessons import load
from microgpt_harness.data import datasets
from microgpt_harness.program.settings import resolve
from microgpt_harness.run import checkpoint, locks, metrics, training
from microgpt_harness.run.locks import FolderLock
from microgpt_harness.run.progress import Silent
from microgpt_harness.system.errors import RunError, UserError
from program import NUMPY, fails, one_line, run, started, wait_for

LONG = ("--steps", 1_000_000, "--no-plot", "--val-every", 0, "--log-every", 50)
SHORT = ("--steps", 3, "--no-plot", "--n-samples", 1, "--val-every", 0)


def test_a_second_process_ends_at_once_and_the_first_goes_on(tmp_path):
    folder = tmp_path / "names" / NUMPY
    with started(NUMPY, *LONG, "--save-every", 20, "--out", tmp_path) as first:
        wait_for(first, "step   50 /")
        for how in ((), ("--resume",), ("--checkpoint", folder / "checkpoint.safetensors")):
            fails(NUMPY, *SHORT, *how, "--out", tmp_path, says=(str(folder), "another process is training there"))
        assert run(NUMPY, "sample", "--out", tmp_path, "--n-samples", 2).samples
        compare = ("-m", "microgpt_harness", "compare", "--out", tmp_path)
        assert subprocess.run([sys.executable, *map(str, compare)], capture_output=True).returncode == 0
        run(NUMPY, *SHORT, "--out", tmp_path / "beside")
        line = wait_for_line(first, "step ")
        first.kill()
        first.wait()
    assert int(line[5:12].split("/")[0]) > 50
    saved = checkpoint.load(folder / "checkpoint.safetensors").step
    run(NUMPY, *LONG, "--resume", "--stop-at", saved + 1, "--out", tmp_path)  # what a killed process had is free
    assert [record["step"] for record in metrics.read(folder)] == list(range(1, saved + 2))


def wait_for_line(process: subprocess.Popen, words: str) -> str:
    return next(line for line in process.stdout if words in line)


def test_one_folder_of_several_is_taken(tmp_path):
    for name in "ab":
        (tmp_path / f"{name}.txt").write_text("abc\nbca\n" * 20, encoding="utf-8")
    a, b, out = tmp_path / "a.txt", tmp_path / "b.txt", tmp_path / "out"
    with FolderLock(out / "a" / NUMPY) as lock:
        lock.take()
        result = run(NUMPY, "--dataset", a, b, *SHORT, "--out", out, code=2)
    one_line(result, "a.txt failed: ", str(out / "a" / NUMPY), "another process")
    assert (out / "b" / NUMPY / "samples.txt").exists()
    assert [path.name for path in (out / "a" / NUMPY).iterdir()] == [locks.FILE]


def test_another_runs_checkpoint_is_read_while_that_run_trains(tmp_path):
    run(NUMPY, *SHORT, "--out", tmp_path / "a")
    theirs = tmp_path / "a" / "names" / NUMPY
    with FolderLock(theirs):
        options = ("--checkpoint", theirs / "checkpoint.safetensors", *SHORT, "--steps", 5, "--out", tmp_path / "b")
        run(NUMPY, *options)
    assert len(metrics.read(tmp_path / "b" / "names" / NUMPY)) == 5


@pytest.mark.skipif(os.name != "posix", reason="Windows ends a process that is asked whether it lives")
def test_the_system_gives_it_back(tmp_path):
    """Also when the process that had it has started another, which lives on."""
    code = (
        "import subprocess, sys, time\n"
        "from pathlib import Path\n"
        "from microgpt_harness.run.locks import FolderLock\n"
        "with FolderLock(Path(sys.argv[1])) as lock:\n"
        "    child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)'], close_fds=False,"
        " stdout=subprocess.DEVNULL)\n"
        "    print(child.pid, flush=True)\n"
        "    time.sleep(60)\n"
    )
    process = subprocess.Popen([sys.executable, "-c", code, tmp_path], stdout=subprocess.PIPE, text=True)
    child = int(process.stdout.readline())
    try:
        with pytest.raises(UserError, match="another process"):
            FolderLock(tmp_path).take()
        process.kill()
        process.communicate()
        os.kill(child, 0)  # lives
        with FolderLock(tmp_path) as lock:
            assert lock.is_held()
    finally:
        os.kill(child, signal.SIGTERM)


def test_taken_and_given_back(tmp_path):
    folder = tmp_path / "run"
    with FolderLock(folder) as first:
        assert not folder.exists()  # nothing is made before it is known that there is something to train
        first.take()
        first.take()
        with pytest.raises(UserError, match="another process"), FolderLock(folder):
            pass
    with FolderLock(folder) as second:
        assert second.is_held() and not first.is_held()


@pytest.mark.skipif(os.name != "posix", reason="Windows does not delete an open file")
def test_a_folder_that_was_deleted_while_it_is_trained_in(tmp_path):
    folder = tmp_path / "run"
    with FolderLock(folder) as first:
        first.take()
        (folder / locks.FILE).unlink()
        folder.rmdir()
        first.take()  # as before each save
        assert first.is_held() and folder.is_dir()
        (folder / locks.FILE).unlink()
        with FolderLock(folder), pytest.raises(UserError, match="another process"):
            first.take()


@pytest.mark.skipif(os.name != "posix", reason="Windows does not delete an open file")
@pytest.mark.parametrize("taken", [False, True])
def test_a_run_whose_folder_is_deleted(tmp_path, taken):
    """It goes on and saves; but never over the files of another that has begun there."""
    folder = tmp_path / "run"
    path = folder / "checkpoint.json"
    engine = load(NUMPY).engine
    settings = resolve([{"num_steps": 6, "n_embd": 4}], engine.lesson.CONFIG, ("float64",))
    with FolderLock(folder) as lock, FolderLock(folder) as other:
        lock.take()
        a_run = training.start(engine, settings, datasets.load("names"), folder, path)
        a_run.lock = lock
        writer = metrics.Writer(folder, [])
        training.train(a_run, writer, Silent(), stop_at=3)
        folder.rename(tmp_path / "away")
        if taken:
            other.take()
            with pytest.raises(RunError, match=r"deleted while this run went on.*another process"):
                training.train(a_run, writer, Silent())
        else:
            training.train(a_run, writer, Silent())
        writer.close()
    assert (checkpoint.load(path).step == 6) if not taken else not path.exists()


@pytest.mark.parametrize("code", [errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS])
def test_a_file_system_without_locks(tmp_path, monkeypatch, capsys, code):
    monkeypatch.setattr(locks, "lock", lambda descriptor: failing(code))
    with FolderLock(tmp_path) as lock:
        lock.take()
        lock.take()
    assert capsys.readouterr().err.count("cannot be locked here") == 1


def failing(code: int) -> None:
    raise OSError(code, os.strerror(code))


@pytest.mark.skipif(os.name != "posix", reason="needs links, and folders that may only be read")
@pytest.mark.parametrize("what", ["link", "folder", "a folder that may only be read"])
def test_a_lock_that_cannot_be_written(tmp_path, what):
    folder, elsewhere = tmp_path / "run", tmp_path / "elsewhere"
    folder.mkdir()
    if what == "link":
        (folder / locks.FILE).symlink_to(elsewhere)
    elif what == "folder":
        (folder / locks.FILE).mkdir()
    elif os.geteuid() == 0:
        pytest.skip("root may write anywhere")
    else:
        folder.chmod(0o555)
    with pytest.raises(RunError, match="cannot be written"):
        FolderLock(folder).take()
    assert not elsewhere.exists()


def test_nothing_is_left_where_nothing_was_trained(tmp_path):
    fails(NUMPY, "--resume", "--out", tmp_path, says=("no checkpoint",))
    fails(NUMPY, "--prompt", "?", "--out", tmp_path, says=("?",))
    assert list(tmp_path.iterdir()) == []
