"""config.json: all that it takes to say what was run. Anybody may have written one, so nothing in it is believed."""

import json
from pathlib import Path
from typing import Any

from ..system import files
from ..system.errors import UserError
from . import bounds

FILE = "config.json"
MAX_BYTES = 1_000_000
TYPES = {
    "folder": str,
    "backend": str,
    "compile": bool,
    "dataset": str,
    "column": str,
    "file": str,
    "documents": int,
    "vocab_size": int,
    "num_params": int,
    "config": dict,
    "val_every": int,
    "val_docs": int,
    "device": str,
}
CHOICES = {"mode": ("discrete", "stream"), "dtype": tuple(bounds.DTYPES)}
MAX_NUMBER = 2**53


def read(folder: Path) -> dict[str, Any]:
    """Return what the config.json of a run says, checked: what is there under a known name is of its type.

    An entry may be missing, as in runs of earlier versions, and `config` may lack a field. UserError, one line, if the
    file is missing, no regular file, larger than MAX_BYTES, damaged, or says what no run would.
    """
    path = folder / FILE
    try:
        content = json.loads(files.read_regular(path, MAX_BYTES).decode("utf-8"))
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}") from None
    except (ValueError, RecursionError):  # ValueError: not UTF-8, not JSON, a number of thousands of digits
        raise UserError(f"{path} is damaged: it is not JSON in UTF-8") from None
    if wrong := wrong_entry(content):
        raise UserError(f"{path} is damaged: {wrong} is not what a run writes there")
    return content


def wrong_entry(content: Any) -> str | None:
    """Name the first thing that no run would have written, or None."""
    if not isinstance(content, dict):
        return "its content"
    for name, kind in TYPES.items():
        if name in content and not is_a(kind, content[name]):
            return f"its {name}"
    for name, allowed in CHOICES.items():
        if name in content and content[name] not in allowed:
            return f"its {name}"
    for name, value in content.get("config", {}).items():
        if name not in bounds.CONFIG:
            return "an unknown name in config"
        if value not in bounds.CONFIG[name]:
            return f"its config's {name}"
    return None


def is_a(kind: type, value: Any) -> bool:
    if kind is int:
        return isinstance(value, int) and not isinstance(value, bool) and abs(value) <= MAX_NUMBER
    return isinstance(value, kind)
