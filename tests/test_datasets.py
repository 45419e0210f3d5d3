"""Datasets: the registry against the real files, the downloader against a bad server, and every kind of wrong file.

The real files come from MICROGPT_MIRROR, or from ../shared/datasets beside the repository; without them their tests
skip.
"""

import contextlib
import csv
import hashlib
import io
import os
import random
import socket
import struct
import subprocess
import sys
import threading
import time
import tracemalloc
import zipfile
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import hostile_servers
import program
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from microgpt_harness.data import batches, datasets, documents, downloads, registry, sources
from microgpt_harness.system import files
from microgpt_harness.system.errors import RunError, UserError

ROOT = Path(__file__).resolve().parents[1]
GIVEN_MIRROR = os.environ.get("MICROGPT_MIRROR")  # before any test changes it
NAMES = ["names", "makemore", "pokemon", "cities", "english_words", "paul_graham", "shakespeare", "alice"]
CONTENT = b"anna\nbob\n\n  carla \nbob"
DOCUMENTS = ["anna", "bob", "carla", "bob"]


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch, tmp_path):
    """Nothing outside the test: an empty cache, no mirror, no proxy."""
    monkeypatch.setenv("MICROGPT_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.delenv("MICROGPT_MIRROR", raising=False)


@pytest.fixture
def mirror(monkeypatch):
    """The real files, through the mirror setting."""
    place = GIVEN_MIRROR or str(ROOT.parent / "shared" / "datasets")
    if not GIVEN_MIRROR and not Path(place).is_dir():
        pytest.skip("needs the real files: set MICROGPT_MIRROR to a folder or base URL that holds them")
    monkeypatch.setenv("MICROGPT_MIRROR", place)


def cache_files() -> list[str]:
    folder = sources.cache_folder()
    return sorted(path.name for path in folder.iterdir()) if folder.exists() else []


def one_line(caught: pytest.ExceptionInfo, *parts: str) -> str:
    message = str(caught.value)
    assert message.isprintable() and message == message.strip()
    for part in parts:
        assert part in message
    return message


# ---- the registry and the real files ----


def test_registry_has_the_eight_in_order():
    assert registry.names() == NAMES
    assert list(registry.entries()) == NAMES


def test_defaults_use_known_names_and_agree_with_the_lesson():
    allowed = {
        "model": {"n_embd", "n_layer", "n_head", "block_size"},
        "training": {"num_steps", "batch_size", "clip_grad", "learning_rate"},
        "sampling": {"temperature", "top_k", "max_tokens", "n_samples"},
    }
    for entry in registry.entries().values():
        for group, values in entry.defaults.items():
            assert set(values) <= allowed[group], entry.name
        heads, width = entry.model.get("n_head", 4), entry.model.get("n_embd", 16)
        assert width % heads == 0, entry.name
        assert ("max_tokens" in entry.sampling) == (entry.mode == "stream"), entry.name
        assert ("clip_grad" in entry.training) == (entry.name not in ("names", "makemore")), entry.name
    empty = {"model": {}, "training": {}, "sampling": {}}
    assert registry.entries()["names"].defaults == registry.entries()["makemore"].defaults == empty


def test_addresses_are_pinned():
    for entry in registry.entries().values():
        if entry.name == "names":
            assert entry.url is None
            continue
        assert entry.url.startswith(("https://raw.githubusercontent.com/", "https://github.com/"))
        commits = [part for part in entry.url.removesuffix(".zip").split("/") if len(part) == 40]
        assert len(commits) == 1 and set(commits[0]) <= set("0123456789abcdef")


def test_shipped_names_are_the_built_ones():
    data = (sources.DATA / "names.txt").read_bytes()
    assert hashlib.sha256(data).hexdigest() == registry.entries()["names"].sha256
    names = data.decode("utf-8").removesuffix("\n").split("\n")
    assert len(names) == len(set(names)) == 32_000
    assert all(name.isascii() and name.isalpha() and name.islower() for name in names)
    assert datasets.load("names").documents == names
    assert cache_files() == []


FIRST_AND_LAST = {
    "names": ("emma", "malic"),
    "makemore": ("emma", "zzyzx"),
    "pokemon": ("bulbasaur", "calyrex-shadow"),
    "cities": ("les Escaldes", "Harare Western Suburbs"),
    "english_words": ("a", "zwitterionic"),
    "paul_graham": ("# This Year We Can End the Death Penalty in California", None),
    "shakespeare": ("First Citizen:\nBefore we proceed any further, hear me speak.", None),
    "alice": ("ALICE’S ADVENTURES IN WONDERLAND", "THE END"),
}


@pytest.mark.parametrize("name", NAMES)
def test_real_file_has_the_stated_counts(name, mirror):
    entry, dataset = registry.entries()[name], datasets.load(name)
    assert (dataset.name, dataset.mode, dataset.defaults) == (name, entry.mode, entry.defaults)
    assert len(dataset.documents) == entry.documents
    assert sum(map(len, dataset.documents)) == entry.characters
    first, last = FIRST_AND_LAST[name]
    assert dataset.documents[0] == first
    assert last in (None, dataset.documents[-1])
    assert all(document == document.strip() != "" for document in dataset.documents)
    assert not any("\r" in document or "\ufeff" in document for document in dataset.documents)
    assert not any("\n" in document for document in dataset.documents) or dataset.mode == "stream"


def test_real_files_details(mirror):
    cities = datasets.load("cities").documents
    assert "Mianzhu, Deyang, Sichuan" in cities  # a quoted comma
    assert len(set(cities)) < len(cities)  # duplicates are kept
    alice = "\n\n".join(datasets.load("alice").documents)
    assert "Gutenberg" not in alice and "***" not in alice
    assert "Down the Rabbit-Hole" in alice
    shakespeare = datasets.load("shakespeare").documents
    assert shakespeare[1] == "All:\nSpeak, speak."


def test_listing_needs_no_file(monkeypatch, tmp_path):
    rows = {row["name"]: row for row in sources.listing()}
    assert list(rows) == NAMES
    assert rows["names"]["where"] == "shipped"
    assert {rows[name]["where"] for name in NAMES[1:]} == {"download"}
    assert rows["makemore"]["documents"] == 32_033 and rows["makemore"]["licence"] == "MIT"
    sources.cache_folder().mkdir()
    (sources.cache_folder() / "pokemon.csv").touch()
    (tmp_path / "alice.txt").touch()
    monkeypatch.setenv("MICROGPT_MIRROR", str(tmp_path))
    rows = {row["name"]: row for row in sources.listing()}
    assert (rows["pokemon"]["where"], rows["alice"]["where"]) == ("cached", "mirror")
    assert sources.is_cached(registry.entries()["pokemon"])
    assert not sources.is_cached(registry.entries()["names"])


def test_module_imports_nothing_slow():
    slow = ("urllib.request", "http.client", "zipfile", "csv", "tomllib", "difflib", "hashlib", "ssl")
    code = (
        f"import sys; sys.path.insert(0, {str(ROOT / 'harness')!r}); import microgpt_harness.data.datasets;"
        f"print([name for name in {slow!r} if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-S", "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


# ---- names and paths ----


@pytest.mark.parametrize("given", ["english_words", "english-words", "English-Words", " ENGLISH_words "])
def test_dashes_underscores_and_case_are_the_same(given):
    assert registry.resolve(given) == "english_words"


def test_unknown_dataset_lists_the_names_and_suggests_the_nearest():
    with pytest.raises(UserError) as caught:
        registry.resolve("shakespere")
    one_line(caught, "unknown dataset 'shakespere'", "Did you mean shakespeare?", *NAMES, "path of a text file")
    for hopeless in ("qqqqqq", "", "~qqqqqq", "a\0b", "q" * 5000):
        with pytest.raises(UserError):
            datasets.load(hopeless)


def test_own_file(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("My names!.txt").write_bytes(CONTENT)
    Path("words").write_bytes(CONTENT)
    Path("names").write_bytes(CONTENT)
    dataset = datasets.load("My names!.txt")
    assert (dataset.name, dataset.mode, dataset.documents) == ("My_names", "discrete", DOCUMENTS)
    assert dataset.defaults == {"model": {}, "training": {}, "sampling": {}}
    assert datasets.load("words").documents == DOCUMENTS  # an existing file needs no suffix
    assert registry.resolve("names") == "names"
    assert datasets.load("names").documents != DOCUMENTS  # the registry wins ...
    own = datasets.load(str(Path("names").resolve()))
    assert (own.name, own.documents) == ("names_own", DOCUMENTS)  # ... and its run folder stays its own
    assert datasets.load("My names!.txt", mode="stream").documents == ["anna\nbob", "carla \nbob"]


@pytest.mark.parametrize(
    "path", ["..", "../..", "/", "...txt", "a/../..", "x/ .txt", "//.hidden", "é\n$(x).txt", "w" * 300]
)
def test_own_name_is_safe_as_a_folder(path):
    name = registry.own_name(path)
    assert name and not name.startswith(".") and not set(name) & set('/\\:\n*?"<>|') and len(name) <= 64


def test_mode_is_for_own_files():
    with pytest.raises(UserError) as caught:
        datasets.load("names", mode="stream")
    one_line(caught, "names is discrete")
    with pytest.raises(UserError):
        datasets.load("names", mode="poem")


# ---- wrong files ----


@pytest.mark.parametrize(
    ("content", "parts"),
    [
        (b"", ["empty"]),
        (b"\xef\xbb\xbf \r\n\r\n", ["empty"]),
        (b"aaa\naa", ["only 1 distinct"]),
        (b"anna\nJos\xe9\n", ["not UTF-8 at byte 8 (0xe9)"]),
        (b"\xef\xbb\xbfJos\xe9\n", ["not UTF-8 at byte 6 (0xe9)"]),  # counted from the file's first byte
        (b"abc\xe2\x82", ["not UTF-8 at byte 3 (0xe2)"]),  # cut inside a character
        ("anna".encode("utf-16"), ["not UTF-8 at byte 0 (0xff)"]),
        (b"an\0na", ["NUL at byte 2"]),
        ("".join(map(chr, range(0x4E00, 0x4E00 + 5001))).encode(), ["5001 distinct", "limit is 5000"]),
    ],
)
def test_wrong_own_file(tmp_path, content, parts):
    path = tmp_path / "own.txt"
    path.write_bytes(content)
    with pytest.raises(UserError) as caught:
        datasets.load(str(path))
    one_line(caught, str(path), *parts)


def test_most_characters_allowed(tmp_path):
    path = tmp_path / "own.txt"
    path.write_text("".join(map(chr, range(0x4E00, 0x4E00 + 5000))), encoding="utf-8")
    assert len(datasets.load(str(path)).documents[0]) == 5000


def test_missing_file_folder_and_unreadable_file(tmp_path, monkeypatch):
    with pytest.raises(UserError) as caught:
        datasets.load(str(tmp_path / "none.txt"))
    one_line(caught, "none.txt", "no such file")
    with pytest.raises(UserError) as caught:
        datasets.load(str(tmp_path))
    one_line(caught, str(tmp_path), "a folder")
    with pytest.raises(UserError) as caught:
        datasets.load("none.txt/" + "x" * 5000 + ".txt")
    one_line(caught)

    open_regular = files.open_regular

    def refuse(path, limit=None):
        if path.suffix == ".txt":
            raise PermissionError(13, "Permission denied")
        return open_regular(path, limit)

    (tmp_path / "secret.txt").write_bytes(CONTENT)
    monkeypatch.setattr(files, "open_regular", refuse)
    with pytest.raises(UserError) as caught:
        datasets.load(str(tmp_path / "secret.txt"))
    one_line(caught, "secret.txt", "may not be read")


def test_line_ends_and_byte_order_mark(tmp_path):
    path = tmp_path / "own.txt"
    path.write_bytes(b"\xef\xbb\xbfanna\r\n bob\rcarla\r\n\r\ndora\x0cx\n")
    assert datasets.load(str(path)).documents == ["anna", "bob", "carla", "dora\x0cx"]
    path.write_bytes(b"one\r\n  two\r\n \t\r\n\r\n\r\nthree\r\r\rfour\n")
    assert datasets.load(str(path), mode="stream").documents == ["one\n  two", "three", "four"]


# ---- formats of the registry ----


def make_registry(monkeypatch, tmp_path, data=CONTENT, file="small.txt", **changes):
    """A registry of one dataset, "small", whose file holds `data`."""
    row = {
        "title": "Small",
        "source": "here",
        "licence": "none",
        "file": file,
        "sha256": hashlib.sha256(data).hexdigest(),
        "format": "lines",
        "mode": "discrete",
        "documents": 4,
        "characters": 15,
        "url": "http://127.0.0.1:9/never",
    } | changes
    lines = [f"{key} = {value}" if isinstance(value, int) else f'{key} = "{value}"' for key, value in row.items()]
    path = tmp_path / "datasets.toml"
    path.write_text("[small]\n" + "\n".join(line.replace("True", "true") for line in lines), encoding="utf-8")
    monkeypatch.setattr(registry, "REGISTRY", path)


def load_cached(monkeypatch, tmp_path, data, file="small.txt", **changes):
    make_registry(monkeypatch, tmp_path, data, file=file, **changes)
    sources.cache_folder().mkdir(exist_ok=True)
    (sources.cache_folder() / file).write_bytes(data)
    return datasets.load("small").documents


def zip_of(members: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return buffer.getvalue()


def test_csv_quotes_newlines_and_blank_fields(monkeypatch, tmp_path):
    buffer = io.StringIO()
    writer = csv.writer(buffer)
    writer.writerows([["id", "name"], [1, "Washington, D.C."], [2, "two\r\nlines"], [3, " "], [4, 'say "hi"'], [5]])
    content = b"\xef\xbb\xbf" + buffer.getvalue().encode()
    documents = load_cached(monkeypatch, tmp_path, content, format="csv", column="name")
    assert documents == ["Washington, D.C.", "two lines", 'say "hi"']


@pytest.mark.parametrize(
    ("content", "parts"),
    [
        (b"id,town\n1,Rome\n", ["no column 'name'", "id, town"]),
        (b"", ["no column 'name'", "none"]),
        (b"name\n\n", ["no documents"]),
        (b'name\n"' + b"x" * 200_000, ["not readable as CSV"]),
    ],
)
def test_wrong_csv(monkeypatch, tmp_path, content, parts):
    with pytest.raises(UserError) as caught:
        load_cached(monkeypatch, tmp_path, content, format="csv", column="name")
    one_line(caught, "small.txt", *parts)


def test_zip_members_in_name_order_with_or_without_a_top_folder(monkeypatch, tmp_path):
    inner = {"a/text/2.txt": b"two\r\n\r\nzwei", "a/text/10.txt": b"ten", "a/README.md": b"no", "a/text/": b""}
    sha256 = hashlib.sha256(b"ten" + b"two\r\n\r\nzwei").hexdigest()
    how = {"format": "zip", "member": "*text/*.txt", "content": "text", "mode": "stream", "hash_of": "members"}
    for top in ("repo-123/", "", "../../"):
        content = zip_of({top + name: data for name, data in inner.items()})
        documents = load_cached(monkeypatch, tmp_path, content, file="small.zip", sha256=sha256, **how)
        assert documents == ["ten", "two", "zwei"]
    # Members named ../../ were read, and nothing was unpacked anywhere.
    assert cache_files() == ["small.zip"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["cache", "datasets.toml"]


def members_of(content: bytes, member: str = "*.txt") -> list:
    return documents.members(content, member, "z.zip")


def test_wrong_zips(monkeypatch):
    good = zip_of({"a.txt": b"anna\n" * 1000, "b.md": b""})
    assert members_of(good) == [("a.txt", b"anna\n" * 1000)]
    beyond_its_end = good[:28] + b"\xff\xff" + good[30:]  # the length of what stands in front of the first member
    for damaged in (b"", b"PK", good[:-30], good[:40] + b"\xff\xff\xff" + good[43:], beyond_its_end):
        with pytest.raises(RunError) as caught:
            members_of(damaged)
        one_line(caught, "z.zip: damaged zip")
        assert "EOFError" not in str(caught.value)
    with pytest.raises(RunError) as caught:
        members_of(good, "*.csv")
    one_line(caught, "no member *.csv")
    lzma = io.BytesIO()
    with zipfile.ZipFile(lzma, "w", zipfile.ZIP_LZMA) as archive:
        archive.writestr("a.txt", b"anna")
    with pytest.raises(RunError) as caught:
        members_of(lzma.getvalue())
    one_line(caught, "unusual way")


def test_zip_bomb_is_refused(monkeypatch):
    monkeypatch.setattr(documents, "MAX_BYTES", 10_000)
    bomb = zip_of({"a.txt": bytes(1_000_000)})
    with pytest.raises(RunError) as caught:
        members_of(bomb)
    one_line(caught, "unpacks to more than")


def test_zip_bomb_with_a_lying_header_does_not_fill_the_memory():
    size = 40_000_000
    bomb = zip_of({"a.txt": bytes(size)}).replace(struct.pack("<I", size), struct.pack("<I", 100))
    tracemalloc.start()
    try:
        with pytest.raises(RunError):
            members_of(bomb)
        assert tracemalloc.get_traced_memory()[1] < size / 10
    finally:
        tracemalloc.stop()


@settings(max_examples=1000, deadline=None)
@given(data=st.data())
def test_no_zip_ends_in_a_traceback(data):
    good = bytearray(zip_of({"a.txt": b"anna\nbob\n" * 20, "../b.txt": b"carla"}))
    for position in data.draw(st.lists(st.integers(0, len(good) - 1), max_size=6)):
        good[position] = data.draw(st.integers(0, 255))
    cut = data.draw(st.one_of(st.just(len(good)), st.integers(0, len(good))))
    with contextlib.suppress(RunError):
        assert all(isinstance(content, bytes) for _, content in members_of(bytes(good[:cut])))


@settings(max_examples=1000, deadline=None)
@given(content=st.one_of(st.binary(max_size=60), st.text(max_size=60).map(lambda text: text.encode())))
def test_no_text_ends_in_a_traceback(content):
    with contextlib.suppress(UserError):
        text = documents.decode(content, "own.txt")
        assert "\r" not in text and "\0" not in text
        assert all(line == line.strip() != "" for line in documents.lines(text) + documents.paragraphs(text))


BOOK = "Title\n\n*** START OF THIS PROJECT GUTENBERG EBOOK X ***\n\nOne.\n\nTwo.\n\n{}*** END OF THIS X ***\nLicence"


@pytest.mark.parametrize(
    ("text", "documents"),
    [
        (BOOK.format(""), ["One.", "Two."]),
        (BOOK.format("End of Project Gutenberg’s X\n\n"), ["One.", "Two."]),
        ("One.\n\nTwo.", ["One.", "Two."]),  # no markers: the text stays
        ("*** START OF X\nOne.\n\nTwo.", ["One.", "Two."]),
        ("One.\n\nTwo.\n***END OF X", ["One.", "Two."]),
    ],
)
def test_gutenberg_header_and_footer(monkeypatch, tmp_path, text, documents):
    how = {"format": "text", "mode": "stream", "gutenberg": True}
    assert load_cached(monkeypatch, tmp_path, text.replace("\n", "\r\n").encode(), **how) == documents


@pytest.mark.parametrize(
    ("changes", "parts"),
    [
        ({"licens": "x"}, ["unknown field: licens"]),
        ({"format": "json"}, ["format is 'json'", "lines, text, csv, zip"]),
        ({"mode": "poem"}, ["mode is 'poem'"]),
        ({"format": "csv"}, ["missing field: column"]),
        ({"format": "zip"}, ["missing field: content, member"]),
        ({"file": "../small.txt"}, ["plain file name"]),
        ({"documents": "four"}, ["documents", "right kind"]),
        ({"url": 3}, ["url", "right kind"]),
    ],
)
def test_a_half_written_table_spoils_only_itself(monkeypatch, tmp_path, changes, parts):
    make_registry(monkeypatch, tmp_path, **changes)
    whole = (sources.DATA / "datasets.toml").read_text(encoding="utf-8").partition("[makemore]")[0]
    half = registry.REGISTRY.read_text(encoding="utf-8")
    registry.REGISTRY.write_text(half + "\n\n" + whole, encoding="utf-8")
    assert registry.names() == ["names"] and list(registry.faults()) == ["small"]
    assert [row["name"] for row in sources.listing()] == ["names"] and registry.resolve("names") == "names"
    with pytest.raises(UserError) as caught:
        datasets.load("small")
    one_line(caught, "datasets.toml [small]", *parts)


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("[small]\ntitle = 'x'", "missing field: characters, documents"),
        ("[small]\ntitle = \n[small.model]\nn_embd = 8", "not valid TOML: Invalid value (at line 6,"),
        ("[small]\n[small]", "two tables of this name"),
        ("[Small]\nurl = 'x", "not valid TOML"),
        ("small = 1", "table"),
        ("[[small]]\nx = 1", "table"),
    ],
)
def test_a_table_that_somebody_is_at_work_on(monkeypatch, tmp_path, text, part):
    monkeypatch.setattr(registry, "REGISTRY", tmp_path / "datasets.toml")
    whole = (sources.DATA / "datasets.toml").read_text(encoding="utf-8")
    names = whole[whole.index("[names]") : whole.index("[makemore]")].rstrip()
    before = "\n\n\n\n" + text + "\n\n" if text.startswith("[") else text + "\n"
    registry.REGISTRY.write_text(before + names, encoding="utf-8")
    assert registry.names() == ["names"] and list(registry.faults()) == ["small"]
    with pytest.raises(UserError) as caught:
        registry.resolve("small")
    one_line(caught, part)
    with pytest.raises(UserError) as caught:
        registry.resolve("smal")
    one_line(caught, "unknown dataset 'smal'")


def test_no_registry(monkeypatch, tmp_path):
    monkeypatch.setattr(registry, "REGISTRY", tmp_path / "datasets.toml")
    registry.REGISTRY.write_text("[", encoding="utf-8")
    with pytest.raises(UserError) as caught:
        registry.names()
    one_line(caught, "not valid TOML")
    registry.REGISTRY.unlink()
    with pytest.raises(UserError):
        registry.names()


# ---- the downloader against a server that misbehaves ----


class Handler(BaseHTTPRequestHandler):
    """The path says how to misbehave."""

    protocol_version = "HTTP/1.1"

    def do_GET(self):
        self.close_connection = True
        self.server.asked.append(self.path)
        behaviour = self.path.strip("/").split("/")[0].replace("-", "_")
        getattr(self, behaviour, self.missing)()

    def answer(self, code=200, body=b"", length=None, **headers):
        self.send_response(code)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body) if length is None else length))
        self.end_headers()
        self.wfile.write(body)

    def good(self):
        self.answer(body=CONTENT)

    def wrong(self):
        self.answer(body=CONTENT + b"!")

    def truncated(self):
        self.answer(body=CONTENT[:5], length=len(CONTENT))

    def slow(self):
        self.answer(body=CONTENT[:5], length=len(CONTENT))
        self.server.released.wait(20)

    def silent(self):
        self.server.released.wait(20)

    def missing(self):
        self.answer(404)

    def broken(self):
        self.answer(503)

    def dropped(self):
        """Closed before a single byte of an answer."""

    def reset(self):
        self.answer(body=CONTENT[:5], length=len(CONTENT))
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

    def dropped_once(self):
        if self.server.asked.count(self.path) > 1:
            self.good()

    def redirect(self):
        self.answer(302, Location="/good/small.txt")

    def redirect_to_file(self):
        self.answer(302, Location=Path(__file__).as_uri())

    def redirect_to_ftp(self):
        self.answer(302, Location="ftp://127.0.0.1/small.txt")

    def redirect_for_ever(self):
        self.answer(302, Location=self.path)

    def garbage(self):
        self.wfile.write(b"\x00\xff\x1b[2Jnot a status line\r\n\r\n")

    def chunked(self):
        self.send_response(200)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        self.wfile.write(f"{len(CONTENT):x}\r\n".encode() + CONTENT + b"\r\n0\r\n\r\n")

    def chunked_cut(self):
        self.send_response(200)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        self.wfile.write(b"ff\r\n" + CONTENT)

    def meeting(self):
        self.server.both_asked.wait(20)
        self.good()

    def log_message(self, *args):
        pass


