"""The second backend of 02, compiled by Numba, computes what its NumPy engine computes.

Its mutants run uncompiled, as plain Python: nothing is compiled for them, and no compiled function is kept under the
name of a file that never was.
"""

import importlib.util
import math
import random
import sys
from contextlib import contextmanager
from dataclasses import replace
from functools import cache
from types import ModuleType

import comparisons
import numpy as np
import pytest
from lessons import REFERENCE, ROOT, Lesson, load

numba = pytest.importorskip("numba", reason="Numba, the package behind 02's second backend, is not installed")

PATH = ROOT / REFERENCE / "microgpt_numba.py"
FOLLOWS_FOR_500_STEPS = 1e-9
DTYPES = pytest.mark.parametrize("dtype", ["float64", "float32"])


@cache
def backend() -> Lesson:
    with beside_its_lesson() as microgpt:
        spec = importlib.util.spec_from_file_location("microgpt_numba", PATH)
        module = importlib.util.module_from_spec(spec)
        sys.modules["microgpt_numba"] = module  # where pickle, by which Numba keeps what it compiled, looks for it
        spec.loader.exec_module(module)
        module.lesson = microgpt
    return Lesson(REFERENCE, microgpt, module)


def uncompiled(*edits: tuple[str, str]) -> Lesson:
    """Load the backend as plain Python, every occurrence of the edits' old text replaced by the new."""
    source = PATH.read_text(encoding="utf-8")
    for old, new in edits:
        assert old in source, f"{PATH.name} no longer holds {old!r}"
        source = source.replace(old, new)
    module = ModuleType("microgpt_numba_uncompiled")
    before, numba.config.DISABLE_JIT = numba.config.DISABLE_JIT, True
    try:
        with beside_its_lesson() as microgpt:
            exec(compile(source, "<mutant>", "exec"), module.__dict__)
    finally:
        numba.config.DISABLE_JIT = before
    return Lesson(REFERENCE, microgpt, module)


@contextmanager
def beside_its_lesson():
    """Let `microgpt` mean 02's lesson while the backend imports it."""
    before = sys.modules.get("microgpt")
    sys.modules["microgpt"] = load(REFERENCE).microgpt
    try:
        yield sys.modules["microgpt"]
    finally:
        del sys.modules["microgpt"]
        if before is not None:
            sys.modules["microgpt"] = before


# At one point
@DTYPES
def test_logits_loss_and_gradients(dtype, record):
    for what, (difference, bound) in comparisons.compare_point(backend(), dtype).items():
        record(f"same point, {what}, {dtype}", "02, numba", difference, bound)


@DTYPES
def test_one_adam_step(dtype, record):
    for what, (difference, bound) in comparisons.compare_adam_step(backend(), dtype).items():
        record(f"Adam, {what}, {dtype}", "02, numba", difference, bound)


@pytest.mark.parametrize("case", comparisons.ONE_STEP)
def test_one_step_in_float32_from_points_of_a_run(case, record):
    for what, (difference, bound) in comparisons.compare_one_step(backend(), case).items():
        record(f"one step from the same point, {case}, {what}", "02, numba", difference, bound)


@DTYPES
def test_evaluate_is_the_reference_s_and_changes_nothing(dtype):
    config, batch = comparisons.config_of(backend()), comparisons.batch_of(backend())
    state = comparisons.state_at_point(backend(), dtype)
    before = backend().engine.export_state(state)
    expected = load(REFERENCE).engine.evaluate(comparisons.state_at_point(load(REFERENCE), "float64"), batch, config)
    assert backend().engine.evaluate(state, batch, config) == pytest.approx(expected, rel=comparisons.TOLERANCE[dtype])
    assert same_bits(backend().engine.export_state(state), before)


# The lengths of a batch's documents, in rows. How many there are decides whether loops or BLAS multiply, in attention
# as elsewhere, and how many documents are computed together.
SIZES = {
    "loops": [12],
    "BLAS, but in attention": [9, 12, 1, 4],
    "BLAS": [24, 16, 3],
    "BLAS or loops in turn": [24, 20, 16, 15, 2] * 7,  # more than MOST_ROWS
}


@DTYPES
@pytest.mark.parametrize("lengths", SIZES.values(), ids=SIZES)
def test_however_many_rows_there_are(lengths, dtype, record, request):
    for what, (difference, bound) in compare_sizes(backend(), lengths, dtype).items():
        record(f"{request.node.callspec.id}, {what}", "02, numba", difference, bound)


