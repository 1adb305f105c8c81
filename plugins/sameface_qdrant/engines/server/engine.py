"""A Qdrant server or cluster through qdrant-client, and its in-memory store for unit tests.

Writes wait until they are applied (`wait=true`). Removed points are unreadable at once. Their bytes leave the segments
when the server is asked to write these again, see `sameface_qdrant.engines.server.erasure`.
Reads of a collection with more than one replica ask a majority of them, see
`sameface_qdrant.engines.server.replicas`.
"""

import logging
import re
from collections.abc import Awaitable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from importlib.metadata import version
from typing import Any, TypeVar

from qdrant_client import AsyncQdrantClient, models

from sameface_qdrant.engines.base import (
    LABELS_FIELD,
    TENANT_FIELD,
    VECTOR_NAME,
    EngineDescription,
    Hit,
    Point,
    Where,
    check_dimension,
)
from sameface_qdrant.engines.server.addresses import addresses
from sameface_qdrant.engines.server.calls import call as call
from sameface_qdrant.engines.server.client import connect
from sameface_qdrant.engines.server.conversion import filter_of, hits_of, point_of, upsert_of
from sameface_qdrant.engines.server.diagnosis import encryption_fault
from sameface_qdrant.engines.server.erasure import ServerSegments
from sameface_qdrant.engines.server.error_mapping import refused, too_old, typed_error
from sameface_qdrant.engines.server.limits import limits_of, refusals, weaknesses
from sameface_qdrant.engines.server.nodes import Nodes
from sameface_qdrant.engines.server.options import ServerOptions
from sameface_qdrant.engines.server.reads import Reads
from sameface_qdrant.engines.server.schema import (
    READ_ELSEWHERE,
    SERVER_INDEXES,
    OpenedCollection,
    index_schema,
    new_collection,
    opened_collection,
)
from sameface_qdrant.errors import SamefaceError, StoreUnavailable
from sameface_qdrant.values.vectors import Vector

Result = TypeVar("Result")
log = logging.getLogger(__name__)

ORDERING = models.WriteOrdering.MEDIUM
"""Writes of a shard go through its highest replica that is in use, one after the other. ``STRONG`` names the highest of
all, so nothing could be written while its node is away."""
OLDEST_SERVER = (1, 17)
"""The first with conditional and insert-only upserts."""
IN_MEMORY = ("the process's memory: only that the points are unreadable was checked",)
SERVER_FILES = (
    "the server's files: only that the points are unreadable was checked; its segments keep removed points until "
    "they are written again, its write-ahead logs and snapshots longer",
)


