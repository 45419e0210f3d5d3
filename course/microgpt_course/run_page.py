"""The page in which a lesson runs: the text of the file, what CPython printed, and the names that it trains on."""

import hashlib
from pathlib import Path, PurePosixPath
from typing import Any

from . import bundle, code
from .lessons import Cell, Lesson
from .material import EXPLICIT, Material
from .site import WEB, Site

AT = PurePosixPath("/course")  # where the repository stands in the worker's file system
NAMES = "data/names.txt"  # in the repository


def build(site: Site, made: Material) -> None:
    left_out = bundle.build(site)
    if left_out and left_out not in made.left_out:
        made.left_out.append(left_out)
    lesson = made.lesson(EXPLICIT)
    printed = made.explicit_training.printed
    if not left_out:
        site.web("plot.js", "charts.js", "charts.css", "run/run.js")
        site.data("run/lesson", lesson_data(lesson, printed) | {"tokens": number_of_tokens(made.root)})
        site.data("run/files", files(made.root), packed=True)
    site.web("run/run.css")
    site.page(
        "run.html",
        "run.html",
        lesson=lesson,
        file=file_html(lesson),
        printed=printed,
        left_out=left_out,
        megabytes=round(python_size(site) / 1e6, 1),
    )


def lesson_data(lesson: Lesson, printed: list[str]) -> dict[str, Any]:
    """Return what the page needs at first. `path` is where the file stands in the worker."""
    content = lesson.path.read_bytes()
    return {
        "name": f"{lesson.folder}/{lesson.path.name}",
        "path": str(AT / lesson.folder / lesson.path.name),
        "text": content.decode(),
        "sha256": hashlib.sha256(content).hexdigest(),
        "printed": printed,
        "names": str(AT / NAMES),
    }


def files(root: Path) -> dict[str, str]:
    """Return what is loaded with Python, by its path in the worker."""
    asked = WEB / "run" / "prompt.py"
    return {
        str(AT / NAMES): (root / NAMES).read_text(encoding="utf-8"),
        f"/course_page/{asked.name}": asked.read_text(encoding="utf-8"),
    }


def number_of_tokens(root: Path) -> int:
    """Return how many tokens the file's own names are made of: their characters, and BOS."""
    return len(set("".join((root / NAMES).read_text(encoding="utf-8").split()))) + 1


def file_html(lesson: Lesson) -> str:
    whole = Cell("", "", "file", 1, len(lesson.source.splitlines()), lesson.source)
    return code.block_html(lesson, whole, f"{lesson.folder}/{lesson.path.name}")


def python_size(site: Site) -> int:
    """Return how many bytes a reader loads with the first press of Run."""
    return sum(len(content) for path, content in site.files.items() if path.startswith("data/python/"))
