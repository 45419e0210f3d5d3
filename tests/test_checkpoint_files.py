"""Checkpoint files: exact round trips, whole or not at all, and nothing but UserError for any bad file."""

import copy
import errno
import hashlib
import json
import math
import os
import random
import re
import struct
import subprocess
import sys
import textwrap
import time
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from unittest.mock import patch

import numpy as np
import pytest
import safetensors
import safetensors.numpy
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from microgpt_harness.run import checkpoint as checkpoints
from microgpt_harness.run.checkpoint import Checkpoint, describe_mismatch, load, parameter_shapes, save
from microgpt_harness.system import files, memory
from microgpt_harness.system.errors import RunError, UserError

SUFFIXES = (".json", ".safetensors")
DTYPES = ("float32", "float64")
READERS = ("NumPy", "bare Python")
CONFIG = {
    "n_layer": 2,
    "n_embd": 4,
    "n_head": 2,
    "block_size": 3,
    "num_steps": 500,
    "learning_rate": 0.01,
    "beta1": 0.9,
    "beta2": 0.95,
    "eps_adam": 1e-8,
    "clip_grad": 0.0,
    "batch_size": 1,
    "temperature": 0.5,
    "seed": 42,
}


def make_checkpoint(dtype: str = "float64", step: int = 7, seed: int = 1, as_arrays: bool = True) -> Checkpoint:
    """A small checkpoint with random numbers; `seed` also sets the state of the generator inside."""
    chars = [" ", "a", "é", "😀"]
    rng = random.Random(seed)
    rng.gauss(0, 1)  # leaves a spare Gaussian in the state

    def matrices(scale: float, non_negative: bool = False) -> dict:
        numbers = np.random.default_rng(rng.getrandbits(32))
        drawn = {
            name: numbers.normal(0, scale, shape).astype(dtype)
            for name, shape in parameter_shapes(CONFIG, len(chars) + 1).items()
        }
        return {name: np.square(m) if non_negative else m for name, m in drawn.items()}

    made = Checkpoint(
        params=matrices(0.2),
        adam_m=matrices(1e-3),
        adam_v=matrices(1e-3, non_negative=True),
        step=step,
        config=dict(CONFIG),
        chars=chars,
        dataset={"name": "names", "mode": "discrete", "sha256": "0" * 64},
        rng_state=rng.getstate(),
        dtype=dtype,
        extra={"ema": 2.5, "val": [[100, 2.25]], "note": "für später 😀", "nothing": None},
    )
    return made if as_arrays else as_lists(made)


def as_lists(made: Checkpoint) -> Checkpoint:
    return replace(
        made,
        **{
            group: {name: np.asarray(m).tolist() for name, m in getattr(made, group).items()}
            for group in ("params", "adam_m", "adam_v")
        },
    )


def bits(made: Checkpoint) -> str:
    """Everything in a checkpoint as text in which floats that differ in one bit (0.0 and -0.0 too) look different."""
    return repr(asdict(as_lists(made)))


@contextmanager
def reading_with(reader: str):
    """Make `load` read with NumPy or, as if that were not installed, without it."""
    installed = sys.modules["numpy"]
    if reader == "bare Python":
        sys.modules["numpy"] = None  # importing it now fails
    try:
        yield
    finally:
        sys.modules["numpy"] = installed


def pack(header: object, body: bytes) -> bytes:
    """A safetensors file of any header, right or wrong."""
    text = header if isinstance(header, bytes) else json.dumps(header).encode("utf-8")
    return len(text).to_bytes(8, "little") + text + body


def unpack(data: bytes) -> tuple[dict, bytes]:
    length = int.from_bytes(data[:8], "little")
    return json.loads(data[8 : 8 + length]), data[8 + length :]


@pytest.fixture(scope="module")
def originals(tmp_path_factory) -> dict[str, bytes]:
    """The bytes of one valid checkpoint in each format."""
    folder = tmp_path_factory.mktemp("originals")
    for suffix in SUFFIXES:
        save(folder / f"checkpoint{suffix}", make_checkpoint("float32"))
    return {suffix: (folder / f"checkpoint{suffix}").read_bytes() for suffix in SUFFIXES}


