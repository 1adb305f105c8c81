"""The nodes of a Qdrant server or cluster, as one client: a call goes to a node that answers.

Services use the first node of their list that answers, so that they all write through the same one while it is there. A
node that fails is left alone until it has answered for a while. By then it knows what the others did in the meantime.

A call is repeated on another node if it may be applied twice, or if it was never sent. Every attempt of a call, and
every wait for a rate limit of the server, counts against the same time-out.
"""

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar, cast

import grpc
from qdrant_client import AsyncQdrantClient, models
from qdrant_client import grpc as messages
from qdrant_client.common.client_exceptions import ResourceExhaustedResponse
from qdrant_client.conversions.conversion import RestToGrpc

from sameface_qdrant.engines.base import Hit
from sameface_qdrant.engines.server.calls import is_lost_answer
from sameface_qdrant.engines.server.direct_query import query_each
from sameface_qdrant.engines.server.options import ServerOptions

Result = TypeVar("Result")
log = logging.getLogger(__name__)

SAFE_TO_REPEAT = frozenset(
    {
        "info",
        "collection_exists",
        "get_collection",
        "collection_cluster_info",
        "create_payload_index",
        "batch_update_points",
        "retrieve",
        "scroll",
        "query_points",
        "query_batch_points",
        "count",
        "facet",
    }
)
"""Methods of qdrant-client that may be applied twice."""
LOST = "an answer that was lost"
ELSEWHERE = frozenset(
    {
        "UNAVAILABLE",
        "DEADLINE_EXCEEDED",
        "INTERNAL",
        "NOT_FOUND",
        "FAILED_PRECONDITION",
        "CANCELLED",
        "RESOURCE_EXHAUSTED",
        LOST,
    }
)
"""Failures that another node may not have. One that was just started again does not know every collection yet. One that
was paused resets so many calls at once that other nodes refuse it for a moment: RESOURCE_EXHAUSTED without a time."""
FIRST_PAUSE_S, LONGEST_PAUSE_S, SPREAD = 0.1, 1.0, 0.25
"""Pauses before a repeat on the same node. They are longer by up to this share, so that services do not keep step."""
PROBE_EVERY_S, PROBE_S, SETTLED_AFTER_S = 0.5, 1.0, 3.0
"""A node that failed is asked so often, each time for so long, and used again once it has answered for so long."""


@dataclass(slots=True, eq=False)
class Node:
    """One node."""

    url: str
    client: AsyncQdrantClient
    away: bool = False


