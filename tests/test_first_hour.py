"""What a newcomer meets in the first hour: --help and --list, what exercises leave behind, the same sample again."""

import dataclasses
import functools
import http.server
import io
import json
import re
import shutil
import subprocess
import sys
import threading
import zipfile
from pathlib import Path

import pytest
from lessons import FOLDERS, ROOT, each, load
from microgpt_harness.data import columns, datasets, registry, sources
from microgpt_harness.program import train
from microgpt_harness.program.settings import lesson_defaults, read_config_file
from microgpt_harness.run import plots
from microgpt_harness.system.errors import RunError, UserError
from microgpt_harness.tools import compare
from program import (
    MIRROR,
    NUMPY,
    PYTHON,
    command,
    environment,
    fails,
    needs_mirror,
    on_terminal,
    run,
    shown_lines,
)

QUICK = ("--no-plot", "--val-every", 0)


# ---- --help and --list ----


@pytest.mark.parametrize("folder", each(FOLDERS))
def test_defaults_read_from_the_source_are_the_lessons_own(folder):
    assert lesson_defaults(ROOT / folder / "microgpt.py") == dataclasses.asdict(load(folder).microgpt.CONFIG)


def test_a_lesson_somebody_is_at_work_on_has_no_defaults(tmp_path):
    (tmp_path / "microgpt.py").write_text("class Config:\n    n_embd: int = \n", encoding="utf-8")
    assert lesson_defaults(tmp_path / "microgpt.py") == lesson_defaults(tmp_path / "none.py") == {}


@pytest.mark.parametrize("folder", FOLDERS)
def test_help_shows_every_default(folder):
    said = " ".join(run(folder, "--help").stdout.split())
    for flag, value in {
        "--steps N": 500,
        "--lr N": 0.01,
        "--n-embd N": 16,
        "--n-layer N": 1,
        "--batch-size N": lesson_defaults(ROOT / folder / "microgpt.py")["batch_size"],
        "--clip-grad N": 0,
        "--seed N": 42,
        "--temperature N": 0.5,
        "--n-samples N": 20,
        "--out DIR": "runs/",
    }.items():
        assert re.search(rf" {flag} [^()]*\(default: {value}\)", said), flag
    for flag in re.findall(r" (--[a-z-]+) (?:N|TEXT|NAME|DIR|\{\S+\}) ", said.partition("options:")[2]):
        own_words = re.search(rf" {flag} (?:N|TEXT|NAME|DIR|\{{\S+\}}) (.*?)(?= --|$)", said.partition("options:")[2])
        assert "(default: " in own_words[1], flag


@pytest.mark.parametrize("arguments", [["--help"], ["sample", "--help"], ["bench", "--help"], ["--list"]], ids=" ".join)
@pytest.mark.parametrize("columns", [80, 120])
def test_no_line_is_wider_than_the_terminal(columns, arguments):
    lines = shown_lines(on_terminal(command(NUMPY, *arguments), columns).stdout)
    assert len(lines) > 10 and max(map(len, lines)) <= columns


def test_list_breaks_between_words_on_a_terminal_and_nowhere_in_a_pipe():
    piped = run(PYTHON, "--list").stdout
    narrow = on_terminal(command(PYTHON, "--list"), 80).stdout.replace("\r", "")
    assert narrow.split() == piped.split() and len(narrow.splitlines()) > len(piped.splitlines())
    rows = [line for line in piped.splitlines() if line.startswith("paul_graham ")]
    assert len(rows) == 2 and rows[0].endswith("never shipped") and rows[1].endswith("n_samples 3")
    assert all(re.search(r" [\w.]+(,|$)", line) for line in narrow.splitlines() if " n_embd" in line)


@pytest.mark.parametrize("columns", range(76, 96, 4))
def test_list_keeps_a_setting_and_its_value_on_one_line(columns):
    defaults = on_terminal(command(PYTHON, "--list"), columns).stdout.replace("\r", "").partition("Config:\n")[2]
    assert all(re.search(r"(\d,?|none)$", line) for line in defaults.splitlines())


# ---- samples that can only be the same ----


@pytest.fixture(scope="module")
def out(tmp_path_factory):
    folder = tmp_path_factory.mktemp("trained")
    run(NUMPY, "--out", folder, "--steps", 60, "--n-samples", 0, *QUICK)
    return folder