# Round trips


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize("as_arrays", [True, False])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("suffix", SUFFIXES)
def test_round_trip_is_bit_for_bit(tmp_path, suffix, dtype, as_arrays, reader):
    made = make_checkpoint(dtype, as_arrays=as_arrays)
    path = tmp_path / f"checkpoint{suffix}"
    save(path, made)
    with reading_with(reader):
        loaded = load(path)
    assert bits(loaded) == bits(made)
    for matrix in (*loaded.params.values(), *loaded.adam_m.values(), *loaded.adam_v.values()):
        if suffix == ".json" or reader == "bare Python":
            assert type(matrix) is list and type(matrix[0][0]) is float
        else:
            assert type(matrix) is np.ndarray and matrix.dtype == dtype and matrix.flags.writeable
    generator, expected = random.Random(), random.Random()
    generator.setstate(loaded.rng_state)
    expected.setstate(made.rng_state)
    assert [generator.gauss(0, 1) for _ in range(5)] == [expected.gauss(0, 1) for _ in range(5)]
    assert [entry.name for entry in tmp_path.iterdir()] == [path.name]


@pytest.mark.parametrize("dtype", DTYPES)
def test_formats_convert_into_each_other(tmp_path, dtype):
    made = make_checkpoint(dtype)
    first, second, third = tmp_path / "a.json", tmp_path / "b.safetensors", tmp_path / "c.json"
    save(first, made)
    save(second, load(first))
    save(third, load(second))
    assert first.read_bytes() == third.read_bytes()
    assert bits(load(second)) == bits(made)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("suffix", SUFFIXES)
def test_extreme_floats_survive(tmp_path, suffix, dtype):
    made = make_checkpoint(dtype)
    limits = np.finfo(dtype)
    made.params["wpe"][0] = [-0.0, limits.max, limits.smallest_subnormal, -limits.tiny]
    save(tmp_path / f"checkpoint{suffix}", made)
    assert bits(load(tmp_path / f"checkpoint{suffix}")) == bits(made)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_transposed_and_strided_arrays_keep_their_order(tmp_path, suffix):
    made = make_checkpoint()
    strided = replace(made, params={name: np.asfortranarray(m) for name, m in made.params.items()})
    strided.adam_m["wte"] = np.repeat(made.adam_m["wte"], 2, axis=1)[:, ::2]
    save(tmp_path / f"checkpoint{suffix}", strided)
    assert bits(load(tmp_path / f"checkpoint{suffix}")) == bits(made)


@given(numbers=st.lists(st.floats(width=32, allow_nan=False, allow_infinity=False), min_size=12, max_size=12))
@settings(max_examples=50, deadline=None, derandomize=True, database=None)
def test_any_float32_survives(tmp_path_factory, numbers):
    folder = tmp_path_factory.mktemp("float32")
    made = make_checkpoint("float32")
    made.params["wpe"] = np.array(numbers, dtype=np.float32).reshape(3, 4)
    for suffix in SUFFIXES:
        save(folder / f"checkpoint{suffix}", made)
        assert bits(load(folder / f"checkpoint{suffix}")) == bits(made)


@pytest.mark.parametrize("dtype", DTYPES)
def test_other_programs_find_the_weights_under_their_names(tmp_path, dtype):
    made = make_checkpoint(dtype)
    path = tmp_path / "checkpoint.safetensors"
    save(path, made)
    tensors = safetensors.numpy.load_file(path)
    assert len(tensors) == 3 * len(made.params)
    for name, matrix in made.params.items():
        assert tensors[name].dtype == dtype
        np.testing.assert_array_equal(tensors[name], matrix)
        np.testing.assert_array_equal(tensors[f"adam_v.{name}"], made.adam_v[name])
    with safetensors.safe_open(path, "np") as file:
        assert json.loads(file.metadata()["microgpt"])["format_version"] == 1


def test_json_is_plain_json_with_one_row_a_line(tmp_path):
    path = tmp_path / "checkpoint.json"
    save(path, make_checkpoint())
    text = path.read_text(encoding="utf-8")
    assert json.loads(text)["tensors"]["layer1.mlp_fc2"]
    assert json.loads(text)["step"] == 7
    assert max(len(line) for line in text.splitlines() if "rng_state" not in line) < 500


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("as_arrays", [True, False])
def test_the_bytes_are_those_of_version_1(tmp_path, dtype, as_arrays):
    """What 1.0.0 wrote: by the safetensors library, with a checksum over each float as a double."""
    made = make_checkpoint(dtype, as_arrays=as_arrays)
    tensors = {
        prefix + name: np.array(m, dtype)
        for prefix, group in (("", made.params), ("adam_m.", made.adam_m), ("adam_v.", made.adam_v))
        for name, m in group.items()
    }
    fields = ("step", "dtype", "config", "chars", "dataset", "rng_state", "extra")
    document = {"format_version": 1} | {name: getattr(made, name) for name in fields}
    digest = hashlib.sha256(json.dumps(document, sort_keys=True).encode())
    for name, matrix in sorted(tensors.items()):
        digest.update(name.encode())
        digest.update(struct.pack(f"<{matrix.size}d", *matrix.ravel().tolist()))
    document["sha256"] = digest.hexdigest()
    before = safetensors.numpy.save(tensors, metadata={"microgpt": json.dumps(document)})
    path = tmp_path / "checkpoint.safetensors"
    save(path, made)
    assert path.read_bytes() == before


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("chunk", [1, 7, 8, 2**16])
def test_pieces_of_any_length_make_the_same_file(tmp_path, monkeypatch, dtype, chunk):
    made = make_checkpoint(dtype)
    save(tmp_path / "rows.safetensors", as_lists(made))
    monkeypatch.setattr(checkpoints, "CHUNK", chunk)
    save(tmp_path / "arrays.safetensors", made)
    assert (tmp_path / "arrays.safetensors").read_bytes() == (tmp_path / "rows.safetensors").read_bytes()


