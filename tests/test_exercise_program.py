"""`main.py exercise` as a learner meets it: files, words, exit codes, and attempts that do not end or that do harm."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from lessons import ROOT, each, offered
from microgpt_harness.tools import mistakes
from microgpt_harness.tools.exercises import catalogue, source
from microgpt_harness.tools.exercises.checking import Checker
from program import NUMPY, PYTHON, command, end, environment, fails, interrupted, on_terminal, run, started, wait_for

HOLE = "    raise NotImplementedError\n"
# 02's rmsnorm, as somebody else would write it
RIGHT = """\
    scale = 1 / np.sqrt(np.mean(x**2, axis=-1, keepdims=True) + 1e-5)
    return scale * x, Saved(y=scale * x, scale=scale)
"""
LESSON = (ROOT / NUMPY / "microgpt.py").read_text(encoding="utf-8")


@pytest.fixture
def exercise(tmp_path):
    """Return a function that runs `main.py exercise …` of 02, with its attempts in the test's own folder."""

    def call(*args, code=0, folder=NUMPY, **options):
        return run(folder, "exercise", *args, "--dir", tmp_path, code=code, **options)

    return call


@pytest.fixture
def attempt(exercise, tmp_path):
    """Return a function that puts a body where rmsnorm's has been taken out, and checks it."""
    exercise("rmsnorm")
    path = tmp_path / "rmsnorm.py"
    handed_out = path.read_text(encoding="utf-8")

    def call(body, *args, code=1):
        path.write_text(handed_out.replace(HOLE, body), encoding="utf-8")
        return exercise("rmsnorm", *args, code=code).stdout

    return call


def says(text, *words):
    plain = " ".join(text.split())
    for part in words:
        assert part in plain, text


# From the list to "all is well"
def test_from_the_list_to_all_is_well(exercise, attempt, tmp_path):
    says(exercise().stdout, "0 of", "… rmsnorm", "mistake 1 to mistake")
    says(exercise("rmsnorm", code=1).stdout, "not yet", "Nothing is written there yet", HOLE.strip())
    says(attempt(RIGHT.replace("1e-5", "1e-6")), "logits not as in the lesson", "rmsnorm", "look like norm-eps")
    says(attempt(RIGHT, code=0), "rmsnorm: all is well")
    says(exercise().stdout, "1 of", "done rmsnorm")
    noted = json.loads((tmp_path / "progress.json").read_text(encoding="utf-8"))["rmsnorm"]
    assert noted["checks"] == 3 and noted["done"] >= noted["begun"]


@pytest.mark.parametrize("folder", each(["05_jax"]))
def test_the_stage_that_is_computed_alone_is_in_float64_too(folder, exercise, tmp_path):
    """JAX has to be asked for float64, and in what `main` prints the lesson itself does not ask."""
    right = (ROOT / folder / "microgpt.py").read_text(encoding="utf-8")
    first = "    rng = random.Random(CONFIG.seed)"
    assert first in right
    (tmp_path / "main.py").write_text(right.replace(first, f"    pass\n{first}"), encoding="utf-8")
    done = exercise("main", folder=folder)
    says(done.stdout, "main: all is well")
    assert not done.stderr


def test_what_is_handed_out_runs_alone_where_its_hole_is_filled(exercise, tmp_path):
    exercise("rmsnorm")
    path = tmp_path / "rmsnorm.py"
    text = path.read_text(encoding="utf-8").replace(HOLE, RIGHT).replace("num_steps: int = 500", "num_steps: int = 3")
    path.write_text(text, encoding="utf-8")
    done = subprocess.run([sys.executable, path], capture_output=True, encoding="utf-8", check=True)
    assert "loss 3.3362" in done.stdout and "sample 20: " in done.stdout


def test_01_does_all_this_on_a_bare_python(tmp_path):
    def bare(*args):
        python, *rest = command(PYTHON, "exercise", "softmax", *args, "--dir", tmp_path)
        return subprocess.run([python, "-I", "-S", *rest], capture_output=True, encoding="utf-8", env=environment())

    assert bare().returncode == 0
    path = tmp_path / "softmax.py"
    body = """\
    exps = [(logit + -max(other.data for other in logits)).exp() for logit in logits]
    return [e * add(exps) ** -1 for e in exps]
"""
    path.write_text(path.read_text(encoding="utf-8").replace(HOLE, body), encoding="utf-8")
    done = bare()
    assert done.returncode == 0 and "all is well" in done.stdout, done.stdout + done.stderr
    assert "hint 1 of" in bare("--hint").stdout