def noted(*arguments):
    """Run 02's main.py to a good end. Return its samples and what it said on standard error."""
    done = subprocess.run(command(NUMPY, *arguments), env=environment(), capture_output=True, encoding="utf-8")
    assert done.returncode == 0, done.stderr
    return re.findall(r"^sample +\d+: (.*)$", done.stdout, re.MULTILINE), done.stderr


@pytest.mark.parametrize("flags, why", [(["--temperature", 0], "temperature 0"), (["--top-k", 1], "top-k 1")])
def test_one_sample_where_all_would_be_the_same(flags, why, out):
    samples, said = noted("sample", "--out", out, *flags)
    assert len(samples) == 1 and said.startswith("main.py: one sample only: ") and said.count("\n") == 1
    assert why in said and "--n-samples" in said
    assert noted("sample", "--out", out, *flags, "--quiet") == (samples, "")
    assert noted("sample", "--out", out, *flags, "--n-samples", 3) == (samples * 3, "")  # who asks for three gets three
    assert noted("sample", "--out", out, *flags, "--n-samples", 0) == ([], "")
    assert len(noted("sample", "--out", out)[0]) == 20


def test_a_run_at_temperature_0_keeps_one_sample(tmp_path):
    samples, said = noted("--out", tmp_path, "--steps", 3, "--temperature", 0, *QUICK)
    assert (tmp_path / "names" / NUMPY / "samples.txt").read_text(encoding="utf-8").splitlines() == samples
    assert len(samples) == 1 and "temperature 0" in said


# ---- pictures without matplotlib ----


def test_01_names_the_command_that_draws_its_pictures(monkeypatch, tmp_path):
    """The command is tried as it is printed, but for uv, which here is the environment that has matplotlib."""
    main = ROOT / PYTHON / "main.py"
    hidden = (
        f"import runpy, sys; sys.path.insert(0, {str(ROOT / 'harness')!r})\n"
        "import microgpt_harness.run.plots as plots; plots.available = lambda: False\n"
        f"sys.argv = [{str(main)!r}, '--out', {str(tmp_path)!r}, '--steps', '4', '--n-samples', '2']\n"
        "runpy.run_path(sys.argv[0], run_name='__main__')\n"
    )
    done = subprocess.run([sys.executable, "-c", hidden], env=environment(), capture_output=True, encoding="utf-8")
    (line,) = [line for line in done.stdout.splitlines() if line.startswith(plots.MISSING)]
    start, arguments = line.split(str(main))
    assert start.endswith("uv run --with matplotlib python ")
    before = (tmp_path / "names" / PYTHON / "metrics.jsonl").read_text(encoding="utf-8")
    again = run(PYTHON, *arguments.split())
    assert again.stdout.count("sample  ") == 2 and (tmp_path / "names" / PYTHON / "loss.png").exists()
    assert (tmp_path / "names" / PYTHON / "metrics.jsonl").read_text(encoding="utf-8") == before


def test_the_command_that_draws_does_not_begin_where_the_run_began(monkeypatch):
    for checkpoint in (["--checkpoint", "other.safetensors"], ["--checkpoint=other.safetensors"]):
        monkeypatch.setattr(sys, "argv", ["main.py", "--steps", "9", *checkpoint, "--lr", "0.1"])
        assert train.drawing_command().endswith("python main.py --steps 9 --lr 0.1 --resume")


# ---- exercises ----


@pytest.mark.skipif(not shutil.which("git") or not (ROOT / ".git").exists(), reason="needs git and a checkout")
@pytest.mark.parametrize("folder", FOLDERS)
def test_attempts_at_exercises_are_ignored(folder):
    files = [f"{folder}/exercises/{name}" for name in ("attention.py", "attention.csv", "progress.json")]
    done = subprocess.run(["git", "check-ignore", *files], cwd=ROOT, capture_output=True, encoding="utf-8")
    assert done.stdout.splitlines() == files
    assert subprocess.run(["git", "check-ignore", f"{folder}/exercises.toml"], cwd=ROOT).returncode == 1


# ---- one's own CSV ----


TOWNS = 'id,name,country\n1,"Washington, D.C.",US\n2,Roma,IT\n\n3,,FR\n4,Wien,AT\n'
AS_TSV, AS_EXPORTED = TOWNS.replace('"', "").replace(", D", " D").replace(",", "\t"), TOWNS.replace(",", ";")


