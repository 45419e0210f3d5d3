"""The page on which all lessons stand side by side: what is in it, and all that a reader may do with it."""

import base64
import gzip
import json
import re
import shutil
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import firefox
import pytest
from microgpt_course import lessons, material, read_page
from microgpt_course.figures import num
from microgpt_course.material import EXPLICIT, REFERENCE
from microgpt_course.read_numbers import Recorded
from microgpt_course.site import Site

LESSONS = lessons.read_all()
ROWS = {row.anchor: row for row in lessons.align(LESSONS)}
NUMBERS = [lesson.number for lesson in LESSONS]
FIRST_LOAD = 300_000  # bytes, packed: the most that the page may load before anybody asks for more
SHOWN = "document.querySelector('#numbers').open && document.querySelector('#numbers .numbers-views').childElementCount"


def folder(number: str) -> str:
    return next(lesson.folder for lesson in LESSONS if lesson.number == number)


@pytest.fixture(scope="module")
def html(site: Path) -> str:
    return (site / "read.html").read_text(encoding="utf-8")


@pytest.fixture
def read(visit: Any, site: Path) -> Any:
    """Open the page as a file: read("?columns=02,05#model-attention")."""
    return lambda where="", **options: visit(f"{site.as_uri()}/read.html{where}", **options)


@pytest.fixture
def read_both(visit: Any, address: str) -> Any:
    """Open the page as a file, and from a web server: what is kept and loaded may differ."""
    return lambda where="", **options: visit(f"{address}read.html{where}", **options)


def recorded(site: Path, name: str) -> dict[str, Any]:
    """Return what Course.load("numbers/…") gives the page."""
    text = (site / "data" / "numbers" / f"{name}.js").read_text(encoding="utf-8")
    match = re.search(r'Course\.unpack\("([^"]*)"\)', text)
    return json.loads(gzip.decompress(base64.b64decode(match[1])))


