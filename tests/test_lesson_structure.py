"""The lessons side by side: the same sections and names, no import that is forbidden, and each runs alone."""

import ast
import os
import re
import subprocess
import sys
from collections.abc import Iterable
from functools import cache
from importlib.metadata import packages_distributions
from pathlib import Path

import comparisons
import pytest
from lessons import FOLDERS, REFERENCE, ROOT, each, load, offered, required

BANNERS = [
    "Data",
    "Tokenizer",
    "Hyperparameters",
    "Parameters",
    "Model",
    "Loss",
    "Gradients",
    "Optimizer",
    "Training",
    "Inference",
]
SHARED = BANNERS[:4]
STEPS = {"rmsnorm", "loss_fn", "adam_step", "train_step", "generate", "linear"}
FUNCTIONS = STEPS | {"softmax", "attention", "mlp", "block", "gpt"}
MODULES = {"CausalSelfAttention", "MLP", "Block", "GPT"}
ACTIVATIONS = {"tok_emb", "pos_emb", "x", "residual", "q", "k", "v", "attn_scores", "attn_weights", "attn_out", "h"}
ACTIVATIONS |= {"logits", "probs", "loss"}

LOSS_LINE = re.compile(r"step +(\d+) / +500 \| loss \d+\.\d{4}")
SAMPLE_LINE = re.compile(r"sample +(\d+): (\S*)")

every_lesson = pytest.mark.parametrize("folder", FOLDERS)


def source(folder: str) -> str:
    return (ROOT / folder / "microgpt.py").read_text(encoding="utf-8")


def sections(folder: str, file: str = "microgpt.py") -> dict[str, str]:
    """Return each section's body by its banner's title."""
    text = (ROOT / folder / file).read_text(encoding="utf-8")
    _, *parts = re.split(r"^# %% (.*)\n", text, flags=re.MULTILINE)
    return dict(zip(parts[::2], parts[1::2], strict=True))


# Sections and names
@every_lesson
def test_the_ten_banners_stand_in_order_and_no_others(folder):
    assert [line for line in source(folder).splitlines() if "# %%" in line] == [f"# %% {title}" for title in BANNERS]


@every_lesson
@pytest.mark.parametrize("title", SHARED)
def test_the_first_four_sections_are_the_same_bytes(folder, title):
    assert sections(folder)[title].encode() == sections(FOLDERS[0])[title].encode()


@pytest.mark.parametrize("file", ["engine.py", "engine_compiled.py"])
def test_what_engines_of_one_framework_share_is_the_same_bytes(file):
    """No folder imports another: a section with the name of a framework stands in each engine that uses it."""
    named_alike: dict[str, list[bytes]] = {}
    for folder in FOLDERS:
        if (ROOT / folder / file).exists():
            for title, body in sections(folder, file).items():
                named_alike.setdefault(title, []).append(body.encode())
    assert any(len(bodies) > 1 for bodies in named_alike.values())
    assert all(set(bodies) == {bodies[0]} for bodies in named_alike.values())


@every_lesson
def test_no_section_is_empty(folder):
    assert all(body.strip() for body in sections(folder).values())


@every_lesson
def test_the_same_things_have_the_same_names(folder):
    body = ast.parse(source(folder)).body
    defined = {node.name for node in body if isinstance(node, ast.FunctionDef | ast.ClassDef)}
    defined |= {node.targets[0].id for node in body if isinstance(node, ast.Assign)}  # linear = partial(...)
    parts = STEPS | MODULES if "GPT" in defined else FUNCTIONS  # where a framework's users write modules
    assert defined >= parts | {"load_docs", "Tokenizer", "Config", "init_params", "State", "main"}


@every_lesson
def test_activations_have_the_same_names(folder):
    names = {node.id for node in ast.walk(ast.parse(source(folder))) if isinstance(node, ast.Name)}
    # Fused attention keeps its scores and weights to itself.
    fused = {"attn_scores", "attn_weights"} if "scaled_dot_product_attention" in source(folder) else set()
    assert names >= ACTIVATIONS - fused


# Imports
def imported(path: Path, at_import_only: bool = False) -> set[str]:
    """Return the top-level names of the modules that a file imports; a relative import counts as its own package."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    nodes = run_at_import(tree) if at_import_only else ast.walk(tree)
    names = set()
    for node in nodes:
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names.add("." if node.level else node.module.split(".")[0])
    return names


def run_at_import(node: ast.AST):
    """Walk a tree, but not into what runs only when it is called, or never (imports for a type checker)."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            continue
        if isinstance(child, ast.If) and ast.unparse(child.test).endswith("TYPE_CHECKING"):
            continue
        yield child
        yield from run_at_import(child)


