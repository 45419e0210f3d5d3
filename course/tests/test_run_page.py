"""The page that runs a lesson: the same text, the same lines, in two browsers; and whatever a reader may do to them."""

import hashlib
import importlib.util
import json
import math
import subprocess
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace

import firefox
import pytest
from microgpt_course import bundle, run_page
from microgpt_course.lessons import ROOT, read_all
from microgpt_course.material import EXPLICIT
from microgpt_course.site import WEB, Site

LESSON = next(lesson for lesson in read_all(ROOT) if lesson.number == EXPLICIT)
TRAINING = 400  # seconds: the most that a whole run in a page may take on a busy machine
STARTING = 90  # seconds: for Python to be there
ENDED = "/^(Finished|It ended|Stopped)/.test(document.getElementById('run-state').textContent)"
RUNS = "/runs your text/.test(document.getElementById('run-state').textContent)"
STOP = "Control+Shift+Enter"


def data(site: Path, name: str) -> dict:
    """Return what Course.load(name) gives a page."""
    text = (site / "data" / f"{name}.js").read_text(encoding="utf-8")
    return json.loads(text.removeprefix(f'Course.provide("{name}",').rstrip().removesuffix(");"))


@pytest.fixture
def recorded(site):
    return data(site, "run/lesson")


@pytest.fixture
def page(visit, address):
    opened = visit(f"{address}run.html")
    opened.wait_for_selector(".cm-content")
    return opened


@pytest.fixture
def page_of_file(visit, site):
    opened = visit(f"{site.as_uri()}/run.html")
    opened.wait_for_selector(".cm-content")
    return opened


def put(page, text):
    page.focus(".cm-content")
    page.keyboard.press("Control+a")
    page.keyboard.insert_text(text)


def wait(page, condition, seconds=STARTING):
    page.wait_for_function(condition, timeout=1000 * seconds)


def run_text(page, text, seconds=STARTING):
    put(page, text)
    page.keyboard.press("Control+Enter")
    wait(page, ENDED, seconds)


def lines(page):
    """Return the printed lines that the page shows, without the recorded ones below them."""
    printed = "all => all.map(one => (one.querySelector('.printed') ?? one).textContent)"
    return page.eval_on_selector_all("#run-lines li", printed)


def in_view(selector):
    """Return whether an element begins in the window, as a condition in the page."""
    top = f"document.querySelector('{selector}').getBoundingClientRect().top"
    return f"{top} >= 0 && {top} < innerHeight / 2"


def shorter(steps):
    changed = LESSON.source.replace("num_steps: int = 500", f"num_steps: int = {steps}")
    assert changed != LESSON.source
    return changed


def editor_text(page):
    page.focus(".cm-content")
    page.keyboard.press("Control+a")
    return page.evaluate("getSelection().toString()")


# The same text and the same lines
def test_the_text_is_the_repositorys(recorded):
    content = LESSON.path.read_bytes()
    assert recorded["text"].encode() == content
    assert recorded["sha256"] == hashlib.sha256(content).hexdigest()
    assert recorded["path"] == f"/course/{LESSON.folder}/microgpt.py"


def test_the_recorded_lines_are_those_that_cpython_prints(recorded):
    done = subprocess.run([sys.executable, LESSON.path], capture_output=True, text=True, check=True)
    assert recorded["printed"] == done.stdout.splitlines()


def test_all_lines_are_those_recorded(page, recorded):
    page.click("#run-start")
    wait(page, ENDED, TRAINING)
    assert page.inner_text("#run-summary") == f"All {len(recorded['printed'])} lines are those recorded."
    assert lines(page) == recorded["printed"]
    assert page.locator("#run-lines li.same").count() == len(recorded["printed"])
    recorded_curve, own_curve = page.eval_on_selector_all(
        "#run-curve polyline", "all => all.map(one => one.getAttribute('points'))"
    )
    assert own_curve == recorded_curve


@pytest.fixture(scope="module")
def firefox_page():
    with firefox.started() as started:
        yield started


def test_all_lines_are_those_recorded_in_firefox(firefox_page, address, recorded):
    firefox_page.open(f"{address}run.html")
    firefox_page.wait_for("document.querySelector('.cm-content')")
    firefox_page.click("#run-start")
    firefox_page.wait_for(ENDED, TRAINING)
    assert firefox_page.text("#run-summary") == f"All {len(recorded['printed'])} lines are those recorded."
    assert firefox_page.text("#run-lines").splitlines() == recorded["printed"]
    assert firefox_page.problems() == []