@pytest.fixture
def server():
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as http:
        http.daemon_threads = True
        http.asked, http.released, http.both_asked = [], threading.Event(), threading.Barrier(2)
        http.base = f"http://127.0.0.1:{http.server_port}"
        http.handle_error = lambda *args: None  # a client that hangs up is part of the test
        thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield http
        http.released.set()
        http.shutdown()
        thread.join()


def offer(monkeypatch, tmp_path, server, behaviour, **changes):
    make_registry(monkeypatch, tmp_path, url=f"{server.base}/{behaviour}/small.txt", **changes)


@pytest.mark.parametrize("behaviour", ["good", "redirect", "chunked", "dropped-once"])
def test_download_and_never_twice(monkeypatch, tmp_path, server, behaviour):
    offer(monkeypatch, tmp_path, server, behaviour)
    messages = []
    assert datasets.load("small", progress=messages.append).documents == DOCUMENTS
    assert cache_files() == ["small.txt"]
    assert messages[0] == f"downloading {server.base}/{behaviour}/small.txt"
    asked = len(server.asked)
    assert asked == (1 if behaviour in ("good", "chunked") else 2)
    assert datasets.load("small").documents == DOCUMENTS
    assert len(server.asked) == asked
    assert sources.listing()[0]["where"] == "cached"


