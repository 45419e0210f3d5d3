"""What comes from npm: Python compiled to WebAssembly, and the editor.

Both go into the site as scripts that a page loads when it needs them: pages have to work when their file is opened by a
double click, and from there no other kind of file can be loaded. Python's files are compressed, written in base64 and
cut into parts, so that the page can say how far loading has come.

    assets/editor.js           Course.Editor, made from web/run/editor.js
    assets/python.js           Course.Python, which starts web/run/worker.js
    data/python/index.js       for each of Python's files its size and the names of its parts
    data/python/worker-0.js …  the parts
"""

import base64
import gzip
import hashlib
import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path

from .site import HERE, WEB, Site

CACHE = HERE / ".cache"
SOURCES = WEB / "run"
PACKAGES = HERE / "package.json"
PART = 1_000_000  # characters of base64 in a part
INSTALL = ["install", "--ignore-scripts", "--no-package-lock", "--omit-lockfile-registry-resolved", "--no-audit"]
INSTALL += ["--no-fund", "--loglevel=error", "--fetch-retries=1", "--fetch-timeout=60000"]  # milliseconds
MODULE_FOR_A_WORKER = ["--format=esm", "--loader:.py=text", "--external:node:*", "--external:ws", "--log-level=error"]


class LeftOut(Exception):
    """Why Python and the editor cannot be part of this site, in one line."""


def build(site: Site) -> str | None:
    """Add Python and the editor to the site. Return None, or a line that says what is left out and why."""
    try:
        editor = cached("editor.js", ["editor.js"], bundle_editor)
        files = {
            "worker": cached("worker.js.gz", ["worker.js", "course_page.py"], bundle_worker),
            "wasm": cached("wasm.gz", [], pack_wasm),
            "stdlib": cached("stdlib.gz", ["pack_stdlib.mjs", "pack_stdlib.py", "course_page.py"], pack_stdlib),
        }
    except LeftOut as reason:
        return f"the pages in which Python runs, and their editor: {reason}"
    site.asset("assets/editor.js", editor)
    site.web("run/python.js")
    site.data("python/index", {name: add_parts(site, name, content) for name, content in files.items()})
    return None


def add_parts(site: Site, name: str, content: bytes) -> dict[str, object]:
    text = base64.b64encode(content).decode()
    parts = [text[start : start + PART] for start in range(0, len(text), PART)]
    for number, part in enumerate(parts):
        site.data(f"python/{name}-{number}", part)
    return {"size": len(text), "parts": [f"python/{name}-{number}" for number in range(len(parts))]}


# What is made from the packages is kept until what it is made from changes
def cached(name: str, sources: list[str], make: Callable[[Path], bytes]) -> bytes:
    """Return `name` from the cache, or make it in a folder with the packages, which has web/run/ as `run`."""
    key = digest([Path(__file__), PACKAGES, *(SOURCES / source for source in sources)])
    file = CACHE / "bundle" / f"{key[:16]}-{name}"
    if not file.exists():
        content = make(workshop())
        for old in file.parent.glob(f"*-{name}"):
            old.unlink()
        write_whole(file, content)
    return file.read_bytes()


def workshop() -> Path:
    folder = install()
    shutil.copytree(SOURCES, folder / "run", dirs_exist_ok=True)
    return folder


def install(dev: bool = False) -> Path:
    """Return a folder in whose node_modules the packages are, with those that only tests need if `dev` says so."""
    npm = shutil.which("npm")
    if npm is None or shutil.which("node") is None:
        raise LeftOut("they need Node.js with npm, which is not installed here")
    folder = CACHE / f"npm-{digest([PACKAGES])[:16]}{'-dev' if dev else ''}"
    if folder.exists():
        return folder
    CACHE.mkdir(exist_ok=True)
    # packages are put into place when all are there: another build may do the same at this moment
    with tempfile.TemporaryDirectory(dir=CACHE, prefix="installing-", ignore_cleanup_errors=True) as name:
        new = Path(name) / "npm"
        new.mkdir()
        shutil.copy(PACKAGES, new)
        run([npm, *INSTALL, *([] if dev else ["--omit=dev"])], new, "npm install failed")
        if not folder.exists():
            new.rename(folder)
    return folder


def bundle_editor(folder: Path) -> bytes:
    return esbuild(folder, "run/editor.js", "--format=iife")


def bundle_worker(folder: Path) -> bytes:
    return compress(esbuild(folder, "run/worker.js", *MODULE_FOR_A_WORKER))


def esbuild(folder: Path, entry: str, *options: str) -> bytes:
    command = ["node", "node_modules/esbuild/bin/esbuild", entry, "--bundle", "--minify", "--target=es2022"]
    return run([*command, "--legal-comments=inline", *options], folder, f"esbuild cannot bundle {entry}")


def pack_wasm(folder: Path) -> bytes:
    return compress((folder / "node_modules" / "pyodide" / "pyodide.asm.wasm").read_bytes())


def pack_stdlib(folder: Path) -> bytes:
    with tempfile.TemporaryDirectory(dir=CACHE) as name:
        made = Path(name) / "stdlib.zip"
        run(["node", "run/pack_stdlib.mjs", str(made)], folder, "Python's standard library cannot be packed")
        return compress(made.read_bytes())


def compress(content: bytes) -> bytes:
    return gzip.compress(content, 9, mtime=0)  # the same bytes at every build


def run(command: list[str], folder: Path, failure: str) -> bytes:
    """Run a program in a folder and return what it prints. LeftOut with its last words if it fails."""
    node = shutil.which(command[0]) or command[0]  # on Windows npm is npm.cmd
    done = subprocess.run([node, *command[1:]], cwd=folder, capture_output=True, stdin=subprocess.DEVNULL)
    if done.returncode:
        raise LeftOut(f"{failure}: {reason(done.stderr.decode(errors='replace')) or f'exit code {done.returncode}'}")
    return done.stdout


def reason(said: str) -> str:
    """Return the line that says most of what a program has said: the first with an error in it."""
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    return next((line for line in lines if "error" in line.lower()), lines[0] if lines else "")


def write_whole(file: Path, content: bytes) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    part = file.with_name(f"{file.name}.{os.getpid()}")
    part.write_bytes(content)
    part.replace(file)


def digest(files: list[Path]) -> str:
    made = hashlib.sha256()
    for file in files:
        made.update(file.name.encode() + b"\0" + hashlib.sha256(file.read_bytes()).digest())
    return made.hexdigest()
