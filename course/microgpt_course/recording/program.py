"""A lesson's file, run as it is, and its weights as NumPy arrays: where lessons keep them differently, that is here."""

import random
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from microgpt_harness.program.engines import execute
from microgpt_harness.system.errors import UserError

# What the recorder calls, or waits for, by name.
USED = "CONFIG", "NAMES", "State", "Tokenizer", "load_docs", "main", "train_step", "adam_step", "generate"
Matrices = dict[str, np.ndarray]


@dataclass(frozen=True)
class Program:
    """A lesson loaded from its file under a module name of its own."""

    folder: Path
    source: str
    module: ModuleType

    @property
    def config(self) -> Any:
        return self.module.CONFIG

    @property
    def file(self) -> Path:
        return self.folder / "microgpt.py"


def load(folder: Path) -> Program:
    """Run a folder's microgpt.py, as an import does: what it defines is there, and main() has not run."""
    file = folder / "microgpt.py"
    if not file.is_file():
        raise UserError(f"{folder} has no microgpt.py; name the folder of a lesson")
    source = file.read_text(encoding="utf-8")
    try:
        module = execute(file, source, f"recorded_{folder.name}")
    except Exception as error:
        raise UserError(f"{file} cannot be run: {type(error).__name__}: {error}") from error
    missing = [name for name in USED if not hasattr(module, name)]
    if missing:
        raise UserError(f"{file} has no {', '.join(missing)}; what is recorded is found by this name")
    return Program(folder, source, module)


def shuffled_documents(program: Program) -> tuple[list[str], random.Random]:
    """Return all documents in the order in which main() trains on them, and the generator as it is after that."""
    rng = random.Random(program.config.seed)
    return program.module.load_docs(program.module.NAMES, rng), rng


def vocabulary(tokenizer: Any) -> list[str]:
    """Return what each token stands for."""
    return ["BOS" if token == tokenizer.bos else tokenizer.decode([token]) for token in range(tokenizer.vocab_size)]


def encode(program: Program, tokenizer: Any, document: str, config: Any) -> list[int]:
    """Return a document's tokens, cut as main() does."""
    unknown = next((char for char in document if char not in tokenizer.chars), None)
    if unknown is not None:
        raise UserError(f"{document!r} has the character {unknown!r}, which no document in {program.module.NAMES} has")
    return tokenizer.encode(document)[: config.block_size + 1]


# Weights
def make_state(program: Program, params: Matrices, adam_m: Matrices, adam_v: Matrices, step: int) -> Any:
    """Return a State of the lesson with these weights, Adam's means and number of steps taken."""
    state = program.module.State({name: matrix.tolist() for name, matrix in params.items()})
    put(state.adam_m, adam_m)
    put(state.adam_v, adam_v)
    state.step = step
    return state


def put(held: Any, matrices: Matrices) -> None:
    """Write matrices into what a State holds: matrices by name, or all numbers in one list."""
    if isinstance(held, dict):
        for name, matrix in matrices.items():
            held[name][:] = matrix
    else:
        held[:] = [number for matrix in matrices.values() for number in matrix.ravel().tolist()]


def weights_of(state: Any) -> Matrices:
    return {name: as_array(rows) for name, rows in state.params.items()}


def grads_of(state: Any) -> Matrices:
    """Return the gradient of each weight matrix: beside the weights, or in each of them."""
    if hasattr(state, "grads"):
        return {name: as_array(matrix) for name, matrix in state.grads.items()}
    return {name: np.array([[w.grad for w in row] for row in rows]) for name, rows in state.params.items()}


def means_of(held: Any, params: Matrices) -> Matrices:
    """Return what `put` wrote, in the shapes of `params`."""
    if isinstance(held, dict):
        return {name: as_array(matrix) for name, matrix in held.items()}
    return split(np.array(held), params)


def split(numbers: np.ndarray, params: Matrices) -> Matrices:
    """Return a number for each weight, (weights,), as matrices by name."""
    ends = np.cumsum([matrix.size for matrix in params.values()])
    parts = np.split(numbers, ends[:-1])
    return {name: part.reshape(params[name].shape) for name, part in zip(params, parts)}


def as_array(rows: Any) -> np.ndarray:
    """Return a copy of a matrix, or of rows whose numbers have theirs in `data`."""
    if isinstance(rows, np.ndarray):
        return rows.astype(np.float64)
    return np.array([[w.data for w in row] for row in rows])


def zeros_like(params: Matrices) -> Matrices:
    return {name: np.zeros_like(matrix) for name, matrix in params.items()}
