"""Every lesson as an executed notebook, with the notes of the course between its cells.

The cells of code are those that jupytext makes of a lesson's banners, and none is changed. Each lesson runs in its own
folder and with its own packages: uv starts the kernel there, as it would run `microgpt.py`.
"""

import ast
import asyncio
import json
import math
import os
import random
import re
import shutil
import signal
import subprocess
import tempfile
import textwrap
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import jupytext
import nbformat
from jupyter_client.kernelspec import KernelSpecManager
from jupyter_client.manager import AsyncKernelManager
from microgpt_harness.system.errors import RunError, UserError
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError
from nbformat import NotebookNode
from nbformat.v4 import new_markdown_cell

from . import lessons, notes
from .folder_data import own_settings
from .lessons import HEAD, ROOT, Cell, Lesson, where_called
from .material import EXPLICIT
from .notes import Note, Notes, SectionNote
from .recording.program import load
from .site import HERE

SECONDS = 1800  # for a cell: a lesson takes some seconds, and far more on a machine that a whole class uses
KERNEL = "lesson"
KERNELSPEC = {"name": "python3", "display_name": "Python 3", "language": "python"}
NOT_INSTALLED = re.compile(r"No module named '(\w+)")  # by Python, of what uv left out: it is for other systems
NOT_TO_BE_HAD = re.compile(r"`([\w.-]+)==[^`]*` can't be installed because .* for the current platform")  # by uv


@dataclass(frozen=True)
class Said:
    """What is said between the cells: notes, what they are filled in with, and by which key functions are aligned."""

    notes: Notes
    values: Mapping[str, Any]
    keys: Mapping[str, str]

    def filled(self, text: str, note: Note | SectionNote) -> str:
        return notes.fill(text, note.where, self.values)


def write(folder: Path, root: Path = ROOT) -> Iterator[Path]:
    """Write each lesson of a checkout as a notebook into a folder, and yield its path as soon as it is there.

    A relative folder is one below the folder in which the command was called. A lesson whose packages do not exist for
    this system is left out, and a line says so. RunError, after all others, for a lesson that cannot be run.
    """
    into = where_called() / folder
    try:
        into.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError):
        raise UserError(f"{into} is no folder, so no notebooks can be written there; name another one") from None
    found = lessons.read_all(root)
    said = notes.load(HERE / "notes")
    failed = []
    for lesson in found:
        print(f"{lesson.folder} … ", end="", flush=True)  # whoever called prints the path behind it
        try:
            if package := missing_package(lesson):
                print(f"left out: there is no package {package} for this system", flush=True)
                continue
            notebook = executed(lesson, found, said)
        except RunError as error:
            print("failed", flush=True)
            failed.append(f"{lesson.folder}: {error}")
            continue
        path = into / f"{lesson.folder}.ipynb"
        path.write_text(nbformat.writes(notebook) + "\n", encoding="utf-8")
        yield path
    if failed:
        raise RunError("; ".join(failed))


def executed(lesson: Lesson, found: list[Lesson], said: Notes) -> NotebookNode:
    """Return one of the lessons as a notebook that has run. RunError if it cannot be run."""
    plain = next(other for other in found if other.number == EXPLICIT)
    notebook = notebook_of(lesson, Said(said, values(lesson, plain), lessons.keys_of(found)))
    execute(notebook, lesson)
    return notebook


def values(lesson: Lesson, plain: Lesson) -> dict[str, Any]:
    """Return what the notes are filled in with: a lesson's own settings, and the size of the vocabulary.

    Both are asked of `plain`, which needs no packages: these sections are the same in all lessons.
    """
    module = load(plain.path.parent).module
    vocab_size = module.Tokenizer(module.load_docs(module.NAMES, random.Random(module.CONFIG.seed))).vocab_size
    return {"config": module.Config(**own_settings(lesson)), "vocab_size": vocab_size, "ln_vocab": math.log(vocab_size)}


