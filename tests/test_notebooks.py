"""Every lesson opens as a notebook: jupytext reads its banners as cells, and run in its folder it prints the same."""

import re

import jupytext
import pytest
from comparisons import run_of_the_reference
from lessons import FOLDERS, ROOT, each, load
from nbclient import NotebookClient

STEPS = 20


@pytest.mark.parametrize("folder", each(FOLDERS))
def test_a_lesson_runs_as_a_notebook(folder, record):
    source = (ROOT / folder / "microgpt.py").read_text(encoding="utf-8")
    short = source.replace("num_steps: int = 500", f"num_steps: int = {STEPS}")
    expected, _, names = run_of_the_reference(STEPS, load(folder).microgpt.CONFIG.batch_size)
    printed = run_as_a_notebook(short, folder)
    losses = [float(loss) for loss in re.findall(r"^step .* loss (\S+)$", printed, re.MULTILINE)]
    assert re.findall(r"^sample +\d+: (.*)$", printed, re.MULTILINE) == names
    assert printed.count("\n") == STEPS + len(names)
    difference = max(abs(a - b) for a, b in zip(losses, expected, strict=True))
    record("first 20 losses as a notebook, four digits", folder, difference, 1e-4 + 5e-5)


def run_as_a_notebook(source: str, folder: str) -> str:
    """Run the cells that the banners make, and no others, as Jupyter does. Return what they print."""
    notebook = jupytext.reads(source, fmt="py:percent")
    assert [cell.cell_type for cell in notebook.cells] == ["code"] * 11
    client = NotebookClient(notebook, kernel_name="python3", resources={"metadata": {"path": str(ROOT / folder)}})
    client.execute()
    outputs = [output for cell in notebook.cells for output in cell.outputs]
    assert {output.output_type for output in outputs} == {"stream"}
    return "".join(output.text for output in outputs if output.name == "stdout")
