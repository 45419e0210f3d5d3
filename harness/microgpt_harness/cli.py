"""main.py's commands, each handed to the room that does it. This stands above all rooms: only start.py calls it."""

import sys

from .contract import Folder
from .program import flags
from .program.outcome import run_program
from .system.console import follow


def main(folder: Folder, argv: list[str] | None = None) -> int:
    """Run one command and return its exit code: 0, 1 a run that failed, 2 wrong input, 128 + n stopped by signal n."""
    return run_program(lambda: dispatch(folder, sys.argv[1:] if argv is None else argv))


def dispatch(folder: Folder, argv: list[str]) -> int:
    """Only what the command needs is imported, so that --help answers at once."""
    if flags.together(argv):
        follow(flags.launched_as(folder))
    args = flags.parse(folder, argv)
    if args.command == "bench":
        from .tools import bench

        return bench.command(folder, args)
    if args.command == "exercise":
        from .tools.exercises import command

        return command.command(folder, args)
    if args.command == "sample":
        from .program import sample

        return sample.command(folder, args)
    if args.list:
        from .program import listing

        return listing.command()
    from .program import train

    return train.command(folder, args)
