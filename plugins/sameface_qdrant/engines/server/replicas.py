"""Reads of points from several replicas.

Qdrant acknowledges a write when every replica that is in use has applied it; one that failed is taken out of use first.
A quorum read asks a majority of the replicas, and returns what all of these have in the same version. So a point that
is being changed at this moment, or of which a change failed halfway, may be missing from it although it exists:

- Points are read by quorum. If one is missing, and a replica has it, all replicas are asked for the version that most
  of them have. A write that was refused because a majority was away may have left a point on one replica for good. Such
  a point does not exist. But shortly after a majority is back, one replica may also have what was acknowledged, until
  the others have recovered from it. So a point counts as missing once it has been on a minority for a while.
- Searches and pages are found on one replica; a majority then confirms what was found. A quorum search would lose every
  hit whose score differs in the last bit, or that only one graph finds. A quorum page would end too early.
"""

import asyncio
import logging
import time
from collections import Counter, OrderedDict
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Any, TypeAlias

import grpc
from qdrant_client import models

from sameface_qdrant.errors import StoreUnavailable

log = logging.getLogger(__name__)

PAUSES_S = (0.0, 0.01, 0.03, 0.1, 0.3)
"""Pauses after which replicas that disagree are asked again. A change reaches all of them within milliseconds."""
MISSING_AFTER_S = 30.0
"""A point that has been on a minority for so long, while all replicas answered, does not exist."""
FORGOTTEN_AFTER_S = 300.0
MOST_STRAYS = 10_000

Held: TypeAlias = Callable[[Sequence[Any]], Awaitable[list[list[models.Record]]]]
"""Returns for every node that answers which of the points it finds on one replica, its own if it has one."""
Read: TypeAlias = Callable[[Sequence[Any], models.ReadConsistencyType | None], Awaitable[list[models.Record]]]
"""Reads points by id; without a consistency one replica is asked."""


class Strays:
    """Remembers since when points have been on a minority of the replicas."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._seen: OrderedDict[Any, tuple[float, float]] = OrderedDict()
        """When each point was first and last seen so."""

    def note(self, point: Any) -> bool:
        """Note that a point is on a minority. Return whether it has been so for long enough to count as missing."""
        now = self._clock()
        first, last = self._seen.pop(point, (now, now))
        first = now if now - last > FORGOTTEN_AFTER_S else first
        self._seen[point] = first, now
        if len(self._seen) > MOST_STRAYS:
            self._seen.popitem(last=False)
        return now - first >= MISSING_AFTER_S

    def forget(self, points: Iterable[Any]) -> None:
        """Note that points are where they should be."""
        if self._seen:
            for point in points:
                self._seen.pop(point, None)


async def agreed(read: Read, held: Held, ids: Sequence[Any], strays: Strays) -> list[models.Record]:
    """Return the points that exist, each in the version that a majority of the replicas has.

    Points that all replicas have in different versions are an error for as long as that lasts, if every node is known
    by its own address. Behind a single address they cannot be told from points of one replica.

    Raises:
        StoreUnavailable: the replicas do not agree on a point.
        grpc.RpcError: too few of them answer.
    """
    found: list[models.Record] = []
    left = list(ids)

    def note(records: list[models.Record]) -> None:
        found.extend(records)
        known = {record.id for record in records}
        strays.forget(known)
        left[:] = [one for one in left if one not in known]

    all_answered = False
    for pause in PAUSES_S:
        await asyncio.sleep(pause)
        all_answered = False
        note(await read(left, models.ReadConsistencyType.QUORUM))
        if left:
            left[:] = [record.id for record in await read(left, None)]
        if left:
            try:
                note(await read(left, models.ReadConsistencyType.MAJORITY))
            except grpc.RpcError:  # it needs all replicas, and one may be away
                continue
            all_answered = True
        if not left:
            return found
    if all_answered:
        # Either most replicas do not have these points, or all replicas have them in different versions.
        nodes = await held(left)
        times = Counter(record.id for records in nodes for record in records)
        missing = [one for one in left if times[one] <= max(1, len(nodes) // 2) and strays.note(one)]
        left = [one for one in left if one not in missing]
        if missing:
            log.warning("%d points are on a minority of Qdrant's replicas, and count as missing", len(missing))
        if not left:
            return found
    raise StoreUnavailable(
        f"the replicas of Qdrant do not agree on {len(left)} points; repeat the same call", retry_after_s=1.0
    )