def provided(packages: Iterable[str]) -> set[str]:
    """Return the names under which packages are imported: mostly their own."""
    names = {re.sub("[-_.]+", "-", package).lower() for package in packages}
    return names | {module for module, by in packages_distributions().items() if names & {p.lower() for p in by}}


def frameworks(folder: str, extras: bool = False) -> set[str]:
    """Return what a folder may import beside the standard library: what its pyproject.toml asks for."""
    return provided(requirement.name for requirement in required(folder, extras))


ONLY_WHERE_USED = provided(line.name for line in required("harness", extras=True))  # 01 and the harness run without
ALL_FRAMEWORKS = set().union(*(frameworks(folder, extras=True) for folder in FOLDERS)) - ONLY_WHERE_USED


@every_lesson
def test_a_lesson_imports_the_standard_library_and_its_framework_only(folder):
    assert imported(ROOT / folder / "microgpt.py") - sys.stdlib_module_names <= frameworks(folder)


def modules_of_the_harness() -> list[Path]:
    paths = sorted((ROOT / "harness" / "microgpt_harness").rglob("*.py"))
    assert paths
    return paths


@pytest.mark.parametrize("path", modules_of_the_harness(), ids=lambda path: path.name)
def test_the_harness_imports_no_framework_and_no_lesson(path):
    assert {"torch", "jax", "mlx", "numba"} <= ALL_FRAMEWORKS
    assert not imported(path) & (ALL_FRAMEWORKS | {"microgpt", "engine"})
    assert not imported(path, at_import_only=True) & ONLY_WHERE_USED


@every_lesson
def test_a_folder_imports_nothing_of_another(folder):
    """All call their modules alike, so an import by name finds its own: it would take a path or a foreign framework."""
    foreign = ALL_FRAMEWORKS - frameworks(folder, extras=True)
    for path in (ROOT / folder).glob("*.py"):
        text = path.read_text(encoding="utf-8")
        assert not imported(path) & foreign, path
        assert not [other for other in FOLDERS if other != folder and other in text], path


def test_the_walk_tells_imports_at_import_time_from_those_in_functions(tmp_path):
    path = tmp_path / "example.py"
    path.write_text("import a\nif a:\n    import b.c\nclass D:\n    import d\ndef f():\n    from e import g\n")
    assert imported(path, at_import_only=True) == {"a", "b", "d"}
    assert imported(path) == {"a", "b", "d", "e"}


# Running
@pytest.mark.parametrize("folder", each(FOLDERS))
def test_importing_a_lesson_reads_no_data_and_prints_nothing(folder, monkeypatch, capfd):
    def refuse(path, *_, **__):
        raise AssertionError(f"importing the lesson opened {path}")

    load(folder)  # reads the source, and lets a framework say on its first import what it has to say
    text = source(folder)
    capfd.readouterr()
    monkeypatch.setattr(Path, "open", refuse)
    monkeypatch.setattr(Path, "read_text", refuse)
    exec(compile(text, f"{folder}/microgpt.py", "exec"), {"__name__": "microgpt", "__file__": "microgpt.py"})
    assert capfd.readouterr() == ("", "")


@cache
def run_alone(folder: str) -> subprocess.CompletedProcess:
    """Run a lesson by itself, with one thread: with two on a busy machine, PyTorch's wait longer than they work."""
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONIOENCODING": "utf-8"}
    command = [sys.executable, str(ROOT / folder / "microgpt.py")]
    return subprocess.run(command, capture_output=True, encoding="utf-8", env=environment, check=False)


@pytest.mark.parametrize("folder", each(FOLDERS))
def test_a_lesson_alone_prints_every_loss_and_20_samples(record, folder):
    """The first losses are those of the reference, in float64, but for the four digits printed. A lesson that computes
    in float64 prints the same as the reference to the end.
    """
    finished = run_alone(folder)
    assert finished.returncode == 0, finished.stderr
    lines = finished.stdout.splitlines()
    assert len(lines) == 520
    steps = [LOSS_LINE.fullmatch(line) for line in lines[:500]]
    samples = [SAMPLE_LINE.fullmatch(line) for line in lines[500:]]
    assert [int(match[1]) for match in steps] == list(range(1, 501))
    assert [int(match[1]) for match in samples] == list(range(1, 21))
    expected, *_ = comparisons.run_of_the_reference(500, load(folder).microgpt.CONFIG.batch_size)
    printed = [float(loss) for loss in re.findall(r"loss (\S+)", finished.stdout)]
    difference = max(abs(a - b) for a, b in zip(printed[:50], expected[:50], strict=True))
    record("first 50 losses of a lesson alone, four digits", folder, difference, 1e-4 + 5e-5)
    if offered(folder).dtypes[0] == "float64":
        assert finished.stdout == run_alone(REFERENCE).stdout
