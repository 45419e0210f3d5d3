"""Train, sample and measure this folder's lesson: `main.py --help`."""

import os
import sys

# Straight from the checkout: a bare Python needs nothing installed, and is told in one line if this folder does.
sys.path.insert(0, os.path.join(os.path.dirname(__file__), "..", "harness"))

from microgpt_harness.start import program

if __name__ == "__main__":
    program(
        __file__,
        dtypes=("float32", "float64"),
        devices=("cpu", "cuda", "mps"),
        compiled="engine_compiled",
    )
