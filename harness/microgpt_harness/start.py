"""The first instructions of every program. Little is imported here, and nothing that an old Python would not read."""

import sys

from .system import interrupts


def program(main_file: str, **offers: object) -> None:
    """Run a folder's main.py and exit. `offers` says what the folder can do: the fields of `contract.Folder`."""
    begin("main.py")
    from pathlib import Path

    from .cli import main
    from .contract import Folder

    folder = Folder(Path(main_file).resolve().parent, **offers)  # type: ignore[arg-type]
    sys.exit(main(folder))


def tool() -> None:
    """Run the console script `microgpt` and exit."""
    begin("microgpt")
    from .tools.command_line import main

    sys.exit(main())


def begin(name: str) -> None:
    """Answer signals before anything else is imported: that takes a moment, and a framework takes seconds."""
    if sys.version_info < (3, 11):  # noqa: UP036 (uv would see to it, but not everybody starts with uv)
        running = ".".join(map(str, sys.version_info[:2]))
        sys.stderr.write(f"{name}: this is Python {running}; use 3.11 or newer, or `uv run python main.py`\n")
        sys.exit(2)
    interrupts.catch(name)
