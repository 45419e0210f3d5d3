"""The chapters: one for each section of the lessons, in their order, and one for each folder.

A chapter is a file in chapters/: Markdown in which Jinja2 puts code, numbers, pictures and answers. `NN-section.md` is
the chapter of a section, `folder-<name of the folder>.md` that of a folder; a folder without a file has none. What is
there for the files to use is in chapter_tools.py.
"""

import re
import traceback
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from jinja2 import TemplateError
from markupsafe import Markup
from microgpt_harness.system.errors import UserError

from .chapter_tools import MARKDOWN, Tools
from .glossary import read_glossary
from .lessons import SECTIONS
from .material import Material
from .site import HERE, WEB, Site

FOLDER = HERE / "chapters"
WORDS_A_MINUTE = 200  # of a text that is thought about
SECONDS_A_LINE = 2  # of code
SECONDS_A_QUESTION = 45


@dataclass(frozen=True)
class Chapter:
    file: Path
    address: str
    number: str  # 5, or that of the folder: 05
    kicker: str  # what stands above the title: "Chapter 5: Model"
    title: str
    section: str = ""  # of the lessons; "" for a folder's chapter


@dataclass(frozen=True)
class Page:
    """A chapter as HTML: its first paragraph, which is its idea, and all that follows."""

    chapter: Chapter
    lead: Markup
    body: Markup
    widgets: list[str]
    minutes: int


def build(site: Site, made: Material) -> None:
    chapters = list(all_chapters(made))
    pages = [render(site, made, chapters, chapter) for chapter in chapters]
    site.web("chapter.css", "plot.js", "widgets.js")
    for name in sorted({name for page in pages for name in page.widgets}):
        site.asset(f"assets/widgets/{name}.js", widget_file(name).read_bytes())
    for i, page in enumerate(pages):
        before = chapters[i - 1] if i else None
        after = chapters[i + 1] if i + 1 < len(chapters) else None
        site.page(page.chapter.address, "chapter.html", shown=page, chapters=chapters, before=before, after=after)
    site.page("chapters.html", "chapters.html", pages=pages)


def all_chapters(made: Material) -> Iterator[Chapter]:
    """Yield the chapters of the sections, then those of the folders, in the order in which they are read."""
    for path in sorted(FOLDER.glob("[0-9]*.md")):
        section = section_of(path)
        number = str(SECTIONS.index(section) + 1)
        address = f"chapter-{section.lower()}.html"
        yield Chapter(path, address, number, f"Chapter {number}: {section}", title_of(path), section)
    for lesson in made.lessons:
        path = FOLDER / f"folder-{lesson.folder}.md"
        if path.exists():
            address = f"chapter-{lesson.folder}.html"
            yield Chapter(path, address, lesson.number, f"Folder {lesson.label}", title_of(path))


def section_of(path: Path) -> str:
    number, _, name = path.stem.partition("-")
    section = SECTIONS[int(number) - 1] if 0 < int(number) <= len(SECTIONS) else ""
    if section.lower() != name:
        raise UserError(f"{path}: a chapter's file is called after its section: 01-{SECTIONS[0].lower()}.md and so on")
    return section


def title_of(path: Path) -> str:
    first = path.read_text(encoding="utf-8").split("\n", 1)[0]
    if not first.startswith("# "):
        raise UserError(f"{path}: the first line is to be the title: # Title")
    return first.removeprefix("# ")


def render(site: Site, made: Material, chapters: list[Chapter], chapter: Chapter) -> Page:
    """Return a chapter's page. UserError, with the chapter's file, for what the chapter asks for and is not there."""
    addresses = {other.section or other.file.stem.removeprefix("folder-"): other for other in chapters}
    tools = Tools(site, made, read_glossary(made.root), addresses, chapter.file)
    try:
        text = site.jinja.get_template(chapter.file.name).render(tools.names())
    except Exception as error:  # whatever a chapter's author wrote there, one line says where and what
        kind = "" if isinstance(error, UserError | TemplateError) else f"{type(error).__name__}: "
        raise UserError(f"{chapter.file}, line {line_of(error, chapter)}: {kind}{error}") from error
    _, _, text = text.partition("\n")  # the title
    lead, body = split_lead(MARKDOWN.render(text))
    lead, body = tools.fill(lead), tools.fill(body)
    return Page(chapter, Markup(lead), Markup(body), list(tools.widgets), minutes(lead + body, tools.questions))


def line_of(error: Exception, chapter: Chapter) -> int:
    """Return the line of a chapter's file at which an error arose."""
    lines = [
        frame.lineno
        for frame in traceback.extract_tb(error.__traceback__)
        if frame.filename.endswith(chapter.file.name)
    ]
    return getattr(error, "lineno", None) or (lines[-1] if lines else 1)


def split_lead(html: str) -> tuple[str, str]:
    """Return the first paragraph, and the rest."""
    first, end, rest = html.partition("</p>")
    return (first + end, rest) if first.startswith("<p>") else ("", html)


def minutes(html: str, questions: int) -> int:
    """Return about how long a chapter takes to read."""
    lines = html.count('class="line"')
    without_code = re.sub(r"<(pre|table|script|svg)\b.*?</\1>", " ", html, flags=re.DOTALL)
    words = len(re.sub(r"<[^>]*>", " ", without_code).split())
    return max(1, round(words / WORDS_A_MINUTE + (lines * SECONDS_A_LINE + questions * SECONDS_A_QUESTION) / 60))


def widget_file(name: str) -> Path:
    return WEB / "widgets" / f"{name}.js"
