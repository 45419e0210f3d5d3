"""Writing a file whole or not at all, whatever stops it."""

import errno
import os
import threading
from unittest.mock import patch

import pytest
from microgpt_harness import files
from microgpt_harness.errors import RunError


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
