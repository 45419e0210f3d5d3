"""The recorder: it shows what lessons compute, changes nothing, and finds 01 and 02 to be the same."""

import gzip
import json
import re
import subprocess
import sys
from collections import Counter
from functools import cache
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np
import pytest
from microgpt_course import lessons, record
from microgpt_course.recording.numbers import numbers_of
from microgpt_course.recording.program import load, make_state, shuffled_documents, zeros_like
from microgpt_course.recording.statements import read_statements
from microgpt_course.recording.trace import Trace, watching
from microgpt_harness.system.errors import UserError

EXPLICIT, REFERENCE = (lesson.path.parent for lesson in lessons.read_all()[:2])  # 01 and 02
FOLDERS = [pytest.param(folder, id=folder.name) for folder in (EXPLICIT, REFERENCE)]
CLOSE = 1e-12
STEPS = 20
SHORT = ("num_steps: int = 500", f"num_steps: int = {STEPS}")
Key = tuple[str, int, str, int]


@pytest.fixture(scope="session")
def copies(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Return a function that copies a lesson, with parts of its text replaced, and the names that it trains on."""

    @cache
    def copy(folder: Path, *replacements: tuple[str, str]) -> Path:
        root = tmp_path_factory.mktemp("copy")
        text = (folder / "microgpt.py").read_text(encoding="utf-8")
        for old, new in replacements:
            assert text.count(old) == 1, f"{old!r} stands {text.count(old)} times in {folder.name}"
            text = text.replace(old, new)
        (root / folder.name).mkdir()
        (root / folder.name / "microgpt.py").write_text(text, encoding="utf-8")
        (root / "data").mkdir()
        (root / "data" / "names.txt").write_bytes((lessons.ROOT / "data" / "names.txt").read_bytes())
        return root / folder.name

    return copy


@pytest.fixture(scope="session")
def trainings(copies: Any) -> Any:
    """Return a function that trains a short copy of a lesson: (its folder, what was seen)."""

    @cache
    def trained(folder: Path, *replacements: tuple[str, str]) -> tuple[Path, record.Training]:
        made = copies(folder, SHORT, *replacements)
        return made, record.train(made)

    return trained


def at_random(folder: Path) -> dict[str, np.ndarray]:
    """Return weights of which none is 0, so that no gradient and no mistake is hidden."""
    config = load(folder).config
    rng = np.random.default_rng(0)
    shapes = {name: np.shape(rows) for name, rows in init_params(folder).items()}
    assert config.n_layer == sum(name.endswith("attn_wq") for name in shapes)
    return {name: rng.normal(0, 0.2, shape) for name, shape in shapes.items()}


def init_params(folder: Path) -> dict[str, Any]:
    program = load(folder)
    docs, rng = shuffled_documents(program)
    return program.module.init_params(program.config, program.module.Tokenizer(docs).vocab_size, rng)


# A run
@pytest.mark.parametrize("folder", FOLDERS)
def test_a_run_prints_what_the_file_prints(folder, trainings):
    copy, training = trainings(folder)
    assert training.printed == run_alone(copy)
    assert len(training.printed) == STEPS + 20


@pytest.mark.parametrize("folder", FOLDERS)
def test_watching_changes_no_bit_of_a_loss(folder, copies):
    copy = copies(
        folder,
        SHORT,
        ("loss {train_step(state, tokens, CONFIG):.4f}", "loss {float(train_step(state, tokens, CONFIG))!r}"),
    )
    alone = [float(line.split("loss ")[1]) for line in run_alone(copy) if "loss " in line]
    assert record.train(copy).losses == alone


def run_alone(folder: Path) -> list[str]:
    command = [sys.executable, "microgpt.py"]
    return subprocess.run(command, cwd=folder, check=True, capture_output=True, encoding="utf-8").stdout.splitlines()


@pytest.mark.parametrize("folder", FOLDERS)
def test_a_run_is_kept_step_by_step(folder, trainings):
    copy, training = trainings(folder)
    docs, _ = shuffled_documents(load(copy))
    assert training.documents == docs[:STEPS]
    assert [line.partition(": ")[2] for line in training.printed[STEPS:]] == training.names
    assert [f"{loss:.4f}" for loss in training.losses] == [line.split()[-1] for line in training.printed[:STEPS]]
    assert list(training.states) == record.moments(STEPS)
    for name, rows in init_params(copy).items():
        assert np.array_equal(training.paths[name][0], rows)
        assert training.paths[name].shape == (STEPS + 1, *np.shape(rows))
        assert training.grads[name].shape == training.adam_m[name].shape == (STEPS, *np.shape(rows))
    assert_adam(training, load(copy).config)


def assert_adam(training: record.Training, config: Any) -> None:
    """The weights, gradients, means and learning rates that were kept belong to the same steps: Adam leads from one
    to the next."""
    m = v = zeros_like(training.states[0])
    for step in range(STEPS):
        for name in m:
            grad = training.grads[name][step]
            m = m | {name: config.beta1 * m[name] + (1 - config.beta1) * grad}
            v = v | {name: config.beta2 * v[name] + (1 - config.beta2) * grad * grad}
            moved = training.learning_rates[step] * m[name] / (1 - config.beta1 ** (step + 1))
            moved /= np.sqrt(v[name] / (1 - config.beta2 ** (step + 1))) + config.eps_adam
            assert np.allclose(training.paths[name][step + 1], training.paths[name][step] - moved, rtol=0, atol=CLOSE)
            assert np.allclose(training.adam_m[name][step], m[name], rtol=0, atol=CLOSE)
            assert np.allclose(training.adam_v[name][step], v[name], rtol=0, atol=CLOSE)


def test_moments_are_parts_of_the_run():
    assert len(record.moments(500)) == len(record.MOMENTS) == 5
    assert record.moments(500)[0] == 0
    assert record.moments(500)[-1] == 500
    assert record.moments(20) == sorted(set(record.moments(20)))


def test_documents_differ_in_length_and_first_letter(copies):
    documents = record.documents()
    config = load(EXPLICIT).config
    assert len(documents) == len({len(each) for each in documents}) == len({each[0] for each in documents}) == 5
    assert max(map(len, documents)) < config.block_size
    docs, _ = shuffled_documents(load(EXPLICIT))
    assert documents == sorted(documents, key=docs.index)
    other = copies(EXPLICIT, ("seed: int = 42", "seed: int = 43"))
    assert record.documents(other) != documents


# A document
@pytest.mark.parametrize("folder", FOLDERS)
def test_a_recorded_step_is_that_of_the_run(folder, trainings):
    """Bit for bit: loss, gradients, Adam's means."""
    copy, training = trainings(folder)
    step = 7
    recording = record.record(copy, training, training.documents[step], step)
    assert recording.loss == training.losses[step]
    assert recording.find("adam_step", "learning_rate").array == training.learning_rates[step]
    means = {name: record.split(recording.find("adam_step", name).array, recording.params) for name in ("m", "v")}
    for name in recording.params:
        assert np.array_equal(recording.params[name], training.paths[name][step])
        assert np.array_equal(recording.grads[name], training.grads[name][step])
        assert np.array_equal(means["m"][name], training.adam_m[name][step])
        assert np.array_equal(means["v"][name], training.adam_v[name][step])


@pytest.mark.parametrize("folder", FOLDERS)
def test_tracing_changes_nothing(folder):
    program, params = load(folder), at_random(folder)
    state = make_state(program, params, zeros_like(params), zeros_like(params), 0)
    recording = record.record(folder, params, "emma", 0)
    assert recording.loss == program.module.train_step(state, [recording.tokens], program.config)
    assert sys.gettrace() is None
    untouched = at_random(folder)
    assert all(np.array_equal(params[name], untouched[name]) for name in params)


@pytest.mark.parametrize("folder", FOLDERS)
def test_the_last_value_of_each_name_is_what_the_function_holds_in_the_end(folder):
    """Seen in another way: by `sys.setprofile`, which looks at a function's variables when it returns."""
    params = at_random(folder)
    recording = record.record(folder, params, "emma", 0)
    kept = {name for name, count in recording.counts.items() if count == sum(n == name for n, _ in recording.calls)}
    assert {"gpt", "attention", "mlp", "softmax", "rmsnorm", "backward", "adam_step"} <= kept
    compared = 0
    for function, call, variables in ends_of_calls(folder, params, recording.tokens):
        for name, array in variables.items() if function in kept else ():
            if (function, name) == ("adam_step", "grad"):
                continue  # the array itself is set back to 0 in the last line
            found = recording.find(function, name, call).array
            if found.shape != array.shape:
                if found.size == 3:
                    continue  # what runs too often, as for each edge of the graph: only the first turns are kept
                found = found.ravel()[-1]  # all turns of a loop: the last one is what the function holds
            assert np.array_equal(found, array, equal_nan=True), (function, call, name)
            compared += 1
    assert compared > 100


def ends_of_calls(
    folder: Path, params: dict[str, np.ndarray], tokens: list[int]
) -> list[tuple[str, int, dict[str, np.ndarray]]]:
    """Return what the functions of a lesson hold when they return, in one training step."""
    program = load(folder)
    state = make_state(program, params, zeros_like(params), zeros_like(params), 0)
    counts: Counter[str] = Counter()
    number: dict[FrameType, int] = {}
    ends = []

    def profile(frame: FrameType, event: str, _: Any) -> None:
        function = frame.f_code.co_qualname
        if frame.f_code.co_filename != str(program.file) or "<" in function:
            return
        if event == "call":
            number[frame] = counts[function]
            counts[function] += 1
        elif event == "return":
            found = {name: numbers_of(held) for name, held in frame.f_locals.items()}
            arrays = {name: numbers.array for name, numbers in found.items() if numbers}
            ends.append((function, number.pop(frame), arrays))

    sys.setprofile(profile)
    try:
        program.module.train_step(state, [tokens], program.config)
    finally:
        sys.setprofile(None)
    return ends


@pytest.mark.parametrize("folder", FOLDERS)
def test_lines_and_callers_are_those_of_the_file(folder):
    recording = record.record(folder, at_random(folder), "emma", 0)
    lines = ["", *(folder / "microgpt.py").read_text(encoding="utf-8").splitlines()]
    for value in recording.values:
        assert re.search(rf"\b{value.name}\b", lines[value.line]), value
        assert value.grad is None or value.grad.shape == value.array.shape
        if value.caller and "__" not in value.function:
            assert re.search(rf"\b{value.function.rpartition('.')[2]}\b", lines[value.caller_line]), value
    normed = [value for value in recording.values if (value.function, value.name) == ("rmsnorm", "scale")]
    assert [caller for caller, _ in dict.fromkeys((v.caller, v.caller_line) for v in normed)] == [
        "gpt",
        "block",
        "block",
    ]
    assert recording.calls.keys() >= {(value.function, value.call) for value in recording.values}


def test_a_value_that_is_not_there_is_said_to_be_missing():
    recording = record.record(REFERENCE, at_random(REFERENCE), "emma", 0)
    assert recording.find("attention", "q").axes == ("H", "T", "D")
    with pytest.raises(KeyError, match=r"recorded are: .*attention"):
        recording.find("attend", "q")
    with pytest.raises(KeyError, match=r"no recorded value 'query'; recorded are: .*q"):
        recording.find("attention", "query")
    with pytest.raises(KeyError, match=r"not recorded for call 9; recorded are: \[0, 1, 2\]"):
        recording.find("rmsnorm", "y", 9)


def test_wrong_input_is_said_in_a_line(tmp_path, trainings):
    copy, training = trainings(REFERENCE)
    with pytest.raises(UserError, match=r"has no microgpt\.py"):
        record.train(tmp_path)
    (tmp_path / "microgpt.py").write_text("CONFIG = 1 +", encoding="utf-8")
    with pytest.raises(UserError, match=r"microgpt.py cannot be run: SyntaxError: invalid syntax"):
        record.train(tmp_path)
    (tmp_path / "microgpt.py").write_text("CONFIG = main = 1", encoding="utf-8")
    with pytest.raises(UserError, match=r"has no NAMES, State, Tokenizer, .*, generate; "):
        record.train(tmp_path)
    with pytest.raises(UserError, match="'É'"):
        record.record(copy, training, "Émile", 0)
    with pytest.raises(UserError, match=f"no step {STEPS + 1} in a training of {STEPS} steps"):
        record.record(copy, training, "emma", STEPS + 1)


# Axes
@pytest.mark.parametrize("document", ["emma", "ana"])  # T is 5; T is 4, as are H and D
@pytest.mark.parametrize("folder", FOLDERS)
def test_axes_are_those_of_the_comments_in_the_lesson(folder, document):
    recording = record.record(folder, at_random(folder), document, 0)
    comments = shape_comments(folder)
    found = [value for value in recording.values if value.line in comments and value.array.ndim]
    said = [value for value in found if len(comments[value.line]) == value.array.ndim]
    assert [value for value in said if value.axes != comments[value.line]] == []
    assert {value.line for value in said} == set(comments)


def shape_comments(folder: Path) -> dict[int, tuple[str, ...]]:
    """Return the axes that comments at the ends of lines state, by line: x = f(y)  # (T, C)."""
    shape = re.compile(r" = .*# \(([^()]*)\)")
    lines = (folder / "microgpt.py").read_text(encoding="utf-8").splitlines()
    found = ((number, shape.search(line)) for number, line in enumerate(lines, start=1))
    return {number: tuple(match[1].split(", ")) for number, match in found if match}


def test_there_are_shape_comments_to_compare_with():
    assert len(shape_comments(REFERENCE)) >= 8
    assert len(shape_comments(EXPLICIT)) >= 1


@pytest.mark.parametrize("folder", FOLDERS)
def test_an_axis_has_one_size(folder):
    recording = record.record(folder, at_random(folder), "emma", 0)
    sizes: dict[str, set[int]] = {}
    for value in record.joined_values(recording):
        for name, size in zip(value.axes, value.array.shape):
            sizes.setdefault(name, set()).add(size)
    del sizes["n"]
    one_size = {"T": 5, "T+1": 6, "H": 4, "D": 4, "C": 16, "4C": 64, "V": 27, "1": 1, "weights": 4064}
    assert {name: {size} for name, size in one_size.items() if name in sizes} == {
        name: size for name, size in sizes.items() if name != "t+1"
    }
    assert recording.param_axes["wpe"] == ("block_size", "C")
    assert recording.param_axes["layer0.mlp_fc1"] == ("4C", "C")


# 01 and 02
CHANGES: dict[str, list[tuple[str, str]]] = {
    "two layers": [("n_layer: int = 1", "n_layer: int = 2")],
    "one head": [("n_head: int = 4", "n_head: int = 1")],
}


@pytest.mark.parametrize("document", ["emma", "ana", "leonard"])
def test_01_and_02_have_the_same_values_and_gradients(document):
    params = at_random(REFERENCE)
    one, two = (record.record(folder, params, document, 3) for folder in (EXPLICIT, REFERENCE))
    assert differences(one, two) == []


@pytest.mark.parametrize("changes", CHANGES.values(), ids=CHANGES)
def test_01_and_02_are_the_same_as_other_models(changes, copies):
    explicit, reference = (copies(folder, *changes) for folder in (EXPLICIT, REFERENCE))
    params = at_random(reference)
    one, two = (record.record(folder, params, "ana", 3) for folder in (explicit, reference))
    assert differences(one, two) == []


@pytest.mark.parametrize("step", record.moments(STEPS))
def test_01_and_02_are_the_same_at_each_moment(step, trainings):
    (explicit, _), (reference, training) = trainings(EXPLICIT), trainings(REFERENCE)
    one, two = (record.record(folder, training, "emma", step) for folder in (explicit, reference))
    assert differences(one, two) == []


def differences(one: record.Recording, two: record.Recording) -> list[str]:
    """Return what is not the same: of all that both have by function, call and name, and of all weights' gradients."""
    ours, theirs = by_key(record.joined_values(one, like=two)), by_key(record.joined_values(two))
    wrong = [f"gradient of {name}" for name in two.grads if not close(one.grads[name], two.grads[name])]
    compared: set[tuple[str, str]] = set()
    grads = 0
    for key in ours.keys() & theirs.keys():
        value, other = ours[key], theirs[key]
        array = other.array[-1] if key[0] == "generate" and value.array.ndim < other.array.ndim else other.array
        compared.add((value.function, value.name))
        if not close(value.array, array):
            wrong.append(f"{key}")
        if value.grad is not None and other.grad is not None:
            grads += 1
            if not close(value.grad, other.grad):
                wrong.append(f"gradient of {key}")
    common = {(v.function, v.name) for v in one.values} & {(v.function, v.name) for v in two.values}
    assert compared == common, "01 and 02 have names in common that were not compared"
    assert len(compared) >= 40
    assert grads >= 30
    return wrong


def by_key(values: list[record.Value]) -> dict[Key, record.Value]:
    """Return the last state of each value."""
    return {(value.function, value.call, value.name, value.nth): value for value in values}


def close(ours: np.ndarray, theirs: np.ndarray) -> bool:
    """Compare what 01 computed: at what a position does not see it has nothing, where 02 has a masked score or 0."""
    if ours.shape != theirs.shape:
        return False
    seen = ~np.isnan(ours)
    return bool(seen.any() and np.abs(ours[seen] - theirs[seen]).max() <= CLOSE)


MISTAKES = [
    (
        REFERENCE,
        "dk = dattn_scores.swapaxes(-1, -2) @ saved.q * D**-0.5",
        "dk = dattn_scores @ saved.q * D**-0.5",
        "'k'",
    ),
    (
        REFERENCE,
        "dattn_weights = dattn_out @ saved.v",
        "dattn_weights = -dattn_out @ saved.v",
        "gradient of ('attention', 0, 'attn_weights', 0)",
    ),
    (REFERENCE, "/ C + 1e-5", "/ C + 1.00001e-5", "('rmsnorm', 0, 'scale', 0)"),
    (EXPLICIT, "h = [hi.relu_squared() for", "h = [hi.relu_squared() * 1.000001 for", "('mlp', 0, 'h', 0)"),
    (
        EXPLICIT,
        "child.grad += grad * local_grad",
        "child.grad = grad * local_grad",
        "gradient of ('block', 0, 'residual', 0)",
    ),
    (EXPLICIT, "visible = range(t + 1)", "visible = range(max(1, t))", "('attention', 0, 'attn_out', 0)"),
]


@pytest.mark.parametrize(("folder", "text", "mistake", "found"), MISTAKES, ids=[mistake[1] for mistake in MISTAKES])
def test_the_comparison_finds_mistakes(folder, text, mistake, found, copies):
    """A mistake in either file is found, also one that changes only gradients, or the 6th digit."""
    made = {each: copies(each, (text, mistake)) if each == folder else each for each in (EXPLICIT, REFERENCE)}
    params = at_random(REFERENCE)
    one, two = (record.record(made[each], params, "emma", 0) for each in (EXPLICIT, REFERENCE))
    assert any(found in difference for difference in differences(one, two))


def test_how_a_value_was_put_together_is_said():
    one, two = (record.record(folder, at_random(folder), "emma", 0) for folder in (EXPLICIT, REFERENCE))
    together = record.joined(one, like=two)
    assert together["attention", 0, "q"].became == "(T, C) → (H, T, D)"
    assert together["rmsnorm", 2, "x"].became == "5 × (C) → (T, C)"
    assert together["attention", 0, "attn_weights"].became == "20 × (t+1) → (H, T, T)"
    assert together["softmax", 0, "exps"].axes == ("H", "T", "T")
    q_head = record.joined(one)["attention", 0, "q_head"]
    assert np.array_equal(q_head.array, together["attention", 0, "q"].array)
    raw = [value.array for value in one.values if (value.function, value.name) == ("attention", "attn_weights")]
    assert np.array_equal(together["attention", 0, "attn_weights"].array[1, 2, :3], raw[5 + 2])


def test_gradients_of_02_have_their_names():
    values = by_key(record.joined_values(record.record(REFERENCE, at_random(REFERENCE), "emma", 0)))
    lines = (REFERENCE / "microgpt.py").read_text(encoding="utf-8").splitlines()
    for key, (name, line) in {
        ("attention", 0, "q", 0): ("dq", "dq = "),
        ("attention", 0, "attn_scores", 0): ("dattn_scores", "dattn_scores = "),
        ("block", 0, "normed", 0): ("dnormed", "dnormed = attention_backward("),
        ("block", 0, "normed", 1): ("dnormed", "dnormed = mlp_backward("),
        ("block", 0, "attn_out", 0): ("dout", "def attention_backward(dout"),
        ("rmsnorm", 0, "x", 0): ("demb", "demb = "),
        ("loss_fn", 0, "logits", 0): ("dlogits", "dlogits /= "),
        ("gpt", 0, "x", 1): ("dx", "dx = linear_backward("),
    }.items():
        assert values[key].grad_name == name
        assert lines[values[key].grad_line - 1].lstrip().startswith(line)


# The lesson's text is what is recorded
@pytest.mark.parametrize("folder", FOLDERS)
@pytest.mark.parametrize(
    ("text", "changed", "function", "name"),
    [("1e-5) ** -0.5", "1e-1) ** -0.5", "rmsnorm", "scale"), ("else 0.02", "else 0.04", "gpt", "tok_emb")],
)
def test_a_changed_constant_shows(folder, text, changed, function, name, copies):
    found = []
    for copy in (folder, copies(folder, (text, changed))):
        params = {name: np.array(rows) for name, rows in init_params(copy).items()}
        found.append(record.record(copy, params, "emma", 0).find(function, name).array)
    assert not np.allclose(*found, rtol=0.01)


def test_a_file_changed_between_two_recordings_is_read_anew(copies):
    copy = copies(REFERENCE, ("seed: int = 42", "seed: int = 7"))
    file, params = copy / "microgpt.py", at_random(REFERENCE)
    before = record.record(copy, params, "emma", 0)
    file.write_text(
        "# one line more\n"
        + file.read_text(encoding="utf-8")
        .replace("q, k, v = ", "q, key, v = ")
        .replace("@ k.swap", "@ key.swap")
        .replace("k=k", "k=key"),
        encoding="utf-8",
    )
    after = record.record(copy, params, "emma", 0)
    assert after.find("attention", "key").line == before.find("attention", "k").line + 1
    assert after.find("attention", "key").axes == ("H", "T", "D")


# Tracing, on small functions
SOURCE = """
def lines():
    a = [
        1,
        2,
    ]
    b = [
        x
        for x in a
    ]
    a = b
    b += [3]
    if (c := 4) > 3:
        d, (e, *f) = 5, (6, 7, 8)
    return a


def positions():
    out = []
    for h in range(2):
        for t in range(3):
            row = list(range(t + 1))
            number = 10 * h + t
            out.append(number)
    return out


def steps():
    total = 0
    for i in range(3):
        part = i + 1
        total += part
    while total > 4:
        total = total - 1
    return total


def nothing():
    for never in ():
        inside = never
    return 1
"""


@pytest.fixture(scope="module")
def traced(tmp_path_factory: pytest.TempPathFactory) -> Any:
    file = tmp_path_factory.mktemp("traced") / "functions.py"
    file.write_text(SOURCE, encoding="utf-8")
    names: dict[str, Any] = {}
    exec(compile(SOURCE, str(file), "exec"), names)

    def run(function: str) -> list[tuple[str, int, tuple[int, ...], Any]]:
        trace = Trace(str(file), read_statements(SOURCE), {"w": [[0] * 100]}, most_calls=10)
        with watching(trace):
            names[function]()
        return [(noted.name, noted.nth, noted.turn, noted.array.tolist()) for noted in trace.finish()]

    return run


def test_each_kind_of_assignment_is_seen(traced):
    assert traced("lines") == [
        ("a", 0, (), [1, 2]),
        ("b", 0, (), [1, 2]),
        ("a", 1, (), [1, 2]),
        ("b", 0, (), [1, 2, 3]),
        ("c", 0, (), 4),
        ("d", 0, (), 5),
        ("e", 0, (), 6),
        ("f", 0, (), [7, 8]),
    ]


def test_a_loop_over_positions_fills_one_array(traced):
    noted = traced("positions")
    assert [(name, nth, value) for name, nth, _, value in noted if name != "row"] == [
        ("h", 0, [0, 1]),
        ("t", 0, [[0, 1, 2], [0, 1, 2]]),
        ("number", 0, [[0, 1, 2], [10, 11, 12]]),
        ("out", 0, [0, 1, 2, 10, 11, 12]),
    ]
    rows = [(nth, turn, value) for name, nth, turn, value in noted if name == "row"]
    assert rows == [(0, (h, t), list(range(t + 1))) for h in range(2) for t in range(3)]


def test_a_loop_that_carries_on_makes_values_one_after_the_other(traced):
    noted = traced("steps")
    assert [(nth, value) for name, nth, _, value in noted if name == "total"] == [
        (0, 0),
        (1, 1),
        (2, 3),
        (3, 6),
        (4, 5),
        (5, 4),
    ]
    assert [(nth, value) for name, nth, _, value in noted if name == "part"] == [(0, 1), (1, 2), (2, 3)]


def test_a_loop_that_never_runs_gives_nothing(traced):
    assert traced("nothing") == []


# For pages
@pytest.fixture(scope="module")
def made(trainings: Any) -> tuple[record.Training, list[record.Recording], dict[str, Any]]:
    copy, training = trainings(REFERENCE)
    recordings = [record.record(copy, training, name, step) for name in record.documents() for step in training.states]
    return training, recordings, record.to_site(training, recordings)


def test_pages_get_the_recorded_numbers(made):
    _, recordings, site = made
    for recording in recordings:
        entry = site[f"{recording.folder}/{recording.document}-{recording.step}"]
        found = {(v["function"], v["call"], v["name"], v["nth"], v["line"]): v for v in entry["values"]}
        for value in record.joined_values(recording):
            data = found[value.function, value.call, value.name, value.nth, value.line]
            if "array" in data:
                shown = entry["arrays"][data["array"]]
                assert tuple(shown["axes"]) == value.axes
                assert_shown(shown, value.array)
            else:
                assert data.get("weight") or value.array.size > 1000
            if value.grad is not None and "array" in data:
                assert_shown(entry["arrays"][data["grad"]], value.grad)


def assert_shown(shown: dict[str, Any], array: np.ndarray) -> None:
    numbers = np.array([np.nan if number is None else float(number) for number in shown["data"]]).reshape(
        shown["shape"]
    )
    assert np.allclose(numbers, array, rtol=1e-5, atol=0, equal_nan=True)


def test_pages_get_the_weights_and_what_adam_has_for_each(made):
    training, recordings, site = made
    recording = recordings[-1 - 4 * len(training.states)]
    step = recording.step
    for name, shown in site[f"{training.folder}/weights-{step}"]["weights"].items():
        assert_shown(shown, training.states[step][name])
    entry = site[f"{training.folder}/{recording.document}-{step}-long"]
    by_name = {value["name"]: value for value in entry["values"] if value["function"] == "adam_step"}
    assert {"grad", "m", "v", "m_hat", "v_hat"} <= by_name.keys()
    for name, matrix in record.split(recording.find("adam_step", "m_hat").array, recording.params).items():
        assert_shown(by_name["m_hat"]["matrices"][name], matrix)
        assert_shown(entry["grads"][name], recording.grads[name])


def test_pages_see_how_a_value_moved(made):
    training, recordings, site = made
    moved = site[f"{training.folder}/{recordings[0].document}"]
    value = next(v for v in moved["values"] if (v["function"], v["name"]) == ("mlp", "h"))
    arrays = [
        recording.find("mlp", "h").array for recording in recordings if recording.document == recordings[0].document
    ]
    assert moved["steps"] == list(training.states)
    assert value["mean"] == pytest.approx([array.mean() for array in arrays], rel=1e-5)
    assert value["rms"] == pytest.approx([np.sqrt((array**2).mean()) for array in arrays], rel=1e-5)
    assert value["max"] == pytest.approx([array.max() for array in arrays], rel=1e-5)


def test_pages_get_little_at_a_time(made):
    for name, data in made[2].items():
        size = len(gzip.compress(json.dumps(data, separators=(",", ":"), allow_nan=False).encode()))
        assert size < (130_000 if name.endswith("-long") else 45_000), name


def test_01_says_where_02_has_the_same(made, trainings):
    training, recordings, site = made
    copy, own = trainings(EXPLICIT)
    two = recordings[0]
    one = record.record(copy, training, two.document, two.step)
    data = record.to_site(own, [one], beside=recordings)
    name = f"{one.document}-{one.step}"
    entry, theirs = data[f"{copy.name}/{name}"], site[f"{two.folder}/{name}"]
    same = [value for value in entry["values"] if "same_as" in value]
    assert entry["beside"] == two.folder
    assert all(theirs["values"][value["same_as"]]["name"] == value["name"] for value in same)
    assert {"q", "attn_weights", "h", "scale"} <= {value["name"] for value in same} | {"scale"}
    assert any(value["name"] == "q_head" and "array" in value for value in entry["values"])
    assert len(json.dumps(entry)) < 0.7 * len(json.dumps(theirs))
