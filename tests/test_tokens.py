"""Large text, as tokens in a file: the same data as from lists, and a file that is right or is made anew."""

import contextlib
import errno
import io
import os
import random
import re
import tracemalloc
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from lessons import REFERENCE, load
from microgpt_harness.data import batches, columns, datasets, documents, tokens
from microgpt_harness.data.tokens import TokenFile
from microgpt_harness.program import settings as program_settings
from microgpt_harness.run import training
from microgpt_harness.system import files
from microgpt_harness.system.errors import RunError, UserError
from program import PYTHON, one_line, run

Tokenizer = load(REFERENCE).microgpt.Tokenizer
BLOCK_SIZE = 5
# Everything that pieces may cut through: characters of 1 to 4 bytes, CRLF, whitespace that ends a document or does not.
LINES = ("anna", "Zoë  B", "日本\t語", "🙂🙂", "  edge ", "", " \x0c", "a\x85b", "x" * 40)
LIST = "\ufeff" + "\r\n".join(random.Random(1).choices(LINES, k=300)) + "\r"
TABLE = "id;name\n" + "".join(f'{i};"{line}"\n' for i, line in enumerate(LINES * 30))
WAYS = {"lines": (LIST, "discrete", None), "paragraphs": (LIST, "stream", None), "column": (TABLE, "discrete", "name")}


