"""Where the runs of a dataset are kept: one folder under --out for each dataset, whichever folder trains on it."""

import os
import shlex
from argparse import Namespace
from pathlib import Path

from ..data import datasets, registry
from ..run import run_config
from ..system.console import shown
from ..system.errors import UserError
from ..system.paths import RUNS


def dataset_folder(name: str) -> str:
    """The folder's name under runs/, which a dataset of the registry shares with it."""
    resolved = registry.resolve(name)
    return resolved if resolved in registry.names() else registry.own_name(resolved)


def trained_folder(args: Namespace, name: str) -> str:
    """The folder of a run by the dataset's name or path, or by its own name, whoever has the file by now."""
    plain = name not in ("", ".", "..") and Path(name).name == name
    is_folder = plain and os.path.isdir(args.out / name)  # noqa: PTH112 (Path's own fails where the name is too long)
    if is_folder:
        return name
    check_same_file(args, registry.resolve(name))
    return dataset_folder(name)


def check_run_folders(named: list[str]) -> None:
    """Raise UserError where two datasets would write into the same folder."""
    taken: dict[str, str] = {}
    for name in named:
        other = taken.setdefault(dataset_folder(name), name)
        if other != name:
            raise UserError(
                f"{other} and {name} would both be kept in the folder {dataset_folder(name)};"
                " rename one, or train them one by one, each with an --out of its own"
            )


def check_same_file(args: Namespace, name: str) -> None:
    """Raise UserError where the folder for a user's own file holds runs of another file: two may have one name."""
    if not own_files([name]):
        return
    folder = args.out / dataset_folder(name)
    for run_folder in folder.glob("*/"):
        try:
            other = run_config.read(run_folder).get("file", name)
        except UserError:
            continue
        if datasets.differ(Path(name), Path(other)):
            raise UserError(
                f"{shown(folder)} holds runs of {other}, another file of that name: rename {name},"
                " or choose another folder with --out"
            )


def own_files(named: list[str]) -> list[str]:
    return [name for name in named if name not in registry.names()]


def training_command(args: Namespace, name: str) -> str:
    out = [] if args.out == RUNS else ["--out", str(args.out)]
    column = ["--column", args.column] if getattr(args, "column", None) is not None else []
    return shlex.join(["uv", "run", "python", "main.py", "--dataset", name, *column, *out])
