"""Where things stand in the repository. The harness runs from its checkout: it is never installed as a copy."""

from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
DATA = ROOT / "data"
RUNS = ROOT / "runs"


def folders() -> list[str]:
    """Return the names of the folders that hold a lesson: those that begin with a number and have a main.py."""
    return sorted(path.parent.name for path in ROOT.glob("[0-9]*/main.py"))