@pytest.fixture(autouse=True)
def cache(monkeypatch, tmp_path) -> Path:
    monkeypatch.setenv("MICROGPT_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(tokens, "SILENT", 60)  # however busy the machine is
    return tmp_path / "cache"


@pytest.fixture(params=WAYS.values(), ids=WAYS)
def way(request, tmp_path) -> tuple[Path, dict[str, str | None]]:
    """Return a file, and how it is read."""
    text, mode, column = request.param
    path = tmp_path / "own.txt"
    path.write_bytes(text.encode())
    return path, {"mode": mode, "column": column}


def as_lists(path: Path, mode: str = "discrete", column: str | None = None) -> datasets.Dataset:
    dataset = datasets.load(str(path), mode, column)
    assert isinstance(dataset.documents, list)
    return dataset


def as_tokens(path: Path, mode: str = "discrete", column: str | None = None, said=None) -> datasets.Dataset:
    """Load a file as a large one is loaded, in small pieces."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(datasets, "LARGE", 4)
        patch.setattr(datasets, "PIECE", 7)
        dataset = datasets.load(str(path), mode, column, said.append if said is not None else None)
    assert isinstance(dataset.documents, TokenFile)
    return dataset


def content(dataset: datasets.Dataset, tokenizer=Tokenizer, block_size: int = BLOCK_SIZE) -> list[object]:
    """Return all that a run takes from its data, and what is left of the generator."""
    rng = random.Random(3)
    data = batches.prepare(dataset, tokenizer, block_size, rng)
    sequences = [list(map(list, data.batch(step, 3))) for step in range(len(data.train) // 2)]
    held_out = [list(map(list, data.validation_batch(size))) for size in (1, 7, 10_000)]
    names = (dataset.name, dataset.mode, dataset.column, dataset.file, dataset.defaults, list(dataset.documents))
    return [names, sequences, held_out, data.tokenizer.chars, data.sha256, rng.getstate()]


# ---- the same data ----


@pytest.mark.parametrize("block_size", [1, 5, 64])
def test_a_large_text_is_trained_on_as_a_small_one(way, block_size, cache):
    path, how = way
    expected = content(as_lists(path, **how), block_size=block_size)
    assert not cache.exists()
    for _ in range(2):  # made, and found
        assert content(as_tokens(path, **how), block_size=block_size) == expected
    assert len(list(cache.iterdir())) == 1


@pytest.mark.parametrize("positions", ["I", "Q"])
def test_positions_of_8_bytes(way, monkeypatch, positions):
    path, how = way
    expected = content(as_lists(path, **how))
    monkeypatch.setattr(tokens, "positions_up_to", lambda number: positions)
    dataset = as_tokens(path, **how)
    assert dataset.documents.starts.itemsize == {"I": 4, "Q": 8}[positions]
    assert content(dataset) == expected
    assert [tokens.positions_up_to(n) for n in (1, 2**32)] == [positions] * 2


def test_positions_take_4_bytes_as_long_as_they_fit():
    assert [tokens.positions_up_to(number) for number in (0, 2**32 - 1, 2**32)] == ["I", "I", "Q"]


def test_a_dataset_of_the_registry(monkeypatch, cache):
    expected = content(datasets.load("names"))
    assert isinstance(datasets.load("names").documents, list) and not cache.exists()  # it is small
    monkeypatch.setattr(datasets, "LARGE", 1000)
    dataset = datasets.load("names")
    assert isinstance(dataset.documents, TokenFile)
    assert content(dataset) == expected


def test_losses_are_those_of_the_same_text_in_lists(tmp_path):
    path = tmp_path / "own.txt"
    path.write_text(LIST, encoding="utf-8")
    engine = load(REFERENCE).engine
    values = {"num_steps": 6, "n_embd": 4, "batch_size": 2, "block_size": 6, "val_every": 1}
    settings = program_settings.resolve([values], engine.lesson.CONFIG, ("float64",))
    for mode in ("discrete", "stream"):
        results = []
        for dataset in (as_lists(path, mode), as_tokens(path, mode)):
            a_run = training.start(engine, settings, dataset, tmp_path, tmp_path / "checkpoint.json")
            losses, _ = training.take_steps(a_run, 6)
            results.append((losses, training.validate(a_run, a_run.data.validation_batch(4)), a_run.rng.random()))
        assert results[0] == results[1]


class Lowercase(Tokenizer):
    """A lesson's tokenizer, changed: it knows no capitals."""

    def __init__(self, docs):
        super().__init__([doc.lower() for doc in docs])

    def encode(self, doc):
        return super().encode(doc.lower())


class Pairs(Tokenizer):
    """Changed in another way: two equal letters are one token. A text without any would not tell."""

    def __init__(self, docs):
        super().__init__(docs)
        self.pairs = sorted({doc[i : i + 2] for doc in docs for i in range(len(doc) - 1) if doc[i] == doc[i + 1]})
        self.vocab_size += len(self.pairs)

    def encode(self, doc):
        found, place = [self.bos], 0
        while place < len(doc):
            pair = doc[place : place + 2]
            found.append(self.bos + 1 + self.pairs.index(pair) if pair in self.pairs else self.token_of[doc[place]])
            place += 2 if pair in self.pairs else 1
        return [*found, self.bos]


class Swapped(Tokenizer):
    """Changed for two characters only."""

    def __init__(self, docs):
        super().__init__(docs)
        one, other = self.chars[-2:]
        self.token_of[one], self.token_of[other] = self.token_of[other], self.token_of[one]


class Once(Tokenizer):
    """Changed so that only text with a letter twice in a row tells."""

    def encode(self, doc):
        return super().encode(re.sub(r"(.)\1", r"\1", doc))


@pytest.mark.parametrize("tokenizer", [Lowercase, Pairs, Swapped, Once])
@pytest.mark.parametrize("sample", [1, 2**14])
def test_a_lesson_s_changed_tokenizer_is_followed(way, tokenizer, sample, monkeypatch):
    path, how = way
    if tokenizer not in (Pairs, Once):  # which show only on text
        monkeypatch.setattr(tokens, "SAMPLE", sample)
    small, large = as_lists(path, **how), as_tokens(path, **how)
    assert large.documents.tokenizer(tokenizer) is None
    assert content(large, tokenizer) == content(small, tokenizer)
    assert large.documents.tokenizer(Tokenizer).chars == Tokenizer(small.documents).chars


def test_pages_that_were_read_are_let_go(way, monkeypatch):
    path, how = way
    dataset = as_tokens(path, **how)
    data = batches.prepare(dataset, Tokenizer, BLOCK_SIZE, random.Random(0))
    let_go = []
    monkeypatch.setattr(dataset.documents, "release", lambda: let_go.append(step))
    for step in range(1000):
        data.batch(step, 3)
    assert len(let_go) == pytest.approx(3000 / batches.AT_HAND, rel=0.1)


def test_documents_by_number(way):
    path, how = way
    expected, kept = as_lists(path, **how).documents, as_tokens(path, **how).documents
    assert (len(kept), kept[0], kept[-1], kept[3:9:2]) == (len(expected), expected[0], expected[-1], expected[3:9:2])
    with pytest.raises(IndexError):
        kept[len(expected)]


# ---- reading in pieces ----


TEXTS = st.text(alphabet="ab \n\r\t\x0cé中🙂\ufeff\u2028\x85", max_size=30)


@settings(max_examples=1000, deadline=None)
@given(text=TEXTS, size=st.sampled_from([1, 2, 3, 100]))
def test_pieces_of_any_size_give_the_same_documents(text, size):
    whole = text.removeprefix("\ufeff").replace("\r\n", "\n").replace("\r", "\n")
    assert documents.decode(text.encode(), "own.txt") == whole
    for split in (documents.lines, documents.paragraphs):
        pieces = documents.decoded(io.BytesIO(text.encode()), "own.txt", size)
        assert "".join(documents.in_a_row(pieces, split)) == "\0".join(split(whole))


@settings(max_examples=1000, deadline=None)
@given(text=st.text(alphabet='ab,;"\n\x85 ', max_size=40), size=st.sampled_from([1, 2, 3, 100]))
def test_pieces_of_any_size_give_the_same_column(text, size):
    text = "a,b\n" + text

    def column(size: int) -> list[str] | str:
        try:
            return list(columns.column([text[i : i + size] for i in range(0, len(text), size)], "b", "own.csv"))
        except UserError as error:
            return str(error)

    assert column(size) == column(len(text))


@settings(max_examples=1000, deadline=None)
@given(
    data=st.lists(st.sampled_from(list("aé中🙂".encode() + b"\xff\0")), max_size=12).map(bytes), size=st.integers(1, 4)
)
def test_a_wrong_byte_has_the_same_place_in_any_pieces(data, size):
    with contextlib.suppress(UnicodeDecodeError):
        data.decode()
        assert "\0" in data.decode() or "".join(documents.decoded(io.BytesIO(data), "f", size)) == data.decode()
        return
    with pytest.raises(UnicodeDecodeError) as caught:
        data.decode()
    if 0 not in data:  # else either may come first
        with pytest.raises(UserError, match=f"not UTF-8 at byte {caught.value.start} "):
            list(documents.decoded(io.BytesIO(data), "f", size))


WRONG = {
    b" \r\n\r\n \n": "empty",
    b"aaa\naaaa\n": "only 1 distinct",
    b"anna\nJos\xe9\n": r"not UTF-8 at byte 8 \(0xe9\)",
    b"abcdefg\xe2\x82": r"not UTF-8 at byte 7 \(0xe2\)",  # cut inside a character, and by the border of two pieces
    b"anna\0bob": "NUL at byte 4",
    "".join(map(chr, range(0x4E00, 0x4E00 + 5001))).encode(): "5001 distinct characters, the limit is 5000",
}


@pytest.mark.parametrize("wrong", WRONG, ids=WRONG.values())
@pytest.mark.parametrize("load", [as_lists, as_tokens])
def test_a_wrong_text_is_refused_and_leaves_nothing(tmp_path, cache, load, wrong):
    path = tmp_path / "own.txt"
    path.write_bytes(wrong)
    with pytest.raises(UserError, match=re.escape(str(path)) + ": .*" + WRONG[wrong]):
        load(path)
    assert not cache.exists() or not list(cache.iterdir())


def test_what_looks_like_a_table_is_said_of_a_large_one_too(tmp_path):
    path = tmp_path / "own.csv"
    path.write_text(TABLE, encoding="utf-8")
    small, large = [], []
    datasets.load(str(path), progress=small.append)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(datasets, "LARGE", 1000)
        datasets.load(str(path), progress=large.append)
    assert large == small and "id, name" in small[1]


def test_making_and_training_hold_no_text_in_memory(tmp_path):
    with pytest.MonkeyPatch.context() as patch:
        for module, name in ((datasets, "LARGE"), (datasets, "PIECE"), (tokens, "PIECE")):
            patch.setattr(module, name, 2**12)
        for name in ("first", "second"):  # the first is for what Python imports
            path = tmp_path / name
            path.write_text("To be, or not to be, that is the question:\n" * 200_000, encoding="utf-8")
            tracemalloc.start()
            try:
                dataset = datasets.load(str(path), "stream")
                batches.prepare(dataset, Tokenizer, 256, random.Random(0)).batch(0, 12)
                peak = tracemalloc.get_traced_memory()[1]
            finally:
                tracemalloc.stop()
    assert len(dataset.documents) == 1
    assert peak < path.stat().st_size / 5


# ---- the file ----


def only_file(cache: Path) -> Path:
    (path,) = cache.iterdir()
    return path


def test_it_is_made_once(way, cache):
    path, how = way
    said = []
    as_tokens(path, **how, said=said)
    before = only_file(cache).stat()
    as_tokens(path, **how, said=said)
    assert said == []
    assert only_file(cache).stat() == before


def test_another_way_of_reading_is_another_file(tmp_path, cache):
    path = tmp_path / "own.csv"
    path.write_text(TABLE, encoding="utf-8")
    for how in ({}, {"mode": "stream"}, {"column": "name"}, {"column": "id"}):
        expected = content(as_lists(path, **how))
        for _ in range(2):
            assert content(as_tokens(path, **how)) == expected
    assert len(list(cache.iterdir())) == 4


def test_a_text_that_has_changed_replaces_its_tokens(way, cache):
    path, how = way
    as_tokens(path, **how)
    times = path.stat()
    path.write_bytes(path.read_bytes().replace(b"anna", b"anno"))
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))  # of the same size and time: only its bytes tell
    said = []
    assert content(as_tokens(path, **how, said=said)) == content(as_lists(path, **how))
    assert f"{path} has changed; making it anew" in said[0]
    only_file(cache)


