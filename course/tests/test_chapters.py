"""The chapters: each builds, nothing in them is typed that has to be computed, and what can be played with works."""

import builtins
import keyword
import random
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from microgpt_course import chapters, figures, folder_data, glossary, material
from microgpt_course.chapter_data import data as chapter_on_data
from microgpt_course.chapter_data import hyperparameters, parameters
from microgpt_course.chapter_data import model as chapter_on_model
from microgpt_course.chapter_data.loss import counted
from microgpt_course.chapter_tools import Tools, part
from microgpt_course.lessons import SECTIONS
from microgpt_course.material import Material
from microgpt_course.record import load
from microgpt_course.site import Site
from microgpt_harness.system.errors import UserError

FILES = sorted(chapters.FOLDER.glob("*.md"))
QUESTIONS = 3
JINJA = re.compile(r"{{.*?}}|{%.*?%}|{#.*?#}", re.DOTALL)
HEADING = re.compile(r"^#+ .*$", re.MULTILINE)
CODE = re.compile(r"`([^`\n]+)`")
NUMBER = re.compile(r"(?<!\w)\d\S*")  # not in a name, such as mlp_fc1
COMMAND = re.compile(r"(uv run|python|cd|main\.py)\b.*")


@pytest.fixture(scope="session")
def lesson(made: Material) -> ModuleType:
    """What 02 defines."""
    return load(made.lesson(material.REFERENCE).path.parent).module


@pytest.fixture(scope="session")
def explicit(made: Material) -> ModuleType:
    """What 01 defines."""
    return load(made.lesson(material.EXPLICIT).path.parent).module


@pytest.fixture
def tools(made: Material) -> Tools:
    return Tools(Site(), made, glossary.read_glossary(made.root), {}, chapters.FOLDER / "01-data.md")


class Page(HTMLParser):
    """The ids, links and elements of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.ids: list[str] = []
        self.links: list[str] = []
        self.elements: list[tuple[str, dict[str, str]]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        self.elements.append((tag, given))
        self.ids += [given["id"]] if "id" in given else []
        self.links += [given["href"]] if tag == "a" and "href" in given else []

    def of_class(self, css: str) -> list[dict[str, str]]:
        return [given for _, given in self.elements if css in given.get("class", "").split()]


def pages_of(site: Path) -> list[Path]:
    return sorted(site.glob("chapter-*.html"))


# The pages
def test_there_is_a_chapter_for_each_section_in_their_order(site: Path) -> None:
    links = re.findall(r'<a href="(chapter-[a-z]+\.html)"', (site / "chapters.html").read_text(encoding="utf-8"))
    assert links == [f"chapter-{section.lower()}.html" for section in SECTIONS]


def test_each_file_is_a_page(site: Path, made: Material) -> None:
    assert len(pages_of(site)) == len(FILES)
    assert {path.stem.removeprefix("folder-") for path in FILES if path.stem.startswith("folder-")} <= {
        lesson.folder for lesson in made.lessons
    }


def test_each_chapter_leads_to_the_next(site: Path) -> None:
    path, seen = site / "chapter-data.html", []
    while path:
        seen.append(path.name)
        found = re.search(r'rel="next" href="([^"]+)"', path.read_text(encoding="utf-8"))
        path = site / found[1] if found else None
    assert seen[: len(SECTIONS)] == [f"chapter-{section.lower()}.html" for section in SECTIONS]
    assert sorted(seen) == [page.name for page in pages_of(site)]


def test_each_chapter_has_three_questions_with_answers_and_an_exercise(site: Path) -> None:
    for path in pages_of(site):
        page = Page(path.read_text(encoding="utf-8"))
        assert len(page.of_class("question")) == QUESTIONS, path.name
        assert len([tag for tag, _ in page.elements if tag == "details"]) >= QUESTIONS, path.name
    for section in SECTIONS:
        page = Page((site / f"chapter-{section.lower()}.html").read_text(encoding="utf-8"))
        assert page.of_class("exercise"), section
        assert page.of_class("widget"), section
        assert page.of_class("side"), section


def test_links_lead_somewhere_and_ids_are_there_once(site: Path) -> None:
    ids = {path.name: Page(path.read_text(encoding="utf-8")).ids for path in site.glob("*.html")}
    for path in [*pages_of(site), site / "chapters.html"]:
        assert len(ids[path.name]) == len(set(ids[path.name])), path.name
        for link in Page(path.read_text(encoding="utf-8")).links:
            address, _, anchor = link.partition("#")
            assert not link.startswith(("http:", "https:")), f"{path.name}: {link}"
            assert (address or path.name) in ids, f"{path.name}: {link}"
            assert not anchor or anchor in ids[address or path.name], f"{path.name}: {link}"


def test_a_word_from_the_glossary_opens_its_note(site: Path) -> None:
    for path in pages_of(site):
        page = Page(path.read_text(encoding="utf-8"))
        for given in page.of_class("term"):
            assert given["popovertarget"] in page.ids, path.name


def test_nothing_is_left_that_was_to_be_filled_in(site: Path) -> None:
    for path in pages_of(site):
        text = path.read_text(encoding="utf-8")
        assert "<ol start=" not in text, f"{path.name}: a paragraph begins with a number and a full stop"
        assert "data-held" not in text and "{{" not in text and "{%" not in text, path.name
        assert not re.search(r"\bnan\b|\bNone\b(?! of)|&lt;(div|span|code|b)\b", visible(text)), path.name


def visible(text: str) -> str:
    """Return a page's text without code and data."""
    text = re.sub(r"<(pre|script|style)\b.*?</\1>", " ", text, flags=re.DOTALL)
    return re.sub(r"<[^>]*>", " ", text)


