"""Checkpoint files: everything a run needs to go on, under the same names whichever lesson wrote it.

Two formats hold the same content, and the file's suffix says which:

- `.safetensors`: the weights under their own names (`wte`, `layer0.attn_wq`, ...), so that any safetensors reader
  finds them; Adam's moments as `adam_m.<name>` and `adam_v.<name>`; the rest is JSON text, the value of `microgpt` in
  the format's string-to-string `__metadata__`.
- `.json`: that same JSON object with one more entry, `tensors`: name → rows. Python writes a float with as many digits
  as it takes to read the same float back, so this format is exact too.

A file may come from anyone, so nothing in it is believed before it is checked, and reading one never runs code.
"""

import hashlib
import json
import math
import sys
from array import array
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from ..contract import Tensors
from ..system import files
from ..system.errors import RunError, UserError
from . import bounds
from .bounds import MAX_SCORES

FORMAT_VERSION = 1
MAX_FILE_BYTES = {".safetensors": 2**30, ".json": 2**26}
# The lessons draw their first weights as Python lists. A checkpoint keeps three numbers a weight, in JSON as some 22
# characters each.
MAX_WEIGHTS = {".safetensors": 40_000_000, ".json": 500_000}
MAX_JSON_MEMORY = 2**28  # bytes that JSON may become in memory: `{},` are 3 bytes in a file, 72 as an object

DOCUMENT_FIELDS = ("step", "dtype", "config", "chars", "dataset", "rng_state", "extra")
TENSOR_GROUPS = {"params": "", "adam_m": "adam_m.", "adam_v": "adam_v."}  # with the prefix of their names in a file
SAFETENSORS_DTYPES = {"F32": ("float32", "f", 4), "F64": ("float64", "d", 8)}  # our name, array's type code, bytes

Rows = list[list[float]]


@dataclass
class Checkpoint:
    """The state of a run after `step` steps. `load` gives every matrix as rows of Python floats, `save` takes either.

    params, adam_m and adam_v have the same names and shapes, those of `parameter_shapes`.
    config: Config's fields. chars: the sorted vocabulary without BOS. rng_state: from `random.Random.getstate()`.
    dataset: at least `name` and `mode`, for people and for choosing how to sample: never build a path from them.
    dtype: "float32" or "float64", in which the run computes. extra: any further JSON object; only the caller checks it.
    """

    params: Tensors
    adam_m: Tensors
    adam_v: Tensors
    step: int
    config: dict[str, Any]
    chars: list[str]
    dataset: dict[str, Any]
    rng_state: tuple[Any, ...]
    dtype: str
    extra: dict[str, Any] = field(default_factory=dict)


class _InvalidError(Exception):
    """What is wrong with a checkpoint, as the middle of a sentence: `load` and `save` put the file's name around it."""


class _NotFiniteError(_InvalidError):
    """A number that is infinite or none at all: in a run of one's own, a sign that it has run away."""


def save(path: Path, checkpoint: Checkpoint) -> None:
    """Write a checkpoint, whole or not at all, in the format of the path's suffix.

    Raises RunError when it cannot be written (disk full, no permission) or must not be (a weight that is not finite,
    anything else that `load` would refuse). Whatever was at `path` before is then untouched.
    """
    path = Path(path)
    is_json = _is_json(path)
    params, adam_m, adam_v = (_all_rows(getattr(checkpoint, group)) for group in TENSOR_GROUPS)
    checkpoint = replace(checkpoint, params=params, adam_m=adam_m, adam_v=adam_v)
    try:
        _check(checkpoint)
        data = _to_json(checkpoint) if is_json else _to_safetensors(checkpoint)
        limit = MAX_FILE_BYTES[path.suffix.lower()]
        _require(len(data) <= limit, f"it would be larger than {limit:,} bytes")
    except (_InvalidError, RecursionError, MemoryError) as error:
        remedy = "; try a smaller --lr" if isinstance(error, _NotFiniteError) else ""
        reason = f"{_reason(error)}; an earlier one is unchanged{remedy}"
        raise RunError(f"checkpoint {path} was not written: {reason}") from None
    try:
        with files.replacing(path) as file:
            file.write(data)
    except OSError as error:
        raise RunError(
            f"checkpoint {path} could not be written: {error.strerror or error}; an earlier one is unchanged;"
            " make room or choose another folder with --out"
        ) from None