def compare_sizes(lesson: Lesson, lengths: list[int], dtype: str = "float64") -> comparisons.Comparison:
    """Compare logits, loss and gradients with NumPy's for documents of these lengths."""
    config = comparisons.config_of(lesson, block_size=max(lengths), batch_size=len(lengths))
    rng = random.Random(6)
    batch = [[rng.randrange(len(comparisons.ALPHABET) + 1) for _ in range(length + 1)] for length in lengths]
    params = comparisons.drawn(config, lambda rng: rng.gauss(0, comparisons.STD), seed=1)
    actual, expected = (
        numbers_of(a_lesson, a_lesson.make_state(config, params, a_dtype), batch, config)
        for a_lesson, a_dtype in ((lesson, dtype), (load(REFERENCE), "float64"))
    )
    tolerance = comparisons.TOLERANCE[dtype]
    return {what: (comparisons.largest_difference(actual[what], expected[what]), tolerance) for what in expected}


def numbers_of(lesson, state, batch, config):
    loss, grads = lesson.loss_and_grads(state, batch, config)
    logits = {str(i): rows for i, rows in enumerate(lesson.logits(state, batch, config))}
    return {"logits": logits, "loss": {"loss": loss}, "gradients": grads}


# Fewer rows at a time, so that the mutants, which are slow, compute several groups of documents all the same.
SMALLER = ("MOST_ROWS = 256", "MOST_ROWS = 48")


def compare_uncompiled(*edits: tuple[str, str]) -> None:
    """Raise Different where the backend with these edits computes anything that NumPy does not."""
    changed = uncompiled(SMALLER, *edits)
    comparisons.judge(comparisons.compare_adam_step(changed))
    for lengths in SIZES.values():
        comparisons.judge(compare_sizes(changed, lengths[:4]))


def test_mutants_are_compared_with_what_is_compiled():
    compare_uncompiled()


MUTANTS = {
    "no causal mask": [
        ("range(t + 1)", "range(T)"),
        ("softmax(weights, weights, t + 1)", "softmax(weights, weights, T)"),
    ],
    "no causal mask with BLAS": [
        ("softmax(weights[t], weights[t], t + 1)", "softmax(weights[t], weights[t], T)"),
        ("weights[t, s] = 0", "pass"),
    ],
    "no 1/√D": [("D**-0.5", "1.0")],
    "no 1/√D of q with BLAS": [("head * D + d] * root\n            k", "head * D + d]\n            k")],
    "no 1/√D of q's gradient with BLAS": [("dq[t, d] * root", "dq[t, d]")],
    "attention to another document": [("attn_weights[rows], qkv[rows])", "attn_weights[rows], qkv)")],
    "positions counted across documents": [("+ wpe[t - ends[d], i]", "+ wpe[t % len(wpe), i]")],
    "ReLU's square without its factor 2": [("relu[t, j] + relu[t, j]", "relu[t, j]")],
    "no bias correction of adam_m": [("(1 - adam.beta1 ** (step + 1.0))", "1.0")],
    "no bias correction of adam_v": [("(1 - adam.beta2 ** (step + 1.0))", "1.0")],
    "mean over those computed together": [("own_ends, n_tokens, saved)", "own_ends, float(own_ends[-1]), saved)")],
    "a document left out where others begin": [("first = after\n", "first = after + 1\n")],
    "gradients of the last group only": [("dw += np.dot", "dw[:] = np.dot")],
    "softmax's gradient without its sum": [("(dweight - total)", "dweight")],
    "softmax's gradient without its sum with BLAS": [("(dscores[t, s] - total)", "dscores[t, s]")],
    "outputs left over from the fours forgotten": [("n_out - n_out % 4, n_out", "n_out, n_out")],
    "a repeated letter counted once": [("dwte[tokens[t], i] += dnormed", "dwte[tokens[t], i] = dnormed")],
    "a position counted in one document": [("dwpe[t - ends[d], i] +=", "dwpe[t - ends[d], i] =")],
    "clipping forgotten": [("flat_grads[i] * clip", "flat_grads[i]")],
    "no schedule": [("math.cos(math.pi * step / adam.num_steps)", "1")],
}


@pytest.mark.parametrize("edits", MUTANTS.values(), ids=MUTANTS)
def test_mutants_are_caught(edits):
    with pytest.raises(comparisons.Different):
        compare_uncompiled(*edits)


# Along a run
RUNS = {
    "default": {},
    "batches of four": {"batch_size": 4},
    "clipped": {"clip_grad": 0.5},
    "two layers, three heads": {"n_layer": 2, "n_embd": 12, "n_head": 3, "block_size": 11, "batch_size": 2},
}


@pytest.mark.parametrize("changes", RUNS.values(), ids=RUNS)
def test_500_steps_and_20_names(changes, record, request):
    results = [trained(lesson.engine, **changes) for lesson in (load(REFERENCE), backend())]
    (expected_losses, expected_state, expected_names), (losses, state, names) = results
    difference = max(abs(a - b) for a, b in zip(losses, expected_losses, strict=True))
    for actual, expected in zip(state, expected_state, strict=True):
        assert comparisons.largest_difference(actual, expected) <= FOLLOWS_FOR_500_STEPS
    assert names == expected_names
    record("02's backends, 500 losses, float64", request.node.callspec.id, difference, FOLLOWS_FOR_500_STEPS)


