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

    def __init__(self, *, version: str = "1.20.0", api_key: str = "", beside: "Double | None" = None) -> None:
        self.version = version
        self.api_key = api_key
        # Nodes of a cluster have the same points.
        self.client: AsyncQdrantClient = AsyncQdrantClient(location=":memory:") if beside is None else beside.client
        self.indexes: dict[str, dict[str, Any]] = defaultdict(dict) if beside is None else beside.indexes
        self.replicas: dict[str, int] = {} if beside is None else beside.replicas
        self.strict_mode: dict[str, Any] = {} if beside is None else beside.strict_mode
        """Limits that every collection reports and searches and pages are checked against."""
        self.peers = 1
        """Nodes that every collection reports to be on."""
        self.faults: dict[str, deque[Fault]] = defaultdict(deque)
        self.log: list[str] = []
        """The methods that were called, in order."""
        self.requests: dict[str, Any] = {}
        """The latest request of each method."""
        self.layouts: dict[str, bool] = defaultdict(lambda: True)
        """``on_disk_payload`` of each collection."""
        self.orders: list[tuple[str, bool]] = []
        """The layouts that were asked for."""
        self.optimizing: dict[str, int] = defaultdict(int)
        """How many more answers say that a collection is being optimized."""
        self.takes = 1
        """How many do after an order."""
        self.sharded_by_key = False
        self.status = messages.CollectionStatus.Green
        """Of collections that are not being optimized."""
        self.snapshots: dict[str, list[Any]] = defaultdict(list)
        """Snapshots by collection; those of the whole server are under no name."""
        self.port = 0
        self._server: grpc.aio.Server | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def start(self, credentials: grpc.ServerCredentials | None = None, host: str = "127.0.0.1") -> "Double":
        self._server = grpc.aio.server(
            interceptors=[_Faults(self)], options=[("grpc.so_reuseport", 0), ("grpc.http2.max_ping_strikes", 0)]
        )
        messages.add_QdrantServicer_to_server(_Root(self), self._server)  # type: ignore[no-untyped-call]
        messages.add_CollectionsServicer_to_server(_Collections(self), self._server)  # type: ignore[no-untyped-call]
        messages.add_PointsServicer_to_server(_Points(self), self._server)  # type: ignore[no-untyped-call]
        messages.add_SnapshotsServicer_to_server(_Snapshots(self), self._server)  # type: ignore[no-untyped-call]
        address = f"{host}:{self.port}"
        if credentials is None:
            self.port = self._server.add_insecure_port(address)
        else:
            self.port = self._server.add_secure_port(address, credentials)
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
        if self._double.sharded_by_key:
            info.config.params.sharding_method = messages.ShardingMethod.Custom
        info.config.params.on_disk_payload = self._double.layouts[request.collection_name]
        info.status = self._double.status
        if self._double.optimizing[request.collection_name]:
            self._double.optimizing[request.collection_name] -= 1
            info.status = messages.CollectionStatus.Yellow
        if self._double.strict_mode:
            info.config.strict_mode_config.CopyFrom(messages.StrictModeConfig(enabled=True, **self._double.strict_mode))
        for name, params in self._double.indexes[request.collection_name].items():
            info.payload_schema[name].CopyFrom(
                messages.PayloadSchemaInfo(data_type=messages.PayloadSchemaType.Keyword, params=params, points=0)
            )
        return messages.GetCollectionInfoResponse(result=info)

    async def CollectionClusterInfo(self, request: Any, context: Any) -> Any:  # noqa: N802
        remote = [
            messages.RemoteShardInfo(shard_id=0, peer_id=peer, state=messages.ReplicaState.Active)
            for peer in range(1, self._double.peers)
        ]
        return messages.CollectionClusterInfoResponse(peer_id=0, shard_count=1, remote_shards=remote)

    async def List(self, request: Any, context: Any) -> Any:  # noqa: N802
        found = await self._client.get_collections()
        described = [messages.CollectionDescription(name=one.name) for one in found.collections]
        return messages.ListCollectionsResponse(collections=described)

    async def Update(self, request: Any, context: Any) -> Any:  # noqa: N802
        name, layout = request.collection_name, request.params.on_disk_payload
        self._double.orders.append((name, layout))
        self._double.layouts[name] = layout
        self._double.optimizing[name] = self._double.takes
        return messages.CollectionOperationResponse(result=True)

    async def Delete(self, request: Any, context: Any) -> Any:  # noqa: N802
        self._double.indexes.pop(request.collection_name, None)
        await self._client.delete_collection(request.collection_name)
        return messages.CollectionOperationResponse(result=True)


class _Snapshots(messages.SnapshotsServicer):
    def __init__(self, double: Double) -> None:
        self._double = double

    async def List(self, request: Any, context: Any) -> Any:  # noqa: N802
        return messages.ListSnapshotsResponse(snapshot_descriptions=self._double.snapshots[request.collection_name])

    async def ListFull(self, request: Any, context: Any) -> Any:  # noqa: N802
        return messages.ListSnapshotsResponse(snapshot_descriptions=self._double.snapshots[""])


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

    async def Upsert(self, request: Any, context: Any) -> Any:  # noqa: N802
        points = [GrpcToRest.convert_point_struct(one) for one in request.points]
        await self._client.upsert(request.collection_name, points)
        return _done()

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
        self._check_limits(request.limit, request.params.exact)
        found = await self._client.query_points(
            request.collection_name,
            query=list(request.query.nearest.dense.data),
            using=request.using or None,
            query_filter=_filter(request, "filter"),
            limit=request.limit,
            with_payload=GrpcToRest.convert_with_payload_selector(request.with_payload),
            with_vectors=request.HasField("with_vectors")
            and GrpcToRest.convert_with_vectors_selector(request.with_vectors),
            score_threshold=request.score_threshold if request.HasField("score_threshold") else None,
        )
        return messages.QueryResponse(result=[RestToGrpc.convert_scored_point(point) for point in found.points])

    def _check_limits(self, limit: int, exact: bool) -> None:
        most = self._double.strict_mode.get("max_query_limit", limit)
        if limit > most:
            raise ValueError(f'Forbidden: Limit exceeded {limit} > {most} for "limit"')
        if exact and self._double.strict_mode.get("search_allow_exact") is False:
            raise ValueError("Forbidden: Exact search disabled!")

    async def QueryBatch(self, request: Any, context: Any) -> Any:  # noqa: N802
        for query in request.query_points:
            query.collection_name = request.collection_name
        answers = [await self.Query(query, context) for query in request.query_points]
        return messages.QueryBatchResponse(result=[messages.BatchResult(result=one.result) for one in answers])

    async def Scroll(self, request: Any, context: Any) -> Any:  # noqa: N802
        self._check_limits(request.limit, False)
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
        self._check_limits(0, request.exact)
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