def test_firefox_stops_an_endless_loop_and_runs_again(firefox_page, site):
    firefox_page.open(f"{site.as_uri()}/run.html")
    firefox_page.wait_for("document.querySelector('.cm-content')")
    firefox_page.focus("#run-start")
    firefox_page.press("Tab")
    firefox_page.focus(".cm-content")
    firefox_page.press("Control+a")
    firefox_page.type("while True: print(7)")
    firefox_page.press("Control+Enter")
    firefox_page.wait_for("document.getElementById('run-lines').textContent.startsWith('7')")
    firefox_page.press(STOP)
    firefox_page.wait_for(ENDED)
    firefox_page.reload()
    firefox_page.wait_for("document.querySelector('.cm-content')?.textContent === 'while True: print(7)'")
    firefox_page.focus(".cm-content")
    firefox_page.press("Control+a")
    firefox_page.type("print(8)")
    firefox_page.press("Control+Enter")
    firefox_page.wait_for(ENDED)
    assert firefox_page.text("#run-lines").startswith("8")
    assert firefox_page.problems() == []


def test_python_is_loaded_on_demand_only(visit, site):
    page = visit(f"{site.as_uri()}/run.html")
    page.wait_for_selector(".cm-content")
    assert not page.eval_on_selector_all("script", "all => all.some(one => one.src.includes('data/python/'))")
    page.click("#run-start")
    wait(page, RUNS)
    loaded = page.eval_on_selector_all(
        "script", "all => all.map(one => one.src).filter(src => src.includes('data/python/'))"
    )
    index = data(site, "python/index")
    assert len(loaded) == 1 + sum(len(file["parts"]) for file in index.values())


# What a reader does
def test_an_edit_changes_what_is_computed_and_is_kept(page):
    run_text(page, shorter(3))
    assert lines(page)[:3] != [] and len(lines(page)) == 23
    assert "with your changes" in page.inner_text("#run-text-state")
    summary = page.inner_text("#run-summary")
    assert "They differ from line 1 on: that is expected, because the text is changed." in summary
    page.reload()
    page.wait_for_selector(".cm-content")
    assert "with your changes" in page.inner_text("#run-text-state")
    page.click("#run-reset")
    assert page.inner_text("#run-text-state").startswith("Unchanged: ")
    page.reload()
    page.wait_for_selector(".cm-content")
    assert page.inner_text("#run-text-state").startswith("Unchanged: ")


def test_a_line_is_compared_with_the_recorded_one_at_its_place(page_of_file, recorded):
    first, second, third = recorded["printed"][:3]
    other = f"{second.rsplit(' ', 1)[0]} 9.9999"
    run_text(page_of_file, f"print({first!r})\nprint({other!r})\nprint({third!r})\n")
    assert lines(page_of_file) == [first, other, third]
    marks = page_of_file.eval_on_selector_all("#run-lines li", "all => all.map(one => one.className)")
    assert marks == ["same", "other", "same"]
    assert page_of_file.inner_text("#run-lines .recorded") == second
    printed, below = (page_of_file.locator(f"#run-lines .{name}").bounding_box() for name in ("printed", "recorded"))
    assert printed["y"] + printed["height"] <= below["y"] + 1  # neither lies on the other
    assert abs(printed["x"] - below["x"]) < 1
    assert page_of_file.eval_on_selector_all("#run-lines b", "all => all.map(one => one.textContent)") == ["9.9999"]
    total = len(recorded["printed"])
    assert page_of_file.inner_text("#run-summary").startswith(
        f"2 of {total} lines are those recorded. They differ from line 2 on"
    )


def test_with_the_keyboard_alone_an_endless_loop_is_stopped_and_another_text_run(page_of_file):
    page = page_of_file
    for _ in range(40):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.classList.contains('cm-content')"):
            break
    page.keyboard.press("Control+a")
    page.keyboard.insert_text("print('begun')\nwhile True:\n    pass\n")
    page.keyboard.press("Control+Enter")
    wait(page, "document.getElementById('run-lines').textContent.startsWith('begun')")
    page.keyboard.press(STOP)
    wait(page, ENDED, 5)
    assert page.inner_text("#run-state") == "Stopped after 1 line. Your text is kept."
    assert editor_text(page).startswith("print('begun')")
    run_text(page, "print('again')\n")
    assert lines(page) == ["again"]
    page.keyboard.press("Control+Shift+Backspace")
    assert page.inner_text("#run-text-state").startswith("Unchanged: ")