def test_a_planted_mistake_is_caught_hinted_at_and_after_mending_named(exercise, tmp_path):
    says(exercise("mistake", 3).stdout, "mistake-3.py is yours")
    checked = exercise("mistake", 3, code=1).stdout
    says(checked, "not as in the lesson")
    planted = catalogue.read(offered(NUMPY))["mistake-3"].mistake
    assert planted.name not in checked and "look like" not in checked
    hints = [exercise("mistake", 3, "--hint").stdout for _ in range(4)]
    says(hints[2], "hint 3 of 3", planted.says)
    says(hints[3], "no more hints")
    path = tmp_path / "mistake-3.py"
    text = catalogue.at_home(LESSON, ROOT / NUMPY, path)
    assert path.read_text(encoding="utf-8") == catalogue.at_home(
        mistakes.apply(LESSON, planted.edits), ROOT / NUMPY, path
    )
    path.write_text(text, encoding="utf-8")
    says(exercise("mistake", 3).stdout, "all is well", f"It was {planted.name}", planted.says, planted.unnoticed)


def test_mistake_alone_is_one_that_has_not_been_begun(exercise, tmp_path):
    numbers = {exercise("mistake").stdout.partition(".py")[0].rpartition("-")[2] for _ in range(3)}
    assert len(numbers) == 3 and len(list(tmp_path.glob("mistake-*.py"))) == 3


def test_a_hint_for_mistake_alone_is_for_the_one_begun_last(exercise, tmp_path):
    exercise("mistake", 5)
    exercise("mistake", 2)
    exercise("mistake", "--hint")
    noted = json.loads((tmp_path / "progress.json").read_text(encoding="utf-8"))
    assert noted["mistake-2"]["hints"] == 1 and "hints" not in noted["mistake-5"]


# What an attempt may do
def test_an_empty_body_and_a_missing_return_are_named(attempt):
    says(attempt("    pass\n"), "rmsnorm has no body yet")
    says(attempt("    y = x\n"), "rmsnorm returns nothing")
    says(attempt("    if len(x) > 99:\n        return x\n"), "rmsnorm returns nothing, at least once")


def test_an_exception_is_shown_with_the_learner_s_own_line(attempt):
    says(attempt("    x = x\n    return x.no_such_thing\n"), "`return x.no_such_thing`: AttributeError: ")
    assert "harness" not in attempt("    return undefined\n")


def test_shape_dtype_and_nan_have_their_own_words(attempt):
    says(
        attempt(RIGHT.replace("return scale * x,", "return (scale * x)[:1],")), "shape (1, 15), wanted is shape (7, 15)"
    )
    says(attempt(RIGHT.replace("scale * x,", "np.float32(scale * x),")), "float32, wanted is float64")
    says(attempt(RIGHT.replace("+ 1e-5", "- 9")), "nan, not a number")


def test_an_endless_loop_is_ended_after_the_limit(attempt):
    says(attempt("    while True:\n        pass\n    return x\n", "--time-limit", 1), "After 1 seconds", "never end")


def test_an_attempt_that_ends_its_process_or_prints_ends_nothing_else(attempt):
    says(attempt("    import os\n    os._exit(7)\n    return x\n"), "exit code 7")
    says(attempt("    raise SystemExit\n    return x\n"), "`raise SystemExit`: SystemExit")
    printed = attempt("    print('\\x1b[2J hello')\n" + RIGHT, code=0)
    says(printed, "what your code printed:", r"\x1b[2J hello")
    assert "\x1b" not in printed


def test_what_an_attempt_leaves_behind_or_prints_without_end_holds_nobody_up(attempt):
    child = """\
    import subprocess, sys
    subprocess.Popen([sys.executable, "-c", "import time; time.sleep(100)"])
    print("x" * 10**6)
"""
    printed = attempt(child + RIGHT, code=0)
    says(printed, "what your code printed:", "all is well")
    assert len(printed) < 4000
    says(attempt("    input()\n    return x\n"), "`input()`: EOFError")


def test_a_file_from_an_editor_on_windows_is_read_as_any_other(exercise, tmp_path):
    exercise("rmsnorm")
    text = (tmp_path / "rmsnorm.py").read_text(encoding="utf-8").replace(HOLE, RIGHT).replace("\n", "\r\n")
    (tmp_path / "rmsnorm.py").write_bytes(b"\xef\xbb\xbf" + text.encode("utf-8"))
    says(exercise("rmsnorm").stdout, "all is well")


