"""Builds the site from a checkout: everything, or nothing where nothing has changed since the last time."""

import shutil
from pathlib import Path

from . import material
from .lessons import ROOT
from .material import Material
from .site import HERE, Site

OUT = HERE / "site"
STAMP = ".built"  # beside the site's files: what they were built from, and what was left out


def build(root: Path = ROOT, out: Path = OUT) -> list[str]:
    """Bring the site up to date. Return a line for each part that is left out. UserError for what cannot be built."""
    stamp = out / STAMP
    key = material.digest(sources(root)) + (" with node" if shutil.which("npm") else " without node")
    if stamp.exists():
        built, *left_out = stamp.read_text(encoding="utf-8").splitlines()
        if built == key:
            return left_out
        stamp.unlink()
    made = material.collect(root)
    site = Site()
    fill(site, made)
    if not made.left_out or shutil.which("npm") is None:  # what npm could not do today is tried again the next time
        site.asset(STAMP, "\n".join([key, *made.left_out]))
    site.write(out)
    return made.left_out


def sources(root: Path) -> list[Path]:
    """Return all files that decide what the site is."""
    lessons = [path for pattern in ("*.py", "*.toml", "*.md") for path in root.glob(f"[0-9]*/{pattern}")]
    shared = [
        root / "data" / "names.txt",
        *root.glob("harness/microgpt_harness/**/*.py"),
        *root.glob("*.md"),
        *root.glob("docs/*.md"),
    ]
    course = [path for path in HERE.rglob("*") if path.is_file() and not ignored(path.relative_to(HERE))]
    return sorted({*lessons, *shared, *course})


def ignored(path: Path) -> bool:
    return path.parts[0] in ("site", "tests") or any(part.startswith((".", "__")) for part in path.parts)


def fill(site: Site, made: Material) -> None:
    from . import pages

    site.nav = [(part.address, part.title) for part in pages.PARTS]
    site.jinja.globals["number_of_folders"] = len(made.lessons)
    site.web("style.css", "course.js")
    pages.front_page(site, made)
    for part in pages.PARTS:
        part.build(site, made)
