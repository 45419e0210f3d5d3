"""The notes are complete, say nothing that a lesson could contradict tomorrow, and are refused where they are wrong."""

import ast
import builtins
import importlib.util
import keyword
import math
import re
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator
from dataclasses import asdict
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from microgpt_course import lessons, mathml, notes
from microgpt_course.notes import Note, Notes
from microgpt_harness.system.errors import UserError

FOLDER = Path(__file__).resolve().parents[1] / "notes"
LESSONS = {lesson.folder: lesson for lesson in lessons.read_all()}
FUNCTIONS = {folder: lesson.functions() for folder, lesson in LESSONS.items()}
ALL_SOURCES = "\n".join(lesson.source for lesson in LESSONS.values())
PLACEHOLDER = re.compile(r"\{\{.*?\}\}", re.DOTALL)
NUMBER = re.compile(r"(?<![\w.])\d+(?:\.\d+)?(?:e-?\d+)?")
INNOCENT = {0, 1, 2}  # numbers of formulas, not settings of a lesson
MATHML = {
    "math",
    "mrow",
    "mi",
    "mn",
    "mo",
    "mtext",
    "mspace",
    "mfrac",
    "msqrt",
    "msub",
    "msup",
    "msubsup",
    "munder",
    "mover",
}


@cache
def read() -> Notes:
    return notes.load(FOLDER)


@cache
def values() -> dict[str, Any]:
    """Return what a lesson really has, for the placeholders."""
    path = next(iter(LESSONS.values())).path
    spec = importlib.util.spec_from_file_location("lesson_for_notes", path)
    assert spec and spec.loader
    lesson = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(lesson)
    docs = lesson.NAMES.read_text(encoding="utf-8").split()
    vocab_size = lesson.Tokenizer(docs).vocab_size
    return {"config": asdict(lesson.Config()), "vocab_size": vocab_size, "ln_vocab": math.log(vocab_size)}


@cache
def words(text: str) -> set[str]:
    return set(re.findall(r"\w+", text))


def all_notes() -> list[Note]:
    return list(read().notes.values())


def texts_of(note: Note) -> list[str]:
    return [note.does, *note.shapes.values(), *note.formula, *note.formula_text, *note.differs.values()]


def all_texts() -> list[str]:
    of_sections = [[note.purpose, note.compare, *note.differs.values()] for note in read().sections.values()]
    return [text for texts in (*of_sections, *map(texts_of, all_notes())) for text in texts]


@cache
def definitions(folder: str) -> list[tuple[str, str, str]]:
    """Return section, qualified name and source of each function, class and method: found here without lessons.py."""
    source = LESSONS[folder].source
    lines = source.splitlines()

    def walk(body: list[ast.stmt], before: str) -> Iterator[tuple[str, str, str]]:
        for node in body:
            if isinstance(node, ast.FunctionDef | ast.ClassDef):
                banner = next(line for line in reversed(lines[: node.lineno]) if line.startswith("# %% "))
                text = "\n".join(lines[node.lineno - 1 : node.end_lineno])
                yield banner.removeprefix("# %% "), before + node.name, text
            if isinstance(node, ast.ClassDef):
                yield from walk(node.body, f"{before}{node.name}.")

    return list(walk(ast.parse(source).body, ""))


# The notes that are there
@pytest.mark.parametrize("folder", LESSONS)
def test_every_function_has_a_note_in_its_section(folder: str) -> None:
    found = definitions(folder)
    assert len(found) > 10
    assert [(section, name) for section, name, _ in found if not read().of(section, name)] == []


def test_check_finds_nothing_wrong_and_nothing_missing() -> None:
    names = {folder: {cell.name for cell in lesson.cells} for folder, lesson in LESSONS.items()}
    assert notes.check(read(), FUNCTIONS, names) == []


def test_every_section_has_a_note() -> None:
    assert list(read().sections) == sorted(lessons.SECTIONS)


@pytest.mark.parametrize("note", all_notes(), ids=lambda note: note.name)
def test_a_note_has_what_a_reader_needs(note: Note) -> None:
    shown = note.render(**values())
    assert 1 <= len(re.findall(r"\.\s|\.$", shown.does)) <= 6
    is_class = note.name[0].isupper() and "." not in note.name
    assert shown.shapes or is_class or note.kind == "name", "neither a class nor a name without a shape"
    assert "{{" not in shown.does + shown.formula + shown.formula_text


@pytest.mark.parametrize("note", [note for note in all_notes() if note.formula], ids=lambda note: note.name)
def test_a_formula_is_mathml_with_a_text(note: Note) -> None:
    shown = note.render(**values())
    assert len(shown.formula.split("\n")) == len(note.formula)
    for line, text in zip(shown.formula.split("\n"), shown.formula_text.split("\n")):
        formula = ElementTree.fromstring(line)
        assert formula.tag == "math" and formula.get("display") == "block"
        assert formula.get("alttext") == formula.get("aria-label") == text.strip() != ""
        assert {element.tag for element in formula.iter()} <= MATHML
        assert all(
            len(element) == 2 for tag in ("mfrac", "msub", "msup", "munder", "mover") for element in formula.iter(tag)
        )