@pytest.mark.parametrize(
    "text, names",
    [(TOWNS, "Washington, D.C."), (AS_TSV, "Washington D.C."), (AS_EXPORTED, "Washington; D.C.")],
    ids=["commas", "tabs", "semicolons"],
)
def test_a_column_is_what_is_trained_on(text, names, tmp_path):
    (tmp_path / "towns.csv").write_text(text, encoding="utf-8")
    dataset = datasets.load(str(tmp_path / "towns.csv"), column="name")
    assert (dataset.documents, dataset.column) == ([names, "Roma", "Wien"], "name")
    assert datasets.load(str(tmp_path / "towns.csv"), column="id").documents == ["1", "2", "3", "4"]
    # commas inside a name, and a value on two lines
    (tmp_path / "quoted.csv").write_text('"a, b, c";town\n1;" New\nYork "\n', encoding="utf-8")
    assert datasets.load(str(tmp_path / "quoted.csv"), column="town").documents == ["New York"]
    with pytest.raises(UserError, match="no column 'town'; the columns are id, name, country"):
        datasets.load(str(tmp_path / "towns.csv"), column="town")


def test_a_run_remembers_its_column(tmp_path):
    """Its checkpoint resumes and samples without the flag, and another folder's run of another column is told apart."""
    (tmp_path / "towns.csv").write_text(TOWNS * 9, encoding="utf-8")
    arguments = ("--dataset", tmp_path / "towns.csv", "--out", tmp_path, "--n-samples", 2, *QUICK)
    first = run(NUMPY, *arguments, "--column", "name", "--steps", 9, "--stop-at", 5).stdout
    assert first.startswith("towns: 35 documents") and "looks like" not in first  # the other headers are rows like any
    resumed = run(NUMPY, *arguments, "--resume")
    assert "going on after step 5 of 9" in resumed.stdout and "looks like" not in resumed.stdout
    whole = run(NUMPY, *arguments, "--column", "name", "--steps", 9, "--out", tmp_path / "whole")
    assert resumed.samples == whole.samples != []
    for named in (tmp_path / "towns.csv", "towns"):
        sampled = run(NUMPY, "sample", "--dataset", named, "--out", tmp_path, "--n-samples", 2)
        assert sampled.samples == resumed.samples
    fails(
        NUMPY,
        *arguments,
        "--column",
        "country",
        "--resume",
        says=("trained on column 'name' of towns", "leave --column out"),
    )
    config = json.loads((tmp_path / "towns" / NUMPY / "config.json").read_text(encoding="utf-8"))
    assert config["column"] == "name" and "column" in compare.DATA


def test_a_column_in_a_scenario(tmp_path):
    (tmp_path / "towns.csv").write_text(TOWNS * 9, encoding="utf-8")
    scenario = tmp_path / "towns.toml"
    scenario.write_text('[data]\ndataset = "towns.csv"\ncolumn = "country"\n[training]\nsteps = 2\n', encoding="utf-8")
    options = ("--config", scenario, "--out", tmp_path, "--n-samples", 0, *QUICK)
    assert "towns: 44 documents, 14 characters" in run(NUMPY, *options).stdout
    assert "towns: 35 documents" in run(NUMPY, *options, "--column", "name").stdout  # the flag comes first


def test_a_column_is_for_ones_own_file(tmp_path):
    fails(NUMPY, "--column", "name", "--out", tmp_path, says=("--column", "names", "file of your own"))
    scenario = tmp_path / "towns.toml"
    scenario.write_text('[data]\ncolumn = "country"\n', encoding="utf-8")
    fails(NUMPY, "--config", scenario, "--out", tmp_path, says=("towns.toml", "column", "file of your own"))
    scenario.write_text("[data]\ncolumn = 3\n", encoding="utf-8")
    fails(NUMPY, "--config", scenario, "--out", tmp_path, says=("column", "must be", "3"))
    with pytest.raises(UserError, match="file of your own"):
        datasets.load("names", column="name")


def hints(tmp_path, name, text, **how):
    """Return what is said of a file while it is read."""
    (tmp_path / name).write_text(text, encoding="utf-8")
    said = []
    datasets.load(str(tmp_path / name), progress=said.append, **how)
    return " ".join(said)


