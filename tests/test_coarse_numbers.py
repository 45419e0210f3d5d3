"""--dtype bfloat16 and tf32: products of few digits, all that is kept in float32, and no claim to anybody's numbers.

Nothing here has a GPU. What can be tested without one is what the engines ask their frameworks for.
"""

import json
import random
import struct
from dataclasses import replace
from statistics import fmean

import comparisons
import numpy as np
import pytest
from lessons import FOLDERS, each, load, offered, required
from microgpt_harness.program.settings import resolve
from microgpt_harness.run import bounds, checkpoint
from program import NUMPY, PYTHON, fails, run
from test_compiled import compiled, needs_compiler
from test_resume import begin, file_of, samples, train

COARSE = [folder for folder in FOLDERS if "bfloat16" in offered(folder).dtypes]
TORCH = [folder for folder in COARSE if any(line.name == "torch" for line in required(folder))]
MLX = [folder for folder in COARSE if any(line.name == "mlx" for line in required(folder))]
JAX = "05_jax"
STEPS, LAST = 500, 50
LEARNS_AS_FLOAT32 = 0.01  # the mean of the last losses, one document a step: 0.002 was the most seen in any folder
ROUNDING = 2.0**-9  # of a number in bfloat16

every_folder = pytest.mark.parametrize("folder", each(COARSE))


def on_names(folder: str, dtype: str, steps: int = STEPS, **changes):
    """Train on names, a document a step unless said. Return the losses and the state."""
    lesson = load(folder)
    config = replace(lesson.microgpt.CONFIG, **({"batch_size": 1, "num_steps": steps} | changes))
    batches = [comparisons.batch_of_names(step, config.batch_size) for step in range(steps)]
    state = lesson.make_state(config, comparisons.start_on_names().params, dtype)
    state, losses = lesson.engine.train_steps(state, batches, config)
    return losses, state


@every_folder
def test_it_learns_as_float32_does(folder, record):
    (losses, state), (expected, _) = (on_names(folder, dtype) for dtype in ("bfloat16", "float32"))
    difference = abs(fmean(losses[-LAST:]) - fmean(expected[-LAST:]))
    record("bfloat16, mean of the last 50 of 500 losses", folder, difference, LEARNS_AS_FLOAT32)
    # and it is bfloat16: its losses are off from the first steps on
    assert max(abs(a - b) for a, b in zip(losses[:LAST], expected, strict=False)) > 1e-4
    # all that is kept is float32, and so is the loss
    tensors = load(folder).engine.export_state(state)
    assert {rows.dtype for group in tensors for rows in group.values()} == {np.dtype("float32")}
    assert sum(loss != in_bfloat16(loss) for loss in losses) > STEPS / 2


def in_bfloat16(number: float) -> float:
    """Cut a number's float32 off after the bits that bfloat16 has."""
    (bits,) = struct.unpack("<I", struct.pack("<f", number))
    return struct.unpack("<f", struct.pack("<I", bits & 0xFFFF0000))[0]


@every_folder
def test_scores_are_off_by_roundings_of_bfloat16(folder):
    """At one point: more than float32 rounds, and no more than a few roundings of the numbers on their way."""
    lesson = load(folder)
    config, batch = comparisons.config_of(lesson), comparisons.batch_of(lesson)
    state = comparisons.state_at_point(lesson, "bfloat16")
    expected = comparisons.reference_at_point()
    for what, numbers in (
        ("logits", comparisons.logits_at_point(lesson, state)),
        ("gradients", lesson.loss_and_grads(state, batch, config)[1]),
    ):
        assert ROUNDING / 10 < comparisons.largest_difference(numbers, expected[what]) < 20 * ROUNDING
    loss = lesson.engine.evaluate(state, batch, config)
    assert 1e-6 < abs(loss / expected["loss"]["loss"] - 1) < ROUNDING
    longest = max(batch, key=len)[:-1]
    scores, whole = np.array(lesson.engine.next_logits(state, longest, config)), logits_of(lesson, state, longest)
    assert np.abs(scores - whole).max() <= 2 * ROUNDING * np.abs(whole).max()


@every_folder
def test_gradients_of_a_common_token_are_added_up_in_float32(folder):
    """Added up in bfloat16, a sum stops growing where what is added is less than half of its last digit."""
    lesson, rng = load(folder), random.Random(1)
    config = comparisons.config_of(lesson)
    batch = [rng.choices([0, 1, 2], weights=[9, 1, 1], k=config.block_size + 1) for _ in range(128)]
    (_, expected), (_, grads) = (
        lesson.loss_and_grads(comparisons.state_at_point(lesson, dtype), batch, config)
        for dtype in ("float32", "bfloat16")
    )
    for name, wanted in expected.items():
        assert np.linalg.norm(grads[name] - wanted) < 16 * ROUNDING * np.linalg.norm(wanted), name


