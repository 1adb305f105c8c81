"""A loopback double of Qdrant's gRPC interface, for faults of the connection only.

It is no evidence of the behaviour of a Qdrant server. It uses qdrant-client's in-memory store, and this module invents
what it refuses, drops or delays. It shows what the plugin does with such answers, and that its requests can be encoded.
"""

import asyncio
from collections import defaultdict, deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import grpc
from qdrant_client import AsyncQdrantClient
from qdrant_client import grpc as messages
from qdrant_client.conversions.conversion import GrpcToRest, RestToGrpc


@dataclass(frozen=True)
class Fault:
    """What happens to one call."""

    code: grpc.StatusCode = grpc.StatusCode.UNAVAILABLE
    details: str = "made up"
    applied: bool = False
    """Applied before the answer is lost."""
    delay_s: float = 0.0
    """Answered properly, yet so late."""
    trailers: tuple[tuple[str, str], ...] = ()


class Double:
    """Serves on a port of the loopback interface; `faults` holds what happens to the next calls of a method."""

    def __init__(self, *, version: str = "1.20.0", api_key: str = "") -> None:
        self.version = version
        self.api_key = api_key
        self.client = AsyncQdrantClient(location=":memory:")
        self.indexes: dict[str, dict[str, Any]] = defaultdict(dict)
        self.replicas: dict[str, int] = {}
        self.faults: dict[str, deque[Fault]] = defaultdict(deque)
        self.log: list[str] = []
        """The methods that were called, in order."""
        self.requests: dict[str, Any] = {}
        """The latest request of each method."""
        self.port = 0
        self._server: grpc.aio.Server | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def start(self) -> "Double":
        self._server = grpc.aio.server(interceptors=[_Faults(self)], options=[("grpc.so_reuseport", 0)])
        messages.add_QdrantServicer_to_server(_Root(self), self._server)  # type: ignore[no-untyped-call]
        messages.add_CollectionsServicer_to_server(_Collections(self), self._server)  # type: ignore[no-untyped-call]
        messages.add_PointsServicer_to_server(_Points(self), self._server)  # type: ignore[no-untyped-call]
        self.port = self._server.add_insecure_port(f"127.0.0.1:{self.port}")
        await self._server.start()
        return self

    async def stop(self) -> None:
        """Stop serving. Stored points stay."""
        if self._server is not None:
            await self._server.stop(None)
            self._server = None


class _Faults(grpc.aio.ServerInterceptor):
    def __init__(self, double: Double) -> None:
        self._double = double

    async def intercept_service(self, continuation: Callable[[Any], Awaitable[Any]], handler_call_details: Any) -> Any:
        method = handler_call_details.method.removeprefix("/qdrant.")
        handler = await continuation(handler_call_details)
        key = dict(handler_call_details.invocation_metadata).get("api-key", "")

        async def answer(request: Any, context: Any) -> Any:
            self._double.log.append(method)
            self._double.requests[method] = request
            if key != self._double.api_key:
                await context.abort(grpc.StatusCode.UNAUTHENTICATED, "Invalid API key or JWT")
            waiting = self._double.faults[method]
            fault = waiting.popleft() if waiting else None
            if fault is not None and fault.delay_s:
                await asyncio.sleep(fault.delay_s)
            elif fault is not None:
                if fault.applied:
                    await handler.unary_unary(request, context)
                await context.abort(fault.code, fault.details, fault.trailers)
            try:
                return await handler.unary_unary(request, context)
            except ValueError as error:
                missing = "not found" in str(error)
                code = grpc.StatusCode.NOT_FOUND if missing else grpc.StatusCode.INVALID_ARGUMENT
                await context.abort(code, str(error))

        return grpc.unary_unary_rpc_method_handler(
            answer, request_deserializer=handler.request_deserializer, response_serializer=handler.response_serializer
        )


class _Root(messages.QdrantServicer):
    def __init__(self, double: Double) -> None:
        self._double = double

    async def HealthCheck(self, request: Any, context: Any) -> Any:  # noqa: N802
        return messages.HealthCheckReply(title="a double", version=self._double.version)


class _Collections(messages.CollectionsServicer):
    def __init__(self, double: Double) -> None:
        self._double = double
        self._client = double.client

    async def CollectionExists(self, request: Any, context: Any) -> Any:  # noqa: N802
        exists = await self._client.collection_exists(request.collection_name)
        return messages.CollectionExistsResponse(result=messages.CollectionExists(exists=exists))

    async def Create(self, request: Any, context: Any) -> Any:  # noqa: N802
        vectors = GrpcToRest.convert_vectors_config(request.vectors_config)
        self._double.replicas[request.collection_name] = request.replication_factor or 1
        await self._client.create_collection(request.collection_name, vectors_config=vectors)
        return messages.CollectionOperationResponse(result=True)

    async def Get(self, request: Any, context: Any) -> Any:  # noqa: N802
        found = await self._client.get_collection(request.collection_name)
        info = RestToGrpc.convert_collection_info(found)
        info.config.params.replication_factor = self._double.replicas.get(request.collection_name, 1)
        for name, params in self._double.indexes[request.collection_name].items():
            info.payload_schema[name].CopyFrom(
                messages.PayloadSchemaInfo(data_type=messages.PayloadSchemaType.Keyword, params=params, points=0)
            )
        return messages.GetCollectionInfoResponse(result=info)

    async def List(self, request: Any, context: Any) -> Any:  # noqa: N802
        found = await self._client.get_collections()
        described = [messages.CollectionDescription(name=one.name) for one in found.collections]
        return messages.ListCollectionsResponse(collections=described)

    async def Delete(self, request: Any, context: Any) -> Any:  # noqa: N802
        self._double.indexes.pop(request.collection_name, None)
        await self._client.delete_collection(request.collection_name)
        return messages.CollectionOperationResponse(result=True)


