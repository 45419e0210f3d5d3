"""Platforms that are not here: what Windows lacks skips tests and breaks none, and versions are declared once."""

import os
import re
import subprocess
import sys
import tomllib
from itertools import chain
from pathlib import Path

import pytest
from lessons import FOLDERS, ROOT
from microgpt_harness.system import processes

HERE = Path(__file__).parent

# What Windows does not have is taken away, once all that may rightly use it on this system has been imported.
FRAMEWORKS = "import hypothesis, jax, matplotlib.pyplot, numba, numpy, rich.progress, safetensors, torch"
AS_ON_WINDOWS = """
import jupytext, nbclient, os, pkgutil, pytest, signal, sys
from importlib import import_module
import microgpt_harness
for module in pkgutil.walk_packages(microgpt_harness.__path__, "microgpt_harness."):
    import_module(module.name)
for name in ("fcntl", "pty", "pwd", "resource", "termios", "tty"):
    sys.modules[name] = None
for module, names in (
    (signal, ("SIGKILL", "SIGHUP", "SIGALRM", "SIGUSR1", "SIGSTOP", "SIGCONT", "SIGQUIT")),
    (os, ("fork", "geteuid", "getuid", "killpg", "mkfifo", "openpty", "setsid")),
):
    for name in names:
        if hasattr(module, name):
            delattr(module, name)
sys.exit(pytest.main(sys.argv[1:]))
"""


def as_on_windows(code: str, *args: object) -> tuple[int, str]:
    command = [sys.executable, "-c", code, "-W", "ignore", "-n", "0", *map(str, args)]  # other processes have it all
    done = subprocess.run(command, cwd=HERE, capture_output=True, encoding="utf-8", timeout=600)
    return done.returncode, done.stdout + done.stderr


def test_every_test_module_can_be_imported_without_what_windows_lacks():
    code, out = as_on_windows(FRAMEWORKS + AS_ON_WINDOWS, "--collect-only", "-q", ".")
    assert code == 0, out
    assert all(f"{path.name}:" in out for path in HERE.glob("test_*.py"))


def test_what_windows_lacks_skips_a_test_and_fails_none(tmp_path):
    """Each way of asking for it: a module, a name of os, a name of signal. Other names that are not there fail."""
    lines = {
        "terminal": "__import__('program').on_terminal(['true'])",
        "limits": "__import__('test_what_goes_wrong').small_files_only().__enter__()",
        "fifo": "__import__('os').mkfifo('none')",
        "kill": "__import__('signal').SIGKILL",
        "typo": "__import__('math').sine",
    }
    tests = tmp_path / "test_here.py"
    tests.write_text("".join(f"def test_{name}():\n    {line}\n" for name, line in lines.items()), "utf-8")
    (tmp_path / "conftest.py").write_bytes((HERE / "conftest.py").read_bytes())
    code, out = as_on_windows(AS_ON_WINDOWS, "-rsf", "-c", HERE / "pyproject.toml", "--rootdir", tmp_path, tests)
    assert code == 1 and "1 failed, 4 skipped" in out, out
    for words in ("no terminals", "no limits", "os.mkfifo", "signal.SIGKILL", "test_typo"):
        assert words in out


def test_windows_ends_what_a_measurement_has_started(monkeypatch):
    """There uv's Python outlives uv, and there are no groups of processes to kill."""
    process, commands = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE), []
    monkeypatch.delattr(os, "killpg", raising=False)
    monkeypatch.setattr(subprocess, "run", lambda command, **_: commands.append(command))
    processes.stop(process)
    assert commands == [["taskkill", "/F", "/T", "/PID", str(process.pid)]]
    assert process.poll() is not None


# ---- versions ----


def declared(path: Path) -> dict[str, set[str]]:
    """Return what a pyproject.toml asks for: each package with its bounds and markers, in all its lines."""
    project = tomllib.loads(path.read_text(encoding="utf-8"))["project"]
    groups = [project["dependencies"], *project.get("optional-dependencies", {}).values()]
    found: dict[str, set[str]] = {}
    for line in chain.from_iterable(groups):
        found.setdefault(re.match(r"[\w-]+", line)[0], set()).add(line)
    return found


@pytest.mark.parametrize("folder", [*FOLDERS, "harness"])
def test_bounds_of_versions_are_those_that_the_tests_are_run_with(folder):
    """The lowest versions are tried in the tests' environment (profiles.py), so a folder may not allow lower ones."""
    tested = declared(HERE / "pyproject.toml")
    for package, lines in declared(ROOT / folder / "pyproject.toml").items():
        if not package.startswith("microgpt"):
            assert lines == tested[package]