class Lines(HTMLParser):
    """The text of each line of code by its id."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.found: dict[str, list[str]] = {}
        self.line: list[str] = []
        self.depth = 0  # of elements within a line
        self.ids: list[str] = []
        self.links: list[str] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        values = dict(attributes)
        self.ids += [values["id"]] if "id" in values else []
        self.links += [values["href"][1:]] if (values.get("href") or "").startswith("#") else []
        if values.get("class") == "line":
            self.line = self.found.setdefault(values["id"], [])
            self.line.append("")
            self.depth = 1
        elif self.depth:
            self.depth += 1

    def handle_endtag(self, tag: str) -> None:
        self.depth -= 1 if self.depth else 0

    def handle_data(self, data: str) -> None:
        if self.depth:
            self.line[-1] += data


# What is in the page
def test_every_line_of_every_lesson_stands_in_the_page_once(html):
    found = Lines(html).found
    for lesson in LESSONS:
        for number, line in enumerate(lesson.source.split("\n"), start=1):
            shown = found.pop(f"{lesson.number}-{number}", [])
            assert [text.removesuffix("\n") for text in shown] == [line] if line else shown in ([], ["\n"])
    assert not found


def test_every_link_within_the_page_leads_somewhere_and_no_id_is_there_twice(html):
    page = Lines(html)
    assert len(page.ids) == len(set(page.ids))
    assert len(page.links) > 1000
    assert set(page.links) <= set(page.ids)
    assert {anchor for anchor, row in ROWS.items() if row.names} <= set(page.links)


def test_the_page_loads_little_at_first(site, html):
    files = re.findall(r'(?:src|href)="(assets/[^"]+)"', html)
    assert {"assets/read.js", "assets/read.css", "assets/numbers.js", "assets/charts.js"} <= set(files)
    packed = [gzip.compress(path.read_bytes()) for path in [site / "read.html", *(site / file for file in files)]]
    assert sum(map(len, packed)) < FIRST_LOAD


def test_identical_rows_say_so_and_no_others(html):
    assert html.count('class="row identical') == sum(row.identical for row in ROWS.values())
    assert html.count('class="badge">identical in all') == sum(row.identical for row in ROWS.values() if row.names)


def test_every_function_with_a_note_shows_it(html, made):
    facts = read_page.facts_of(made)
    for (section, name), note in made.notes.notes.items():
        shown = note.render(**facts)
        assert shown.does in html, (section, name)
        for text in shown.differs.values():
            assert text in html, (section, name)


def test_numbers_in_short_are_those_of_the_recording(site, html, made):
    document, step = next(iter(made.recordings))[0], max(step for _, step in made.recordings)
    data = recorded(site, f"{folder(REFERENCE)}/{document}-{step}")
    value = next(v for v in data["values"] if (v["function"], v["name"]) == ("attention", "attn_weights"))
    numbers = data["arrays"][value["array"]]["data"]
    row = re.search(r"<th scope=\"row\"><code>attn_weights</code></th>(.*?)</tr>", html)[1]
    cells = re.findall(r"<td[^>]*>(.*?)</td>", row)
    shape = " × ".join(map(str, data["arrays"][value["array"]]["shape"]))
    assert cells[0] == f"(H, T, T), {shape}"
    assert cells[1:4] == [num(sum(numbers) / len(numbers)), num(min(numbers)), num(max(numbers))]
    assert cells[-1] == folder(REFERENCE)


# What follows from the lessons
@pytest.fixture(scope="module")
def copy(tmp_path_factory) -> Path:
    """A checkout with a folder more: nothing else names it."""
    root = tmp_path_factory.mktemp("checkout")
    for lesson in LESSONS:
        (root / lesson.folder).mkdir()
        shutil.copy(lesson.path, root / lesson.folder)
    shutil.copytree(lessons.ROOT / "data", root / "data", ignore=shutil.ignore_patterns("cache"))
    shutil.copytree(root / folder(NUMBERS[-1]), root / "99_other")
    return root


def page_of(root: Path) -> str:
    site = Site()
    site.jinja.globals["number_of_folders"] = 0
    read_page.build(site, material.collect(root))
    return site.files["read.html"].decode()


def test_a_folder_more_is_a_column_more_without_an_edit(copy, html):
    more = page_of(copy)
    assert 'id="column-99"' in more
    both = [len(re.findall('class="cell["\\s]', page)) for page in (html, more)]
    assert both == [len(ROWS) * len(LESSONS), len(ROWS) * (len(LESSONS) + 1)]
    lines = {anchor for anchor in Lines(more).found if anchor.startswith("99-")}
    assert lines == {
        f"99-{anchor.split('-')[1]}" for anchor in Lines(html).found if anchor.startswith(f"{NUMBERS[-1]}-")
    }
    assert f"identical in all {('seven', str(len(LESSONS) + 1))[len(LESSONS) != 6]}" in more
    assert '.bar:not(:has(#column-99:checked)) ~ .section [data-column="99"]' in more


def test_shapes_that_the_recorded_folder_writes_are_those_that_were_recorded(made):
    found = Recorded(made)
    written = {row.anchor: found.written(row) for row in made.rows if row.anchor in found.values}
    assert not [anchor for anchor, by_lesson in written.items() if REFERENCE in by_lesson]
    assert any(by_lesson for by_lesson in written.values())


def test_both_recorded_folders_come_to_the_same_numbers(made):
    apart = Recorded(made).apart
    assert len(apart["model-attention"]) > 5
    assert max(difference for names in apart.values() for difference in names.values()) < 1e-9


# Columns
def columns(page: Any) -> list[str]:
    return page.eval_on_selector_all(
        ".heads > div", "all => all.filter(x => x.checkVisibility()).map(x => x.dataset.column)"
    )


def boxes(page: Any) -> list[str]:
    return page.eval_on_selector_all("#columns input:checked", "all => all.map(x => x.value)")


def cells(page: Any, anchor: str) -> list[str]:
    """Return the columns whose cells can be seen in a row."""
    script = "all => all.filter(x => x.checkVisibility()).map(x => x.dataset.column)"
    return page.eval_on_selector_all(f"#{anchor} .cell", script)


def test_two_columns_on_a_wide_screen_and_one_on_a_narrow_one(read):
    assert columns(read()) == NUMBERS[:2]
    narrow = read(width=390)
    assert boxes(narrow) == NUMBERS[:1]
    assert cells(narrow, "model-attention") == NUMBERS[:1]


def test_columns_are_chosen_kept_and_in_the_address(read_both):
    page = read_both()
    page.check("#column-05", force=True)
    page.focus("#column-01")
    page.keyboard.press("Space")
    assert columns(page) == ["02", "05"] == cells(page, "model-attention")
    assert page.url.endswith("?columns=02,05")
    page.reload()
    assert columns(page) == ["02", "05"]
    page.goto(page.url.split("?")[0])
    assert columns(page) == ["02", "05"]


def test_one_column_always_stays(read):
    page = read("?columns=03")
    page.focus("#column-03")
    page.keyboard.press("Space")
    assert columns(page) == ["03"]


def test_an_address_with_columns_that_are_not_there_is_answered_with_those_that_are(read):
    assert columns(read("?columns=03,77")) == ["03"]
    assert columns(read("?columns=77")) == NUMBERS[:2]


def test_a_row_that_no_chosen_column_has_is_not_there(read):
    page = read("?columns=01,05")
    assert not page.is_visible("#model-saved")
    page.check("#column-02", force=True)
    assert page.is_visible("#model-saved")
    assert page.text_content("#model-saved .cell[data-column='01'] .absent-says") == "Not in 01 pure python."


def test_what_is_identical_is_shown_once_in_the_first_chosen_column(read):
    page = read("?columns=03,05,06")
    assert cells(page, "data-load-docs") == ["03"]
    page.click("#display summary")
    page.check("#repeat")
    assert cells(page, "data-load-docs") == ["03", "05", "06"]


def test_without_scripts_columns_are_chosen_and_code_notes_and_numbers_are_there(read):
    page = read(scripts=False)
    assert columns(page) == NUMBERS[:2]
    page.check("#column-06", force=True)
    page.uncheck("#column-01", force=True)
    assert columns(page) == ["02", "06"] == cells(page, "model-attention")
    assert cells(page, "data-load-docs") == ["02"]
    assert page.is_visible("#model-attention .note")
    page.click("#model-attention .recorded summary")
    assert page.is_visible("#model-attention .recorded table")
    assert not page.is_visible("#model-attention [data-open]")
    assert not page.is_visible(".legend")
    page.click("#contents summary")
    page.click("#contents a[href='#loss-loss-fn']")
    assert page.is_visible("#loss-loss-fn")


# What columns have in common
def marked(page: Any, anchor: str, column: str, kind: str) -> list[str]:
    selector = f"#{anchor} .cell[data-column='{column}'] .line > i.{kind}"
    return page.eval_on_selector_all(selector, "all => all.map(x => x.textContent)")


def test_equal_functions_are_dimmed_as_a_whole(read):
    page = read("?columns=03,04")
    assert marked(page, "model-attention", "03", "other") == []
    assert len(marked(page, "model-attention", "03", "same")) > 100


def test_what_two_columns_have_in_common_is_the_same_text_in_both(read):
    page = read("?columns=02,05")
    for anchor in ("model-attention", "model-mlp", "training-train-step"):
        same = marked(page, anchor, "02", "same")
        assert same == marked(page, anchor, "05", "same") and len(same) > 10
        assert marked(page, anchor, "02", "other") != marked(page, anchor, "05", "other")
    assert {"np", "relu"} <= set(marked(page, "model-mlp", "02", "other"))
    assert "jnp" in marked(page, "model-mlp", "05", "other")
    assert "attn_scores" not in marked(page, "model-rmsnorm", "02", "other")


def test_a_word_in_the_middle_is_dimmed_if_both_neighbours_have_it(read):
    page = read("?columns=01,02,05")
    middle = len(marked(page, "model-mlp", "02", "same"))
    page.uncheck("#column-01", force=True)
    assert middle < len(marked(page, "model-mlp", "02", "same"))


def test_a_column_alone_is_not_marked_and_marks_can_be_switched_off(read):
    page = read("?columns=02,05")
    page.click("#display summary")
    page.uncheck("#marks")
    assert page.locator(".line .same, .line .other").count() == 0
    page.reload()
    assert page.locator(".line .same, .line .other").count() == 0
    page.click("#display summary")
    page.check("#marks")
    assert page.locator(".line .same").count() > 100
    page.uncheck("#column-05", force=True)
    assert page.locator(".line .same, .line .other").count() == 0


# Links
def top_of(page: Any, selector: str) -> tuple[float, float]:
    """Return where an element begins, and where the bar ends, both from the window's top."""
    top = page.eval_on_selector(selector, "x => x.getBoundingClientRect().top")
    return top, page.eval_on_selector(".bar", "x => x.getBoundingClientRect().bottom")