def load(path: Path, remedy: str = "train first or name another with --checkpoint") -> Checkpoint:
    """Read and check a checkpoint of either format; every matrix comes back as rows of Python floats.

    safetensors files are read by the safetensors library where it is installed, else by the standard library.
    Raises UserError, one line, for any file that is missing, damaged, or not a checkpoint of this project. `remedy` is
    what to do where there is none.
    """
    path = Path(path)
    is_json = _is_json(path)
    data = _read_file(path, remedy)
    try:
        document, tensors = _parse_json_file(data) if is_json else _parse_safetensors_file(data)
        return _from_document(document, tensors)
    except (_InvalidError, RecursionError, MemoryError) as error:
        raise UserError(
            f"checkpoint {path} cannot be used: {_reason(error)}; train again or name another with --checkpoint"
        ) from None


def describe_mismatch(checkpoint_config: dict[str, Any], wanted: dict[str, Any]) -> str | None:
    """Say how a checkpoint's model differs from what was asked for of its shape, or None when it does not."""
    differences = [
        f"{name} is {checkpoint_config[name]} in the checkpoint, {wanted[name]} asked for"
        for name in ("n_layer", "n_embd", "n_head", "block_size")
        if name in wanted and checkpoint_config[name] != wanted[name]
    ]
    return "; ".join(differences) or None


def parameter_shapes(config: dict[str, Any], vocab_size: int) -> dict[str, tuple[int, int]]:
    """The name and shape (out, in) of every weight of a model, in the order in which they are drawn.

    They are those of a lesson's `init_params`, known here before anything is drawn.
    """
    n_embd = config["n_embd"]
    shapes = {"wte": (vocab_size, n_embd), "wpe": (config["block_size"], n_embd), "lm_head": (vocab_size, n_embd)}
    for i in range(config["n_layer"]):
        for name in ("attn_wq", "attn_wk", "attn_wv", "attn_wo"):
            shapes[f"layer{i}.{name}"] = (n_embd, n_embd)
        shapes[f"layer{i}.mlp_fc1"] = (4 * n_embd, n_embd)
        shapes[f"layer{i}.mlp_fc2"] = (n_embd, 4 * n_embd)
    return shapes


# Files


def _is_json(path: Path) -> bool:
    """Whether the suffix says JSON (True) or safetensors (False)."""
    suffix = path.suffix.lower()
    if suffix not in (".json", ".safetensors"):
        raise UserError(f"{path} is no checkpoint's name: give one that ends in .safetensors or .json")
    return suffix == ".json"


def _read_file(path: Path, remedy: str) -> bytes:
    try:
        return files.read_regular(path, MAX_FILE_BYTES[path.suffix.lower()])
    except FileNotFoundError:
        raise UserError(f"no checkpoint at {path}; {remedy}") from None
    except OSError as error:
        raise UserError(f"checkpoint {path} cannot be read: {error.strerror}; name another with --checkpoint") from None


# Writing the two formats


def _all_rows(matrices: Tensors) -> dict[str, Rows]:
    """Matrices as rows of Python floats; a float32 becomes the Python float of the same value."""
    return {name: _rows(matrix) for name, matrix in matrices.items()}


def _rows(matrix: Any) -> Rows:
    return matrix.tolist() if hasattr(matrix, "tolist") else matrix


def _named_tensors(checkpoint: Checkpoint) -> dict[str, Rows]:
    """Weights and moments under the names they have in a file."""
    return {
        prefix + name: rows
        for group, prefix in TENSOR_GROUPS.items()
        for name, rows in getattr(checkpoint, group).items()
    }


def _document(checkpoint: Checkpoint) -> dict[str, Any]:
    """Everything but the tensors, as one JSON object; `sha256` is over it and the tensors."""
    document = {"format_version": FORMAT_VERSION} | {key: getattr(checkpoint, key) for key in DOCUMENT_FIELDS}
    document["sha256"] = _checksum(document, _named_tensors(checkpoint))
    return document


def _to_json(checkpoint: Checkpoint) -> bytes:
    entries = [f"{json.dumps(key)}: {json.dumps(value)}" for key, value in _document(checkpoint).items()]
    tensors = [
        f"{json.dumps(name)}: " + json.dumps(rows).replace("], [", "],\n[")  # one row a line
        for name, rows in _named_tensors(checkpoint).items()
    ]
    entries.append('"tensors": {\n' + ",\n".join(tensors) + "\n}")
    return ("{\n" + ",\n".join(entries) + "\n}\n").encode("utf-8")


