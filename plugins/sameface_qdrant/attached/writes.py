"""Writes points of a collection that another program made, through qdrant-client."""

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

from qdrant_client import models

from sameface_qdrant.attached.queries import AttachedCollection, point_key
from sameface_qdrant.attached.sameness import Witnesses
from sameface_qdrant.attached.target import Id
from sameface_qdrant.errors import InvalidArgument
from sameface_qdrant.values.ids import point_id
from sameface_qdrant.values.scalars import all_of_python
from sameface_qdrant.values.vectors import Vector


async def enroll(
    collection: AttachedCollection, identity: Id, vectors: Sequence[Vector], payload: Mapping[str, Any]
) -> tuple[str, ...]:
    """See `sameface_qdrant.Attached.enroll`. Ids derive from the content, so a repeat finds its own points."""
    target = collection.target
    fields: dict[str, Any] = {**target.where, target.identity_key: identity}
    if nested := [field for field in fields if "." in field or "[" in field]:
        raise InvalidArgument(
            f"{nested[0]!r} is a nested field, and enroll writes top-level fields only; write with your own client",
            metadata={"field": nested[0]},
        )
    scope = (target.collection, target.vector_name, repr(sorted(target.where.items())), repr(identity))
    ids = [point_id("attached", *scope, hashlib.sha256(vector.tobytes()).hexdigest()) for vector in vectors]
    if ids:
        written = {**all_of_python(payload), **fields}
        await _insert(collection, [(key, one, written) for key, one in zip(ids, vectors, strict=True)])
    return tuple(ids)


async def _insert(collection: AttachedCollection, points: Sequence[tuple[str, Vector, Mapping[str, Any]]]) -> None:
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


async def delete(collection: AttachedCollection, identity: Id, witnesses: Witnesses) -> list[Id]:
    """Remove every point of an identity, and return the ids of the points."""
    removed: list[Id] = []
    found, _ = await collection.points_by_identity(only=identity)
    while points := found.get(identity, []):
        # Before the removal, so that no decision meanwhile takes it for another collection.
        with witnesses.without(points):
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
