"""Train, sample and measure this folder's lesson: `main.py --help`."""

import sys
from pathlib import Path

from microgpt_harness.cli import main
from microgpt_harness.contract import Folder

FOLDER = Folder(
    path=Path(__file__).resolve().parent,
    dtypes=("float32", "float64"),
    devices=("cpu", "gpu"),
    compiled="engine_compiled",
)

if __name__ == "__main__":
    sys.exit(main(FOLDER))