def test_an_attempt_that_changes_the_checker_s_own_modules_is_checked_all_the_same(attempt):
    cheat = "    import microgpt_harness.tools.exercises.tensors as t, sys\n    t.compare = lambda *a: None\n"
    says(attempt(cheat + "    return x, Saved(y=x, scale=1)\n"), "logits not as in the lesson")


def test_changed_parameters_and_a_missing_function_are_named(exercise, tmp_path):
    exercise("rmsnorm")
    path = tmp_path / "rmsnorm.py"
    text = path.read_text(encoding="utf-8").replace(HOLE, RIGHT)
    path.write_text(text.replace("def rmsnorm(x):", "def rmsnorm(x, eps):"), encoding="utf-8")
    says(exercise("rmsnorm", code=1).stdout, "rmsnorm(x, eps) has other parameters than the lesson's rmsnorm(x)")
    path.write_text(text.replace("def rmsnorm(x):", "def rmsnorm(x, eps=1e-5):"), encoding="utf-8")
    exercise("rmsnorm")
    path.write_text(text.replace("def mlp(", "def multilayer("), encoding="utf-8")
    says(exercise("rmsnorm", code=1).stdout, "mlp is not there any more")


# Files
def test_what_is_no_python_is_said_in_a_line(exercise, attempt, tmp_path):
    says(attempt("    return (\n"), "Python cannot read this: line ", "was never closed")
    (tmp_path / "rmsnorm.py").write_bytes(b"x = '\xff'\n")
    fails(NUMPY, "exercise", "rmsnorm", "--dir", tmp_path, says=("rmsnorm.py is not UTF-8: byte 5",))


def test_a_file_that_is_gone_is_not_written_again_by_itself(exercise, tmp_path):
    exercise("rmsnorm")
    (tmp_path / "rmsnorm.py").unlink()
    for flags in ((), ("--watch",)):
        line = fails(
            NUMPY, "exercise", "rmsnorm", *flags, "--dir", tmp_path, says=("rmsnorm.py is not there", "--reset")
        )
        assert not (tmp_path / "rmsnorm.py").exists(), line
    exercise("rmsnorm", "--reset")
    assert HOLE in (tmp_path / "rmsnorm.py").read_text(encoding="utf-8")


def test_reset_keeps_the_attempt_under_another_name(exercise, tmp_path):
    exercise("rmsnorm")
    for number in (1, 2):
        (tmp_path / "rmsnorm.py").write_text(f"attempt = {number}\n", encoding="utf-8")
        says(exercise("rmsnorm", "--reset").stdout, f"rmsnorm.aside-{number}.py")
    exercise("rmsnorm", "--reset")  # nothing has been written yet, so there is nothing to keep
    assert not (tmp_path / "rmsnorm.aside-3.py").exists()
    kept = [(tmp_path / f"rmsnorm.aside-{number}.py").read_text(encoding="utf-8") for number in (1, 2)]
    assert kept == ["attempt = 1\n", "attempt = 2\n"]


def test_a_file_that_somebody_else_put_there_is_not_written_over(exercise, tmp_path):
    (tmp_path / "rmsnorm.py").write_text(LESSON, encoding="utf-8")
    says(exercise("rmsnorm").stdout, "all is well")
    assert (tmp_path / "rmsnorm.py").read_text(encoding="utf-8") == LESSON


def test_where_nothing_can_be_written_a_line_says_what_to_do(tmp_path):
    (tmp_path / "file").write_text("", encoding="utf-8")
    fails(NUMPY, "exercise", "rmsnorm", "--dir", tmp_path / "file", says=("cannot be written", "--dir"))
    run(NUMPY, "exercise", "--dir", tmp_path / "file")  # the list needs no place


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="nothing is read-only to this user")
def test_a_read_only_folder_of_attempts(exercise, tmp_path):
    exercise("rmsnorm")
    tmp_path.chmod(0o500)
    try:
        says(exercise("rmsnorm", code=1).stdout, "Nothing is written there yet")
        fails(NUMPY, "exercise", "mlp", "--dir", tmp_path, says=("cannot be written", "--dir"))
    finally:
        tmp_path.chmod(0o700)


