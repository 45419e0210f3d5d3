"""`microgpt dataset FILE_OR_URL`: the table that data/datasets.toml needs for a file, hash and counts filled in."""

import dataclasses
import json
import re
from argparse import Namespace
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from ..data import columns, datasets, documents, registry, sources
from ..data.downloads import MAX_BYTES, Unavailable, download
from ..data.registry import Entry
from ..system.console import UNPRINTABLE, say, shown
from ..system.errors import RunError, UserError
from ..system.paths import DATA

ZIP_MAGIC = b"PK\x03\x04"
LINES_PER_PARAGRAPH = 12  # more than that on average, and the blank lines are no paragraphs' ends
FIELDS = (
    "title",
    "source",
    "licence",
    "url",
    "file",
    "sha256",
    "hash_of",
    "format",
    "column",
    "member",
    "content",
    "gutenberg",
    "mode",
    "documents",
    "characters",
)  # as they stand in the registry
TO_FILL_IN = {"title": "one line for people", "source": "where it comes from", "licence": "what its owner allows"}


def command(args: Namespace) -> int:
    """Print the table, and on standard error what is left to do."""
    entry = describe(args, read(args.source))
    print(as_toml(entry))
    copy = "" if entry.url else f", copy {args.source} to {shown(DATA / entry.file)}"
    say(f"paste this at the end of {shown(registry.REGISTRY)}{copy}, then train with --dataset {entry.name}")
    return 0


def read(source: str) -> bytes:
    """Return the bytes of a file or of an address."""
    if not sources.is_url(source):
        path = Path(source)
        if not path.is_absolute() and not path.exists():  # the usual reason: the command is run by --directory harness
            raise UserError(f"{source}: no such file in {Path.cwd()}; give its whole path")
        with datasets.open_own(path) as file:
            content = file.read(MAX_BYTES + 1)
        if len(content) > MAX_BYTES:
            raise UserError(f"{source}: larger than {MAX_BYTES:,} bytes; train on the file itself: --dataset {source}")
        return content
    try:
        return download(source, say)
    except Unavailable as error:
        raise RunError(str(error)) from error


def describe(args: Namespace, data: bytes) -> Entry:
    """Return the entry, all guesses made. UserError for what could not be trained on either."""
    url = args.source if sources.is_url(args.source) else None
    path = Path(unquote(urlsplit(url).path) if url else args.source)
    name = registry.key(re.sub(r"\W+", "_", args.name or registry.own_name(path)).strip("_")) or "text"
    if name in registry.entries() or name in registry.faults():
        raise UserError(f"there is a dataset {name} already; call this one something else by --name")
    suffix = path.suffix.lower() if re.fullmatch(r"\.\w{1,8}", path.suffix) else ""
    entry = Entry(
        name=name,
        title=name,
        source="",
        licence="",
        url=url,
        file=name + suffix,  # not the file's own name: no two datasets may have the same in data/cache/
        sha256="",
        documents=0,
        characters=0,
        **form(args, suffix, data),
    )
    found = datasets.read_documents(entry, *datasets.text_of(entry, data))
    datasets.check_documents(found, args.source)
    characters = sum(map(len, found))
    return dataclasses.replace(entry, sha256=sources.sha256(entry, data), documents=len(found), characters=characters)


def form(args: Namespace, suffix: str, data: bytes) -> dict[str, Any]:
    """Return how the file is to be read: format and mode, and what belongs to them."""
    if data.startswith(ZIP_MAGIC):
        return zip_form(args, data)
    if args.member is not None:
        raise UserError(f"--member is for a zip, and {args.source} is none")
    text = documents.decode(data, args.source)
    if args.column is not None:
        return {"format": "csv", "column": args.column, "mode": args.mode or "discrete"}
    if found := columns.found_in(text, suffix):
        raise UserError(f"{args.source} looks like CSV; name the --column, one of {columns.listed(found)}")
    mode = args.mode or guessed_mode(text)
    gutenberg = documents.without_gutenberg(text) != text
    return {"format": "text" if mode == "stream" else "lines", "mode": mode, "gutenberg": gutenberg}


def zip_form(args: Namespace, data: bytes) -> dict[str, Any]:
    """A zip is known by the bytes of its members: a server that packs it on request may pack it differently one day."""
    if args.column is not None:
        raise UserError("--column is for a CSV; unpack the zip first, and name the CSV that is in it")
    member = args.member or "*.txt"
    texts = [documents.decode(content, name).strip() for name, content in documents.members(data, member, args.source)]
    mode = args.mode or guessed_mode("\n".join(texts))
    content = "text" if mode == "stream" else "lines"
    return {"format": "zip", "member": member, "content": content, "mode": mode, "hash_of": "members"}


def guessed_mode(text: str) -> str:
    """Running text has a blank line every few lines; a list has none, or a stray one."""
    paragraphs, lines = len(documents.paragraphs(text)), len(documents.lines(text))
    return "stream" if paragraphs > 1 and lines <= LINES_PER_PARAGRAPH * paragraphs else "discrete"


def as_toml(entry: Entry) -> str:
    """Return the entry as a table of data/datasets.toml."""
    lines = [f"[{entry.name if entry.name.isascii() else quoted(entry.name)}]"]
    defaults = {field.name: field.default for field in dataclasses.fields(Entry)}
    for name in FIELDS:
        value = getattr(entry, name)
        if value != defaults[name]:
            comment = f"  # {TO_FILL_IN[name]}" if name in TO_FILL_IN else ""
            lines.append(f"{name} = {quoted(value) if isinstance(value, str) else str(value).lower()}{comment}")
    lines += [
        "",
        f"# Its own defaults, where Config's do not suit it: [{entry.name}.model] n_embd, n_layer, block_size, …,",
    ]
    lines += [f"# [{entry.name}.training] steps, lr, batch_size, … and [{entry.name}.sampling] temperature, top_k, …"]
    return "\n".join(lines)


def quoted(text: str) -> str:
    """A TOML string. JSON writes the same ones, but for characters that a terminal should not see either."""
    return UNPRINTABLE.sub(lambda found: f"\\u{ord(found.group()):04x}", json.dumps(text, ensure_ascii=False))