class _Points(messages.PointsServicer):
    def __init__(self, double: Double) -> None:
        self._double = double
        self._client = double.client

    async def CreateFieldIndex(self, request: Any, context: Any) -> Any:  # noqa: N802
        self._double.indexes[request.collection_name][request.field_name] = (
            request.field_index_params if request.HasField("field_index_params") else None
        )
        return _done()

    async def UpdateBatch(self, request: Any, context: Any) -> Any:  # noqa: N802
        operations = [GrpcToRest.convert_points_update_operation(one) for one in request.operations]
        await self._client.batch_update_points(request.collection_name, operations)
        return messages.UpdateBatchResponse(result=[_DONE] * len(operations))

    async def SetPayload(self, request: Any, context: Any) -> Any:  # noqa: N802
        selector = GrpcToRest.convert_points_selector(request.points_selector)
        await self._client.set_payload(
            request.collection_name, GrpcToRest.convert_payload(request.payload), points=selector
        )
        return _done()

    async def Delete(self, request: Any, context: Any) -> Any:  # noqa: N802
        await self._client.delete(request.collection_name, GrpcToRest.convert_points_selector(request.points))
        return _done()

    async def Get(self, request: Any, context: Any) -> Any:  # noqa: N802
        found = await self._client.retrieve(
            request.collection_name,
            [GrpcToRest.convert_point_id(one) for one in request.ids],
            with_payload=GrpcToRest.convert_with_payload_selector(request.with_payload),
            with_vectors=GrpcToRest.convert_with_vectors_selector(request.with_vectors),
        )
        return messages.GetResponse(result=[_retrieved(record) for record in found])

    async def Query(self, request: Any, context: Any) -> Any:  # noqa: N802
        found = await self._client.query_points(
            request.collection_name,
            query=list(request.query.nearest.dense.data),
            using=request.using or None,
            query_filter=_filter(request, "filter"),
            limit=request.limit,
            with_payload=GrpcToRest.convert_with_payload_selector(request.with_payload),
            score_threshold=request.score_threshold if request.HasField("score_threshold") else None,
        )
        return messages.QueryResponse(result=[RestToGrpc.convert_scored_point(point) for point in found.points])

    async def QueryBatch(self, request: Any, context: Any) -> Any:  # noqa: N802
        for query in request.query_points:
            query.collection_name = request.collection_name
        answers = [await self.Query(query, context) for query in request.query_points]
        return messages.QueryBatchResponse(result=[messages.BatchResult(result=one.result) for one in answers])

    async def Scroll(self, request: Any, context: Any) -> Any:  # noqa: N802
        found, next_id = await self._client.scroll(
            request.collection_name,
            scroll_filter=_filter(request, "filter"),
            limit=request.limit,
            offset=GrpcToRest.convert_point_id(request.offset) if request.HasField("offset") else None,
            with_payload=GrpcToRest.convert_with_payload_selector(request.with_payload),
            with_vectors=GrpcToRest.convert_with_vectors_selector(request.with_vectors),
        )
        following: Any = next_id
        if following is not None:
            following = RestToGrpc.convert_extended_point_id(following)
        return messages.ScrollResponse(
            result=[_retrieved(record) for record in found],
            next_page_offset=following,
        )

    async def Count(self, request: Any, context: Any) -> Any:  # noqa: N802
        found = await self._client.count(request.collection_name, count_filter=_filter(request, "filter"))
        return messages.CountResponse(result=messages.CountResult(count=found.count))

    async def Facet(self, request: Any, context: Any) -> Any:  # noqa: N802
        found = await self._client.facet(
            request.collection_name, request.key, facet_filter=_filter(request, "filter"), limit=request.limit
        )
        return messages.FacetResponse(hits=[RestToGrpc.convert_facet_value_hit(hit) for hit in found.hits])


def _filter(request: Any, field: str) -> Any:
    return GrpcToRest.convert_filter(getattr(request, field)) if request.HasField(field) else None


def _retrieved(record: Any) -> Any:
    record.payload = record.payload or {}
    return RestToGrpc.convert_retrieved_point(record)


_DONE = messages.UpdateResult(operation_id=0, status=messages.UpdateStatus.Completed)


def _done() -> Any:
    return messages.PointsOperationResponse(result=_DONE)