def cut(data: bytes) -> bytes:
    return data[:-1]


def lengthened(data: bytes) -> bytes:
    return data + b"\0"


def emptied(data: bytes) -> bytes:
    return b""


def of_another_version(data: bytes) -> bytes:
    return data.replace(tokens.FORMAT.encode(), tokens.FORMAT.encode().replace(b"1", b"0"), 1)


def without_end_of_header(data: bytes) -> bytes:
    return data.replace(b"\n", b" ")


def with_other_counts(data: bytes) -> bytes:
    return re.sub(rb'"n_tokens": \d', b'"n_tokens": 9', data, count=1)


def nonsense(data: bytes) -> bytes:
    return b"\xff" * len(data)


def other_json(data: bytes) -> bytes:
    return b'[{"format": 1}]\n' + data


def wrong_types(data: bytes) -> bytes:
    return re.sub(rb'"chars": "[^"]*"', b'"chars": 17', data, count=1)


def byte_changed_at(place: float):
    def changed(data: bytes) -> bytes:
        begin = data.index(b"\n") + 1
        where = begin + int(place * (len(data) - begin - 1))
        return data[:where] + bytes([data[where] ^ 1]) + data[where + 1 :]

    changed.__name__ = f"byte changed at {place:.0%}"
    return changed


def character_changed(data: bytes) -> bytes:
    return data.replace(b'"chars": "\\t', b'"chars": "\\b', 1).replace(b'"chars": " ', b'"chars": "!', 1)


