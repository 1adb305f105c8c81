"""The documentation site builds without a warning, has no broken link and loads nothing from another host."""

import functools
import html
import importlib
import importlib.util
import inspect
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from types import ModuleType
from typing import Any, cast
from urllib.parse import unquote, urlsplit

import pytest

from sameface.client import Client
from sameface_qdrant import Attached, Store, blocking

ADDRESSES = {"src", "href", "srcset", "poster", "data", "action"}


class Document(HTMLParser):
    """What one page links to and loads, and its anchors."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.path = path
        self.anchors: set[str] = set()
        self.links: list[str] = []
        self.loads: list[str] = []
        self.classes: set[str] = set()
        self._in_style = False
        self.feed(path.read_text())

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self._in_style = tag == "style"
        for name, value in attributes:
            if value is None:
                continue
            if name in ("id", "name"):
                self.anchors.add(value)
            elif name == "class":
                self.classes.update(value.split())
            elif name == "style":
                self.loads += loaded_by_css(value)
            elif name in ADDRESSES:
                (self.links if tag == "a" else self.loads).append(value)

    def handle_data(self, text: str) -> None:
        if self._in_style:
            self.loads += loaded_by_css(text)


def loaded_by_css(text: str) -> list[str]:
    """Return what a style sheet or a style loads."""
    found = re.findall(r"url\(\s*['\"]?([^'\")]+)|@import\s+['\"]([^'\"]+)", text)
    return [one or other for one, other in found]


@functools.cache
def documents(folder: Path) -> dict[Path, Document]:
    """Return every page of a site."""
    return {path: Document(path) for path in sorted(folder.rglob("*.html"))}


def broken(folder: Path) -> Iterator[str]:
    """Yield every link, image, style and script of a site that leads nowhere, and every anchor that is not there."""
    pages = documents(folder)
    for page in pages.values():
        for address in [*page.links, *page.loads]:
            url = urlsplit(address)
            if url.scheme or url.netloc:
                continue
            # Only 404.html has absolute addresses, as it is shown in place of any page.
            start = folder if url.path.startswith("/") else page.path.parent
            path = unquote(url.path).lstrip("/")
            target = (start / path).resolve() if path else page.path
            if target == folder.resolve():
                target = folder / "index.html"
            if not target.is_file():
                yield f"{page.path.name}: {address} is not there"
            elif url.fragment and target in pages and unquote(url.fragment) not in pages[target].anchors:
                yield f"{page.path.name}: {address} has no such anchor"


def elsewhere(folder: Path) -> Iterator[str]:
    """Yield everything that pages and style sheets load from another host. Where `<a href>` leads is not loaded."""
    loads = [(page.path, load) for page in documents(folder).values() for load in page.loads]
    loads += [(path, load) for path in folder.rglob("*.css") for load in loaded_by_css(path.read_text())]
    for path, load in loads:
        url = urlsplit(load)
        if url.netloc or url.scheme not in ("", "data"):
            yield f"{path.name}: {load[:80]}"


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site, built as `make site` does."""
    folder = tmp_path_factory.mktemp("site").resolve()
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(folder)]
    environment = {**os.environ, "NO_MKDOCS_2_WARNING": "1"}
    built = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert built.returncode == 0, built.stderr
    assert built.stderr == ""
    return folder


def test_every_link_image_and_anchor_is_there(site: Path) -> None:
    assert list(broken(site)) == []


def test_nothing_is_loaded_from_another_host(site: Path) -> None:
    assert list(elsewhere(site)) == []
    # The theme loads a library for diagrams, from another host, where a page has one.
    assert not any("mermaid" in page.classes for page in documents(site).values())


def test_broken_links_and_foreign_hosts_are_found(tmp_path: Path) -> None:
    (tmp_path / "index.html").write_text(
        '<h1 id="here"></h1><a href="#here"></a><a href="other.html#there"></a><a href="https://example.org"></a>'
        '<a href="#nowhere"></a><a href="other.html#nowhere"></a><a href="gone.html"></a><img src="gone.png">'
        '<script src="//example.org/a.js"></script><style>@import "https://example.org/b.css";</style>'
    )
    (tmp_path / "other.html").write_text('<p id="there" style="background: url(https://example.org/c.png)"></p>')
    (tmp_path / "own.css").write_text("a { background: url(data:image/png;base64,AA==) } @import url('http://d.org/d')")
    assert list(broken(tmp_path)) == [
        "index.html: #nowhere has no such anchor",
        "index.html: other.html#nowhere has no such anchor",
        "index.html: gone.html is not there",
        "index.html: gone.png is not there",
    ]
    assert list(elsewhere(tmp_path)) == [
        "index.html: //example.org/a.js",
        "index.html: https://example.org/b.css",
        "other.html: https://example.org/c.png",
        "own.css: http://d.org/d",
    ]


def test_the_search_knows_every_page_and_works_from_disk(site: Path) -> None:
    written = (site / "search" / "search_index.json").read_text()
    entries = {entry["location"]: entry for entry in json.loads(written)["docs"]}
    assert {location.partition("#")[0] for location in entries} == {
        path.relative_to(site).as_posix() for path in documents(site) if path.name != "404.html"
    }
    assert "threshold" in entries["concepts.html"]["text"] + entries["index.html"]["text"]
    assert "reference/plugin.html#sameface_qdrant.Store.verify" in entries
    assert (site / "search" / "search_index.js").read_text() == f"var __index = {written}"