# Text and code
def notebook_of(lesson: Lesson, said: Said) -> NotebookNode:
    """Return a lesson as a notebook that has not run: its cells as they are, behind what is said of each."""
    notebook = jupytext.reads(lesson.source, fmt="py:percent")
    cells = []
    for code in notebook.cells:
        section = code.metadata.get("title", HEAD)  # jupytext keeps the banner as the cell's title
        code.metadata.clear()
        code.id = section.lower()
        text = about_lesson(lesson) if section == HEAD else about_section(lesson, section, said)
        cells += [new_markdown_cell(text, id=f"about-{code.id}"), code]
    notebook.cells = cells
    notebook.metadata = NotebookNode({"kernelspec": KERNELSPEC, "title": lesson.title})
    return notebook


def about_lesson(lesson: Lesson) -> str:
    return (
        f"# {lesson.title}\n\n"
        f"This is `{lesson.folder}/microgpt.py` as a notebook. The cells with code are those of the file, none of them "
        "changed; the text in front of each is the course's. Below the last one stands what the file prints: the loss "
        "of each step, then new names.\n\n"
        f"To run it again, put it into the folder `{lesson.folder}`, from which the lesson finds its data, and start "
        f"Jupyter there with the lesson's packages:\n\n"
        f"```\ncd {lesson.folder}\nuv run --with jupyterlab jupyter lab\n```"
    )


def about_section(lesson: Lesson, section: str, said: Said) -> str:
    """Return Markdown: what the section is for, and a paragraph for each function, method and class in it."""
    parts = [f"## {section}"]
    if about_all := said.notes.section(section):
        parts.append(said.filled(about_all.purpose, about_all))
    for cell in lesson.cells:
        names = names_of(cell, said) if cell.section == section else []
        for name in names:
            if note := said.notes.of(section, name):
                parts += about(note, names if cell.kind == "statements" else [name], lesson, said)
    return "\n\n".join(dict.fromkeys(parts))  # a formula that a class shares with the function it replaces: once


def names_of(cell: Cell, said: Said) -> list[str]:
    """Return what a cell defines. A class in place of a function (MLP, mlp) has the function's name first."""
    if cell.kind == "statements":
        names = [node for node in ast.walk(ast.parse(cell.text)) if isinstance(node, ast.Name)]
        return list(dict.fromkeys(name.id for name in names if isinstance(name.ctx, ast.Store)))
    defined = lessons.qualified(ast.parse(cell.text).body)
    return list(dict.fromkeys([said.keys[cell.name], *defined]))


def about(note: Note, names: list[str], lesson: Lesson, said: Said) -> list[str]:
    """Return the paragraphs of a note: what it does, formula, shapes, and what this folder does differently."""
    parts = [", ".join(f"**`{name}`**" for name in names) + f": {said.filled(note.does, note)}"]
    if note.formula_text:
        parts.append("```\n" + "\n".join(said.filled(line, note) for line in note.formula_text) + "\n```")
    if note.shapes:
        parts.append("\n".join(f"- `{name}`: {said.filled(shape, note)}" for name, shape in note.shapes.items()))
    if here := note.differs.get(lesson.folder):
        parts.append(f"*In this folder:* {said.filled(here, note)}")
    return parts


# Running
def missing_package(lesson: Lesson) -> str:
    """Install what a lesson needs, where it is not there yet. Return the package that this system has not got, if any.

    RunError, in one line, if it cannot be installed for another reason, such as no network.
    """
    command = [*in_folder(lesson), "python", "-B", "-c", "import microgpt"]
    result = subprocess.run(
        command, env=environment(), capture_output=True, text=True, encoding="utf-8", errors="replace"
    )
    if result.returncode == 0:
        return ""
    said = " ".join(result.stderr.split())
    for_some_systems = "sys_platform" in (lesson.path.parent / "pyproject.toml").read_text(encoding="utf-8")
    if (missing := NOT_INSTALLED.search(said)) and for_some_systems:
        return missing[1]
    if missing := NOT_TO_BE_HAD.search(said):
        return missing[1]
    raise RunError(f"it does not start with its packages: {textwrap.shorten(said, 300)}")