@pytest.mark.parametrize(
    ("behaviour", "cause", "asked"),
    [
        ("slow", "no answer for 0.2 s", None),
        ("silent", "no answer for 0.2 s", None),
        ("truncated", "dropped after 5 of 22 bytes", 2),
        ("reset", "dropped", 2),
        ("dropped", "the connection was dropped", 2),
        ("chunked-cut", "IncompleteRead", 2),
        ("missing", "the server answered 404", 1),
        ("broken", "the server answered 503", 1),
        ("wrong", "wrong hash", 1),
        ("garbage", "cannot download", 1),
        ("redirect-to-file", "the server answered 302", 1),
        ("redirect-to-ftp", "unknown url type: ftp", 1),
        ("redirect-for-ever", "infinite loop", None),
    ],
)
def test_failed_download(monkeypatch, tmp_path, server, behaviour, cause, asked):
    offer(monkeypatch, tmp_path, server, behaviour)
    if behaviour in ("slow", "silent"):
        monkeypatch.setattr(downloads, "TIMEOUT", 0.2)
    with pytest.raises(RunError) as caught:
        datasets.load("small")
    assert caught.value.exit_code == 1
    place = str(sources.cache_folder() / "small.txt")
    one_line(caught, "dataset small", f"{server.base}/{behaviour}/small.txt", cause, place, "MICROGPT_MIRROR")
    assert cache_files() == []
    assert asked in (None, len(server.asked))


