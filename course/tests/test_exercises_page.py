"""The exercises' page gives the verdicts of `main.py exercise`: its two halves of Python, and the page in a browser."""

import html
import io
import json
import queue
import subprocess
import sys
import threading
import tomllib
import zipfile
from types import SimpleNamespace

import firefox
import pytest
from microgpt_course import bundle, exercises_page, lessons
from microgpt_course.lessons import ROOT
from microgpt_course.site import Site
from microgpt_harness.contract import Folder
from microgpt_harness.system.console import printable
from microgpt_harness.tools import mistakes
from microgpt_harness.tools.exercises import catalogue, command, source, subjects
from microgpt_harness.tools.exercises.attempts import Attempts
from microgpt_harness.tools.exercises.catalogue import EXTEND, FILL_IN, FIND, MARK
from microgpt_harness.tools.exercises.checking import Checker
from microgpt_harness.tools.exercises.running import PATIENCE

FOLDER = next(ROOT.glob("01_*"))
LESSON = subjects.lesson_text(FOLDER)
EXERCISES = catalogue.read(Folder(FOLDER, dtypes=()))
SEED = 1


# What the page hands out
def lines_changed(text, edits):
    """Return a text with edits made as exercises.js makes them."""
    lines = text.splitlines()
    for start, stop, new in reversed(edits):
        lines[start:stop] = new
    return "\n".join(lines) + "\n"


@pytest.fixture(scope="module")
def described():
    return {exercise["name"]: exercise for exercise in exercises_page.described(Folder(FOLDER, dtypes=()))}


@pytest.mark.parametrize("name", EXERCISES)
def test_a_learner_begins_with_the_same_text_as_on_the_command_line(name, described):
    folder, exercise = Folder(FOLDER, dtypes=()), EXERCISES[name]
    text = lines_changed(exercises_page.lesson_text(folder), described[name]["edits"])
    assert text == catalogue.handed_out(FOLDER, exercise, Attempts(folder).file(exercise))
    line = text.splitlines()[described[name]["line"] - 1].strip()
    assert {FILL_IN: "# Your turn. ", EXTEND: "# %% Extension", FIND: '"""'}[exercise.kind] in line


def test_the_archive_holds_the_files_of_the_repository_as_they_are():
    archive = zipfile.ZipFile(io.BytesIO(exercises_page.archive(ROOT, FOLDER)))
    names = [name.removeprefix("course/") for name in archive.namelist() if name.startswith("course/")]
    assert all(archive.read(f"course/{name}") == (ROOT / name).read_bytes() for name in names)
    checkers = (ROOT / "harness/microgpt_harness/tools/exercises").glob("*.*")
    assert {path.relative_to(ROOT).as_posix() for path in checkers} <= set(names)
    assert f"{FOLDER.name}/microgpt.py" in names


def test_the_same_files_make_the_same_archive():
    assert exercises_page.archive(ROOT, FOLDER) == exercises_page.archive(ROOT, FOLDER)


def test_without_node_the_page_lists_the_tasks_and_says_what_is_left_out(monkeypatch):
    monkeypatch.setattr(bundle, "build", lambda site: "Node.js is missing")
    made = SimpleNamespace(root=ROOT, left_out=[], lesson=lambda number: lessons.read(FOLDER))
    site = Site()
    site.jinja.globals["number_of_folders"] = 1
    exercises_page.build(site, made)
    page = site.files["exercises.html"].decode()
    assert made.left_out == ["Node.js is missing"] and made.left_out[0] in page
    assert all(html.escape(exercise.task, quote=False) in page.replace("&#39;", "'") for exercise in to_be_told())
    assert "main.py exercise tokenizer" in page and "exercise-check" not in page
    assert not any(path.endswith(".js") for path in site.files)


def to_be_told():
    """Return the exercises whose tasks differ."""
    return [exercise for exercise in EXERCISES.values() if exercise.kind != FIND]