def test_a_link_to_a_function_leads_below_the_bar(read):
    page = read("?columns=02,05#model-attention")
    top, bar = top_of(page, "#model-attention")
    assert bar - 1 <= top < bar + 60


def test_a_link_to_a_line_chooses_its_column_and_unfolds_its_section(read_both):
    page = read_both("?columns=01,02")
    page.click("#model > summary")
    assert not page.is_visible("#model-attention")
    cell = ROWS["model-attention"].cells[folder("05")]
    page.evaluate(f"location.hash = '05-{cell.first + 2}'")
    page.wait_for_selector(f"[id='05-{cell.first + 2}'].aimed")
    assert columns(page) == ["01", "02", "05"]
    top, bar = top_of(page, f"[id='05-{cell.first + 2}']")
    assert bar - 1 <= top < 600


def test_a_link_to_a_blank_line_leads_to_the_line_before(read):
    cell = ROWS["model-attention"].cells[folder("05")]
    page = read(f"#05-{cell.last}")
    assert page.get_attribute(".aimed", "id") == f"05-{cell.first + len(cell.text.rstrip().splitlines()) - 1}"


def test_a_link_to_a_line_that_is_identical_in_all_shows_it_in_its_column(read):
    cell = ROWS["data-load-docs"].cells[folder("05")]
    page = read(f"?columns=01,02#05-{cell.first}")
    assert "05" in cells(page, "data-load-docs")


