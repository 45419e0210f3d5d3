"""What tests of pages share: a built site, at its two kinds of address, and a browser that keeps what goes wrong.

Tests that need a browser are skipped, with the reason, where there is none.
"""

import functools
import http.server
import os
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

BUILD_SECONDS = 300  # the most that a build may take before waiting for it ends


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what a browser is needed for: `pytest -m "not browser"` leaves that out."""
    for item in items:
        if {"browser", "firefox_page"} & set(getattr(item, "fixturenames", ())):
            item.add_marker("browser")


@pytest.fixture(scope="session")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a site that was built for this run of the tests, once for all of its processes."""
    shared = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        shared = shared.parent
    out, ended = shared / "site", shared / "site-ended"
    try:
        (shared / "site-begun").mkdir()
    except FileExistsError:
        wait_for(ended)
    else:
        try:
            build_site(out)
        finally:
            ended.mkdir()
    assert (out / "index.html").is_file(), "the site could not be built"
    return out


@pytest.fixture(scope="session")
def made(site: Path) -> Any:
    """The Material that the site was built from. The build has recorded it, so it is there at once."""
    from microgpt_course import lessons, material

    assert site
    return material.collect(lessons.ROOT)


def build_site(out: Path) -> None:
    from microgpt_course import build

    build.build(out=out)


def wait_for(path: Path) -> None:
    end = time.monotonic() + BUILD_SECONDS
    while not path.exists():
        assert time.monotonic() < end, "the process that builds the site does not come to an end"
        time.sleep(0.2)


@pytest.fixture(scope="session")
def served(site: Path) -> Iterator[str]:
    """The address of a web server for the site, with a slash at its end."""
    handler = functools.partial(Quiet, directory=str(site))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}/"
        server.shutdown()


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture(params=["file", "http"])
def address(request: pytest.FixtureRequest, site: Path) -> str:
    """Where the site is: opened as a file, and from a web server. A test with it runs twice."""
    return f"{site.as_uri()}/" if request.param == "file" else request.getfixturevalue("served")


@pytest.fixture(scope="session")
def browser() -> Iterator[Any]:
    """Debian's Chromium, driven by Playwright."""
    playwright = pytest.importorskip("playwright.sync_api", reason="Playwright is not installed")
    chromium = shutil.which("chromium")
    if not chromium:
        pytest.skip("there is no chromium on this machine: apt-get install chromium")
    root = hasattr(os, "geteuid") and os.geteuid() == 0  # Chromium's sandbox does not work for root
    with playwright.sync_playwright() as started:
        made = started.chromium.launch(executable_path=chromium, args=["--no-sandbox"] if root else [])
        yield made
        made.close()


@pytest.fixture
def visit(browser: Any) -> Iterator[Callable[..., Any]]:
    """Open a page: visit(address, width=390, scheme="dark", scripts=False). What goes wrong in it fails the test.

    That is an error in the page or its console, and a request to another origin.
    """
    contexts, problems = [], []

    def open_page(url: str, width: int = 1440, height: int = 900, scheme: str = "light", scripts: bool = True) -> Any:
        context = browser.new_context(
            viewport={"width": width, "height": height}, color_scheme=scheme, java_script_enabled=scripts
        )
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(30_000)  # a machine that does much else may be slow
        origin = url.split("/")[2]
        page.on("console", lambda message: message.type == "error" and problems.append(f"console: {message.text}"))
        page.on("pageerror", lambda error: problems.append(f"error: {error}"))
        page.on(
            "request", lambda request: elsewhere(request.url, origin) and problems.append(f"request: {request.url}")
        )
        page.goto(url)
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert problems == []


def elsewhere(url: str, origin: str) -> bool:
    """Return whether an address is neither of this site nor within a page."""
    scheme, _, rest = url.partition(":")
    return scheme not in ("data", "blob", "about") and rest.split("/")[2] != origin