def test_tab_indents_and_escape_then_tab_leaves_the_editor(page_of_file):
    put(page_of_file, "x")
    page_of_file.keyboard.press("Home")
    page_of_file.keyboard.press("Tab")
    assert editor_text(page_of_file) == "    x"
    page_of_file.keyboard.press("Escape")
    page_of_file.keyboard.press("Tab")
    assert not page_of_file.evaluate("document.activeElement.closest('.cm-editor')")
    assert "press Esc and then Tab" in page_of_file.inner_text("#run-editor-help")


def test_stop_while_python_is_loaded(page_of_file):
    put(page_of_file, "print(1)")
    page_of_file.click("#run-start")
    page_of_file.click("#run-stop")
    wait(page_of_file, ENDED, 5)
    assert page_of_file.inner_text("#run-state") == "Stopped after 0 lines. Your text is kept."
    run_text(page_of_file, "print(2)")
    assert lines(page_of_file) == ["2"]


def test_a_flood_of_lines_does_not_keep_the_page_from_stopping(page_of_file):
    put(page_of_file, "i = 0\nwhile True:\n    print(i)\n    i += 1\n")
    page_of_file.keyboard.press("Control+Enter")
    wait(page_of_file, "document.querySelector('#run-lines .cut')")
    page_of_file.click("#run-stop", timeout=30_000)
    wait(page_of_file, ENDED, 30)
    assert 1000 <= page_of_file.locator("#run-lines li").count() <= 1001


@pytest.mark.parametrize(
    ("text", "line", "said"),
    [
        ("def f():\n    return 1 / 0\n\nf()\n", 2, "ZeroDivisionError: division by zero"),
        ("x = (1\n", 1, "SyntaxError: '(' was never closed"),
        ("import random\n\nrandom.choice([])\n", 3, "IndexError"),
        ("print(input('name? '))\n", 1, "EOFError"),
        ("import numpy\n", 1, "ModuleNotFoundError: No module named 'numpy'"),
    ],
)
def test_an_error_is_shown_with_its_line(page_of_file, text, line, said):
    run_text(page_of_file, text)
    traceback = page_of_file.inner_text("#run-traceback")
    assert traceback.strip().splitlines()[-1].startswith(said)
    assert "course_page" not in traceback
    assert page_of_file.inner_text("#run-state").startswith("It ended with an error after")
    page_of_file.click("#run-go-to")
    marked = page_of_file.inner_text(".cm-wrong")
    assert marked.strip() == text.splitlines()[line - 1].strip()
    assert page_of_file.inner_text(".cm-activeLine") == marked


@pytest.mark.parametrize("text", ["import os\nos._exit(3)\n", "import sys\nsys.exit(3)\n"])
def test_a_program_that_ends_python_is_followed_by_the_next(page_of_file, text):
    run_text(page_of_file, text)
    assert page_of_file.inner_text("#run-state") == "It ended with exit code 3 after 0 lines. Your text is kept."
    run_text(page_of_file, "print('next')\n")
    assert lines(page_of_file) == ["next"]


# Own names
def test_own_names_take_the_place_of_the_files(page):
    run_text(page, "print(len(open('../data/names.txt').read().split()))")
    assert lines(page) == [str(len((ROOT / "data" / "names.txt").read_text(encoding="utf-8").split()))]
    page.click("#run-names summary")
    page.fill("#names-text", "Ülzen\nBonn\n")
    assert page.inner_text("#names-state") == "2 names of 7 different characters. The next run trains on them."
    page.reload()
    page.wait_for_selector(".cm-content")
    assert page.input_value("#names-text") == "Ülzen\nBonn\n"
    run_text(page, "from pathlib import Path\nprint(Path('../data/names.txt').read_text(encoding='utf-8').split())")
    assert lines(page) == ["['Ülzen', 'Bonn']"]
    assert "because the text is changed and it trains on your names" in page.inner_text("#run-summary")
    page.uncheck("#names-use")
    assert page.inner_text("#names-state").endswith("They are not used.")


