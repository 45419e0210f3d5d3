"""Ending a process together with all that it has started."""

import contextlib
import os
import signal
import subprocess


def stop(process: "subprocess.Popen[bytes] | subprocess.Popen[str]") -> None:
    """End a process that was started with `start_new_session=True`, and its children, also those it has left behind."""
    with contextlib.suppress(ProcessLookupError, PermissionError):  # none is left
        if hasattr(os, "killpg"):
            os.killpg(process.pid, signal.SIGKILL)
        elif process.poll() is None:  # Windows knows no groups, but which process started which
            subprocess.run(["taskkill", "/F", "/T", "/PID", str(process.pid)], capture_output=True)
            process.kill()
    process.wait()