def test_a_csv_without_a_column_gets_a_hint(tmp_path):
    words = "name,kind\nanna,x\nbob,y\n"
    hint = hints(tmp_path, "words.csv", words)
    assert "words.csv looks like CSV" in hint and "--column NAME" in hint and hint.endswith("its columns: name, kind")
    assert hints(tmp_path, "words.csv", words, column="name") == ""
    assert hints(tmp_path, "words.txt", words) == ""  # too few lines to tell
    assert "name, kind" in hints(tmp_path, "words.txt", words * 10)
    assert "name, kind" in hints(tmp_path, "words", words.replace(",", "\t") * 10)
    wide = ",".join(f"column{i}" for i in range(40)) + "\n"
    assert hints(tmp_path, "wide.csv", wide * 2).endswith("column11 and 28 more")


NO_CSV = {
    "lines": "anna\nbob\n" * 30,
    "people": "Doe, Jane\nRoe, Richard\n" * 30,
    "places": "Washington, D.C.\nRoma\n" * 30,
    "a play": "First Citizen:\nBefore we proceed, hear me.\n\nAll:\nSpeak, speak.\n" * 30,
    "one comma in each line, but no two alike": "a,b\na,b,c\n" * 30,
}


@pytest.mark.parametrize("text", NO_CSV.values(), ids=NO_CSV)
def test_no_false_alarm(text, tmp_path):
    assert hints(tmp_path, "own.txt", text) == hints(tmp_path, "own.txt", text, mode="stream") == ""


@needs_mirror
@pytest.mark.parametrize("name", registry.names())
def test_no_false_alarm_for_any_dataset(name, monkeypatch):
    monkeypatch.setenv("MICROGPT_MIRROR", MIRROR)
    documents = datasets.load(name).documents
    assert columns.found_in("\n".join(documents), ".txt") == columns.found_in("\n\n".join(documents), ".txt") == []


# ---- a table for the registry ----


def microgpt(*arguments, code=0, **options):
    """Run the command `microgpt`. Return what it printed and its one line on standard error."""
    script = [sys.executable, "-m", "microgpt_harness", *map(str, arguments)]
    done = subprocess.run(script, capture_output=True, encoding="utf-8", env=environment(no_proxy="*"), **options)
    assert done.returncode == code and "Traceback" not in done.stderr, done.stderr
    return done.stdout, done.stderr


def zipped(**members):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, text in members.items():
            archive.writestr(name.replace("__", "."), text)
    return buffer.getvalue()


def repacked(archive):
    with zipfile.ZipFile(io.BytesIO(archive)) as members:
        return zipped(**{name: members.read(name).decode() for name in reversed(members.namelist())})


BOOK = "Head\n\n*** START OF A BOOK ***\n\n" + "One line.\nAnother.\n\n" * 30 + "*** END OF A BOOK ***\n\nFoot"
TO_REGISTER = {
    "lines": ("Häuser.txt", "Haus\nHütte\nHalle\n" * 18 + "\nHof\n\nHut\nHeim\n", [], ("lines", "discrete", 57)),
    "paragraphs": ("play.txt", "KING:\nSpeak.\n\nALL:\nWe do.\n\n" * 9, [], ("text", "stream", 18)),
    "a book": ("book.txt", BOOK, [], ("text", "stream", 30)),
    "paragraphs taken as lines": ("play.txt", "a b\n\nc\n" * 9, ["--mode", "discrete"], ("lines", "discrete", 18)),
    "a column": ("towns.csv", TOWNS, ["--column", "name"], ("csv", "discrete", 3)),
    "a column with an odd name": (
        "odd.csv",
        'a,"b ""\x9bé\\"\n1,xy\n',
        ["--column", 'b "\x9bé\\'],
        ("csv", "discrete", 1),
    ),
    "a zip": ("all.zip", zipped(a__txt="ab\ncd\n", b__txt="ef\n", c__md="gh"), [], ("zip", "discrete", 3)),
    "other members": ("all.zip", zipped(a__txt="ab\n", c__md="gh\n"), ["--member", "*.md"], ("zip", "discrete", 1)),
    "another name": ("names.txt", "anna\nbob\n", ["--name", "My-Own names"], ("lines", "discrete", 2)),
}