@pytest.mark.parametrize(
    ("name", "page"),
    [
        ("sameface_qdrant", "plugin"),
        ("sameface_qdrant.blocking", "blocking"),
        ("sameface_qdrant.policy", "policy"),
        ("sameface_qdrant.metrics", "metrics"),
        ("sameface_qdrant.errors", "plugin-errors"),
        ("sameface.client", "client"),
    ],
)
def test_every_public_name_is_in_the_reference(site: Path, name: str, page: str) -> None:
    module = importlib.import_module(name)
    exported = getattr(module, "__all__", None) or [
        one
        for one, value in vars(module).items()
        if not one.startswith("_") and (inspect.isclass(value) or inspect.isfunction(value))
        if value.__module__ == name
    ]
    anchors = Document(site / "reference" / f"{page}.html").anchors
    assert len(exported) >= 5
    assert [one for one in exported if f"{name}.{one}" not in anchors] == []


@pytest.mark.parametrize(
    ("owner", "page"),
    [
        (Store, "plugin"),
        (Attached, "plugin"),
        (blocking.Store, "blocking"),
        (blocking.Attached, "blocking"),
        (Client, "client"),
    ],
)
def test_every_public_method_is_in_the_reference(site: Path, owner: type, page: str) -> None:
    module = {"client": "sameface.client", "blocking": "sameface_qdrant.blocking"}.get(page, "sameface_qdrant")
    methods = [name for name in dir(owner) if not name.startswith("_") and callable(getattr(owner, name))]
    anchors = Document(site / "reference" / f"{page}.html").anchors
    assert len(methods) >= 7
    assert [name for name in methods if f"{module}.{owner.__name__}.{name}" not in anchors] == []


def shown(page: Path) -> str:
    """Return the text of a page."""
    return html.unescape(re.sub(r"<[^>]*>", "", page.read_text()))


def test_a_method_of_the_client_returns_what_callers_get(site: Path) -> None:
    text = shown(site / "reference" / "client.html")
    assert re.search(r"get_gallery\(gallery: str\) -> Gallery\n", text)
    assert re.search(r"galleries\(\) -> Iterator\[Gallery\]\n", text)


def test_a_blocking_method_has_the_parameters_of_its_coroutine(site: Path) -> None:
    text = shown(site / "reference" / "blocking.html")
    assert re.search(r"enroll\(\s*gallery: str,\s*identity: str,\s*templates: Sequence\[NewTemplate\]", text)


def test_every_command_and_its_options_are_in_the_reference(site: Path) -> None:
    page = site / "reference" / "cli.html"
    assert {"sameface-verify", "sameface-gallery-calibrate", "sameface-train-train"} <= Document(page).anchors
    assert "#sameface-gallery-calibrate" in Document(page).links
    assert "<code>--json</code>: print JSON, one object a line" in page.read_text()


@pytest.fixture(scope="module")
def pages() -> ModuleType:
    """The hook that writes the links."""
    spec = importlib.util.spec_from_file_location("site_pages", "tools/site/pages.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def converted(pages: Any, source: str, page: str, text: str, repository: str | None) -> str:
    """Return Markdown as HTML, as if a file of the repository had it."""

    def file(path: str, name: str) -> Any:
        made = pages.File(name, src_dir=None, dest_dir="", use_directory_urls=False)
        made.abs_src_path = str(Path(path).resolve())
        return made

    pages.LINKS.repository = repository
    files = [file("README.md", "index.md"), file("docs/api.md", "api.md")]
    here = pages.Page(None, file(source, page), {"repo_url": None, "site_url": ""})
    pages.on_page_markdown("", here, None, files)
    return cast(str, pages.Markdown(extensions=[pages.LinksExtension()]).convert(text))


@pytest.mark.parametrize(
    ("text", "shown", "linked"),
    [
        ("[API](../api.md#x)", '<a href="../api.md#x">API</a>', None),
        ("[home](../../README.md)", '<a href="../index.md">home</a>', None),
        (
            "[protos](../../protos)",
            "<code>protos</code>",
            '<a href="https://example.org/r/blob/HEAD/protos">protos</a>',
        ),
        (
            "[how](../../Makefile) it",
            "<span>how (<code>Makefile</code>)</span> it",
            '<a href="https://example.org/r/blob/HEAD/Makefile">how</a> it',
        ),
        ("[gone](../gone.md)", '<a href="../gone.md">gone</a>', None),
        ("[out](https://example.org)", '<a href="https://example.org">out</a>', None),
    ],
)
def test_links_out_of_the_site_become_names_or_lead_to_the_repository(
    pages: ModuleType, text: str, shown: str, linked: str | None
) -> None:
    source = ("docs/reference/plugin.md", "reference/plugin.md", text)
    assert converted(pages, *source, None) == f"<p>{shown}</p>"
    assert converted(pages, *source, "https://example.org/r/") == f"<p>{linked or shown}</p>"
