"""Reads the layout of a collection that another program made."""

import warnings
from typing import Any

from qdrant_client import AsyncQdrantClient, models

from sameface_qdrant.attached.counting import stacked
from sameface_qdrant.attached.layout import named_vectors, unit_rows
from sameface_qdrant.attached.misnamed import no_collection, no_vector
from sameface_qdrant.attached.queries import AttachedCollection, is_local
from sameface_qdrant.attached.target import Id, Target
from sameface_qdrant.engines.server.engine import call
from sameface_qdrant.errors import InvalidArgument, SamefaceError
from sameface_qdrant.values.vectors import is_usable

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
        raise no_collection(location, name, await _collections(client, location))
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
        index=_index(info.payload_schema.get(target.identity_key)) if not is_local(client) else None,
        consistency=models.ReadConsistencyType.QUORUM if replicated else None,
        sharded_by_key=info.config.params.sharding_method is models.ShardingMethod.CUSTOM,
        shard_key=shard_key,
    )
    if params.distance is not models.Distance.COSINE:
        await _check_norms(attached)
    return attached


async def _collections(client: AsyncQdrantClient, location: str) -> list[str]:
    """Return the names of collections and aliases; none if the key may not list them."""
    try:
        found = await call(location, client.get_collections())
        aliases = await call(location, client.get_aliases())
    except SamefaceError:
        return []
    return [one.name for one in found.collections] + [one.alias_name for one in aliases.aliases]


def _vector_params(vectors: Any, target: Target) -> models.VectorParams:
    named = named_vectors(vectors)
    params = named.get(target.vector_name)
    if params is None:
        raise no_vector(target.collection, target.vector_name, sorted(named))
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
    async for page in attached.pages(with_vectors=True, size=CHECKED_FOR_NORM):
        vectors = stacked([point.vector for point in page], attached.dimension)
        # Broken embeddings are counted, and never compared.
        unit_rows(attached.target, attached.distance, vectors[is_usable(vectors)])
        return


def _index(schema: models.PayloadIndexInfo | None) -> str | None:
    return None if schema is None else schema.data_type.value
