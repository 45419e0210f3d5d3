"""config.json of a run, one's own or anybody's: what is read is of the right type, or one line says what is wrong."""

import json
import os

import pytest
from microgpt_harness.run import run_config
from microgpt_harness.system.errors import UserError
from program import NUMPY, run

GOOD = {"folder": "05_jax", "dataset": "names", "mode": "discrete", "dtype": "float32", "config": {"n_embd": 16}}


UNCHECKED = {"n_samples", "top_k", "max_tokens", "prompt", "repetition_penalty"}  # of sampling: nobody reads them here


def test_what_a_run_writes_can_be_read(tmp_path):
    """Of one's own CSV, for then a run says most: the file and its column too."""
    (tmp_path / "towns.csv").write_text("id,name\n1,Roma\n2,Wien\n", encoding="utf-8")
    own = ("--dataset", tmp_path / "towns.csv", "--column", "name", "--out", tmp_path)
    run(NUMPY, *own, "--steps", 2, "--no-plot")
    folder = tmp_path / "towns" / NUMPY
    content = run_config.read(folder)
    assert content == json.loads((folder / "config.json").read_text(encoding="utf-8"))
    assert run_config.TYPES.keys() | run_config.CHOICES.keys() == content.keys() - UNCHECKED


@pytest.mark.parametrize("content", [{}, GOOD, {**GOOD, "a later version's": [1, {}]}, {**GOOD, "config": {}}])
def test_what_is_missing_is_missing(tmp_path, content):
    assert read(tmp_path, json.dumps(content)) == content


WRONG = {
    "a list": ([], "its content"),
    "null": (None, "its content"),
    "dtype with an escape": ({"dtype": "\x1b[2J"}, "its dtype"),
    "dtype that is a list": ({"dtype": []}, "its dtype"),
    "mode": ({"mode": {}}, "its mode"),
    "dataset": ({"dataset": 7}, "its dataset"),
    "documents": ({"documents": 1.5}, "its documents"),
    "truth for a number": ({"vocab_size": True}, "its vocab_size"),
    "huge": ({"documents": 10**4000}, "its documents"),
    "config": ({"config": [1]}, "its config"),
    "an unknown field": ({"config": {"\x1b[2J": 1}}, "an unknown name in config"),
    "a field out of bounds": ({"config": {"n_embd": 0}}, "its config's n_embd"),
    "a field of another type": ({"config": {"learning_rate": "0.1"}}, "its config's learning_rate"),
    "not a number": ({"config": {"learning_rate": float("nan")}}, "its config's learning_rate"),
    "infinite": ({"config": {"temperature": float("inf")}}, "its config's temperature"),
    "a huge field": ({"config": {"learning_rate": 10**4000}}, "its config's learning_rate"),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_no_run_would_write(tmp_path, name):
    content, what = WRONG[name]
    content = {**GOOD, **content} if isinstance(content, dict) else content
    assert complaint(tmp_path, json.dumps(content)) == f"is damaged: {what} is not what a run writes there"


@pytest.mark.parametrize("text", ["", "{", "\udcff", "[" * 100_000, '{"documents": ' + "9" * 5000 + "}"])
def test_what_is_not_json(tmp_path, text):
    assert complaint(tmp_path, text) == "is damaged: it is not JSON in UTF-8"


def test_what_is_not_a_file_of_a_sensible_size(tmp_path):
    assert complaint(tmp_path, " " * (run_config.MAX_BYTES + 1)) == "cannot be read: it is larger than 1,000,000 bytes"
    (tmp_path / "config.json").unlink()
    with pytest.raises(UserError, match="No such file"):
        run_config.read(tmp_path)
    (tmp_path / "config.json").mkdir()
    with pytest.raises(UserError, match="folder, not a file"):
        run_config.read(tmp_path)


@pytest.mark.skipif(os.name != "posix", reason="Windows has no FIFO in a folder")
def test_a_pipe_in_its_place_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "config.json")
    with pytest.raises(UserError, match="pipe, not a file"):
        run_config.read(tmp_path)


def read(folder, text):
    (folder / "config.json").write_text(text, encoding="utf-8", errors="surrogateescape")
    return run_config.read(folder)


def complaint(folder, text):
    with pytest.raises(UserError) as caught:
        read(folder, text)
    return str(caught.value).removeprefix(f"{folder / 'config.json'} ")
