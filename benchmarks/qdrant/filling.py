"""Fills a store with galleries, with the records that enrolment writes, and waits until the server has indexed them."""

import asyncio
import time
from collections.abc import Iterator

from qdrant_client import AsyncQdrantClient, models

from benchmarks.qdrant.people import DIMENSION, Floats, People
from sameface_qdrant import Contract, GuardAction, Policy, Store
from sameface_qdrant.engines.base import Engine, Point
from sameface_qdrant.store import payloads
from sameface_qdrant.store.conditional_write import SINCE, STATE, change_of
from sameface_qdrant.store.tenant import Tenant
from sameface_qdrant.values.ids import NO_LABELS, point_id
from sameface_qdrant.values.template import Provenance

CONTRACT = Contract("bench", version=1, sha256="0" * 64, dimension=DIMENSION, preprocessing="none")
ALLOW = GuardAction.ALLOW
POLICY = Policy(verify_threshold=0.5, identify_threshold=0.6, on_collision=ALLOW, on_duplicate=ALLOW, on_outlier=ALLOW)
BATCH, AT_ONCE = 1000, 3
INDEXED_FROM_KB = 10_000
"""Qdrant's default: segments with more kilobytes of vectors are indexed."""
QUIET_S = 3.0
"""A server that has been green for so long has nothing left to index."""


def gallery_id(number: int) -> str:
    """Return the id of a gallery."""
    return f"gallery-{number}"


async def fill(
    store: Store,
    engine: Engine,
    client: AsyncQdrantClient,
    collection: str,
    people: People,
    galleries: int,
    identities: int,
    each: int,
) -> float:
    """Make the galleries and write their records in batches. Return the seconds that the writes took.

    Enrolment would take hours for a million templates, as it reads before each write.
    """
    seconds = 0.0
    free = asyncio.Semaphore(AT_ONCE)
    batch: list[Point] = []

    async def write(points: list[Point]) -> None:
        try:
            await engine.upsert(CONTRACT.key, points, insert_only=True)
        finally:
            free.release()

    for number in range(galleries):
        await store.galleries.create(gallery_id(number), CONTRACT, policy=POLICY)
        if number == 0:
            await set_indexing(client, collection, False)
        tenant = await store.galleries.tenant(gallery_id(number))
        made = people.templates(number, identities, each)
        began = time.perf_counter()
        async with asyncio.TaskGroup() as writes:
            for points in points_of(tenant, made):
                batch += points
                if len(batch) >= BATCH:
                    await free.acquire()
                    writes.create_task(write(batch))
                    batch = []
        seconds += time.perf_counter() - began
    if batch:
        await free.acquire()
        await write(batch)
    return seconds


async def set_indexing(client: AsyncQdrantClient, collection: str, on: bool) -> None:
    """Let the server index the collection, or not: so that filling and indexing are measured one after the other."""
    threshold = models.OptimizersConfigDiff(indexing_threshold=INDEXED_FROM_KB if on else 0)
    await client.update_collection(collection, optimizers_config=threshold)


def points_of(tenant: Tenant, vectors: Floats, first: int = 0) -> Iterator[list[Point]]:
    """Yield the record and the templates of each identity, numbered from ``first`` on."""
    now = time.time()
    for number, own in enumerate(vectors, first):
        identity = identity_id(number)
        templates = [
            payloads.template_point(
                point_id(payloads.TEMPLATE, tenant.uid, identity, str(index)),
                tenant.uid,
                identity,
                vector,
                contract_key=CONTRACT.key,
                provenance=Provenance(source="embedding"),
                labels=NO_LABELS,
                digest=f"{number:032x}{index:032x}",
                now=now,
                expires=None,
                identity_expires=None,
            )
            for index, vector in enumerate(own)
        ]
        payload = payloads.identity_payload(
            tenant.uid,
            identity,
            display_name=f"Person {number}",
            labels=NO_LABELS,
            verify_threshold=None,
            now=now,
            request_id="",
        )
        record = Point(payloads.identity_point_id(tenant.uid, identity), {})
        change = change_of(CONTRACT.key, record, payload, templates, new=True)
        confirmed = {STATE: "", SINCE: now}
        yield [change.record, *(Point(one.id, {**one.payload, **confirmed}, one.vector) for one in change.companions)]


def identity_id(number: int) -> str:
    """Return the id of an identity, the same in every gallery."""
    return f"id-{number}"


async def indexed(client: AsyncQdrantClient, collection: str) -> float:
    """Wait until the server has indexed everything. Return the seconds until then."""
    began = green_since = time.perf_counter()
    while True:
        info = await client.get_collection(collection)
        now = time.perf_counter()
        if info.status is not models.CollectionStatus.GREEN:
            green_since = now + 0.1
        if now - green_since > QUIET_S:
            return max(0.0, green_since - began)
        await asyncio.sleep(0.1)
