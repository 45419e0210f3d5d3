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
import os
import sys
from array import array
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, BinaryIO

from ..contract import Rows, Tensors
from ..system import files, memory
from ..system.errors import RunError, UserError
from . import bounds
from .bounds import MAX_SCORES

FORMAT_VERSION = 1
MAX_JSON_BYTES = 2**26
MAX_JSON_WEIGHTS = 500_000  # a checkpoint keeps three numbers a weight, in JSON as some 22 characters each
MAX_JSON_MEMORY = 2**28  # bytes that JSON may become in memory: `{},` are 3 bytes in a file, 72 as an object
TOO_MUCH_JSON = "its JSON would take too much memory"

DOCUMENT_FIELDS = ("step", "dtype", "config", "chars", "dataset", "rng_state", "extra")
TENSOR_GROUPS = {"params": "", "adam_m": "adam_m.", "adam_v": "adam_v."}  # with the prefix of their names in a file
# Our name of a dtype, its type code in Python's array and in NumPy, and the bytes of a number.
SAFETENSORS_DTYPES = {"F32": ("float32", "f", 4), "F64": ("float64", "d", 8)}
CHUNK = 2**16  # numbers of an array that are converted at a time
BYTES_IN_A_LIST = 32  # of a Python float and of its place in the list


@dataclass
class Checkpoint:
    """The state of a run after `step` steps. A matrix is rows of Python floats or a NumPy array, of shape (out, in).

    params, adam_m and adam_v have the same names and shapes, those of `parameter_shapes`.
    config: Config's fields. chars: the sorted vocabulary without BOS. rng_state: from `random.Random.getstate()`.
    dataset: at least `name` and `mode`, for people and for choosing how to sample: never build a path from them.
    dtype: in what the run computes. extra: any further JSON object; only the caller checks it.
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

    @property
    def kept_in(self) -> str:
        """The dtype of the matrices."""
        return bounds.DTYPES[self.dtype]


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
    try:
        _check(checkpoint)
        with files.replacing(path) as file:
            for part in _json_parts(checkpoint) if is_json else _safetensors_parts(checkpoint):
                file.write(part)
    except OSError as error:
        raise RunError(
            f"checkpoint {path} could not be written: {error.strerror or error}; an earlier one is unchanged;"
            " make room or choose another folder with --out"
        ) from None
    except (_InvalidError, RecursionError, MemoryError) as error:
        remedy = "; try a smaller --lr" if isinstance(error, _NotFiniteError) else ""
        reason = f"{_reason(error)}; an earlier one is unchanged{remedy}"
        raise RunError(f"checkpoint {path} was not written: {reason}") from None


def load(path: Path, remedy: str = "train first or name another with --checkpoint") -> Checkpoint:
    """Read and check a checkpoint of either format.

    Matrices come from .safetensors as NumPy arrays of the dtype that they are kept in, from .json and where NumPy is
    not installed as rows of Python floats.
    Raises UserError, one line, for any file that is missing, damaged, or not a checkpoint of this project. `remedy` is
    what to do where there is none.
    """
    path = Path(path)
    is_json = _is_json(path)
    try:
        if is_json:
            return _from_json(files.read_regular(path, MAX_JSON_BYTES))
        with files.open_regular(path, memory.total()) as file:
            return _from_safetensors(file)
    except FileNotFoundError:
        raise UserError(f"no checkpoint at {path}; {remedy}") from None
    except OSError as error:
        raise UserError(f"checkpoint {path} cannot be read: {error.strerror}; name another with --checkpoint") from None
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


def count_weights(config: dict[str, Any], vocab_size: int) -> int:
    return sum(n_out * n_in for n_out, n_in in parameter_shapes(config, vocab_size).values())


# Files


def _is_json(path: Path) -> bool:
    """Whether the suffix says JSON (True) or safetensors (False)."""
    suffix = path.suffix.lower()
    if suffix not in (".json", ".safetensors"):
        raise UserError(f"{path} is no checkpoint's name: give one that ends in .safetensors or .json")
    return suffix == ".json"


# Writing the two formats


def _named_tensors(checkpoint: Checkpoint) -> dict[str, Rows]:
    """Weights and moments under the names they have in a file."""
    return {
        prefix + name: matrix
        for group, prefix in TENSOR_GROUPS.items()
        for name, matrix in getattr(checkpoint, group).items()
    }


def _document(checkpoint: Checkpoint) -> dict[str, Any]:
    """Everything but the tensors, as one JSON object; `sha256` is over it and the tensors."""
    document = {"format_version": FORMAT_VERSION} | {key: getattr(checkpoint, key) for key in DOCUMENT_FIELDS}
    document["sha256"] = _checksum(document, _named_tensors(checkpoint))
    return document


def _json_parts(checkpoint: Checkpoint) -> list[bytes]:
    entries = [f"{json.dumps(key)}: {json.dumps(value)}" for key, value in _document(checkpoint).items()]
    tensors = [
        f"{json.dumps(name)}: " + json.dumps(_rows(matrix)).replace("], [", "],\n[")  # one row a line
        for name, matrix in _named_tensors(checkpoint).items()
    ]
    entries.append('"tensors": {\n' + ",\n".join(tensors) + "\n}")
    data = ("{\n" + ",\n".join(entries) + "\n}\n").encode("utf-8")
    _require(len(data) <= MAX_JSON_BYTES, f"it would be larger than {MAX_JSON_BYTES:,} bytes")
    return [data]


def _rows(matrix: Rows) -> list[list[float]]:
    """A matrix as rows of Python floats; a float32 becomes the Python float of the same value."""
    return matrix.tolist() if _is_array(matrix) else matrix


def _is_array(matrix: Rows) -> bool:
    return hasattr(matrix, "astype")


def _safetensors_parts(checkpoint: Checkpoint) -> Iterator[Any]:
    """The header's length, the header, and the numbers piece by piece, so that they stand in memory once.

    These are the bytes that the safetensors library writes. It would need a second copy of them, or write files of its
    own in place of `files.replacing`'s.
    """
    tensors = sorted(_named_tensors(checkpoint).items())
    code = next(code for code, (name, *_) in SAFETENSORS_DTYPES.items() if name == checkpoint.kept_in)
    _, type_code, item_bytes = SAFETENSORS_DTYPES[code]
    header: dict[str, Any] = {"__metadata__": {"microgpt": json.dumps(_document(checkpoint))}}
    end = 0
    for name, matrix in tensors:
        n_out, n_in = len(matrix), len(matrix[0])
        begin, end = end, end + n_out * n_in * item_bytes
        header[name] = {"dtype": code, "shape": [n_out, n_in], "data_offsets": [begin, end]}
    text = json.dumps(header, separators=(",", ":")).encode("ascii")
    text += b" " * (-len(text) % 8)  # the numbers begin at a multiple of 8
    yield len(text).to_bytes(8, "little")
    yield text
    for _, matrix in tensors:
        yield from _pieces(matrix, type_code)


def _checksum(document: dict[str, Any], tensors: dict[str, Rows]) -> str:
    """SHA-256 over the document and every float, the same in both formats: a flipped bit must not pass unnoticed."""
    digest = hashlib.sha256(json.dumps(document, sort_keys=True).encode("utf-8"))
    for name in sorted(tensors):
        digest.update(name.encode("utf-8"))
        for piece in _pieces(tensors[name], "d"):
            digest.update(piece)
    return digest.hexdigest()


def _pieces(matrix: Rows, type_code: str) -> Iterator[Any]:
    """The numbers of a matrix, row by row, as little-endian bytes of that type, a piece at a time."""
    if not _is_array(matrix):
        for row in matrix:
            yield _little_endian(array(type_code, row))
        return
    n_rows = max(1, CHUNK // len(matrix[0]))
    for start in range(0, len(matrix), n_rows):
        yield matrix[start : start + n_rows].astype(f"<{type_code}", order="C", copy=False)


def _little_endian(values: "array[float]") -> "array[float]":
    """Convert in place between this machine's byte order and little-endian, which the files use."""
    if sys.byteorder == "big":
        values.byteswap()
    return values