NO_TOKENS, SIZE, CHECKSUM = "not a token file of this version", "bytes, not ", "its checksum is wrong"
DAMAGE = {
    cut: SIZE,
    lengthened: SIZE,
    emptied: NO_TOKENS,
    of_another_version: NO_TOKENS,
    without_end_of_header: NO_TOKENS,
    with_other_counts: SIZE,
    nonsense: NO_TOKENS,
    other_json: NO_TOKENS,
    wrong_types: NO_TOKENS,
    character_changed: CHECKSUM,
} | {byte_changed_at(place): CHECKSUM for place in (0, 0.01, 0.5, 0.99, 1)}


@pytest.mark.parametrize("damage", DAMAGE, ids=lambda damage: damage.__name__)
def test_a_damaged_file_is_noticed_and_made_anew(way, cache, damage):
    path, how = way
    expected = content(as_tokens(path, **how))
    good = only_file(cache).read_bytes()
    damaged = damage(good)
    assert damaged != good
    only_file(cache).write_bytes(damaged)
    said = []
    assert content(as_tokens(path, **how, said=said)) == expected
    assert len(said) == 1 and DAMAGE[damage] in said[0] and said[0].endswith("; making it anew")
    assert only_file(cache).read_bytes() == good


def test_a_whole_file_of_another_version_is_made_anew(way, cache, monkeypatch):
    path, how = way
    with monkeypatch.context() as patch:
        patch.setattr(tokens, "FORMAT", tokens.FORMAT.replace("1", "0"))
        as_tokens(path, **how)
    said = []
    assert content(as_tokens(path, **how, said=said)) == content(as_lists(path, **how))
    assert NO_TOKENS in said[0]


def test_something_else_in_its_place(way, cache):
    path, how = way
    as_tokens(path, **how)
    place = only_file(cache)
    place.unlink()
    place.mkdir()
    said = []
    assert content(as_tokens(path, **how, said=said)) == content(as_lists(path, **how))
    assert "folder" in said[0] and "for this run only" in said[1]


@pytest.mark.parametrize("code", [errno.EACCES, errno.EROFS, errno.EIO])
def test_a_cache_that_cannot_be_written(way, cache, monkeypatch, code):
    """The tokens live as long as the process, and there is no file of them."""

    @contextlib.contextmanager
    def refused(path):
        raise OSError(code, os.strerror(code), str(path))
        yield

    path, how = way
    monkeypatch.setattr(files, "replacing", refused)
    said = []
    dataset = as_tokens(path, **how, said=said)
    (line,) = said
    assert str(cache) in line and os.strerror(code) in line and "MICROGPT_CACHE" in line
    assert content(dataset) == content(as_lists(path, **how))
    assert list(cache.iterdir()) == []


