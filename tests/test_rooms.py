"""The harness is built in rooms, and arrows between them point one way: ARCHITECTURE.md draws them."""

import ast
import importlib.util
from pathlib import Path

import pytest
from lessons import ROOT

HARNESS = ROOT / "harness" / "microgpt_harness"
# From the top down: what stands in a line may use what stands in the lines below. `start` begins every program, and
# `cli` hands main.py's command to the room that does it.
FLOORS = ("__main__", "start", "cli", "tools", "program", "run", "data", "contract", "system")
MODULES = sorted(path.relative_to(HARNESS) for path in HARNESS.rglob("*.py"))


def arrows(module: Path, source: str) -> set[str]:
    """Return what of the harness a module imports, by dotted name, anywhere in its text: functions' imports count."""
    package = ".".join(["microgpt_harness", *module.parent.parts])
    found = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = importlib.util.resolve_name("." * node.level + (node.module or ""), package)
            found |= {f"{base}.{alias.name}" for alias in node.names}
    inside = {name.removeprefix("microgpt_harness.") for name in found if name.startswith("microgpt_harness.")}
    return {existing(name) for name in inside}


def existing(name: str) -> str:
    """Return the module in a dotted name, without what is taken out of the module."""
    parts = name.split(".")
    while not HARNESS.joinpath(*parts).with_suffix(".py").exists() and not HARNESS.joinpath(*parts).is_dir():
        parts.pop()
    return ".".join(parts)


def floor(name: str) -> int:
    return FLOORS.index(name.split(".")[0])


def upward(module: Path, source: str) -> list[str]:
    here = floor(module.with_suffix("").parts[0])
    return [name for name in arrows(module, source) if floor(name) < here]


@pytest.mark.parametrize("module", [m for m in MODULES if m.name != "__init__.py"], ids=str)
def test_arrows_between_rooms_point_down(module):
    assert not upward(module, (HARNESS / module).read_text(encoding="utf-8"))


def test_no_module_imports_itself_over_others():
    """Nor does one that imports only when it is called."""
    arrows_of = {
        ".".join(m.with_suffix("").parts): arrows(m, (HARNESS / m).read_text(encoding="utf-8")) for m in MODULES
    }
    while leaves := [name for name, uses in arrows_of.items() if not uses & arrows_of.keys()]:
        arrows_of = {name: uses for name, uses in arrows_of.items() if name not in leaves}
    assert not arrows_of


@pytest.mark.parametrize("room", [name for name in FLOORS if (HARNESS / name).is_dir()])
def test_a_room_says_what_lives_there_and_imports_nothing(room):
    text = (HARNESS / room / "__init__.py").read_text(encoding="utf-8")
    [docstring] = ast.parse(text).body
    assert isinstance(docstring.value, ast.Constant)


def test_an_arrow_that_points_up_is_seen():
    """However it is written, and wherever."""
    module = Path("run", "example.py")
    for source in (
        "from ..tools import compare",
        "import microgpt_harness.tools.compare",
        "from microgpt_harness import cli",
        "def later():\n    from ..program.flags import parse",
    ):
        assert upward(module, source), source
    assert not upward(module, "from ..data.batches import prepare\nfrom . import metrics\nimport os")
