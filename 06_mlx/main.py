"""Train, sample and measure this folder's lesson: `main.py --help`."""

import _signal
import os
import sys

# Until the harness answers signals, a moment from here, SIGHUP, SIGINT (Ctrl-C) and SIGTERM end this in silence.
for number in _signal.valid_signals() & {1, 2, 15}:
    if _signal.getsignal(number) != _signal.SIG_IGN:
        _signal.signal(number, lambda signum, frame: os._exit(128 + signum))

# Straight from the checkout: a bare Python needs nothing installed, and is told in one line if this folder does.
sys.path.insert(0, os.path.join(os.path.dirname(__file__), "..", "harness"))

from microgpt_harness.start import program

if __name__ == "__main__":
    program(
        __file__,
        dtypes=("float32", "float64", "bfloat16"),
        devices=("cpu", "gpu"),
        compiled="engine_compiled",
        distributed="engine_distributed",
        ranks=("MLX_RANK",),
    )