def test_float32_learns_as_float64_does():
    losses, state, _ = trained(backend().engine, dtype="float32")
    expected, _, _ = trained(load(REFERENCE).engine)
    assert np.allclose(losses[:50], expected[:50], rtol=0, atol=1e-4)  # later rounding has grown, as it does in any run
    assert {array.dtype for tensors in state for array in tensors.values()} == {np.dtype("float32")}


def trained(engine, dtype="float64", **changes):
    """Train for 500 steps on names. Return the losses, the exported state, and 20 names."""
    config, tokenizer, batches, params, rng = run_on_names(engine, **changes)
    state, losses = engine.train_steps(engine.make_state(config, params, dtype=dtype), batches, config)
    names = [generate(engine, state, tokenizer, rng, config) for _ in range(20)]
    return losses, engine.export_state(state), names


def run_on_names(engine, **changes):
    config, rng = replace(engine.lesson.CONFIG, **changes), random.Random(42)
    docs = load(REFERENCE).microgpt.load_docs(ROOT / "data" / "names.txt", rng)
    tokenizer = engine.lesson.Tokenizer(docs)
    params = engine.lesson.init_params(config, tokenizer.vocab_size, rng)
    tokens = [tokenizer.encode(doc)[: config.block_size + 1] for doc in docs[: config.num_steps * config.batch_size]]
    batches = [tokens[i : i + config.batch_size] for i in range(0, len(tokens), config.batch_size)]
    return config, tokenizer, batches, params, rng


def generate(engine, state, tokenizer, rng, config):
    tokens = [tokenizer.bos]
    while len(tokens) <= config.block_size:
        scores = np.array(engine.next_logits(state, tokens, config)) / config.temperature
        probs = load(REFERENCE).microgpt.softmax(scores)
        tokens.append(rng.choices(range(len(probs)), weights=probs.tolist())[0])
        if tokens[-1] == tokenizer.bos:
            break
    return tokenizer.decode(token for token in tokens if token != tokenizer.bos)


@DTYPES
def test_resuming_gives_the_same_bits(dtype):
    """However many steps come in one call, and through however many checkpoints."""
    engine = backend().engine
    config, _, batches, params, _ = run_on_names(engine, n_layer=2, batch_size=3, clip_grad=0.5, num_steps=60)
    straight, expected = engine.train_steps(engine.make_state(config, params, dtype=dtype), batches, config)
    exported, losses = (params, None, None), []
    for first, last in ((0, 1), (1, 8), (8, 31), (31, 60)):
        state = engine.make_state(config, exported[0], *exported[1:], step=first, dtype=dtype)
        state, taken = engine.train_steps(state, batches[first:last], config)
        losses += taken
        exported = engine.export_state(state)
    assert losses == expected
    assert same_bits(exported, engine.export_state(straight))


def same_bits(actual, expected):
    return all(
        a.keys() == e.keys() and all(a[name].tobytes() == e[name].tobytes() for name in e)
        for a, e in zip(actual, expected, strict=True)
    )


# What goes wrong
@pytest.mark.parametrize("name", comparisons.params_at_point())
@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_a_bad_weight_makes_the_loss_not_finite(name, bad):
    engine, config = backend().engine, comparisons.config_of(backend())
    state = comparisons.state_at_point(backend(), "float64")
    engine.named(state.params)[name][0, 0] = bad
    assert not math.isfinite(engine.evaluate(state, comparisons.batch_of(backend()), config))


def test_a_run_that_diverges_says_so_and_ends_its_call():
    """Its losses tell: the harness stops at the first that is not finite, which is the same step as with NumPy."""
    first_bad = []
    for lesson in (load(REFERENCE), backend()):
        config, _, batches, params, _ = run_on_names(lesson.engine, num_steps=20, learning_rate=1e200)
        with np.errstate(all="ignore"):
            _, losses = lesson.engine.train_steps(lesson.engine.make_state(config, params), batches, config)
        assert len(losses) == 20
        first_bad.append([math.isfinite(loss) for loss in losses].index(False))
    assert first_bad[0] == first_bad[1]


@pytest.mark.parametrize("doc", [list(range(15)), [27, 1], [-1, 1]], ids=["too long", "unknown", "negative"])
def test_no_document_reaches_memory_that_is_not_its_own(doc):
    state = comparisons.state_at_point(backend(), "float64")
    with pytest.raises(IndexError, match="longer than the block, or a token outside"):
        backend().engine.evaluate(state, [doc], comparisons.config_of(backend()))


def test_without_a_folder_to_keep_it_in_code_is_compiled_all_the_same():
    doubled = backend().engine.compiled_and_kept(eval("lambda x: x + x"))  # in no file, so that Numba cannot keep it
    assert doubled(21) == 42