def test_everything_loads_without_numpy(tmp_path):
    for suffix in SUFFIXES:
        save(tmp_path / f"checkpoint{suffix}", make_checkpoint())
    program = """
        import sys
        sys.path.insert(0, sys.argv[1])
        from microgpt_harness.run import checkpoint
        assert "numpy" not in sys.modules
        sys.modules["numpy"] = None  # importing it now fails
        from pathlib import Path
        folder = Path(sys.argv[2])
        loaded = [checkpoint.load(folder / name) for name in ("checkpoint.json", "checkpoint.safetensors")]
        assert loaded[0] == loaded[1] and loaded[0].step == 7
        for suffix, other in ((".json", loaded[1]), (".safetensors", loaded[0])):
            checkpoint.save(folder / f"again{suffix}", other)
            assert (folder / f"again{suffix}").read_bytes() == (folder / f"checkpoint{suffix}").read_bytes()
    """
    harness = Path(files.__file__).parents[1]
    done = subprocess.run(
        [sys.executable, "-I", "-c", textwrap.dedent(program), harness, tmp_path], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr


# Saving: whole or not at all


@pytest.mark.parametrize("call", ["microgpt_harness.system.files.os.fsync", "os.replace", "write"])
@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EACCES])
@pytest.mark.parametrize("suffix", SUFFIXES)
def test_failed_write_leaves_the_old_file_and_nothing_else(tmp_path, suffix, code, call):
    path = tmp_path / f"checkpoint{suffix}"
    save(path, make_checkpoint(step=1))
    old = path.read_bytes()
    failure = OSError(code, os.strerror(code))
    real_open = Path.open

    def open_full_disk(self, *args, **kwargs):
        file = real_open(self, *args, **kwargs)
        return FullDisk(file, failure)

    broken = patch.object(Path, "open", open_full_disk) if call == "write" else patch(call, side_effect=failure)
    with broken, pytest.raises(RunError) as caught:
        save(path, make_checkpoint(step=2))
    assert os.strerror(code) in str(caught.value)
    assert "\n" not in str(caught.value) and path.name in str(caught.value)
    assert path.read_bytes() == old
    assert list(tmp_path.iterdir()) == [path]


class FullDisk:
    """A file that takes a few bytes and then has no room."""

    def __init__(self, file, failure):
        self.file, self.failure = file, failure

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.file.close()

    def write(self, data):
        self.file.write(data[:100])
        raise self.failure


def test_interrupted_save_leaves_no_temporary(tmp_path):
    path = tmp_path / "checkpoint.json"
    with patch("os.replace", side_effect=KeyboardInterrupt), pytest.raises(KeyboardInterrupt):
        save(path, make_checkpoint())
    assert list(tmp_path.iterdir()) == []


def test_save_into_a_missing_folder_is_one_line(tmp_path):
    with pytest.raises(RunError, match=r"could not be written: .*--out"):
        save(tmp_path / "missing" / "checkpoint.json", make_checkpoint())


def test_only_stale_temporaries_of_the_same_target_are_removed(tmp_path):
    path = tmp_path / "checkpoint.json"
    names = {
        "stale": f".checkpoint.json.{'0' * 16}.tmp",
        "of a save under way": f".checkpoint.json.{'1' * 16}.tmp",
        "of another target": f".other.json.{'0' * 16}.tmp",
        "not ours": ".checkpoint.json.notes.tmp",
    }
    long_ago = time.time() - 10 * files.STALE_SECONDS
    for kind, name in names.items():
        (tmp_path / name).write_bytes(b"")
        if kind != "of a save under way":
            os.utime(tmp_path / name, (long_ago, long_ago))
    save(path, make_checkpoint())
    assert {entry.name for entry in tmp_path.iterdir()} == {path.name, *names.values()} - {names["stale"]}


