"""Where things stand in the repository. The harness runs from its checkout: it is never installed as a copy."""

from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
DATA = ROOT / "data"
RUNS = ROOT / "runs"
