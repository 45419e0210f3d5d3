"""Reading a file that anybody may have put there; writing one whole or not at all, whatever stops it."""

import contextlib
import errno
import os
import socket
import threading
from pathlib import Path
from unittest.mock import patch

import pytest
from microgpt_harness.system import files
from microgpt_harness.system.errors import RunError

# ---- reading ----


def test_reads_a_file_and_what_a_link_leads_to(tmp_path):
    path, link = tmp_path / "file", tmp_path / "link"
    path.write_bytes(b"a\r\n\x1a\xff")  # none of it is text, on Windows too
    link.symlink_to(path)
    assert files.read_regular(path, 5) == files.read_regular(link, 5) == path.read_bytes()


def folder(path):
    path.mkdir()


def link_to_nothing(path):
    path.symlink_to(path.with_name("nothing"))


def link_to_itself(path):
    path.symlink_to(path)


def link_to_a_device(path):
    path.symlink_to("/dev/zero")


def fifo(path):
    os.mkfifo(path)


def unix_socket(path):
    with contextlib.chdir(path.parent), socket.socket(socket.AF_UNIX) as server:
        server.bind(path.name)  # of a whole path macOS takes 104 bytes, and its temporary folders are longer


def sparse(path):
    with path.open("wb") as file:
        file.truncate(2**40)


def said_to_be_empty(path):
    path.symlink_to("/proc/self/maps")  # a regular file of size 0, which is not empty


UNREADABLE = {
    folder: "folder",
    link_to_nothing: os.strerror(errno.ENOENT),
    link_to_itself: os.strerror(errno.ELOOP),
    link_to_a_device: "device",
    fifo: "pipe",
    unix_socket: "pipe",
    sparse: "larger than 5 bytes",
    said_to_be_empty: "larger than 5 bytes",
}


@pytest.mark.skipif(os.name != "posix", reason="Windows makes none of these")
@pytest.mark.parametrize("make", UNREADABLE, ids=lambda make: make.__name__)
def test_anything_but_a_regular_file_is_an_error_at_once(tmp_path, make):
    path = tmp_path / "file"
    if make is said_to_be_empty and not Path("/proc/self/maps").exists():
        pytest.skip("needs /proc")
    make(path)
    descriptors = len(list(Path("/dev/fd").iterdir()))
    with pytest.raises(OSError) as caught:
        files.read_regular(path, 5)
    assert UNREADABLE[make] in caught.value.strerror and caught.value.filename
    assert len(list(Path("/dev/fd").iterdir())) == descriptors


@pytest.mark.skipif(os.name != "posix", reason="Windows has no FIFO in a folder")
def test_a_fifo_that_takes_the_place_of_a_file_while_it_is_opened(tmp_path):
    path = tmp_path / "file"
    os.mkfifo(path)
    with patch("pathlib.Path.stat", return_value=Path(__file__).stat()), pytest.raises(OSError) as caught:
        files.read_regular(path, 10**9)
    assert "pipe" in caught.value.strerror


def test_a_name_that_no_file_can_have(tmp_path):
    with pytest.raises(OSError) as caught:
        files.read_regular(tmp_path / "a\0b", 5)
    assert "NUL" in caught.value.strerror


# ---- writing ----


def test_makes_the_folder_and_replaces_what_was_there(tmp_path):
    path = tmp_path / "a" / "b" / "config.json"
    for content in ("one\n", "zwei ≠ eins\n"):
        files.write_text(path, content)
        assert path.read_bytes() == content.encode("utf-8")
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize("call", ["os.fsync", "os.replace"])
def test_failed_write_leaves_the_old_file_and_nothing_else(tmp_path, call):
    path = tmp_path / "samples.txt"
    files.write_text(path, "old")
    failure = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    with patch(call, side_effect=failure), pytest.raises(RunError) as caught:
        files.write_text(path, "new")
    assert str(caught.value) == f"{path} cannot be written: {os.strerror(errno.ENOSPC)}; choose a folder with --out"
    assert path.read_text(encoding="utf-8") == "old"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("error", [KeyboardInterrupt, MemoryError, ValueError])
def test_block_that_does_not_reach_its_end(tmp_path, error):
    path = tmp_path / "file"
    with pytest.raises(error), files.replacing(path) as file:
        file.write(b"half")
        assert len(list(tmp_path.iterdir())) == 1  # beside it
        raise error
    assert list(tmp_path.iterdir()) == []


def test_two_at_a_time_and_one_of_them_whole(tmp_path):
    path, meeting = tmp_path / "file", threading.Barrier(2)

    def write(letter: bytes) -> None:
        with files.replacing(path) as file:
            file.write(letter * 1000)
            meeting.wait(timeout=10)
            file.write(letter * 1000)

    threads = [threading.Thread(target=write, args=(letter,)) for letter in (b"a", b"b")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert path.read_bytes() in (b"a" * 2000, b"b" * 2000)
    assert list(tmp_path.iterdir()) == [path]


def test_on_windows_a_file_that_another_program_has_open_is_waited_for(tmp_path, monkeypatch):
    path, refusals, replace = tmp_path / "a.txt", [], Path.replace

    def refuse_at_first(self, target):
        refusals.append(self)
        if len(refusals) <= wanted:
            raise PermissionError(13, "Access is denied")
        return replace(self, target)

    monkeypatch.setattr(Path, "replace", refuse_at_first)
    wanted = 1
    with pytest.raises(RunError, match="Access is denied"):  # elsewhere it means that it may not, now or later
        files.write_text(path, "first")
    monkeypatch.setattr(files, "WINDOWS", True)
    wanted = 4
    files.write_text(path, "second")
    assert (path.read_text(encoding="utf-8"), len(refusals)) == ("second", 5)
    monkeypatch.setattr(files, "PATIENCE", 0.1)
    wanted = 10**6
    with pytest.raises(RunError, match=r"a\.txt cannot be written: another program has it open"):
        files.write_text(path, "third")
    assert [file.name for file in tmp_path.iterdir()] == ["a.txt"]
    assert path.read_text(encoding="utf-8") == "second"