def broken_checkpoints() -> dict[str, Checkpoint]:
    good = make_checkpoint("float32", as_arrays=False)

    def with_weight(value: object) -> Checkpoint:
        return replace(good, params=good.params | {"wpe": [[value] * 4, *good.params["wpe"][1:]]})

    return {
        "not finite": with_weight(math.nan),
        "finite": with_weight(math.inf),
        "not a float": with_weight(1),
        "no float32": with_weight(0.1),
        "is no float32": with_weight(1e300),
        "negative": replace(good, adam_v=good.adam_m),
        "wpe is not 3 x 4": replace(good, params=good.params | {"wpe": [[0.0]]}),
        "not a matrix": replace(good, params=good.params | {"wpe": [0.0] * 12}),
        "'wpe' is missing": replace(good, adam_m={k: v for k, v in good.adam_m.items() if k != "wpe"}),
        "does not belong": replace(good, params=good.params | {"bias": [[0.0]]}),
        "step": replace(good, step=True),
        "dtype": replace(good, dtype="float16"),
        "not sorted": replace(good, chars=good.chars[::-1]),
        "not a character": replace(good, chars=[*good.chars[:-1], "\ud800"]),
        "dataset is not": replace(good, dataset=good.dataset | {"when": (1, 2)}),
        "extra is not": replace(good, extra={"ema": math.nan}),
        "generator": replace(good, rng_state=(3, good.rng_state[1][:-1], None)),
        "not divisible": replace(good, config=CONFIG | {"n_head": 3}),
        "learning_rate": replace(good, config=CONFIG | {"learning_rate": math.nan}),
        "n_layer": replace(good, config=CONFIG | {"n_layer": 10**9}),
        "'bias' does not belong": replace(good, config=CONFIG | {"bias": False}),
        "'seed' is missing": replace(good, config={k: v for k, v in CONFIG.items() if k != "seed"}),
    }


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("problem", broken_checkpoints())
def test_what_could_not_be_loaded_is_not_saved(tmp_path, suffix, problem):
    path = tmp_path / f"checkpoint{suffix}"
    with pytest.raises(RunError, match=problem):
        save(path, broken_checkpoints()[problem])
    assert list(tmp_path.iterdir()) == []


def broken_arrays() -> dict[str, np.ndarray]:
    """What an engine might give for wpe → the words that refuse it, those that refuse rows."""
    whole = np.zeros((3, 4))

    def with_weight(value: float, dtype: str = "float32") -> np.ndarray:
        changed = whole.astype(dtype)
        changed[2, 3] = value
        return changed

    return {
        "params wpe holds a number that is not finite": with_weight(math.nan),
        "wpe holds a number that is not finite": with_weight(math.inf),
        "holds a number that is not finite": with_weight(-math.inf),
        "params wpe holds something that is not a float": whole.astype(int),
        "wpe holds something that is not a float": whole.astype(bool),
        "holds something that is not a float": whole.astype(complex),
        "params wpe holds a number that is no float32": with_weight(0.1, "float64"),
        "wpe holds a number that is no float32": with_weight(1e300, "float64"),
        "params wpe is not 3 x 4": whole.T,
        "wpe is not 3 x 4": np.zeros((3, 0)),
        "params wpe is not a matrix": whole.ravel(),
        "wpe is not a matrix": np.array(0.5),
    }


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("problem", broken_arrays())
def test_an_array_that_could_not_be_loaded_is_not_saved(tmp_path, suffix, problem):
    good = make_checkpoint("float32")
    with pytest.raises(RunError, match=f": {problem};" if problem.startswith("params") else problem):
        save(tmp_path / f"checkpoint{suffix}", replace(good, params=good.params | {"wpe": broken_arrays()[problem]}))
    with pytest.raises(RunError, match=": adam_v wte holds a negative number;"):
        save(tmp_path / f"checkpoint{suffix}", replace(good, adam_v=good.adam_m))
    assert list(tmp_path.iterdir()) == []


