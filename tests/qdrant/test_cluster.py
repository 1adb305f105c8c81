"""The harness starts, pauses and ends the nodes that a file describes."""

import asyncio
import os
import signal
import socket
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.qdrant.cluster import Cluster


def free_port() -> int:
    with socket.socket() as tried:
        tried.bind(("127.0.0.1", 0))
        return int(tried.getsockname()[1])


@pytest.fixture
async def cluster(tmp_path: Path) -> AsyncIterator[Cluster]:
    """Two processes that only answer that they are ready: plain web servers."""
    described = ""
    for name in ("a", "b"):
        (tmp_path / name / "storage").mkdir(parents=True)
        (tmp_path / name / "readyz").write_text("all shards are ready")
        port = free_port()
        command = f'["{sys.executable}", "-m", "http.server", "--bind", "127.0.0.1", "{port}"]'
        described += f'[[node]]\nurl = "http://127.0.0.1:1"\nhttp = "http://127.0.0.1:{port}"\nfolder = "{name}"\n'
        described += f'storage = "storage"\ncommand = {command}\n'
    (tmp_path / "nodes.toml").write_text(described)
    cluster = Cluster.described(tmp_path / "nodes.toml")
    await cluster.start()
    yield cluster
    cluster.stop()


async def test_nodes_are_started_paused_killed_and_emptied(cluster: Cluster) -> None:
    node = cluster.nodes[1]
    assert node.ask("/readyz") == "all shards are ready"
    assert node.process is not None
    process = node.process
    node.send(signal.SIGSTOP)
    stopped = await asyncio.to_thread(os.waitid, os.P_PID, process.pid, os.WSTOPPED)
    assert stopped is not None
    assert stopped.si_status == signal.SIGSTOP
    node.send(signal.SIGCONT)
    node.end()
    assert process.returncode == -signal.SIGKILL
    with pytest.raises(OSError, match="refused"):
        node.ask("/readyz")
    node.empty()
    assert not (node.folder / "storage").exists()
    node.start()
    await cluster.healthy([])
    assert (node.folder / "log").exists()