def test_damaged_progress_is_no_progress(exercise, tmp_path):
    exercise("rmsnorm")
    for content in (b"{", b"[]", b'{"rmsnorm": 3}', b'{"rmsnorm": {"checks": "x", "hints": -1, "done": []}}', b"\xff"):
        (tmp_path / "progress.json").write_bytes(content)
        says(exercise().stdout, "0 of")
        hint = command(NUMPY, "exercise", "rmsnorm", "--hint", "--dir", tmp_path)
        done = subprocess.run(hint, env=environment(), capture_output=True, encoding="utf-8")
        says(done.stdout, "hint 1 of")
        assert done.stderr.count("\n") <= 1
        says(exercise("rmsnorm", code=1).stdout, "not yet")
    assert (tmp_path / "progress.aside-1.json").read_bytes() == b"{"


def test_what_is_judged_is_the_text_that_was_read(tmp_path):
    """Loading a framework takes seconds, in which the file may be saved anew."""
    file = tmp_path / "rmsnorm.py"
    file.write_text("1 / 0\n", encoding="utf-8")
    checker = Checker(offered(NUMPY), seed=1, time_limit=10)
    assert checker.check(catalogue.read(offered(NUMPY))["rmsnorm"], file, LESSON).right


# Asking for less or for more
def test_hints_come_one_by_one_and_begin_anew_after_a_reset(exercise):
    exercise("rmsnorm")
    count = len(catalogue.read(offered(NUMPY))["rmsnorm"].hints)
    for number in range(1, count + 1):
        says(exercise("rmsnorm", "--hint").stdout, f"hint {number} of {count}: ")
    says(exercise("rmsnorm", "--hint").stdout, "no more hints")
    exercise("rmsnorm", "--reset")
    says(exercise("rmsnorm", "--hint").stdout, "hint 1 of")


def test_the_solution_is_a_diff_to_the_lesson_s_own_body(exercise):
    exercise("rmsnorm")
    diff = exercise("rmsnorm", "--solution").stdout
    assert "-    raise NotImplementedError" in diff and "+    return y, Saved(y=y, scale=scale)" in diff
    body = source.find(LESSON, source.Hole("rmsnorm"))
    assert sum(line.startswith("+ ") for line in diff.splitlines()) == body.stop - body.start


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("rmsnrom",), "Did you mean rmsnorm?"),
        (("zzz",), "`main.py exercise` lists them"),
        (("mistake", 999), "mistakes are numbered from 1 to"),
        (("mistake", 0), "it must be"),
        (("rmsnorm", 3), "a number belongs to `mistake` only"),
        (("rmsnorm", "--hint", "--reset"), "not allowed with"),
        (("rmsnorm", "--check", "no/such/folder/x.py"), "x.py is not there"),
        (("mistake", "--hint"), "no mistake has been begun"),
        (("mistake", "--solution"), "no mistake has been begun"),
        (("rmsnorm", "--check", "."), "there is no Python file"),
        (("rmsnorm", "--check", ".", "--csv", "."), "is a folder; name a file"),
    ],
)
def test_wrong_input_is_one_line(tmp_path, arguments, words):
    fails(NUMPY, "exercise", *arguments, "--dir", tmp_path, says=(words,), cwd=tmp_path)


# For programs and teachers
def test_json_says_all_that_the_words_say(attempt, exercise, tmp_path):
    found = json.loads(attempt(RIGHT.replace("1e-5", "1e-6"), "--json", "--seed", 5))
    assert (found["result"], found["looks_like"], found["seed"]) == ("wrong", ["norm-eps"], 5)
    assert found["first_wrong"]["function"] == "rmsnorm" and found["stages"]["logits"] > 1e-9
    assert json.loads(attempt(RIGHT, "--json", code=0))["right"] is True
    listed = {entry["name"]: entry for entry in json.loads(exercise("--json").stdout)["exercises"]}
    assert listed["rmsnorm"]["checks"] == 2 and listed["rmsnorm"]["done"] and "done" not in listed["mlp"]


def test_a_folder_of_handed_in_files_becomes_a_table_and_csv(exercise, tmp_path):
    handed_in = tmp_path / "handed in"
    handed_in.mkdir()
    right = LESSON
    (handed_in / "ada.py").write_text(right, encoding="utf-8")
    (handed_in / "bob.py").write_text(right.replace("+ 1e-5", "+ 1e-6"), encoding="utf-8")
    (handed_in / "cyd.py").write_text("def", encoding="utf-8")
    (handed_in / "notes.txt").write_text("", encoding="utf-8")
    target = tmp_path / "table.csv"
    result = run(NUMPY, "exercise", "rmsnorm", "--check", handed_in, "--csv", target, code=1)
    rows = target.read_text(encoding="utf-8").splitlines()
    assert [row.split(",")[1:3] for row in rows[1:]] == [["right", ""], ["wrong", "norm-eps"], ["syntax", ""]]
    says(result.stdout, "ada.py right", "bob.py wrong norm-eps", "cyd.py syntax", "1 of 3 right")
    entries = json.loads(run(NUMPY, "exercise", "rmsnorm", "--check", handed_in, "--json", code=1).stdout)
    assert [entry["result"] for entry in entries] == ["right", "wrong", "syntax"]


