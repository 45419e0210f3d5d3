"""Where a file of the registry is found. Its sha256 is checked wherever that is, and it is looked for in this order:

1. shipped with the repository (names only),
2. the cache: data/cache/, or the folder named by MICROGPT_CACHE,
3. the mirror: MICROGPT_MIRROR, a folder (read in place) or a base URL (kept in the cache) holding the files by name,
4. the pinned address (kept in the cache).

A damaged file in the cache is fetched again and replaced only by a good one. A wrong file in the mirror is refused:
somebody put it there on purpose, so it has to be somebody who takes it away.
Nothing reaches the disk before its hash is right, and no zip member is ever written to the disk at all.
"""

import os
from pathlib import Path
from typing import Any

from ..system import files
from ..system.errors import RunError
from ..system.paths import DATA
from .documents import members
from .downloads import MAX_BYTES, Progress, Unavailable, download
from .registry import Entry, entries, exists, expanded


def read_bytes(entry: Entry, progress: Progress) -> bytes:
    """The right bytes of a registry file, from the first source that has them; see the top of this file."""
    if entry.url is None:
        return read_shipped(entry)
    notes = []
    for source in (from_cache, from_mirror, from_network):
        try:
            return source(entry, progress)
        except Unavailable as error:
            notes.append(str(error))
    causes = "; ".join(note for note in reversed(notes) if note)
    raise RunError(f"dataset {entry.name}: {causes}. {by_hand(entry)}")


def by_hand(entry: Entry) -> str:
    place = cache_folder() / entry.file
    return f"Put the file by hand at {place}, or set MICROGPT_MIRROR to a folder or base URL that holds {entry.file}"


def read_shipped(entry: Entry) -> bytes:
    path = DATA / entry.file
    remedy = "restore it from the repository, e.g. `git checkout data`"
    try:
        data = files.read_regular(path, MAX_BYTES)
    except OSError as error:
        raise RunError(f"{path}: {error.strerror}; {remedy}") from error
    fault = fault_of(entry, data)
    if fault:
        raise RunError(f"{path}: {fault}; {remedy}, or give your own file under another name")
    return data


def from_cache(entry: Entry, progress: Progress) -> bytes:
    path = cache_folder() / entry.file
    try:
        data = files.read_regular(path, MAX_BYTES)
    except FileNotFoundError as error:
        raise Unavailable("") from error  # the usual case: not worth a word
    except OSError as error:
        raise Unavailable(f"{path}: {error.strerror}") from error
    fault = fault_of(entry, data)
    if fault:
        progress(f"{path}: {fault}; fetching it again")
        raise Unavailable(f"{path}: {fault}")
    return data


def from_mirror(entry: Entry, progress: Progress) -> bytes:
    mirror = mirror_place()
    if not mirror:
        raise Unavailable("")
    if is_url(mirror):
        from urllib.parse import quote

        address = f"{mirror.rstrip('/')}/{quote(entry.file)}"
        data = download(address, progress)
    else:
        address = str(Path(mirror) / entry.file)
        try:
            data = files.read_regular(Path(address), MAX_BYTES)
        except OSError as error:
            raise Unavailable(f"MICROGPT_MIRROR: {address}: {error.strerror}") from error
    fault = fault_of(entry, data)
    if fault:
        raise RunError(f"dataset {entry.name}: {address}: {fault}. Replace it there, or unset MICROGPT_MIRROR")
    if is_url(mirror):
        keep(entry, data)
    return data


def from_network(entry: Entry, progress: Progress) -> bytes:
    data = download(str(entry.url), progress)
    fault = fault_of(entry, data)
    if fault:
        raise Unavailable(f"{entry.url}: {fault}, nothing kept")
    keep(entry, data)
    return data


def fault_of(entry: Entry, data: bytes) -> str | None:
    """What is wrong with these bytes, or None."""
    try:
        found = sha256(entry, data)
    except RunError as error:
        return str(error)
    return None if found == entry.sha256 else f"wrong hash: sha256 {found[:12]}…, expected {entry.sha256[:12]}…"


def sha256(entry: Entry, data: bytes) -> str:
    """The hash that the registry knows a file by: an archive made on request by its members'. RunError: no zip."""
    import hashlib

    content = b"".join(c for _, c in own_members(entry, data)) if entry.hash_of == "members" else data
    return hashlib.sha256(content).hexdigest()


def own_members(entry: Entry, data: bytes) -> list[tuple[str, bytes]]:
    return members(data, entry.member or "*", entry.file)


def keep(entry: Entry, data: bytes) -> None:
    """Write into the cache: whole under its name, or not at all. Two processes may do so at the same time."""
    path = cache_folder() / entry.file
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with files.replacing(path) as file:
            file.write(data)
    except OSError as error:
        raise RunError(
            f"{path}: cannot be written: {error.strerror}; free some space, or set MICROGPT_CACHE to another folder"
        ) from error


def cache_folder() -> Path:
    """MICROGPT_CACHE, or data/cache/."""
    chosen = os.environ.get("MICROGPT_CACHE", "").strip()
    return expanded(chosen) if chosen else DATA / "cache"


def is_cached(entry: Entry) -> bool:
    """Whether a download of it is there (by name: the hash is checked when it is read)."""
    return entry.url is not None and exists(cache_folder() / entry.file)


def mirror_place() -> str:
    mirror = os.environ.get("MICROGPT_MIRROR", "").strip()
    return mirror if is_url(mirror) or not mirror else str(expanded(mirror))


def is_url(text: str) -> bool:
    return text.lower().startswith(("http://", "https://"))


def listing() -> list[dict[str, Any]]:
    """One row a dataset for --list: name, title, mode, documents, characters, licence, where, defaults.

    `where` is "shipped", "cached", "mirror" (in the mirror folder) or "download" (on first use).
    """
    return [
        {
            "name": entry.name,
            "title": entry.title,
            "mode": entry.mode,
            "documents": entry.documents,
            "characters": entry.characters,
            "licence": entry.licence,
            "where": where_is(entry),
            "defaults": entry.defaults,
        }
        for entry in entries().values()
    ]


def where_is(entry: Entry) -> str:
    if entry.url is None:
        return "shipped"
    if is_cached(entry):
        return "cached"
    mirror = mirror_place()
    return "mirror" if mirror and exists(Path(mirror) / entry.file) else "download"