@pytest.mark.parametrize("name, content, flags, expected", TO_REGISTER.values(), ids=TO_REGISTER)
def test_the_table_loads_as_it_is_printed(name, content, flags, expected, tmp_path, monkeypatch):
    """Pasted at the end of the registry, and the file copied to where the message says, it trains."""
    file = tmp_path / name
    file.write_bytes(content if isinstance(content, bytes) else content.encode())
    table, said = microgpt("dataset", file, *flags)
    assert said.count("\n") == 1 and str(file) in said and "\x9b" not in table
    whole = (sources.DATA / "datasets.toml").read_text(encoding="utf-8") + "\n" + table
    (tmp_path / "datasets.toml").write_text(whole, encoding="utf-8")
    monkeypatch.setattr(registry, "REGISTRY", tmp_path / "datasets.toml")
    monkeypatch.setattr(sources, "DATA", tmp_path / "data")
    (tmp_path / "data").mkdir()
    assert registry.faults() == {}
    *_, entry = registry.entries().values()
    assert said.endswith(f"train with --dataset {entry.name}\n") and f"/{entry.file}, then" in said
    shutil.copy(file, tmp_path / "data" / entry.file)
    dataset = datasets.load(entry.name)
    assert (entry.format, dataset.mode, len(dataset.documents)) == expected
    assert (entry.documents, entry.characters) == (len(dataset.documents), sum(map(len, dataset.documents)))
    if entry.format == "zip":  # packed in another way, it is the same data
        (tmp_path / "data" / entry.file).write_bytes(repacked(content))
        assert datasets.load(entry.name) == dataset
    (tmp_path / "data" / entry.file).write_bytes(b"anything else")
    with pytest.raises(RunError, match=r"wrong hash|damaged zip"):
        datasets.load(entry.name)


def test_the_table_of_an_address_is_downloaded_when_it_is_used(tmp_path, monkeypatch):
    (tmp_path / "Towns 1.csv").write_text(TOWNS, encoding="utf-8")
    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=str(tmp_path))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}).start()
        try:
            address = f"http://127.0.0.1:{server.server_port}/Towns%201.csv?raw=true"
            table, said = microgpt("dataset", address, "--column", "name")
            (tmp_path / "datasets.toml").write_text(table, encoding="utf-8")
            monkeypatch.setattr(registry, "REGISTRY", tmp_path / "datasets.toml")
            monkeypatch.setenv("MICROGPT_CACHE", str(tmp_path / "cache"))
            monkeypatch.delenv("MICROGPT_MIRROR", raising=False)
            monkeypatch.setenv("no_proxy", "127.0.0.1")
            assert datasets.load("towns_1").documents == ["Washington, D.C.", "Roma", "Wien"]
            assert (tmp_path / "cache" / "towns_1.csv").exists() and f'url = "{address}"' in table
            assert said.startswith(f"microgpt: downloading {address}\n") and "copy" not in said
            _, said = microgpt("dataset", address.replace("Towns", "none"), code=1)
            assert "404" in said
        finally:
            server.shutdown()


WRONG_SOURCES = {
    "nothing there": ("none.txt", None, [], "no such file"),
    "a CSV without a column": ("towns.csv", TOWNS, [], "name the --column, one of id, name, country"),
    "no such column": ("towns.csv", TOWNS, ["--column", "x"], "no column 'x'"),
    "no zip": ("towns.txt", "a\nb\n", ["--member", "*"], "--member is for a zip"),
    "nothing to learn": ("a.txt", "a\na\n", [], "only 1 distinct character"),
    "not text": ("a.txt", "\xff\n", [], "not UTF-8"),
    "a name that is taken": ("a.txt", "a\nb\n", ["--name", "Names"], "there is a dataset names already"),
}


@pytest.mark.parametrize("name, content, flags, says", WRONG_SOURCES.values(), ids=WRONG_SOURCES)
def test_no_table_for_what_could_not_be_trained_on(name, content, flags, says, tmp_path):
    if content is not None:
        (tmp_path / name).write_text(content, encoding="latin-1", newline="")
    table, said = microgpt("dataset", name, *flags, code=2, cwd=tmp_path)
    assert table == "" and said.count("\n") == 1 and says in said, said


def test_no_table_for_what_the_registry_would_not_read(tmp_path):
    with (tmp_path / "large.txt").open("wb") as file:
        file.truncate(2**26 + 1)
    _, said = microgpt("dataset", "large.txt", code=2, cwd=tmp_path)
    assert said == "microgpt: large.txt: larger than 67,108,864 bytes; train on the file itself: --dataset large.txt\n"


