"""All lessons in one process, each behind the same few calls that return NumPy arrays.

Every folder calls its modules `microgpt` and `engine`, so they are loaded here under names of their own. A lesson can
also be loaded from changed source text: that is how test_mutants.py breaks it.
"""

import ast
import gc
import importlib.util
import random
import re
import shutil
import tomllib
from dataclasses import dataclass, replace
from functools import cache
from itertools import chain
from pathlib import Path
from types import ModuleType
from typing import Any

import jax
import numpy as np
import pytest
from microgpt_harness.contract import Folder
from microgpt_harness.program.engines import load_text
from microgpt_harness.run import agreement
from microgpt_harness.system import paths
from microgpt_harness.tools import mistakes
from microgpt_harness.tools.mistakes import Edits
from packaging.requirements import Requirement

ROOT = Path(__file__).resolve().parents[1]
FOLDERS = paths.folders()
NAMES = ROOT / "data" / "names.txt"
REFERENCE = agreement.REFERENCE  # nobody differentiates for it; test_same_point.py checks it by differences

# Process-wide, so for every test: float64 would silently be float32 without it, and float32 stays float32 with it.
jax.config.update("jax_enable_x64", True)


# What a folder says of itself
@cache
def offered(folder: str) -> Folder:
    """Return what a folder's main.py says that it can do. It is read, not run: it would begin a program."""
    tree = ast.parse((ROOT / folder / "main.py").read_text(encoding="utf-8"))
    calls = (node for node in ast.walk(tree) if isinstance(node, ast.Call) and isinstance(node.func, ast.Name))
    call = next(call for call in calls if call.func.id == "program")
    return Folder(ROOT / folder, **{word.arg: ast.literal_eval(word.value) for word in call.keywords})


@cache
def required(folder: str, extras: bool = False) -> list[Requirement]:
    """Return the packages that a folder's pyproject.toml asks for beside the harness, with those of its extras or not.

    A package may stand there several times, for several systems.
    """
    project = tomllib.loads((ROOT / folder / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    optional = project.get("optional-dependencies", {}).values() if extras else ()
    lines = map(Requirement, chain(project["dependencies"], *optional))
    return [line for line in lines if line.name != "microgpt-harness"]


def missing_here(folder: str) -> list[str]:
    """Return the packages of a folder that there are for other systems only."""
    here = {line.name for line in required(folder) if line.marker is None or line.marker.evaluate()}
    return sorted({line.name for line in required(folder)} - here)


def with_package(name: str) -> list[str]:
    """Return the folders that ask for a package, if it is here."""
    folders = [f for f in FOLDERS if any(line.name == name for line in required(f)) and not missing_here(f)]
    return folders if importlib.util.find_spec(name) else []


def metal() -> list[str]:
    """Return MLX's folders on the GPU where it finds one, as on a Mac. A GPU has no float64 there."""
    if not (folders := with_package("mlx")):
        return []
    import mlx.core as mx

    return [f"{folder}:gpu" for folder in folders] if mx.is_available(mx.gpu) else []


def nvidia() -> list[str]:
    """Return the folders of PyTorch and JAX on the GPU where they find one by NVIDIA."""
    if not shutil.which("nvidia-smi"):  # it comes with the driver, and asking costs less than importing PyTorch
        return []
    import torch

    found = {"torch:cuda": torch.cuda.is_available(), "jax:gpu": jax.default_backend() == "gpu"}
    devices = [name.split(":") for name, there in found.items() if there]
    return [f"{folder}:{device}" for package, device in devices for folder in with_package(package)]


# What computes in float64 and in float32, each a folder, or FOLDER:DEVICE where that is not the CPU.
NVIDIA = nvidia()
FLOAT64_FOLDERS = [*FOLDERS, *NVIDIA]
FLOAT32_FOLDERS = [*(folder for folder in FOLDERS if "float32" in offered(folder).dtypes), *metal(), *NVIDIA]


def each(folders: list[str]) -> list[Any]:
    """Return the folders as parameters of a test, those skipped that cannot be installed on this platform."""
    lacking = {folder: missing_here(folder.partition(":")[0]) for folder in folders}
    return [
        pytest.param(
            folder, marks=pytest.mark.skipif(bool(no), reason=f"there is no {', '.join(no)} for this platform")
        )
        for folder, no in lacking.items()
    ]


# Loading
@dataclass(frozen=True)
class Lesson:
    """A folder's two modules, asked for NumPy arrays."""

    folder: str
    microgpt: ModuleType
    engine: ModuleType
    device: str = "cpu"

    def make_state(self, config: Any, params: dict, dtype: str, **rest: Any) -> Any:
        return self.engine.make_state(config, params, dtype=dtype, device=self.device, **rest)

    def logits(self, state: Any, batch: list[list[int]], config: Any) -> list[np.ndarray]:
        """Return each document's logits, (T, V), T being its length without the last token."""
        return [np.asarray(rows) for rows in self.engine.logits(state, batch, config)]

    def loss_and_grads(self, state: Any, batch: list[list[int]], config: Any) -> tuple[float, dict[str, np.ndarray]]:
        """Return the batch's loss and its gradients: by name, in each weight's shape (out, in)."""
        loss, grads = self.engine.loss_and_grads(state, batch, config)
        return loss, {name: np.asarray(rows) for name, rows in grads.items()}

    def samples(self, state: Any, tokenizer: Any, rng: random.Random, config: Any, count: int = 20) -> list[str]:
        generate = self.microgpt.generate
        return [tokenizer.decode(generate(state, tokenizer.bos, rng, config)) for _ in range(count)]


@cache
def load(folder: str, edits: Edits = ()) -> Lesson:
    """Load a folder's modules, each text in the lesson's source replaced as `edits` say.

    FOLDER:DEVICE is the folder's lesson computing on that device, where FOLDER alone is the CPU.
    UserError: the text an edit replaces is not there, or more than once, so that the edit would be a guess.
    """
    folder, _, device = folder.partition(":")
    if device:
        return replace(load(folder, edits), device=device)
    path = ROOT / folder / "microgpt.py"
    gc.freeze()  # what is imported by now stays: 01's many nodes would have all of it searched, over and over
    engine = load_text(path, mistakes.apply(path.read_text(encoding="utf-8"), edits), path.with_name("engine.py"))
    return Lesson(folder, engine.lesson, engine)


def in_float64(folder: str) -> Edits:
    """Return the edits after which a lesson alone computes in float64, if it would not do so anyway."""
    source = (ROOT / folder / "microgpt.py").read_text(encoding="utf-8")
    return tuple((old, old.replace("32", "64")) for old in re.findall(r"dtype=\w+\.float32", source))
