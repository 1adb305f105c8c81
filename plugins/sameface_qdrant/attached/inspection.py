"""Reads the layout of a collection that another program made."""

import warnings
from typing import Any

import numpy as np
from qdrant_client import AsyncQdrantClient, models

from sameface_qdrant.attached.layout import NORM_TOLERANCE, named_vectors, not_unit_norm
from sameface_qdrant.attached.queries import AttachedCollection, is_local
from sameface_qdrant.attached.target import Id, Target
from sameface_qdrant.engines.server.engine import call
from sameface_qdrant.errors import InvalidArgument

CHECKED_FOR_NORM = 256


async def open_collection(
    client: AsyncQdrantClient, location: str, target: Target, shard_key: Id | None = None
) -> AttachedCollection:
    """Read the layout of a collection, and warn if an index is missing. A token for this collection alone will do.

    Raises:
        InvalidArgument: there is no such collection or vector, or its scores cannot be turned into cosines.
        StoreUnavailable: the server does not answer.
    """
    name = target.collection
    if not await call(location, client.collection_exists(name)):
        raise InvalidArgument(f"Qdrant at {location} has no collection {name!r}", metadata={"field": "collection"})
    info = await call(location, client.get_collection(name))
    params = _vector_params(info.config.params.vectors, target)
    replicated = (info.config.params.replication_factor or 1) > 1
    missing = (
        []
        if is_local(client)
        else [key for key in (target.identity_key, *target.where) if key not in info.payload_schema]
    )
    for key in missing:
        warnings.warn(
            f"the payload field {key!r} of {name!r} has no index: the server reads the payload of every point, or "
            f"refuses in strict mode; make one with client.create_payload_index({name!r}, {key!r}, 'keyword'), or "
            "'integer' for whole numbers",
            stacklevel=3,
        )
    attached = AttachedCollection(
        client,
        location,
        target,
        params.size,
        params.distance,
        indexed=not is_local(client) and target.identity_key not in missing,
        consistency=models.ReadConsistencyType.QUORUM if replicated else None,
        sharded_by_key=info.config.params.sharding_method is models.ShardingMethod.CUSTOM,
        shard_key=shard_key,
    )
    if params.distance is not models.Distance.COSINE:
        await _check_norms(attached)
    return attached


def _vector_params(vectors: Any, target: Target) -> models.VectorParams:
    named = named_vectors(vectors)
    params = named.get(target.vector_name)
    if params is None:
        raise InvalidArgument(
            f"the collection {target.collection!r} has no dense vector {target.vector_name!r}; it has "
            f"{sorted(named) or 'none'} ('' is the unnamed one)",
            metadata={"field": "vector_name"},
        )
    reason = ""
    if params.distance is models.Distance.MANHATTAN:
        reason = "Manhattan distances cannot be turned into cosines"
    elif params.multivector_config is not None:
        reason = "a multivector is compared by MaxSim, which is not a cosine"
    elif params.datatype is models.Datatype.UINT8:
        reason = "vectors of uint8 do not keep their direction"
    if reason:
        raise InvalidArgument(
            f"{target.vector_name!r} of {target.collection!r} gives no cosine scores: {reason}; make a collection with "
            "distance Cosine and copy the embeddings there",
            metadata={"field": "vector_name"},
        )
    return params


async def _check_norms(attached: AttachedCollection) -> None:
    for values in (await attached.first_vectors(CHECKED_FOR_NORM)).values():
        norm = float(np.linalg.norm(values)) if values is not None else 1.0
        if abs(norm - 1.0) > NORM_TOLERANCE:
            raise not_unit_norm(attached.target, f"holds an embedding of norm {norm:.4f}")