def test_the_lesson_trains_on_own_names(page_of_file):
    page_of_file.click("#run-names summary")
    page_of_file.fill("#names-text", "xyz\nzyx\n")
    run_text(page_of_file, shorter(2))
    samples = [line.split(": ")[1] for line in lines(page_of_file) if line.startswith("sample")]
    assert len(samples) == 20 and set("".join(samples)) <= set("xyz")
    assert f"among 4 tokens has a loss of ln 4 = {math.log(4):.2f}" in page_of_file.inner_text("#run-curve")


def test_names_that_cannot_be_used(page_of_file, tmp_path):
    page_of_file.click("#run-names summary")
    page_of_file.check("#names-use")
    page_of_file.click("#run-start")
    assert page_of_file.inner_text("#run-state").startswith("There are no names to train on")
    latin = tmp_path / "latin.txt"
    latin.write_bytes("Ülzen\n".encode("latin-1"))
    page_of_file.set_input_files("#names-file", latin)
    page_of_file.wait_for_selector("#names-state.invalid")
    assert page_of_file.inner_text("#names-state").startswith("latin.txt is not a text in UTF-8.")
    large = tmp_path / "large.txt"
    large.write_bytes(b"a\n" * 600_000)
    page_of_file.set_input_files("#names-file", large)
    wait(page_of_file, "document.getElementById('names-state').textContent.startsWith('large.txt is larger than')", 5)
    good = tmp_path / "good.txt"
    good.write_text("Ülzen\n", encoding="utf-8")
    page_of_file.set_input_files("#names-file", good)
    wait(page_of_file, "document.getElementById('names-text').value === 'Ülzen\\n'", 5)


# Questions to the trained model
def test_a_prompt_to_the_trained_model(page_of_file):
    page = page_of_file
    assert page.is_disabled("#prompt-text")
    run_text(page, shorter(5))
    wait(page, "!document.getElementById('prompt-go').disabled")
    page.fill("#prompt-text", "em")
    wait(page, "document.querySelector('#prompt-next .chart-title')?.textContent.endsWith('BOS e m')")
    assert page.locator("#prompt-heads figure").count() == 4
    page.click("#prompt-go")
    wait(page, "document.getElementById('prompt-drawn').textContent")
    drawn = page.inner_text("#prompt-drawn").split(" · ")
    assert len(drawn) == 5 and all(name.startswith("em") for name in drawn)
    page.fill("#prompt-text", "É")
    wait(page, "document.getElementById('prompt-state').textContent.startsWith(\"The model has never seen 'É'.\")")
    page.fill("#prompt-text", "emmaemma")
    wait(page, "document.getElementById('prompt-state').textContent.startsWith('The model sees 8 tokens at most')")


def test_a_program_without_a_model_cannot_be_asked(page_of_file):
    run_text(page_of_file, "print(1)\n")
    wait(
        page_of_file,
        "document.getElementById('prompt-state').textContent.startsWith('After this edit the model cannot')",
    )
    assert page_of_file.is_disabled("#prompt-text")


def test_a_question_that_is_never_answered_does_not_keep_the_next_run_waiting(page_of_file):
    page = page_of_file
    endless = "    while type(rng) is not random.Random:\n        pass\n    tokens = [bos]\n"  # but in the run itself
    changed = shorter(2).replace("    tokens = [bos]\n", endless)
    assert changed != shorter(2)
    run_text(page, changed)
    run_text(page, "print('next')\n")
    assert lines(page) == ["next"]


@pytest.fixture
def asking(monkeypatch):
    """The modules prompt and course_page of the worker, in this Python, and an untrained model to ask."""
    monkeypatch.setitem(sys.modules, "course_worker", SimpleNamespace(post=None))
    course_page = loaded("course_page", WEB / "run" / "course_page.py")
    monkeypatch.setitem(sys.modules, "course_page", course_page)
    lesson = loaded("lesson_to_ask", LESSON.path)
    monkeypatch.setitem(sys.modules, "lesson_to_ask", lesson)
    rng = lesson.random.Random(3)
    tokenizer = lesson.Tokenizer(["emma", "anna"])
    params = lesson.init_params(lesson.CONFIG, tokenizer.vocab_size, rng)
    larger = {name: [[20 * weight for weight in row] for row in rows] for name, rows in params.items()}
    course_page.program.update(vars(lesson))
    course_page.kept_locals["main"] = {"state": lesson.State(larger), "tokenizer": tokenizer}
    return SimpleNamespace(prompt=loaded("prompt", WEB / "run" / "prompt.py"), lesson=lesson, params=larger)


