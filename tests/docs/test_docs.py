"""What the documents show works, and what they point to exists.

Every ``sh`` and ``python`` block is run, in the order of its document, unless a comment above it says why not.
"""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from sameface.launcher import Service, served

DOCUMENTS = sorted([Path("README.md"), Path("CONTRIBUTING.md"), Path("CHANGELOG.md"), *Path("docs").glob("*.md")])
BLOCK = re.compile(r"(?P<note><!-- not run: [^\n]+ -->\n)?```(?P<language>\w*)\n(?P<code>.*?)```", re.S)
ADDRESS = "127.0.0.1:50051"


def blocks(document: Path) -> list[tuple[str, str]]:
    """Return language and code of every block that is run."""
    found = BLOCK.finditer(document.read_text())
    return [(one["language"], one["code"]) for one in found if one["language"] in ("sh", "python") and not one["note"]]


RUNNABLE = [document for document in DOCUMENTS if blocks(document)]


@pytest.fixture
def address(tmp_path: Path) -> Iterator[Service]:
    """A service with an empty store for each document."""
    with served(tmp_path / "data", tmp_path / "log", ["--inference", "onnx"]) as service:
        yield service


@pytest.mark.parametrize("document", RUNNABLE, ids=str)
def test_every_block_runs_as_it_stands(document: Path, address: Service, tmp_path: Path) -> None:
    folder = tmp_path / "checkout"
    folder.mkdir()
    for name in ("tests", "docs", "protos", "model_repository"):
        (folder / name).symlink_to(Path(name).resolve())
    environment = {
        **os.environ,
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "SAMEFACE_ADDRESS": address.address,
        # What is in use by the service of this test is nobody's fault.
        "SAMEFACE_LISTEN": "127.0.0.1:0",
        "SAMEFACE_DATA_DIR": str(tmp_path / "other"),
    }
    for language, code in blocks(document):
        shown = code.replace(ADDRESS, address.address)
        command = ["bash", "-euo", "pipefail", "-c", shown] if language == "sh" else [sys.executable, "-c", shown]
        result = subprocess.run(
            command, cwd=folder, env=environment, capture_output=True, text=True, check=False, timeout=120
        )
        assert result.returncode == 0, f"{document}:\n{code}\n{result.stdout}\n{result.stderr}"


def test_blocks_that_are_not_run_say_why() -> None:
    assert len(RUNNABLE) >= 3
    for document in DOCUMENTS:
        for one in BLOCK.finditer(document.read_text()):
            assert one["language"] in ("", "sh", "python"), f"{document} has a block in {one['language']}"


@pytest.mark.parametrize("document", DOCUMENTS, ids=str)
def test_links_lead_somewhere(document: Path) -> None:
    prose = re.sub(r"`[^`\n]*`", "", BLOCK.sub("", document.read_text()))
    for target in re.findall(r"\]\(([^)#]+)[^)]*\)", prose):
        if not target.startswith("http"):
            assert (document.parent / target).exists(), f"{document} points to {target}"


@pytest.fixture(scope="session")
def node_example(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The Node.js example with what it needs installed, outside the checkout but beside the same protos."""
    if shutil.which("npm") is None:
        pytest.skip("npm is not installed")
    root = tmp_path_factory.mktemp("node")
    (root / "protos").symlink_to(Path("protos").resolve())
    example = root / "docs" / "examples" / "node"
    shutil.copytree("docs/examples/node", example, ignore=shutil.ignore_patterns("node_modules"))
    command = ["npm", "install", "--no-package-lock", "--no-audit", "--no-fund", "--ignore-scripts"]
    subprocess.run(command, cwd=example, check=True, capture_output=True)
    return example


@pytest.mark.parametrize(
    ("probe", "code", "said"),
    [
        ("jacinda_ardern_2022.jpg", 0, "MATCH"),
        ("rishi_sunak.jpg", 1, "NO_MATCH"),
        ("CREDITS.md", 3, "IMAGE_UNDECODABLE"),
    ],
)
def test_the_node_example_verifies(
    node_example: Path, service: Service, portraits: Path, probe: str, code: int, said: str
) -> None:
    photos = [str(portraits.resolve() / name) for name in ("jacinda_ardern_2018.jpg", probe)]
    command = ["node", "verify.js", service.address, "node-example", "ardern", *photos]
    result = subprocess.run(command, cwd=node_example, capture_output=True, text=True, check=False)
    assert result.returncode == code, result.stderr
    assert (result.stdout + result.stderr).startswith(said)
