"""Everything that can go wrong ends with one line that says what, where and what to do, and with the right exit code.

2: wrong input. 1: a run that failed. What signals do stands in test_signals.py.
"""

import contextlib
import json
import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from microgpt_harness.run import checkpoint, metrics
from program import (
    DEADLINE,
    MIRROR,
    NUMPY,
    PYTHON,
    ROOT,
    Result,
    check,
    command,
    end,
    environment,
    fails,
    needs_mirror,
    one_line,
    run,
    started,
    wait_for,
)

SHORT = ("--no-plot", "--n-samples", 1, "--val-every", 0)
NO_LIMITS = "this system sets no limits to a process"
FILES = {".safetensors": "checkpoint.safetensors", ".json": "checkpoint.json"}


@pytest.fixture(scope="module")
def trained(tmp_path_factory) -> Path:
    """Return the --out folder of a short run on names."""
    out = tmp_path_factory.mktemp("trained")
    run(NUMPY, "--out", out, "--steps", 30, *SHORT)
    return out


@pytest.fixture
def out(tmp_path, trained) -> Path:
    """Return a copy of it that a test may damage."""
    return shutil.copytree(trained, tmp_path / "out")


def checkpoint_of(out: Path, dataset: str = "names", folder: str = NUMPY) -> Path:
    return out / dataset / folder / "checkpoint.safetensors"


# ---- flags ----

BAD_FLAGS = {
    "--n-embd": ("0", "1.5", "x", ""),
    "--n-layer": ("0", "-1", "4097"),
    "--n-head": ("0",),
    "--block-size": ("0", "99999999"),
    "--steps": ("0", "-5", "many", "1e3", "99999999999"),
    "--lr": ("0", "-1", "nan", "inf", "x"),
    "--batch-size": ("0",),
    "--val-every": ("-1",),
    "--val-docs": ("0",),
    "--clip-grad": ("-1", "nan"),
    "--seed": ("-1", "1.5"),
    "--dtype": ("float16", "double"),
    "--device": ("toaster",),
    "--temperature": ("-0.1", "hot", "nan"),
    "--top-k": ("-1", "2.5"),
    "--n-samples": ("-1",),
    "--max-tokens": ("0",),
    "--repetition-penalty": ("0.5", "nan"),
    "--save-every": ("-1", "x"),
    "--log-every": ("-1",),
    "--stop-at": ("0",),
}


@pytest.mark.parametrize("flag, value", [(flag, value) for flag, values in BAD_FLAGS.items() for value in values])
def test_bad_flag_values_name_the_flag_and_the_value(flag, value):
    line = fails(PYTHON, f"{flag}={value}", says=(flag, value))
    assert any(words in line for words in ("must be", "one of"))


def test_unknown_flags_and_arguments():
    fails(PYTHON, "--stepz", 5, says=("--stepz", "--help"))
    fails(PYTHON, "--step", 5, says=("--step", "--help"))  # no abbreviations: a later flag could change their meaning
    fails(PYTHON, "trian", says=("trian",))
    fails(PYTHON, "sample", "--steps", 5, says=("--steps",))
    fails(PYTHON, "--steps", says=("--steps", "expected one argument"))


def test_shapes_that_do_not_fit():
    fails(NUMPY, "--n-embd", 10, says=("n_embd 10 is not divisible by n_head 4", "--n-head 1, 2, 5, 10"))
    fails(NUMPY, "--n-embd", 65536, says=("weights", "GB of memory", "--n-embd"))
    fails(PYTHON, "--n-embd", 512, says=("weights", "limit", "--n-embd"))


@pytest.mark.parametrize(
    "folder, flag, value, says",
    [
        (PYTHON, "--dtype", "float32", ("--dtype float32", "float64 only")),
        (PYTHON, "--device", "cuda", ("--device cuda", "auto, cpu")),
        (NUMPY, "--device", "cuda", ("--device cuda", "auto, cpu")),
        ("03_pytorch", "--device", "gpu", ("--device gpu", "auto, cpu, cuda, mps")),
        ("05_jax", "--device", "cuda", ("--device cuda", "auto, cpu, gpu, tpu")),
        ("06_mlx", "--device", "cuda", ("--device cuda", "auto, cpu, gpu")),
    ],
)
def test_flags_that_a_folder_cannot_honour(folder, flag, value, says, tmp_path):
    fails(folder, flag, value, says=(folder, *says))
    kind = flag.removeprefix("--")
    scenario = write(tmp_path / "scenario.toml", f'[training]\n{kind} = "{value}"\n')
    if kind == "device":
        fails(folder, "--config", scenario, says=(folder, str(scenario), value))