def test_a_link_can_be_copied(read_both):
    page = read_both("?columns=02,05")
    page.click("#model-mlp .anchor")
    page.wait_for_function("document.getElementById('says').textContent.startsWith('The link ')")
    assert page.url.endswith("?columns=02,05#model-mlp")


def test_whoever_asks_for_a_function_or_a_line_gets_there_by_keyboard(read):
    page = read("?columns=01,02")
    page.focus("#display summary")
    page.keyboard.press("Enter")
    page.focus("#go-to")
    page.keyboard.type("rmsnorm")
    page.keyboard.press("Enter")
    assert page.evaluate("location.hash") == "#model-rmsnorm"
    assert page.evaluate("document.activeElement.closest('.row').id") == "model-rmsnorm"
    page.focus("#display summary")
    page.keyboard.press("Enter")
    page.fill("#go-to", "06-100")
    page.keyboard.press("Enter")
    assert page.evaluate("location.hash") == "#06-100"
    assert "06" in columns(page)
    assert page.evaluate("document.activeElement.closest('.line').id") == "06-100"
    page.focus("#display summary")
    page.keyboard.press("Enter")
    page.fill("#go-to", "no_such_function")
    page.keyboard.press("Enter")
    assert page.text_content("#go-says") == "There is no no_such_function here."


# Sections, contents, display
def test_sections_are_folded_by_keyboard_and_stay_so(read_both):
    page = read_both()
    page.focus("#loss > summary")
    page.keyboard.press("Enter")
    assert not page.is_visible("#loss-loss-fn")
    page.wait_for_function("Course.store.get('read.folded', []).includes('loss')")
    page.reload()
    assert not page.is_visible("#loss-loss-fn") and page.is_visible("#model-mlp")
    page.click("#display summary")
    page.click("#fold")
    assert page.locator("details.section[open]").count() == 0
    page.click("#unfold")
    assert page.locator("details.section:not([open])").count() == 0


@pytest.mark.parametrize("width", [390, 1440])
def test_the_contents_lead_to_every_function(read, width):
    page = read(width=width)
    page.click("#contents summary")
    assert page.locator("#contents li").count() == sum(1 for row in ROWS.values() if row.names)
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    page.click("#contents a[href='#optimizer-adam-step']")
    assert not page.is_visible("#contents nav")
    top, bar = top_of(page, "#optimizer-adam-step")
    assert bar - 1 <= top < bar + 60


def test_escape_closes_the_contents(read):
    page = read()
    page.focus("#contents summary")
    page.keyboard.press("Enter")
    page.keyboard.press("Tab")
    page.keyboard.press("Escape")
    assert not page.is_visible("#contents nav")
    assert page.evaluate("document.activeElement.parentElement.id") == "contents"