@needs_mirror
@pytest.mark.parametrize("name", [name for name in registry.names() if name not in ("names", "cities", "pokemon")])
def test_guesses_are_what_the_registry_says(name, tmp_path):
    entry = registry.entries()[name]
    if MIRROR.startswith("http"):
        pytest.skip("needs the mirror as a folder")
    table, _ = microgpt("dataset", Path(MIRROR) / entry.file)
    for field in ("format", "mode", "documents", "characters", *(["gutenberg"] if entry.gutenberg else [])):
        value = getattr(entry, field)
        assert f"\n{field} = " + (f'"{value}"' if isinstance(value, str) else str(value).lower()) in table


def test_list_names_a_half_written_table_and_lists_the_others(tmp_path):
    path = tmp_path / "datasets.toml"
    whole = (sources.DATA / "datasets.toml").read_text(encoding="utf-8")
    path.write_text(whole + "\n[colours]\ntitle = 'Colours'\n", encoding="utf-8")
    script = (
        f"import pathlib, runpy, sys; sys.path.insert(0, {str(ROOT / 'harness')!r})\n"
        f"from microgpt_harness.data import registry; registry.REGISTRY = pathlib.Path({str(path)!r})\n"
        f"sys.argv = [{str(ROOT / PYTHON / 'main.py')!r}, *sys.argv[1:]]\n"
        "runpy.run_path(sys.argv[0], run_name='__main__')"
    )

    def said(*arguments):
        start = [sys.executable, "-c", script, *map(str, arguments)]
        return subprocess.run(start, capture_output=True, encoding="utf-8", env=environment())

    listed = said("--list")
    assert listed.returncode == 0 and "\nalice " in listed.stdout and "colours" not in listed.stdout
    assert listed.stderr.count("\n") == 1 and "[colours]: missing field: characters, documents" in listed.stderr
    asked = said("--dataset", "colours", "--out", tmp_path)
    assert asked.returncode == 2 and asked.stdout == "" and "[colours]: missing field" in asked.stderr
    fine = said("--steps", 1, "--n-samples", 0, "--no-plot", "--out", tmp_path)
    assert fine.returncode == 0 and fine.stderr == ""


# ---- the scenarios ----


SCENARIOS = sorted((ROOT / "scenarios").glob("*.toml"), key=lambda path: path.stem)
FOR_A_GPU = {"shakespeare_char": ("--batch-size", 1)}  # a whole batch takes a CPU a minute


@pytest.mark.parametrize(
    "path", [pytest.param(path, marks=() if path.stem == "names" else needs_mirror, id=path.stem) for path in SCENARIOS]
)
def test_a_scenario_runs(path, tmp_path):
    """Everything in it is in force, but for what the flags make shorter."""
    shorter = ("--steps", 2, "--n-samples", 1, "--max-tokens", 5, "--val-docs", 2, "--no-plot", "--out", tmp_path)
    smaller = FOR_A_GPU.get(path.stem, ())
    result = run("05_jax", "--config", path, *shorter, *smaller, env={"MICROGPT_MIRROR": MIRROR})
    (dataset,) = read_config_file(path).datasets
    assert result.stdout.startswith(f"{dataset}: ")
    config = json.loads((tmp_path / dataset / "05_jax" / "config.json").read_text(encoding="utf-8"))
    wanted = read_config_file(path).values
    overruled = {"num_steps", "n_samples", "max_tokens", "val_docs"} | ({"batch_size"} if smaller else set())
    for name, value in wanted.items():
        if name not in overruled:
            assert config["config"].get(name, config.get(name)) == value, name
    weights = f"{config['num_params']:,} weights"
    assert weights in result.stdout and weights in path.read_text(encoding="utf-8")


def test_the_scenarios_are_in_the_readme_and_shakespeare_has_nanogpts_sizes():
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert [path.stem for path in SCENARIOS] == ["alice", "names", "shakespeare_char", "shakespeare_char_cpu"]
    assert all(f"scenarios/{path.name}" in readme for path in SCENARIOS)
    sizes = {"shakespeare_char": [6, 6, 384, 256, 64], "shakespeare_char_cpu": [4, 4, 128, 64, 12]}
    for stem, size in sizes.items():
        values = read_config_file(ROOT / "scenarios" / f"{stem}.toml").values
        assert [values[name] for name in ("n_layer", "n_head", "n_embd", "block_size", "batch_size")] == size
