"""The examples of the documents work, and what they link to exists.

Every ``sh`` and ``python`` block is run, in the order of its document, unless a comment above it says why not.
"""

import functools
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from sameface import __version__
from sameface.client import Client
from sameface.launcher import Service, served
from sameface.photo_folders import NAMES_TOLD, Skipped, describe_skipped
from sameface.v1 import face_service_pb2, gallery_service_pb2, migration_service_pb2, system_service_pb2
from sameface.vision.heif import MOST_BOXES, MOST_ITEMS
from sameface.vision.jpeg import MAX_SCANS, MAX_SEGMENTS
from sameface_qdrant import Contract, NewTemplate
from sameface_qdrant.blocking import Store
from tests.documents import ADDRESS, BLOCK
from tests.preloaded import RUN_CODE, preloaded
from tools.transcripts.places import PLACES, stale

DOCUMENTS = sorted(
    [
        *(Path(name) for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md", "SECURITY.md")),
        *Path("docs").glob("*.md"),
        *Path("clients").glob("*/README.md"),
    ]
)
HTTP_ADDRESS = "127.0.0.1:8080"
# One document trains a model, which takes minutes on a machine that is busy.
pytestmark = pytest.mark.timeout(900)


def test_the_fixed_limits_of_a_photo_are_told_as_they_are() -> None:
    text = Path("docs/operations.md").read_text()
    _, _, fixed = text.partition("no setting raises them")
    told = dict(re.findall(r"^\| (\w+ of a [\w ]+) \| ([\d,]+) \|", fixed, re.M))
    assert told == {
        "scans of a JPEG": f"{MAX_SCANS:,}",
        "segments of a JPEG": f"{MAX_SEGMENTS:,}",
        "items of a HEIC or AVIF": f"{MOST_ITEMS:,}",
        "boxes of a HEIC or AVIF": f"{MOST_BOXES:,}",
    }


def test_documents_say_how_many_names_of_unused_files_are_printed() -> None:
    skipped = [Skipped(Path(f"{number}.txt"), "no photo") for number in range(9)]
    (line,) = describe_skipped(skipped)
    assert line.startswith("9 skipped (no photo): ")
    assert line.count(".txt") == NAMES_TOLD == 5
    for document in ("docs/quick-start.md", "CHANGELOG.md"):
        assert "first five names" in " ".join(Path(document).read_text().split())


def blocks(document: Path) -> list[tuple[str, str]]:
    """Return language and code of every block that is run."""
    found = BLOCK.finditer(document.read_text())
    return [(one["language"], one["code"]) for one in found if one["language"] in ("sh", "python") and not one["note"]]


ELSEWHERE = {"plugin.md", "first-hour.md", "first-hour-vectors.md", "first-hour-training.md"}
"""`tests.plugin.test_alone` and `tests.docs.test_first_hour` run them, from the wheel in an empty environment."""
RUNNABLE = [document for document in DOCUMENTS if blocks(document) and document.name not in ELSEWHERE]


@pytest.fixture(scope="module")
def in_process(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """A service for all documents."""
    folder = tmp_path_factory.mktemp("documents")
    with served(folder / "data", folder / "log", ["--inference", "onnx", "--http", "127.0.0.1:0"]) as service:
        yield service


@pytest.fixture
def address(in_process: Service) -> Iterator[str]:
    """The address of a service without a gallery: what a document makes is erased after it."""
    yield in_process.address
    with Client(in_process.address) as client:
        for gallery in list(client.galleries()):
            client.delete_gallery(gallery.name.removeprefix("galleries/"), force=True)


@pytest.fixture(scope="module")
def commands(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder with `sameface`, which need not import its packages for each command."""
    with preloaded(tmp_path_factory.mktemp("commands")) as folder:
        yield folder


@pytest.fixture(scope="module")
def training(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder with `sameface-train` and `RUN_CODE`, which need not import torch for each command."""
    with preloaded(tmp_path_factory.mktemp("training"), "training") as folder:
        yield folder


def embedded_store(folder: Path) -> None:
    """Make a store with a gallery, as a service that was stopped leaves it."""
    folder.mkdir(parents=True)
    with Store.open(f"edge://{folder / 'store'}") as store:
        contract = Contract("voices", version=1, sha256="a" * 64, dimension=4, preprocessing="none")
        store.galleries.create("staff", contract)
        store.enroll("staff", "ada", [NewTemplate(np.ones(4, dtype=np.float32), contract)])


@pytest.mark.parametrize("document", RUNNABLE, ids=str)
def test_every_block_runs_as_it_stands(
    document: Path, address: str, in_process: Service, commands: Path, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    for tool, typed in (("curl", "curl -"), ("openssl", "openssl ")):
        if any(typed in code for _, code in blocks(document)) and shutil.which(tool) is None:
            pytest.skip(f"{tool} is not installed")
    folder = tmp_path / "checkout"
    folder.mkdir()
    for name in ("tests", "docs", "protos", "model_repository"):
        (folder / name).symlink_to(Path(name).resolve())
    environment = {
        **os.environ,
        "PATH": f"{commands}:{Path(sys.executable).parent}:{os.environ['PATH']}",
        "SAMEFACE_ADDRESS": address,
        # The service of this test uses the address and the folder.
        "SAMEFACE_LISTEN": "127.0.0.1:0",
        "SAMEFACE_DATA_DIR": str(tmp_path / "other"),
    }
    python = [sys.executable, "-c"]
    if document.name == "training.md":
        trainer: Path = request.getfixturevalue("training")
        environment["PATH"], python = f"{trainer}:{environment['PATH']}", [str(trainer / RUN_CODE)]
    if any("sameface store" in code for _, code in blocks(document)):
        embedded_store(tmp_path / "other")
    printed = ""
    for language, code in blocks(document):
        shown = code.replace(ADDRESS, address).replace(HTTP_ADDRESS, in_process.http)
        command = ["bash", "-euo", "pipefail", "-c", shown] if language == "sh" else [*python, shown]
        result = subprocess.run(
            command, cwd=folder, env=environment, capture_output=True, text=True, check=False, timeout=600
        )
        assert result.returncode == 0, f"{document}:\n{code}\n{result.stdout}\n{result.stderr}"
        printed += result.stdout
    outputs = {place.output: printed for place in PLACES if place.output in ("readme", "clients", "http")}
    assert not stale(str(document), outputs), f"{document} shows other numbers than are printed: make transcripts"


def test_commands_that_are_there_already_get_what_they_are_given_and_end_as_they_do(
    commands: Path, tmp_path: Path
) -> None:
    def run(*arguments: str) -> tuple[int, str, str]:
        environment = {"PATH": os.environ["PATH"], "SAMEFACE_DATA_DIR": "relative"}
        result = subprocess.run(
            [commands / "sameface", *arguments],
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
        return result.returncode, result.stdout, result.stderr

    assert run("version") == (0, f"{__version__}\n", "")
    code, key, told = run("key", "create", "dóor", "--role", "reader", "--gallery", "*")
    assert (code, key[:9], "not shown again" in told) == (0, "sameface_", True)
    assert (tmp_path / "relative" / "access" / "keys.json").stat().st_mode & 0o777 == 0o600
    assert "dóor" in run("key", "list")[1]
    code, out, told = run("key", "revoke", "nobody")
    assert (code, out, told[:34]) == (3, "", "sameface: INVALID_ARGUMENT: there ")
    assert run("no-such-command")[0] == 3


def test_the_examples_of_the_readme_and_of_the_clients_run_one_after_the_other_and_again(address: str) -> None:
    readme, clients = (
        next(code for language, code in blocks(Path(name)) if language == "python")
        for name in ("README.md", "docs/clients.md")
    )
    code = "\n".join([readme, readme, clients]).replace(ADDRESS, address)
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=300)
    assert result.returncode == 0, result.stderr
    told = [line for line in result.stdout.splitlines() if "MATCH: " in line]
    assert len(told) == 3
    assert all(f"# {line}\n" in code for line in told)  # the comments show what is printed


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


@functools.cache
def anchors(document: Path) -> set[str]:
    """Return the anchors of the headings, as GitHub makes them: of two with the same text, the second ends in -1."""
    found: set[str] = set()
    for heading in re.findall(r"^#+ (.+)$", BLOCK.sub("", document.read_text()), re.M):
        text = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading).lower()
        plain = re.sub(r"[^\w\- ]", "", text).replace(" ", "-")
        found.add(next(one for one in (plain, *(f"{plain}-{n}" for n in range(1, 99))) if one not in found))
    return found


@pytest.mark.parametrize("document", DOCUMENTS, ids=str)
def test_links_to_a_heading_lead_to_one(document: Path) -> None:
    prose = re.sub(r"`[^`\n]*`", "", BLOCK.sub("", document.read_text()))
    for target, anchor in re.findall(r"\]\(([^)#\s]*)#([^)\s]+)\)", prose):
        named = document.parent / target if target else document
        if not target.startswith("http") and named.suffix == ".md":
            assert anchor in anchors(named), f"{document} points to {target}#{anchor}"


SOURCES = sorted(
    path
    for folder in ("docker", "server", "plugins", "training", "tools", "benchmarks")
    for path in Path(folder).rglob("*")
    if path.suffix in (".txt", ".yaml", ".tpl", ".json", ".py", ".sh") and "node_modules" not in path.parts
)


def test_messages_and_files_that_name_a_heading_of_a_document_name_one_that_is_there() -> None:
    named = [
        (source, *found)
        for source in SOURCES
        for found in re.findall(r"\b(docs/[\w-]+\.md)(?:#([\w-]+)|, \"([^\"]+)\")", source.read_text())
    ]
    assert len(named) > 5
    missing = [
        f"{source} points to {document}, {anchor or heading}"
        for source, document, anchor, heading in named
        if (anchor or re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")) not in anchors(Path(document))
    ]
    assert not missing


def rpcs() -> dict[str, str]:
    """Return the comment of every rpc, empty where there is none, from the protos themselves."""
    found = {}
    for path in Path("protos/sameface/v1").glob("*_service.proto"):
        lines = path.read_text().splitlines()
        for number, line in enumerate(lines):
            if declared := re.match(r"\s*rpc\s+(\w+)", line):
                first = number
                while first and lines[first - 1].lstrip().startswith("//"):
                    first -= 1
                found[declared[1]] = "\n".join(lines[first:number])
    return found


def test_every_rpc_says_what_it_does_and_names_its_errors() -> None:
    served_rpcs = {
        method.name
        for module in (face_service_pb2, gallery_service_pb2, migration_service_pb2, system_service_pb2)
        for service in module.DESCRIPTOR.services_by_name.values()
        for method in service.methods
    }
    comments = rpcs()
    assert comments.keys() == served_rpcs
    for name, comment in comments.items():
        assert comment, f"{name} has no comment"
        assert re.search(r"[Ee]rrors\b", comment), f"{name} does not name its errors"


def test_the_two_transcripts_of_the_shell_make_the_same_calls() -> None:
    text = Path("docs/clients.md").read_text()
    called: dict[str, list[str]] = {"buf": [], "grpcurl": []}
    for block in BLOCK.finditer(text):
        for tool in called:
            if re.search(rf"^{tool} ", block["code"], re.M):
                called[tool] += re.findall(r"sameface\.v1\.(\w+/\w+)", block["code"])
    assert called["buf"] == called["grpcurl"]
    assert len(called["buf"]) == 4


def test_the_client_imports_neither_models_nor_store() -> None:
    code = "import sys, sameface.client; print(*{name.partition('.')[0] for name in sys.modules})"
    imported = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert not {"sameface_qdrant", "qdrant_client", "qdrant_edge", "tritonclient", "onnxruntime", "cv2"} & set(imported)