@pytest.mark.parametrize("folder", ["03_pytorch", "04_pytorch_batched"])
def test_no_cuda_device(folder, tmp_path):
    hidden = {"CUDA_VISIBLE_DEVICES": ""}
    fails(folder, "--device", "cuda", "--out", tmp_path, env=hidden, says=("no CUDA device", "--device cpu"))


@pytest.mark.parametrize("folder", ["05_jax", "06_mlx"])
@pytest.mark.skipif(sys.platform == "darwin", reason="there is a GPU")
def test_no_gpu(folder, tmp_path):
    hidden = {"JAX_PLATFORMS": "cpu"}
    fails(folder, "--device", "gpu", "--out", tmp_path, env=hidden, says=("finds no", "--device cpu"))


# ---- scenarios ----

BAD_SCENARIOS = {
    "not TOML": ("steps = = 3", ("scenario.toml", "TOML")),
    "not UTF-8": (b'[data]\ndataset = "\xff"', ("scenario.toml", "UTF-8")),
    "unknown table": ("[modle]\nn_embd = 16", ("'modle'", "[model]")),
    "a value for a table": ("model = 3", ("'model'",)),
    "outside a table": ("n_embd = 16", ("'n_embd'", "[model]")),
    "unknown key": ("[model]\nn_emb = 16", ("[model]", "'n_emb'", "did you mean n_embd?")),
    "unlike any key": ("[training]\nqqq = 16", ("[training]", "'qqq'", "known are")),
    "a key of another table": ("[model]\nnum_steps = 16", ("[model]", "'num_steps'")),
    "text for a number": ('[training]\nsteps = "many"', ("[training]", "steps", "whole number")),
    "a fraction for a whole number": ("[model]\nn_layer = 1.5", ("n_layer = 1.5", "whole number")),
    "a switch for a number": ("[model]\nn_layer = true", ("n_layer = True", "whole number")),
    "nan": ("[training]\nlr = nan", ("lr = nan", "above 0")),
    "a list for a number": ("[training]\nlr = [1, 2]", ("lr = [1, 2]", "above 0")),
    "a date for text": ("[sampling]\nprompt = 2024-01-01", ("prompt", "text")),
    "unknown key of data": ("[data]\nfile = 'x'", ("[data]", "'file'", "dataset, mode, column")),
    "a number for a dataset": ("[data]\ndataset = 5", ("[data]", "dataset")),
    "unknown mode": ("[data]\nmode = 'essay'", ("[data]", "discrete or stream", "'essay'")),
    "unknown dataset": ("[data]\ndataset = 'namez'", ("'namez'", "Did you mean names?")),
    "out of range": ("[training]\nbeta1 = 1.0", ("beta1 = 1.0", "below 1")),
}


@pytest.mark.parametrize("content, says", BAD_SCENARIOS.values(), ids=BAD_SCENARIOS)
def test_bad_scenarios(content, says, tmp_path):
    fails(PYTHON, "--config", write(tmp_path / "scenario.toml", content), says=says)


def test_scenario_that_is_not_there(tmp_path):
    fails(PYTHON, "--config", tmp_path / "none.toml", says=("none.toml", "No such file"))
    fails(PYTHON, "--config", tmp_path, says=(str(tmp_path), "folder"))


def write(path: Path, content: str | bytes) -> Path:
    path.write_bytes(content if isinstance(content, bytes) else content.encode("utf-8"))
    return path


# ---- data ----


def test_unknown_dataset_lists_the_names_and_suggests_the_nearest():
    for command_name in ((), ("sample",)):
        says = ("'shakespear'", "Did you mean shakespeare?", "names, makemore, pokemon")
        fails(PYTHON, *command_name, "--dataset", "shakespear", says=says)


