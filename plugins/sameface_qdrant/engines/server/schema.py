"""The layout of the store's collections on a server: vectors, replicas, payload indexes. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from qdrant_client import models

from sameface_qdrant.engines.base import INDEXED_FIELDS, TENANT_FIELD, VECTOR_NAME
from sameface_qdrant.engines.server.options import ServerOptions
from sameface_qdrant.errors import InvalidArgument

# The additional fields only narrow what the tenant's index found, but strict mode requires an index for them too.
SERVER_INDEXES: Mapping[str, str] = {
    **INDEXED_FIELDS,
    "mark": "keyword",
    "revision": "integer",
    "source": "keyword",
    "state": "keyword",
}
"""Payload fields of filters, except labels, with the type of their index."""


READ_ELSEWHERE = models.CollectionParamsDiff(read_fan_out_delay_ms=100)
"""A replica that does not answer in this time is not waited for: another one is asked as well. Qdrant itself notices
after seconds that a node hangs, and then only if something is written."""


@dataclass(slots=True)
class OpenedCollection:
    """Properties of an open collection."""

    dimension: int
    consistency: models.ReadConsistencyType | None
    """A quorum, which is a majority, if there is more than one replica. Qdrant's ``majority`` waits for all of them."""
    indexed: set[str] = field(default_factory=set)


def new_collection(dimension: int, options: ServerOptions) -> dict[str, Any]:
    """Return the arguments that make a collection.

    There is one graph for each gallery and none for the whole collection, because every search is in one gallery.

    Raises:
        InvalidArgument: ``strict_mode`` names something that Qdrant does not know.
    """
    vector = models.VectorParams(
        size=dimension, distance=models.Distance.COSINE, on_disk=True if options.on_disk else None
    )
    int8 = models.ScalarQuantization(scalar=models.ScalarQuantizationConfig(type=models.ScalarType.INT8))
    limits: dict[str, Any] = dict(options.strict_mode)
    try:
        strict = models.StrictModeConfig(enabled=True, **limits) if limits else None
    except ValueError as error:
        raise InvalidArgument(
            f"strict_mode is {limits}; expected names and values of Qdrant's StrictModeConfig: {error}",
            metadata={"field": "strict_mode"},
        ) from error
    return {
        "vectors_config": {VECTOR_NAME: vector},
        "hnsw_config": models.HnswConfigDiff(m=0, payload_m=options.payload_m, ef_construct=options.ef_construct),
        "shard_number": options.shard_number,
        "replication_factor": options.replication_factor,
        "write_consistency_factor": options.write_consistency_factor,
        "quantization_config": int8 if options.quantization == "int8" else None,
        "strict_mode_config": strict,
    }


def opened_collection(collection: str, params: models.CollectionParams) -> OpenedCollection:
    """Return the properties of an existing collection.

    Raises:
        InvalidArgument: this store did not make it.
    """
    vectors = params.vectors
    vector = vectors.get(VECTOR_NAME) if isinstance(vectors, dict) else None
    if vector is None or vector.distance != models.Distance.COSINE:
        raise InvalidArgument(
            f"the collection of {collection} has no vector {VECTOR_NAME!r} under cosine distance, so this store did "
            "not make it; attach to it instead, or choose another collection_prefix",
            metadata={"field": "collection_prefix", "collection": collection},
        )
    replicated = (params.replication_factor or 1) > 1
    return OpenedCollection(vector.size, models.ReadConsistencyType.QUORUM if replicated else None)


def index_schema(name: str, kind: str) -> Any:
    """Return the parameters of a payload index.

    Only galleries get graphs. For other fields Qdrant would build one for each frequent value, such as a kind.
    """
    match kind:
        case "float":
            return models.FloatIndexParams(type=models.FloatIndexType.FLOAT, enable_hnsw=False)
        case "integer":
            return models.IntegerIndexParams(
                type=models.IntegerIndexType.INTEGER, lookup=True, range=False, enable_hnsw=False
            )
        case _:
            keyword = models.KeywordIndexType.KEYWORD
            if name == TENANT_FIELD:
                return models.KeywordIndexParams(type=keyword, is_tenant=True)
            return models.KeywordIndexParams(type=keyword, enable_hnsw=False)