def _to_safetensors(checkpoint: Checkpoint) -> bytes:
    try:
        import numpy as np
        from safetensors.numpy import save as serialize
    except ImportError:
        raise RunError("writing .safetensors needs the packages safetensors and numpy; .json needs neither") from None
    # New arrays are contiguous; the library's writer silently reorders others.
    arrays = {name: np.array(rows, dtype=checkpoint.dtype) for name, rows in _named_tensors(checkpoint).items()}
    return serialize(arrays, metadata={"microgpt": json.dumps(_document(checkpoint))})


def _checksum(document: dict[str, Any], tensors: dict[str, Rows]) -> str:
    """SHA-256 over the document and every float, the same in both formats: a flipped bit must not pass unnoticed."""
    digest = hashlib.sha256(json.dumps(document, sort_keys=True).encode("utf-8"))
    for name in sorted(tensors):
        digest.update(name.encode("utf-8"))
        for row in tensors[name]:
            digest.update(_little_endian(array("d", row)))
    return digest.hexdigest()


def _little_endian(values: "array[float]") -> "array[float]":
    """Convert in place between this machine's byte order and little-endian, which the files use."""
    if sys.byteorder == "big":
        values.byteswap()
    return values


# Reading the two formats


def _parse_json_file(data: bytes) -> tuple[dict[str, Any], dict[str, Any]]:
    document = _parse_json(data)
    _require("tensors" in document, "it is JSON, but has no tensors")
    tensors = document.pop("tensors")
    _require(isinstance(tensors, dict), "its tensors are not a JSON object")
    return document, tensors


def _parse_safetensors_file(data: bytes) -> tuple[dict[str, Any], dict[str, Any]]:
    length = int.from_bytes(data[:8], "little")
    fits = len(data) >= 8 and length <= len(data) - 8
    _require(fits, "it is cut off, or no safetensors file")
    entries = _parse_json(data[8 : 8 + length])
    metadata = entries.pop("__metadata__", None)
    ours = isinstance(metadata, dict) and metadata.keys() == {"microgpt"} and isinstance(metadata["microgpt"], str)
    _require(ours, "it is a safetensors file of another program")
    document = _parse_json(metadata["microgpt"].encode("utf-8", "surrogatepass"))
    _check_layout(entries, len(data) - 8 - length, document.get("dtype"))
    return document, _read_tensors(data, entries)


def _parse_json(data: bytes) -> dict[str, Any]:
    """Parse a JSON object, without JSON's doors: duplicate keys, NaN and Infinity, and more memory than there is."""
    objects, values = data.count(b"{") + data.count(b"[") + data.count(b'"') // 2, data.count(b",")
    small = len(data) <= MAX_FILE_BYTES[".json"] and 72 * objects + 32 * values <= MAX_JSON_MEMORY
    _require(small, "its JSON would take too much memory")
    try:
        document = json.loads(data.decode("utf-8"), object_pairs_hook=_unique_keys, parse_constant=_refuse_constant)
    except ValueError as error:
        raise _InvalidError(f"its JSON is damaged ({error})") from None
    _require(isinstance(document, dict), "its JSON is not an object")
    return document


def _unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    unique = dict(pairs)
    _require(len(unique) == len(pairs), "its JSON has a key twice")
    return unique


def _refuse_constant(constant: str) -> None:
    raise _InvalidError(f"it holds {constant}")


def _check_layout(entries: dict[str, Any], body_bytes: int, dtype: Any) -> None:
    """Check a safetensors header: 2-D tensors of one dtype that together cover the file's body exactly once."""
    spans = []
    for name, entry in entries.items():
        is_entry = isinstance(entry, dict) and entry.keys() == {"dtype", "shape", "data_offsets"}
        _require(is_entry, f"the entry of tensor {_show(name)} is damaged")
        code, shape, offsets = entry["dtype"], entry["shape"], entry["data_offsets"]
        known = isinstance(code, str) and code in SAFETENSORS_DTYPES
        _require(known, f"tensor {_show(name)} has dtype {_show(code)}, not F32 or F64")
        dtype_name, _, item_bytes = SAFETENSORS_DTYPES[code]
        _require(dtype_name == dtype, f"tensor {_show(name)} is {dtype_name}, the checkpoint {_show(dtype)}")
        # A zero would let an endless list of empty rows through.
        _require(_is_int_pair(shape, 1), f"tensor {_show(name)} has shape {_show(shape)}, not two positive integers")
        _require(_is_int_pair(offsets, 0), f"tensor {_show(name)} has offsets {_show(offsets)}")
        size = offsets[1] - offsets[0]
        _require(size == shape[0] * shape[1] * item_bytes, f"tensor {_show(name)} has the wrong number of bytes")
        spans.append(offsets)
    position = 0
    for begin, end in sorted(spans):
        _require(begin == position, "its tensors overlap or leave a gap")
        position = end
    _require(position == body_bytes, "it is cut off, or has bytes that belong to no tensor")