def test_numbers_that_ran_away_have_a_remedy_when_saved_only(tmp_path):
    good, path = make_checkpoint(as_arrays=False), tmp_path / "checkpoint.json"
    broken = replace(good, adam_v=good.adam_v | {"wte": [[math.inf] * 4] * 5})
    with pytest.raises(RunError, match=r"adam_v wte holds a number that is not finite; .*; try a smaller --lr$"):
        save(path, broken)
    with pytest.raises(RunError) as caught:
        save(path, replace(good, step=-1))
    assert "--lr" not in str(caught.value)
    save(path, good)
    path.write_text(re.sub(r'("wpe": \[\[)[^,]*', r"\g<1>1e999", path.read_text("utf-8"), count=1), encoding="utf-8")
    with pytest.raises(UserError, match="not finite; train again or name another") as caught:
        load(path)
    assert "--lr" not in str(caught.value)


def test_saving_under_another_suffix_is_refused(tmp_path):
    with pytest.raises(UserError, match=r"\.safetensors or \.json"):
        save(tmp_path / "checkpoint.pt", make_checkpoint())


# Loading: a valid checkpoint or UserError, and nothing touched

# While a load is watched, Python reports here whatever could change the world: an audit hook cannot be evaded.
HARMLESS_EVENTS = {"import", "compile", "marshal.loads", "object.__getattr__", "object.__setattr__", "array.__new__"}
events: list[tuple[str, tuple]] = []
watching = False


def audit(event: str, arguments: tuple) -> None:
    if watching and event not in HARMLESS_EVENTS:
        events.append((event, arguments))


sys.addaudithook(audit)


def load_or_refuse(path: Path, reader: str) -> Checkpoint | str:
    """Load a file that may be anything. Only a valid checkpoint or a one-line UserError is a right answer."""
    global watching
    before = sorted((entry.name, entry.stat().st_size) for entry in path.parent.iterdir())
    events.clear()
    with reading_with(reader):
        watching = True
        try:
            result = load(path)
        except UserError as error:
            result = str(error)
        finally:
            watching = False
    assert sorted((entry.name, entry.stat().st_size) for entry in path.parent.iterdir()) == before
    opened = [arguments for event, arguments in events if event == "open"]
    assert [event for event, _ in events if event != "open"] == []
    named = {Path(name) for name, _, _ in opened if not isinstance(name, int)}  # an int is one opened before
    assert named - {memory.CONTAINER} == {path}
    assert not any(flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT) for _, _, flags in opened)
    if isinstance(result, str):
        assert str(path) in result and "--checkpoint" in result
        assert "\n" not in result and len(result) < 400 + len(str(path))
        result.removeprefix(f"checkpoint {path}").encode("ascii")
    else:
        assert_valid(result)
    return result


def assert_valid(loaded: Checkpoint) -> None:
    """Hold a loaded checkpoint to what its users rely on, independently of how `load` checks."""
    for char in loaded.chars:
        assert len(char.encode("utf-8").decode("utf-8")) == 1
    assert loaded.chars == sorted(set(loaded.chars))
    assert loaded.step >= 0 and type(loaded.step) is int
    assert loaded.config["n_embd"] % loaded.config["n_head"] == 0
    shapes = parameter_shapes(loaded.config, len(loaded.chars) + 1)
    for group in (loaded.params, loaded.adam_m, loaded.adam_v):
        assert {name: np.shape(rows) for name, rows in group.items()} == shapes
        for rows in group.values():
            array = np.asarray(rows, dtype=loaded.dtype)
            assert np.isfinite(array).all() and array.tolist() == np.asarray(rows).tolist()
    assert all(np.min(rows) >= 0 for rows in loaded.adam_v.values())
    random.Random().setstate(loaded.rng_state)
    json.dumps([loaded.config, loaded.dataset, loaded.extra], allow_nan=False, ensure_ascii=False).encode("utf-8")


def fuzz(folder: Path, data: bytes, suffix: str) -> Checkpoint | str:
    """Give one hostile file to both readers, which must say the same of it, or find the same checkpoint."""
    path = folder / f"fuzzed{suffix}"
    path.write_bytes(data)
    with_numpy, without = (load_or_refuse(path, reader) for reader in READERS)
    assert (with_numpy if isinstance(with_numpy, str) else bits(with_numpy)) == (
        without if isinstance(without, str) else bits(without)
    )
    return with_numpy


def fuzzed(max_examples: int):
    checks = [HealthCheck.too_slow, HealthCheck.function_scoped_fixture, HealthCheck.data_too_large]
    return settings(
        max_examples=max_examples, deadline=None, derandomize=True, database=None, suppress_health_check=checks
    )


suffixes = st.sampled_from(SUFFIXES)


@fuzzed(300)
@given(data=st.data(), suffix=suffixes)
def test_truncated(tmp_path, originals, data, suffix):
    original = originals[suffix].rstrip()
    length = data.draw(st.one_of(st.integers(0, len(original) - 1), st.integers(0, 64)))
    assert isinstance(fuzz(tmp_path, original[:length], suffix), str)


