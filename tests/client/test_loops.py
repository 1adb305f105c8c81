"""An `AsyncClient` that is made outside of a loop, used in a second one, or after a fork works, or says what to do."""

import asyncio
import os
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc
import pytest

from sameface.client import AsyncClient
from sameface.v1 import system_service_pb2, system_service_pb2_grpc


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    """Of a service that tells its version."""

    class System(system_service_pb2_grpc.SystemServiceServicer):  # type: ignore[misc]
        def GetServerInfo(self, request: Any, context: Any) -> Any:  # noqa: N802
            return system_service_pb2.GetServerInfoResponse(version="7")

    server = grpc.server(ThreadPoolExecutor(4))
    system_service_pb2_grpc.add_SystemServiceServicer_to_server(System(), server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    yield f"127.0.0.1:{port}"
    server.stop(0)


async def version(client: AsyncClient) -> str:
    return (await client.server_info()).version


def test_a_client_made_outside_of_a_loop_is_used_in_one_loop_after_the_other(address: str) -> None:
    client = AsyncClient(address)
    for _ in range(3):
        assert asyncio.run(version(client)) == "7"
    asyncio.run(client.aclose())
    asyncio.run(client.aclose())
    with pytest.raises(RuntimeError, match="is closed; make another one"):
        asyncio.run(version(client))


def test_a_client_that_was_never_used_is_closed(address: str) -> None:
    asyncio.run(AsyncClient(address).aclose())


def test_two_loops_at_once_need_two_clients(address: str) -> None:
    client = AsyncClient(address)
    with asyncio.Runner() as one, asyncio.Runner() as other:
        assert one.run(version(client)) == "7"
        for use in (version, AsyncClient.aclose):
            with pytest.raises(RuntimeError, match="make one for each loop"):
                other.run(use(client))
        assert one.run(version(client)) == "7"
    assert asyncio.run(version(client)) == "7"
    asyncio.run(client.aclose())


def test_calls_of_one_loop_run_beside_each_other(address: str) -> None:
    async def use() -> list[str]:
        async with AsyncClient(address) as client:
            return await asyncio.gather(*(version(client) for _ in range(20)))

    assert asyncio.run(use()) == ["7"] * 20


def test_without_a_loop_the_other_client_is_named(address: str) -> None:
    # As another library for coroutines would.
    asked: Any = anext(AsyncClient(address).identify_stream("g", [b"photo"]))
    with pytest.raises(RuntimeError, match="elsewhere, use Client"):
        asked.send(None)


FORKED = """
import asyncio, faulthandler, os, sys
from sameface.client import AsyncClient, Client

address, used = sys.argv[1:]

async def ask():
    async with AsyncClient(address, timeout_s=10) as client:
        return (await client.server_info()).version

def told(use):
    try:
        return use()
    except Exception as error:
        return f"{type(error).__name__}: {error}"

old, made = Client(address, timeout_s=10), AsyncClient(address)
print("parent", old.server_info().version, asyncio.run(ask()) if used == "both" else "")
sys.stdout.flush()
child = os.fork()
if not child:
    faulthandler.dump_traceback_later(30, exit=True)
    print("old", told(lambda: old.server_info().version))
    print("again", told(lambda: old.server_info().version))
    print("new", told(lambda: Client(address, timeout_s=10).server_info().version))
    print("made", told(lambda: asyncio.run(made.server_info()).version))
    print("async", told(lambda: asyncio.run(ask())))
    old.close()
    sys.stdout.flush()
    os._exit(0)
assert os.waitpid(child, 0)[1] == 0
print("after", old.server_info().version)
old.close()
"""


def forked(address: str, used: str) -> dict[str, str]:
    command = [sys.executable, "-c", FORKED, address, used]
    result = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert result.returncode == 0, result.stderr
    return dict(line.split(" ", 1) for line in result.stdout.splitlines())


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork")
def test_after_a_fork_the_clients_work_if_no_asynchronous_one_was_used_before(address: str) -> None:
    told = forked(address, "one")
    assert {name: text.strip() for name, text in told.items()} == dict.fromkeys(
        ("parent", "old", "again", "new", "made", "async", "after"), "7"
    )


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork")
def test_after_a_fork_of_a_process_with_an_asynchronous_client_every_client_says_what_to_do(address: str) -> None:
    told = forked(address, "both")
    assert (told.pop("parent"), told.pop("after")) == ("7 7", "7")
    assert set(told) == {"old", "again", "new", "made", "async"}
    for text in told.values():
        assert text.startswith("RuntimeError: this process was forked from one that has used an AsyncClient")
        assert "start workers with spawn" in text
