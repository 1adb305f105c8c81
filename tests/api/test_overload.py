"""More calls than the service can answer: what is refused costs little, and only what is begun reaches the pipeline."""

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from typing import Any

import grpc
import pytest

from benchmarks.calling import Calls, Plan, carry_out
from benchmarks.overload import VERIFY, Memory, Overload, Phase
from sameface.access.access import OPEN
from sameface.access.rates import RateOptions, Rates
from sameface.api.admission import LOOKED_INTO, Admission, Limits
from sameface.api.interceptor import RequestGuard
from sameface.client import ServiceError
from sameface.deadline import within
from sameface.v1 import face_pb2, face_service_pb2, face_service_pb2_grpc

PHOTO = face_service_pb2.VerifyFaceRequest(
    name="galleries/staff/identities/ada", sample=face_pb2.Sample(photo=b"\xff\xd8" * 5000)
)
EMBEDDING = face_service_pb2.VerifyFaceRequest(
    name="galleries/staff/identities/ada", sample=face_pb2.Sample(embedding=face_pb2.Embedding(values=[1.0]))
)


async def until(condition: Callable[[], object]) -> None:
    while not condition():  # noqa: ASYNC110  # there is no event for it
        await asyncio.sleep(0.002)


@dataclass
class Pipeline(face_service_pb2_grpc.FaceServiceServicer):  # type: ignore[misc]  # generated, untyped
    """Counts what is begun, and answers when it is told."""

    begun: list[str] = field(default_factory=list)
    left_s: list[float] = field(default_factory=list)
    go_on: asyncio.Event = field(default_factory=asyncio.Event)

    async def VerifyFace(  # noqa: N802  # as in the protos
        self, request: Any, context: Any
    ) -> face_service_pb2.VerifyFaceResponse:
        self.begun.append(request.sample.WhichOneof("source") or "nothing")
        self.left_s.append(within(1000.0))
        await self.go_on.wait()
        return face_service_pb2.VerifyFaceResponse()


@dataclass
class Served:
    """A server with a place for one call of each kind, and a client."""

    pipeline: Pipeline
    admission: Admission
    verify: Any
    address: str

    async def fill(self) -> "asyncio.Future[Any]":
        """Begin a call that stays in work, from a caller that is known since."""
        call: asyncio.Future[Any] = asyncio.ensure_future(self.verify(PHOTO))
        await until(lambda: self.pipeline.begun)
        return call