def test_no_number_of_a_lesson_is_typed_in() -> None:
    constants = [node.value for node in ast.walk(ast.parse(ALL_SOURCES)) if isinstance(node, ast.Constant)]
    of_lessons = {value for value in constants if type(value) in (int, float)} - INNOCENT
    assert of_lessons >= set(values()["config"].values()) - INNOCENT
    of_lessons |= {values()["vocab_size"], round(values()["ln_vocab"], 1), round(values()["ln_vocab"], 2)}
    for text in all_texts():
        typed = {float(number) for number in NUMBER.findall(PLACEHOLDER.sub("", without_axes(text)))}
        assert typed & of_lessons == set(), text
        assert not any(character in text for character in "½¼⅓"), text


def without_axes(text: str) -> str:
    """Return a text without the names of axes that lessons write with a number, such as 4C."""
    axes = set(re.findall(r"\b\d[A-Z]\b", text))
    assert axes <= set(re.findall(r"\b\d[A-Z]\b", ALL_SOURCES)), text
    return re.sub(r"\b\d[A-Z]\b", "", text)


@pytest.mark.parametrize("note", all_notes(), ids=lambda note: note.name)
def test_shapes_are_those_of_names_in_the_function(note: Note) -> None:
    sources = [text for folder in LESSONS for _, name, text in definitions(folder) if name == note.name]
    there = words("\n".join(sources) if note.kind == "function" else ALL_SOURCES)
    named = {name for names in note.shapes for name in names.split(", ")} - {"result"}
    assert named <= there


@pytest.mark.parametrize("note", [*all_notes(), *read().sections.values()], ids=lambda note: note.where)
def test_code_in_a_text_stands_in_the_lesson_that_it_is_about(note: Any) -> None:
    """A name in a text about a folder occurs in that folder's file; others occur in some file."""
    general = [note.does, *note.shapes.values()] if isinstance(note, Note) else [note.purpose, note.compare]
    about = [(ALL_SOURCES, text) for text in general]
    about += [(LESSONS[folder].source, text) for folder, text in note.differs.items()]
    python = {*dir(builtins), *keyword.kwlist}
    for source, text in about:
        code = " ".join(re.findall(r"`([^`]+)`", PLACEHOLDER.sub("", text)))
        assert set(re.findall(r"[^\W\d]\w*", code)) - python - words(source) == set(), text


def test_numbers_follow_the_lesson() -> None:
    other = {
        **values(),
        "config": {**values()["config"], "n_embd": 60, "n_head": 5, "block_size": 77},
        "vocab_size": 99,
    }
    config = read().of("Hyperparameters", "Config")
    assert config and config.render(**other).formula_text == "D = C / H = 60 / 5 = 12"
    assert "<mn>60</mn>" in config.render(**other).formula
    generate = read().of("Inference", "generate")
    assert generate and "77" in generate.render(**other).does
    section = read().section("Tokenizer")
    assert section and "99" in section.render(**other).purpose


# Folders and functions that come and go
def test_a_seventh_folder_needs_no_edit() -> None:
    assert notes.check(read(), {**FUNCTIONS, "07_x": FUNCTIONS["02_numpy_manual_backprop"]}) == []


def test_a_new_function_is_reported() -> None:
    lines = notes.check(read(), {**FUNCTIONS, "07_x": {"attention", "rotate"}})
    assert lines == ["07_x: there is no note on rotate; its section's file in notes/ needs one"]


def test_a_note_on_a_folder_that_is_gone_is_refused() -> None:
    fewer = {folder: names for folder, names in FUNCTIONS.items() if folder != "06_mlx"}
    with pytest.raises(UserError, match=r"\.toml, \[.*\] differs: no lesson is in 06_mlx; there are: 01_pure_python"):
        notes.check(read(), fewer)


def test_a_note_on_a_function_that_is_gone_is_refused() -> None:
    renamed = {folder: names - {"rmsnorm"} | {"rms_norm"} for folder, names in FUNCTIONS.items()}
    with pytest.raises(
        UserError, match=r"model\.toml, \[function\.rmsnorm\]: no lesson has .*; did you mean rms_norm\?"
    ):
        notes.check(read(), renamed)


def test_a_note_on_another_name_that_is_gone_is_refused() -> None:
    with pytest.raises(UserError, match=r"\[name\.\w+\]: no lesson has a name of that name"):
        notes.check(read(), FUNCTIONS, {folder: {"tape"} for folder in LESSONS})


