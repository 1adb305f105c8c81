"""A running service says by its health what calls would get, and is well again by itself."""

import asyncio
import threading
import time
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from sameface.access.api_keys import KeyFile
from sameface.access.caller import Grant
from sameface.access.roles import Role
from sameface.cli.health import away_line
from sameface.client import Client
from sameface.health.parts import NEEDS
from sameface.health_check.check import check
from sameface.launcher import served
from tests.cli.conftest import Run
from tests.cli.conftest import sameface as sameface
from tests.plugin.wire import Double

PATIENCE_S = 30.0


def until(condition: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline, what
        time.sleep(0.05)


def test_the_lines_about_parts_are_readable_and_those_of_others_are_kept() -> None:
    assert away_line("models 1796076304.760 MODEL_UNAVAILABLE") == (
        "models: away since 2026-11-30T22:05:04+00:00, MODEL_UNAVAILABLE"
    )
    for other in ("models yesterday", "models 1e400 X", "models x Y", "", "a b c d"):
        assert away_line(other) == other


@pytest.fixture
def threaded() -> Iterator[Callable[[Coroutine[Any, Any, Any]], Any]]:
    """Runs coroutines on an event loop of another thread, and returns their results."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    yield lambda coroutine: asyncio.run_coroutine_threadsafe(coroutine, loop).result()
    loop.call_soon_threadsafe(loop.stop)
    thread.join()
    loop.close()


def test_health_follows_a_store_and_a_file_of_keys(
    tmp_path: Path, threaded: Callable[[Coroutine[Any, Any, Any]], Any], sameface: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    double = threaded(Double().start())
    file = KeyFile(tmp_path / "keys.json")
    _, key = file.create("admin", (Grant("*", frozenset({Role.ADMIN})),), None)
    monkeypatch.setenv("SAMEFACE_ACCESS__REQUIRED", "true")
    monkeypatch.setenv("SAMEFACE_ACCESS__KEYS", str(file.path))
    monkeypatch.setenv("SAMEFACE_QDRANT__TIMEOUT_S", "1")
    flags = ["--inference", "onnx", "--qdrant-url", double.url]

    with served(tmp_path / "data", tmp_path / "log", flags) as service:
        whole = file.path.read_text()

        authorization = {"authorization": f"Bearer {key}"}
        with (
            Client(service.address, metadata=authorization) as client,
            grpc.insecure_channel(service.address) as channel,
        ):
            stub: Any = health_pb2_grpc.HealthStub(channel)

            def serves(name: str) -> bool:
                answer = stub.Check(health_pb2.HealthCheckRequest(service=name))
                return bool(answer.status == health_pb2.HealthCheckResponse.SERVING)

            def serving() -> set[str]:
                return set(filter(serves, NEEDS))

            watch = stub.Watch(health_pb2.HealthCheckRequest(service=""))
            assert next(watch).status == health_pb2.HealthCheckResponse.SERVING
            parts = client.server_info().parts
            assert {one.name: one.serving for one in parts} == dict.fromkeys(("store", "writes", "access"), True)
            assert serving() == set(NEEDS)
            assert check(["--address", service.address], {}) == 0

            threaded(double.stop())
            assert next(watch).status == health_pb2.HealthCheckResponse.NOT_SERVING
            until(lambda: not serves("writes"), "writes are away too")
            assert serving() == set(NEEDS) - {
                "",
                "sameface.v1.FaceService",
                "sameface.v1.GalleryService",
                "sameface.v1.MigrationService",
                "store",
                "writes",
            }
            # The light check leaves it to the command, which tells which parts are away.
            assert check(["--address", service.address], {}) is None
            asked = sameface("health", SAMEFACE_ADDRESS=service.address)
            assert asked.returncode == 3
            first, *lines = asked.stdout.splitlines()
            assert first == "NOT_SERVING"
            assert {line.split(":")[0] for line in lines} == {"store", "writes"}
            assert all("STORE_UNAVAILABLE" in line for line in lines)
            (store,) = (one for one in client.server_info().parts if one.name == "store")
            assert (store.serving, store.reason) == (False, "STORE_UNAVAILABLE")

            threaded(double.start())
            assert next(watch).status == health_pb2.HealthCheckResponse.SERVING
            file.path.write_text("{")
            assert next(watch).status == health_pb2.HealthCheckResponse.NOT_SERVING
            assert (serves("live"), serves("access")) == (True, False)
            file.path.write_text(whole)
            assert next(watch).status == health_pb2.HealthCheckResponse.SERVING
            until(lambda: serves("writes"), "writes are back too")
            assert serving() == set(NEEDS)

    threaded(double.stop())
    told = (tmp_path / "log").read_text()
    for line in ("store: does not serve (STORE_UNAVAILABLE)", "store: serves again after", "access: does not serve"):
        assert line in told
