"""What worker.js asks of Python: to run a program as `python FILE` would, and to call a function of a module.

A program may import this module too, to hand values to the page. What a run has left behind stays here until the next.
"""

import importlib
import json
import linecache
import operator
import os
import runpy
import sys
import traceback
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import course_worker  # made by worker.js

TOOL = 4  # one of sys.monitoring's numbers that no profiler or debugger uses

program: dict[str, Any] = {}  # the global names of the program that ran last
kept_locals: dict[str, dict[str, Any]] = {}  # by function, as they were when it returned: of those that a run asks for


def post(name: str, value: Any) -> None:
    """Hand a value to the page, at once. It has to be one that JSON can hold."""
    course_worker.post(name, json.dumps(value))


def run(request: str) -> str:
    """Run `path`, or `module`, as a program with `argv`, and keep the locals of the functions named in `keep`.

    Return JSON: `exit`, `traceback` as text ("" without an error), and `error` with its type, message and, where it
    happened in the program's own file, the line.
    """
    asked = json.loads(request)
    program.clear()
    kept_locals.clear()
    linecache.clearcache()
    importlib.invalidate_caches()
    path = asked.get("path") or ""
    watch_returns(set(asked.get("keep") or ()))
    try:
        return json.dumps(outcome(lambda: start(path, asked), path))
    finally:
        watch_returns(set())


def start(path: str, asked: dict[str, Any]) -> None:
    sys.argv = [path or asked["module"], *(asked.get("argv") or ())]
    if path:
        run_file(path)
    else:
        program.update(runpy.run_module(asked["module"], run_name="__main__", alter_sys=True))


def run_file(path: str) -> None:
    main = types.ModuleType("__main__")
    main.__file__ = path
    sys.modules["__main__"] = main
    folder = str(Path(path).parent)
    sys.path.insert(0, folder)
    os.chdir(folder)
    try:
        exec(compile(Path(path).read_bytes(), path, "exec"), main.__dict__)
    finally:
        sys.path.remove(folder)
        program.update(main.__dict__)


def watch_returns(names: set[str]) -> None:
    """Keep the locals of functions of these names when they return. Other functions are no slower for it."""
    monitoring = sys.monitoring
    if monitoring.get_tool(TOOL) is None:
        monitoring.use_tool_id(TOOL, "course_page")

    def returned(code: types.CodeType, offset: int, value: object) -> object:
        if code.co_qualname not in names:
            return monitoring.DISABLE  # this place in the code is not asked about again
        kept_locals[code.co_qualname] = dict(sys._getframe(1).f_locals)
        return None

    monitoring.register_callback(TOOL, monitoring.events.PY_RETURN, returned if names else None)
    monitoring.set_events(TOOL, monitoring.events.PY_RETURN if names else 0)
    monitoring.restart_events()


def call(request: str) -> str:
    """Call the function `name` ("module:function") with `args`. Return JSON: its `value`, or what run() returns."""
    asked = json.loads(request)
    module, _, function = asked["name"].partition(":")
    value = None

    def work() -> None:
        nonlocal value
        value = operator.attrgetter(function)(importlib.import_module(module))(*asked["args"])

    ended = outcome(work, path="")
    return json.dumps(ended | {"value": value})


def outcome(work: Callable[[], None], path: str) -> dict[str, Any]:
    """Return how it ended. Whatever a program raises ends here, as it ends a process of Python."""
    sys.stdout.reconfigure(line_buffering=True)
    ended: dict[str, Any] = {"exit": 0, "traceback": "", "error": None}
    try:
        work()
    except SystemExit as error:
        ended["exit"] = exit_code(error)
    except BaseException as error:
        ended |= {"exit": 1, "traceback": formatted(error), "error": described(error, path)}
    sys.stdout.flush()
    sys.stderr.flush()
    return ended


def exit_code(error: SystemExit) -> int:
    if error.code is None or isinstance(error.code, int):
        return error.code or 0
    print(error.code, file=sys.stderr)
    return 1


def formatted(error: BaseException) -> str:
    """Return the traceback without the frames of this file, which stand at its beginning."""
    frames = error.__traceback__
    while frames is not None and frames.tb_frame.f_code.co_filename == __file__:
        frames = frames.tb_next
    return "".join(traceback.format_exception(type(error), error, frames))


def described(error: BaseException, path: str) -> dict[str, Any]:
    lines = [number for frame, number in traceback.walk_tb(error.__traceback__) if frame.f_code.co_filename == path]
    if isinstance(error, SyntaxError) and error.filename == path:
        lines.append(error.lineno or 1)
    return {"type": type(error).__name__, "message": str(error), "line": lines[-1] if lines else None}