@pytest.fixture
async def served() -> AsyncIterator[Served]:
    admission = Admission(Limits(8, 1 << 20, 4, stream_idle_s=1.0, at_once=1, wait_s=0.0))
    server = grpc.aio.server(interceptors=[RequestGuard(admission, OPEN, Rates(RateOptions()), None, 1 << 20)])
    pipeline = Pipeline()
    face_service_pb2_grpc.add_FaceServiceServicer_to_server(pipeline, server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        yield Served(
            pipeline, admission, face_service_pb2_grpc.FaceServiceStub(channel).VerifyFace, f"127.0.0.1:{port}"
        )
        await channel.close(None)
    await server.stop(None)


async def refusal(call: Any) -> ServiceError:
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await call
    return ServiceError.of(refused.value)


async def test_what_would_wait_too_long_is_refused_and_reaches_no_pipeline(served: Served) -> None:
    first = await served.fill()
    # Long predicted work, so that the queue may hold a few of its kind.
    queued = [asyncio.ensure_future(served.verify(PHOTO)) for _ in range(6)]
    ended = await asyncio.gather(*queued, return_exceptions=True)
    errors = [ServiceError.of(one) for one in ended if isinstance(one, grpc.aio.AioRpcError)]
    assert len(errors) == 6
    assert {one.reason for one in errors} == {"SERVER_BUSY"}
    assert all(one.retry_after_s for one in errors)
    assert {one.metadata["limit"] for one in errors} == {"1"}
    assert served.pipeline.begun == ["photo"]
    served.pipeline.go_on.set()
    await first
    await served.verify(PHOTO)
    assert served.pipeline.begun == ["photo", "photo"]


async def embedding_taken(served: Served) -> None:
    for _ in range(LOOKED_INTO):
        try:
            await served.verify(EMBEDDING)
        except grpc.aio.AioRpcError:
            continue
        return


async def test_an_embedding_does_not_wait_behind_photos(served: Served) -> None:
    first = await served.fill()
    # This caller has sent photos, and none can be taken. So some of its calls are looked into to see what they are.
    ended = await asyncio.gather(*(served.verify(PHOTO) for _ in range(3)), return_exceptions=True)
    assert all(isinstance(one, grpc.aio.AioRpcError) for one in ended)
    second = asyncio.ensure_future(embedding_taken(served))
    await until(lambda: len(served.pipeline.begun) == 2)
    assert served.pipeline.begun == ["photo", "embedding"]
    served.pipeline.go_on.set()
    await asyncio.gather(first, second)


async def test_work_whose_caller_is_gone_is_never_begun(served: Served) -> None:
    served.admission.photos.forecast.add("VerifyFace 1 0", 30.0)
    first = await served.fill()
    second = asyncio.ensure_future(served.verify(PHOTO))
    await until(lambda: served.admission.photos.waiting)
    second.cancel()
    await until(lambda: not (served.admission.photos.waiting))
    served.pipeline.go_on.set()
    await first
    assert served.pipeline.begun == ["photo"]
    assert served.admission.in_flight == 0


async def test_a_call_that_cannot_be_in_time_is_refused_instead_of_waiting_for_its_deadline(served: Served) -> None:
    served.admission.photos.forecast.add("VerifyFace 1 0", 30.0)
    first = await served.fill()
    assert (await refusal(served.verify(PHOTO, timeout=20.0))).reason == "SERVER_BUSY"
    served.pipeline.go_on.set()
    await first
    await served.verify(PHOTO, timeout=20.0)
    # What is in the pipeline knows how long its caller waits.
    assert served.pipeline.left_s[0] == 1000.0
    assert 0 < served.pipeline.left_s[1] < 21.0


async def test_work_ends_when_its_caller_gives_up(served: Served) -> None:
    with pytest.raises(grpc.aio.AioRpcError):
        await served.verify(PHOTO, timeout=0.1)
    assert len(served.pipeline.begun) == 1
    await until(lambda: not (served.admission.photos.working or served.admission.in_flight))
    served.pipeline.go_on.set()
    await served.verify(PHOTO)


@pytest.mark.parametrize("load", [{"rate": 150.0}, {"callers": 4}])
async def test_the_benchmark_counts_every_call(served: Served, load: dict[str, Any]) -> None:
    served.pipeline.go_on.set()
    plan = Plan(served.address, VERIFY, "", seconds=0.2, connections=2, **load)
    calls = await carry_out(plan, PHOTO.SerializeToString(), lambda: None)
    assert len(calls.answered_ms) == len(served.pipeline.begun) > 5
    # Others of this machine may leave so little time that some are refused.
    assert calls.others == {}
    assert calls.answered_in_time <= len(calls.answered_ms)
    if "rate" in load:
        assert 10 < len(calls.answered_ms) + len(calls.refused_ms) < 70


def test_the_benchmark_says_how_throughput_and_latencies_compare() -> None:
    def phase(name: str, answered: int, ms: float) -> Phase:
        return Phase(name, 10.0, Calls([ms] * answered, answered, [0.5] * 10), service_s=19.0)

    memory = Memory([0.0, 10.0, 40.0, 70.0], [500.0, 510.0, 511.0, 512.0])
    closed = [[phase("8", 500, 80.0), phase("16", 450, 80.0)], [phase("8", 400, 80.0)], [phase("8", 400, 80.0)]]
    overloads = [phase("3 ×", 450, 250.0), phase("3 ×", 380, 250.0)]
    figures = Overload(closed, phase("80 %", 400, 100.0), overloads, memory, []).summary()
    assert (figures["throughput_ratios"], figures["p99_ratio"]) == ([0.9, 0.95], 2.5)
    assert figures["best_per_s"] == 50.0
    assert figures["memory"]["slope_mib_per_min"] == 2.0
    assert figures["phases"][-1]["refused_per_s"] == 1.0
    assert figures["times_the_best"] == round((830 + 20) / 20 / 50, 2)