def logits_of(lesson, state, tokens):
    (rows,) = lesson.logits(state, [[*tokens, 0]], comparisons.config_of(lesson))
    return rows[-1]


@every_folder
def test_a_checkpoint_goes_on_in_every_other_folder(folder, tmp_path):
    """01 and 02 have no bfloat16, and take up the weights in a dtype of their own."""
    path = tmp_path / "first" / file_of(folder)
    path.parent.mkdir()
    train(begin(folder, path, dtype="bfloat16", num_steps=6, batch_size=1), stop_at=3)
    saved = checkpoint.load(path)
    assert saved.dtype == "bfloat16"
    losses = {}
    for other in (PYTHON, NUMPY, *COARSE):
        resumed = begin(other, tmp_path / file_of(other), saved)
        losses[other] = train(resumed).losses
        assert resumed.step == 6 and len(samples(resumed)) == 20
    assert max(abs(a - b) for a, b in zip(losses[PYTHON], losses[NUMPY], strict=True)) < 1e-9


def test_through_the_program(tmp_path):
    """--resume goes on in bfloat16 without being told again, and so does `sample`; what is written says bfloat16."""
    options = ("--steps", 40, "--no-plot", "--out", tmp_path)
    run(JAX, *options, "--dtype", "bfloat16", "--stop-at", 20)
    folder = tmp_path / "names" / JAX
    halfway = checkpoint.load(folder / file_of(JAX))
    resumed = run(JAX, *options, "--resume")
    assert json.loads((folder / "config.json").read_text(encoding="utf-8"))["dtype"] == "bfloat16"
    assert checkpoint.load(folder / file_of(JAX)).dtype == halfway.dtype == "bfloat16"
    assert run(JAX, "sample", "--out", tmp_path).samples == resumed.samples
    run(NUMPY, "sample", "--checkpoint", folder / file_of(JAX), "--n-samples", 1)
    run(PYTHON, "sample", "--checkpoint", folder / file_of(JAX), "--n-samples", 1)


def test_who_has_none_says_so():
    fails(NUMPY, "--dtype", "bfloat16", says=("--dtype bfloat16: ", "computes in float64 or float32 only"))
    fails(JAX, "--dtype", "tf32", says=("--dtype tf32: ", "computes in float32 or float64 or bfloat16 only"))
    fails(TORCH[0], "--dtype", "tf32", says=("only an NVIDIA GPU has tf32", "--dtype float32 or --device cuda"))


# ---- checkpoints ----


@pytest.mark.parametrize("suffix", [".json", ".safetensors"])
def test_its_weights_are_kept_in_float32(suffix, tmp_path):
    path = tmp_path / f"checkpoint{suffix}"
    train(begin(JAX, path, dtype="bfloat16", num_steps=2, batch_size=1))
    saved = checkpoint.load(path)
    assert checkpoint_dtypes(path) <= {"F32"}
    for name, rows in saved.params.items():
        numbers = np.array(rows, np.float64)
        assert (numbers == np.float32(numbers)).all()
        assert (numbers != [[in_bfloat16(number) for number in row] for row in numbers]).any(), name


def checkpoint_dtypes(path) -> set[str]:
    data = path.read_bytes()
    if path.suffix == ".json":
        return set()
    header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
    return {entry["dtype"] for name, entry in header.items() if name != "__metadata__"}


# ---- --compile ----


@needs_compiler
@pytest.mark.parametrize("folder", each(MLX))
def test_compiled_it_is_bfloat16_too(folder):
    """Also after a run of the same settings in float32, for which another step was compiled."""
    config = replace(load(folder).microgpt.CONFIG, num_steps=8)
    lesson, losses = compiled(folder), {}
    for dtype in ("float32", "bfloat16"):
        state = lesson.make_state(config, comparisons.start_on_names().params, dtype)
        batches = [comparisons.batch_of_names(step, 1) for step in range(8)]
        losses[dtype] = lesson.engine.train_steps(state, batches, config)[1]
    expected = on_names(folder, "bfloat16", steps=8)[0]
    assert losses["bfloat16"] != losses["float32"]
    assert max(abs(a - b) for a, b in zip(losses["bfloat16"], expected, strict=True)) < 4 * ROUNDING


@pytest.mark.parametrize("folder", TORCH)
def test_what_torch_compiles_is_what_autocast_surrounds(folder, monkeypatch):
    import torch

    seen = []

    def compiler(function, **options):
        def ran(tokens):
            logits = function(tokens)
            seen.append((torch.is_autocast_enabled("cpu"), logits.dtype))
            return logits

        return ran

    monkeypatch.setattr(torch, "compile", compiler)
    lesson = compiled(folder)
    config = replace(lesson.microgpt.CONFIG, batch_size=1, num_steps=8)
    state = lesson.make_state(config, comparisons.start_on_names().params, "bfloat16")
    _, losses = lesson.engine.train_steps(state, [comparisons.batch_of_names(step, 1) for step in range(8)], config)
    assert losses == on_names(folder, "bfloat16", steps=8)[0]
    assert seen == [(False, torch.float32)] * 8  # by then autocast is left again, and the scores are float32


