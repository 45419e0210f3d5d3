"""The command line of `main.py`: train (the default), sample, bench, exercise, and --list."""

import argparse
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

from ..contract import Folder
from ..run.bounds import DTYPES, Real, Whole
from ..system.errors import UserError
from ..system.paths import RUNS
from .settings import OPTIONS, Option, lesson_defaults, plain

COMMANDS = ("train", "sample", "bench", "exercise")
EPILOG = """\
main.py sample --help   what can be set when sampling from a checkpoint
main.py bench --help    how fast this folder is
main.py exercise        exercises on this folder's lesson, and how far you are
main.py --list          the datasets and their own defaults

Settings come from the flag, else the --config file, else the dataset's own
defaults, else the lesson's Config, whose values stand above. A --config file
may use the flags' names, with underscores, or Config's: --steps is steps or
num_steps, --lr is lr or learning_rate. scenarios/ holds files worth trying."""
# What --help says of a default that is no number of Config
SAID_OTHERWISE = {"prompt": "none", "max_tokens": "the block's end; in running text 500"}
OF_THE_RUN = dict.fromkeys(("temperature", "top_k", "max_tokens", "repetition_penalty", "dtype"), "the run's")


ABOUT_EXERCISES = """\
Exercises on this folder's lesson. Without a name: the list. The first call of one
writes a file to work on, later calls check it."""
LOG_EVERY = "print a line every N steps; 0: none (default: ten lines, on a terminal a bar)"


class Parser(argparse.ArgumentParser):
    """Reports wrong input in one line, like every other error of the program."""

    def error(self, message: str) -> NoReturn:
        raise UserError(f"{message} (see --help)")


def split_command(argv: list[str]) -> tuple[str, list[str]]:
    """Return the command and the rest: without a command it is `train`."""
    if argv and argv[0] in COMMANDS:
        return argv[0], argv[1:]
    return "train", argv


def together(argv: list[str]) -> bool:
    """Return whether this process is one of several. It is asked as early as here, so that one of them speaks."""
    return "--distributed" in argv or "--shard" in argv


def launched_as(folder: Folder) -> int:
    """Return this process's number, by what its launcher says in the environment."""
    numbers = [os.environ[name] for name in folder.ranks if os.environ.get(name, "").isdecimal()]
    return int(numbers[0]) if numbers else 0


def parse(folder: Folder, argv: list[str]) -> argparse.Namespace:
    """Return the flags. `values` holds the settings that were given, by name; nothing else has a default in it."""
    command, rest = split_command(argv)
    build = {"train": train_parser, "sample": sample_parser, "bench": bench_parser, "exercise": exercise_parser}[
        command
    ]
    args = build(folder).parse_args(rest)
    args.command = command
    args.values = {o.name: getattr(args, o.name) for o in OPTIONS if getattr(args, o.name, None) is not None}
    check_folder(folder, args.values)
    check_engine(folder, args)
    return args


def check_engine(folder: Folder, args: argparse.Namespace) -> None:
    """Raise UserError for an engine that this folder does not have, or two at once."""
    offered = {"compile": folder.compiled, "distributed": folder.distributed, "shard": folder.sharded}
    chosen = [name for name in offered if getattr(args, name, False)]
    for name in chosen:
        if not offered[name]:
            raise UserError(f"--{name}: {folder.name} offers no such step; leave the flag out")
    if len(chosen) > 1:
        raise UserError(f"--{chosen[0]} and --{chosen[1]} do not go together; leave one of them out")


def computed_by(folder: Folder, args: argparse.Namespace) -> dict[str, Any]:
    """Return the compute backend for the records: its name, and whether it is compiled first."""
    return {"backend": getattr(args, "backend", folder.backends[0][0]), "compile": args.compile}


