"""What happens to the nodes while services work."""

import asyncio
import random
import signal
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from tests.qdrant.cluster import Cluster


@dataclass(frozen=True, slots=True)
class Fault:
    """One kind of fault."""

    name: str
    majority: bool
    """Whether a majority of the nodes is there all the time, so that calls must go on."""
    happen: Callable[[], Awaitable[None]]
    """Does it, and undoes it. The cluster may need some time afterwards."""


def faults_of(cluster: Cluster, draw: random.Random, collection: str) -> list[Fault]:
    """Return every fault that these nodes can have."""

    async def ended(number: signal.Signals, count: int, seconds: float) -> None:
        chosen = draw.sample(cluster.nodes, count)
        for node in chosen:
            node.end(number)
        await asyncio.sleep(seconds)
        for node in chosen:
            node.start()

    async def paused(seconds: float) -> None:
        node = draw.choice(cluster.nodes)
        node.send(signal.SIGSTOP)
        await asyncio.sleep(seconds)
        node.send(signal.SIGCONT)

    async def copied() -> None:
        node = draw.choice(cluster.nodes)
        peer = await cluster.dropped(collection, node)
        await asyncio.sleep(2)
        await cluster.copied(collection, peer)

    async def emptied() -> None:
        await cluster.returned_empty(draw.choice(cluster.nodes))

    if len(cluster.nodes) == 1:
        return [
            Fault("server killed, 2 s", False, lambda: ended(signal.SIGKILL, 1, 2)),
            Fault("server stopped, 5 s", False, lambda: ended(signal.SIGTERM, 1, 5)),
            Fault("server paused, 8 s", False, lambda: paused(8)),
        ]
    return [
        Fault("node killed, 20 s", True, lambda: ended(signal.SIGKILL, 1, 20)),
        Fault("node paused, 8 s", True, lambda: paused(8)),
        Fault("replica dropped and copied", True, copied),
        Fault("node stopped, 10 s", True, lambda: ended(signal.SIGTERM, 1, 10)),
        Fault("node returned empty", True, emptied),
        Fault("majority killed, 6 s", False, lambda: ended(signal.SIGKILL, len(cluster.nodes) // 2 + 1, 6)),
    ]