# The page's two Pythons, each a process here: a bare one, which has nothing but the archive's files
PYTHON = """
import json, os, sys
sys.path.insert(0, sys.argv[1] + "/course_page")
answers = os.fdopen(os.dup(1), "w", buffering=1)
"""
CHECKER_HALF = f"""{PYTHON}
import checker_half
checker_half.open_folder(sys.argv[2])
for line in sys.stdin:
    method, *arguments = json.loads(line)
    print(json.dumps(getattr(checker_half.checking, method)(*arguments)), file=answers)
"""
ATTEMPT_HALF = f"""{PYTHON}
import attempt_half
sys.exit(attempt_half.run(sys.stdin.readline(), lambda line: print(line.strip(), file=answers)))
"""


def start(code, root, folder):
    return subprocess.Popen(
        [sys.executable, "-I", "-S", "-B", "-X", "utf8", "-c", code, str(root), str(folder)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        encoding="utf-8",
    )


def read_into(lines, stream):
    for line in stream:
        lines.put(line)
    lines.put(None)  # the end


class Page:
    """Checks attempts in the order of calls in which exercises/checking.js does."""

    def __init__(self, root):
        archive = zipfile.ZipFile(io.BytesIO(exercises_page.archive(ROOT, FOLDER)))
        archive.extractall(root)
        self.root, self.folder = root, root / "course" / FOLDER.name
        self.checker = start(CHECKER_HALF, root, self.folder)

    def call(self, method, *arguments):
        print(json.dumps([method, *arguments]), file=self.checker.stdin, flush=True)
        return json.loads(self.checker.stdout.readline())

    def check(self, name, text, time_limit):
        begun = self.call("begin", name, text, SEED, time_limit)
        if "verdict" in begun:
            return begun["verdict"]
        attempt = start(ATTEMPT_HALF, self.root, self.folder)
        print(begun["job"], file=attempt.stdin, flush=True)
        lines = queue.SimpleQueue()
        threading.Thread(target=read_into, args=(lines, attempt.stdout), daemon=True).start()
        self.call("take", [lines.get()])  # from here on time counts
        for stage in begun["compute"]:
            self.call("take", [lines.get() for _ in range(lines.qsize() - 1)])  # the last may be the end
            if self.call("compute", stage):
                break
        too_long = self.take_the_rest(lines, time_limit)
        attempt.kill()
        attempt.wait()
        attempt.stdin.close()
        return self.call("end", attempt.returncode, too_long)

    def take_the_rest(self, lines, time_limit):
        """Return how many seconds an attempt that does not end was given, or 0."""
        try:
            while line := lines.get(timeout=PATIENCE * time_limit):  # others may be using the processor, too
                self.call("take", [line])
        except queue.Empty:
            return time_limit
        return 0

    def close(self):
        self.checker.stdin.close()
        self.checker.stdout.close()
        self.checker.wait()


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    made = Page(tmp_path_factory.mktemp("page"))
    yield made
    made.close()


@pytest.fixture(scope="module")
def same(page):
    """Return a function that checks an attempt in both ways, compares the verdicts, and returns one."""
    folder = Folder(page.folder, dtypes=())
    kept, exercises, checker = Attempts(folder), catalogue.read(folder), Checker(folder, SEED, 10.0)

    def check(name, text, time_limit=10.0, but=()):
        exercise = exercises[name]
        file = kept.file(exercise)
        file.parent.mkdir(exist_ok=True)
        file.write_text(text, encoding="utf-8")
        checker.time_limit = time_limit
        verdict = checker.check(exercise, file, text)
        wanted = command.as_json(folder, exercise, file, verdict) | {
            "looks_like": [list(pair) for pair in verdict.looks_like],
            "printed": printable(verdict.printed.rstrip(), keep="\n\t"),
            "afterwards": command.afterwards(folder, exercise, kept) if verdict.right else [],
        }
        got, wanted = page.check(name, text, time_limit), json.loads(json.dumps(wanted))
        for field in ("seconds", *but):
            del got[field], wanted[field]
        assert got == wanted
        return got

    return check


ENDLESS = "while True:\n    pass\nreturn x"


def filled(name, *bodies):
    return source.fill(LESSON, EXERCISES[name].holes, list(bodies))


def first_answers(kind):
    """Return the first of the known answers to each exercise, `right` or `wrong`, by its name."""
    content = tomllib.loads((ROOT / "tests/answers" / f"{FOLDER.name}.toml").read_text(encoding="utf-8"))
    return {answer["exercise"]: answer["bodies"] for answer in reversed(content[kind])}


TO_FILL_IN = [name for name, exercise in EXERCISES.items() if exercise.kind == FILL_IN]


@pytest.mark.parametrize("name", TO_FILL_IN)
def test_wrong_answers_get_the_same_verdict(name, same):
    assert not same(name, filled(name, *first_answers("wrong")[name]))["right"]


@pytest.mark.parametrize("name", TO_FILL_IN[::4])  # each computes all that there is to compute, twice
def test_right_answers_get_the_same_verdict(name, same):
    assert same(name, filled(name, *first_answers("right")[name]))["right"]


def test_a_known_mistake_is_named_in_the_same_words(same):
    mistake = next(mistake for mistake in mistakes.read(FOLDER) if mistake.name == "no-scale")
    verdict = same("attention", mistakes.apply(LESSON, mistake.edits))
    assert verdict["looks_like"] == [["no-scale", mistake.says]] and verdict["stages"]["logits"] > 0


LINEAR = {  # by the kind of the verdict: what somebody may write into `linear`
    "raised": "return [dot(row, x) for row in no_such_name]",
    "no-return": "[dot(row, x) for row in w]",
    "empty": "pass",
    "syntax": "return [dot(row, x) for row in w",
    "not-begun": MARK,
    "shape": "y = [dot(row, x) for row in w]\nreturn y[1:] if len(w) == 11 else y",
    "nan": "return [dot(row, x) * math.nan for row in w]",
    "died": "import os; os._exit(7)\nreturn x",
    "right": "print('hello \\x1b[2J')\nreturn [dot(row, x) for row in w]",
}


@pytest.mark.parametrize("kind", LINEAR)
def test_whatever_goes_wrong_is_said_in_the_same_words(kind, same):
    # what os._exit leaves in a process's buffer is lost there
    assert same("linear", filled("linear", LINEAR[kind]))["result"] == kind


def test_a_file_without_anything_in_it(same):
    assert same("linear", " \n")["result"] == "empty"


def test_a_function_with_other_parameters(same):
    assert same("linear", LESSON.replace("def linear(x, w):", "def linear(w, x):"))["result"] == "signature"


def test_an_endless_loop_is_ended_after_the_limit(same):
    verdict = same("linear", filled("linear", ENDLESS), time_limit=1)
    assert verdict["result"] == "time" and "After 1 seconds" in verdict["says"][0]


def test_an_attempt_that_asks_something_gets_no_answer(same):
    verdict = same("linear", filled("linear", "input()\nreturn x"))
    assert "EOFError" in verdict["says"][0]


def test_an_exception_that_ends_the_process(same):
    body = "class Stop(BaseException):\n    pass\nraise Stop\nreturn x"
    verdict = same("linear", filled("linear", body), but=["printed"])  # the way to the exception is another
    assert verdict["says"] == ["Its process ended by itself, with exit code 1."]


def test_only_the_beginning_is_kept_of_what_is_printed(same):
    body = "print('é' * 5000)\nreturn [dot(row, x) for row in w]"
    assert same("linear", filled("linear", body))["printed"].endswith("é�…")


def test_a_planted_mistake_before_and_after_it_is_found(same, page):
    exercise = EXERCISES["mistake-2"]
    before = same(exercise.name, mistakes.apply(LESSON, exercise.mistake.edits))
    assert not before["right"] and not before["looks_like"]
    assert exercise.mistake.says in " ".join(same(exercise.name, LESSON)["afterwards"])


def extension(name, body):
    folder = Folder(FOLDER, dtypes=())
    return catalogue.handed_out(FOLDER, EXERCISES[name], Attempts(folder).file(EXERCISES[name])).replace(MARK, body)


def test_an_extension(same):
    solution = (ROOT / "tests/solutions/every_folder/warm-up.py").read_text(encoding="utf-8")
    right = LESSON.replace('\n\nif __name__ == "__main__":', f'\n\n{solution}\n\nif __name__ == "__main__":')
    assert same("warm-up", right)["right"]
    assert same("warm-up", extension("warm-up", "return 1.0"))["result"] in ("own", "raised")
    assert same("warm-up", extension("warm-up", "return no_such_name"))["result"] == "raised"


def test_the_solution_is_shown_as_the_command_line_shows_it(page, capsys, monkeypatch):
    monkeypatch.chdir(page.folder)
    folder = Folder(page.folder, dtypes=())
    exercise, kept = catalogue.read(folder)["softmax"], Attempts(folder)
    text = catalogue.handed_out(page.folder, exercise, kept.file(exercise))
    shown = page.call("solution", "softmax", text)
    command.show_solution(folder, exercise, kept)
    assert shown == capsys.readouterr().out and "+    inverse_total" in shown


# The page, in a browser
CHECKING = 240  # seconds: the most that a check may take on a busy machine, Python's start included
IDLE = "document.getElementById('exercise-check').getAttribute('aria-disabled') === 'false'"
CHECK, STOP = "Control+Enter", "Control+Shift+Enter"


@pytest.fixture
def opened(visit, address):
    """Return a function that opens an exercise. The site is opened as a file, and from a web server."""

    def open_exercise(name, **options):
        page = visit(f"{address}exercises.html#{name}", **options)
        page.wait_for_selector(".cm-content")
        return page

    return open_exercise


@pytest.fixture
def opened_as_file(visit, site):
    def open_exercise(name, **options):
        page = visit(f"{site.as_uri()}/exercises.html#{name}", **options)
        page.wait_for_selector(".cm-content")
        return page

    return open_exercise


def put(page, text):
    page.focus(".cm-content")
    page.keyboard.press("Control+a")
    page.keyboard.insert_text(text)


def check(page, text):
    """Check a text at the seed of these tests. Return the verdict, as a reader sees it."""
    put(page, text)
    page.eval_on_selector("#exercise-seed", f"field => field.value = {SEED}")
    page.keyboard.press(CHECK)
    ended(page)
    return page.inner_text("#exercise-verdict")


def ended(page):
    page.wait_for_function(IDLE, timeout=1000 * CHECKING)


def said_on_the_command_line(name, text, tmp_path, capsys, time_limit=10.0):
    """Return the sentences of `main.py exercise`, but those that speak of commands, seconds and the attempt's file."""
    folder = Folder(FOLDER, dtypes=())
    kept, file = Attempts(folder, tmp_path), tmp_path / f"{name}.py"
    file.write_text(text, encoding="utf-8")
    verdict = Checker(folder, SEED, time_limit).check(EXERCISES[name], file, text)
    words = [sentence.replace("`", "") for sentence in verdict.says]
    words += [f"These numbers look like {mistake}: {says}" for mistake, says in verdict.looks_like]
    command.show(folder, EXERCISES[name], kept, verdict)
    shown = capsys.readouterr().out
    stages = [line.split("  ", 2)[1:] for line in shown.splitlines() if line.endswith("as in the lesson")]
    words += [f"{stage}: {result.strip()}" for stage, result in stages]
    return [shown.splitlines()[0].partition(" (")[0], *(words if not verdict.right else [])]


ATTEMPTS = {
    "right": ("return [dot(row, x) for row in w]", "all is well"),
    "wrong": ("return [dot(row, x) + dot(row, x) for row in w]", "not as in the lesson"),
    "crash": ("return [dot(row, x) for row in no_such_name]", "NameError"),
    "exit": (LINEAR["died"], "exit code 7"),
    "syntax": (LINEAR["syntax"], "Python cannot read this"),
}


def test_the_page_says_what_the_command_line_says(opened, tmp_path, capsys):
    page = opened("linear")
    for body, expected in ATTEMPTS.values():
        text = filled("linear", body)
        shown = check(page, text)
        assert expected in shown
        for sentence in said_on_the_command_line("linear", text, tmp_path, capsys):
            if "Python cannot read this" not in sentence:  # the version of Python that says it is another
                assert sentence in shown


def test_the_page_names_a_known_mistake_and_the_place(opened_as_file, tmp_path, capsys):
    page = opened_as_file("attention")
    mistake = next(mistake for mistake in mistakes.read(FOLDER) if mistake.name == "no-scale")
    text = mistakes.apply(LESSON, mistake.edits)
    shown = check(page, text)
    assert all(sentence in shown for sentence in said_on_the_command_line("attention", text, tmp_path, capsys))
    assert f"These numbers look like no-scale: {mistake.says}" in shown
    page.get_by_role("button", name="Go to attention").click()
    assert page.inner_text(".cm-activeLine").startswith("def attention")


def test_an_endless_loop_is_ended_by_the_limit_or_by_stop_and_the_next_check_works(opened):
    page = opened("linear")
    page.click("text=How it is checked")
    page.fill("#exercise-limit", "3")
    endless = filled("linear", f"print('begun')\n{ENDLESS}")
    shown = check(page, endless)
    assert "After 3 seconds it had not come to an end, and was ended: does a loop never end?" in shown
    assert "begun" in shown
    page.fill("#exercise-limit", "1000")
    page.focus(".cm-content")
    page.keyboard.press(CHECK)
    page.wait_for_function(
        "/still computes/.test(document.getElementById('exercise-state').textContent)", timeout=60_000
    )
    page.keyboard.press(STOP)
    page.wait_for_function("document.getElementById('exercise-state').textContent === 'Stopped.'")
    assert "all is well" in check(page, filled("linear", ATTEMPTS["right"][0]))


def test_stop_while_python_starts_and_the_next_check_works(opened_as_file):
    page = opened_as_file("linear")
    text = filled("linear", "return x[")  # Python need not compute to say what is wrong
    put(page, text)
    page.keyboard.press(CHECK)
    page.wait_for_function("document.getElementById('exercise-state').textContent === 'Starting Python …'")
    page.keyboard.press(STOP)
    page.wait_for_function("document.getElementById('exercise-state').textContent === 'Stopped.'")
    assert "Python cannot read this" in check(page, text)


def test_what_a_reader_does_is_there_at_the_next_visit(opened):
    page = opened("linear")
    wrong = filled("linear", "return x")
    assert "not yet" in check(page, wrong)
    page.click("#exercise-hint")
    hint = page.inner_text("#exercise-hints li")
    page.reload()
    page.wait_for_selector(".cm-content")
    assert "not yet" in page.inner_text("#exercise-verdict")
    assert page.inner_text("#exercise-hints li") == hint == EXERCISES["linear"].hints[0]
    assert check(page, filled("linear", ATTEMPTS["right"][0])).startswith("linear: all is well")
    page.click("#exercise-reset")
    assert MARK in page.inner_text(".cm-content")
    assert page.locator("#exercise-hints li").count() == 0
    page.click("text=Bring back")
    assert MARK not in page.inner_text(".cm-content")
    page.click("text=All exercises")
    assert "✓ done" in page.inner_text("[data-exercise=linear]")
    assert page.inner_text("#exercise-count").startswith("1 of ")


def test_a_mistake_is_looked_for_found_and_named(opened_as_file):
    page = opened_as_file("mistake-2")
    mistake = EXERCISES["mistake-2"].mistake
    page.click("#exercise-run")
    page.wait_for_selector("#exercise-lines li", timeout=1000 * CHECKING)
    page.click("#exercise-stop")
    page.wait_for_function("/^Stopped/.test(document.getElementById('exercise-output-state').textContent)")
    shown = check(page, LESSON)
    assert mistake.says in shown and mistake.unnoticed in shown


def test_hints_and_solution_as_on_the_command_line(opened_as_file):
    page = opened_as_file("softmax")
    hints = EXERCISES["softmax"].hints
    page.focus("#exercise-hint")
    for _ in [*hints, "one more"]:
        page.keyboard.press("Enter")
    assert page.locator("#exercise-hints li").all_inner_texts() == [hint.replace("`", "") for hint in hints]
    page.click("#exercise-solution")
    page.wait_for_selector("#exercise-diff span", timeout=1000 * CHECKING)
    assert "-    raise NotImplementedError" in page.inner_text("#exercise-diff")
    page.goto(page.url.partition("#")[0] + "#warm-up")
    page.wait_for_function("document.getElementById('exercise-title').textContent === 'warm-up'")
    page.click("#exercise-solution")
    assert "many right answers" in page.inner_text("#exercise-help-state")


def test_an_exercise_is_done_with_the_keyboard_alone(opened_as_file):
    page = opened_as_file("linear")
    while not page.evaluate("document.activeElement.classList.contains('cm-content')"):
        page.keyboard.press("Tab")
    while MARK not in page.inner_text(".cm-activeLine"):  # the cursor stands where the hole begins
        page.keyboard.press("ArrowDown")
    page.keyboard.press("Home")
    page.keyboard.press("Shift+End")
    page.keyboard.type("return [dot(row, x) for row in w]")
    page.keyboard.press(CHECK)
    ended(page)
    assert "all is well" in page.inner_text("#exercise-verdict")
    page.keyboard.press("Escape")
    page.keyboard.press("Tab")
    while page.evaluate("document.activeElement.id") != "exercise-hint":
        page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    assert page.locator("#exercise-hints li").count() == 1


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_an_open_exercise_has_no_barrier_and_is_not_wider_than_a_phone(visit, served, scheme):
    page = visit(f"{served}exercises.html#attention", width=390, scheme=scheme)
    page.wait_for_selector(".cm-content")
    page.click("#exercise-hint")
    shown = check(page, filled("attention", LINEAR["syntax"]))
    assert "Python cannot read this" in shown
    top = "document.querySelector('#exercise-verdict-title').getBoundingClientRect().top"
    page.wait_for_function(f"{top} >= 0 && {top} < innerHeight / 2")  # the verdict stands below the text
    page.click("text=How it is checked")
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    page.add_script_tag(path=bundle.install(dev=True) / "node_modules" / "axe-core" / "axe.min.js")
    found = page.evaluate("() => axe.run(document)")["violations"]
    assert [(broken["id"], broken["nodes"][0]["html"]) for broken in found] == []


@pytest.fixture
def firefox_page():
    with firefox.started() as started:
        yield started


def test_firefox_gives_the_same_verdicts(firefox_page, site, tmp_path, capsys):
    page = firefox_page
    page.open(f"{site.as_uri()}/exercises.html")
    for body in (LINEAR["shape"], LINEAR["died"], ENDLESS, ATTEMPTS["right"][0]):
        text = filled("linear", body)
        kept = json.dumps(json.dumps({"text": text}))
        page.evaluate(f"localStorage.setItem('microgpt.exercises.work.linear', {kept}); location.hash = 'linear'")
        page.wait_for("document.querySelector('.cm-content')")
        page.evaluate(f"document.getElementById('exercise-seed').value = {SEED}")
        page.press(CHECK)
        page.wait_for("document.getElementById('exercise-state').textContent.startsWith('Check')")
        page.wait_for(IDLE, CHECKING)
        shown = page.text("#exercise-verdict")
        for sentence in said_on_the_command_line("linear", text, tmp_path, capsys):
            assert sentence in shown
        page.evaluate("location.hash = ''")
        page.wait_for("!document.querySelector('.cm-content')")
    assert page.problems() == []


def test_without_scripts_the_list_and_the_command_are_there(visit, site):
    page = visit(f"{site.as_uri()}/exercises.html#softmax", scripts=False)
    text = page.inner_text("main")
    assert all(exercise.task in text for exercise in to_be_told())
    assert "mistake 38" in text and f"main.py exercise {next(iter(EXERCISES))}" in text
