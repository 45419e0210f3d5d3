"""The six lessons in one process, each behind the same few calls that return NumPy arrays.

Every folder calls its modules `microgpt` and `engine`, so they are loaded here under names of their own. A lesson can
also be loaded from changed source text: that is how test_mutants.py breaks it.
"""

import importlib.util
import platform
import random
import re
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

import jax
import numpy as np
import pytest

ROOT = Path(__file__).resolve().parents[1]
FOLDERS = sorted(path.parent.name for path in ROOT.glob("0*/microgpt.py"))
NAMES = ROOT / "data" / "names.txt"
REFERENCE = "02_numpy_manual_backprop"  # nobody differentiates for it; test_same_point.py checks it by differences

# Process-wide, so for every test: float64 would silently be float32 without it, and float32 stays float32 with it.
jax.config.update("jax_enable_x64", True)

WITHOUT_MLX = sys.platform == "win32" or (sys.platform == "darwin" and platform.machine() != "arm64")


def metal() -> list[str]:
    """Return 06 on the GPU where MLX finds one, as on a Mac. A GPU has no float64."""
    if WITHOUT_MLX:
        return []
    import mlx.core as mx

    return ["06_mlx:gpu"] if mx.is_available(mx.gpu) else []


# What computes in float32, each a folder, or FOLDER:DEVICE where that is not the CPU. A Python float has 64 bits.
FLOAT32_FOLDERS = [*(folder for folder in FOLDERS if folder != "01_pure_python"), *metal()]


def each(folders: list[str]) -> list[Any]:
    """Return the folders as parameters of a test, those skipped that cannot be installed on this platform."""
    no_mlx = pytest.mark.skipif(WITHOUT_MLX, reason="MLX has no wheel for this platform")
    return [pytest.param(folder, marks=no_mlx if "mlx" in folder else ()) for folder in folders]


# Loading
@dataclass(frozen=True)
class Edit:
    """One replacement in a lesson's source: `old` must stand there exactly once."""

    old: str
    new: str


@dataclass(frozen=True)
class Lesson:
    """A folder's two modules, and how its framework is asked for what the contract does not ask for."""

    folder: str
    microgpt: ModuleType
    engine: ModuleType
    device: str = "cpu"

    def make_state(self, config: Any, params: dict, dtype: str, **rest: Any) -> Any:
        return self.engine.make_state(config, params, dtype=dtype, device=self.device, **rest)

    def logits(self, state: Any, batch: list[list[int]], config: Any) -> list[np.ndarray]:
        """Return each document's logits, (T, V), T being its length without the last token."""
        return LOGITS[self.folder](self.microgpt, state, batch, config)

    def loss_and_grads(self, state: Any, batch: list[list[int]], config: Any) -> tuple[float, dict[str, np.ndarray]]:
        """Return the batch's loss and its derivative by every weight, by name, in the weight's layout (out, in)."""
        return LOSS_AND_GRADS[self.folder](self.microgpt, state, batch, config)

    def samples(self, state: Any, tokenizer: Any, rng: random.Random, config: Any, count: int = 20) -> list[str]:
        generate = self.microgpt.generate
        return [tokenizer.decode(generate(state, tokenizer.bos, rng, config)) for _ in range(count)]


@cache
def load(folder: str, edits: tuple[Edit, ...] = (), appended: str = "") -> Lesson:
    """Load a folder's modules, the lesson's source changed by `edits` and with `appended` at its end.

    FOLDER:DEVICE is the folder's lesson computing on that device, where FOLDER alone is the CPU.
    ValueError: the text an edit replaces is not there, or more than once, so that the edit would be a guess.
    """
    folder, _, device = folder.partition(":")
    if device:
        return replace(load(folder, edits, appended), device=device)
    path = ROOT / folder / "microgpt.py"
    source = path.read_text(encoding="utf-8")
    for edit in edits:
        if (count := source.count(edit.old)) != 1:
            raise ValueError(f"{folder}/microgpt.py: expected once, found {count} times: {edit.old!r}")
        source = source.replace(edit.old, edit.new)
    microgpt = execute(path, source + appended, f"lesson_{folder}")
    return Lesson(folder, microgpt, load_beside(path.with_name("engine.py"), microgpt))


def in_float64(folder: str) -> tuple[Edit, ...]:
    """Return the edits after which a lesson alone computes in float64, if it would not do so anyway."""
    source = (ROOT / folder / "microgpt.py").read_text(encoding="utf-8")
    return tuple(Edit(old, old.replace("32", "64")) for old in re.findall(r"dtype=\w+\.float32", source))