class ServerEngine:
    """Implements `Engine`. Several services may share one server; conditional writes prevent conflicts."""

    erasure_evidence = None  # the files belong to the server

    def __init__(
        self, client: AsyncQdrantClient, description: EngineDescription, options: ServerOptions | None = None
    ) -> None:
        self._client = client
        self._reads: Any = client
        self._description = description
        self._options = options or ServerOptions()
        self._known: dict[str, OpenedCollection] = {}
        # No other process can write to this memory.
        self.exclusive = description.kind == "memory"
        rewrites = self._options.rewrite_segments and not self.exclusive
        self.segment_rewriting = ServerSegments(client, self._name, self._run) if rewrites else None

    @classmethod
    async def open(cls, url: str, *, api_key: str | None, options: ServerOptions) -> "ServerEngine":
        """Connect to ``http(s)://host:port`` (the gRPC port, by default 6334), or ``:memory:``.

        Commas separate the nodes of a cluster. Every service should name them in the same order.

        Raises:
            StoreUnavailable: nothing answers, or the key is refused.
            StoreTooOld: the server is older than 1.17.
            InvalidArgument: the certificate cannot be read, or an address is malformed.
        """
        if url == ":memory:":
            memory = AsyncQdrantClient(location=url)
            return cls(
                memory, EngineDescription("memory", version("qdrant-client"), url, not_erased=IN_MEMORY), options
            )
        once = replace(options, retries=0)  # `Nodes` repeats the calls
        client = Reads(Nodes({node: connect(node, api_key, once) for node in addresses(url)}, options)).as_client()
        try:
            found = (await call(url, client.info())).version
            numbers = re.match(r"(\d+)\.(\d+)", found)
            if numbers is None or (int(numbers[1]), int(numbers[2])) < OLDEST_SERVER:
                raise too_old(url, found, OLDEST_SERVER)
        except StoreUnavailable as error:
            await client.close()
            if fault := await encryption_fault(url, options):
                raise typed_error(url, "UNAVAILABLE", fault) from error
            raise
        except BaseException:
            await client.close()
            raise
        return cls(
            client, EngineDescription("server", found, url, exact=options.exact, not_erased=SERVER_FILES), options
        )

    @property
    def description(self) -> EngineDescription:
        """What this engine is."""
        return self._description

    async def ensure(self, collection: str, dimension: int) -> None:
        """See `Engine.ensure`; another service may make the same collection at the same moment."""
        opened = self._known.get(collection)
        if opened is None:
            name = self._name(collection)
            if not await self._run(self._client.collection_exists(name)):
                await self._create(name, dimension)
            found = await self._run(self._client.get_collection(name))
            opened = opened_collection(collection, found.config.params)
            if self._description.kind != "memory":
                await self._check(name, found.config)
                opened.indexed |= found.payload_schema.keys()
                await self._index(collection, opened, SERVER_INDEXES)
            self._known[collection] = opened
        check_dimension(collection, dimension, opened.dimension)

    async def upsert(
        self,
        collection: str,
        points: Sequence[Point],
        *,
        insert_only: bool = False,
        only_if: Where | None = None,
        companions: Sequence[Point] = (),
    ) -> None:
        """See `Engine.upsert`; the server applies the parts of one request in turn."""
        await self._index_labels(collection, [point.payload for point in (*companions, *points)])
        operations = [upsert_of(companions, insert_only=True)] if companions else []
        operations.append(upsert_of(points, insert_only=insert_only, only_if=only_if))
        await self._run(
            self._client.batch_update_points(self._name(collection), operations, wait=True, ordering=ORDERING)
        )

    async def set_payload(self, collection: str, where: Where, payload: Mapping[str, Any]) -> None:
        """See `Engine.set_payload`."""
        await self._index_labels(collection, [payload])
        await self._run(
            self._client.set_payload(
                self._name(collection),
                dict(payload),
                models.FilterSelector(filter=filter_of(where)),
                wait=True,
                ordering=ORDERING,
            )
        )

    async def get(self, collection: str, ids: Sequence[str], *, with_vector: bool = False) -> dict[str, Point]:
        """See `Engine.get`."""
        if not ids:
            return {}
        records = await self._run(
            self._client.retrieve(
                self._name(collection),
                list(ids),
                with_payload=True,
                with_vectors=with_vector,
                consistency=self._consistency(collection),
            )
        )
        return {str(record.id): point_of(record) for record in records}

    async def delete(self, collection: str, where: Where | Sequence[str]) -> None:
        """See `Engine.delete`."""
        if isinstance(where, Where):
            selector: Any = models.FilterSelector(filter=filter_of(where))
        else:
            selector = models.PointIdsList(points=list(where))
        await self._run(self._client.delete(self._name(collection), selector, wait=True, ordering=ORDERING))

    async def nearest(
        self, collection: str, vector: Vector, where: Where, limit: int, *, min_score: float | None = None
    ) -> list[Hit]:
        """See `Engine.nearest`; in memory every search is exact."""
        answer = await self._run(
            self._client.query_points(
                self._name(collection),
                query=vector.tolist(),
                using=VECTOR_NAME,
                query_filter=filter_of(where),
                search_params=self._search_params(where),
                limit=limit,
                with_payload=True,
                score_threshold=min_score,
                consistency=self._consistency(collection),
            )
        )
        return hits_of(answer)

    async def nearest_each(
        self,
        collection: str,
        searches: Sequence[tuple[Vector, Where]],
        limit: int,
        *,
        fields: Sequence[str],
        exact: bool = False,
    ) -> list[list[Hit]]:
        """See `Engine.nearest_each`; one request. `ServerOptions.exact` decides for guards too, not ``exact``."""
        requests = [
            models.QueryRequest(
                query=vector.tolist(),
                using=VECTOR_NAME,
                filter=filter_of(where),
                params=self._search_params(where),
                limit=limit,
                with_payload=list(fields),
            )
            for vector, where in searches
        ]
        name, consistency = self._name(collection), self._consistency(collection)
        if isinstance(self._reads, Reads):
            return await self._run(self._reads.hits(name, requests, consistency))
        answers = await self._run(self._client.query_batch_points(name, requests, consistency=consistency))
        return [hits_of(answer) for answer in answers]

    async def scroll(
        self, collection: str, where: Where, limit: int, start: str | None = None
    ) -> tuple[list[Point], str | None]:
        """See `Engine.scroll`."""
        records, following = await self._run(
            self._client.scroll(
                self._name(collection),
                scroll_filter=filter_of(where),
                limit=limit,
                offset=start,
                with_payload=True,
                consistency=self._consistency(collection),
            )
        )
        return [point_of(record) for record in records], None if following is None else str(following)

    async def count(self, collection: str, where: Where) -> int:
        """See `Engine.count`."""
        # qdrant-client's own method knows no consistency, and its in-memory store refuses the argument.
        consistency = self._consistency(collection)
        more: Any = {} if consistency is None else {"consistency": consistency}
        name, within = self._name(collection), filter_of(where)
        return int((await self._run(self._client.count(name, count_filter=within, exact=True, **more))).count)

    async def commit(self, collection: str, *, erase: bool = False) -> None:
        """See `Engine.commit`; every write has waited already."""

    async def aclose(self) -> None:
        """See `Engine.aclose`."""
        await self._client.close()

    def _name(self, collection: str) -> str:
        return self._options.collection_prefix + collection

    def _consistency(self, collection: str) -> models.ReadConsistencyType | None:
        return self._known[collection].consistency if collection in self._known else None

    def _search_params(self, where: Where) -> models.SearchParams | None:
        if self._description.kind == "memory":
            return None
        # Outside one gallery there is no graph, see `new_collection`.
        if self._options.exact or "identity" in where.equals or TENANT_FIELD not in where.equals:
            originals = models.QuantizationSearchParams(ignore=True)
            return models.SearchParams(exact=True, quantization=originals)
        rescored = models.QuantizationSearchParams(rescore=True, oversampling=self._options.oversampling)
        return models.SearchParams(
            hnsw_ef=self._options.hnsw_ef, quantization=rescored if self._options.quantization == "int8" else None
        )

    async def _check(self, name: str, config: models.CollectionConfig) -> None:
        """Refuse a collection that does not allow the store's searches, and log what its cluster does not withstand."""
        strict = config.strict_mode_config
        if reasons := refusals(strict, self._options):
            raise refused(self._description.location, name, reasons)
        if isinstance(self._client, Reads):
            self._client.limits[name] = limits_of(strict)
        with suppress(SamefaceError):  # a key may not be allowed to ask, and a server alone may not know
            found = await self._run(self._client.collection_cluster_info(name))
            nodes = len({found.peer_id, *(shard.peer_id for shard in found.remote_shards)})
            params = config.params
            for weakness in weaknesses(params.replication_factor or 1, params.write_consistency_factor or 1, nodes):
                log.warning("collection %s of Qdrant: %s", name, weakness)

    async def _create(self, name: str, dimension: int) -> None:
        layout = new_collection(dimension, self._options)
        try:
            await self._run(self._client.create_collection(name, **layout))
            if (self._options.replication_factor or 1) > 1 and self._description.kind != "memory":
                await self._run(self._client.update_collection(name, collection_params=READ_ELSEWHERE))
        except SamefaceError:
            if not await self._run(self._client.collection_exists(name)):
                raise

    async def _index_labels(self, collection: str, payloads: Iterable[Mapping[str, Any]]) -> None:
        """Index new labels before the first point that has them.

        Strict mode refuses filters on fields without an index.
        """
        opened = self._known.get(collection)
        if opened is None or self._description.kind == "memory":
            return
        keys = {f"{LABELS_FIELD}.{key}" for payload in payloads for key in payload.get(LABELS_FIELD) or {}}
        await self._index(collection, opened, dict.fromkeys(keys, "keyword"))

    async def _index(self, collection: str, opened: OpenedCollection, fields: Mapping[str, str]) -> None:
        for name in fields.keys() - opened.indexed:
            schema = index_schema(name, fields[name])
            await self._run(self._client.create_payload_index(self._name(collection), name, schema, wait=True))
            opened.indexed.add(name)

    async def _run(self, awaited: Awaitable[Result]) -> Result:
        return await call(self._description.location, awaited)