def loaded(name: str, path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


def test_probabilities_are_those_of_the_lesson(asking):
    lesson, seen = asking.lesson, asking.prompt.look("nam", 0.7)
    assert lesson.tape == []
    logits = lesson.gpt(lesson.State(asking.params).params, [4, 3, 0, 2], lesson.CONFIG)[-1]  # BOS n a m of a e m n
    expected = lesson.softmax([logit * (1 / 0.7) for logit in logits])
    assert seen["labels"] == ["a", "e", "m", "n", "BOS"]
    assert seen["probs"] == [p.data for p in expected]
    assert seen["seen"] == ["BOS", "n", "a", "m"]
    assert asking.prompt.look("nam", None)["temperature"] == lesson.CONFIG.temperature


def test_attention_is_that_of_the_lesson(asking):
    np = pytest.importorskip("numpy")
    config, heads = asking.lesson.CONFIG, asking.prompt.look("nam", 1.0)["heads"]
    params = {name: np.array(rows) for name, rows in asking.params.items()}

    def rmsnorm(x):
        return x / np.sqrt((x * x).mean(axis=1, keepdims=True) + 1e-5)

    x = rmsnorm(rmsnorm(params["wte"][[4, 3, 0, 2]] + params["wpe"][:4]))
    q, k = x @ params["layer0.attn_wq"].T, x @ params["layer0.attn_wk"].T
    size = config.n_embd // config.n_head
    assert len(heads) == config.n_head
    for number, head in enumerate(heads):
        part = slice(number * size, (number + 1) * size)
        scores = np.exp(q[:, part] @ k[:, part].T / math.sqrt(size)) * np.tri(4)
        expected = scores / scores.sum(axis=1, keepdims=True)
        rows = np.array([[weight if weight is not None else 0 for weight in row] for row in head["rows"]])
        assert head["layer"] == "layer0"
        np.testing.assert_allclose(rows, expected, rtol=1e-12)
        assert [row.count(None) for row in head["rows"]] == [3, 2, 1, 0]


def test_names_are_drawn_on_from_the_prompt_by_generate(asking):
    drawn = asking.prompt.continuations("an", 1.0, 30)
    assert all(name.startswith("an") and len(name) <= asking.lesson.CONFIG.block_size for name in drawn)
    assert len(set(drawn)) > 5


# Course.Python, which other pages use as well
def test_programs_modules_and_functions_in_a_worker(page_of_file):
    program = "import course_page, sys\ncourse_page.post('found', {'n': [1, 2]})\nprint(*sys.argv[1:])\nx = 1\n"
    module = (
        "import sys\ndef add(a, b):\n    return a + b\nif __name__ == '__main__':\n    print('main', sys.argv[1])\n"
    )
    result = page_of_file.evaluate(
        """async ([program, module]) => {
            const python = new Course.Python();
            const seen = [];
            python.on("message", (message) => seen.push([message.name, message.value]));
            python.on("line", ({ text, stream }) => seen.push([stream, text]));
            python.write({ "/course/a.py": program, "/course_page/adding.py": module });
            const ran = await python.run({ path: "/course/a.py", argv: ["b", "c"] });
            const called = await python.call("adding:add", 2, 3);
            const asModule = await python.run({ module: "adding", argv: ["d"] });
            const wrong = await python.call("adding:add", 2, "x");
            python.stop();
            const after = await python.call("adding:add", 4, 5); // files are there again
            python.close();
            const exits = [ran.exit, asModule.exit, wrong.exit];
            return { seen, exits, values: [called.value, after.value], wrong: wrong.error.type };
        }""",
        [program, module],
    )
    assert result == {
        "seen": [["found", {"n": [1, 2]}], ["stdout", "b c"], ["stdout", "main d"]],
        "exits": [0, 0, 1],
        "values": [5, 9],
        "wrong": "TypeError",
    }


def test_stop_ends_a_call_and_another_python_answers(page_of_file):
    result = page_of_file.evaluate(
        """async () => {
            const python = new Course.Python();
            python.write({ "/course_page/loop.py": "def forever():\\n    while True:\\n        pass\\n" });
            await python.start();
            const call = python.call("loop:forever");
            const second = await python.call("loop:forever").catch((error) => error.message);
            setTimeout(() => python.stop(), 300);
            const end = await call;
            const next = await python.call("math:sqrt", 9);
            python.close();
            return { stopped: end.stopped, second, next: next.value };
        }"""
    )
    assert result == {"stopped": True, "second": "this Python runs something already", "next": 3}


@pytest.mark.parametrize("ending", ["stop", "close"])
@pytest.mark.parametrize("state", ["loading", "starting"])
def test_a_call_ends_that_is_stopped_while_python_starts(page_of_file, state, ending):
    result = page_of_file.evaluate(
        """async ([state, ending]) => {
            const python = new Course.Python();
            const begun = new Promise((resolve) => python.on("state", (now) => now === state && resolve()));
            const call = python.call("math:sqrt", 9);
            await begun;
            python[ending]();
            const late = (seconds) => new Promise((resolve) => setTimeout(() => resolve("late"), 1000 * seconds));
            const end = await Promise.race([call, late(5)]);
            const next = await Promise.race([python.call("math:sqrt", 16), late(60)]); // after close() nothing is run
            python.close();
            return [end.stopped, next.stopped, next.value];
        }""",
        [state, ending],
    )
    assert result == [True, ending == "close", None if ending == "close" else 4]


# Pages without JavaScript, without Node, and narrow ones
def test_without_javascript_the_text_and_its_lines_are_there(visit, address, recorded):
    page = visit(f"{address}run.html", scripts=False)
    shown = page.inner_text("main")
    assert "Running the file needs JavaScript" in shown
    assert all(line.split()[0] in shown for line in LESSON.source.splitlines() if line.strip())
    assert all(line in shown for line in recorded["printed"])


def test_without_node_the_page_says_in_one_line_what_is_left_out(monkeypatch):
    monkeypatch.setattr(bundle.shutil, "which", lambda name: None)
    monkeypatch.setattr(bundle, "CACHE", Path("/nonexistent"))
    made = SimpleNamespace(
        root=ROOT,
        left_out=[],
        lesson=lambda number: LESSON,
        explicit_training=SimpleNamespace(printed=["step 1", "step 2"]),
    )
    site = Site()
    site.jinja.globals["number_of_folders"] = 1
    run_page.build(site, made)
    (line,) = made.left_out
    assert "\n" not in line and line.endswith("they need Node.js with npm, which is not installed here")
    page = site.files["run.html"].decode()
    assert line in page and "step 2" in page and "load_docs" in page
    assert "run-editor" not in page and not any(path.startswith("data/") for path in site.files)


def test_a_failed_install_is_one_line_and_leaves_nothing(monkeypatch, tmp_path):
    packages = tmp_path / "package.json"
    packages.write_text("{ this is no JSON")
    monkeypatch.setattr(bundle, "CACHE", tmp_path / "cache")
    monkeypatch.setattr(bundle, "PACKAGES", packages)
    if not bundle.shutil.which("npm"):
        pytest.skip("there is no npm on this machine")
    line = bundle.build(Site())
    assert "npm install failed: " in line and "\n" not in line
    assert not list((tmp_path / "cache").glob("*"))


def test_what_is_bundled_is_made_again_only_where_a_source_has_changed(monkeypatch, tmp_path):
    source = tmp_path / "a.js"
    source.write_text("1")
    monkeypatch.setattr(bundle, "CACHE", tmp_path / "cache")
    monkeypatch.setattr(bundle, "SOURCES", tmp_path)
    monkeypatch.setattr(bundle, "workshop", lambda: tmp_path)
    made = []

    def make(folder):
        made.append(source.read_bytes())
        return made[-1]

    assert [bundle.cached("a", ["a.js"], make) for _ in range(2)] == [b"1", b"1"]
    source.write_text("2")
    assert bundle.cached("a", ["a.js"], make) == b"2"
    assert made == [b"1", b"2"]
    assert len(list((tmp_path / "cache" / "bundle").iterdir())) == 1


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_narrow_page_does_not_scroll_sideways(visit, site, scheme):
    page = visit(f"{site.as_uri()}/run.html", width=390, scheme=scheme)
    page.wait_for_selector(".cm-content")
    page.click("#run-names summary")
    run_text(page, shorter(2))
    wait(page, in_view("#run-output"))  # it stands below the text
    wait(page, "document.querySelectorAll('#prompt-heads figure').length")
    assert page.evaluate("document.scrollingElement.scrollWidth <= innerWidth")