def test_a_table_that_is_there_is_kept(exercise, tmp_path):
    target = tmp_path / "table.csv"
    target.write_text("older\n", encoding="utf-8")
    done = subprocess.run(
        command(NUMPY, "exercise", "rmsnorm", "--check", ROOT / NUMPY / "microgpt.py", "--csv", target),
        env=environment(),
        capture_output=True,
        encoding="utf-8",
    )
    assert done.returncode == 0 and "table.aside-1.csv" in done.stderr
    assert (tmp_path / "table.aside-1.csv").read_text(encoding="utf-8") == "older\n"


# While it works
def test_watch_checks_at_every_save_until_all_is_well(exercise, tmp_path):
    exercise("rmsnorm")
    path = tmp_path / "rmsnorm.py"
    handed_out = path.read_text(encoding="utf-8")
    with started(NUMPY, "exercise", "rmsnorm", "--watch", "--dir", tmp_path) as process:
        wait_for(process, "waiting until")
        path.write_text(handed_out.replace(HOLE, RIGHT.replace("1e-5", "1e-6")), encoding="utf-8")
        wait_for(process, "look like norm-eps")
        wait_for(process, "waiting until")
        path.write_text(handed_out.replace(HOLE, RIGHT), encoding="utf-8")
        result = end(process)
    assert result.code == 0 and "all is well" in result.stdout and result.stderr == ""


def test_ctrl_c_ends_watching_and_the_attempt_s_process(exercise, tmp_path):
    exercise("rmsnorm")
    path = tmp_path / "rmsnorm.py"
    loop = f"    open({str(tmp_path / 'running')!r}, 'a').write('x')\n    while True:\n        pass\n    return x\n"
    path.write_text(path.read_text(encoding="utf-8").replace(HOLE, loop), encoding="utf-8")
    with started(NUMPY, "exercise", "rmsnorm", "--dir", tmp_path, "--time-limit", 60) as process:
        while not (tmp_path / "running").exists():
            assert process.poll() is None
        result = interrupted(process)
    assert "interrupted" in result.stderr


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="whose child a process is, is read from /proc")
def test_ctrl_c_ends_the_process_that_waits_for_the_next_attempt(exercise, tmp_path):
    exercise("rmsnorm")
    with started(NUMPY, "exercise", "rmsnorm", "--dir", tmp_path, "--watch") as process:
        wait_for(process, "waiting until")
        while not (ready := children(process.pid)):
            assert process.poll() is None
        (tmp_path / "rmsnorm.py").write_text("def\n", encoding="utf-8")  # of which nothing is run
        wait_for(process, "Python cannot read this")
        wait_for(process, "waiting until")
        time.sleep(0.5)
        assert children(process.pid) == ready
        interrupted(process)
    assert len(ready) == 1
    until = time.monotonic() + 60  # it is told to end, and on a busy machine that takes its time
    while read_stat(Path("/proc", ready[0], "stat"))[0] not in ("", "Z"):  # gone, or ended and not yet taken note of
        assert time.monotonic() < until
        time.sleep(0.05)


def children(pid: int) -> list[str]:
    parents = {path.parent.name: read_stat(path)[1] for path in Path("/proc").glob("[0-9]*/stat")}
    return [child for child, parent in parents.items() if parent == str(pid)]


def read_stat(path: Path) -> list[str]:
    """Return state and parent of a process, and what follows them; of one that has just ended, nothing."""
    try:
        return path.read_text().rpartition(") ")[2].split()
    except OSError:
        return ["", ""]


def test_a_terminal_shows_what_is_waited_for(exercise, tmp_path):
    exercise("rmsnorm")
    path = tmp_path / "rmsnorm.py"
    path.write_text(path.read_text(encoding="utf-8").replace(HOLE, RIGHT), encoding="utf-8")
    shown = on_terminal(command(NUMPY, "exercise", "rmsnorm", "--dir", tmp_path))
    assert shown.code == 0 and "checking rmsnorm.py: gradients" in shown.stdout and "all is well" in shown.stdout