def train_parser(folder: Folder) -> Parser:
    parser = new_parser(folder, "", "Train this folder's microGPT on names or other text, then print samples.", EPILOG)
    add_common(parser, folder, several_datasets=True)
    add_column(parser)
    parser.add_argument("--list", action="store_true", help="print the datasets and exit")
    defaults = own_defaults(folder)
    for group in ("model", "training", "sampling"):
        add_options(parser, group, defaults)
    run = parser.add_argument_group("run")
    add_stream(run)
    run.add_argument(
        "--config", type=Path, metavar="FILE.toml", help="a scenario: data and settings in TOML (see below)"
    )
    run.add_argument("--resume", action="store_true", help="go on from this run's checkpoint")
    run.add_argument("--checkpoint", type=Path, metavar="PATH", help="go on from this one instead, whoever wrote it")
    run.add_argument(
        "--save-every",
        type=typed(Whole(0).parse),
        default=0,
        metavar="N",
        help="save every N steps too (default: 0, once a minute only)",
    )
    run.add_argument(
        "--stop-at",
        type=typed(Whole(1).parse),
        metavar="N",
        help="stop after step N for now, to resume later (default: the last step)",
    )
    run.add_argument(
        "--distributed", action="store_true", help="train in the processes that a launcher started, where offered"
    )
    run.add_argument("--shard", action="store_true", help="the same, and each process keeps a share of the weights")
    run.add_argument("--log-every", type=typed(Whole(0).parse), metavar="N", help=LOG_EVERY)
    run.add_argument("--no-plot", action="store_true", help="draw no pictures")
    run.add_argument("--live-plot", action="store_true", help="a window that follows the loss")
    run.add_argument("--quiet", action="store_true", help="print the samples only")
    return parser


def sample_parser(folder: Folder) -> Parser:
    parser = new_parser(folder, " sample", "Print samples from a checkpoint.", None)
    add_common(parser, folder, several_datasets=False)
    defaults = own_defaults(folder) | OF_THE_RUN | {"seed": "go on as the run would have"}
    add_options(parser, "sampling", defaults)
    add_options(parser, "training", defaults, only=("seed", "dtype", "device"))
    run = parser.add_argument_group("run")
    add_stream(run)
    run.add_argument(
        "--config", type=Path, metavar="FILE.toml", help="a scenario, of which [data] and [sampling] count"
    )
    run.add_argument("--checkpoint", type=Path, metavar="PATH", help="sample from this one, whoever wrote it")
    run.add_argument("--quiet", action="store_true", help="print the samples only")
    return parser


def bench_parser(folder: Folder) -> Parser:
    parser = new_parser(folder, " bench", "Measure how fast this folder trains.", None)
    add_common(parser, folder, several_datasets=False)
    add_column(parser)
    add_options(parser, "model", own_defaults(folder))
    only = ("learning_rate", "batch_size", "clip_grad", "seed", "dtype", "device")
    add_options(parser, "training", own_defaults(folder), only)
    measuring = parser.add_argument_group("measuring")
    # Not the setting num_steps, which is the length of the run whose time is estimated.
    measuring.add_argument("--steps", type=typed(Whole(1).parse), metavar="N", help="measure this many steps")
    measuring.add_argument(
        "--seconds",
        type=typed(Real(0, above=True).parse),
        metavar="S",
        help="or as many as fit into S seconds (default: 3 seconds, and 20 steps at least)",
    )
    measuring.add_argument("--json", action="store_true", help="print one JSON object instead of a table")
    measuring.add_argument("--list-backends", action="store_true", help="print what can be measured and exit")
    return parser


def exercise_parser(folder: Folder) -> Parser:
    parser = new_parser(folder, " exercise", ABOUT_EXERCISES, None)
    parser.add_argument("name", nargs="?", metavar="NAME", help="an exercise of the list, or `mistake`")
    parser.add_argument(
        "number", nargs="?", type=typed(Whole(1).parse), metavar="N", help="which mistake (default: any)"
    )
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--watch", action="store_true", help="check whenever the file is saved")
    what.add_argument("--hint", action="store_true", help="one hint more each time")
    what.add_argument("--solution", action="store_true", help="what the lesson does, as a diff")
    what.add_argument("--reset", action="store_true", help="begin anew, and keep the old attempt under another name")
    what.add_argument(
        "--check", type=Path, nargs="+", metavar="FILE", help="check files (or folders of them) handed in"
    )
    parser.add_argument("--csv", type=Path, metavar="FILE", help="where --check writes (default: exercises/NAME.csv)")
    parser.add_argument("--json", action="store_true", help="print the result as JSON, for programs")
    parser.add_argument(
        "--seed",
        dest="at_seed",
        type=typed(Whole(0).parse),
        metavar="N",
        help="of the random point (default: a new one)",
    )
    parser.add_argument(
        "--time-limit",
        type=typed(Real(0, above=True).parse),
        default=10.0,
        metavar="S",
        help="seconds that an attempt may compute at a stretch (default: 10)",
    )
    parser.add_argument(
        "--dir", type=Path, metavar="DIR", help="where attempts are kept (default: exercises/ in the folder)"
    )
    return parser


