"""What the tests measured, shown after they have run: a passed test says less than how far from failing it was."""

import json
import os
import signal
import sys
import traceback
from pathlib import Path

import pytest

# Some machines ask Python to keep nothing of what it compiles. Then each of the thousand programs started here would
# compile its framework's files anew: five seconds for PyTorch's.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False

MEASURED: dict[str, "Measured"] = {}


class Measured:
    """The figures of one kind, and the bound that each of them must keep, if there is one."""

    def __init__(self) -> None:
        self.figures: dict[str, float | str] = {}  # whose -> figure
        self.bound: float | None = None

    @property
    def worst(self) -> tuple[str, float]:
        # A figure that is not a number is worse than any.
        return max(self.figures.items(), key=lambda item: item[1] if item[1] == item[1] else float("inf"))

    @property
    def margin(self) -> float:
        """How many times larger the worst figure could be."""
        _, worst = self.worst
        return self.bound / worst if worst else float("inf")


@pytest.fixture
def record(request):
    """Return a function that notes a figure for the table at the end, and fails where it is above its bound.

    record("one step, loss", "05_jax", 2e-7, bound=2e-6). What fails is noted too: on a new processor it is what one
    wants to see. The notes travel with the test's report, because several processes run the tests.
    """

    def note(what: str, who: str, figure: float | str, bound: float | None = None) -> None:
        plain = figure if isinstance(figure, str) else float(figure)
        request.node.user_properties.append(("measured", (what, who, plain, bound)))
        assert bound is None or figure <= bound, f"{who}: {what}: {figure:.1e}, allowed is {bound:.0e}"

    return note


def pytest_runtest_logreport(report):
    if report.when != "call":
        return
    for what, who, figure, bound in (values for name, values in report.user_properties if name == "measured"):
        measured = MEASURED.setdefault(what, Measured())
        measured.figures[who], measured.bound = figure, bound


@pytest.hookimpl(wrapper=True)
def pytest_pyfunc_call(pyfuncitem):
    """Skip what this system cannot do: a test that itself asks os or signal for what Windows, say, does not have."""
    try:
        return (yield)
    except AttributeError as error:
        asked_here = Path(traceback.extract_tb(error.__traceback__)[-1].filename).parent == Path(__file__).parent
        if asked_here and error.obj in (os, signal):
            pytest.skip(f"this system has no {error.obj.__name__}.{error.name}")
        raise
    except ValueError as error:
        if os.name == "nt" and "Unsupported signal" in str(error):
            pytest.skip("Windows sends a process no signals")
        raise


@pytest.fixture(autouse=True)
def on_the_cpu():
    """MLX computes on one default device. On a Mac that is the GPU at first, where no float64 can be computed."""
    if mx := sys.modules.get("mlx.core"):
        mx.set_default_device(mx.cpu)


def pytest_addoption(parser):
    parser.addoption("--figures", metavar="FILE", type=Path, help="write every figure and its bound to FILE, as JSON")


def pytest_terminal_summary(terminalreporter, config):
    bounded = {what: of for what, of in sorted(MEASURED.items()) if of.bound is not None}
    others = {what: of for what, of in sorted(MEASURED.items()) if of.bound is None}
    if bounded:
        terminalreporter.section("worst figure of each bound")
        width = max(map(len, bounded))
        terminalreporter.write_line(f"{'':{width}}    worst    bound    margin  worst in")
        for what, measured in bounded.items():
            who, worst = measured.worst
            margin = f"{measured.margin:.1f}" if measured.margin < 10 else f"{measured.margin:,.0f}"
            figures = f"{short(worst):>7}  {short(measured.bound):>7}"
            terminalreporter.write_line(f"{what:{width}}  {figures}  {margin:>8}  {who}")
    if others:
        terminalreporter.section("measured, without a bound")
        for what, measured in others.items():
            shown = (f"{who} {x if isinstance(x, str) else short(x)}" for who, x in measured.figures.items())
            terminalreporter.write_line(f"{what}: {', '.join(shown)}")
    if path := config.getoption("figures"):
        path.write_text(json.dumps({"bounds": as_json(bounded), "others": as_json(others)}, indent=1) + "\n", "utf-8")


def short(figure: float) -> str:
    return f"{figure:.2g}" if figure >= 0.1 else f"{figure:.1e}"


def as_json(measured: dict[str, Measured]) -> dict[str, dict]:
    return {
        what: {"figures": of.figures}
        | ({} if of.bound is None else {"bound": of.bound, "worst": of.worst[1], "worst_in": of.worst[0]})
        for what, of in measured.items()
    }