def load_beside(path: Path, microgpt: ModuleType) -> ModuleType:
    """Load an engine that finds this `microgpt` when it imports the one beside it, and leave nothing behind."""
    before = sys.modules.get("microgpt")
    sys.modules["microgpt"] = microgpt
    try:
        return execute(path, path.read_text(encoding="utf-8"), f"engine_{path.parent.name}")
    finally:
        del sys.modules["microgpt"]
        if before is not None:
            sys.modules["microgpt"] = before


def execute(path: Path, source: str, name: str) -> ModuleType:
    module = importlib.util.module_from_spec(importlib.util.spec_from_loader(name, loader=None))
    module.__file__ = str(path)
    exec(compile(source, str(path), "exec"), module.__dict__)
    return module


# Asking: only how a framework is called differs here. What is computed is the lesson's.
def python_logits(microgpt, state, batch, config):
    return [np.array([[v.data for v in row] for row in microgpt.gpt(state.params, doc[:-1], config)]) for doc in batch]


def python_loss_and_grads(microgpt, state, batch, config):
    total = 0.0
    for weight in state.weights:
        weight.grad = 0.0
    for doc in batch:
        loss = microgpt.loss_fn(state.params, doc, count_predictions(batch), config)
        microgpt.backward(loss)
        total += loss.data
    return total, {name: np.array([[w.grad for w in row] for row in rows]) for name, rows in state.params.items()}


def numpy_logits(microgpt, state, batch, config):
    return [microgpt.gpt(state.params, doc[:-1], config)[0] for doc in batch]


def numpy_loss_and_grads(microgpt, state, batch, config):
    total = 0.0
    state.gradients[:] = 0
    for doc in batch:
        loss, saved = microgpt.loss_fn(state.params, doc, count_predictions(batch), config)
        microgpt.backward(saved, state.params, state.grads, config)
        total += loss
    return total, {name: grad.copy() for name, grad in state.grads.items()}


def torch_logits(microgpt, state, batch, config):
    return [state.model(microgpt.torch.tensor(doc[:-1])).detach().numpy() for doc in batch]


def torch_loss_and_grads(microgpt, state, batch, config):
    losses = [microgpt.loss_fn(state.model, doc, count_predictions(batch)) for doc in batch]
    return torch_backward(state, sum(losses))


def batched_logits(microgpt, state, batch, config):
    tokens = microgpt.pad([doc[:-1] for doc in batch], 0, "cpu")
    return without_padding(state.model(tokens).detach().numpy(), batch)


def batched_loss_and_grads(microgpt, state, batch, config):
    return torch_backward(state, microgpt.loss_fn(state.model, batch))


def torch_backward(state, loss):
    state.model.zero_grad()
    loss.backward()
    return loss.item(), {name: weight.grad.numpy().copy() for name, weight in state.model.matrices().items()}


def jax_logits(microgpt, state, batch, config):
    over_documents = compiled(jax.vmap(microgpt.gpt, in_axes=(None, 0, None)))
    return without_padding(over_documents(state.params, microgpt.pad(batch, config)[:, :-1], config), batch)


def jax_loss_and_grads(microgpt, state, batch, config):
    loss, grads = compiled(microgpt.loss_and_grads)(state.params, microgpt.pad(batch, config), config)
    return loss.item(), {name: np.array(grad) for name, grad in grads.items()}


def compiled(function):
    return jax.jit(function, static_argnums=2)  # (params, batch, config): the lesson compiles both too, inside a step


def mlx_logits(microgpt, state, batch, config):
    tokens, _, _ = microgpt.pad(batch, state.weights.dtype)
    logits = microgpt.gpt(microgpt.unflatten(state.weights, state.stacked), tokens, config)
    return without_padding(np.array(logits).reshape(*tokens.shape, -1), batch)


def mlx_loss_and_grads(microgpt, state, batch, config):
    loss, grads = microgpt.loss_and_grads(state.weights, batch, state.stacked, config)
    return loss.item(), {name: np.array(grad) for name, grad in microgpt.unflatten(grads, state.shapes).items()}


def count_predictions(batch):
    return sum(len(doc) - 1 for doc in batch)


def without_padding(logits, batch):
    return [row[: len(doc) - 1] for row, doc in zip(np.array(logits), batch, strict=True)]


LOGITS: dict[str, Callable] = {
    "01_pure_python": python_logits,
    "02_numpy_manual_backprop": numpy_logits,
    "03_pytorch": torch_logits,
    "04_pytorch_batched": batched_logits,
    "05_jax": jax_logits,
    "06_mlx": mlx_logits,
}
LOSS_AND_GRADS: dict[str, Callable] = {
    "01_pure_python": python_loss_and_grads,
    "02_numpy_manual_backprop": numpy_loss_and_grads,
    "03_pytorch": torch_loss_and_grads,
    "04_pytorch_batched": batched_loss_and_grads,
    "05_jax": jax_loss_and_grads,
    "06_mlx": mlx_loss_and_grads,
}
