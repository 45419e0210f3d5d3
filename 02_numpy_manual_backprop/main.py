"""Train, sample and measure this folder's lesson: `main.py --help`."""

import sys
from pathlib import Path

from microgpt_harness.cli import main
from microgpt_harness.contract import Folder

FOLDER = Folder(
    path=Path(__file__).resolve().parent,
    dtypes=("float64", "float32"),
    backends=(("numpy", "engine"), ("numba", "microgpt_numba")),
)

if __name__ == "__main__":
    sys.exit(main(FOLDER))