BAD_FILES = {
    "empty": (b"", ("bad.txt", "empty")),
    "only white space": (b" \n\t\r\n\xef\xbb\xbf", ("bad.txt",)),
    "not UTF-8": (b"anna\nb\xe9la\n", ("bad.txt", "not UTF-8", "byte 6", "0xe9", "save it as UTF-8")),
    "UTF-16": ("anna\nbob\n".encode("utf-16"), ("bad.txt", "not UTF-8", "byte 0", "0xff")),
    "not text": (b"PNG\0\0\n", ("bad.txt", "NUL", "byte 3")),
    "one character": (b"aaa\na\n", ("bad.txt", "only 1 distinct character", "at least 2")),
    "far too many": (
        "".join(map(chr, range(0x4E00, 0x4E00 + 5001))).encode(),
        ("bad.txt", "5001 distinct characters", "5000"),
    ),
}


@pytest.mark.parametrize("content, says", BAD_FILES.values(), ids=BAD_FILES)
def test_bad_files(content, says, tmp_path):
    fails(PYTHON, "--dataset", write(tmp_path / "bad.txt", content), "--out", tmp_path, says=says)
    assert list(tmp_path.iterdir()) == [tmp_path / "bad.txt"]  # nothing was begun


def test_file_that_is_not_there(tmp_path):
    fails(PYTHON, "--dataset", tmp_path / "none.txt", says=("none.txt", "no such file"))
    fails(PYTHON, "--dataset", tmp_path, says=(str(tmp_path), "folder"))


def test_stream_shorter_than_a_window(tmp_path):
    file = write(tmp_path / "short.txt", "ab ab\n")
    scenario = write(tmp_path / "scenario.toml", "[data]\ndataset = 'short.txt'\nmode = 'stream'\n")
    fails(PYTHON, "--config", scenario, "--out", tmp_path, says=("short", "window of 9", "--block-size"))
    assert file.exists()


def test_no_network(tmp_path):
    cache = {"MICROGPT_CACHE": str(tmp_path / "cache")}
    says = ("https://", "pokemon.csv", "connection refused", str(tmp_path / "cache"), "MICROGPT_MIRROR")
    fails(PYTHON, "--dataset", "pokemon", "--out", tmp_path, "--quiet", code=1, env=cache, says=says)
    fails(PYTHON, "--dataset", "pokemon", "--out", tmp_path, code=1, env=cache, says=says)  # progress is no error
    assert not (tmp_path / "pokemon").exists()


def test_wrong_hash_in_the_mirror(tmp_path):
    mirror, cache = tmp_path / "mirror", tmp_path / "cache"
    mirror.mkdir()
    write(mirror / "pokemon.csv", "identifier\nbulbasaur\n")
    env = {"MICROGPT_MIRROR": str(mirror), "MICROGPT_CACHE": str(cache)}
    says = ("pokemon", str(mirror / "pokemon.csv"), "wrong hash", "MICROGPT_MIRROR")
    fails(PYTHON, "--dataset", "pokemon", "--out", tmp_path, code=1, env=env, says=says)
    assert not cache.exists()


# ---- prompts ----


def test_prompts_that_cannot_be_honoured(tmp_path, trained):
    for where in (("--out", tmp_path), ("sample", "--out", trained)):
        says = ("--prompt", "'Z'", "character 2", "abcdefghijklmnopqrstuvwxyz")
        fails(NUMPY, *where, "--prompt", "aZ", says=says)
        fails(NUMPY, *where, "-i", "abcdefgh", says=("--prompt", "8 characters", "block of 8", "--block-size"))
        fails(NUMPY, *where, "--prompt", "\n", says=("'\\n'",))
    assert list(tmp_path.iterdir()) == []  # known before the training, not after


# ---- checkpoints ----


def test_sample_and_resume_before_training(tmp_path):
    says = ("no checkpoint at", str(checkpoint_of(tmp_path)), "main.py --dataset names")
    fails(NUMPY, "sample", "--out", tmp_path, says=says)
    fails(NUMPY, "--resume", "--out", tmp_path, says=says)
    fails(NUMPY, "sample", "--checkpoint", tmp_path / "x.json", says=("no checkpoint at", "x.json"))
    fails(NUMPY, "--checkpoint", tmp_path / "x.json", "--out", tmp_path, says=("no checkpoint at", "x.json"))


