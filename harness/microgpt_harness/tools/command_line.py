"""The console script `microgpt`: what looks at all folders at once, `uv run --directory harness microgpt --help`."""

import argparse
import sys
from pathlib import Path

from ..program.flags import Parser, typed
from ..program.outcome import run_program
from ..run.bounds import Real, Whole
from ..system.paths import RUNS

SIZES = (16, 32, 64, 128, 256)
BATCH_SIZES = (1, 32)
LIMIT = 120.0  # seconds


def main() -> int:
    return run_program(lambda: dispatch(sys.argv[1:]))


def dispatch(argv: list[str]) -> int:
    """Only what the command needs is imported, so that --help answers at once."""
    args = parser().parse_args(argv)
    if args.command == "compare":
        from . import compare

        return compare.command(args)
    if args.command == "dataset":
        from . import new_dataset

        return new_dataset.command(args)
    from . import suite

    return suite.command(args, suite.UvRunner())


def parser() -> Parser:
    program = Parser(
        prog="microgpt", description="Compare and measure all folders; register a dataset.", allow_abbrev=False
    )
    commands = program.add_subparsers(dest="command", required=True, metavar="{compare,bench,dataset}")
    add_compare(commands)
    add_bench(commands)
    add_dataset(commands)
    return program


def add_compare(commands: "argparse._SubParsersAction[Parser]") -> None:
    text = "Say whether the folders' runs of one dataset agree over the first 50 steps (exit code 0) or diverge (1)."
    command = commands.add_parser("compare", help="do the folders' runs agree?", description=text, allow_abbrev=False)
    command.add_argument("--dataset", default="names", metavar="NAME_OR_FILE", help="whose runs (default: names)")
    add_out(command)


def add_bench(commands: "argparse._SubParsersAction[Parser]") -> None:
    text = (
        "Measure every folder's training, each in its own environment, over model and batch sizes. Results are kept in"
        " bench/ beside the runs: interrupted, the same command goes on where it was."
    )
    command = commands.add_parser("bench", help="how fast is each folder?", description=text, allow_abbrev=False)
    add_out(command)
    number = typed(Whole(1).parse)
    command.add_argument("--sizes", type=number, nargs="+", default=SIZES, metavar="N", help=default("n_embd", SIZES))
    command.add_argument(
        "--batch-sizes",
        type=number,
        nargs="+",
        default=BATCH_SIZES,
        metavar="N",
        help=default("documents", BATCH_SIZES),
    )
    command.add_argument(
        "--folders", nargs="+", metavar="NAME", help="folders, or how their names begin (default: all)"
    )
    seconds = typed(Real(0, above=True).parse)
    amount = command.add_mutually_exclusive_group()
    amount.add_argument("--steps", type=number, metavar="N", help="steps to take in a measurement")
    amount.add_argument("--seconds", type=seconds, default=3.0, metavar="S", help="or seconds to measure (default: 3)")
    command.add_argument(
        "--limit",
        type=seconds,
        default=LIMIT,
        metavar="S",
        help=f"leave out a measurement that is bound to take longer (default: {LIMIT:g} seconds)",
    )
    command.add_argument(
        "--fresh",
        action="store_true",
        help="start anew, as after a change of the code; the results so far become previous.json",
    )


def add_dataset(commands: "argparse._SubParsersAction[Parser]") -> None:
    text = (
        "Print the table that data/datasets.toml needs for a file, hash and counts filled in. What no flag says is"
        " guessed from the file: look at the table before you paste it."
    )
    command = commands.add_parser("dataset", help="a table for the registry", description=text, allow_abbrev=False)
    command.add_argument("source", metavar="FILE_OR_URL", help="a text, a CSV, a zip of texts, or its http(s) address")
    command.add_argument("--name", help="what to call it (default: the file's name)")
    command.add_argument("--column", metavar="NAME", help="the column of a CSV")
    command.add_argument("--member", metavar="PATTERN", help="which members of a zip (default: *.txt)")
    modes = ("discrete", "stream")
    guessed = "documents are lines, or paragraphs of one running text (default: guessed from its blank lines)"
    command.add_argument("--mode", choices=modes, help=guessed)


def add_out(command: argparse.ArgumentParser) -> None:
    command.add_argument("--out", type=Path, default=RUNS, metavar="DIR", help="where runs are kept (default: runs/)")


def default(what: str, values: tuple[int, ...]) -> str:
    return f"{what} (default: {' '.join(map(str, values))})"
