"""A Qdrant server or cluster through qdrant-client, and its in-memory twin for unit tests.

Writes wait until they are applied, so a returned write is what the server promises of one (`wait=true`). Removed points
are unreadable at once; when their bytes leave the server's segments, logs and snapshots is the server's own affair.
"""

from collections.abc import Awaitable, Mapping, Sequence
from typing import Any, TypeVar
from urllib.parse import urlsplit

import grpc
import httpx
import numpy as np
from qdrant_client import AsyncQdrantClient, models
from qdrant_client.http.exceptions import ApiException, ResponseHandlingException, UnexpectedResponse

from sameface_qdrant.engines.base import INDEXED_FIELDS, TENANT_FIELD, VECTOR_NAME, Hit, Point, Where
from sameface_qdrant.errors import SamefaceError, StoreFull, StoreTooOld, StoreUnavailable
from sameface_qdrant.values import EngineDescription, Vector

Result = TypeVar("Result")

COLLECTION_PREFIX = "sameface-"
DEFAULT_GRPC_PORT = 6334
OLDEST_SERVER = (1, 17)


class ServerEngine:
    """Implements `Engine`. Several services may share one server; conditions on revisions keep them apart."""

    traces = None  # the files are the server's

    def __init__(self, client: AsyncQdrantClient, description: EngineDescription) -> None:
        self._client = client
        self._description = description
        self._known: set[str] = set()
        # In memory this process is the only writer by nature.
        self.exclusive = description.kind == "memory"

    @classmethod
    async def open(cls, url: str, *, api_key: str | None, timeout_s: float) -> "ServerEngine":
        """Connect to ``http(s)://host:port`` (the gRPC port, 6334 where none is named), or ``:memory:``.

        Raises:
            StoreUnavailable: nothing answers, or the key is refused.
            StoreTooOld: the server is older than 1.17.
        """
        if url == ":memory:":
            from importlib.metadata import version

            memory = AsyncQdrantClient(location=url)
            return cls(memory, EngineDescription("memory", version("qdrant-client"), url))
        client = AsyncQdrantClient(
            url=url,
            grpc_port=urlsplit(url).port or DEFAULT_GRPC_PORT,
            api_key=api_key,
            prefer_grpc=True,
            timeout=int(max(1, timeout_s)),
            # It would ask the REST port, which a deployment need not open.
            check_compatibility=False,
        )
        try:
            info = await _call(url, client.info())
            if tuple(int(part) for part in info.version.split(".")[:2]) < OLDEST_SERVER:
                raise StoreTooOld(
                    f"Qdrant at {url} is version {info.version}; {OLDEST_SERVER[0]}.{OLDEST_SERVER[1]} or newer is "
                    "needed for conditional and insert-only writes",
                    metadata={"url": url, "version": info.version},
                )
        except BaseException:
            await client.close()
            raise
        return cls(client, EngineDescription("server", info.version, url))

    @property
    def description(self) -> EngineDescription:
        """What this engine is."""
        return self._description

    async def ensure(self, collection: str, dimension: int) -> None:
        """See `Engine.ensure`; another service may make the same collection at the same moment."""
        if collection in self._known:
            return
        name = COLLECTION_PREFIX + collection
        if not await self._run(self._client.collection_exists(name)):
            params = models.VectorParams(size=dimension, distance=models.Distance.COSINE)
            try:
                await self._run(self._client.create_collection(name, vectors_config={VECTOR_NAME: params}))
            except SamefaceError:
                if not await self._run(self._client.collection_exists(name)):
                    raise
        if self._description.kind == "server":
            for field in INDEXED_FIELDS:
                schema = models.KeywordIndexParams(
                    type=models.KeywordIndexType.KEYWORD, is_tenant=True if field == TENANT_FIELD else None
                )
                await self._run(self._client.create_payload_index(name, field, schema, wait=True))
        self._known.add(collection)

    async def upsert(
        self, collection: str, points: Sequence[Point], *, insert_only: bool = False, only_if: Where | None = None
    ) -> None:
        """See `Engine.upsert`."""
        structs = [
            models.PointStruct(
                id=point.id,
                vector={} if point.vector is None else {VECTOR_NAME: point.vector.tolist()},
                payload=dict(point.payload),
            )
            for point in points
        ]
        await self._run(
            self._client.upsert(
                COLLECTION_PREFIX + collection,
                structs,
                wait=True,
                ordering=models.WriteOrdering.STRONG,
                update_filter=None if only_if is None else _filter(only_if),
                update_mode=models.UpdateMode.INSERT_ONLY if insert_only else None,
            )
        )

    async def set_payload(self, collection: str, where: Where, payload: Mapping[str, Any]) -> None:
        """See `Engine.set_payload`."""
        await self._run(
            self._client.set_payload(
                COLLECTION_PREFIX + collection,
                dict(payload),
                models.FilterSelector(filter=_filter(where)),
                wait=True,
                ordering=models.WriteOrdering.STRONG,
            )
        )

    async def get(self, collection: str, ids: Sequence[str], *, with_vector: bool = False) -> dict[str, Point]:
        """See `Engine.get`."""
        if not ids:
            return {}
        records = await self._run(
            self._client.retrieve(
                COLLECTION_PREFIX + collection, list(ids), with_payload=True, with_vectors=with_vector
            )
        )
        return {str(record.id): _point(record) for record in records}

    async def delete(self, collection: str, where: Where | Sequence[str]) -> None:
        """See `Engine.delete`."""
        selector: Any = (
            models.FilterSelector(filter=_filter(where))
            if isinstance(where, Where)
            else models.PointIdsList(points=list(where))
        )
        await self._run(
            self._client.delete(
                COLLECTION_PREFIX + collection, selector, wait=True, ordering=models.WriteOrdering.STRONG
            )
        )

    async def nearest(
        self, collection: str, vector: Vector, where: Where, limit: int, *, min_score: float | None = None
    ) -> list[Hit]:
        """See `Engine.nearest`; a server is asked for exact search, memory knows no other."""
        answer = await self._run(
            self._client.query_points(
                COLLECTION_PREFIX + collection,
                query=vector.tolist(),
                using=VECTOR_NAME,
                query_filter=_filter(where),
                search_params=None if self.exclusive else models.SearchParams(exact=True),
                limit=limit,
                with_payload=True,
                score_threshold=min_score,
            )
        )
        return [Hit(str(point.id), max(-1.0, min(1.0, point.score)), point.payload or {}) for point in answer.points]

    async def scroll(
        self, collection: str, where: Where, limit: int, start: str | None = None
    ) -> tuple[list[Point], str | None]:
        """See `Engine.scroll`."""
        records, following = await self._run(
            self._client.scroll(
                COLLECTION_PREFIX + collection,
                scroll_filter=_filter(where),
                limit=limit,
                offset=start,
                with_payload=True,
            )
        )
        return [_point(record) for record in records], None if following is None else str(following)

    async def count(self, collection: str, where: Where) -> int:
        """See `Engine.count`."""
        answer = await self._run(
            self._client.count(COLLECTION_PREFIX + collection, count_filter=_filter(where), exact=True)
        )
        return int(answer.count)

    async def commit(self, collection: str, *, erase: bool = False) -> None:
        """See `Engine.commit`; every write has waited already."""

    async def aclose(self) -> None:
        """See `Engine.aclose`."""
        await self._client.close()

    async def _run(self, call: Awaitable[Result]) -> Result:
        return await _call(self._description.location, call)


