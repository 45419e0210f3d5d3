"""One run of a lesson's main(), watched from outside: after every step its weights, gradients and Adam's means."""

import contextlib
import gc
import io
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType
from typing import Any
from unittest import mock

import numpy as np

from .program import Matrices, grads_of, load, means_of, weights_of
from .values import Training

MOMENTS = (0.0, 0.02, 0.1, 0.4, 1.0)  # parts of the run: the loss falls fastest at its beginning


def moments(num_steps: int) -> list[int]:
    """Return after how many steps documents are recorded."""
    return sorted({round(part * num_steps) for part in MOMENTS})


class Run:
    """What was seen of a run so far. Its methods stand in for the lesson's functions: they call these, and look."""

    def __init__(self, module: Any) -> None:
        self.own = {name: getattr(module, name) for name in ("train_step", "adam_step", "generate")}
        self.losses: list[float] = []
        self.names: list[str] = []
        self.documents: list[str] = []
        self.learning_rates: list[float] = []
        self.params: list[Matrices] = []
        self.grads: list[Matrices] = []
        self.adam_m: list[Matrices] = []
        self.adam_v: list[Matrices] = []

    def train_step(self, *arguments: Any) -> Any:
        self.documents += sys._getframe(1).f_locals["batch"]  # main() has it as text
        loss = self.own["train_step"](*arguments)
        self.losses.append(float(loss))
        return loss

    def adam_step(self, state: Any, config: Any) -> Any:
        if not self.params:
            self.params.append(weights_of(state))
        self.grads.append(grads_of(state))
        with noting("learning_rate", self.own["adam_step"], self.learning_rates):
            result = self.own["adam_step"](state, config)
        self.params.append(weights_of(state))
        self.adam_m.append(means_of(state.adam_m, self.params[0]))
        self.adam_v.append(means_of(state.adam_v, self.params[0]))
        return result

    def generate(self, *arguments: Any) -> Any:
        tokens = self.own["generate"](*arguments)
        self.names.append(sys._getframe(1).f_locals["tokenizer"].decode(tokens))
        return tokens


def train(folder: Path) -> Training:
    """Run a lesson's main() from beginning to end, and return what it printed and how its weights moved."""
    module = load(folder).module
    run, printed = Run(module), io.StringIO()
    watched = {name: getattr(run, name) for name in run.own}
    with mock.patch.multiple(module, **watched), contextlib.redirect_stdout(printed), without_collector():
        module.main()
    paths = stacked(run.params)
    return Training(
        folder=folder.name,
        losses=run.losses,
        printed=printed.getvalue().splitlines(),
        names=run.names,
        states={step: {name: path[step] for name, path in paths.items()} for step in moments(len(run.losses))},
        documents=run.documents,
        paths=paths,
        grads=stacked(run.grads),
        adam_m=stacked(run.adam_m),
        adam_v=stacked(run.adam_v),
        learning_rates=run.learning_rates,
    )


@contextlib.contextmanager
def noting(name: str, function: Callable[..., Any], values: list[Any]) -> Iterator[None]:
    """In the next call of a function, add to `values` what it first gives a variable.

    Python is several times slower while it is traced, so tracing ends at once when the variable is there.
    """
    before = sys.gettrace()

    def on_line(frame: FrameType, event: str, _: Any) -> Any:
        if name not in frame.f_locals:
            return on_line
        values.append(frame.f_locals[name])
        sys.settrace(before)
        return None

    def on_call(frame: FrameType, event: str, _: Any) -> Any:
        return on_line if frame.f_code is function.__code__ else None

    sys.settrace(on_call)
    try:
        yield
    finally:
        sys.settrace(before)


@contextlib.contextmanager
def without_collector() -> Iterator[None]:
    """Keep Python from looking for cycles of objects. A lesson makes none, and many objects: looking takes long."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def stacked(steps: list[Matrices]) -> Matrices:
    """Return matrices of many steps as arrays by name, (steps, n_out, n_in)."""
    return {name: np.stack([matrices[name] for matrices in steps]) for name in steps[0]}
