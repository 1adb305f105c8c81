"""What the faults are made of: programs, relays, networks that are cut, and disks that are full."""

import asyncio
import errno
import socket
import sys
from pathlib import Path

import pytest

from tests.faults.network import Disk, Network, why_no_disk, why_no_network
from tests.faults.parts import Program, socket_of
from tests.relay import Relay

LISTENING = """
import socket, sys
with socket.create_server((sys.argv[1], 7001)) as server:
    print("ready", flush=True)
    while True:
        server.accept()[0].close()
"""


async def test_a_program_that_ends_at_once_is_told_with_the_end_of_its_log(tmp_path: Path) -> None:
    program = Program([sys.executable, "-c", "raise SystemExit('no port')"], tmp_path / "log")
    with pytest.raises(RuntimeError, match="no port"):
        await program.start()
    assert program.process is None


async def test_a_program_starts_again_and_ends_when_asked(tmp_path: Path) -> None:
    sleeping = "import signal; print(7, flush=True); signal.pause()"
    program = Program([sys.executable, "-c", sleeping], tmp_path / "log")
    for _ in range(2):
        assert await program.start() == "7\n"
        await program.stop()
        assert program.process is None


def test_the_socket_of_a_triton_is_read_from_its_line() -> None:
    line = "tritonserver answers gRPC on unix:/tmp/a-b/grpc:1, metrics on unix:/tmp/a-b/metrics\n"
    assert socket_of(line) == "/tmp/a-b/grpc:1"


async def test_a_relay_follows_its_target_and_closes_what_leads_nowhere(tmp_path: Path) -> None:
    async def told(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(await reader.readexactly(3))
        writer.close()

    relay = await Relay(str(tmp_path / "nobody")).start()
    reader, writer = await asyncio.open_connection("127.0.0.1", relay.port)
    assert await reader.read() == b""
    writer.close()
    async with await asyncio.start_unix_server(told, tmp_path / "somebody"):
        relay.target = str(tmp_path / "somebody")
        reader, writer = await asyncio.open_connection("127.0.0.1", relay.port)
        writer.write(b"abc")
        assert await reader.read() == b"abc"
        writer.close()
    await relay.stop()


async def test_a_paused_relay_takes_connections_and_passes_what_waits_once_it_goes_on() -> None:
    async def echoed(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while got := await reader.read(3):
            writer.write(got)
        writer.close()

    async with await asyncio.start_server(echoed, "127.0.0.1", 0) as server:
        relay = await Relay(server.sockets[0].getsockname()[1]).start()
        relay.pause()
        reader, writer = await asyncio.open_connection("127.0.0.1", relay.port)
        writer.write(b"abc")
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(reader.read(3), 0.1)
        relay.resume()
        assert await reader.readexactly(3) == b"abc"
        writer.close()
        await relay.stop()


def reached(address: str) -> bool:
    try:
        with socket.create_connection((address, 7001), timeout=0.5):
            return True
    except OSError:
        return False


async def test_a_network_that_is_cut_off_is_silent_until_it_is_joined_again(tmp_path: Path) -> None:
    if why := why_no_network():
        pytest.skip(why)
    with Network(250) as network:
        command = [sys.executable, "-c", LISTENING, network.inside]
        program = Program(command, tmp_path / "log", prefix=network.prefix)
        await program.start()
        assert reached(network.inside)
        network.cut()
        assert not reached(network.inside)
        network.join()
        assert any(reached(network.inside) for _ in range(20))
        program.kill()


def test_a_full_disk_refuses_a_byte_until_it_is_freed(tmp_path: Path) -> None:
    if why := why_no_disk():
        pytest.skip(why)
    with Disk(tmp_path / "small", 1) as disk:
        disk.fill()
        with pytest.raises(OSError, match="No space left") as refused:
            (disk.folder / "more").write_bytes(b"\0")
        assert refused.value.errno == errno.ENOSPC
        disk.free()
        (disk.folder / "more").write_bytes(b"\0" * 1000)
