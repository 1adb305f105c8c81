"""The npm package of clients/typescript: its generated code is current, it works, and what npm packs can be used."""

import filecmp
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest

from sameface.api.status import rich_status
from sameface.errors import ServerBusy
from sameface.launcher import Service
from sameface.v1 import gallery_pb2, gallery_service_pb2_grpc
from sameface_qdrant.errors import GalleryNotFound, SamefaceError, StoreFull
from tests.access.authorities import Authority

pytestmark = pytest.mark.timeout(300)
ROOT = Path(__file__).resolve().parents[2]
SOURCE = ROOT / "clients" / "typescript"
INSTALL = ("--no-audit", "--no-fund", "--ignore-scripts", "--prefer-offline")
CONSUMER = """
import { readFile } from "node:fs/promises";
import { Outcome, type Photo, connect, reasonOf } from "sameface/node";
import { connect as connectFromBrowser } from "sameface/web";

const sameface = connect({ address: process.argv[2] ?? "", credential: async () => "key", tls: {}, timeoutMs: 1000 });
const photo: Photo = await readFile("ada.jpg");
const { decision } = await sameface.verify("staff", "ada", photo, { verifyThreshold: 0.4 }, { timeoutMs: 500 });
const matched: boolean = decision.outcome === Outcome.MATCH;
const reason: string | undefined = reasonOf(new Error());
console.log(matched, reason, connectFromBrowser({ baseUrl: "http://127.0.0.1:8080" }).faces);
// @ts-expect-error a path is no photo
await sameface.verify("staff", "ada", "ada.jpg");
// @ts-expect-error no such option
await sameface.enroll("staff", "ada", photo, { displayname: "Ada" });
"""