# Reading the two formats


def _from_json(data: bytes) -> Checkpoint:
    document = _parse_json(data)
    _require("tensors" in document, "it is JSON, but has no tensors")
    tensors = document.pop("tensors")
    _require(isinstance(tensors, dict), "its tensors are not a JSON object")
    return _verified(document, tensors)


def _from_safetensors(file: BinaryIO) -> Checkpoint:
    """Read no number before the header says that the file holds what its config asks for."""
    document, entries = _read_header(file)
    claimed = _unchecked(document, entries)
    _check_fields(claimed)
    for name, entry, shape in _matrices(claimed):
        _check_shape(name, tuple(entry["shape"]), shape)
    return _verified(document, _read_tensors(file, entries))


def _read_header(file: BinaryIO) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the document and each tensor's entry, its name → dtype, shape and offsets. The numbers come next."""
    size = os.fstat(file.fileno()).st_size
    length = int.from_bytes(file.read(8), "little")
    body_bytes = size - 8 - length
    _require(body_bytes >= 0, "it is cut off, or no safetensors file")
    _require(length <= MAX_JSON_BYTES, TOO_MUCH_JSON)
    entries = _parse_json(file.read(length))
    metadata = entries.pop("__metadata__", None)
    ours = isinstance(metadata, dict) and metadata.keys() == {"microgpt"} and isinstance(metadata["microgpt"], str)
    _require(ours, "it is a safetensors file of another program")
    document = _parse_json(metadata["microgpt"].encode("utf-8", "surrogatepass"))
    dtype = document.get("dtype")
    _check_layout(entries, body_bytes, bounds.DTYPES.get(dtype) if isinstance(dtype, str) else dtype)
    return document, entries


