"""Notes on the lessons' functions, from one TOML file for each section. A note stands once and holds for all folders:

    [section]
    purpose = "What the section is for."
    compare = "What to look at when the folders stand side by side."
    differs = { "05_jax" = "What this folder does differently in this section." }

    [function.attention]                 # or [function."Value.__add__"] for a method
    does = "What it does, and why it is there."
    shapes = { x = "(T, C)", result = "(T, C)" }
    formula = ["{{ math('y =', frac('x', root('D'))) }}"]      # each on a line of its own
    formula_text = ["y = x / √D"]                              # the same for screen readers
    differs = { "05_jax" = "What this folder does differently." }

`formula_of = "attention"` in place of the two takes another function's formula. [name.PADDING] is a note on a name that
is no function. Texts are Markdown of one paragraph. Numbers of the lessons are not typed in: `{{ config.n_embd }}`,
`{{ vocab_size }}` and `{{ ln_vocab }}` are filled in when a note is rendered. mathml.py says how a formula is written.
"""

import difflib
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from jinja2 import Environment, StrictUndefined, TemplateError
from markdown_it import MarkdownIt
from markupsafe import Markup
from microgpt_harness.system.errors import UserError

from . import mathml
from .lessons import SECTIONS

Names = Mapping[str, set[str]]  # by folder

KINDS = ("function", "name")
KEYS = ("does", "shapes", "formula", "formula_text", "formula_of", "differs")
SECTION_KEYS = ("purpose", "compare", "differs")

MARKDOWN = MarkdownIt("commonmark", {"html": False})
TEMPLATES = Environment(undefined=StrictUndefined)
TEMPLATES.globals |= {made.__name__: made for made in mathml.IN_TEMPLATES}


@dataclass(frozen=True)
class Rendered:
    """A note as HTML, with the numbers of the lessons in it."""

    does: Markup
    shapes: dict[str, Markup]  # by the name of an argument or a variable; `result` is what is returned
    formula: Markup  # one or more <math> elements, or nothing
    formula_text: str
    differs: dict[str, Markup]  # by folder


@dataclass(frozen=True)
class RenderedSection:
    """A section's note as HTML."""

    purpose: Markup
    compare: Markup
    differs: dict[str, Markup]  # by folder


@dataclass(frozen=True)
class Note:
    """What is said about a function, method, class or other name. Its texts are templates: `render` fills them in."""

    where: str  # file and table, for messages
    kind: str  # one of KINDS
    name: str
    does: str
    shapes: dict[str, str] = field(default_factory=dict)
    formula: tuple[str, ...] = ()
    formula_text: tuple[str, ...] = ()
    differs: dict[str, str] = field(default_factory=dict)

    def render(self, **values: Any) -> Rendered:
        """Return the note with `config`, `vocab_size` and `ln_vocab` filled in. UserError for what cannot be."""
        texts = [fill(text, f"{self.where} formula_text", values) for text in self.formula_text]
        formulas = [fill(formula, f"{self.where} formula", values) for formula in self.formula]
        return Rendered(
            does=to_html(self.does, f"{self.where} does", values),
            shapes=all_to_html(self.shapes, f"{self.where} shapes", values),
            formula=Markup("\n").join(mathml.with_text(*both) for both in zip(formulas, texts)),
            formula_text="\n".join(texts),
            differs=all_to_html(self.differs, f"{self.where} differs", values),
        )


@dataclass(frozen=True)
class SectionNote:
    """What is said about a section. Its texts are templates too."""

    where: str
    purpose: str
    compare: str
    differs: dict[str, str] = field(default_factory=dict)

    def render(self, **values: Any) -> RenderedSection:
        return RenderedSection(
            purpose=to_html(self.purpose, f"{self.where} purpose", values),
            compare=to_html(self.compare, f"{self.where} compare", values),
            differs=all_to_html(self.differs, f"{self.where} differs", values),
        )


@dataclass(frozen=True)
class Notes:
    sections: dict[str, SectionNote]
    notes: dict[tuple[str, str], Note]  # by section and name

    def of(self, section: str, function: str) -> Note | None:
        return self.notes.get((section, function))

    def section(self, section: str) -> SectionNote | None:
        return self.sections.get(section)


# Reading
def load(folder: Path) -> Notes:
    """Read the notes of a folder, a file for each section. UserError, in one line, for what is wrong in them."""
    sections: dict[str, SectionNote] = {}
    notes: dict[tuple[str, str], Note] = {}
    for path in sorted(folder.glob("*.toml")):
        section = path.stem.capitalize()
        if section not in SECTIONS:
            raise UserError(f"{path}: no section has that name; there are: {', '.join(SECTIONS).lower()}")
        content = parse(path)
        sections[section] = section_note(path, content.pop("section", None))
        notes |= {(section, note.name): note for note in notes_of(path, content)}
    return Notes(sections, notes)


