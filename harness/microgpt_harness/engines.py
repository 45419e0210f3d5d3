"""Importing a folder's engine."""

import importlib
import sys
from argparse import Namespace

from .contract import Engine, Folder
from .errors import UserError


def load_engine(folder: Folder, args: Namespace) -> Engine:
    """Import the folder's engine, and with it its framework: only now, when there is something to compute."""
    module = dict(folder.backends)[getattr(args, "backend", folder.backends[0][0])]
    if getattr(args, "compile", False):
        module = folder.compiled
    if str(folder.path) not in sys.path:
        sys.path.insert(0, str(folder.path))
    try:
        if folder.checkpoint.endswith(".safetensors"):
            importlib.import_module("safetensors")  # known to be missing now, and not when the run is to be saved
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        raise UserError(missing_module(folder, args, error.name or "")) from error


def missing_module(folder: Folder, args: Namespace, name: str) -> str:
    backend = getattr(args, "backend", None)
    if backend and backend != folder.backends[0][0]:
        return f"--backend {backend} needs the package {name}; get it with `uv sync --extra {backend}` in {folder.name}"
    return f"the package {name} is not installed; run `uv run python main.py` in {folder.name}, which installs it"