# What is typed
@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_no_number_is_typed(path: Path) -> None:
    prose = HEADING.sub(" ", JINJA.sub(" ", path.read_text(encoding="utf-8")))
    prose = re.sub(r"<[^>]*>", " ", prose)
    assert NUMBER.findall(prose) == []


def test_numbers_in_the_notes_on_words_are_those_of_the_lesson(lesson: ModuleType, made: Material) -> None:
    """The glossary is a page by itself, with numbers that are typed."""
    size, config = lesson_vocabulary(lesson), lesson.CONFIG
    numbers = [size, hyperparameters.count(lesson, config, size), config.num_steps]
    numbers += [folder_data.digits(kind) for kind in (np.float32, np.float64)]
    known = {"0", "1", *map(figures.num, numbers), f"{np.log(size):.1f}", f"{np.log(size):.3f}"}
    for entry in glossary.read_glossary(made.root).values():
        found = re.findall(r"\d[\d.,]*", re.sub(r"(float|TF)\d\d", r"\1", f"{entry.word} {entry.meaning}"))
        assert {number.rstrip(".,") for number in found} <= known, entry.word


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_code_in_a_sentence_stands_in_a_lesson(path: Path, made: Material) -> None:
    """A name of a lesson, or a piece of a line. Calls in which something is left out end with an ellipsis."""
    known = "\n".join([lesson.source for lesson in made.lessons])
    harness = "\n".join(p.read_text(encoding="utf-8") for p in (made.root / "harness").rglob("*.toml"))
    for code in CODE.findall(JINJA.sub("…", path.read_text(encoding="utf-8"))):
        pieces = [piece.strip() for piece in code.split("…") if piece.strip("() ")]
        ours = COMMAND.fullmatch(code) or keyword.iskeyword(code) or hasattr(builtins, code)
        assert ours or all(piece in known or piece in harness for piece in pieces), f"{path.name}: `{code}`"


# The tools
def test_a_chapter_that_asks_for_what_is_not_there_says_so_with_its_line(made: Material, tmp_path: Path) -> None:
    for asked, says in [
        ('{{ code("no_such_function") }}', "no_such_function"),
        ('{{ term("no such word") }}', "no such word"),
        ('{{ exercise("no-such-exercise") }}', "no-such-exercise"),
        ('{{ code("gpt", "99") }}', "99"),
        ('{{ widget("no-such-widget") }}', "no-such-widget"),
        ('{{ mistake("no-such-mistake").says }}', "no-such-mistake"),
        ("{{ nobody }}", "nobody"),
        ("{{ 1 / 0 }}", "ZeroDivisionError"),
    ]:
        file = tmp_path / "01-data.md"
        file.write_text(f"# Title\n\nAn idea.\n\n{asked}\n", encoding="utf-8")
        site = Site()
        site.jinja.loader.searchpath.insert(0, str(tmp_path))
        chapter = chapters.Chapter(file, "chapter-data.html", "1", "Chapter", "Title", "Data")
        with pytest.raises(UserError, match=re.escape(says)) as error:
            chapters.render(site, made, [], chapter)
        assert f"{file}, line 5: " in str(error.value)


