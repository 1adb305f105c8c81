"""A remote Triton is spoken to over TLS, if the settings say so, and is known by its certificate."""

import asyncio
import socket
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from sameface.errors import ModelUnavailable
from sameface.inference.local.runtime import require_runtime
from sameface.inference.triton import TritonInference
from sameface.inference.triton_tls import TritonTls
from sameface.lifeline import ending_with_parent
from sameface.settings import Settings, cache_folder
from sameface_qdrant.errors import InvalidArgument
from tests.access.authorities import Authority

pytestmark = pytest.mark.triton
NAME = "triton.test"


@dataclass(frozen=True, slots=True)
class Encrypted:
    """A tritonserver that asks for client certificates; its own names another host."""

    url: str
    tls: TritonTls


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@pytest.fixture(scope="module")
async def triton(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Encrypted]:
    folder = tmp_path_factory.mktemp("tls")
    runtime = require_runtime(cache_folder())
    authority = Authority("authority", folder)
    server, client = authority.issue(NAME), authority.issue("sameface")
    (folder / "models").mkdir()
    port = free_port()
    process = await asyncio.create_subprocess_exec(
        *ending_with_parent(
            [
                str(runtime.server),
                f"--model-repository={folder / 'models'}",
                f"--backend-directory={runtime.backends}",
                "--model-control-mode=explicit",
                "--allow-http=false",
                "--allow-metrics=false",
                "--grpc-address=127.0.0.1",
                f"--grpc-port={port}",
                "--grpc-use-ssl=true",
                "--grpc-use-ssl-mutual=true",
                f"--grpc-server-cert={server.certificate}",
                f"--grpc-server-key={server.key}",
                f"--grpc-root-cert={authority.path}",
            ]
        ),
        env=runtime.environment(),
        cwd=runtime.root,
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.DEVNULL,
    )
    tls = TritonTls(True, authority.path, client.certificate, client.key, NAME)
    started = Encrypted(f"127.0.0.1:{port}", tls)
    opened = TritonInference(started.url, tls=tls)
    for _ in range(300):
        if await opened.ready():
            break
        await asyncio.sleep(0.1)
    await opened.aclose()
    yield started
    process.terminate()
    await process.wait()


async def version(triton: Encrypted, tls: TritonTls) -> str:
    opened = TritonInference(triton.url, timeout_s=3.0, recovery_s=0.0, tls=tls)
    try:
        return await opened.server_version()
    finally:
        await opened.aclose()


async def test_calls_are_encrypted(triton: Encrypted) -> None:
    assert (await version(triton, triton.tls)).startswith("2.")


async def test_every_other_peer_is_refused(triton: Encrypted, tmp_path: Path) -> None:
    stranger = Authority("stranger", tmp_path)
    other = stranger.issue("sameface")
    for wrong in (
        TritonTls(),
        replace(triton.tls, ca=stranger.path),
        replace(triton.tls, server_name="another.test"),
        replace(triton.tls, certificate=None, private_key=None),
        replace(triton.tls, certificate=other.certificate, private_key=other.key),
    ):
        with pytest.raises(ModelUnavailable):
            await version(triton, wrong)


async def test_a_file_that_is_missing_is_named(triton: Encrypted, tmp_path: Path) -> None:
    with pytest.raises(InvalidArgument, match="nowhere"):
        await version(triton, replace(triton.tls, ca=tmp_path / "nowhere.pem"))


@pytest.mark.parametrize(
    "wrong",
    [
        {"enabled": True, "certificate": "a"},
        {"ca": "a"},
        {"server_name": "a"},
    ],
)
def test_settings_that_would_not_encrypt_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=r"go together|enabled is false"):
        Settings.model_validate({"triton_url": "triton:8001", "triton_tls": wrong})
    with pytest.raises(ValueError, match="triton_url is not set"):
        Settings.model_validate({"triton_tls": {"enabled": True}})