@fuzzed(250)
@given(data=st.data(), suffix=suffixes)
def test_flipped_bits(tmp_path, originals, data, suffix):
    """A flipped bit is noticed wherever it falls, or it changed nothing (white space, an upper case hex digit)."""
    damaged = bytearray(originals[suffix])
    position = st.one_of(st.integers(0, len(damaged) - 1), st.integers(0, 300))
    for bit in data.draw(st.lists(st.tuples(position, st.integers(0, 7)), min_size=1, max_size=3)):
        damaged[bit[0]] ^= 1 << bit[1]
    loaded = fuzz(tmp_path, bytes(damaged), suffix)
    assert isinstance(loaded, str) or bits(loaded) == bits(make_checkpoint("float32"))


@fuzzed(300)
@given(data=st.data(), suffix=suffixes)
def test_spliced(tmp_path, originals, data, suffix):
    """Bytes put in, taken out or repeated."""
    original = originals[suffix]
    start, stop = (data.draw(st.integers(0, len(original))) for _ in range(2))
    fuzz(tmp_path, original[:start] + data.draw(st.binary(max_size=50)) + original[stop:], suffix)


@fuzzed(300)
@given(content=st.binary(max_size=300), framed=st.booleans(), suffix=suffixes)
def test_random_bytes(tmp_path, content, framed, suffix):
    assert isinstance(fuzz(tmp_path, pack(content, b"") if framed else content, suffix), str)


strange_numbers = st.sampled_from([-1, 0, 1, 2**31, 2**32, 2**53, 2**63, 2**64, 10**400, -0.0, 0.5, 1e308, math.nan])
strange_texts = st.sampled_from(["", "..", "../../evil", "/etc/passwd", "a\0b", "\n", "\ud800", "F16", "I64", "\u2028"])
scalars = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=5))
junk = st.recursive(
    st.one_of(scalars, strange_numbers, strange_texts),
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(strange_texts, inner, max_size=3)),
    max_leaves=6,
)


def mutate(data: st.DataObject, tree: object) -> None:
    """Replace, remove or add one value, anywhere in a tree of JSON."""
    while True:
        keys = list(tree) if isinstance(tree, dict) else list(range(len(tree)))
        key = data.draw(st.sampled_from(keys)) if keys else None
        if keys and isinstance(tree[key], (dict, list)) and data.draw(st.integers(0, 3)):
            tree = tree[key]
            continue
        change = data.draw(st.sampled_from(["replace", "replace", "remove", "add", "copy"])) if keys else "add"
        if change == "replace":
            tree[key] = data.draw(junk)
        elif change == "remove":
            del tree[key]
        elif change == "copy":
            tree[key] = copy.deepcopy(tree[data.draw(st.sampled_from(keys))])
        elif isinstance(tree, dict):
            tree[data.draw(st.one_of(strange_texts, st.text(max_size=3)))] = data.draw(junk)
        else:
            tree.append(data.draw(junk))
        return


def reseal(document: dict, tensors: dict) -> None:
    """Give a changed document the right checksum, where it still can have one."""
    content = {key: value for key, value in document.items() if key not in ("sha256", "tensors")}
    try:
        document["sha256"] = checkpoints._checksum(content, tensors)
    except (TypeError, ValueError, AttributeError, OverflowError):
        return  # the tensors are no longer floats


@fuzzed(250)
@given(data=st.data())
def test_wrong_values_anywhere_in_the_json(tmp_path, originals, data):
    document = json.loads(originals[".json"])
    for _ in range(data.draw(st.integers(1, 2))):
        mutate(data, document)
    if data.draw(st.booleans()):
        reseal(document, document.get("tensors"))
    fuzz(tmp_path, json.dumps(document).encode("utf-8"), ".json")


@fuzzed(200)
@given(data=st.data())
def test_wrong_values_anywhere_in_the_safetensors_header(tmp_path, originals, data):
    header, body = unpack(originals[".safetensors"])
    document = json.loads(header["__metadata__"]["microgpt"])
    if data.draw(st.booleans()):
        mutate(data, document)
        reseal(document, {name: m.tolist() for name, m in safetensors.numpy.load(originals[".safetensors"]).items()})
        header["__metadata__"]["microgpt"] = json.dumps(document)
    else:
        mutate(data, header)
    fuzz(tmp_path, pack(header, body), ".safetensors")