def test_a_download_that_takes_for_ever_or_is_too_big(monkeypatch, tmp_path, server):
    offer(monkeypatch, tmp_path, server, "good")
    monkeypatch.setattr(downloads, "MAX_SECONDS", -1)
    with pytest.raises(RunError) as caught:
        datasets.load("small")
    one_line(caught, "not finished after")
    monkeypatch.setattr(downloads, "MAX_SECONDS", 600)
    monkeypatch.setattr(downloads, "MAX_BYTES", 10)
    with pytest.raises(RunError) as caught:
        datasets.load("small")
    one_line(caught, "cannot be this file")
    assert cache_files() == []


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such files")
def test_devices_and_pipes_are_no_datasets(monkeypatch, tmp_path):
    os.mkfifo(tmp_path / "pipe.txt")
    for path in ("/dev/zero", str(tmp_path / "pipe.txt")):
        with pytest.raises(UserError) as caught:
            datasets.load(path)
        one_line(caught, path, "a device or a pipe")
    cache = tmp_path / "cache"
    cache.mkdir()
    os.mkfifo(cache / "small.txt")
    make_registry(monkeypatch, tmp_path, url="http://127.0.0.1:1/small.txt")
    with pytest.raises(RunError) as caught:
        datasets.load("small")
    one_line(caught, "a device or a pipe", "connection refused")


