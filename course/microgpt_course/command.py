"""`uv run --directory course course`: builds what is out of date, serves it, and opens the browser."""

import argparse
import functools
import http.server
import os
import sys
import webbrowser
from pathlib import Path

from microgpt_harness.system.errors import RunError, UserError

from . import build, lessons


def main() -> None:
    args = parser().parse_args()
    try:
        sys.exit(args.run(args))
    except UserError as error:
        sys.exit(fail(error, 2))
    except RunError as error:
        sys.exit(fail(error, 1))
    except OSError as error:
        sys.exit(fail(f"{error.filename or 'the site'}: {error.strerror or error}", 1))
    except KeyboardInterrupt:
        sys.exit(130)


def fail(error: object, code: int) -> int:
    print(f"course: {error}", file=sys.stderr)
    return code


def parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(prog="course", description="Build the course as a site, and look at it.")
    made.set_defaults(run=show)
    made.add_argument("--build-only", action="store_true", help="build the site, and do not serve it")
    made.add_argument("--out", type=Path, default=build.OUT, metavar="DIR", help="where the site goes (course/site)")
    made.add_argument("--port", type=int, default=0, help="of the address it is served at (any that is free)")
    made.add_argument("--no-browser", action="store_true", help="serve the site, and open no browser")
    commands = made.add_subparsers(title="instead of the site", metavar="")
    notebooks = commands.add_parser(
        "notebooks",
        help="write the lessons as executed notebooks into a folder",
        description="Run each lesson with its own folder's packages, and write it as a notebook with text between its "
        "cells. Packages that uv does not have yet are downloaded; README.md says how large they are.",
    )
    notebooks.add_argument(
        "folder",
        type=Path,
        metavar="DIR",
        help="where they go, below the folder in which you call this unless it begins at the root; made if need be",
    )
    notebooks.set_defaults(run=write_notebooks)
    return made


def show(args: argparse.Namespace) -> int:
    out = lessons.where_called() / args.out
    say("building …")
    for line in build.build(out=out):
        say(f"left out: {line}")
    place = os.path.relpath(out, lessons.where_called())
    say(f"the site is in {place}: open index.html there, or copy it to any web server")
    if not args.build_only:
        serve(out, args.port, not args.no_browser)
    return 0


def serve(folder: Path, port: int, browser: bool) -> None:
    handler = functools.partial(Quiet, directory=str(folder))
    with http.server.ThreadingHTTPServer(("127.0.0.1", port), handler) as server:
        address = f"http://127.0.0.1:{server.server_address[1]}/"
        say(f"served at {address} until you press Ctrl-C")
        if browser:
            webbrowser.open(address)
        server.serve_forever()


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:
        pass


def write_notebooks(args: argparse.Namespace) -> int:
    from . import notebooks

    for path in notebooks.write(args.folder):
        say(str(path))
    return 0


def say(line: str) -> None:
    print(line, flush=True)


if __name__ == "__main__":
    main()
