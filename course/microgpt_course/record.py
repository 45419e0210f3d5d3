"""The recorder: what every named value of a lesson was, for a document at a moment of training.

The lesson's file runs as it is; `sys.settrace` shows what its lines do. Pages show what is recorded here and nothing
else, so no number in a page is typed.

    training = train(folder)                                   # one run of its main(), some seconds
    recording = record(folder, training, "emma", step=500)     # one document, forward and back
    recording.find("attention", "attn_weights").array          # (H, T, T) in 02
    joined(recording_of_01, like=recording_of_02)              # 01's numbers in the shapes of 02
"""

import random
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
from microgpt_harness.system.errors import UserError

from .lessons import ROOT
from .recording.axes import distinct_sizes, name_axes
from .recording.axes_table import AxesTable
from .recording.joining import groups_of, joined, joined_values
from .recording.program import Matrices, load, shuffled_documents, split, zeros_like
from .recording.running import Moment, recording_of, run
from .recording.site_data import to_site
from .recording.training import MOMENTS, moments, train
from .recording.values import Call, Recording, Training, Value

__all__ = [
    "MOMENTS",
    "Call",
    "Recording",
    "Training",
    "Value",
    "documents",
    "joined",
    "joined_values",
    "moments",
    "record",
    "split",
    "to_site",
    "train",
]

DOCUMENTS = 5


def documents(folder: Path | None = None) -> list[str]:
    """Return the documents that are recorded, chosen in the order in which a lesson trains on them.

    The first is the first that fits into the model's block with its end; then each that fits, if its length and its
    first letter are those of none before it. `folder` is a lesson's, by default the first.
    """
    program = load(folder or first_lesson())
    docs, _ = shuffled_documents(program)
    chosen: list[str] = []
    for doc in docs:
        new = all(len(doc) != len(other) and doc[0] != other[0] for other in chosen)
        if new and len(doc) < program.config.block_size:
            chosen.append(doc)
        if len(chosen) == DOCUMENTS:
            break
    return chosen


def first_lesson() -> Path:
    return min(ROOT.glob("[0-9]*/microgpt.py")).parent


def record(folder: Path, training_or_params: Training | Matrices, document: str, step: int) -> Recording:
    """Run one document through a lesson as it is after `step` steps of training: one train_step, then one sample.

    The step is taken on a copy of the weights, with Adam's means as the training left them; with weights alone, the
    means are 0. Of the sample only the values in `generate` itself are recorded.
    """
    program = load(folder)
    seen = run(program, program.config, moment(training_or_params, step), document)
    return recording_of(folder.name, seen, axes_of(folder, program.source))


def moment(source: Training | Matrices, step: int) -> Moment:
    """Return the weights and Adam's means after `step` steps."""
    if not isinstance(source, Training):
        return Moment(source, zeros_like(source), zeros_like(source), step)
    steps = len(source.losses)
    if not 0 <= step <= steps:
        raise UserError(f"there is no step {step} in a training of {steps} steps; choose 0 to {steps}")
    params = {name: path[step] for name, path in source.paths.items()}
    if step == 0:
        return Moment(params, zeros_like(params), zeros_like(params), step)
    adam_m, adam_v = ({name: each[step - 1] for name, each in held.items()} for held in (source.adam_m, source.adam_v))
    return Moment(params, adam_m, adam_v, step)


@cache
def axes_of(folder: Path, source: str) -> AxesTable:
    """Return the axes of all values of a lesson, from a run as a model in which all sizes differ: see axes.py.

    `source` is the lesson's text: a changed file is run anew.
    """
    program = load(folder)
    docs, rng = shuffled_documents(program)
    tokenizer = program.module.Tokenizer(docs)
    sizes = distinct_sizes(tokenizer.vocab_size)
    config = replace(program.config, n_embd=sizes["C"], n_head=sizes["H"], block_size=sizes["block_size"])
    drawn = program.module.init_params(config, tokenizer.vocab_size, rng)
    params = {name: np.array(rows) for name, rows in drawn.items()}
    sizes["weights"] = sum(matrix.size for matrix in params.values())
    document = "".join(random.Random(config.seed).choices(tokenizer.chars, k=sizes["T"] - 1))
    seen = run(program, config, Moment(params, zeros_like(params), zeros_like(params), 0), document)
    table = name_axes(seen.arrays(), sizes)
    return table | name_joined_axes(recording_of(folder.name, seen, table), sizes)


def name_joined_axes(recording: Recording, sizes: dict[str, int]) -> AxesTable:
    """Return the axes of values put together, from a recording of the model in which all sizes differ."""
    places = {(group.function, group.call): group.place for group in groups_of(recording).values()}
    values = [value for value in joined_values(recording) if value.became]
    arrays = (((places[v.function, v.call], v.name, v.line, v.array.ndim), v.array) for v in values)
    return name_axes(arrays, sizes)