class CountingTokenizer:
    """Remembers the longest text that it was given at once."""

    longest = 0

    def __init__(self, docs):
        self.chars = sorted(set("".join(docs)))
        self.bos = len(self.chars)

    def encode(self, doc):
        CountingTokenizer.longest = max(CountingTokenizer.longest, len(doc))
        return [self.bos, *map(self.chars.index, doc), self.bos]


@pytest.mark.parametrize(("mode", "most"), [("discrete", 4), ("stream", 100)])
def test_only_what_is_used_of_a_long_line_is_tokenised(monkeypatch, mode, most):
    monkeypatch.setattr(CountingTokenizer, "longest", 0)
    monkeypatch.setattr(batches, "AT_ONCE", 100)
    text = "abcdef" * 1000
    data = batches.prepare(datasets.Dataset("own", mode, [text], {}), CountingTokenizer, 4, random.Random(0))
    (tokens,) = data.batch(0, 1)
    assert CountingTokenizer.longest == most
    assert tokens == [6, 0, 1, 2, 3] if mode == "discrete" else len(tokens) == 5
    if mode == "stream":
        assert list(data.tokens) == [6, *([0, 1, 2, 3, 4, 5] * 1000), 6]


def test_a_document_shorter_than_the_block_keeps_its_end():
    data = batches.prepare(datasets.Dataset("own", "discrete", ["abc"], {}), CountingTokenizer, 4, random.Random(0))
    assert list(data.batch(0, 1)) == [[3, 0, 1, 2, 3]]