def parse(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(f"{path}: {error.strerror}") from error
    except (UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise UserError(f"{path}: {error}") from error


def section_note(path: Path, table: Any) -> SectionNote:
    where = f"{path}, [section]"
    if table is None:
        raise UserError(f"{where}: is missing; it says `purpose` and `compare`")
    check_keys(where, table, SECTION_KEYS, needed=("purpose", "compare"))
    return SectionNote(
        where=where,
        purpose=text_of(where, "purpose", table["purpose"]),
        compare=text_of(where, "compare", table["compare"]),
        differs=texts_of(where, "differs", table),
    )


def notes_of(path: Path, content: dict[str, Any]) -> Iterator[Note]:
    check_keys(str(path), content, KINDS)
    functions, others = tables_of(path, "function", content), tables_of(path, "name", content)
    for name in functions.keys() & others.keys():
        raise UserError(f"{path}: there are [function.{name}] and [name.{name}]; one of them has to go")
    for name, table in functions.items():
        yield note_of(path, "function", name, table, functions)
    for name, table in others.items():
        yield note_of(path, "name", name, table, functions)


def tables_of(path: Path, kind: str, content: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Return the notes of a kind, by name, as tables that hold no unknown key."""
    tables: dict[str, dict[str, Any]] = content.get(kind, {})
    check_keys(f"{path}, [{kind}]", tables)
    for name, table in tables.items():
        check_keys(title(path, kind, name), table, KEYS, needed=("does",))
    return tables


def title(path: Path, kind: str, name: str) -> str:
    return f'{path}, [{kind}."{name}"]' if "." in name else f"{path}, [{kind}.{name}]"


def note_of(path: Path, kind: str, name: str, table: dict[str, Any], functions: dict[str, dict[str, Any]]) -> Note:
    where = title(path, kind, name)
    formulas = with_formula(where, table, functions)
    formula, formula_text = lines_of(where, "formula", formulas), lines_of(where, "formula_text", formulas)
    if len(formula) != len(formula_text):
        raise UserError(f"{where} formula_text: has to have as many lines as formula")
    return Note(
        where=where,
        kind=kind,
        name=name,
        does=text_of(where, "does", table["does"]),
        shapes=texts_of(where, "shapes", table),
        formula=formula,
        formula_text=formula_text,
        differs=texts_of(where, "differs", table),
    )


def with_formula(where: str, table: dict[str, Any], functions: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """Return the table that holds a note's formula: its own, or that of the function named by `formula_of`."""
    if "formula_of" not in table:
        return table
    if "formula" in table or "formula_text" in table:
        raise UserError(f"{where} formula_of: the note has a formula of its own")
    name = text_of(where, "formula_of", table["formula_of"])
    if "formula" not in functions.get(name, {}):
        raise UserError(f"{where} formula_of: this file has no formula of {name}")
    return functions[name]


def check_keys(where: str, table: Any, known: tuple[str, ...] = (), needed: tuple[str, ...] = ()) -> None:
    """UserError unless this is a table with the needed keys, and with known ones only, where these are given."""
    if not isinstance(table, dict):
        raise UserError(f"{where}: has to be a table")
    for key in table:
        if known and key not in known:
            raise UserError(f"{where} {key}: is unknown here; there are: {', '.join(known)}")
    for key in needed:
        if key not in table:
            raise UserError(f"{where} {key}: is missing")


def texts_of(where: str, key: str, table: dict[str, Any]) -> dict[str, str]:
    texts = table.get(key, {})
    check_keys(f"{where} {key}", texts)
    return {name: text_of(where, f"{key}.{name}", text) for name, text in texts.items()}


def lines_of(where: str, key: str, table: dict[str, Any]) -> tuple[str, ...]:
    lines = table.get(key, [])
    if not isinstance(lines, list):
        raise UserError(f"{where} {key}: has to be a list of texts, one for each line")
    return tuple(text_of(where, key, line) for line in lines)


def text_of(where: str, key: str, text: Any) -> str:
    """Return a text without blanks around it. UserError unless it is one, and a template that can be read."""
    if not isinstance(text, str) or not text.strip():
        raise UserError(f"{where} {key}: has to be a text")
    try:
        TEMPLATES.parse(text)
    except TemplateError as error:
        raise UserError(f"{where} {key}: {error.message}") from error
    return text.strip()


# Filling in
def all_to_html(texts: dict[str, str], where: str, values: Mapping[str, Any]) -> dict[str, Markup]:
    return {name: to_html(text, f"{where}.{name}", values) for name, text in texts.items()}


def to_html(text: str, where: str, values: Mapping[str, Any]) -> Markup:
    return Markup(MARKDOWN.renderInline(fill(text, where, values)))


def fill(text: str, where: str, values: Mapping[str, Any]) -> str:
    try:
        return TEMPLATES.from_string(text).render(**values)
    except (TemplateError, ValueError, TypeError) as error:
        raise UserError(f"{where}: {error}") from error


# Checking
def check(notes: Notes, functions: Names, names: Names | None = None) -> list[str]:
    """Hold the notes against the lessons: `functions` are the qualified names in each folder, `names` the other names.

    UserError for a note on what no lesson has, or on a folder that is not there. Returns a line for each function that
    has no note: a new folder may bring some. Notes on other names are looked at only if `names` are given.
    """
    for section in notes.sections.values():
        check_folders(section, functions)
    for note in notes.notes.values():
        check_folders(note, functions)
        known = functions if note.kind == "function" else names
        if known is not None:
            check_name(note, set().union(*known.values()))
    noted = {note.name for note in notes.notes.values()}
    return [
        f"{folder}: there is no note on {name}; its section's file in notes/ needs one"
        for folder in sorted(functions)
        for name in sorted(functions[folder] - noted)
    ]


def check_folders(note: Note | SectionNote, folders: Names) -> None:
    for folder in note.differs:
        if folder not in folders:
            raise UserError(f"{note.where} differs: no lesson is in {folder}; there are: {', '.join(sorted(folders))}")


def check_name(note: Note, known: set[str]) -> None:
    if note.name not in known:
        near = difflib.get_close_matches(note.name, sorted(known), n=1)
        hint = f"; did you mean {near[0]}?" if near else ""
        raise UserError(f"{note.where}: no lesson has a {note.kind} of that name{hint}")