def test_markdown_reads_neither_code_nor_tables(made: Material, tools: Tools) -> None:
    shown = tools.fill(chapters.MARKDOWN.render(f"Before.\n{tools.code('attention')}\nAfter."))
    assert shown.count('class="line"') == len(made.lesson("01").cell("attention").text.rstrip().splitlines())
    assert "<em>" not in shown and shown.startswith("<p>Before.</p>") and shown.rstrip().endswith("<p>After.</p>")


def test_code_shows_a_method_or_some_lines(made: Material, tools: Tools) -> None:
    first = made.lesson("01")
    method = tools.cell(first, "Value.__pow__")
    assert first.source.splitlines()[method.first - 1].strip().startswith("def __pow__")
    lines = part(first, first.cell("attention"), "attn_scores", "attn_weights")
    assert lines.last == lines.first + 1
    assert tools.cell(made.lesson("03"), "attention").name == "CausalSelfAttention"


def test_whether_a_function_is_the_same_everywhere_is_computed(tools: Tools) -> None:
    assert tools.same("init_params")
    assert not tools.same("attention")


@pytest.mark.parametrize(
    ("number", "shown"),
    [(4064, "4,064"), (-3, "−3"), (0.01234, "0.0123"), (-1.5, "−1.500"), (123.456, "123.5"), (3.2e-7, "3.20e-7"),
     (-3.2e-7, "−3.20e-7"), (1.5e6 + 0.5, "1.50e6"), (float("nan"), "–"), (float("-inf"), "−∞"), (0.0, "0")],
)  # fmt: skip
def test_numbers(number: float, shown: str) -> None:
    assert figures.num(number) == shown


def test_a_heat_map_has_each_number_and_says_what_is_hidden() -> None:
    array = np.array([[1.0, np.nan], [-0.5, 0.25]])
    page = Page(figures.heat_html(array, figures.Head(["a", "b"], ["c", "d"]), "title", 2, numbers=True))
    assert [given["title"] for given in page.of_class("plus") if "title" in given] == ["1", "0.2500"]
    assert [given["style"] for given in page.of_class("minus") if "style" in given] == ["--share:24%"]
    assert len(page.of_class("hidden-cell")) == 1


# What the first five chapters compute
def test_the_order_without_a_shuffle_is_the_file_and_the_shares_add_up(explicit: ModuleType, made: Material) -> None:
    facts = chapter_on_data.facts(explicit, explicit.Config(), made.training, next(iter(made.recordings.values())))
    orders = chapter_on_data.orders(explicit, explicit.Config(), facts.lines)
    assert orders["orders"]["as in the file"]["first"] == facts.lines[: chapter_on_data.SHOWN]
    assert orders["orders"][f"seed {explicit.Config().seed}"]["first"] == facts.docs[: chapter_on_data.SHOWN]
    for order in orders["orders"].values():
        for what in ("letters", "begins", "ends", "lengths"):
            assert all(abs(sum(shares) - 1) < 1e-3 for shares in order[what])
            assert order[what][-1] == orders["orders"]["as in the file"][what][-1]
    assert facts.docs[: facts.seen] == made.training.documents


def test_where_a_name_more_changes_the_order(explicit: ModuleType, tmp_path: Path) -> None:
    lines = explicit.NAMES.read_text(encoding="utf-8").split()[:1000]
    orders = []
    for more in ([], lines[:1]):
        (tmp_path / "names.txt").write_text("\n".join(lines + more), encoding="utf-8")
        orders.append(explicit.load_docs(tmp_path / "names.txt", random.Random(7)))
    changed = chapter_on_data.changed_places(lines, 7, 500)
    assert changed == [place + 1 for place in range(500) if orders[0][place] != orders[1][place]] != []