def test_notes_can_be_hidden_and_lines_left_long(read):
    page = read(width=390)
    page.click("#display summary")
    page.uncheck("#notes")
    assert not page.is_visible("#model-mlp .note")
    page.uncheck("#wrap")
    code = page.locator("#model-attention .cell[data-column='01'] pre")
    assert code.evaluate("x => x.scrollWidth > x.clientWidth")
    assert code.get_attribute("tabindex") == "0"
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")


@pytest.mark.parametrize("chosen", [NUMBERS[:1], NUMBERS])
def test_only_code_scrolls_sideways_on_a_phone(read, chosen):
    page = read(f"?columns={','.join(chosen)}#model-attention", width=390)
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    page.click("#model-attention [data-open='attn_weights']")
    page.wait_for_function(SHOWN)
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    assert page.eval_on_selector("#numbers", "x => x.scrollWidth <= x.clientWidth")


# Numbers
def shown_numbers(page: Any, anchor: str, name: str, column: str = "") -> None:
    """Open the numbers of a name: in a column's code, or by the row's button."""
    where = f".cell[data-column='{column}'] .known[data-name='{name}']" if column else f"[data-open='{name}']"
    page.locator(f"#{anchor} {where}").first.click()
    page.wait_for_function(SHOWN)


def origin(page: Any) -> str:
    return page.text_content(".numbers-origin")


def steps(site: Path) -> list[int]:
    return recorded(site, f"{folder(REFERENCE)}/training")["moments"]


def documents(page: Any) -> list[str]:
    return page.eval_on_selector_all("[name=document] option", "all => all.map(x => x.value)")


def test_a_click_on_a_name_shows_its_numbers_in_any_column(read, site):
    page = read(f"?columns={','.join(NUMBERS)}")
    for number in NUMBERS:
        shown_numbers(page, "model-mlp", "h", number)
        assert page.text_content("#numbers-title") == "h in mlp"
        source = EXPLICIT if number == EXPLICIT else REFERENCE
        assert origin(page).startswith(f"Recorded from {folder(source)}, line ")
    document = documents(page)[0]
    data = recorded(site, f"{folder(REFERENCE)}/{document}-{steps(site)[-1]}")
    value = next(v for v in data["values"] if (v["function"], v["name"]) == ("mlp", "h"))
    array = data["arrays"][value["array"]]
    assert page.locator(".view").nth(0).locator(".chart-squares > i").count() == len(array["data"])
    assert "(T, 4C)" in page.text_content(".view")
    page.click(".view details summary")
    table = page.locator(".view").nth(0).locator("table.chart-numbers")
    wide = array["shape"][1]
    assert table.locator("tbody tr").count() == array["shape"][0]
    last = table.locator("tbody tr").last.locator("td").all_text_contents()
    assert last == [page.evaluate("number => Course.format(number)", x) for x in array["data"][-wide:]]
    labels = table.locator("tbody th").all_text_contents()
    assert labels == ["BOS", *document][: array["shape"][0]]
    gradient = page.locator(".view").nth(1)
    assert gradient.locator("h3").text_content() == "Gradient: d loss / d h"
    grad = data["arrays"][value["grad"]]
    gradient.locator("details summary").click()
    first = gradient.locator("tbody tr").first.locator("td").all_text_contents()
    assert first == [page.evaluate("number => Course.format(number)", x) for x in grad["data"][:wide]]


def test_a_framework_that_writes_another_shape_says_so(read):
    page = read("?columns=02,06")
    shown_numbers(page, "model-attention", "q", "06")
    assert "06 mlx writes its shape as (B, H, T, D)." in origin(page)
    shown_numbers(page, "model-attention", "q", "02")
    assert "writes its shape" not in origin(page)


def test_attention_is_a_matrix_of_characters_for_each_head(read):
    page = read()
    shown_numbers(page, "model-attention", "attn_weights")
    value = page.locator(".view").nth(0)
    document = documents(page)[0]
    for head in value.locator(".chart-heat").all():
        labels = ["BOS", *document]
        assert head.locator(".chart-row").all_text_contents() == labels
        assert head.locator(".chart-column").all_text_contents() == labels
    assert value.locator(".chart-title").all_text_contents() == [
        f"head {i}" for i in range(value.locator(".chart-heat").count())
    ]
    assert value.locator(".chart-heat").count() > 1
    assert value.locator(".chart-legend").count() == 1


