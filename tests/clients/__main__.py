"""`make clients`: runs the commands of docs/other-languages.md, in a copy of what they need, against a real service.

A section is skipped if one of its tools is missing. The exit code is 1 if a command fails.
"""

import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from sameface.launcher import served
from tests.documents import ADDRESS, BLOCK

ROOT = Path(__file__).resolve().parents[2]
DOCUMENT = ROOT / "docs" / "other-languages.md"
COPIED = ("buf.yaml", "protos", "clients", "docs/examples", "tests/data/portraits")
LEFT_OUT = shutil.ignore_patterns("node_modules", "dist", "target", "*.tgz")


@dataclass(frozen=True, slots=True)
class Section:
    """A part of the document with commands to run."""

    title: str
    tools: tuple[str, ...]
    commands: tuple[str, ...]

    def missing(self) -> list[str]:
        """Return the tools that are not installed."""
        return [tool for tool in self.tools if shutil.which(tool) is None]


def sections(text: str) -> list[Section]:
    """Return the sections of a document that have commands, in their order."""
    found = []
    for part in re.split(r"^##+ ", text, flags=re.M)[1:]:
        title, _, body = part.partition("\n")
        commands = tuple(one["code"] for one in BLOCK.finditer(body) if one["language"] == "sh")
        tools = re.search(r"^Tools: (.*)$", body, re.M)
        if commands:
            assert tools, f"{title}: no line of tools"
            found.append(Section(title, tuple(re.findall(r"`([\w-]+)`(?! has)", tools[1])), commands))
    return found


def main() -> int:
    failed = []
    os.environ["PATH"] = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    with tempfile.TemporaryDirectory(prefix="sameface-clients-") as name:
        folder = Path(name)
        checkout = folder / "checkout"
        for one in COPIED:
            source, target = ROOT / one, checkout / one
            target.parent.mkdir(parents=True, exist_ok=True)
            if source.is_dir():
                shutil.copytree(source, target, ignore=LEFT_OUT)
            else:
                shutil.copy(source, target)
        with served(folder / "data", folder / "serve.log", ["--inference", "onnx"]) as service:
            for section in sections(DOCUMENT.read_text()):
                if missing := section.missing():
                    print(f"skipped  {section.title}: {', '.join(missing)} not installed", flush=True)
                    continue
                began = time.monotonic()
                for command in section.commands:
                    shown = command.replace(ADDRESS, service.address)
                    ended = subprocess.run(["bash", "-euo", "pipefail", "-c", shown], cwd=checkout, check=False)
                    if ended.returncode:
                        failed.append(section.title)
                        print(f"FAILED   {section.title}: exit code {ended.returncode} of\n{shown}", flush=True)
                        break
                else:
                    print(f"ok       {section.title} ({time.monotonic() - began:.0f} s)", flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