DAMAGES = {
    "empty": (lambda data: b"", "cut off"),
    "cut off": (lambda data: data[: len(data) // 2], "cut off"),
    "a flipped bit": (lambda data: data[:-99] + bytes([data[-99] ^ 4]) + data[-98:], "checksum"),
    "not a checkpoint": (lambda data: b"hello " * 100, "cut off, or no safetensors file"),
    "another program's": (lambda data: (2).to_bytes(8, "little") + b"{}", "another program"),
}


@pytest.mark.parametrize("damage, says", DAMAGES.values(), ids=DAMAGES)
def test_damaged_checkpoint(damage, says, out):
    path = checkpoint_of(out)
    damaged = damage(path.read_bytes())
    path.write_bytes(damaged)
    for how in (("sample",), ("--resume",)):
        fails(NUMPY, *how, "--out", out, says=(str(path), says, "--checkpoint"))
    assert path.read_bytes() == damaged


def test_names_that_are_no_checkpoints(tmp_path, trained):
    fails(NUMPY, "sample", "--checkpoint", write(tmp_path / "x.pt", "x"), says=("x.pt", ".safetensors or .json"))
    fails(NUMPY, "sample", "--checkpoint", checkpoint_of(trained).parent, says=("no checkpoint",))
    (tmp_path / "folder.json").mkdir()
    fails(NUMPY, "sample", "--checkpoint", tmp_path / "folder.json", says=("folder.json", "not a file"))


def test_checkpoint_of_another_shape_says_what_differs(trained):
    path = str(checkpoint_of(trained))
    for flag, name, value, theirs in (
        ("--n-embd", "n_embd", 32, 16),
        ("--n-layer", "n_layer", 2, 1),
        ("--n-head", "n_head", 2, 4),
        ("--block-size", "block_size", 12, 8),
        ("--seed", "seed", 7, 42),
    ):
        says = (path, f"{name} is {theirs} in the checkpoint, {value} asked for", "without --resume")
        fails(NUMPY, "--resume", "--out", trained, flag, value, says=says)


def test_checkpoint_of_other_data(tmp_path, trained):
    file = write(tmp_path / "letters.txt", "abc\nbcd\n" * 20)
    says = ("other data", "letters", "'names'", "--dataset")
    fails(NUMPY, "--dataset", file, "--checkpoint", checkpoint_of(trained), "--out", tmp_path, says=says)


def test_file_that_changed_since(tmp_path):
    file = write(tmp_path / "letters.txt", "abc\nbcd\n" * 20)
    options = ("--dataset", file, "--steps", 3, "--out", tmp_path, *SHORT)
    run(NUMPY, *options)
    write(file, "abc\nbcd\n" * 21)
    fails(NUMPY, *options, "--resume", says=("letters", "changed", "without --resume"))


def test_two_datasets_for_one_folder(tmp_path):
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        write(tmp_path / folder / "words.txt", "abc\nbcd\n" * 20)
    a, b = (str(tmp_path / folder / "words.txt") for folder in ("a", "b"))
    fails(NUMPY, "--dataset", a, "names", b, "--out", tmp_path / "out", says=(a, b, "the folder words", "--out"))
    assert not (tmp_path / "out").exists()


def test_mode_of_a_dataset_that_has_its_own(tmp_path):
    file = write(tmp_path / "scenario.toml", '[data]\ndataset = "names"\nmode = "stream"\n')
    fails(NUMPY, "--config", file, "--steps", 3, "--out", tmp_path, says=("scenario.toml", "mode", "names"))


def test_the_command_that_is_advised_works_as_it_is_printed(tmp_path):
    file = write(tmp_path / "my words.txt", "abc\nbcd\n" * 20)
    line = fails(
        NUMPY, "sample", "--dataset", file, "--out", tmp_path / "my out", says=("train first: uv run python ",)
    )
    advised = shlex.split(line.partition("train first: uv run python main.py ")[2])
    run(NUMPY, *advised, "--steps", 3, *SHORT)
    run(NUMPY, "sample", "--dataset", file, "--out", tmp_path / "my out")
    file.unlink()
    run(NUMPY, "sample", "--dataset", "my_words", "--out", tmp_path / "my out")  # by its folder, as `compare` has it
    fails(NUMPY, "sample", "--dataset", "", "--out", tmp_path / "my out", says=("unknown dataset ''",))


def test_checkpoint_that_is_further_than_asked(trained):
    before = checkpoint_of(trained).read_bytes()
    fails(NUMPY, "--resume", "--out", trained, "--steps", 60, "--stop-at", 20, says=("30 steps", "--stop-at"))
    fails(NUMPY, "--resume", "--out", trained, "--steps", 20, says=("30 steps", "--steps"))
    fails(NUMPY, "--checkpoint", "a.json", "--dataset", "names", "pokemon", says=("--checkpoint", "one --dataset"))
    assert checkpoint_of(trained).read_bytes() == before


# ---- the disk ----


@contextlib.contextmanager
def small_files_only():
    """A child begun inside cannot write a file of more than 60 kB, as on a disk that is full. It inherits the limit."""
    resource = pytest.importorskip("resource", reason=NO_LIMITS)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (60_000, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_disk_full_while_saving_keeps_the_old_checkpoint(out):
    path = checkpoint_of(out)
    before = path.read_bytes()
    assert len(before) > 60_000
    says = (str(path), "could not be", "unchanged")
    with small_files_only():
        fails(NUMPY, "--resume", "--steps", 40, "--out", out, *SHORT, code=1, says=says)
    assert path.read_bytes() == before
    assert [p.name for p in path.parent.iterdir() if p.name.endswith(".tmp")] == []
    with small_files_only():
        fails(NUMPY, "--steps", 40, "--out", out, *SHORT, code=1, says=("unchanged",))
    assert checkpoint.load(path).step == 30


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="mounting a small disk takes root")
def test_full_disk(tmp_path):
    """A disk with room for one checkpoint, not for two: each save needs both for a moment."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=220k", "tmpfs", disk], capture_output=True)
    if mounted.returncode:
        pytest.skip("no disk can be mounted here")
    try:
        arguments = ("--out", disk, "--steps", 3000, "--save-every", 100, *SHORT)
        line = fails(NUMPY, *arguments, code=1, says=("No space left on device", "unchanged"))
        assert str(disk) in line
        saved = checkpoint.load(checkpoint_of(disk))
        assert saved.step % 100 == 0 and saved.step > 0
    finally:
        subprocess.run(["umount", disk], check=True)


def test_out_that_cannot_be_written(tmp_path):
    file = write(tmp_path / "file", "")
    fails(NUMPY, "--out", file, "--steps", 3, *SHORT, code=1, says=(str(file), "cannot be written", "--out"))
    fails(NUMPY, "--out", "/proc/none", "--steps", 3, *SHORT, code=1, says=("/proc/none", "--out"))


def test_no_file_is_written_over_in_place(out):
    """Each is put in place of the one before, which stays what it was under another name."""
    folder = checkpoint_of(out).parent
    for _ in range(2):
        run(NUMPY, "--out", out, "--steps", 4, "--n-samples", 1, "--quiet")
    (folder / ".lock").unlink()  # which no run replaces, and none needs
    paths = [path for path in folder.iterdir() if path.is_file()]
    stems = {"checkpoint", "config", "metrics", "samples", "loss", "previous", "previous.config", "previous.metrics"}
    assert {path.stem for path in paths} == stems
    before = {path.name: path.read_bytes() for path in paths}
    links = out / "links"
    links.mkdir()
    for path in paths:
        (links / path.name).hardlink_to(path)
    run(NUMPY, "--out", out, "--steps", 5, "--seed", 7, "--n-samples", 2, "--quiet")
    assert {path.name: path.read_bytes() for path in links.iterdir()} == before
    assert all(path.read_bytes() != before[path.name] for path in paths if not path.stem.startswith("previous"))
    assert {path.name for path in folder.iterdir()} == before.keys() | {".lock"}  # and nothing is left beside them


# ---- memory ----


@contextlib.contextmanager
def little_memory():
    """A child begun inside has 200 MiB of addresses. It inherits the limit."""
    resource = pytest.importorskip("resource", reason=NO_LIMITS)
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (200 * 2**20, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux keeps to this limit")
def test_out_of_memory(tmp_path):
    """A dataset that does not fit is reported; with several in turn the others still train."""
    huge, small = tmp_path / "huge.txt", write(tmp_path / "small.txt", "abc\nbcd\n" * 20)
    write(huge, "ab\n" * 16_000_000)  # a document's position takes 4 bytes, a token 2
    options = ("--out", tmp_path / "out", "--steps", 2, *SHORT)
    with little_memory():
        alone = fails(PYTHON, "--dataset", huge, *options, code=1, says=("out of memory", "--n-embd", "--batch-size"))
        result = run(PYTHON, "--dataset", huge, small, *options, code=1)
    assert one_line(result) == alone.replace("main.py: ", f"main.py: {huge} failed: ")
    assert (tmp_path / "out" / "small" / PYTHON / "samples.txt").exists()


@pytest.mark.parametrize(
    "words",
    ["RESOURCE_EXHAUSTED: Out of memory allocating 31468815688 bytes.", "INTERNAL: Out of memory allocating 1 bytes."],
)
def test_a_framework_that_is_out_of_memory(words, tmp_path):
    """What JAX says stands in a RuntimeError; any other one is still unexpected."""
    stub = "from importlib.util import module_from_spec, spec_from_file_location as located\n"
    stub += f"spec = located('its_engine', {str(ROOT / '05_jax' / 'engine.py')!r})\nits = module_from_spec(spec)\n"
    stub += "spec.loader.exec_module(its)\nglobals().update(vars(its))\n"
    stub += "def train_steps(state, batches, config):\n    raise RuntimeError(WORDS)\n"
    main = (ROOT / "05_jax" / "main.py").read_text(encoding="utf-8")
    main = main.replace('os.path.join(os.path.dirname(__file__), "..", "harness")', repr(str(ROOT / "harness")))
    write(tmp_path / "main.py", main)
    env = {"PYTHONPATH": str(ROOT / "05_jax")}
    write(tmp_path / "engine.py", stub.replace("WORDS", repr(words)))
    fails(str(tmp_path), "--out", tmp_path, *SHORT, code=1, env=env, says=("out of memory", "--n-embd"))
    write(tmp_path / "engine.py", stub.replace("WORDS", "'INTERNAL: something else'"))
    fails(str(tmp_path), "--out", tmp_path, *SHORT, code=1, env=env, says=("unexpected RuntimeError", "something else"))


def test_a_library_that_cannot_be_loaded(tmp_path):
    """As torch under a limit of memory."""
    write(tmp_path / "numpy.py", "raise ImportError('lib.so: failed to map segment from shared object')\n")
    says = ("cannot be loaded", "failed to map segment", "enough memory", NUMPY)
    fails(NUMPY, "--out", tmp_path, code=1, env={"PYTHONPATH": str(tmp_path)}, says=says)


# ---- numbers ----


@pytest.mark.parametrize("folder", [PYTHON, NUMPY, "03_pytorch", "05_jax", "06_mlx"])
def test_loss_that_is_not_finite_stops_at_its_step(folder, tmp_path):
    says = ("the loss is", "at step", "nothing was saved yet", "--lr than 1e+300", "--clip-grad")
    line = fails(folder, "--lr", 1e300, "--steps", 50, "--out", tmp_path, *SHORT, code=1, says=says)
    records = metrics.read(tmp_path / "names" / folder)
    assert f"at step {len(records) + 1};" in line
    assert not list((tmp_path / "names" / folder).glob("checkpoint.*"))


def test_loss_that_is_not_finite_keeps_the_last_good_checkpoint(out):
    path = checkpoint_of(out)
    before = path.read_bytes()
    says = ("at step 3", "the checkpoint of step 30 is kept", str(path))
    fails(NUMPY, "--resume", "--lr", 1e308, "--steps", 60, "--out", out, *SHORT, code=1, says=says)
    assert path.read_bytes() == before
    assert [record["step"] for record in metrics.read(path.parent)][:30] == list(range(1, 31))


def test_run_that_fails_before_it_saves_leaves_the_one_before_whole(out):
    """Its checkpoint, and what belongs to that: a later --resume finds all records again."""
    path = checkpoint_of(out)
    before = path.read_bytes()
    for _ in range(2):  # the second finds the failed one's records, which belong to nothing
        says = ("at step 2", "nothing was saved yet, and the checkpoint of the run before is kept", str(path))
        fails(NUMPY, "--lr", 1e308, "--steps", 20, "--out", out, *SHORT, code=1, says=says)
        assert path.read_bytes() == before and len(metrics.read(path.parent)) == 1
    kept = json.loads((path.parent / "previous.config.json").read_text(encoding="utf-8"))
    assert kept["config"]["num_steps"] == 30
    with started(NUMPY, "--resume", "--steps", 40, "--out", out, *SHORT) as process:
        result = end(process)
    assert result.code == 0 and one_line(result, "no record of the checkpoint's run", "kept as metrics.aside-1.jsonl")
    assert [record["step"] for record in metrics.read(path.parent)] == list(range(1, 41))


def test_weights_that_give_no_finite_scores(tmp_path):
    """One step's loss is finite, the weights after it are finite too, but not what is computed with them."""
    line = fails(NUMPY, "--lr", 1e300, "--steps", 1, "--out", tmp_path, *SHORT, code=1, says=("finite", "--lr"))
    assert line


# ---- several datasets ----


def test_series_that_was_stopped_goes_on_with_what_had_not_begun(tmp_path):
    a, b = (write(tmp_path / f"{name}.txt", "abc\nbcd\n" * 20) for name in "ab")
    options = ("--steps", 6, "--out", tmp_path, *SHORT)
    run(NUMPY, "--dataset", a, *options, "--stop-at", 3)
    result = run(NUMPY, "--dataset", a, b, *options, "--resume")
    assert "going on after step 3 of 6" in result.stdout
    assert all(len(metrics.read(tmp_path / name / NUMPY)) == 6 for name in "ab")


# ---- whoever reads the output ----


def test_reader_that_leaves_while_training(tmp_path):
    """As `main.py | head -1` does: what was trained is saved."""
    arguments = ("--out", tmp_path, "--steps", 20000, *SHORT)
    with started(NUMPY, *arguments, "--log-every", 1) as process:
        wait_for(process, "step    1 /")
        process.stdout.close()
        stderr = process.stderr.read()
        code = process.wait(timeout=DEADLINE)
    result = Result(code, "", stderr)
    check(result, 1)
    saved = checkpoint.load(checkpoint_of(tmp_path))
    one_line(result, f"stopped after step {saved.step} and saved", "--resume")


@pytest.mark.parametrize("arguments", [["--list"], ["--help"], ["sample", "--n-samples", "5000"]], ids=" ".join)
def test_reader_that_leaves_at_once(arguments, trained):
    out = ["--out", trained] if "sample" in arguments else []
    ours, theirs = os.pipe()
    os.close(ours)
    with os.fdopen(theirs, "w") as pipe:
        done = subprocess.run(
            command(NUMPY, *arguments, *out), stdout=pipe, stderr=subprocess.PIPE, env=environment(), encoding="utf-8"
        )
    assert done.stderr == "" and done.returncode in (0, 1)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no device here that is always full")
def test_output_to_a_full_disk(tmp_path):
    with Path("/dev/full").open("w") as full:
        for arguments, says in (
            (["--list"], "the output could not be written"),
            (["--steps", 20, "--out", tmp_path], "No space left"),
        ):
            done = subprocess.run(
                command(NUMPY, *arguments), stdout=full, stderr=subprocess.PIPE, env=environment(), encoding="utf-8"
            )
            result = Result(done.returncode, "", done.stderr)
            check(result, 1)
            one_line(result, says)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no device here that is always full")
def test_errors_to_a_full_disk():
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(command(NUMPY, "--steps", "many"), stdout=subprocess.PIPE, stderr=full, env=environment())
    assert (done.returncode, done.stdout) == (2, b"")


def test_closed_output():
    script = f'"{sys.executable}" "{ROOT / PYTHON / "main.py"}" --list >&- 2>&-'
    assert subprocess.run(["sh", "-c", script], env=environment()).returncode == 0


@needs_mirror
def test_one_dataset_that_fails_does_not_stop_the_others(tmp_path):
    mirror = tmp_path / "mirror"
    mirror.mkdir()
    shutil.copy(Path(MIRROR) / "pokemon.csv", mirror)
    arguments = ("--dataset", "pokemon", "cities", "names", "--out", tmp_path / "out", "--steps", 5)
    result = run(NUMPY, *arguments, "--n-samples", 1, code=1, env={"MICROGPT_MIRROR": str(mirror)})
    one_line(result, "cities failed", "world-cities.csv", "MICROGPT_MIRROR")
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"pokemon", "names", "all_losses.png"}
    config = json.loads((tmp_path / "out" / "pokemon" / NUMPY / "config.json").read_text(encoding="utf-8"))
    assert config["config"]["n_embd"] == 32


def test_wrong_input_is_the_exit_code_where_both_kinds_fail(tmp_path):
    arguments = ("--dataset", "pokemon", tmp_path / "none.txt", "--out", tmp_path)
    result = run(NUMPY, *arguments, code=2)
    assert [line.split(" failed")[0] for line in result.stderr.splitlines()] == [
        "main.py: pokemon",
        f"main.py: {tmp_path / 'none.txt'}",
    ]