def test_probabilities_are_bars_over_characters(read, site):
    page = read()
    shown_numbers(page, "loss-cross-entropy", "probs")
    document = documents(page)[0]
    bars = page.locator(".chart-bars")
    assert bars.count() == len(document) + 1
    data = recorded(site, f"{folder(EXPLICIT)}/{document}-{steps(site)[-1]}")
    assert bars.first.locator(".chart-bar-label").all_text_contents() == data["vocabulary"]
    assert bars.first.locator(".chart-title").text_content() == "after BOS"
    heights = bars.first.locator(".chart-bar").evaluate_all("all => all.map(x => parseFloat(x.style.height))")
    value = next(v for v in data["values"] if (v["function"], v["name"]) == ("cross_entropy", "probs"))
    probs = data["arrays"][value["array"]]["data"]
    assert heights == pytest.approx([100 * p / max(probs) for p in probs[: len(heights)]], abs=0.01)


def test_another_document_and_moment_are_loaded_and_remembered(read_both, site):
    page = read_both()
    shown_numbers(page, "model-attention", "x")
    document, step = documents(page)[1], steps(site)[0]
    page.select_option("[name=document]", document)
    page.select_option("[name=step]", str(step))
    labels = json.dumps(["BOS", *document])
    script = "[...document.querySelectorAll('.view .chart-row')].map(x => x.textContent)"
    page.wait_for_function(f"JSON.stringify({script}.slice(0, {len(document) + 1})) === JSON.stringify({labels})")
    page.reload()
    shown_numbers(page, "model-attention", "x")
    assert page.input_value("[name=document]") == document
    assert page.input_value("[name=step]") == str(step)


def test_which_of_several_calls_is_told_by_its_caller(read):
    page = read()
    shown_numbers(page, "model-rmsnorm", "scale")
    calls = page.locator("[name=value] option").all_text_contents()
    assert len(calls) == len(set(calls)) == 3
    assert calls[0].startswith("called by gpt, line ") and calls[1].startswith("called by block, line ")
    first = page.text_content(".view .small")
    page.select_option("[name=value]", index=1)
    page.wait_for_function(f"document.querySelector('.view .small').textContent !== {json.dumps(first)}")


def test_a_click_in_a_recorded_column_shows_the_value_of_that_line(read):
    page = read()
    cell = ROWS["model-attention"].cells[folder(REFERENCE)]
    lines = [cell.first + i for i, line in enumerate(cell.text.split("\n")) if line.strip().startswith("attn_scores =")]
    assert len(lines) == 2
    for line, masked in zip(lines, (0, 1)):
        page.locator(f"[id='{REFERENCE}-{line}'] .known[data-name='attn_scores']").first.click()
        page.wait_for_function(f"document.querySelector('.numbers-origin').textContent.includes('line {line}.')")
        assert bool(page.locator(".view .chart-missing").count()) == bool(masked)


def test_weights_and_what_has_as_many_numbers_are_shown_as_matrices(read_both):
    page = read_both()
    shown_numbers(page, "model-linear", "w")
    names = page.locator("[name=value] option").all_text_contents()
    assert names[0].startswith("layer0.attn_wq · called by attention")
    assert page.locator(".view").count() == 3
    shown_numbers(page, "optimizer-adam-step", "m_hat")
    page.wait_for_selector(".numbers-views select")
    page.select_option(".numbers-views select", "lm_head")
    assert page.text_content(".view section h3") == "Value for lm_head"
    page.select_option("[name=document]", documents(page)[1])
    page.wait_for_function(
        "document.querySelector('.numbers-views').textContent.includes('All its numbers are kept for')"
    )


def test_how_a_value_moved_over_training_is_a_line_over_the_moments(read, site):
    page = read()
    shown_numbers(page, "model-block", "residual")
    chart = page.locator(".moved svg")
    assert chart.locator("circle.curve-0").count() == len(steps(site))
    assert page.locator(".moved .key").all_text_contents() == ["mean", "root mean square"]


