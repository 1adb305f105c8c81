"""Writes points of a collection that another program made, through qdrant-client."""

from collections.abc import Mapping, Sequence
from typing import Any

from qdrant_client import models

from sameface_qdrant.attached.queries import AttachedCollection, point_key
from sameface_qdrant.attached.target import Id
from sameface_qdrant.values.vectors import Vector


async def insert(collection: AttachedCollection, points: Sequence[tuple[str, Vector, Mapping[str, Any]]]) -> None:
    """Add points. Existing points stay as they are."""
    name = collection.target.vector_name
    structs = [
        models.PointStruct(id=key, vector={name: vector.tolist()} if name else vector.tolist(), payload=dict(payload))
        for key, vector, payload in points
    ]
    await collection.ask(
        collection.client.upsert(
            collection.target.collection,
            structs,
            wait=True,
            ordering=models.WriteOrdering.STRONG,
            update_mode=models.UpdateMode.INSERT_ONLY,
            shard_key_selector=collection.shard_key,
        ),
    )


async def delete(collection: AttachedCollection, identity: Id) -> list[Id]:
    """Remove every point of an identity, and return the ids of the points."""
    removed: list[Id] = []
    found, _ = await collection.points_by_identity(only=identity)
    while points := found.get(identity, []):
        await _remove(collection, points)
        removed += points
        if not collection.sharded_by_key:
            break
        # Shards of different keys may each hold a point of the same id, and one read finds one of them.
        found, _ = await collection.points_by_identity(only=identity)
    return removed


async def _remove(collection: AttachedCollection, ids: Sequence[Id]) -> None:
    by_key: dict[Id | None, list[Id]] = {}
    for point, key in (await _shard_keys(collection, ids)).items():
        by_key.setdefault(key, []).append(point)
    for key, points in by_key.items():
        await collection.ask(
            collection.client.delete(
                collection.target.collection,
                models.PointIdsList(points=points),
                wait=True,
                ordering=models.WriteOrdering.STRONG,
                shard_key_selector=key,
            )
        )


async def _shard_keys(collection: AttachedCollection, ids: Sequence[Id]) -> dict[Id, Id | None]:
    if not collection.sharded_by_key:
        return dict.fromkeys(ids)
    records = await collection.ask(
        collection.client.retrieve(
            collection.target.collection,
            list(ids),
            with_payload=False,
            with_vectors=False,
            consistency=collection.consistency,
        )
    )
    return {point_key(record.id): record.shard_key for record in records}