def _is_int_pair(value: Any, smallest: int) -> bool:
    return isinstance(value, list) and len(value) == 2 and all(_is_int(item, smallest, 2**63) for item in value)


def _read_tensors(data: bytes, entries: dict[str, Any]) -> dict[str, Rows]:
    """The tensors of a safetensors file whose header has been checked."""
    try:
        return _read_with_library(data)
    except ImportError:
        return _read_with_standard_library(data, entries)


def _read_with_library(data: bytes) -> dict[str, Rows]:
    from safetensors import SafetensorError
    from safetensors.numpy import load as deserialize

    try:
        return _all_rows(deserialize(data))
    except SafetensorError as error:
        raise _InvalidError(f"the safetensors library says {_show(str(error))}") from None


def _read_with_standard_library(data: bytes, entries: dict[str, Any]) -> dict[str, Rows]:
    """Read with nothing installed: a file is the header's length (8 bytes), the JSON header, then the floats."""
    body_start = 8 + int.from_bytes(data[:8], "little")
    tensors = {}
    for name, entry in entries.items():
        begin, end = entry["data_offsets"]
        values: array[float] = array(SAFETENSORS_DTYPES[entry["dtype"]][1])
        values.frombytes(data[body_start + begin : body_start + end])
        floats = _little_endian(values).tolist()
        n_columns = entry["shape"][1]
        tensors[name] = [floats[i : i + n_columns] for i in range(0, len(floats), n_columns)]
    return tensors


def _from_document(document: dict[str, Any], tensors: dict[str, Any]) -> Checkpoint:
    """Build a checkpoint of parsed JSON and tensors, and check all of it."""
    version = document.get("format_version")
    if version != FORMAT_VERSION:
        raise _InvalidError(f"its format_version is {_show(version)}, this program reads {FORMAT_VERSION}")
    _check_keys("entry", document, ("format_version", *DOCUMENT_FIELDS, "sha256"))
    fields: dict[str, Any] = {key: document[key] for key in DOCUMENT_FIELDS}
    fields["rng_state"] = _as_tuples(fields["rng_state"])
    groups: dict[str, Any] = {group: {} for group in TENSOR_GROUPS}
    for name, rows in tensors.items():
        group = next((group for group in ("adam_m", "adam_v") if name.startswith(TENSOR_GROUPS[group])), "params")
        groups[group][name.removeprefix(TENSOR_GROUPS[group])] = rows
    checkpoint = Checkpoint(**groups, **fields)
    _check(checkpoint)
    _require(_document(checkpoint)["sha256"] == document["sha256"], "its content does not match its checksum")
    names = parameter_shapes(checkpoint.config, len(checkpoint.chars) + 1)
    ordered: dict[str, Any] = {
        group: {name: groups[group][name] for name in names} for group in groups
    }  # whatever the file's order
    return replace(checkpoint, **ordered)


def _as_tuples(value: Any) -> Any:
    """JSON has no tuples: a generator's state comes back as lists."""
    return tuple(_as_tuples(item) for item in value) if isinstance(value, list) else value


# What a valid checkpoint is. Saving and loading check the same, so what was saved can be loaded.


def _check(checkpoint: Checkpoint) -> None:
    _require(_is_int(checkpoint.step, 0, 2**53), f"its step is {_show(checkpoint.step)}")
    _require(checkpoint.dtype in ("float32", "float64"), f"its dtype is {_show(checkpoint.dtype)}")
    _check_config(checkpoint.config)
    _check_chars(checkpoint.chars)
    _check_json_object("dataset", checkpoint.dataset)
    _require(isinstance(checkpoint.dataset.get("name"), str), "its dataset has no name")
    _require(checkpoint.dataset.get("mode") in ("discrete", "stream"), "its dataset's mode is not discrete or stream")
    _check_json_object("extra", checkpoint.extra)
    _check_rng_state(checkpoint.rng_state)
    shapes = parameter_shapes(checkpoint.config, len(checkpoint.chars) + 1)
    for group in TENSOR_GROUPS:
        matrices = getattr(checkpoint, group)
        _check_keys(f"{group} tensor", matrices, shapes)
        smallest = 0.0 if group == "adam_v" else -math.inf  # adam_v averages squares
        for name, shape in shapes.items():
            _check_matrix(f"{group} {name}", matrices[name], shape, checkpoint.dtype, smallest)


