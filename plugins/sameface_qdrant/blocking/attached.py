"""An attached collection whose methods wait for their answers."""

import threading
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any

from sameface_qdrant.attached import attach as opening
from sameface_qdrant.attached import attached as aio
from sameface_qdrant.attached.target import NO_FIELDS, Id
from sameface_qdrant.blocking.loop_thread import LoopThread, Synchronous, waiting
from sameface_qdrant.engines.server.options import ServerOptions
from sameface_qdrant.errors import InvalidArgument
from sameface_qdrant.values.gallery import OperatingPoint, Policy

if TYPE_CHECKING:
    from qdrant_client import AsyncQdrantClient, QdrantClient


class Attached(Synchronous[aio.Attached]):
    """Opened by `attach`; close it with ``with`` or `close`. Many threads may call its methods at once."""

    def __init__(self, attached: aio.Attached, thread: LoopThread) -> None:
        super().__init__(attached, thread)
        self._closing = threading.Lock()

    @property
    def policy(self) -> Policy:
        """See `sameface_qdrant.Attached.policy`."""
        return self._target.policy

    count = waiting(aio.Attached.count)
    verify = waiting(aio.Attached.verify)
    identify = waiting(aio.Attached.identify)
    search = waiting(aio.Attached.search)
    score_many = waiting(aio.Attached.score_many)
    scores = waiting(aio.Attached.scores)
    calibrate = waiting(aio.Attached.calibrate)
    what_if = waiting(aio.Attached.what_if)
    enroll = waiting(aio.Attached.enroll)
    delete = waiting(aio.Attached.delete)

    def close(self) -> None:
        """End the thread, and close the connection that a URL opened. Safe to call twice."""
        with self._closing:
            if not self._thread.stopped:
                try:
                    self._thread.wait_for(self._target.aclose())
                finally:
                    self._thread.stop()

    def __enter__(self) -> "Attached":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def attach(
    client_or_url: "QdrantClient | AsyncQdrantClient | str",
    *,
    collection: str,
    identity_key: str,
    vector_name: str = "",
    where: Mapping[str, str | int | bool] = NO_FIELDS,
    policy: Policy = Policy(),  # noqa: B008  # frozen
    operating_points: Sequence[OperatingPoint] = (),
    writable: bool = False,
    shard_key: Id | None = None,
    api_key: str | None = None,
    options: ServerOptions | None = None,
) -> Attached:
    """Attach to a collection without asyncio, also in Jupyter. See `sameface_qdrant.attach` for the other arguments.

    Args:
        client_or_url: a `QdrantClient`, which stays open, or ``http(s)://host:port`` of a server's gRPC port. An
            `AsyncQdrantClient` only if it is one in memory: others belong to the event loop that uses them.

    Raises:
        InvalidArgument, StoreUnavailable: see `sameface_qdrant.attach`.
    """
    thread = LoopThread()
    try:
        coroutine = opening.attach(
            _usable_here(client_or_url),
            collection=collection,
            identity_key=identity_key,
            vector_name=vector_name,
            where=where,
            policy=policy,
            operating_points=operating_points,
            writable=writable,
            shard_key=shard_key,
            api_key=api_key,
            options=options,
        )
        return Attached(thread.wait_for(coroutine), thread)
    except BaseException:
        thread.stop()
        raise


def _usable_here(client_or_url: Any) -> Any:
    """Return a client as the thread's loop can use it, or the URL."""
    if isinstance(client_or_url, str):
        return client_or_url
    # Imported here, so that users of Edge do not load qdrant-client.
    from qdrant_client import AsyncQdrantClient, QdrantClient

    from sameface_qdrant.attached.queries import is_local
    from sameface_qdrant.attached.sync_client import AwaitedClient

    if isinstance(client_or_url, QdrantClient):
        return AwaitedClient(client_or_url)
    if isinstance(client_or_url, AsyncQdrantClient) and not is_local(client_or_url):
        raise InvalidArgument(
            "client_or_url is an AsyncQdrantClient, which belongs to the event loop that uses it; give a QdrantClient "
            "or http(s)://host:port here, or await sameface_qdrant.attach",
            metadata={"field": "client_or_url"},
        )
    return client_or_url
