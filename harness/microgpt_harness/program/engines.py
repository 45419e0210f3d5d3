"""Importing a folder's engine."""

import contextlib
import importlib
import importlib.util
import sys
from argparse import Namespace
from collections.abc import Iterator
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType
from typing import Any

from ..contract import Engine, Folder
from ..run.progress import waiting_for
from ..system.errors import RunError, UserError


def load_engine(folder: Folder, args: Namespace) -> Engine:
    """Import the folder's engine, and with it its framework: only now, when there is something to compute."""
    module = dict(folder.backends)[getattr(args, "backend", folder.backends[0][0])]
    for flag, other in (("compile", folder.compiled), ("distributed", folder.distributed), ("shard", folder.sharded)):
        if getattr(args, flag, False):
            module = other
    if str(folder.path) not in sys.path:
        sys.path.insert(0, str(folder.path))
    with preparing(folder, args):
        return import_engine(folder, args, module)


def import_engine(folder: Folder, args: Namespace, module: str) -> Engine:
    try:
        return loaded(importlib.import_module(module), importlib.import_module("microgpt"))
    except ModuleNotFoundError as error:
        raise UserError(missing_module(folder, args, error.name or "")) from error
    except ValueError as error:  # what make_state raises, too, where something that was asked for cannot be had
        raise UserError(str(error)) from error
    except (ImportError, OSError, MemoryError) as error:  # most often for want of memory
        reason = str(error) or "out of memory"
        remedy = f"is enough memory free? If so, install it anew: `uv sync --reinstall` in {folder.name}"
        raise RunError(f"what {folder.name} needs cannot be loaded: {reason}; {remedy}") from error


def loaded(module: Any, lesson: ModuleType) -> Engine:
    """Complete what engine.py offers to an `Engine`. One for several processes has its own rank and maximum."""
    module.lesson = lesson
    vars(module).setdefault("LOST_PROCESS", ())
    vars(module).setdefault("rank", 0)
    vars(module).setdefault("maximum", lambda values: values)
    engine: Engine = module
    return engine


def load_text(path: Path, source: str, engine_path: Path) -> Engine:
    """Run a lesson's source text as if it stood in the file `path`, and the engine over it. Return the engine.

    Every folder calls its modules `microgpt` and `engine`: these two are put where `import` finds them only while the
    engine is loaded, so any number of lessons, changed or not, can be loaded in one process.
    """
    lesson = execute(path, source, f"lesson_{engine_path.parent.name}")
    before = sys.modules.get("microgpt")
    sys.modules["microgpt"] = lesson
    try:
        engine = execute(engine_path, engine_path.read_text(encoding="utf-8"), f"engine_{engine_path.parent.name}")
        return loaded(engine, lesson)
    finally:
        del sys.modules["microgpt"]
        if before is not None:
            sys.modules["microgpt"] = before


def execute(path: Path, source: str, name: str) -> ModuleType:
    """Run a module's source text as if it stood in the file `path`, and return the module. Nothing can import it."""
    module = importlib.util.module_from_spec(ModuleSpec(name, None))
    module.__file__ = str(path)
    exec(compile(source, str(path), "exec"), module.__dict__)
    return module


def preparing(folder: Folder, args: Namespace) -> contextlib.AbstractContextManager[None]:
    """While the block runs, say that the folder is getting ready: some frameworks take seconds over that."""
    return waiting_for(f"preparing {folder.name}", quiet=getattr(args, "quiet", False))


@contextlib.contextmanager
def memory_errors(engine: Engine) -> Iterator[None]:
    """Turn the framework's own way of saying that there is no memory left into a MemoryError.

    And what it says where another process is gone, into a RunError.
    """
    try:
        yield
    except (RuntimeError, ValueError) as error:
        if any(words in str(error) for words in getattr(engine, "OUT_OF_MEMORY", ())):
            raise MemoryError from error
        if any(words in str(error) for words in engine.LOST_PROCESS):
            raise RunError("another process of this run is gone") from error
        raise


def missing_module(folder: Folder, args: Namespace, name: str) -> str:
    backend = getattr(args, "backend", None)
    if backend and backend != folder.backends[0][0]:
        return f"--backend {backend} needs the package {name}; get it with `uv sync --extra {backend}` in {folder.name}"
    return f"the package {name} is not installed; run `uv run python main.py` in {folder.name}, which installs it"