class Nodes:
    """Has the methods of `AsyncQdrantClient`. With one node, it only repeats calls."""

    def __init__(self, clients: Mapping[str, AsyncQdrantClient], options: ServerOptions) -> None:
        self._nodes = [Node(url, client) for url, client in clients.items()]
        self._timeout_s = options.timeout_s
        self._retries = options.retries
        self._probes: set[asyncio.Task[None]] = set()

    def __getattr__(self, name: str) -> Callable[..., Awaitable[Any]]:
        if name.startswith("_"):
            raise AttributeError(name)

        def method(*arguments: Any, **named: Any) -> Awaitable[Any]:
            # Such a read asks all replicas. If it fails, the node that was asked may be well.
            asks_all = named.get("consistency") is models.ReadConsistencyType.MAJORITY
            work = lambda client: getattr(client, name)(*arguments, **named)  # noqa: E731
            return self._call(work, name in SAFE_TO_REPEAT, leaves=not asks_all)

        return method

    def as_client(self) -> AsyncQdrantClient:
        """Return the nodes as the client that they stand for."""
        return cast(AsyncQdrantClient, self)

    async def count_by(self, collection: str, where: Any, consistency: Any) -> int:
        """Return how many points match, exactly. Unlike qdrant-client's own method, it may ask several replicas."""
        request = messages.CountPoints(
            collection_name=collection,
            filter=RestToGrpc.convert_filter(where),
            exact=True,
            read_consistency=RestToGrpc.convert_read_consistency(consistency),
        )
        answer = await self._call(lambda client: client.grpc_points.Count(request, timeout=self._timeout_s), True)
        return int(answer.result.count)

    async def query_each(self, collection: str, requests: Sequence[models.QueryRequest]) -> list[list[Hit]]:
        """Return the hits of each query, see `sameface_qdrant.engines.server.direct_query`."""
        return await self._call(lambda client: query_each(client, collection, requests, self._timeout_s), True)

    async def each(self, work: Callable[[AsyncQdrantClient], Awaitable[Result]]) -> list[Result]:
        """Return the result of a call at every node that answers it."""
        async with asyncio.timeout(self._timeout_s):
            results = await asyncio.gather(
                *(work(node.client) for node in self._nodes if not node.away), return_exceptions=True
            )
        for result in results:
            if isinstance(result, BaseException) and not isinstance(result, grpc.RpcError):
                raise result
        return [result for result in results if not isinstance(result, BaseException)]

    async def close(self) -> None:
        """Close every connection. Safe to call twice."""
        for probe in tuple(self._probes):
            probe.cancel()
        await asyncio.gather(*self._probes, return_exceptions=True)
        for node in self._nodes:
            await node.client.close()

    @property
    def timeout_s(self) -> float:
        """Longest time of a call with all its repeats."""
        return self._timeout_s

    async def _call(
        self, work: Callable[[AsyncQdrantClient], Awaitable[Result]], repeatable: bool, *, leaves: bool = True
    ) -> Result:
        now = asyncio.get_running_loop().time
        deadline = now() + self._timeout_s
        tried: list[Node] = []
        failures = 0
        while True:
            node = self._choose(tried)
            try:
                async with asyncio.timeout_at(deadline):
                    return await work(node.client)
            except ResourceExhaustedResponse as limited:
                # A write of several parts may have been refused in part.
                pause = limited.retry_after_s * (1 + SPREAD * random.random())  # noqa: S311  # no secret
                if not repeatable or now() + pause >= deadline:
                    raise
            except (TimeoutError, grpc.RpcError, AttributeError) as error:
                if isinstance(error, AttributeError) and not is_lost_answer(error):
                    raise
                kind = _kind(error)
                tried.append(node)
                if leaves and kind in ("UNAVAILABLE", "TimeoutError"):
                    self._leave(node)
                again = failures < self._retries and kind in ELSEWHERE and (repeatable or _never_sent(error))
                if len(self._nodes) == 1:
                    again = again and kind in ("UNAVAILABLE", LOST)
                pause = self._pause(tried, failures)
                if not again or now() + pause >= deadline:
                    raise
                failures += 1
            await asyncio.sleep(pause)

    def _choose(self, tried: list[Node]) -> Node:
        """Return the first node that answers and was not tried; else the one that was tried longest ago."""
        untried = [node for node in self._nodes if node not in tried]
        present = [node for node in self._nodes if not node.away]
        for node in untried:
            if node in present:
                return node
        latest = {node: number for number, node in enumerate(tried)}
        again = [node for node in present if node in latest] or untried[:1] or list(latest)
        return min(again, key=lambda node: latest.get(node, -1))

    def _pause(self, tried: list[Node], failures: int) -> float:
        if any(not node.away and node not in tried for node in self._nodes):
            return 0.0
        growing: float = min(FIRST_PAUSE_S * 2**failures, LONGEST_PAUSE_S)
        return growing * (1 + SPREAD * random.random())  # noqa: S311  # no secret

    def _leave(self, node: Node) -> None:
        if node.away or len(self._nodes) == 1:
            return
        node.away = True
        log.warning("Qdrant at %s does not answer; its calls go to other nodes", node.url)
        probe = asyncio.create_task(self._probe(node))
        self._probes.add(probe)
        probe.add_done_callback(self._probes.discard)

    async def _probe(self, node: Node) -> None:
        """Wait until a node has answered for a while, and use it again."""
        answered_s = 0.0
        while answered_s < SETTLED_AFTER_S:
            await asyncio.sleep(PROBE_EVERY_S)
            try:
                async with asyncio.timeout(PROBE_S):
                    await node.client.info()
                answered_s += PROBE_EVERY_S
            except (TimeoutError, grpc.RpcError, ResourceExhaustedResponse):
                answered_s = 0.0
        node.away = False
        log.warning("Qdrant at %s answers again", node.url)


def _kind(error: BaseException) -> str:
    if isinstance(error, AttributeError):
        return LOST
    code = error.code() if isinstance(error, grpc.RpcError) and hasattr(error, "code") else None
    return getattr(code, "name", type(error).__name__)


def _never_sent(error: BaseException) -> bool:
    """Return whether a call failed before it was sent. gRPC then says that no address could be connected to."""
    details = error.details() if hasattr(error, "details") else ""
    return _kind(error) == "UNAVAILABLE" and str(details).startswith("failed to connect to all addresses")
