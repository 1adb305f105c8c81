"""A caller with credentials has one share, over however many connections it calls."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable

import grpc
import pytest

from sameface.access.access import Access, AccessOptions
from sameface.access.caller import EVERYBODY, Caller
from sameface.access.rates import RateOptions, Rates
from sameface.api.admission import Admission, Limits
from sameface.api.interceptor import RequestGuard
from sameface.v1 import gallery_pb2, gallery_service_pb2, gallery_service_pb2_grpc
from tests.transport.attacker import GET_GALLERY, Attacker, framed

MIB = 1 << 20
GET = gallery_service_pb2.GetGalleryRequest(name="galleries/people").SerializeToString()


class Named(Access):
    """Believes the name that a caller gives."""

    async def caller(
        self, metadata: Iterable[tuple[str, str | bytes]], certificate_names: Iterable[str] = ()
    ) -> Caller:
        return Caller(str(dict(metadata)["name"]), EVERYBODY.grants)


class Galleries(gallery_service_pb2_grpc.GalleryServiceServicer):  # type: ignore[misc]  # generated code has no types
    """Answers with a gallery of 1 MiB."""

    async def GetGallery(self, request: object, context: object) -> gallery_pb2.Gallery:  # noqa: N802  # the name of the call
        return gallery_pb2.Gallery(name="x" * MIB)


@pytest.fixture
async def address(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[str]:
    """A server with six places for slow requests and room for four unread answers. Time alone moves nobody."""
    monkeypatch.setattr("sameface.api.arrivals.KEEP_S", 3600.0)
    monkeypatch.setattr("sameface.api.answers.AT_LEAST_S", 3600.0, raising=False)
    admission = Admission(Limits(4, 64 * MIB, 4, stream_idle_s=60.0, unread_bytes=4 * MIB + MIB // 2))
    guard = RequestGuard(admission, Named(AccessOptions()), Rates(RateOptions()), None, 32 * MIB)
    server = grpc.aio.server(interceptors=[guard])
    gallery_service_pb2_grpc.add_GalleryServiceServicer_to_server(Galleries(), server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    yield f"127.0.0.1:{port}"
    await server.stop(0)


async def until(condition: Callable[[], bool]) -> None:
    while not condition():  # noqa: ASYNC110  # the server tells nobody
        await asyncio.sleep(0.01)


async def test_slow_requests_of_one_caller_give_way_to_those_of_another(address: str) -> None:
    greedy = [await Attacker.connect(address) for _ in range(10)]
    for one in greedy:
        one.send(one.begin(GET_GALLERY, [("name", "greedy")]), framed(b"", 1000))
        await one.flush()
    await until(lambda: sum(len(one.ended) for one in greedy) == 4)
    ada = await Attacker.connect(address)
    upload = ada.begin(GET_GALLERY, [("name", "ada")])
    ada.send(upload, framed(GET)[:-1])
    await ada.flush()
    await until(lambda: sum(len(one.ended) for one in greedy) == 5)
    ada.send(upload, GET[-1:])
    ada.end(upload)
    await ada.flush()
    await until(lambda: upload in ada.ended)
    assert ada.answers[upload]["grpc-status"] == "0"
    for one in (*greedy, ada):
        await one.close()


async def test_unread_answers_of_one_caller_end_before_those_of_another(address: str) -> None:
    ada = await Attacker.connect(address, window=0)
    greedy = [await Attacker.connect(address, window=0) for _ in range(3)]
    calls = [(ada, "ada"), (ada, "ada"), *((one, "greedy") for one in greedy)]
    for one, name in calls:
        before = len(one.answers)
        call = one.begin(GET_GALLERY, [("name", name)])
        one.send(call, framed(GET))
        one.end(call)
        await one.flush()
        await until(lambda: len(one.answers) > before or one is greedy[2])  # noqa: B023  # awaited here
    await until(lambda: any(one.ended for one in (ada, *greedy)))
    assert [bool(one.ended) for one in (ada, *greedy)] == [False, True, False, False]
    for one in (*greedy, ada):
        await one.close()