async def _call(location: str, call: Awaitable[Result]) -> Result:
    try:
        return await call
    except grpc.RpcError as error:
        # Through prefer_grpc the client lets gRPC's own error through.
        code = error.code() if hasattr(error, "code") else None
        raise _translate(location, getattr(code, "name", "UNKNOWN"), str(getattr(error, "details", str)())) from error
    except (
        ApiException,
        UnexpectedResponse,
        ResponseHandlingException,
        httpx.HTTPError,
        OSError,
        RuntimeError,
        ValueError,
    ) as error:
        raise _translate(location, type(error).__name__, str(error)) from error


def _translate(location: str, kind: str, text: str) -> SamefaceError:
    if "No space left" in text or ("disk" in text.lower() and "full" in text.lower()):
        return StoreFull(f"the disk of Qdrant at {location} is full: {text[:300]}", metadata={"url": location})
    return StoreUnavailable(
        f"Qdrant at {location} does not answer ({kind}): {text[:300]}", metadata={"url": location}, retry_after_s=1.0
    )


def _filter(where: Where) -> models.Filter:
    must: list[Any] = [
        models.FieldCondition(key=key, match=models.MatchValue(value=value)) for key, value in where.equals.items()
    ]
    must += [
        models.FieldCondition(key=key, match=models.MatchAny(any=list(values))) for key, values in where.among.items()
    ]
    if where.valid_at is not None:
        later = models.FieldCondition(key="expires", range=models.Range(gt=where.valid_at))
        never = models.IsEmptyCondition(is_empty=models.PayloadField(key="expires"))
        must.append(models.Filter(should=[never, later]))
    must_not: list[Any] = [
        models.FieldCondition(key=key, match=models.MatchValue(value=value)) for key, value in where.excludes.items()
    ]
    must_not += [
        models.FieldCondition(key=key, match=models.MatchAny(any=list(values))) for key, values in where.outside.items()
    ]
    return models.Filter(must=must, must_not=must_not)


def _point(record: models.Record) -> Point:
    vectors = record.vector if isinstance(record.vector, dict) else {}
    values = vectors.get(VECTOR_NAME)
    return Point(str(record.id), record.payload or {}, None if values is None else np.asarray(values, dtype=np.float32))
