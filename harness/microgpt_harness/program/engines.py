"""Importing a folder's engine."""

import contextlib
import importlib
import sys
from argparse import Namespace
from collections.abc import Iterator
from typing import Any

from ..contract import Engine, Folder
from ..run.progress import waiting_for
from ..system.errors import RunError, UserError


def load_engine(folder: Folder, args: Namespace) -> Engine:
    """Import the folder's engine, and with it its framework: only now, when there is something to compute."""
    module = dict(folder.backends)[getattr(args, "backend", folder.backends[0][0])]
    if getattr(args, "compile", False):
        module = folder.compiled
    if str(folder.path) not in sys.path:
        sys.path.insert(0, str(folder.path))
    with preparing(folder, args):
        return import_engine(folder, args, module)


def import_engine(folder: Folder, args: Namespace, module: str) -> Engine:
    try:
        if folder.checkpoint.endswith(".safetensors"):
            importlib.import_module("safetensors")  # known to be missing now, and not when the run is to be saved
        engine: Any = importlib.import_module(module)
        engine.lesson = importlib.import_module("microgpt")
        return engine
    except ModuleNotFoundError as error:
        raise UserError(missing_module(folder, args, error.name or "")) from error
    except (ImportError, OSError, MemoryError) as error:  # most often for want of memory
        reason = str(error) or "out of memory"
        remedy = f"is enough memory free? If so, install it anew: `uv sync --reinstall` in {folder.name}"
        raise RunError(f"what {folder.name} needs cannot be loaded: {reason}; {remedy}") from error


def preparing(folder: Folder, args: Namespace) -> contextlib.AbstractContextManager[None]:
    """While the block runs, say that the folder is getting ready: some frameworks take seconds over that."""
    return waiting_for(f"preparing {folder.name}", quiet=getattr(args, "quiet", False))


@contextlib.contextmanager
def memory_errors(engine: Engine) -> Iterator[None]:
    """Turn the framework's own way of saying that there is no memory left into a MemoryError."""
    try:
        yield
    except RuntimeError as error:
        if any(words in str(error) for words in getattr(engine, "OUT_OF_MEMORY", ())):
            raise MemoryError from error
        raise


def missing_module(folder: Folder, args: Namespace, name: str) -> str:
    backend = getattr(args, "backend", None)
    if backend and backend != folder.backends[0][0]:
        return f"--backend {backend} needs the package {name}; get it with `uv sync --extra {backend}` in {folder.name}"
    return f"the package {name} is not installed; run `uv run python main.py` in {folder.name}, which installs it"