def execute(notebook: NotebookNode, lesson: Lesson) -> None:
    """Run a notebook's cells in the lesson's folder, and keep what they print. RunError if one of them fails.

    Nothing is left behind: kernel, connection and history are in a folder that is gone afterwards.
    """
    with tempfile.TemporaryDirectory(prefix="microgpt-notebook-") as temporary:
        manager = kernel(lesson, Path(temporary))
        settings = {**environment(), "IPYTHONDIR": temporary, "JUPYTER_RUNTIME_DIR": temporary}
        how = {"cwd": str(lesson.path.parent), "env": settings, "stderr": subprocess.DEVNULL}
        with ThreadPoolExecutor(1) as pool:  # in the main thread nbclient would take Ctrl-C for itself
            running = pool.submit(asyncio.run, run_cells(notebook, manager, how))
            try:
                running.result()
            except CellExecutionError as error:
                raise RunError(f"a cell ends with {error.ename}: {' '.join(error.evalue.split())}") from error
            except (RuntimeError, TimeoutError) as error:  # the kernel does not answer, or has come to an end
                raise RunError(f"its cells cannot be run: {' '.join(str(error).split())}") from error
            except KeyboardInterrupt:
                asyncio.run(manager.signal_kernel(getattr(signal, "SIGKILL", signal.SIGTERM)))
                raise
    for cell in notebook.cells:
        if cell.cell_type == "code":  # warnings of packages go to stderr, with paths of this machine
            cell.outputs = [output for output in cell.outputs if output.get("name") == "stdout"]


async def run_cells(notebook: NotebookNode, manager: AsyncKernelManager, how: dict[str, Any]) -> None:
    """Start a kernel, run a notebook's cells in it one after the other, and end it."""
    await manager.start_kernel(**how)
    try:
        limits = {"timeout": SECONDS, "startup_timeout": SECONDS}
        client = NotebookClient(notebook, km=manager, record_timing=False, coalesce_streams=True, **limits)
        await client.async_start_new_kernel_client()
        await client.async_execute(cleanup_kc=False)
        client.kc.stop_channels()
    finally:
        await manager.shutdown_kernel(now=True)


def kernel(lesson: Lesson, temporary: Path) -> AsyncKernelManager:
    """Return what starts a kernel for a lesson. Its files are in a temporary folder."""
    command = ["python", "-m", "ipykernel_launcher", "-f", "{connection_file}"]
    spec = temporary / "kernels" / KERNEL / "kernel.json"
    spec.parent.mkdir(parents=True)
    spec.write_text(json.dumps({**KERNELSPEC, "argv": [*in_folder(lesson), *command]}), encoding="utf-8")
    return AsyncKernelManager(
        kernel_name=KERNEL,
        kernel_spec_manager=KernelSpecManager(kernel_dirs=[str(temporary / "kernels")]),
        connection_file=str(temporary / "connection.json"),
    )


def in_folder(lesson: Lesson) -> list[str]:
    """Return a command's beginning: what follows runs in a lesson's folder, with its packages and those of a kernel."""
    uv = os.environ.get("UV") or shutil.which("uv")  # uv run says where it is
    if not uv:
        raise UserError("uv is not installed, which brings the packages of each lesson; README.md says where to get it")
    return [
        uv,
        "run",
        "--quiet",
        "--directory",
        str(lesson.path.parent),
        "--with",
        f"ipykernel=={version('ipykernel')}",
    ]


def environment() -> dict[str, str]:
    """Return the environment variables of a lesson's process, without those that lead to the packages of this one."""
    kept = {name: value for name, value in os.environ.items() if name != "VIRTUAL_ENV"}
    if Path(kept.get("UV_PROJECT_ENVIRONMENT", "")).is_absolute():
        del kept["UV_PROJECT_ENVIRONMENT"]
    return kept