@pytest.mark.parametrize("at_once", [1, 2, 3, 1000])
def test_the_hash_of_the_data_is_that_of_its_documents_in_a_row(monkeypatch, at_once):
    monkeypatch.setattr(batches, "AT_ONCE", at_once)
    data = batches.prepare(datasets.Dataset("own", "discrete", DOCUMENTS, {}), CountingTokenizer, 4, random.Random(0))
    assert data.sha256 == hashlib.sha256("\0".join(DOCUMENTS).encode()).hexdigest()


@pytest.mark.parametrize(
    "name",
    [
        "trickles a status line",
        "trickles headers",
        "endless 100 Continue",
        "trickles a chunk extension",
        "endless trailers",
        "redirects with an endless body",
        "length of 400 digits",
        "reason of control characters",
        "TLS: trickles records",
        "proxy: trickles headers",
    ],
)
def test_a_hostile_server_is_left_in_time(name, tmp_path):
    assert hostile_servers.meet(name, tmp_path).faults == []


def test_a_look_up_of_a_name_that_hangs(monkeypatch):
    released = threading.Event()
    monkeypatch.setattr(socket, "getaddrinfo", lambda *args, **options: released.wait(60))
    monkeypatch.setattr(downloads, "MAX_SECONDS", 0.2)
    began = time.monotonic()
    with pytest.raises(downloads.Unavailable, match=r"not finished after 0\.2 s"):
        downloads.download("http://localhost/", lambda message: None)
    assert time.monotonic() - began < 30
    released.set()


