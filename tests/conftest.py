"""What the tests measured, shown after they have run: a passed test says less than how far from failing it was."""

import pytest

MEASURED: dict[tuple[str, str], str] = {}


@pytest.fixture
def record():
    """Return a function that notes a figure for the table at the end: record("logits", "05_jax float64", 1e-15)."""

    def note(what: str, who: str, figure: float | str) -> None:
        MEASURED[what, who] = figure if isinstance(figure, str) else f"{figure:.1e}"

    return note


def pytest_terminal_summary(terminalreporter):
    if not MEASURED:
        return
    terminalreporter.section("measured")
    for what in dict.fromkeys(what for what, _ in MEASURED):
        figures = ", ".join(f"{who} {figure}" for (name, who), figure in MEASURED.items() if name == what)
        terminalreporter.write_line(f"{what}: {figures}")