def _parse_json(data: bytes) -> dict[str, Any]:
    """Parse a JSON object, without JSON's doors: duplicate keys, NaN and Infinity, and more memory than there is."""
    objects, values = data.count(b"{") + data.count(b"[") + data.count(b'"') // 2, data.count(b",")
    small = len(data) <= MAX_JSON_BYTES and 72 * objects + 32 * values <= MAX_JSON_MEMORY
    _require(small, TOO_MUCH_JSON)
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


def _read_tensors(file: BinaryIO, entries: dict[str, Any]) -> Tensors:
    """Read the numbers, one tensor after the other: `_check_layout` has seen that there is nothing between them."""
    in_order = sorted(entries.items(), key=lambda item: item[1]["data_offsets"])
    try:
        import numpy as np
    except ImportError:
        n_numbers = sum(math.prod(entry["shape"]) for entry in entries.values())
        if n_numbers * BYTES_IN_A_LIST > memory.total():
            raise MemoryError from None
        return {name: _read_rows(file, entry) for name, entry in in_order}
    return {name: _read_array(file, entry, np) for name, entry in in_order}


def _read_array(file: BinaryIO, entry: dict[str, Any], np: Any) -> Rows:
    dtype, type_code, _ = SAFETENSORS_DTYPES[entry["dtype"]]
    matrix = np.empty(entry["shape"], f"<{type_code}")
    _require(file.readinto(matrix) == matrix.nbytes, "it is cut off")  # type: ignore[attr-defined]
    return matrix.astype(dtype, copy=False)  # in this machine's byte order


def _read_rows(file: BinaryIO, entry: dict[str, Any]) -> Rows:
    _, type_code, item_bytes = SAFETENSORS_DTYPES[entry["dtype"]]
    n_rows, n_columns = entry["shape"]
    rows = []
    for _ in range(n_rows):
        data = file.read(n_columns * item_bytes)
        _require(len(data) == n_columns * item_bytes, "it is cut off")
        rows.append(_little_endian(array(type_code, data)).tolist())
    return rows


def _verified(document: dict[str, Any], tensors: Tensors) -> Checkpoint:
    """Build a checkpoint of parsed JSON and tensors, and check all of it."""
    checkpoint = _unchecked(document, tensors)
    _check(checkpoint)
    _require(_document(checkpoint)["sha256"] == document["sha256"], "its content does not match its checksum")
    names = parameter_shapes(checkpoint.config, len(checkpoint.chars) + 1)
    groups = {group: getattr(checkpoint, group) for group in TENSOR_GROUPS}
    ordered: dict[str, Any] = {
        group: {name: matrices[name] for name in names} for group, matrices in groups.items()
    }  # whatever the file's order
    return replace(checkpoint, **ordered)


def _unchecked(document: dict[str, Any], tensors: dict[str, Any]) -> Checkpoint:
    """Put the parts of a file in their places, whatever they are."""
    version = document.get("format_version")
    if version != FORMAT_VERSION:
        raise _InvalidError(f"its format_version is {_show(version)}, this program reads {FORMAT_VERSION}")
    _check_keys("entry", document, ("format_version", *DOCUMENT_FIELDS, "sha256"))
    fields: dict[str, Any] = {key: document[key] for key in DOCUMENT_FIELDS}
    fields["rng_state"] = _as_tuples(fields["rng_state"])
    groups: dict[str, Any] = {group: {} for group in TENSOR_GROUPS}
    for name, matrix in tensors.items():
        group = next((group for group in ("adam_m", "adam_v") if name.startswith(TENSOR_GROUPS[group])), "params")
        groups[group][name.removeprefix(TENSOR_GROUPS[group])] = matrix
    return Checkpoint(**groups, **fields)


