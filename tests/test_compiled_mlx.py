"""06's `--compile` computes what the lesson computes, and says in one line what it needs."""

import random
import shutil
import sys
from dataclasses import replace
from types import ModuleType

import pytest
from lessons import ROOT, WITHOUT_MLX, Lesson, execute, load

FOLDER = "06_mlx"
STEPS = 40
BOUND = {"float64": 1e-12, "float32": 1e-6}

pytestmark = pytest.mark.skipif(WITHOUT_MLX, reason="MLX has no wheel for this platform")


@pytest.fixture
def compiled(monkeypatch) -> ModuleType:
    """Return the engine behind `--compile`, beside the lesson and the engine that the other tests use."""
    lesson = load(FOLDER)
    monkeypatch.setitem(sys.modules, "microgpt", lesson.microgpt)
    monkeypatch.setitem(sys.modules, "engine", lesson.engine)
    path = ROOT / FOLDER / "engine_compiled.py"
    return execute(path, path.read_text(encoding="utf-8"), "engine_compiled_06")


@pytest.mark.skipif(not shutil.which("g++"), reason="mx.compile calls g++ on the CPU")
@pytest.mark.parametrize("dtype", BOUND)
@pytest.mark.parametrize("batch_size", [1, 3])
def test_the_same_losses_and_weights(compiled, record, dtype, batch_size):
    lesson = load(FOLDER)
    config = replace(lesson.microgpt.CONFIG, n_layer=2, batch_size=batch_size, clip_grad=0.5, num_steps=STEPS)
    losses, weights = run(lesson, lesson.engine, config, dtype)
    compiled_losses, compiled_weights = run(lesson, compiled, config, dtype)
    difference = max(abs(a - b) for a, b in zip(losses, compiled_losses, strict=True))
    what = f"{STEPS} losses, --compile against the lesson, {dtype}"
    record(what, f"{FOLDER}, batch of {batch_size}", difference, BOUND[dtype])
    assert len(set(losses)) == STEPS  # it trains, and not on one document
    for name, rows in weights.items():
        assert abs(rows - compiled_weights[name]).max() <= 1e3 * BOUND[dtype], name


def run(lesson: Lesson, engine: ModuleType, config, dtype: str):
    """Return the losses of STEPS steps and the weights after them."""
    rng = random.Random(config.seed)
    docs = lesson.microgpt.load_docs(ROOT / "data" / "names.txt", rng)
    tokenizer = engine.Tokenizer(docs)
    state = engine.make_state(config, engine.init_params(config, tokenizer.vocab_size, rng), dtype=dtype, device="cpu")
    tokens = [tokenizer.encode(doc)[: config.block_size + 1] for doc in docs[: STEPS * config.batch_size]]
    batches = [tokens[start : start + config.batch_size] for start in range(0, len(tokens), config.batch_size)]
    state, losses = engine.train_steps(state, batches, config)
    return losses, engine.export_state(state)[0]


@pytest.mark.skipif(not shutil.which("g++"), reason="mx.compile calls g++ on the CPU")
def test_the_compiled_function_is_the_one_that_trains(compiled):
    lesson = load(FOLDER)
    config = lesson.microgpt.CONFIG
    state = compiled.make_state(config, lesson.microgpt.init_params(config, 27, random.Random(1)), device="cpu")
    compiled_function, calls = state.loss_and_grads, []
    state.loss_and_grads = lambda *arrays: calls.append(len(arrays)) or compiled_function(*arrays)
    compiled.train_steps(state, [[[26, 1, 2, 26]]] * 3, config)
    assert calls == [4, 4, 4]


def test_without_a_compiler_one_line_says_so(compiled, monkeypatch):
    monkeypatch.setattr(shutil, "which", lambda name: None)
    config = load(FOLDER).microgpt.CONFIG
    params = load(FOLDER).microgpt.init_params(config, 27, random.Random(1))
    with pytest.raises(ValueError, match="--compile needs the C\\+\\+ compiler g\\+\\+") as raised:
        compiled.make_state(config, params, device="cpu")
    assert "\n" not in str(raised.value)