def test_progress_tells_how_much_came(monkeypatch, tmp_path, server):
    offer(monkeypatch, tmp_path, server, "good")
    monkeypatch.setattr(downloads, "PROGRESS_EVERY", 10)
    messages = []
    datasets.load("small", progress=messages.append)
    assert messages[1].endswith("0.0 of 0.0 MB")


def test_unreachable_port_and_unknown_host(monkeypatch, tmp_path):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    make_registry(monkeypatch, tmp_path, url=f"http://127.0.0.1:{port}/small.txt")
    with pytest.raises(RunError) as caught:
        datasets.load("small")
    one_line(caught, f"127.0.0.1:{port}", "connection refused", "MICROGPT_MIRROR")

    def unknown(*args, **kwargs):
        raise socket.gaierror(-2, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    with pytest.raises(RunError) as caught:
        datasets.load("small")
    one_line(caught, "host's name is not known")
    assert cache_files() == []


def test_two_threads_race(monkeypatch, tmp_path, server):
    offer(monkeypatch, tmp_path, server, "meeting")  # the server answers when both have asked
    with ThreadPoolExecutor(2) as pool:
        results = list(pool.map(datasets.load, ["small", "small"]))
    assert [result.documents for result in results] == [DOCUMENTS] * 2
    assert cache_files() == ["small.txt"]


def test_two_processes_race(monkeypatch, tmp_path, server):
    offer(monkeypatch, tmp_path, server, "meeting")
    code = (
        f"import sys, pathlib; sys.path.insert(0, {str(ROOT / 'harness')!r})\n"
        "from microgpt_harness.data import datasets, registry\n"
        f"registry.REGISTRY = pathlib.Path({str(registry.REGISTRY)!r})\n"
        "print(datasets.load('small').documents)"
    )
    run = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    both = [subprocess.Popen([sys.executable, "-c", code], **run) for _ in range(2)]
    assert [process.communicate(timeout=60) for process in both] == [(f"{DOCUMENTS}\n", "")] * 2
    assert cache_files() == ["small.txt"]
    assert len(server.asked) == 2


def test_interrupt_leaves_nothing(monkeypatch, tmp_path, server):
    offer(monkeypatch, tmp_path, server, "good")

    def interrupt(*args):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        datasets.load("small", progress=interrupt)
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        # In the middle of a download: progress hears of the bytes that came, though the rest has not.
        offer(monkeypatch, tmp_path, server, "slow")
        patch.setattr(downloads, "PROGRESS_EVERY", 1)
        patch.setattr(downloads, "TIMEOUT", 5)
        datasets.load("small", progress=lambda message: interrupt() if message.endswith("MB") else None)
    offer(monkeypatch, tmp_path, server, "good")
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(Path, "replace", interrupt)
        datasets.load("small")
    assert cache_files() == []


def test_cache_that_cannot_be_written(monkeypatch, tmp_path, server):
    offer(monkeypatch, tmp_path, server, "good")
    (tmp_path / "cache").write_bytes(b"a file, not a folder")
    with pytest.raises(RunError) as caught:
        datasets.load("small")
    one_line(caught, "cannot be written", "MICROGPT_CACHE")

    def full(*args):
        raise OSError(28, "No space left on device")

    (tmp_path / "cache").unlink()
    with monkeypatch.context() as patch, pytest.raises(RunError) as caught:
        patch.setattr(Path, "replace", full)
        datasets.load("small")
    one_line(caught, "No space left")
    assert cache_files() == []


def test_damaged_cache_is_fetched_again(monkeypatch, tmp_path, server):
    offer(monkeypatch, tmp_path, server, "good")
    sources.cache_folder().mkdir()
    damaged = sources.cache_folder() / "small.txt"
    damaged.write_bytes(CONTENT[:-1])
    messages = []
    assert datasets.load("small", progress=messages.append).documents == DOCUMENTS
    assert "wrong hash" in messages[0] and "fetching it again" in messages[0]
    assert damaged.read_bytes() == CONTENT
    # Without a source the line names both problems, and the file stays for whoever put it there.
    damaged.write_bytes(b"mine")
    offer(monkeypatch, tmp_path, server, "missing")
    with pytest.raises(RunError) as caught:
        datasets.load("small")
    one_line(caught, "404", f"{damaged}: wrong hash")
    assert damaged.read_bytes() == b"mine"


# ---- the mirror ----


def test_mirror_folder_comes_before_the_network(monkeypatch, tmp_path, server):
    offer(monkeypatch, tmp_path, server, "good")
    (tmp_path / "mirror").mkdir()
    monkeypatch.setenv("MICROGPT_MIRROR", str(tmp_path / "mirror"))
    (tmp_path / "mirror" / "small.txt").write_bytes(CONTENT)
    assert datasets.load("small").documents == DOCUMENTS
    assert server.asked == [] and cache_files() == []

    (tmp_path / "mirror" / "small.txt").write_bytes(CONTENT + b"!")
    with pytest.raises(RunError) as caught:
        datasets.load("small")
    one_line(caught, str(tmp_path / "mirror" / "small.txt"), "wrong hash", "unset MICROGPT_MIRROR")
    assert server.asked == []

    (tmp_path / "mirror" / "small.txt").unlink()
    assert datasets.load("small").documents == DOCUMENTS  # lacking there: from the network
    assert len(server.asked) == 1 and cache_files() == ["small.txt"]


def test_mirror_address(monkeypatch, tmp_path, server):
    offer(monkeypatch, tmp_path, server, "missing")
    monkeypatch.setenv("MICROGPT_MIRROR", f"{server.base}/good/")
    assert datasets.load("small").documents == DOCUMENTS
    assert server.asked == ["/good/small.txt"] and cache_files() == ["small.txt"]

    (sources.cache_folder() / "small.txt").unlink()
    monkeypatch.setenv("MICROGPT_MIRROR", f"{server.base}/wrong")
    with pytest.raises(RunError) as caught:
        datasets.load("small")
    one_line(caught, f"{server.base}/wrong/small.txt", "wrong hash", "unset MICROGPT_MIRROR")

    monkeypatch.setenv("MICROGPT_MIRROR", f"{server.base}/broken")
    with pytest.raises(RunError) as caught:
        datasets.load("small")
    one_line(caught, f"{server.base}/broken/small.txt: the server answered 503", "404")
    assert cache_files() == []


def test_shipped_file_that_was_changed_or_lost(monkeypatch, tmp_path):
    make_registry(monkeypatch, tmp_path)
    without_url = [line for line in registry.REGISTRY.read_text(encoding="utf-8").split("\n") if "url" not in line]
    registry.REGISTRY.write_text("\n".join(without_url), encoding="utf-8")
    monkeypatch.setattr(sources, "DATA", tmp_path)
    with pytest.raises(RunError) as caught:
        datasets.load("small")
    one_line(caught, str(tmp_path / "small.txt"), "restore it")
    (tmp_path / "small.txt").write_bytes(CONTENT + b"\nmine")
    with pytest.raises(RunError) as caught:
        datasets.load("small")
    one_line(caught, "wrong hash", "restore it")
    (tmp_path / "small.txt").write_bytes(CONTENT)
    assert datasets.load("small").documents == DOCUMENTS


def test_two_files_of_one_name_do_not_share_a_run(tmp_path):
    """Neither is trained over the other's run, and neither is sampled from it."""
    mine, other = tmp_path / "mine" / "poems.txt", tmp_path / "other" / "poems.txt"
    for path, text in ((mine, "anna\nbob\n"), (other, "carla\nbob\n")):
        path.parent.mkdir()
        path.write_text(text, encoding="utf-8")
    flags = ("--out", tmp_path / "out", "--steps", 1, "--no-plot")
    program.run(program.PYTHON, "--dataset", mine, *flags)
    says = ("holds runs of", str(mine), "rename", "--out")
    for command in (("--dataset", other, *flags), ("sample", "--dataset", other, "--out", tmp_path / "out")):
        program.fails(program.PYTHON, *command, says=says)
    sampled = program.run(program.PYTHON, "sample", "--dataset", mine, "--out", tmp_path / "out")
    assert not set("".join(sampled.samples)) - set("annabob")
    mine.write_text("anna\nbob\nann\n", encoding="utf-8")  # its own file may change
    program.run(program.PYTHON, "--dataset", mine, *flags)
    other.write_text(mine.read_text(encoding="utf-8"), encoding="utf-8")  # and a copy is no other data
    program.run(program.PYTHON, "sample", "--dataset", other, "--out", tmp_path / "out")


@pytest.mark.skipif(os.name == "nt", reason="Windows' limits are other ones")
@pytest.mark.parametrize("flags", [("--out",), ("--checkpoint",), ("--config",), ("--dataset",), ("sample", "--out")])
def test_a_path_that_is_too_long_is_said_to_be(flags, tmp_path):
    long = tmp_path / ("x" * 300 + ".json")
    steps = "--n-samples" if flags[0] == "sample" else "--steps"
    code = 1 if flags == ("--out",) else 2  # what cannot be written is a run that failed
    program.fails(program.PYTHON, *flags, long, steps, 1, code=code, says=("File name too long", "x" * 300))
