"""How much memory there is, and what is refused for want of it before it is begun."""

import os
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
from lessons import load
from microgpt_harness.run import training
from microgpt_harness.system import memory
from microgpt_harness.system.errors import UserError
from program import NUMPY


def test_of_this_machine():
    assert 2**28 < memory.total() <= memory.of_machine() < 2**48


def test_a_container_may_have_less(tmp_path, monkeypatch):
    monkeypatch.setattr(memory, "CONTAINER", tmp_path / "memory.max")
    machine = memory.of_machine()
    for words, total in (("1000000\n", 1_000_000), ("max\n", machine), (f"{2**60}\n", machine), ("", machine)):
        memory.CONTAINER.write_text(words)
        assert memory.total() == total


@pytest.mark.skipif(os.name == "nt", reason="Windows is asked in another way")
def test_a_system_that_does_not_say(tmp_path, monkeypatch):
    monkeypatch.setattr(memory, "CONTAINER", tmp_path / "none")
    monkeypatch.delattr(os, "sysconf")
    assert memory.total() == memory.UNKNOWN


@pytest.mark.parametrize(("dtype", "bytes_a_weight"), [("float32", 28), ("float64", 56)])
def test_a_model_may_be_as_large_as_the_memory(dtype, bytes_a_weight, monkeypatch):
    config = replace(load(NUMPY).microgpt.CONFIG, n_embd=128)
    n_weights = 12 * 128**2 + 128 * (2 * 27 + 8)
    settings, path = SimpleNamespace(config=config, dtype=dtype), Path("checkpoint.safetensors")
    monkeypatch.setattr(memory, "total", lambda: bytes_a_weight * n_weights)
    training.check_size(settings, 27, path)
    monkeypatch.setattr(memory, "total", lambda: bytes_a_weight * n_weights - 1)
    with pytest.raises(
        UserError, match=r"a model of 204,544 weights needs 0\.0 GB of memory, .* --n-embd or --n-layer"
    ):
        training.check_size(settings, 27, path)


def test_a_json_file_holds_fewer(monkeypatch):
    config = load(NUMPY).microgpt.CONFIG
    settings, path = SimpleNamespace(config=replace(config, n_embd=201), dtype="float64"), Path("checkpoint.json")
    training.check_size(settings, 27, path)  # 497,274
    settings.config = replace(config, n_embd=202)
    with pytest.raises(UserError, match="a model of 502,172 weights; the limit is 500,000 here"):
        training.check_size(settings, 27, path)