@fuzzed(200)
@given(data=st.data())
def test_foreign_but_valid_safetensors(tmp_path, data):
    """Files that the library itself wrote, of other programs or with another content under our metadata."""
    shapes = st.lists(st.integers(0, 3), max_size=3)
    dtypes = st.sampled_from(["float16", "float32", "float64", "int64", "uint8", "bool"])
    names = st.one_of(strange_texts.filter(lambda text: text.isprintable()), st.sampled_from(["wte", "adam_m.wte"]))
    tensors = {
        name: np.zeros(shape, dtype=dtype)
        for name, (shape, dtype) in data.draw(st.dictionaries(names, st.tuples(shapes, dtypes), max_size=4)).items()
    }
    metadata = data.draw(st.sampled_from([None, {}, {"format": "pt"}, {"microgpt": "{}"}, {"microgpt": "1"}]))
    content = safetensors.numpy.save(tensors, metadata=metadata)
    assert isinstance(fuzz(tmp_path, content, ".safetensors"), str)


def hostile_files() -> dict[str, tuple[str, object]]:
    """Change to the header of a valid safetensors file → the line it must bring."""

    def entry(**changes):
        return lambda header: header["wte"].update(changes)

    def document(**changes):
        def change(header):
            inner = json.loads(header["__metadata__"]["microgpt"]) | changes
            header["__metadata__"]["microgpt"] = json.dumps(inner)

        return change

    return {
        "negative offset": ("offsets", entry(data_offsets=[-80, 0])),
        "huge offset": ("wrong number of bytes", entry(data_offsets=[0, 2**62])),
        "overlap": ("overlap", entry(data_offsets=[80, 160])),
        "huge shape": ("wrong number of bytes", entry(shape=[2**40, 2**40])),
        "empty rows without end": ("two positive integers", entry(shape=[2**40, 0], data_offsets=[0, 0])),
        "three dimensions": ("two positive integers", entry(shape=[1, 5, 4])),
        "boolean shape": ("two positive integers", entry(shape=[True, 20])),
        "bfloat16": ("has dtype 'BF16', not F32 or F64", entry(dtype="BF16")),
        "one float64": ("is float64, the checkpoint 'float32'", entry(dtype="F64")),
        "unknown key": ("entry of tensor 'wte' is damaged", entry(more=1)),
        "transposed": ("wte is not 5 x 4", entry(shape=[4, 5])),
        "path as a name": ("is missing", lambda header: header.update({"../../evil": header.pop("wte")})),
        "NUL in a name": ("is missing", lambda header: header.update({"wte\0": header.pop("wte")})),
        "other program": ("another program", lambda header: header.pop("__metadata__")),
        "new version": ("format_version is 2, this program reads 1", document(format_version=2)),
        "layers without end": ("n_layer = 1000000000", document(config=CONFIG | {"n_layer": 10**9})),
        "attention without end": ("attention scores", document(config=CONFIG | {"block_size": 6000})),
        "other learning rate": ("checksum", document(config=CONFIG | {"learning_rate": 0.02})),
        "other step": ("checksum", document(step=8)),
        "unknown entry": ("'code' does not belong", document(code="import os")),
        "missing tensors": ("params tensor 'layer2.attn_wk' is missing", document(config=CONFIG | {"n_layer": 3})),
        "state too long": ("generator", document(rng_state=[3, [0] * 626, None])),
        "position too large": ("generator", document(rng_state=[3, [1] * 624 + [625], None])),
        "old generator": ("generator", document(rng_state=[2, [1] * 624 + [1], None])),
        "no mode": ("mode", document(dataset={"name": "names"})),
        "two characters": ("not a character", document(chars=["a", "bc", "d", "e"])),
    }


@pytest.mark.parametrize("kind", hostile_files())
def test_hostile_header(tmp_path, originals, kind):
    line, change = hostile_files()[kind]
    header, body = unpack(originals[".safetensors"])
    change(header)
    assert line in fuzz(tmp_path, pack(header, body), ".safetensors")
    if line != "checksum":  # refused before a number is read: there may be as many as fit into the memory
        with patch.object(checkpoints, "_read_tensors", side_effect=AssertionError("they were read")):
            assert line in load_or_refuse(tmp_path / "fuzzed.safetensors", "NumPy")


