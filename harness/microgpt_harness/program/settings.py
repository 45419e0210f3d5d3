"""What can be set, where from, and what is a sensible value: one table for flags, TOML files and dataset defaults.

Precedence: flag, then --config file, then the dataset's defaults in data/datasets.toml, then the lesson's Config.
"""

import dataclasses
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..data.documents import decode
from ..run import bounds
from ..run.bounds import DTYPES, MAX_SCORES, Real, Settings, Whole
from ..system import files
from ..system.console import shortened
from ..system.errors import UserError

MAX_CONFIG_BYTES = 2**16  # of a scenario: the time that Python's TOML reader takes may grow with the square


@dataclass(frozen=True)
class Option:
    """One setting. `parse` takes a flag's text or a TOML value and raises ValueError saying what it wants instead."""

    name: str
    group: str
    parse: Callable[[Any], Any]
    help: str
    flag: str | None = None  # None: TOML files only
    default: Any = None  # where the lesson's Config has no such field

    @property
    def spellings(self) -> set[str]:
        """The keys it answers to in a TOML file: its own name, and its flag's with underscores."""
        return {self.name, (self.flag or self.name).lstrip("-").replace("-", "_")}


def choice(*allowed: str) -> Callable[[Any], str]:
    def parse(value: Any) -> str:
        if value not in allowed:
            raise ValueError("one of " + ", ".join(allowed))
        return value

    return parse


def text(value: Any) -> str:
    if not isinstance(value, str):
        raise ValueError("text")
    return value


def of_config(name: str, group: str, help: str, flag: str | None = None) -> Option:
    """Return the option of a field of the lessons' Config, whose default is the lesson's own."""
    return Option(name, group, bounds.CONFIG[name].parse, help, flag)


OPTIONS = (
    of_config("n_embd", "model", "numbers that describe one position", "--n-embd"),
    of_config("n_layer", "model", "transformer blocks, one after the other", "--n-layer"),
    of_config("n_head", "model", "attention heads; must divide n_embd", "--n-head"),
    of_config("block_size", "model", "the most tokens the model sees", "--block-size"),
    of_config("num_steps", "training", "training steps in the whole run", "--steps"),
    of_config("learning_rate", "training", "learning rate of the first step", "--lr"),
    of_config("batch_size", "training", "documents in a step", "--batch-size"),
    Option("val_every", "training", Whole(0).parse, "steps between two validations; 0: none", "--val-every", 100),
    Option("val_docs", "training", Whole(1, 2**20).parse, "documents in a validation", "--val-docs", 20),
    of_config("clip_grad", "training", "largest norm of all gradients together; 0: no clipping", "--clip-grad"),
    of_config("beta1", "training", "memory of Adam's mean of gradients"),
    of_config("beta2", "training", "memory of Adam's mean of squared gradients"),
    of_config("eps_adam", "training", "keeps Adam from dividing by zero"),
    of_config("seed", "training", "start of the one random generator", "--seed"),
    Option("dtype", "training", choice(*DTYPES), "kind of number to compute with", "--dtype"),
    Option("device", "training", text, "where to compute; auto chooses", "--device", "auto"),
    of_config("temperature", "sampling", "below 1 keeps to likely characters; 0: the likeliest", "--temperature"),
    Option("top_k", "sampling", Whole(0).parse, "draw from the k likeliest only; 0: from all", "--top-k", 0),
    Option("n_samples", "sampling", Whole(0, 2**20).parse, "samples to print", "--n-samples", 20),
    Option("prompt", "sampling", text, "text that every sample begins with", "--prompt", ""),
    Option("max_tokens", "sampling", Whole(1).parse, "the most characters after the prompt", "--max-tokens"),
    Option(
        "repetition_penalty",
        "sampling",
        Real(1).parse,
        "above 1 avoids what was just said",
        "--repetition-penalty",
        1.0,
    ),
)


@dataclass(frozen=True)
class ConfigFile:
    """A scenario: which data, and settings by name, read from TOML by `read_config_file`."""

    datasets: tuple[str, ...] = ()
    mode: str | None = None
    column: str | None = None
    values: dict[str, Any] = dataclasses.field(default_factory=dict)


def read_config_file(path: Path) -> ConfigFile:
    """Read a scenario with the tables [data], [model], [training] and [sampling]. UserError says what it cannot use."""
    import tomllib

    try:
        tables = tomllib.loads(decode(files.read_regular(path, MAX_CONFIG_BYTES), f"--config {path}"))
    except (OSError, ValueError, RecursionError) as error:  # TOMLDecodeError is a ValueError
        reason = getattr(error, "strerror", None) or error
        raise UserError(f"--config {path}: {reason}; it must be a TOML file in UTF-8") from error
    groups = ("data", "model", "training", "sampling")
    for name, table in tables.items():
        if name not in groups or not isinstance(table, dict):
            raise UserError(
                f"--config {path}: {shortened(name)} is not one of the tables {', '.join(f'[{g}]' for g in groups)}"
            )
    data = tables.get("data", {})
    if unknown := data.keys() - {"dataset", "mode", "column"}:
        raise UserError(
            f"--config {path} [data]: {shortened(min(unknown))} is unknown; it may hold dataset, mode, column"
        )
    named = data.get("dataset", [])
    named = [named] if isinstance(named, str) else named
    if not isinstance(named, list) or not all(isinstance(name, str) for name in named):
        raise UserError(f"--config {path} [data]: dataset must be a name or a list of names")
    if data.get("mode") not in (None, "discrete", "stream"):
        raise UserError(f"--config {path} [data]: mode must be discrete or stream, not {shortened(data['mode'])}")
    if not isinstance(data.get("column", ""), str):
        raise UserError(f"--config {path} [data]: column must be the name of a column, not {shortened(data['column'])}")
    values: dict[str, Any] = {}
    for group in groups[1:]:
        values |= parse_table(tables.get(group, {}), group, f"--config {path} [{group}]")
    return ConfigFile(tuple(beside(path, name) for name in named), data.get("mode"), data.get("column"), values)