def test_weights_are_counted_as_init_params_makes_them(explicit: ModuleType) -> None:
    """The page multiplies what is there for each layer and position: at a random setting that is what there is."""
    rng = random.Random()
    counts = hyperparameters.weight_counts(explicit, explicit.Config(), vocab_size=27)
    for _ in range(5):
        config = replace(
            explicit.Config(),
            n_layer=rng.randint(0, 4),
            n_embd=rng.choice(hyperparameters.WIDTHS),
            block_size=rng.randint(1, 40),
        )
        parts = counts["widths"][str(config.n_embd)]
        total = sum(parts["once"].values())
        total += config.block_size * sum(parts["position"].values()) + config.n_layer * sum(parts["layer"].values())
        assert total == hyperparameters.count(explicit, config, 27), config


def test_a_run_from_the_lessons_own_weights_has_the_recorded_losses(lesson: ModuleType, made: Material) -> None:
    assert parameters.losses_from(lesson, lambda rng: rng.gauss) == pytest.approx(made.training.losses, abs=1e-12)


def test_a_model_of_zeros_learns_nothing(lesson: ModuleType) -> None:
    losses = parameters.losses_from(lesson, lambda rng: lambda mean, std: 0.0)
    assert losses == pytest.approx([np.log(lesson_vocabulary(lesson))] * len(losses))


def test_a_model_of_equal_weights_learns_how_often_each_token_comes_and_no_more(lesson: ModuleType) -> None:
    losses = parameters.losses_from(lesson, lambda rng: lambda mean, std: 0.02)
    frequencies = counted(lesson)["letters"]
    assert np.mean(losses[-parameters.tail(lesson.CONFIG) :]) == pytest.approx(frequencies, abs=0.05)


def lesson_vocabulary(lesson: ModuleType) -> int:
    return lesson.Tokenizer(lesson.load_docs(lesson.NAMES, random.Random(0))).vocab_size


def test_two_places_of_one_letter_differ_by_their_positions_alone(lesson: ModuleType, made: Material) -> None:
    vocabulary = next(iter(made.recordings.values())).vocabulary
    twice = chapter_on_model.twice(lesson, made.training, vocabulary)
    assert [twice.document[place - 1] for place in twice.places] == [twice.letter] * 2
    assert twice.differences["tok_emb"] == 0 and twice.differences["x"] > 0
    assert twice.without_positions["x"] == twice.without_positions["q"] == 0


# In a browser
def widget(page: Any, name: str) -> Any:
    found = page.locator(f'[data-widget="{name}"]')
    found.and_(page.locator("[data-ready]")).wait_for()
    return found


def press(choice: Any) -> None:
    """Choose one of several buttons by the keyboard."""
    choice.focus()
    choice.press(" ")


def test_every_widget_is_there(address: str, visit: Any, site: Path) -> None:
    for path in pages_of(site):
        if wanted := len(Page(path.read_text(encoding="utf-8")).of_class("widget")):
            page = visit(address + path.name)
            page.wait_for_function("n => document.querySelectorAll('.widget[data-ready]').length === n", arg=wanted)
            assert page.locator(".widget .fallback").count() == 0


def test_without_javascript_there_are_text_code_and_answers(visit: Any, site: Path) -> None:
    for path in pages_of(site):
        page = visit(path.as_uri(), scripts=False)
        assert page.locator(".code-block").first.is_visible(), path.name
        assert all(text.strip() for text in page.locator(".widget .fallback").all_inner_texts()), path.name
        page.locator(".question summary").first.click()
        assert page.locator(".question details p").first.is_visible(), path.name


def test_orders(address: str, visit: Any) -> None:
    page = visit(address + "chapter-data.html")
    orders = widget(page, "orders")
    orders.get_by_label("their last letter", exact=True).check()
    assert "share of each last letter in the first" in orders.locator("caption").inner_text()
    orders.get_by_label("their length", exact=True).check()
    before = orders.locator("table").inner_text()
    orders.get_by_label("seed 1", exact=True).check()
    assert orders.locator("table").inner_text() != before
    slider = orders.get_by_label("Documents counted")
    slider.focus()
    slider.press("End")
    whole = orders.locator("table").inner_text()
    orders.get_by_label("as in the file").check()
    assert orders.locator("table").inner_text() == whole, "all documents are the same in any order"


