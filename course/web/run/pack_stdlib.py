"""The standard library for the page, packed by the Python that will read it (pack_stdlib.mjs runs this file in it)."""

import importlib.util
import io
import sys
import zipfile
from importlib import _bootstrap_external
from pathlib import Path

import course_page  # noqa: F401  what it imports is imported in the page at every start

# What needs a terminal, a network or other processes, none of which a page has.
OF_NO_USE = ("_pyrepl", "ftplib", "imaplib", "mailbox", "multiprocessing", "poplib", "smtplib", "wsgiref", "xmlrpc")


def packed() -> bytes:
    """Return a zip with the sources, and behind them the imported modules compiled. The page's files are compressed."""
    library = next(path for path in sys.path if path.endswith(".zip"))
    made = io.BytesIO()
    with zipfile.ZipFile(library) as sources, zipfile.ZipFile(made, "w", zipfile.ZIP_STORED) as archive:
        for entry in sources.infolist():
            if entry.filename.split("/")[0].removesuffix(".py") in OF_NO_USE:
                continue
            archive.writestr(zipfile.ZipInfo(entry.filename), sources.read(entry))
        for name in sorted(imported_from(library)):
            archive.writestr(zipfile.ZipInfo(f"{name}c"), compiled(sources.read(name), f"{library}/{name}"))
    return made.getvalue()


def imported_from(library: str) -> set[str]:
    origins = [getattr(module.__spec__, "origin", None) or "" for module in list(sys.modules.values())]
    return {str(Path(origin).relative_to(library)) for origin in origins if origin.startswith(f"{library}/")}


def compiled(source: bytes, path: str) -> bytes:
    code = compile(source, path, "exec", dont_inherit=True)
    # "unchecked": Python does not compare it with the source, which cannot change
    return _bootstrap_external._code_to_hash_pyc(code, importlib.util.source_hash(source), checked=False)