# ---- GPUs ----


@pytest.mark.parametrize("folder", TORCH)
def test_float32_is_multiplied_by_tf32_if_asked_for_only(folder, monkeypatch):
    import torch

    engine, config = load(folder).engine, load(folder).microgpt.CONFIG
    monkeypatch.setattr(engine, "find_device", lambda device, dtype: "cpu")
    asked = []
    monkeypatch.setattr(torch, "set_float32_matmul_precision", asked.append)
    for dtype in ("tf32", "float32", "bfloat16"):
        engine.make_state(config, comparisons.start_on_names().params, dtype=dtype)
    assert asked == ["high", "highest", "highest"]


@pytest.mark.parametrize("folder", COARSE)
def test_cuda_computes_in_tf32_unless_something_else_is_asked_for(folder):
    offer, config = offered(folder), load(NUMPY).microgpt.CONFIG
    found = [
        resolve([values], config, offer.dtypes, offer.device_dtypes).dtype
        for values in ({}, {"device": "cuda"}, {"device": "cuda", "dtype": "float32"}, {"device": "mps"})
    ]
    assert found == ["float32", "tf32" if folder in TORCH else "float32", "float32", "float32"]


@pytest.mark.parametrize("folder", TORCH)
def test_what_a_device_does_not_have(folder, monkeypatch):
    import torch

    find_device = load(folder).engine.find_device
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_macos_or_newer", lambda major, minor: major < 14)
    for device, dtype, says in (
        ("cuda", "bfloat16", "this GPU has no bfloat16; use --dtype float32"),
        ("mps", "bfloat16", "from macOS 14 on; use --dtype float32 or --device cpu"),
        ("mps", "tf32", "only an NVIDIA GPU has tf32"),
    ):
        with pytest.raises(ValueError, match=says):
            find_device(device, dtype)
    assert [find_device("cuda", dtype) for dtype in ("tf32", "float32", "float64")] == ["cuda"] * 3
    assert find_device("auto", "bfloat16") == "cpu"


@pytest.mark.parametrize("folder", TORCH)
def test_no_step_waits_for_the_device(folder, monkeypatch):
    """A tensor's number is asked for, which waits until it has been computed, when all steps have been handed over."""
    from torch.overrides import TorchFunctionMode

    engine, order = load(folder).engine, []

    class Noting(TorchFunctionMode):
        def __torch_function__(self, function, types, args=(), kwargs=None):
            if function.__name__ in ("item", "tolist", "__float__", "__bool__", "__int__", "__index__", "cpu", "numpy"):
                order.append("fetched")
            return function(*args, **(kwargs or {}))

    train_step = engine.train_step
    monkeypatch.setattr(engine, "train_step", lambda *args: order.append("step") or train_step(*args))
    config = replace(load(folder).microgpt.CONFIG, batch_size=2, clip_grad=0.5)
    state = engine.make_state(config, comparisons.start_on_names().params)
    with Noting():
        _, losses = engine.train_steps(state, [comparisons.batch_of_names(step, 2) for step in range(3)], config)
    assert order == ["step"] * 3 + ["fetched"] * 3 and all(type(loss) is float for loss in losses)


def test_no_chunk_of_steps_waits_for_the_device(monkeypatch):
    engine, order = load(JAX).engine, []

    class Losses:
        def __init__(self, losses):
            self.losses = losses

        def __array__(self, *args, **kwargs):
            order.append("fetched")
            return np.asarray(self.losses)

    def noted(*args):
        order.append("steps")
        state, losses = train_chunk(*args)
        return state, Losses(losses)

    train_chunk = engine.train_chunk
    monkeypatch.setattr(engine, "train_chunk", noted)
    monkeypatch.setattr(engine, "CHUNK", 2)
    losses, _ = on_names(JAX, "float32", steps=5)
    assert order[:3] == ["steps"] * 3 and set(order[3:]) == {"fetched"}
    monkeypatch.undo()
    assert losses == on_names(JAX, "float32", steps=5)[0]


# ---- one table of dtypes ----


def test_every_dtype_that_a_folder_offers_can_be_set_and_saved():
    for folder in FOLDERS:
        assert set(offered(folder).dtypes) <= bounds.DTYPES.keys()
        assert {dtype for _, dtype in offered(folder).device_dtypes} <= set(offered(folder).dtypes)
    assert {dtype for dtype in bounds.DTYPES if bounds.is_coarse(dtype)} == {"bfloat16", "tf32"}
