"""`--compile` computes what the lesson computes, trains with what it compiled, and says in one line what it needs."""

import random
import shutil
import sys
from dataclasses import replace

import comparisons
import pytest
from comparisons import Different, compare_one_step, judge
from lessons import FOLDERS, ROOT, Lesson, each, load, offered, required
from microgpt_harness.program.engines import execute

COMPILED = [folder for folder in FOLDERS if offered(folder).compiled]
TORCH, MLX = ([f for f in COMPILED if any(r.name == package for r in required(f))] for package in ("torch", "mlx"))
STEPS = 40
STEPS_FOLLOW = 1e-12  # in float64

needs_compiler = pytest.mark.skipif(not shutil.which("g++"), reason="the frameworks call the C++ compiler g++")
every_folder = pytest.mark.parametrize("folder", each(COMPILED))


def compiled(folder: str, *edits: tuple[str, str]) -> Lesson:
    """Return the lesson with the engine behind `--compile`, its source changed by the edits."""
    lesson, path = load(folder), ROOT / folder / f"{offered(folder).compiled}.py"
    source = path.read_text(encoding="utf-8")
    for old, new in edits:
        assert source.count(old) == 1, f"{path} no longer holds {old!r} once"
        source = source.replace(old, new)
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, "microgpt", lesson.microgpt)
        patch.setitem(sys.modules, "engine", lesson.engine)
        return replace(lesson, engine=execute(path, source, f"engine_compiled_{folder}"))


@needs_compiler
@every_folder
def test_one_step_from_points_of_a_run(folder, record):
    """Compiling takes PyTorch tens of seconds the first time, so for the one case that holds most."""
    for what, (difference, bound) in compare_one_step(compiled(folder), "clipped").items():
        record(f"one step from the same point, clipped, {what}", f"{folder} --compile", difference, bound)


# What is computed is slightly another thing. It need not be compiled for that.
SCALED = [
    (
        "state.model.compile(dynamic=True)",
        "state.model.register_forward_hook(lambda model, tokens, logits: 0.999 * logits)",
    )
]
SLOWER = [
    ("    @partial(mx.compile, inputs=state, outputs=state)\n", ""),
    ("grads, learning_rate, config", "grads, 0.999 * learning_rate, config"),
]
WRONG = dict.fromkeys(TORCH, SCALED) | dict.fromkeys(MLX, SLOWER)


@every_folder
def test_one_step_catches_an_engine_that_computes_something_else(folder, monkeypatch):
    monkeypatch.setattr(shutil, "which", lambda name: name)
    with pytest.raises(Different):
        judge(compare_one_step(compiled(folder, *WRONG[folder]), "clipped"))


@pytest.mark.parametrize("folder", TORCH)
def test_what_torch_compiled_is_what_trains(folder, monkeypatch):
    """Every document of a step goes through what torch.compile returned, called for once with all lengths in mind."""
    import torch

    asked, calls = [], []

    def compiler(function, **options):
        asked.append(options)
        return lambda tokens: calls.append(tokens.shape) or function(tokens)

    monkeypatch.setattr(torch, "compile", compiler)
    lesson = compiled(folder)
    config = replace(lesson.microgpt.CONFIG, batch_size=2)
    state = lesson.make_state(config, comparisons.start_on_names().params, "float32")
    lesson.engine.train_steps(state, [comparisons.batch_of_names(step, 2) for step in range(3)], config)
    assert asked == [{"dynamic": True}]
    assert len(calls) == (6 if lesson.microgpt.CONFIG.batch_size == 1 else 3)  # a document at a time, or a batch


@pytest.mark.parametrize("folder", each(MLX))
def test_what_mlx_compiled_is_what_trains(folder, monkeypatch):
    """Every step is a call of what mx.compile returned, with the whole state as that function's input and output."""
    import mlx.core as mx

    calls = []

    def compiler(function, inputs, outputs):
        assert inputs is outputs
        return lambda *arrays: calls.append(sorted(inputs)) or function(*arrays)

    monkeypatch.setattr(mx, "compile", compiler)
    monkeypatch.setattr(shutil, "which", lambda name: name)
    lesson = compiled(folder)
    state = lesson.make_state(lesson.microgpt.CONFIG, comparisons.start_on_names().params, "float32")
    lesson.engine.train_steps(state, [[[26, 1, 2, 26]]] * 3, lesson.microgpt.CONFIG)
    assert calls == [["adam_m", "adam_v", "params", "step"]] * 3


@needs_compiler
@pytest.mark.parametrize("batch_size", [1, 3])
@pytest.mark.parametrize("folder", each(MLX))
def test_the_same_losses_and_weights_in_float64(folder, record, batch_size):
    """MLX's compiling is quick enough for a run in float64 as well."""
    config = replace(load(folder).microgpt.CONFIG, n_layer=2, batch_size=batch_size, clip_grad=0.5, num_steps=STEPS)
    (losses, weights), (compiled_losses, compiled_weights) = (
        run(of, config) for of in (load(folder), compiled(folder))
    )
    difference = max(abs(a - b) for a, b in zip(losses, compiled_losses, strict=True))
    assert len(set(losses)) == STEPS  # it trains, and not on one document
    assert comparisons.largest_difference(compiled_weights, weights) <= 1e3 * STEPS_FOLLOW
    what = f"{STEPS} losses, --compile against the lesson, float64"
    record(what, f"{folder}, batch of {batch_size}", difference, STEPS_FOLLOW)


def run(lesson: Lesson, config):
    """Return the losses of STEPS steps and the weights after them."""
    tokenizer = comparisons.start_on_names().tokenizer
    params = lesson.microgpt.init_params(config, tokenizer.vocab_size, random.Random(config.seed))
    batches = [comparisons.batch_of_names(step, config.batch_size) for step in range(STEPS)]
    state, losses = lesson.engine.train_steps(lesson.make_state(config, params, "float64"), batches, config)
    return losses, lesson.engine.export_state(state)[0]


@pytest.mark.parametrize("folder", each(MLX))
def test_without_a_compiler_one_line_says_so(folder, monkeypatch):
    monkeypatch.setattr(shutil, "which", lambda name: None)
    lesson = compiled(folder)
    with pytest.raises(ValueError, match="--compile needs the C\\+\\+ compiler g\\+\\+") as raised:
        lesson.make_state(lesson.microgpt.CONFIG, comparisons.start_on_names().params, "float32")
    assert "\n" not in str(raised.value)
