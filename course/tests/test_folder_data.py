"""What the folders' chapters say in figures: counted in the lessons, computed by them, or read where it is measured."""

import random
import re
import shutil
import subprocess
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from microgpt_course import chapters, folder_data, lessons
from microgpt_course.lessons import ROOT, Lesson
from microgpt_course.material import EXPLICIT, REFERENCE, Material
from microgpt_course.recording.program import load
from microgpt_harness.system.errors import UserError
from microgpt_harness.tools import mistakes

LESSONS = lessons.read_all()
PAIRS = [pytest.param(a, b, id=f"{a.number}-{b.number}") for a, b in pairwise(LESSONS)]


@pytest.fixture(scope="session")
def explicit() -> ModuleType:
    return load(lesson(EXPLICIT).path.parent).module


@pytest.fixture(scope="session")
def reference() -> ModuleType:
    return load(lesson(REFERENCE).path.parent).module


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A checkout of which a test may change README.md and PERFORMANCE.md."""
    for page in (folder_data.README, folder_data.PERFORMANCE):
        shutil.copy(ROOT / page, tmp_path)
    return tmp_path


def lesson(number: str) -> Lesson:
    return next(lesson for lesson in LESSONS if lesson.number == number)


def changed(lesson: Lesson, old: str, new: str) -> Lesson:
    assert old in lesson.source
    source = lesson.source.replace(old, new)
    return replace(lesson, source=source, cells=tuple(lessons.cells_of(source, lesson.path)))


def rewrite(path: Path, old: str, new: str) -> None:
    text = path.read_text(encoding="utf-8")
    assert text.count(old) == 1
    path.write_text(text.replace(old, new), encoding="utf-8")


# Two files side by side
@pytest.mark.skipif(not shutil.which("diff"), reason="there is no diff on this machine")
@pytest.mark.parametrize(("before", "here"), PAIRS)
def test_shared_lines_are_those_that_diff_leaves_standing(before: Lesson, here: Lesson, tmp_path: Path) -> None:
    for name, text in (("a", before.source), ("b", here.source)):
        lines = [line for line in text.splitlines() if line.strip()]
        (tmp_path / name).write_text("\n".join(lines) + "\n", encoding="utf-8")
    formats = ["--old-line-format=", "--new-line-format=", "--unchanged-line-format=%L"]
    command = ["diff", "--minimal", *formats, str(tmp_path / "a"), str(tmp_path / "b")]
    standing = subprocess.run(command, capture_output=True, encoding="utf-8").stdout.splitlines()
    assert folder_data.shared_lines(before, here, {}) == len(standing) > 0
    assert sum(section.shared for section in folder_data.compare(before, here)) == len(standing)


@pytest.mark.parametrize(("before", "here"), PAIRS)
def test_sections_hold_every_line_once(before: Lesson, here: Lesson) -> None:
    compared = folder_data.compare(before, here)
    for found, lines in (("before", before), ("here", here)):
        filled = [line for line in lines.source.splitlines() if line.strip()]
        assert sum(getattr(section, found) for section in compared) == len(filled)


def test_a_changed_line_is_shared_no_more() -> None:
    jax = lesson("05")
    other = changed(jax, "attn_weights = softmax(attn_scores)", "attn_weights = softmax(2 * attn_scores)")
    differing = [section for section in folder_data.compare(jax, other) if not section.same]
    assert [(section.name, section.here - section.shared) for section in differing] == [("Model", 1)]
    back = {"softmax(attn_scores)": "softmax(2 * attn_scores)"}
    assert folder_data.shared_lines(jax, other, back) == folder_data.shared_lines(jax, jax, {})


def test_functions_are_the_same_changed_replaced_new_or_gone() -> None:
    numpy, torch = lesson("02"), lesson("03")
    compared = folder_data.compare_functions(numpy, torch)
    assert ("attention", "CausalSelfAttention") in compared.replaced
    assert "softmax_backward" in compared.gone and "init_params" in compared.same and "loss_fn" in compared.changed
    new = [*compared.same, *compared.changed, *(name for _, name in compared.replaced), *compared.new]
    old = [*compared.same, *compared.changed, *(name for name, _ in compared.replaced), *compared.gone]
    assert sorted(new) == sorted(folder_data.functions_of(torch))
    assert sorted(old) == sorted(folder_data.functions_of(numpy))
    assert folder_data.compare_functions(torch, torch).same == list(folder_data.functions_of(torch))
    assert "pad" in folder_data.compare_functions(torch, lesson("04")).new


def test_what_is_the_same_in_all_folders_is_told_from_what_is_not(made: Material) -> None:
    same = {section: same for section, _, same in folder_data.overview(made)}
    assert same["Parameters"] and not same["Model"]
    counts = {section: lines for section, lines, _ in folder_data.overview(made)}
    assert counts["Gradients"] == [len(folder_data.lines_of(lesson, "Gradients")) for lesson in made.lessons]
    groups = folder_data.alike(made, "linear")
    assert sorted(number for group in groups for number in group) == [lesson.number for lesson in made.lessons]
    assert ["03", "04"] in groups and ["01"] in groups


def test_a_mistake_is_newly_impossible_where_the_folder_before_could_make_it() -> None:
    found = folder_data.newly_impossible(lesson("04"), lesson("05"))
    assert [mistake.name for mistake in found] == ["gradients-not-reset"]
    assert found[0].impossible
    assert folder_data.newly_impossible(None, lesson("01")) == []


# What was measured
def test_speeds_are_the_figures_of_the_page(checkout: Path) -> None:
    page = checkout / folder_data.PERFORMANCE
    one, many = (folder_data.speeds(checkout, heading) for heading in (folder_data.ONE_DOCUMENT, folder_data.BATCH))
    rows = [line.split("|") for line in page.read_text(encoding="utf-8").splitlines() if line.startswith("| 05_jax |")]
    assert [one.text(lesson("05"), i) for i in range(5)] == [cell.strip() for cell in rows[1][2:7]]
    assert one.of(lesson("05")) == [float(cell) for cell in rows[1][2:7]]
    assert (one.documents, many.documents) == (1, 32)
    numpy = one.of(lesson("02"))
    assert numpy[0] == pytest.approx(one.of(lesson("01"))[0] / one.times(lesson("01"), lesson("02")))
    row = "| 02_numpy_manual_backprop (numpy) |"
    rewrite(page, f"{row} {numpy[0]} |", f"{row} 4,321.5 |")
    again = folder_data.speeds(checkout, folder_data.ONE_DOCUMENT)
    assert again.text(lesson("02")) == "4,321.5" and again.of(lesson("02")) == [4321.5, *numpy[1:]]


def test_where_one_folder_becomes_faster_than_another() -> None:
    table = folder_data.Table("", ["small", "middle", "large"], {"01_a": ["1", "2", "9"], "02_b": ["2", "2", "3"]})
    speeds = folder_data.Speeds(1, table)
    a, b = (replace(lesson("01"), folder=folder) for folder in ("01_a", "02_b"))
    assert speeds.first_faster(b, a) == "large"
    assert speeds.first_faster(a, b) == "small"
    assert speeds.times(a, b, -1) == 3


def test_a_folder_that_nobody_has_measured_has_no_figures() -> None:
    new = replace(lesson("06"), folder="07_x")
    speeds = folder_data.speeds(ROOT, folder_data.ONE_DOCUMENT)
    assert set(speeds.of(new)) == {None} and speeds.text(new) == "–"
    assert speeds.times(new, lesson("06")) is None and speeds.first_faster(new, lesson("06")) is None
    assert folder_data.table(ROOT, folder_data.README, "What gets downloaded").cell(new, "download") == ""


def test_rows_of_several_folders_and_of_several_engines() -> None:
    downloads = folder_data.table(ROOT, folder_data.README, "What gets downloaded")
    assert downloads.cell(lesson("03"), "download") == downloads.cell(lesson("04"), "download") != ""
    assert downloads.cell(lesson("03"), "download") != downloads.cell(lesson("05"), "download") != ""
    assert folder_data.table(ROOT, folder_data.PERFORMANCE, "What a step is made of").label(lesson("02")) == "02, NumPy"


def test_the_machine_and_the_bounds_are_quoted(checkout: Path) -> None:
    said = folder_data.machine(checkout)
    assert f"All figures were taken on {said}. " in (checkout / folder_data.PERFORMANCE).read_text(encoding="utf-8")
    bounds = folder_data.bounds(checkout, "losses on names")
    assert set(bounds) == {"float64", "float32"} and float(bounds["float64"]) < float(bounds["float32"])


@pytest.mark.parametrize(
    ("old", "new", "asked"),
    [
        ("## The model grows", "## Larger", lambda root: folder_data.speeds(root, folder_data.ONE_DOCUMENT)),
        ("a step, one document:", "a step:", lambda root: folder_data.speeds(root, folder_data.ONE_DOCUMENT)),
        ("All figures were taken on", "Taken on", folder_data.machine),
    ],
)
def test_a_figure_that_is_not_found_is_said_in_one_line(checkout: Path, old: str, new: str, asked: object) -> None:
    rewrite(checkout / folder_data.PERFORMANCE, old, new)
    with pytest.raises(UserError) as error:
        asked(checkout)
    assert str(checkout / folder_data.PERFORMANCE) in str(error.value) and "\n" not in str(error.value)


def test_a_page_that_is_not_there_is_said_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="What gets downloaded"):
        folder_data.table(tmp_path, folder_data.README, "What gets downloaded")


def test_an_exercise_is_one_of_the_folder() -> None:
    shown = folder_data.exercise(lesson("02"), "softmax-backward")
    assert "main.py exercise softmax-backward" in shown and "cd 02_numpy_manual_backprop" in shown
    assert "\n\n" not in shown, "Markdown would end the block there"
    with pytest.raises(UserError, match="softmax-backward"):
        folder_data.exercise(lesson("02"), "no-such-exercise")


# What is computed
def test_a_graph_is_what_can_be_reached_from_the_loss(explicit: ModuleType, made: Material) -> None:
    recording = folder_data.shortest(made)
    counted = folder_data.graph(explicit, recording.params, recording.tokens)
    state = explicit.State({name: rows.tolist() for name, rows in recording.params.items()})
    loss = explicit.loss_fn(state.params, recording.tokens, len(recording.tokens) - 1, explicit.CONFIG)
    explicit.tape.clear()
    reached, waiting = {}, [loss]
    while waiting:
        value = waiting.pop()
        if id(value) not in reached:
            reached[id(value)] = value
            waiting += value.children
    computed = [value for value in reached.values() if value.children]
    assert counted.values == len(computed)
    assert counted.edges == sum(len(value.children) for value in computed)
    assert counted.largest == max(len(value.children) for value in computed)
    assert counted.weights == sum(rows.size for rows in recording.params.values())
    assert counted.touched == sum(np.count_nonzero(grad) for grad in recording.grads.values())
    assert counted.binary > counted.values > counted.silent > 0
    assert explicit.tape == []


def test_gradients_of_two_recordings_are_compared_by_name(made: Material) -> None:
    key = next(iter(made.recordings))
    ours, theirs = made.recordings[key], made.explicit_recordings[key]
    assert folder_data.gradients_apart(ours, theirs) < 1e-12
    name = next(iter(ours.grads))
    moved = {**ours.grads, name: ours.grads[name] + 0.5}
    assert folder_data.gradients_apart(replace(ours, grads=moved), theirs) == pytest.approx(0.5)


def test_functions_with_a_partner_for_the_way_back() -> None:
    pairs = folder_data.with_backward(lesson("02"))
    assert "linear" in pairs and "split_heads" not in pairs
    assert folder_data.with_backward(lesson("03")) == []


def test_names_with_a_repeated_letter(reference: ModuleType, made: Material) -> None:
    """As the model reads them: the letters that are inputs, and not the one that is only to be predicted."""
    read = [doc[: reference.CONFIG.block_size - 1] for doc in made.training.documents]
    repeated = [doc for doc in read if re.search(r"(.).*\1", doc)]
    assert folder_data.with_repeated_tokens(reference) == repeated
    assert 0 < len(repeated) < len(read)


def test_padding_is_counted_as_04_says_of_itself(explicit: ModuleType) -> None:
    batch_size = folder_data.own_settings(lesson("04"))["batch_size"]
    places, predictions = folder_data.places(explicit, batch_size)
    readme = (lesson("04").path.parent / "README.md").read_text(encoding="utf-8")
    assert f"Of the {places:,} places in 500 batches, {predictions:,} hold a prediction" in readme
    alone, same = folder_data.places(explicit, 1)
    assert alone == same
    longest = explicit.CONFIG.block_size
    assert folder_data.places(explicit, 1, longest) == (explicit.CONFIG.num_steps * longest, same)


def test_rows_of_a_batch_are_filled_up(explicit: ModuleType, made: Material) -> None:
    vocabulary = folder_data.shortest(made).vocabulary
    rows = folder_data.padded(explicit, 8, vocabulary, 5)
    docs = explicit.load_docs(explicit.NAMES, random.Random(explicit.CONFIG.seed))[:8]
    cut = [["BOS", *doc, "BOS"][: explicit.CONFIG.block_size + 1] for doc in docs]
    length, wanted = max(map(len, cut)), cut[:5]
    assert rows == [row + [""] * (length - len(row)) for row in wanted]


def test_padding_moves_nothing_on_the_right_and_a_missing_mask_shows(reference: ModuleType, made: Material) -> None:
    recording = folder_data.shortest(made)
    moved = folder_data.moved_by_padding(reference, recording, 0)
    assert moved.count > 0 and moved.right < 1e-12 and moved.left > 0.1
    no_mask = next(m for m in mistakes.read(lesson(REFERENCE).path.parent) if m.name == "no-causal-mask")
    broken = ModuleType("broken")
    exec(mistakes.apply(lesson(REFERENCE).source, no_mask.edits), broken.__dict__)
    assert folder_data.moved_by_padding(broken, recording, 0).right > 1e-3


def test_the_mean_over_tokens_is_not_the_mean_of_means(made: Material) -> None:
    recordings = folder_data.recordings_at_the_end(made)
    by_token, by_document = folder_data.two_means(recordings)
    each = [loss for recording in recordings for loss in [recording.loss] * (len(recording.tokens) - 1)]
    assert by_token == pytest.approx(np.mean(each))
    assert by_document == pytest.approx(np.mean([recording.loss for recording in recordings]))
    assert len(recordings) == len({recording.document for recording in recordings})


def test_own_settings_are_those_in_which_a_folder_differs() -> None:
    assert {lesson.number: folder_data.own_settings(lesson) for lesson in LESSONS} == {
        lesson.number: {"batch_size": 32} if lesson.number == "04" else {} for lesson in LESSONS
    }
    assert folder_data.own_settings(changed(lesson("01"), "CONFIG = Config()", "CONFIG = Config(seed=7)")) == {
        "seed": 7
    }


def test_digits_and_scaled_numbers() -> None:
    assert (folder_data.digits(np.float32), folder_data.digits(np.float64)) == (7, 16)
    scaled = folder_data.scaled(np.array([0.0, -0.00042, 0.0001]))
    assert scaled.factor == 10_000 and scaled.array == pytest.approx([0, -4.2, 1])
    assert folder_data.scaled(np.array([12.0])).factor == 1
    assert folder_data.scaled(np.zeros(2)).factor == 1


# The chapters
def test_each_folder_has_a_chapter_and_a_new_one_need_not(made: Material) -> None:
    addresses = [chapter.address for chapter in chapters.all_chapters(made) if not chapter.section]
    assert addresses == [f"chapter-{lesson.folder}.html" for lesson in LESSONS]
    new = replace(made.lessons[-1], folder="07_x")
    with_new = replace(made, lessons=[*made.lessons, new])
    assert [chapter.address for chapter in chapters.all_chapters(with_new) if not chapter.section] == addresses


def test_a_chapter_says_what_is_computed(site: Path, made: Material) -> None:
    for number in ("02", "03", "04", "05", "06"):
        facts = folder_data.facts(made, number)
        page = (site / f"chapter-{facts.here.folder}.html").read_text(encoding="utf-8")
        assert f"measured on {facts.machine}." in page
        speeds = facts.batch if number == "04" else facts.one_document
        for i in range(len(speeds.sizes)):
            assert f'<td class="number">{speeds.text(facts.here, i)}</td>' in page
        for section in facts.sections[1:]:
            shared = "all" if section.same else section.shared
            numbers = "".join(f'<td class="number">{count}</td>' for count in (section.before, section.here, shared))
            assert f'<th scope="row">{section.name}</th>{numbers}' in page