def new_parser(folder: Folder, command: str, description: str, epilog: str | None) -> Parser:
    return Parser(
        prog=f"main.py{command}",
        description=f"{folder.name}\n{description}",
        epilog=epilog,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )


def add_common(parser: Parser, folder: Folder, several_datasets: bool) -> None:
    many: dict[str, Any] = {"nargs": "+"} if several_datasets else {}
    parser.add_argument(
        "--dataset",
        metavar="NAME_OR_FILE",
        help="a name from --list, or a text file, one document a line (default: names)"
        + ("; several train in turn, `all` is every one by name" if several_datasets else ""),
        **many,
    )
    parser.add_argument("--out", type=Path, default=RUNS, metavar="DIR", help="where runs are kept (default: runs/)")
    if len(folder.backends) > 1:
        names = [name for name, _ in folder.backends]
        parser.add_argument("--backend", choices=names, default=names[0], help=f"compute backend (default: {names[0]})")
    parser.add_argument("--compile", action="store_true", help="turn the model into machine code first, where offered")


def add_column(parser: Parser) -> None:
    text = "the column to learn from, if your own file is a CSV (default: whole lines)"
    parser.add_argument("--column", metavar="NAME", help=text)


def own_defaults(folder: Folder) -> dict[str, Any]:
    """What --help says of each setting's default, by name."""
    config = lesson_defaults(folder.path / "microgpt.py")
    dtype = ", ".join([folder.dtypes[0], *(f"{dtype} on {device}" for device, dtype in folder.device_dtypes)])
    return {o.name: o.default for o in OPTIONS} | config | {"dtype": dtype} | SAID_OTHERWISE


def add_options(parser: Parser, group: str, defaults: dict[str, Any], only: tuple[str, ...] | None = None) -> None:
    section = parser.add_argument_group(group)
    for option in OPTIONS:
        if option.group == group and option.flag and (only is None or option.name in only):
            flags = [option.flag, "-i"] if option.name == "prompt" else [option.flag]
            section.add_argument(
                *flags,
                dest=option.name,
                type=typed(option.parse),
                metavar=metavar(option),
                help=described(option, defaults[option.name]),
            )


def add_stream(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--stream",
        action=argparse.BooleanOptionalAction,
        help="show samples as they are drawn (default: on a terminal)",
    )


def typed(parse_value: Callable[[Any], Any]) -> Callable[[str], Any]:
    """Turn a ValueError that says what is wanted into argparse's own."""

    def convert(given: str) -> Any:
        try:
            return parse_value(given)
        except ValueError as error:
            raise argparse.ArgumentTypeError(f"it must be {error}, not {given!r}") from None

    return convert


def metavar(option: Option) -> str:
    if option.name == "dtype":
        return "{" + ",".join(DTYPES) + "}"
    return {"prompt": "TEXT", "device": "NAME"}.get(option.name, "N")


def described(option: Option, default: Any) -> str:
    return option.help if default is None else f"{option.help} (default: {plain(default)})"


def check_folder(folder: Folder, values: dict[str, Any], where: str = "--") -> None:
    """Raise UserError for a dtype or device that this folder cannot honour. `where` says where they were set."""
    dtype, device = values.get("dtype"), values.get("device", "auto")
    if dtype and dtype not in folder.dtypes:
        raise UserError(f"{where}dtype {dtype}: {folder.name} computes in {' or '.join(folder.dtypes)} only")
    if device not in ("auto", *folder.devices):
        known = ", ".join(("auto", *folder.devices))
        raise UserError(f"{where}device {device}: {folder.name} runs on one of {known}")
