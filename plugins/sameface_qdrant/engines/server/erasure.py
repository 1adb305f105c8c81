"""Has a Qdrant server write its segments again, so that the bytes of removed points leave them.

A server keeps removed points in a segment until it writes that segment again. On its own it does so when a fifth of the
points is removed, and never in a segment of fewer than 100 points. But it writes every segment whose payloads are not
stored as configured, whatever its size. So ``on_disk_payload`` is set to its other value. Once no segment has the old
one, every segment was written since, and the value is set back. Meanwhile the collection answers as always.
"""

from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from qdrant_client import AsyncQdrantClient, models

from sameface_qdrant.engines.base import Segments
from sameface_qdrant.engines.server.error_mapping import MISSING, REFUSED_KEY
from sameface_qdrant.errors import SamefaceError

WAL_MB = 32
"""Qdrant's default size of one file of its write-ahead log."""
MOST_SNAPSHOTS = 50
"""Snapshots that a receipt names; it counts the others."""


class ServerSegments:
    """Implements `SegmentRewriting`."""

    def __init__(
        self, client: AsyncQdrantClient, name: Callable[[str], str], run: Callable[[Awaitable[Any]], Awaitable[Any]]
    ) -> None:
        """Work on the collections that ``name`` gives for the store's. ``run`` awaits a call, with typed errors."""
        self._client, self._name, self._run = client, name, run

    async def look(self, collection: str) -> Segments:
        """See `SegmentRewriting.look`."""
        found = await self._run(self._client.get_collection(self._name(collection)))
        return segments_of(found)

    async def order(self, collection: str, layout: bool) -> str:
        """See `SegmentRewriting.order`."""
        changed = models.CollectionParamsDiff(on_disk_payload=layout)
        try:
            await self._run(self._client.update_collection(self._name(collection), collection_params=changed))
        except SamefaceError as error:
            if error.metadata.get("kind") in REFUSED_KEY:
                return "this API key may not change collections"
            raise
        return ""

    async def left(self, collection: str) -> tuple[str, ...]:
        """See `SegmentRewriting.left`; it names the snapshots that exist now."""
        name = self._name(collection)
        found = await self._run(self._client.get_collection(name))
        return (
            *described(name, found),
            *await self._snapshots(f"of the collection {name}", name),
            *await self._snapshots("of the whole server", None),
        )

    async def _snapshots(self, what: str, name: str | None) -> tuple[str, ...]:
        listing: Any = self._client.list_full_snapshots() if name is None else self._client.list_snapshots(name)
        try:
            return named(what, await self._run(listing))
        except SamefaceError as error:
            kind = error.metadata.get("kind")
            if kind in MISSING:
                return ()
            reason = "this API key may not list them" if kind in REFUSED_KEY else f"not listed ({kind})"
            return (f"snapshots {what}: {reason}",)


def segments_of(found: models.CollectionInfo) -> Segments:
    """Return what a server reports about a collection. Pure.

    Green means that no segment differs from the configuration, and none is being written. Grey means that one differs,
    and the server, restarted since, waits for a write.
    """
    error = getattr(found.optimizer_status, "error", "")
    failure = f"the server cannot optimize: {error[:200]}" if error else ""
    return Segments(
        layout=bool(found.config.params.on_disk_payload),
        settled=found.status is models.CollectionStatus.GREEN and not failure,
        stalled=found.status is models.CollectionStatus.GREY,
        failure=failure,
    )


def described(name: str, found: models.CollectionInfo) -> tuple[str, ...]:
    """Return what is never looked at on a server. Pure."""
    params, log = found.config.params, found.config.wal_config
    # The open file, and the closed ones that are always kept.
    kept_mb = 2 * WAL_MB if log is None else (log.wal_capacity_mb or WAL_MB) * (1 + (log.wal_retain_closed or 1))
    places = [
        f"the files of {name}: not searched; the server reports that every segment was written again",
        f"write-ahead logs of {name}: each shard keeps up to {kept_mb} MB of its latest writes",
    ]
    if (params.replication_factor or 1) > 1:
        places.append(f"other replicas of {name}: the server reports on one of each shard")
    if (params.replication_factor or 1) > 1 or (params.shard_number or 1) > 1:
        places.append("snapshots on other nodes: one node lists its own")
    return tuple(places)


def named(what: str, snapshots: Sequence[models.SnapshotDescription]) -> tuple[str, ...]:
    """Return the snapshots by name and time, the latest first. Pure."""
    latest = sorted(snapshots, key=lambda one: (one.creation_time or "", one.name), reverse=True)
    listed = [f"snapshot {what}: {one.name}, {one.creation_time or 'time unknown'}" for one in latest[:MOST_SNAPSHOTS]]
    if more := len(latest) - len(listed):
        listed.append(f"snapshots {what}: {more} older ones")
    return tuple(listed)