def test_tokenise(address: str, visit: Any, explicit: ModuleType) -> None:
    tokenizer = explicit.Tokenizer(explicit.load_docs(explicit.NAMES, random.Random(0)))
    page = visit(address + "chapter-tokenizer.html")
    tokenise = widget(page, "tokenise")
    field = tokenise.get_by_label("Name")
    for name in ("ada", "christopher"):
        field.fill(name)
        tokens = tokenizer.encode(name)
        assert ", ".join(map(str, tokens)) in tokenise.locator("p[role=status]").inner_text()
        assert tokenise.locator("tbody tr").count() == min(len(tokens) - 1, explicit.Config().block_size)
    field.fill("Zoë")
    assert "ë" in tokenise.locator("p[role=status]").inner_text()
    assert tokenise.locator("tbody tr").count() == 0


def test_count(address: str, visit: Any, explicit: ModuleType) -> None:
    page = visit(address + "chapter-hyperparameters.html")
    count = widget(page, "count")
    count.get_by_label("32", exact=True).check()
    slider = count.get_by_label("n_layer")
    slider.focus()
    slider.press("ArrowRight")
    config = replace(explicit.Config(), n_embd=32, n_layer=explicit.Config().n_layer + 1)
    weights = hyperparameters.count(explicit, config, lesson_vocabulary(explicit))
    assert count.locator("p[role=status]").inner_text() == f"{weights:,} weights."


def test_schedule(address: str, visit: Any, made: Material) -> None:
    page = visit(address + "chapter-hyperparameters.html")
    schedule = widget(page, "schedule")
    slider = schedule.get_by_role("slider")
    slider.focus()
    slider.press("End")
    rates = made.training.learning_rates
    assert f"Step {len(rates)}: " in schedule.locator("p[role=status]").inner_text()
    assert f"{100 * rates[-1] / rates[0]:.1f} %" in schedule.locator("p[role=status]").inner_text()


def test_spread(address: str, visit: Any, made: Material) -> None:
    page = visit(address + "chapter-parameters.html")
    spread = widget(page, "spread")
    name, steps = "layer0.attn_wq", len(made.training.losses)
    press(spread.get_by_label(name, exact=True))
    press(spread.get_by_label(f"after {steps} steps"))
    std = made.training.states[steps][name].std()
    assert f"Standard deviation {std:.4f}" in spread.locator("p[role=status]").inner_text()


def test_attention_computed_in_the_page_is_the_recorded_one(address: str, visit: Any, made: Material) -> None:
    page = visit(address + "chapter-model.html")
    attention = widget(page, "attention")
    head = 1
    press(attention.get_by_label(str(head), exact=True).first)
    (document, _), *_ = made.recordings
    recorded = made.recordings[document, max(made.training.states)].find("attention", "attn_weights").array[head]
    shown = attention.locator("tbody tr")
    for t, row in enumerate(recorded):
        cells = shown.nth(t).locator("td")
        assert [float(cells.nth(s).inner_text()) for s in range(t + 1)] == pytest.approx(row[: t + 1], abs=0.0051)
        assert cells.nth(len(row) - 1).inner_text() == "" or t == len(row) - 1
    attention.get_by_label("hide what comes later").uncheck()
    assert float(shown.first.locator("td").last.inner_text()) > 0
    assert "Without the mask" in attention.locator("p[role=status]").inner_text()


def test_a_question_and_a_word_open_with_the_keyboard(address: str, visit: Any) -> None:
    page = visit(address + "chapter-data.html")
    answer = page.locator(".question details").first
    answer.locator("summary").focus()
    page.keyboard.press("Enter")
    assert answer.evaluate("element => element.open")
    term = page.locator("button.term").first
    note = page.locator(f"#{term.get_attribute('popovertarget')}")
    assert not note.is_visible()
    term.focus()
    page.keyboard.press("Enter")
    assert note.is_visible()
    page.keyboard.press("Escape")
    assert not note.is_visible()


def test_nothing_is_wider_than_a_phone(served: str, visit: Any, site: Path) -> None:
    for path in [*pages_of(site), site / "chapters.html"]:
        page = visit(served + path.name, width=390)
        assert page.evaluate("document.documentElement.scrollWidth") <= 390, path.name
