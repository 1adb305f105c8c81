"""mkdocs hook: makes pages of files outside docs/, and makes the repository's links work on the site."""

import gc
import importlib
import pkgutil
import posixpath
import re
import subprocess
import sys
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit
from xml.etree.ElementTree import Element, SubElement

from markdown import Markdown
from markdown.extensions import Extension
from markdown.treeprocessors import Treeprocessor
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

from sameface import v1

ROOT = Path(__file__).resolve().parents[2]
# Other files of the repository that the site shows → their names on the site.
SHOWN = {
    "README.md": "index.md",
    "CONTRIBUTING.md": "contributing.md",
    "CHANGELOG.md": "changelog.md",
    "LICENSE": "license.txt",
    "tests/data/portraits/CREDITS.md": "credits.md",
}
COMMANDS = {"sameface": "sameface.cli.main", "sameface-train": "sameface_train.cli"}


class SiteLinks(Treeprocessor):
    """Points every relative link at the page of its file. If the site has no such page, it shows the file's path.

    A link is relative to the file that contains it: README.md says ``docs/api.md``, docs/api.md says ``../protos``.
    """

    page: Page
    shown: dict[Path, str]
    """Every file that the site shows, and its name on the site."""
    repository: str | None
    """Address of the repository's web pages; None if mkdocs.yml has none."""

    def run(self, root: Element) -> None:
        """Change the links of one page."""
        here = self.page.file
        source = Path(here.abs_src_path) if here.abs_src_path else ROOT / "docs" / here.src_uri
        for element in root.iter():
            attribute = {"a": "href", "img": "src"}.get(element.tag, "")
            address = urlsplit(element.get(attribute, ""))
            if address.scheme or address.netloc or not address.path:
                continue
            target = Path(posixpath.normpath(source.parent / address.path))
            if target in self.shown:
                path = posixpath.relpath(self.shown[target], posixpath.dirname(here.src_uri) or ".")
                element.set(attribute, urlunsplit(address._replace(path=path)))
            elif element.tag == "a" and target.exists():
                self._name(element, target.relative_to(ROOT).as_posix())

    def _name(self, link: Element, path: str) -> None:
        """Link to a file in the repository's web pages, or turn the link into text with the file's path."""
        if self.repository:
            link.set("href", f"{self.repository.rstrip('/')}/blob/HEAD/{path}")
            return
        text, after = "".join(link.itertext()), link.tail
        link.clear()
        link.tail = after
        if path.endswith(text):
            link.tag, link.text = "code", path
        else:
            link.tag, link.text = "span", f"{text} ("
            code = SubElement(link, "code")
            code.text, code.tail = path, ")"


class LinksExtension(Extension):
    """Adds `SiteLinks` to Markdown."""

    def extendMarkdown(self, md: Markdown) -> None:  # noqa: N802  # the name that Markdown calls
        """Run after the inline patterns (20), which make the links, and before mkdocs (0), which checks them."""
        md.treeprocessors.register(LINKS, "site_links", 10)


LINKS = SiteLinks()


def on_startup(command: str, dirty: bool) -> None:
    """Collect no garbage: a build ends soon and keeps nearly all that it makes, and looking through it takes time."""
    if command == "build":
        gc.disable()


def on_config(config: MkDocsConfig) -> None:
    """Add the link rewriting to Markdown."""
    LINKS.repository = config.repo_url
    config.markdown_extensions.append(LinksExtension())  # Markdown also accepts instances


def on_files(files: Files, config: MkDocsConfig) -> None:
    """Add the files outside docs/, the command line reference, and the link targets of messages in signatures."""
    for module in pkgutil.iter_modules(v1.__path__, f"{v1.__name__}."):
        if module.name.endswith("_pb2"):
            for message in importlib.import_module(module.name).DESCRIPTOR.message_types_by_name:
                config.plugins["autorefs"].register_url(f"{module.name}.{message}", f"api.html#{message.lower()}")
    for path, name in SHOWN.items():
        files.append(File.generated(config, name, abs_src_path=str(ROOT / path)))
    files.append(File.generated(config, "reference/cli.md", content=command_line()))


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> None:
    """Tell the link rewriting which page is next."""
    LINKS.page = page
    # Once for a page: each text of a reference is converted by itself, a thousand times.
    LINKS.shown = {
        Path(file.abs_src_path): file.src_uri for file in files if file.abs_src_path and file.inclusion.is_included()
    }
    if page.is_homepage:
        page.meta["hide"] = ["navigation"]


def on_page_content(html: str, page: Page, config: MkDocsConfig, files: Files) -> None:
    """Hide the table of contents of a page without sections."""
    if not any(heading.children for heading in page.toc):
        page.meta["hide"] = ["toc"]


def command_line() -> str:
    """Return the reference of the commands, which typer writes from their help texts."""
    lines, heading = ["# Command line", ""], ""
    for command, module in COMMANDS.items():
        arguments = [sys.executable, "-m", "typer", module, "utils", "docs", "--name", command]
        written = subprocess.run(arguments, capture_output=True, text=True, check=True).stdout
        for line in re.sub(r"^# ", "## ", written).splitlines():
            if line.startswith("#"):
                heading = line.strip("# `").replace(" ", "-")
            # typer shortens the summaries in its lists of commands, so a link replaces them.
            lines.append(re.sub(r"^\* `([a-z][\w-]*)`: .*$", rf"* [`\1`](#{heading}-\1)", line))
    return "\n".join(lines)
