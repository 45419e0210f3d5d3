"""The parts of the site. Each is a module with `build(site, made)`, which adds its pages and their data.

A part that cannot be built here, because Node is missing, adds a line to `made.left_out` that says so.
"""

from collections.abc import Callable
from dataclasses import dataclass

from markupsafe import Markup

from . import chapters, exercises_page, read_page, run_page
from .code import cell_html
from .material import Material
from .site import Site

SHOWN = "mlp"  # the function on the front page: short, and different enough


@dataclass(frozen=True)
class Part:
    address: str  # of its first page
    title: str  # in the navigation
    about: str  # on the front page
    build: Callable[[Site, Material], None]


PARTS = [
    Part(
        "chapters.html",
        "Chapters",
        "One for each section of the files: an idea in plain words, its code, the numbers of one document followed "
        "through, and something to play with. Then one for each folder: what its framework changes.",
        chapters.build,
    ),
    Part(
        "read.html",
        "Read",
        "All files side by side, in the columns that you choose. What differs stands out, and a click on a name shows "
        "the numbers that it held.",
        read_page.build,
    ),
    Part(
        "run.html",
        "Run",
        "The file in pure Python, as it is, in an editor: run it here, change it, give it names of your own, and ask "
        "the trained model what comes next.",
        run_page.build,
    ),
    Part(
        "exercises.html",
        "Exercises",
        "Parts of the file to write yourself, mistakes to find, things to add. The check says which known mistake "
        "wrong numbers look like.",
        exercises_page.build,
    ),
]


def front_page(site: Site, made: Material) -> None:
    """The first page: what this is, and one function as all lessons write it."""
    row = next(row for row in made.rows if row.key == SHOWN)
    versions = [
        (lesson, Markup(cell_html(lesson, row.cells[lesson.folder])))
        for lesson in made.lessons
        if lesson.folder in row.cells
    ]
    trained = made.training
    site.page(
        "index.html",
        "index.html",
        lessons=made.lessons,
        parts=PARTS,
        row=row,
        versions=versions,
        first=trained.printed[0],
        last=trained.printed[len(trained.losses) - 1],
        names=trained.names,
        documents=f"{len((made.root / 'data' / 'names.txt').read_text(encoding='utf-8').split()):,}",
        identical=sum(row.identical for row in made.rows),
        rows=len(made.rows),
    )