@pytest.mark.parametrize("everywhere", [False, True])
def test_a_full_disk_is_said_in_one_line_and_nothing_is_left(way, cache, monkeypatch, everywhere):
    def full(file, *args):
        file.write(b"half of it")
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    path, how = way
    monkeypatch.setattr(tokens, "write", full)
    if everywhere:
        monkeypatch.setenv("MICROGPT_CACHE", str(path / "no folder"))  # so that a temporary file is tried
    with pytest.raises(RunError) as caught:
        as_tokens(path, **how)
    message = str(caught.value)
    assert everywhere or message.startswith(str(cache))
    assert message.isprintable() and os.strerror(errno.ENOSPC) in message and "free some space" in message
    assert not cache.exists() or list(cache.iterdir()) == []


def test_a_text_that_changes_while_it_is_read(way, cache, monkeypatch):
    path, how = way
    survey_of = tokens.survey_of

    def and_changed(source, shown):
        survey = survey_of(source, shown)
        path.write_bytes(path.read_bytes().replace("🙂".encode(), "🙃".encode()))
        return survey

    monkeypatch.setattr(tokens, "survey_of", and_changed)
    with pytest.raises(RunError, match=re.escape(f"{path}: it changed while it was read")):
        as_tokens(path, **how)
    assert list(cache.iterdir()) == []


def test_several_at_once(way, cache):
    path, how = way
    expected = content(as_lists(path, **how))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(datasets, "LARGE", 4)
        with ThreadPoolExecutor(4) as pool:
            made = list(pool.map(lambda _: datasets.load(str(path), **how), range(8)))
    assert all(content(dataset) == expected for dataset in made)
    only_file(cache)


def test_what_takes_long_is_said(way, monkeypatch):
    path, how = way
    monkeypatch.setattr(tokens, "SILENT", 0)
    monkeypatch.setattr(tokens, "SHOWN_EVERY", 0)
    said = []
    as_tokens(path, **how, said=said)
    shares = [
        int(re.fullmatch(rf"turning {re.escape(str(path))} into tokens, once: (\d+) %", line)[1]) for line in said
    ]
    assert shares == sorted(shares) and shares[0] < 5 and shares[-1] == 100
    said.clear()
    as_tokens(path, **how, said=said)
    assert said and all("has changed" in line for line in said)


def test_two_files_of_one_name_are_told_apart(tmp_path):
    one, other = tmp_path / "own.txt", tmp_path / "folder" / "own.txt"
    other.parent.mkdir()
    one.write_bytes(b"ab" * 2_000_000)
    other.write_bytes(b"ab" * 2_000_000)
    assert not datasets.differ(one, other) and not datasets.differ(one, one)
    other.write_bytes(b"ab" * 1_999_999 + b"ac")
    assert datasets.differ(one, other)
    other.write_bytes(b"ab")
    assert datasets.differ(one, other)
    assert not datasets.differ(one, tmp_path / "none.txt")


# ---- the program ----


@pytest.fixture(scope="module")
def large_file(tmp_path_factory) -> Path:
    """Return a file just large enough to be kept as tokens."""
    path = tmp_path_factory.mktemp("large") / "large.txt"
    path.write_bytes(b"Four score and seven years ago our fathers brought forth\n" * (datasets.LARGE // 57 + 1))
    assert datasets.LARGE < path.stat().st_size < 1.01 * datasets.LARGE
    return path


def test_a_run_on_a_large_file_the_first_time_and_the_second(large_file, tmp_path):
    env = {"MICROGPT_CACHE": str(tmp_path / "cache")}
    options = ("--dataset", large_file, "--steps", 3, "--n-samples", 2, "--no-plot", "--out", tmp_path)
    first = run(PYTHON, *options, env=env)
    second = run(PYTHON, *options, env=env)
    assert "large: 73,585 documents, 18 characters" in first.stdout
    assert first.samples == second.samples and len(first.samples) == 2
    assert len(list((tmp_path / "cache").iterdir())) == 1
    resumed = run(PYTHON, *options, "--steps", 4, "--resume", env=env)
    assert "going on after step 3 of 4" in resumed.stdout


def test_a_disk_too_small_for_the_tokens(large_file, tmp_path):
    resource = pytest.importorskip("resource", reason="this system has no limits on files")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, hard))  # inherited
    try:
        env = {"MICROGPT_CACHE": str(tmp_path / "cache")}
        result = run(PYTHON, "--dataset", large_file, "--out", tmp_path, env=env, code=1)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert "it takes 9 MB: free some space" in one_line(result)
    assert list((tmp_path / "cache").iterdir()) == []
