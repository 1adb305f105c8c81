"""Reads of points from several replicas.

Qdrant acknowledges a write when every replica that is in use has applied it; one that failed is taken out of use first.
A quorum read asks a majority of the replicas, and returns what all of these have in the same version. So a point that
is being changed at this moment, or of which a change failed halfway, may be missing from it although it exists:

- Points are read by quorum. If one is missing, and a replica has it, all replicas are asked for the version that most
  of them have.
- Searches and pages are found on one replica; a majority then confirms what was found. A quorum search would lose every
  hit whose score differs in the last bit, or that only one graph finds. A quorum page would end too early.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, TypeAlias

import grpc
from qdrant_client import models

from sameface_qdrant.errors import StoreUnavailable

PAUSES_S = (0.0, 0.01, 0.03, 0.1, 0.3)
"""Pauses after which replicas that disagree are asked again. A change reaches all of them within milliseconds."""

Read: TypeAlias = Callable[[Sequence[Any], models.ReadConsistencyType | None], Awaitable[list[models.Record]]]
"""Reads points by id; without a consistency one replica is asked."""


async def agreed(read: Read, ids: Sequence[Any]) -> list[models.Record]:
    """Return the points that exist, each in the version that a majority of the replicas has.

    Raises:
        StoreUnavailable: the replicas do not agree on a point.
        grpc.RpcError: too few of them answer.
    """
    found: list[models.Record] = []
    left = list(ids)

    def note(records: list[models.Record]) -> None:
        found.extend(records)
        known = {record.id for record in records}
        left[:] = [one for one in left if one not in known]

    for pause in PAUSES_S:
        await asyncio.sleep(pause)
        note(await read(left, models.ReadConsistencyType.QUORUM))
        if left:
            left[:] = [record.id for record in await read(left, None)]
        if left:
            try:
                note(await read(left, models.ReadConsistencyType.MAJORITY))
            except grpc.RpcError:  # it needs all replicas, and one may be away
                continue
        if not left:
            return found
    raise StoreUnavailable(
        f"the replicas of Qdrant do not agree on {len(left)} points; repeat the same call", retry_after_s=1.0
    )
