"""The site as a whole: every page as browsers show it, its size, and that it follows the lessons."""

import gzip
import re
import shutil
import time
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from microgpt_course import build, bundle, lessons

MEGABYTE = 1_000_000
TAGS = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]


def every_page(site: Path) -> list[str]:
    return sorted(path.name for path in site.glob("*.html"))


class Page(HTMLParser):
    """What a page links to, what it loads, and the ids that can be linked to."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.links: set[str] = set()
        self.loads: set[str] = set()
        self.ids: list[str] = []
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = dict(attrs)
        if tag == "a" and found.get("href"):
            self.links.add(found["href"] or "")
        if tag == "link" and found.get("rel") == "stylesheet":
            self.loads.add(found["href"] or "")
        self.loads |= {source for source in [found.get("src")] if source}
        self.ids += [name for name in [found.get("id")] if name]


# What is built
def test_every_link_leads_somewhere_within_the_site(site: Path) -> None:
    found = {name: Page(site / name) for name in every_page(site)}
    for name, page in found.items():
        assert len(page.ids) == len(set(page.ids)), f"{name} has an id twice"
        for link in page.links:
            if re.match(r"[a-z]+:", link):
                continue
            path, _, anchor = link.partition("#")
            target = path.partition("?")[0] or name
            assert target in found, f"{name} links to {link}"
            assert not anchor or anchor in found[target].ids, f"{name} links to {link}"


def test_a_page_loads_nothing_from_elsewhere(site: Path) -> None:
    for name in every_page(site):
        assert all((site / load).is_file() for load in Page(site / name).loads), name


def test_the_site_is_as_small_as_it_is_to_be(site: Path) -> None:
    assert sum(path.stat().st_size for path in site.rglob("*") if path.is_file()) < 15 * MEGABYTE
    first = Page(site / "index.html")
    assert (site / "index.html").stat().st_size + sum((site / load).stat().st_size for load in first.loads) < 100_000
    for name in every_page(site):
        texts = [site / name, *(site / load for load in Page(site / name).loads)]
        assert sum(len(gzip.compress(path.read_bytes())) for path in texts) < 300_000, name


def test_building_again_without_a_change_writes_nothing(site: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in site.rglob("*")}
    began = time.monotonic()
    build.build(out=site)
    assert time.monotonic() - began < 10
    assert {path: path.stat().st_mtime_ns for path in site.rglob("*")} == before


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkout of its own, with another number in every lesson and a seventh folder."""
    root = tmp_path_factory.mktemp("copy")
    left = shutil.ignore_patterns(".venv", "__pycache__", ".jax_cache", "uv.lock")
    for name in ("data", "docs", "harness", "README.md", "PERFORMANCE.md", "ARCHITECTURE.md"):
        source = lessons.ROOT / name
        if source.is_dir():
            shutil.copytree(source, root / name, ignore=left)
        else:
            shutil.copy(source, root / name)
    for lesson in lessons.read_all():
        folder = root / lesson.folder
        shutil.copytree(lesson.path.parent, folder, ignore=left)
        changed = lesson.source.replace("temperature: float = 0.5", "temperature: float = 0.75")
        changed = changed.replace("num_steps: int = 500", "num_steps: int = 40")
        assert changed.count("0.75") == 1 and changed.count("= 40") == 1
        (folder / "microgpt.py").write_text(changed, encoding="utf-8")
    shutil.copytree(root / lessons.read_all()[-1].folder, root / "07_copy")
    return root


def test_code_figures_and_answers_follow_the_lessons(site: Path, copy: Path, tmp_path: Path) -> None:
    build.build(root=copy, out=tmp_path / "site")
    before, after = (
        {path.name: path.read_text(encoding="utf-8") for path in where.glob("*.html")}
        for where in (site, tmp_path / "site")
    )
    assert "0.75" in after["read.html"] and "0.75" not in before["read.html"]
    assert after["run.html"].count("/   40 | loss") == 40
    assert "07 copy" in after["index.html"] and 'data-column="07"' in after["read.html"]
    assert "seven" in after["index.html"] and "seven" not in before["index.html"].split("<h2>")[0]
    chapters = [name for name in before if name.startswith("chapter-")]
    followed = [name for name in chapters if name in after and numbers(before[name]) != numbers(after[name])]
    assert set(followed) >= {
        f"chapter-{section.lower()}.html"
        for section in ("Hyperparameters", "Loss", "Gradients", "Optimizer", "Training", "Inference", "Model")
    }


def numbers(html: str) -> list[str]:
    return re.findall(r"\d+\.\d+", re.sub(r"<[^>]*>", " ", html))


# As a browser shows it
def test_no_page_has_a_barrier(site: Path, served: str, visit: Any) -> None:
    """Whoever uses a keyboard or a screen reader, or needs contrast, can read every page, in light and in dark."""
    if not shutil.which("npm"):
        pytest.skip("axe comes by npm, which is not installed")
    axe = bundle.install(dev=True) / "node_modules" / "axe-core" / "axe.min.js"
    found = []
    for name in every_page(site):
        page = visit(f"{served}{name}")
        page.add_script_tag(path=axe)
        found += violations(page, name, {"type": "tag", "values": TAGS})
        page.emulate_media(color_scheme="dark")
        found += violations(page, f"{name} in dark", {"type": "rule", "values": ["color-contrast"]})
        page.context.close()
    assert found == []


def violations(page: Any, name: str, rules: dict[str, Any]) -> list[tuple[str, str, str]]:
    result = page.evaluate("rules => axe.run(document, {runOnly: rules, resultTypes: ['violations']})", rules)
    return [(name, broken["id"], broken["nodes"][0]["html"][:200]) for broken in result["violations"]]


def test_every_page_opens_as_a_file(site: Path, visit: Any) -> None:
    for name in every_page(site):
        page = visit(f"{site.as_uri()}/{name}")
        page.wait_for_load_state()
        page.context.close()


def test_no_page_is_wider_than_a_phone(site: Path, served: str, visit: Any) -> None:
    for name in every_page(site):
        page = visit(f"{served}{name}", width=390)
        page.wait_for_load_state()
        assert page.evaluate("document.documentElement.scrollWidth") <= 390, name
        page.context.close()


def test_without_scripts_there_is_text_and_code(site: Path, served: str, visit: Any) -> None:
    for name in every_page(site):
        page = visit(f"{served}{name}", scripts=False)
        assert page.locator("main h1").count() == 1, name
        assert len(page.locator("main").inner_text()) > 500, name
        if name.startswith("chapter-"):
            assert page.locator("main pre.code").first.is_visible(), name
        page.context.close()


def test_the_theme_is_chosen_by_keyboard_and_remembered(served: str, visit: Any) -> None:
    page = visit(f"{served}index.html", scheme="light")
    light = page.evaluate("getComputedStyle(document.body).backgroundColor")
    page.locator("#theme").focus()
    page.keyboard.press("Enter")
    dark = page.evaluate("getComputedStyle(document.body).backgroundColor")
    page.reload()
    assert dark != light
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == dark