def test_rows_take_more_memory_than_the_file(tmp_path, originals, monkeypatch):
    path = tmp_path / "checkpoint.safetensors"
    path.write_bytes(originals[".safetensors"])
    n_numbers = sum(matrix.size for matrix in safetensors.numpy.load(originals[".safetensors"]).values())
    for there, fits in ((32 * n_numbers, True), (32 * n_numbers - 1, False)):
        monkeypatch.setattr(memory, "total", lambda there=there: there)
        assert isinstance(load_or_refuse(path, "NumPy"), Checkpoint)
        result = load_or_refuse(path, "bare Python")
        assert isinstance(result, Checkpoint) if fits else "does not fit in memory" in result


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("[" * 100_000, "nested too deeply"),
        ('{"a":' * 100_000, "nested too deeply"),
        ('{"step": 1, "step": 2}', "a key twice"),
        ('{"step": NaN}', "it holds NaN"),
        ('{"step": -Infinity}', "it holds -Infinity"),
        ('{"step": ' + "9" * 10_000 + "}", "JSON is damaged"),
        ("[1, 2]", "not an object"),
        ("", "JSON is damaged"),
    ],
)
def test_hostile_json(tmp_path, suffix, text, line):
    content = text.encode("utf-8")
    inside = pack({"__metadata__": {"microgpt": text}}, b"")
    assert line in fuzz(tmp_path, content if suffix == ".json" else pack(content, b""), suffix)
    assert line in fuzz(tmp_path, inside, ".safetensors")


@pytest.mark.parametrize("element", ["{},", "[],", '"ab",', "1.5,"])
def test_json_that_would_fill_the_memory(tmp_path, monkeypatch, element):
    monkeypatch.setattr(checkpoints, "MAX_JSON_MEMORY", 2**22)
    text = '{"step": [' + 140_000 * element + "0]}"
    assert "too much memory" in fuzz(tmp_path, text.encode(), ".json")


@pytest.mark.parametrize("length", [0, 1, 99, 100_000_001, 2**31, 2**63, 2**64 - 1])
def test_header_longer_than_the_file(tmp_path, length):
    line = "JSON is damaged" if length < 2 else "cut off"
    assert line in fuzz(tmp_path, length.to_bytes(8, "little") + b"{}" * 8, ".safetensors")


@pytest.mark.parametrize("reader", READERS)
def test_a_file_that_becomes_shorter_while_it_is_read(tmp_path, monkeypatch, reader):
    monkeypatch.setitem(CONFIG, "n_embd", 64)  # more numbers than are read ahead with the header
    path = tmp_path / "checkpoint.safetensors"
    save(path, make_checkpoint())
    read_header = checkpoints._read_header

    def shortening(file):
        header = read_header(file)
        os.truncate(path, path.stat().st_size - 1)
        return header

    with (
        reading_with(reader),
        patch.object(checkpoints, "_read_header", shortening),
        pytest.raises(UserError, match="it is cut off"),
    ):
        load(path)


def test_trailing_bytes_are_refused(tmp_path, originals):
    assert "no tensor" in fuzz(tmp_path, originals[".safetensors"] + b"\0", ".safetensors")


def test_a_pickle_is_refused_unopened(tmp_path):
    """Bytes that would call print on being unpickled, under our suffixes."""
    for suffix in SUFFIXES:
        assert isinstance(fuzz(tmp_path, b"cbuiltins\nprint\n(S'hello'\ntR.", suffix), str)


def test_missing_and_unreadable_paths_are_one_line(tmp_path, monkeypatch):
    (tmp_path / "folder.json").mkdir()
    monkeypatch.setattr(memory, "total", lambda: 2**30)
    for name, size in (("large.safetensors", 2**30), ("large.json", 2**26)):
        with (tmp_path / name).open("wb") as file:
            file.truncate(size + 1)  # a hole: takes no room on the disk
    cases = {
        "missing.json": "no checkpoint at",
        "missing.safetensors": "no checkpoint at",
        "folder.json": "it is a folder",
        "large.safetensors": "larger than 1,073,741,824 bytes",
        "large.json": "larger than 67,108,864 bytes",
        "x" * 300 + ".json": "File name too long" if os.name == "posix" else "",
        "nul\0.json": "cannot be read",
        "model.pt": r"\.safetensors or \.json",
        "large.safetensors/inside.json": "cannot be read",
    }
    for name, line in cases.items():
        with pytest.raises(UserError, match=line) as caught:
            load(tmp_path / name)
        assert "\n" not in str(caught.value)


def test_describe_mismatch_names_what_differs():
    assert describe_mismatch(CONFIG, CONFIG | {"seed": 1}) is None
    assert describe_mismatch(CONFIG, {"n_embd": 32}) == "n_embd is 4 in the checkpoint, 32 asked for"
    both = describe_mismatch(CONFIG, {"n_layer": 1, "block_size": 3, "n_head": 4})
    assert both == "n_layer is 2 in the checkpoint, 1 asked for; n_head is 2 in the checkpoint, 4 asked for"
