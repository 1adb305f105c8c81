"""The nodes of a Qdrant cluster that this harness starts, kills, pauses and empties. They are described in a TOML file.

```toml
[[node]]
url = "http://127.0.0.1:7001"                     # its gRPC port
http = "http://127.0.0.1:7000"                    # its REST port
folder = "node1"                                  # where it runs, relative to this file; its log goes there
storage = "storage"                               # what "returned empty" removes, relative to the folder
command = ["qdrant", "--uri", "http://127.0.0.1:7002"]
rejoin = ["qdrant", "--bootstrap", "http://127.0.0.1:7012", "--uri", "http://127.0.0.1:7002"]
environment = { QDRANT__CLUSTER__ENABLED = "true", QDRANT__STORAGE__STORAGE_PATH = "storage" }
```
"""

import asyncio
import json
import os
import shutil
import signal
import subprocess
import time
import tomllib
import urllib.error
import urllib.request
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

HEALTHY_WITHIN_S = 90.0
LOOKS = 4
"""How often in a row, a second apart, a cluster must look healthy."""


@dataclass(slots=True)
class Node:
    """One node, and its process while it runs."""

    url: str
    http: str
    folder: Path
    storage: str
    command: list[str]
    rejoin: list[str] = field(default_factory=list)
    environment: dict[str, str] = field(default_factory=dict)
    process: subprocess.Popen[bytes] | None = None

    def start(self, command: list[str] | None = None) -> None:
        """Start the process. Its output is added to a file in its folder."""
        self.folder.mkdir(parents=True, exist_ok=True)
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(
                command or self.command,
                cwd=self.folder,
                env={**os.environ, **self.environment},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def send(self, number: signal.Signals) -> None:
        """Send a signal to the process, if it runs."""
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(number)

    def end(self, number: signal.Signals = signal.SIGKILL) -> None:
        """End the process, and wait until it has ended."""
        self.send(number)
        if self.process is not None:
            try:
                self.process.wait(timeout=20)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
            self.process = None

    def empty(self) -> None:
        """Remove what the node has stored."""
        shutil.rmtree(self.folder / self.storage)

    def ask(self, path: str, method: str = "GET", body: Any = None) -> Any:
        """Call the REST interface, and return its answer."""
        request = urllib.request.Request(
            self.http + path,
            method=method,
            data=None if body is None else json.dumps(body).encode(),
            headers={"content-type": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=10) as answer:
            text = answer.read()
        return json.loads(text) if text.startswith(b"{") else text.decode()


class Cluster:
    """The nodes together."""

    def __init__(self, nodes: list[Node]) -> None:
        self.nodes = nodes

    @classmethod
    def described(cls, path: Path) -> "Cluster":
        """Read the TOML file."""
        described = tomllib.loads(path.read_text())["node"]
        return cls([Node(**{**one, "folder": path.parent.absolute() / one["folder"]}) for one in described])

    @property
    def url(self) -> str:
        """The addresses of all nodes."""
        return ",".join(node.url for node in self.nodes)

    async def start(self) -> None:
        """Start every node, the first one first."""
        for node in self.nodes:
            node.start()
            await self._until(lambda node=node: node.ask("/readyz"), f"{node.url} is ready")

    def stop(self) -> None:
        """End every node."""
        for node in self.nodes:
            node.send(signal.SIGCONT)
            node.end(signal.SIGTERM)

    async def healthy(self, collections: list[str]) -> None:
        """Wait until every node answers, and every replica is active on every node's view and stays so.

        A node that is back may take part for a moment, until the cluster notices what it has missed.
        """
        for look in range(LOOKS):
            if look:
                await asyncio.sleep(1)
            await self._look(collections)

    async def _look(self, collections: list[str]) -> None:
        for node in self.nodes:
            await self._until(lambda node=node: node.ask("/readyz"), f"{node.url} is ready")
            for name in collections:
                await self._until(
                    lambda node=node, name=name: self._is_active(node, name),
                    f"replicas of {name} are active at {node.url}",
                )

    def names(self) -> list[str]:
        """The collections."""
        return [one["name"] for one in self.nodes[0].ask("/collections")["result"]["collections"]]

    async def returned_empty(self, node: Node) -> None:
        """Start a node again with nothing, and give it its replicas, as an operator does."""
        other = next(one for one in self.nodes if one is not node)
        old = {str(node.ask("/cluster")["result"]["peer_id"])}
        node.end()
        node.empty()
        await asyncio.sleep(3)
        await asyncio.to_thread(lambda: [other.ask(f"/cluster/peer/{peer}?force=true", "DELETE") for peer in old])
        node.start(node.rejoin or node.command)
        await self._until(lambda: node.ask("/readyz"), f"{node.url} is ready")
        new = node.ask("/cluster")["result"]["peer_id"]
        for name in self.names():
            await self._until(lambda name=name: node.ask(f"/collections/{name}"), "it knows the collection")
            await self.copied(name, new)

    async def copied(self, collection: str, peer: int) -> None:
        """Give a peer a replica of every shard that it has none of."""
        source = next(node for node in self.nodes if node.ask("/cluster")["result"]["peer_id"] != peer)
        shards = source.ask(f"/collections/{collection}/cluster")["result"]
        mine = {one["shard_id"] for one in shards["remote_shards"] if one["peer_id"] == peer}
        for shard in shards["local_shards"]:
            if shard["shard_id"] not in mine:
                order = {"shard_id": shard["shard_id"], "from_peer_id": shards["peer_id"], "to_peer_id": peer}
                source.ask(f"/collections/{collection}/cluster", "POST", {"replicate_shard": order})

    async def dropped(self, collection: str, node: Node) -> int:
        """Remove the replicas of a node, and return its peer id."""
        peer = int(node.ask("/cluster")["result"]["peer_id"])
        other = next(one for one in self.nodes if one is not node)
        for shard in node.ask(f"/collections/{collection}/cluster")["result"]["local_shards"]:
            order = {"drop_replica": {"shard_id": shard["shard_id"], "peer_id": peer}}
            other.ask(f"/collections/{collection}/cluster", "POST", order)
        return peer

    def _is_active(self, node: Node, collection: str) -> bool:
        found = node.ask(f"/collections/{collection}/cluster")["result"]
        shards = [*found["local_shards"], *found["remote_shards"]]
        replicated = len(self.nodes) == 1 or len(found["local_shards"]) > 0
        return replicated and not found["shard_transfers"] and all(one["state"] == "Active" for one in shards)

    async def _until(self, asks: Any, what: str) -> None:
        end = time.monotonic() + HEALTHY_WITHIN_S
        while True:
            try:
                if await asyncio.to_thread(asks):
                    return
            except (OSError, urllib.error.URLError):
                pass
            if time.monotonic() > end:
                raise TimeoutError(f"did not happen within {HEALTHY_WITHIN_S:.0f} s: {what}")
            await asyncio.sleep(0.25)
