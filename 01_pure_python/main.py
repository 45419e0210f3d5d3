"""Train, sample and measure this folder's lesson: `main.py --help`."""

import sys
from pathlib import Path

# Straight from the checkout, so that a bare Python needs nothing installed.
sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "harness"))

from microgpt_harness.cli import main
from microgpt_harness.contract import Folder

FOLDER = Folder(
    path=Path(__file__).resolve().parent,
    dtypes=("float64",),
    checkpoint="checkpoint.json",
)

if __name__ == "__main__":
    sys.exit(main(FOLDER))