def beside(path: Path, name: str) -> str:
    """A data file named in a scenario stands beside it, wherever the command is run."""
    candidate = path.parent / name
    return str(candidate) if os.path.isfile(candidate) else name  # noqa: PTH113 (Path's own raises for a long name)


def parse_table(table: dict[str, Any], group: str, where: str) -> dict[str, Any]:
    """Return the values of a TOML table by setting name. UserError names the key, and the nearest one it might mean."""
    options = {spelling: option for option in OPTIONS if option.group == group for spelling in option.spellings}
    values: dict[str, Any] = {}
    for key, value in table.items():
        option = options.get(key)
        if option is None:
            import difflib

            nearest = difflib.get_close_matches(key, options, n=1)
            hint = f"did you mean {nearest[0]}?" if nearest else f"known are {', '.join(sorted(options))}"
            raise UserError(f"{where}: {shortened(key)} is unknown; {hint}")
        if option.name in values:
            same = " and ".join(sorted(option.spellings))
            raise UserError(f"{where}: {same} are the same setting; leave one of them out")
        try:
            values[option.name] = option.parse(value)
        except ValueError as error:
            raise UserError(f"{where}: {key} = {shortened(value)}; it must be {error}") from None
        if isinstance(value, str) and not isinstance(values[option.name], str):  # `parse` takes a flag's text too
            raise UserError(f"{where}: {key} = {shortened(value)}; leave the quotes out")
    return values


def plain(value: Any) -> str:
    """Return a setting's value as people write it: 0.01, 1, 1e-08."""
    return f"{value:g}" if isinstance(value, float) else str(value)


def lesson_defaults(lesson: Path) -> dict[str, Any]:
    """Return the defaults of a lesson's Config by name, read from its source: importing it would import a framework.

    They are the literals of `class Config` and of `CONFIG = Config(...)`, which changes some of them. A source that
    says it in another way, or that no longer parses because somebody is at work on it, gives fewer or none.
    """
    import ast

    try:
        body = ast.parse(lesson.read_text(encoding="utf-8")).body
    except (OSError, ValueError, SyntaxError):  # UnicodeDecodeError is a ValueError
        return {}
    written: dict[str, ast.expr | None] = {}
    for node in body:
        if isinstance(node, ast.ClassDef) and node.name == "Config":
            written |= {ast.unparse(f.target): f.value for f in node.body if isinstance(f, ast.AnnAssign)}
        elif (
            isinstance(node, ast.Assign)
            and isinstance(node.value, ast.Call)
            and ast.unparse(node.value.func) == "Config"
        ):
            written |= {keyword.arg: keyword.value for keyword in node.value.keywords if keyword.arg}
    return {name: node.value for name, node in written.items() if isinstance(node, ast.Constant)}


def dataset_values(defaults: dict[str, dict[str, Any]], name: str) -> dict[str, Any]:
    """Return a dataset's own defaults by setting name."""
    values: dict[str, Any] = {}
    for group, table in defaults.items():
        values |= parse_table(table, group, f"data/datasets.toml [{name}.{group}]")
    return values


def resolve(
    layers: list[dict[str, Any]],
    lesson_config: Any,
    dtypes: tuple[str, ...],
    device_dtypes: tuple[tuple[str, str], ...] = (),
) -> Settings:
    """Return the settings, each from the first layer that has it, then from the lesson's Config, then the default.

    `dtypes` and `device_dtypes` are the folder's (contract.Folder). Raises UserError if they do not fit together.
    """
    config_fields = {field.name for field in dataclasses.fields(lesson_config)}
    values = {option.name: option.default for option in OPTIONS}
    for layer in reversed(layers):
        values |= layer
    values["dtype"] = values["dtype"] or dict(device_dtypes).get(values["device"], dtypes[0])
    chosen = {name: value for name, value in values.items() if name in config_fields and value is not None}
    config = dataclasses.replace(lesson_config, **chosen)
    check_shape(config)
    rest = {field.name: values[field.name] for field in dataclasses.fields(Settings) if field.name != "config"}
    return Settings(config=config, **rest)


def check_shape(config: Any) -> None:
    """Raise UserError if heads do not divide the width, or if attention has more scores than memory should hold."""
    if config.n_embd % config.n_head:
        fitting = ", ".join(str(h) for h in range(1, min(config.n_embd, 64) + 1) if config.n_embd % h == 0)
        raise UserError(f"n_embd {config.n_embd} is not divisible by n_head {config.n_head}; use --n-head {fitting}")
    if (scores := config.n_head * config.block_size**2) > MAX_SCORES:
        raise UserError(
            f"{config.n_head} heads and a block of {config.block_size} make {scores:,} attention scores"
            f" (n_head x block_size²); the limit is {MAX_SCORES:,}: use a smaller --block-size"
        )