def _check_config(config: Any) -> None:
    _require(isinstance(config, dict), "its config is not an object")
    _check_keys("config field", config, bounds.CONFIG)
    for name, allowed in bounds.CONFIG.items():
        _require(config[name] in allowed, f"its config says {name} = {_show(config[name])}")
    _require(config["n_embd"] % config["n_head"] == 0, "its n_embd is not divisible by its n_head")
    fits = config["n_head"] * config["block_size"] ** 2 <= MAX_SCORES
    _require(fits, f"its n_head x block_size x block_size is more than {MAX_SCORES:,} attention scores")


def _check_chars(chars: Any) -> None:
    _require(isinstance(chars, list) and len(chars) > 0, "its vocabulary is not a list of characters")
    for char in chars:
        # A lone surrogate is a str to Python, but cannot be written as UTF-8.
        is_char = isinstance(char, str) and len(char) == 1 and not "\ud800" <= char <= "\udfff"
        _require(is_char, f"its vocabulary holds {_show(char)}, not a character")
    _require(chars == sorted(set(chars)), "its vocabulary is not sorted, or has a character twice")


def _check_json_object(name: str, value: Any) -> None:
    """Check that a value is a dict that comes back from JSON text in UTF-8 as it went in."""
    try:
        text = json.dumps(value, ensure_ascii=False, allow_nan=False).encode("utf-8")
        same = isinstance(value, dict) and json.loads(text) == value
    except (TypeError, ValueError):
        same = False
    _require(same, f"its {name} is not a plain JSON object")


def _check_rng_state(state: Any) -> None:
    """Check for the form that `random.Random.setstate` takes: version, 624 words and a position, a spare Gaussian."""
    ok = isinstance(state, tuple) and len(state) == 3 and _is_int(state[0], 3, 3)
    ok = ok and isinstance(state[1], tuple) and len(state[1]) == 625
    ok = ok and all(_is_int(word, 0, 2**32 - 1) for word in state[1]) and state[1][624] <= 624
    ok = ok and (state[2] is None or (isinstance(state[2], float) and math.isfinite(state[2])))
    _require(ok, "its generator state is damaged")


def _check_matrix(name: str, rows: Any, shape: tuple[int, int], dtype: str, smallest: float) -> None:
    n_rows, n_columns = shape
    is_matrix = isinstance(rows, list) and all(isinstance(row, list) for row in rows)
    _require(is_matrix, f"{name} is not a matrix")
    fits = len(rows) == n_rows and all(len(row) == n_columns for row in rows)
    _require(fits, f"{name} is not {n_rows} x {n_columns}")
    for row in rows:
        _require(set(map(type, row)) == {float}, f"{name} holds something that is not a float")
        if not all(map(math.isfinite, row)):
            raise _NotFiniteError(f"{name} holds a number that is not finite")
        _require(min(row) >= smallest, f"{name} holds a negative number")
        exact = dtype == "float64" or array("f", row).tolist() == row
        _require(exact, f"{name} holds a number that is no float32")


def _check_keys(kind: str, found: dict[str, Any], expected: Iterable[str]) -> None:
    _require(isinstance(found, dict), f"every {kind} is missing")
    missing, unexpected = set(expected) - found.keys(), found.keys() - set(expected)
    _require(not missing, f"{kind} {_show(min(missing, default=''))} is missing")
    _require(not unexpected, f"{kind} {_show(min(unexpected, default=''))} does not belong there")


def _is_int(value: Any, smallest: int, largest: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and smallest <= value <= largest


def _require(condition: bool, problem: str) -> None:
    if not condition:
        raise _InvalidError(problem)


def _show(value: Any) -> str:
    """A value out of a file in a message: one line, ASCII, short."""
    text = ascii(value)
    return text if len(text) <= 60 else text[:57] + "..."


def _reason(error: BaseException) -> str:
    if isinstance(error, RecursionError):
        return "its JSON is nested too deeply"
    return "it does not fit in memory" if isinstance(error, MemoryError) else str(error)
