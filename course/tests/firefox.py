"""Firefox for tests: `with firefox.started() as page: page.open(address); page.click("#run")`.

Every method is a command of firefox.mjs, which says why it is puppeteer that drives Firefox.
"""

import json
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from microgpt_course import bundle

DRIVER = Path(__file__).with_suffix(".mjs")
NAMES = ("firefox-esr", "firefox")


class Firefox:
    def __init__(self, process: "subprocess.Popen[str]") -> None:
        self.process = process
        self.version = self.answer()

    def answer(self) -> Any:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        assert line, "Firefox's driver has ended"
        answer = json.loads(line)
        assert "error" not in answer, answer["error"]
        return answer["value"]

    def ask(self, name: str, *args: object) -> Any:
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps({"name": name, "args": args}) + "\n")
        self.process.stdin.flush()
        return self.answer()

    def open(self, address: str) -> None:
        """Open an address in a new tab, instead of the one before."""
        self.ask("open", address)

    def reload(self) -> None:
        self.ask("reload")

    def click(self, selector: str) -> None:
        self.ask("click", selector)

    def focus(self, selector: str) -> None:
        self.ask("focus", selector)

    def type(self, text: str) -> None:
        self.ask("type", text)

    def press(self, keys: str) -> None:
        """Press keys together: "Control+Enter"."""
        self.ask("press", keys)

    def text(self, selector: str) -> str:
        return self.ask("text", selector)

    def evaluate(self, script: str) -> Any:
        return self.ask("evaluate", script)

    def wait_for(self, condition: str, seconds: float = 60) -> None:
        """Wait until a JavaScript expression is true."""
        self.ask("wait_for", condition, seconds)

    def problems(self) -> list[str]:
        """Return errors in the open page and its console, and requests to other origins, since it was opened."""
        return self.ask("problems")


@contextmanager
def started() -> Iterator[Firefox]:
    """Yield a Firefox, or skip the test, with the reason, where there is none."""
    program = next((found for name in NAMES if (found := shutil.which(name))), None)
    if program is None:
        pytest.skip("there is no Firefox on this machine: apt-get install firefox-esr")
    try:
        packages = bundle.install(dev=True)
    except bundle.LeftOut as reason:
        pytest.skip(f"Firefox's driver: {reason}")
    command = ["node", str(DRIVER), str(packages), program]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, encoding="utf-8"
    ) as process:
        yield Firefox(process)
        process.stdin.close()  # it ends then, and Firefox with it
