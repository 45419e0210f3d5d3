"""What a build writes: pages, data that pages load, and other files. Nothing else writes into the site's folder.

Pages have to work when their file is opened by a double click. There a page may load scripts and pictures that stand
beside it, and nothing by `fetch`; so data are scripts that hand a value to `Course.provide` (web/course.js).
"""

import base64
import gzip
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

HERE = Path(__file__).resolve().parents[1]
TEMPLATES = HERE / "templates"
WEB = HERE / "web"
WORDS = ("no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve")


@dataclass
class Site:
    """The files of a site by path, kept until `write`. `nav` lists address and title of what every page links to."""

    nav: list[tuple[str, str]] = field(default_factory=list)
    files: dict[str, bytes] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.jinja = Environment(
            loader=FileSystemLoader([TEMPLATES, HERE / "chapters", HERE / "notes"]),
            autoescape=True,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        self.jinja.filters["words"] = lambda number: WORDS[number] if number < len(WORDS) else str(number)

    def page(self, path: str, template: str, **context: Any) -> None:
        """Add a page. `path` is its address within the site, without folders: "read.html"."""
        text = self.jinja.get_template(template).render(page=path, nav=self.nav, **context)
        self.asset(path, text)

    def data(self, name: str, value: Any, packed: bool = False) -> None:
        """Add data that a page loads by `Course.load(name)`. Packed they take a fifth of the place on the disk."""
        text = json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
        if packed:
            text = f'Course.unpack("{base64.b64encode(gzip.compress(text.encode(), mtime=0)).decode()}")'
        self.asset(f"data/{name}.js", f"Course.provide({json.dumps(name)},{text});\n")

    def asset(self, path: str, content: str | bytes) -> None:
        file = content.encode() if isinstance(content, str) else content
        if self.files.setdefault(path, file) != file:
            raise ValueError(f"{path} is written twice, with different content")

    def web(self, *names: str) -> None:
        """Add files of web/ as they are."""
        for name in names:
            self.asset(f"assets/{Path(name).name}", (WEB / name).read_bytes())

    def write(self, folder: Path) -> None:
        """Write what has changed, and remove what is no longer part of the site."""
        for path, content in self.files.items():
            file = folder / path
            if not file.exists() or file.read_bytes() != content:
                file.parent.mkdir(parents=True, exist_ok=True)
                file.write_bytes(content)
        for file in sorted(folder.rglob("*"), reverse=True):
            if file.is_file() and file.relative_to(folder).as_posix() not in self.files:
                file.unlink()
            elif file.is_dir() and not any(file.iterdir()):
                file.rmdir()