# Files that are wrong
SECTION = '[section]\npurpose = "For this."\ncompare = "Look at that."\n'
WRONG = {
    "no-toml": ("[section", "model.toml: "),
    "no-section": ('[function.gpt]\ndoes = "It."', "model.toml, [section]: is missing"),
    "section-without-purpose": ('[section]\ncompare = "That."', "[section] purpose: is missing"),
    "unknown-kind": (SECTION + '[class.GPT]\ndoes = "It."', "model.toml class: is unknown here"),
    "unknown-key": (SECTION + '[function.gpt]\ndo = "It."', "[function.gpt] do: is unknown here"),
    "nothing-said": (SECTION + "[function.gpt]", "[function.gpt] does: is missing"),
    "empty": (SECTION + '[function.gpt]\ndoes = " "', "[function.gpt] does: has to be a text"),
    "a-number": (SECTION + "[function.gpt]\ndoes = 3", "[function.gpt] does: has to be a text"),
    "no-table": (SECTION + '[function]\ngpt = "It."', "[function.gpt]: has to be a table"),
    "functions-are-no-table": ("function = 3\n" + SECTION, "[function]: has to be a table"),
    "shapes-are-no-table": (SECTION + '[function.gpt]\ndoes = "It."\nshapes = 3', "[function.gpt] shapes: has to be a"),
    "formula-is-no-list": (
        SECTION + '[function.gpt]\ndoes = "It."\nformula = "x"',
        "[function.gpt] formula: has to be",
    ),
    "no-text": (SECTION + '[function.gpt]\ndoes = "It."\nformula = ["x"]', "[function.gpt] formula_text: has to have"),
    "template": (SECTION + '[function."A.b"]\ndoes = "{{ a"', '[function."A.b"] does: unexpected end of template'),
    "twice": (SECTION + '[function.a]\ndoes = "It."\n[name.a]\ndoes = "It."', "[function.a] and [name.a]"),
    "no-such-formula": (
        SECTION + '[function.a]\ndoes = "It."\nformula_of = "b"',
        "formula_of: this file has no formula",
    ),
    "two-formulas": (
        SECTION + '[function.a]\ndoes = "It."\nformula_of = "b"\nformula = []',
        "formula_of: the note has a formula of its own",
    ),
}


@pytest.mark.parametrize("wrong", WRONG)
def test_a_wrong_file_gives_one_line_with_file_and_key(wrong: str, tmp_path: Path) -> None:
    content, says = WRONG[wrong]
    (tmp_path / "model.toml").write_text(content, encoding="utf-8")
    assert says in refusal(tmp_path)


def test_a_file_that_is_not_utf8_is_refused(tmp_path: Path) -> None:
    (tmp_path / "model.toml").write_bytes(b'[section]\npurpose = "\xff"')
    assert "model.toml: " in refusal(tmp_path)


def test_a_file_of_no_section_is_refused(tmp_path: Path) -> None:
    (tmp_path / "modell.toml").write_text(SECTION, encoding="utf-8")
    assert "modell.toml: no section has that name; there are: data, tokenizer" in refusal(tmp_path)


def refusal(folder: Path) -> str:
    with pytest.raises(UserError) as caught:
        notes.load(folder)
    assert "\n" not in str(caught.value)
    assert str(folder) in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize(
    ("formula", "says"),
    [
        ("{{ config.n_heads }}", "has no attribute 'n_heads'"),
        ("{{ math('f(x') }}", "a bracket is not closed"),
        ("{{ math('x)') }}", "a bracket is closed that nobody opened"),
        ("{{ math('x[y[i]]') }}", "is not part of an index"),
    ],
)
def test_a_wrong_formula_gives_one_line_with_its_place(formula: str, says: str) -> None:
    note = Note("model.toml, [function.gpt]", "function", "gpt", "It.", formula=(formula,), formula_text=("x",))
    with pytest.raises(UserError, match=r"^model\.toml, \[function\.gpt\] formula: ") as caught:
        note.render(**values())
    assert says in str(caught.value)


# How a formula is written
@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ("x", "<mi>x</mi>"),
        ("x[t,i]^2", "<msubsup><mi>x</mi><mrow><mi>t</mi><mo>,</mo><mi>i</mi></mrow><mn>2</mn></msubsup>"),
        ("w^⊤", "<msup><mi>w</mi><mo>⊤</mo></msup>"),
        ("a - 1", "<mrow><mi>a</mi><mo>−</mo><mn>1</mn></mrow>"),
        ("f(x)", "<mrow><mi>f</mi><mrow><mo>(</mo><mi>x</mi><mo>)</mo></mrow></mrow>"),
        ("a b", '<mrow><mi>a</mi><mspace width="0.2em"/><mi>b</mi></mrow>'),
        ("a < b", "<mrow><mi>a</mi><mo>&lt;</mo><mi>b</mi></mrow>"),
    ],
)
def test_a_line_of_a_formula(written: str, expected: str) -> None:
    assert mathml.row(written) == expected


def test_parts_of_a_formula_stand_in_each_other() -> None:
    assert mathml.frac(1, mathml.root("D")) == "<mfrac><mn>1</mn><msqrt><mi>D</mi></msqrt></mfrac>"
    assert mathml.with_text(mathml.math("x"), 'a "text" < 1').startswith(
        '<math alttext="a &#34;text&#34; &lt; 1" aria-label="a &#34;text&#34; &lt; 1" display="block">'
    )