def test_numbers_are_opened_read_and_closed_by_keyboard_alone(read):
    page = read("#model-mlp")
    page.focus("#model-mlp [data-open='h']")
    page.keyboard.press("Enter")
    page.wait_for_function(SHOWN)
    assert page.evaluate("document.activeElement.id") == "numbers-title"
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.name") == "document"
    before = page.text_content(".view .small")
    page.keyboard.press("ArrowDown")
    page.wait_for_function(f"document.querySelector('.view .small').textContent !== {json.dumps(before)}")
    page.keyboard.press("Escape")
    assert not page.is_visible("#numbers")
    assert page.evaluate("document.activeElement.dataset.open") == "h"


def test_closing_returns_to_the_rows_button_after_a_click_in_code(read):
    page = read()
    shown_numbers(page, "model-mlp", "h", "02")
    page.click("#numbers .taller")
    assert page.get_attribute("#numbers .taller", "aria-pressed") == "true"
    page.click("#numbers .close")
    assert not page.is_visible("#numbers")
    assert page.evaluate("document.activeElement.dataset.open") == "h"


def test_a_link_opens_the_numbers_of_a_row_at_their_moment(read_both, site):
    page = read_both("?columns=02")
    shown_numbers(page, "model-attention", "q")
    document, step = documents(page)[1], steps(site)[0]
    page.select_option("[name=document]", document)
    page.select_option("[name=step]", str(step))
    link = page.url
    assert link.endswith(f"?columns=02#model-attention/q/{document}/{step}")
    assert page.get_attribute("#numbers .anchor", "href") == f"#{link.partition('#')[2]}"
    page.evaluate("localStorage.clear()")
    page.goto("about:blank")
    page.goto(link)
    page.wait_for_function(SHOWN)
    assert page.inner_text("#numbers-title") == "q in attention"
    assert page.input_value("[name=document]") == document
    assert page.input_value("[name=step]") == str(step)
    page.keyboard.press("Escape")
    assert page.url.endswith("?columns=02#model-attention")


def test_a_link_opens_the_numbers_of_a_line_and_one_to_no_name_only_leads_there(read):
    cell = ROWS["model-attention"].cells[folder(REFERENCE)]
    lines = [cell.first + i for i, line in enumerate(cell.text.split("\n")) if line.strip().startswith("attn_scores =")]
    page = read(f"?columns=01#{REFERENCE}-{lines[0]}/attn_scores")
    page.wait_for_function(f"document.querySelector('.numbers-origin').textContent.includes('line {lines[0]}.')")
    assert columns(page) == ["01", REFERENCE]
    assert page.evaluate("document.activeElement.id") == "numbers-title"
    nothing = read("#model-attention/no_such_name")
    assert not nothing.is_visible("#numbers")
    top, bar = top_of(nothing, "#model-attention")
    assert bar - 1 <= top < bar + 60


def test_every_name_that_a_row_offers_has_numbers(visit, site):
    page = visit(f"{site.as_uri()}/read.html?columns={','.join(NUMBERS)}")
    names = page.evaluate("""async () => {
      const shown = [];
      for (const button of document.querySelectorAll("[data-open]")) {
        const views = document.querySelector(".numbers-views");
        views.replaceChildren();
        button.click();
        while (!views.childElementCount) await new Promise((resolve) => setTimeout(resolve, 5));
        const wrong = !views.querySelector(".view") || views.querySelector("[role=alert]");
        shown.push(wrong ? `${button.dataset.open}: ${views.textContent}` : "");
      }
      return shown;
    }""")
    assert len(names) > 50
    assert not any(names)


def test_columns_links_and_numbers_work_in_firefox(address):
    with firefox.started() as page:
        page.open(f"{address}read.html?columns=02,06#model-attention")
        shown = (
            "[...document.querySelectorAll('.heads > div')].filter(x => x.checkVisibility()).map(x => x.dataset.column)"
        )
        assert page.evaluate(shown) == ["02", "06"]
        page.wait_for("document.querySelectorAll('#model-attention .line .other').length > 10")
        begins = "document.querySelector('#model-attention').getBoundingClientRect().top"
        page.wait_for(f"0 < {begins} && {begins} < 300")
        page.focus("#model-attention [data-open='attn_weights']")
        page.press("Enter")
        page.wait_for("document.querySelectorAll('#numbers .chart-heat').length >= 2")
        assert page.text("#numbers-title") == "attn_weights in attention"
        page.press("Escape")
        page.wait_for("!document.querySelector('#numbers').open")
        assert page.problems() == []