def run(*command: str | Path, cwd: Path, **environment: str) -> str:
    ended = subprocess.run(
        [str(part) for part in command],
        cwd=cwd,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=False,
        timeout=200,
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr
    return ended.stdout


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the package, with what it needs installed, and built."""
    if shutil.which("npm") is None:
        pytest.skip("npm is not installed")
    folder = tmp_path_factory.mktemp("typescript") / "package"
    shutil.copytree(SOURCE, folder, ignore=shutil.ignore_patterns("node_modules", "dist", "*.tgz"))
    run("npm", "ci", *INSTALL, cwd=folder)
    run("npm", "run", "build", cwd=folder)
    return folder


def test_the_generated_code_is_that_of_the_protos(package: Path, tmp_path: Path) -> None:
    template = json.dumps(
        {
            "version": "v2",
            "plugins": [
                {
                    "local": str(package / "node_modules/.bin/protoc-gen-es"),
                    "out": str(tmp_path),
                    "opt": ["target=ts", "import_extension=js"],
                    "include_imports": True,
                }
            ],
        }
    )
    run(Path(sys.executable).parent / "buf", "generate", ROOT, "--template", template, cwd=package)
    made, committed = (
        sorted(path.relative_to(folder) for path in folder.rglob("*.ts")) for folder in (tmp_path, SOURCE / "src/gen")
    )
    assert made == committed, "run: npm run generate, in clients/typescript"
    _, differ, missing = filecmp.cmpfiles(tmp_path, SOURCE / "src/gen", map(str, made), shallow=False)
    assert made
    assert (differ, missing) == ([], []), "run: npm run generate, in clients/typescript"


def test_the_client_works_with_a_real_service(package: Path, service: Service, portraits: Path) -> None:
    environment = {"SAMEFACE_ADDRESS": service.address, "SAMEFACE_PORTRAITS": str(portraits)}
    told = run("node", "--test", "--test-reporter=tap", "test/", cwd=package, **environment)
    assert "\n# fail 0\n" in told
    assert "\n# skipped 0\n" in told


def test_what_npm_packs_can_be_installed_and_its_types_are_right(package: Path, tmp_path: Path) -> None:
    packed = json.loads(run("npm", "pack", "--json", "--ignore-scripts", "--pack-destination", tmp_path, cwd=package))
    names = {file["path"] for file in packed[0]["files"]}
    assert {"package.json", "README.md", "LICENSE", "dist/node.js", "dist/node.d.ts", "dist/web.js"} <= names
    assert not [name for name in names if name.startswith(("src/", "test/", "node_modules/"))]

    user = tmp_path / "user"
    user.mkdir()
    (user / "package.json").write_text('{"private": true, "type": "module"}')
    run("npm", "install", *INSTALL, tmp_path / packed[0]["filename"], cwd=user)
    (user / "main.ts").write_text(CONSUMER)
    (user / "node_modules/@types").symlink_to(package / "node_modules/@types")
    compiler = package / "node_modules/.bin/tsc"
    options = [
        "--strict",
        "--noEmit",
        "--skipLibCheck",
        "--target",
        "es2022",
        "--module",
        "nodenext",
        "--types",
        "node",
    ]
    run(compiler, *options, "main.ts", cwd=user)


def run_example(package: Path, address: str, gallery: str, *photos: Path) -> "subprocess.CompletedProcess[str]":
    command = ["node", "examples/verify.js", address, gallery, "ardern", *map(str, photos)]
    return subprocess.run(command, cwd=package, capture_output=True, text=True, check=False, timeout=60)


@pytest.mark.parametrize(
    ("probe", "code", "said"),
    [
        ("jacinda_ardern_2022.jpg", 0, "MATCH"),
        ("rishi_sunak.jpg", 1, "NO_MATCH"),
        ("CREDITS.md", 3, "IMAGE_UNDECODABLE"),
    ],
)
def test_the_example_verifies(
    package: Path, service: Service, portraits: Path, probe: str, code: int, said: str
) -> None:
    photos = [portraits.resolve() / name for name in ("jacinda_ardern_2018.jpg", probe)]
    result = run_example(package, service.address, "node-example", *photos)
    assert result.returncode == code, result.stderr
    assert (result.stdout + result.stderr).startswith(said)


class Scripted(gallery_service_pb2_grpc.GalleryServiceServicer):  # type: ignore[misc]
    """A service that answers CreateGallery with one error after another, then with a gallery."""

    def __init__(self, errors: list[SamefaceError]) -> None:
        self.errors = errors
        self.requests: list[Any] = []
        self.times: list[float] = []
        self.metadata: dict[str, str] = {}

    def CreateGallery(self, request: Any, context: Any) -> Any:  # noqa: N802
        self.requests.append(request)
        self.times.append(time.monotonic())
        self.metadata = dict(context.invocation_metadata())
        if self.errors:
            context.abort_with_status(rich_status(self.errors.pop(0)))
        return gallery_pb2.Gallery()


@contextmanager
def serving(scripted: Scripted, credentials: grpc.ServerCredentials | None = None) -> Iterator[int]:
    """Serve on a free port and yield it."""
    server = grpc.server(ThreadPoolExecutor(1))
    gallery_service_pb2_grpc.add_GalleryServiceServicer_to_server(scripted, server)
    address = "127.0.0.1:0"
    port = server.add_secure_port(address, credentials) if credentials else server.add_insecure_port(address)
    server.start()
    try:
        yield port
    finally:
        server.stop(None)


def run_against(package: Path, portraits: Path, scripted: Scripted) -> str:
    """Run the example, whose second call (enrolment) is not implemented, and return what it prints."""
    photo = portraits.resolve() / "barack_obama.jpg"
    with serving(scripted) as port:
        result = run_example(package, f"127.0.0.1:{port}", "gallery", photo, photo)
    assert result.returncode == 3
    return result.stderr


def test_the_client_comes_back_when_it_is_told_to(package: Path, portraits: Path) -> None:
    scripted = Scripted([ServerBusy("full", retry_after_s=2.5), ServerBusy("full", retry_after_s=0.05)])
    assert run_against(package, portraits, scripted).startswith("ERROR: Method not found!")
    first, second, third = scripted.times
    assert second - first >= 2.5
    # Its own pauses would grow.
    assert 0.05 <= third - second < second - first
    assert len({request.request_id for request in scripted.requests}) == 1


@pytest.mark.parametrize("error", [StoreFull("the disk is full"), GalleryNotFound("no such gallery")], ids=repr)
def test_the_client_does_not_repeat_what_is_final(package: Path, portraits: Path, error: SamefaceError) -> None:
    scripted = Scripted([error])
    assert run_against(package, portraits, scripted).startswith(error.reason)
    assert len(scripted.requests) == 1


TLS = """
import { readFileSync } from "node:fs";
import { connect } from "sameface/node";
const [address, ...files] = process.argv.slice(1);
const [ca, cert, key] = files.map((file) => readFileSync(file));
const sameface = connect({ address, tls: { ca, cert, key }, credential: "a-key", unreachableMs: 0 });
console.log((await sameface.createGallery("staff")).$typeName);
"""


def test_tls_takes_the_authority_and_the_certificate_of_the_caller(package: Path, tmp_path: Path) -> None:
    authority, other = Authority("authority", tmp_path), Authority("other", tmp_path)
    own, caller = authority.issue("localhost"), authority.issue("door")
    pair = (own.key.read_bytes(), own.certificate.read_bytes())
    credentials = grpc.ssl_server_credentials([pair], authority.path.read_bytes(), require_client_auth=True)
    scripted = Scripted([])
    with serving(scripted, credentials) as port:
        for trusted, code in ((authority.path, 0), (other.path, 1)):
            files = map(str, (trusted, caller.certificate, caller.key))
            command = ["node", "--input-type=module", "--eval", TLS, f"127.0.0.1:{port}", *files]
            ended = subprocess.run(command, cwd=package, capture_output=True, text=True, check=False, timeout=60)
            assert ended.returncode == code, ended.stderr
    assert len(scripted.requests) == 1
    assert scripted.metadata["authorization"] == "Bearer a-key"