def _as_tuples(value: Any) -> Any:
    """JSON has no tuples: a generator's state comes back as lists."""
    return tuple(_as_tuples(item) for item in value) if isinstance(value, list) else value


# What a valid checkpoint is. Saving and loading check the same, so what was saved can be loaded.


def _check(checkpoint: Checkpoint) -> None:
    _check_fields(checkpoint)
    for name, matrix, shape in _matrices(checkpoint):
        smallest = 0.0 if name.startswith("adam_v ") else -math.inf  # adam_v averages squares
        check = _check_array if _is_array(matrix) else _check_rows
        check(name, matrix, shape, checkpoint.kept_in, smallest)


def _check_fields(checkpoint: Checkpoint) -> None:
    """Check all but the tensors."""
    _require(_is_int(checkpoint.step, 0, 2**53), f"its step is {_show(checkpoint.step)}")
    dtype = checkpoint.dtype
    _require(isinstance(dtype, str) and dtype in bounds.DTYPES, f"its dtype is {_show(dtype)}")
    _check_config(checkpoint.config)
    _check_chars(checkpoint.chars)
    _check_json_object("dataset", checkpoint.dataset)
    _require(isinstance(checkpoint.dataset.get("name"), str), "its dataset has no name")
    _require(checkpoint.dataset.get("mode") in ("discrete", "stream"), "its dataset's mode is not discrete or stream")
    _check_json_object("extra", checkpoint.extra)
    _check_rng_state(checkpoint.rng_state)


def _matrices(checkpoint: Checkpoint) -> Iterator[tuple[str, Any, tuple[int, int]]]:
    """Yield each tensor's name in messages, what stands in its place, and the shape that it must have."""
    shapes = parameter_shapes(checkpoint.config, len(checkpoint.chars) + 1)
    for group in TENSOR_GROUPS:
        matrices = getattr(checkpoint, group)
        _check_keys(f"{group} tensor", matrices, shapes)
        for name, shape in shapes.items():
            yield f"{group} {name}", matrices[name], shape


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


def _check_shape(name: str, found: tuple[int, ...], shape: tuple[int, int]) -> None:
    _require(found == shape, f"{name} is not {shape[0]} x {shape[1]}")


def _check_rows(name: str, rows: Any, shape: tuple[int, int], dtype: str, smallest: float) -> None:
    is_matrix = isinstance(rows, list) and all(isinstance(row, list) for row in rows)
    _require(is_matrix, f"{name} is not a matrix")
    widths = {len(row) for row in rows}
    _check_shape(name, (len(rows), *widths), shape)
    for row in rows:
        _require(set(map(type, row)) == {float}, f"{name} holds something that is not a float")
        _check_numbers(name, all(map(math.isfinite, row)), min(row), smallest)
        exact = dtype == "float64" or array("f", row).tolist() == row
        _require(exact, f"{name} holds a number that is no float32")


def _check_array(name: str, matrix: Any, shape: tuple[int, int], dtype: str, smallest: float) -> None:
    _require(matrix.ndim == 2, f"{name} is not a matrix")
    _check_shape(name, matrix.shape, shape)
    is_float = matrix.dtype.kind == "f" and matrix.dtype.itemsize <= 8
    _require(is_float, f"{name} holds something that is not a float")
    lowest, highest = float(matrix.min()), float(matrix.max())  # each is nan where any number is
    _check_numbers(name, math.isfinite(lowest) and math.isfinite(highest), lowest, smallest)
    if dtype == "float32" and matrix.dtype.itemsize == 8:
        import numpy as np

        with np.errstate(over="ignore"):  # what is too large becomes inf, which is not equal
            exact = (matrix.astype("f") == matrix).all()
        _require(exact, f"{name} holds a number that is no float32")


def _check_numbers(name: str, finite: bool, lowest: float, smallest: float) -> None:
    if not finite:
        raise _NotFiniteError(f"{name} holds a number that is not finite")
    _require(lowest >= smallest, f"{name} holds a negative number")


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
