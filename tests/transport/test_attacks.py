"""Honest callers on other connections are served while one connection, or a few, misuse HTTP/2."""

import asyncio
import re
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf import field_mask_pb2
from grpc_health.v1 import health_pb2, health_pb2_grpc

from sameface.client import ServiceError
from sameface.launcher import served
from sameface.v1 import (
    calibration_pb2,
    face_pb2,
    face_service_pb2,
    gallery_pb2,
    gallery_service_pb2,
    gallery_service_pb2_grpc,
)
from tests.transport.attacker import CHECK, DETECT, GET_GALLERY, LIST_IDENTITIES, STREAM, WATCH, Attacker, framed

GALLERY = "galleries/people"
GET = gallery_service_pb2.GetGalleryRequest(name=GALLERY).SerializeToString()
SETTINGS = face_service_pb2.StreamIdentifyFacesRequest(
    settings=face_service_pb2.StreamIdentifyFacesRequest.Settings(gallery=GALLERY)
).SerializeToString()
MIB = 1 << 20
LABELS = {f"key-{number}": "\U0001f600" * 256 for number in range(32)}
IDENTITIES = 80


@dataclass(frozen=True, slots=True)
class Attacked:
    """A service that is attacked."""

    address: str
    pid: int
    log: Path

    def memory_mib(self) -> int:
        """Resident memory of the process."""
        found = re.search(r"VmRSS:\s+(\d+)", Path(f"/proc/{self.pid}/status").read_text())
        assert found
        return int(found[1]) // 1024


@pytest.fixture(scope="module")
def attacked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Attacked]:
    """One service for all attacks, with short times and four places for requests that arrive."""
    folder = tmp_path_factory.mktemp("attacked")
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("SAMEFACE_MAX_ARRIVING_BYTES", str(4 * 36 * MIB))
        environment.setenv("SAMEFACE_MAX_UNREAD_BYTES", str(16 * MIB))
        environment.setenv("SAMEFACE_UNREAD_S", "1")
        environment.setenv("SAMEFACE_STREAM_IDLE_S", "2")
        with served(folder / "data", folder / "log", ["--inference", "onnx"]) as service:
            with grpc.insecure_channel(service.address) as channel:
                galleries: Any = gallery_service_pb2_grpc.GalleryServiceStub(channel)
                galleries.CreateGallery(gallery_service_pb2.CreateGalleryRequest(gallery_id="people"))
                for number in range(IDENTITIES):
                    galleries.CreateIdentity(
                        gallery_service_pb2.CreateIdentityRequest(
                            parent=GALLERY, identity_id=f"i{number}", identity=gallery_pb2.Identity(labels=LABELS)
                        )
                    )
            yield Attacked(service.address, service.pid, folder / "log")


@asynccontextmanager
async def connected(service: Attacked) -> AsyncIterator[grpc.aio.Channel]:
    """A connection of its own."""
    options = [("grpc.use_local_subchannel_pool", 1), ("grpc.max_send_message_length", -1)]
    async with grpc.aio.insecure_channel(service.address, options=options) as channel:
        yield channel


async def honest(service: Attacked, count: int = 6) -> Counter[str]:
    """Make calls and health checks one after another on another connection, and count how they end."""
    found: Counter[str] = Counter()
    async with connected(service) as channel:
        galleries: Any = gallery_service_pb2_grpc.GalleryServiceStub(channel)
        health: Any = health_pb2_grpc.HealthStub(channel)
        for _ in range(count):
            for call in (
                galleries.GetGallery(gallery_service_pb2.GetGalleryRequest(name=GALLERY), timeout=30),
                health.Check(health_pb2.HealthCheckRequest(), timeout=30),
            ):
                try:
                    await call
                    found["OK"] += 1
                except grpc.aio.AioRpcError as failed:
                    found[f"{failed.code()} {failed.details()}"] += 1
    return found


async def until(condition: Callable[[], bool]) -> None:
    """Wait until something is true. The time limit of the test bounds it."""
    while not condition():  # noqa: ASYNC110  # the server tells nobody
        await asyncio.sleep(0.02)


@asynccontextmanager
async def attacking(service: Attacked, count: int = 1, *, window: int = 65535) -> AsyncIterator[list[Attacker]]:
    """Hostile connections."""
    attackers = [await Attacker.connect(service.address, window=window) for _ in range(count)]
    try:
        yield attackers
    finally:
        for one in attackers:
            await one.close()


async def test_answers_that_are_never_read_time_out_and_keep_nobody_out(attacked: Attacked) -> None:
    async with attacking(attacked, window=0) as (attacker,):
        calls = {attacker.call(GET_GALLERY, GET) for _ in range(min(215, attacker.allowed_streams))}
        await attacker.flush()
        await until(lambda: attacker.answers.keys() >= calls)
        assert await honest(attacked) == {"OK": 12}
        # gRPC's own loop refers to the latest calls until others come.
        await until(lambda: len(calls - attacker.ended) <= 2)


async def test_streams_whose_answers_are_never_read_time_out_and_give_their_places_back(attacked: Attacked) -> None:
    bad = face_service_pb2.StreamIdentifyFacesRequest(sample=face_pb2.Sample(photo=b"no photo")).SerializeToString()
    async with attacking(attacked, window=0) as (attacker,):
        # So often that one of them would be refused if the places of the last ones were not given back.
        for _ in range(2):
            streams = {attacker.begin(STREAM) for _ in range(4)}
            for one in streams:
                attacker.send(one, framed(SETTINGS))
                for _ in range(20):
                    attacker.send(one, framed(bad))
            await attacker.flush()
            await until(lambda: len(streams - attacker.ended) <= 1)  # noqa: B023  # awaited here
            assert await honest(attacked, 1) == {"OK": 2}
            await until(lambda: attacker.ended >= streams)  # noqa: B023
            assert not any(attacker.answers[one].get("grpc-status") == "8" for one in streams)


async def test_watches_of_one_connection_are_bounded_and_refused_with_a_reason(attacked: Attacked) -> None:
    async with attacking(attacked) as (attacker,):
        watches = [attacker.call(WATCH) for _ in range(100)]
        await attacker.flush()
        await until(lambda: len(attacker.ended) >= 92)
        assert await honest(attacked) == {"OK": 12}
        refused = [attacker.answers[one] for one in watches if one in attacker.ended]
        assert {answer["grpc-status"] for answer in refused} == {"8"}
        assert all("grpc-status-details-bin" in answer for answer in refused)
        async with connected(attacked) as channel:
            health: Any = health_pb2_grpc.HealthStub(channel)
            watch = health.Watch(health_pb2.HealthCheckRequest())
            assert (await watch.read()).status == health_pb2.HealthCheckResponse.SERVING


async def test_streams_that_are_reset_at_once_cancel_no_call_of_others(attacked: Attacked) -> None:
    async with attacking(attacked) as (attacker,):
        stop = asyncio.Event()

        async def reset() -> int:
            count = 0
            while not stop.is_set():
                for _ in range(50):
                    attacker.abandon(attacker.begin(GET_GALLERY))
                count += 50
                await attacker.flush()
                await asyncio.sleep(0)
            return count

        resetting = asyncio.create_task(reset())
        assert await honest(attacked) == {"OK": 12}
        stop.set()
        assert await resetting > 1000


@pytest.mark.parametrize("path", [GET_GALLERY, CHECK, STREAM])
async def test_requests_that_hardly_arrive_take_no_slot(attacked: Attacked, path: str) -> None:
    async with attacking(attacked, 5) as attackers:
        slow = [(one, one.begin(path)) for one in attackers for _ in range(30)]
        for one, stream in slow:
            one.send(stream, framed(b"", 1000))

        async def drip() -> None:
            while True:
                for one, stream in slow:
                    if stream not in one.ended:
                        one.send(stream, b"x")
                for one in attackers:
                    await one.flush()
                await asyncio.sleep(0.5)

        dripping = asyncio.create_task(drip())
        assert await honest(attacked) == {"OK": 12}
        assert not dripping.done()
        dripping.cancel()


@pytest.mark.parametrize("path", [DETECT, CHECK])
async def test_large_requests_that_end_half_way_take_a_bounded_part_of_memory(attacked: Attacked, path: str) -> None:
    before = attacked.memory_mib()
    async with attacking(attacked, 2) as attackers:
        pouring: list[asyncio.Task[None]] = []
        for one in attackers:
            for stream in [one.begin(path) for _ in range(15)]:
                one.send(stream, framed(b"", 35 * MIB))
                pouring.append(asyncio.create_task(one.pour(stream, bytes(30 * MIB))))
        assert await honest(attacked) == {"OK": 12}
        # Those that have places arrive; 30 of them would take 900 MiB.
        await asyncio.sleep(0.5)
        assert attacked.memory_mib() - before < 450
        for task in pouring:
            task.cancel()


async def test_silent_streams_leave_streams_to_others_and_time_out(attacked: Attacked) -> None:
    async with attacking(attacked, 2) as (attacker, another):
        silent = [attacker.begin(STREAM) for _ in range(16)]
        for stream in silent:
            attacker.send(stream, framed(SETTINGS))
        await attacker.flush()
        await until(lambda: attacker.answers.keys() >= set(silent))
        stream = another.begin(STREAM)
        another.send(stream, framed(SETTINGS))
        await another.flush()
        await until(lambda: stream in another.answers)
        assert "grpc-status" not in another.answers[stream]
        await until(lambda: attacker.ended >= set(silent))
        # RESOURCE_EXHAUSTED at once, or ABORTED, DEADLINE_EXCEEDED and the like when it was silent for too long.
        refused = Counter(attacker.answers[one]["grpc-status"] for one in silent)
        assert refused["8"] == 12
        assert refused["0"] == 0


def nested(number: int, content: bytes) -> bytes:
    length, prefix = len(content), bytearray([number << 3 | 2])
    while length > 127:
        prefix.append(length & 127 | 128)
        length >>= 7
    return bytes([*prefix, length]) + content


LARGE: dict[str, tuple[str, Any, Callable[[], bytes]]] = {
    "empty paths": (
        "/sameface.v1.GalleryService/UpdateGallery",
        gallery_service_pb2.UpdateGalleryRequest(update_mask=field_mask_pb2.FieldMask(paths=["", ""])),
        lambda: nested(2, b"\x0a\x00" * 12_000_000),
    ),
    "labels": (
        LIST_IDENTITIES,
        gallery_service_pb2.ListIdentitiesRequest(parent=GALLERY),
        lambda: b"".join(b"\x22\x07\x0a\x05%05x" % number for number in range(1_000_000)),
    ),
    "members": (
        "/sameface.v1.GalleryService/CalibrateGallery",
        gallery_service_pb2.CalibrateGalleryRequest(name=GALLERY),
        lambda: nested(6, b"\x12\x00" * 8_000_000),
    ),
    "numbers": (
        "/sameface.v1.GalleryService/WhatIfGallery",
        gallery_service_pb2.WhatIfGalleryRequest(
            name=GALLERY,
            operation=calibration_pb2.OPERATION_VERIFICATION,
        ),
        lambda: nested(5, nested(4, b"\x01" * 24_000_000)),
    ),
    "unknown fields": (
        GET_GALLERY,
        gallery_service_pb2.GetGalleryRequest(name=GALLERY),
        lambda: b"\x78\x01" * 9_000_000,
    ),
}


@pytest.mark.parametrize("kind", LARGE)
async def test_a_request_of_millions_of_fields_is_refused_before_it_is_parsed(attacked: Attacked, kind: str) -> None:
    path, start, rest = LARGE[kind]
    content = start.SerializeToString() + rest()
    before = attacked.memory_mib()
    async with connected(attacked) as channel:
        unary: Any = channel.unary_unary(path)
        call = unary(content)
        assert await honest(attacked, 5) == {"OK": 10}
        with pytest.raises(grpc.aio.AioRpcError) as failed:
            await call
    error = ServiceError.of(failed.value)
    assert (error.reason, error.metadata["field"]) == ("INVALID_ARGUMENT", "request")
    assert "fields" in error.message
    assert attacked.memory_mib() - before < 200


@pytest.mark.parametrize("compression", [grpc.Compression.Gzip, grpc.Compression.Deflate])
async def test_compressed_requests_are_refused_and_named(attacked: Attacked, compression: grpc.Compression) -> None:
    async with connected(attacked) as channel:
        for path in (GET_GALLERY, CHECK):
            unary: Any = channel.unary_unary(path)
            # An unknown field of 30 MiB.
            with pytest.raises(grpc.aio.AioRpcError, match="is disabled") as failed:
                await unary(nested(15, bytes(30 * MIB)), compression=compression)
            assert failed.value.code() == grpc.StatusCode.UNIMPLEMENTED
    assert await honest(attacked, 1) == {"OK": 2}


async def test_a_message_of_a_stream_is_counted_too(attacked: Attacked) -> None:
    async with connected(attacked) as channel:
        stream: Any = channel.stream_stream(STREAM)
        call = stream(iter([SETTINGS, nested(2, nested(2, b"\x78\x01" * 100_000))]))
        with pytest.raises(grpc.aio.AioRpcError) as failed:
            await call.read()
    assert "fields" in ServiceError.of(failed.value).message


async def test_pages_end_early_and_together_hold_every_item_once(attacked: Attacked) -> None:
    async with connected(attacked) as channel:
        galleries: Any = gallery_service_pb2_grpc.GalleryServiceStub(channel)
        names, token, pages = [], "", 0
        while True:
            request = gallery_service_pb2.ListIdentitiesRequest(parent=GALLERY, page_size=1000, page_token=token)
            page = await galleries.ListIdentities(request)
            assert page.ByteSize() < 3 * MIB
            names += [one.name for one in page.identities]
            token, pages = page.next_page_token, pages + 1
            if not token:
                break
    assert pages > 1
    assert sorted(names) == sorted(f"{GALLERY}/identities/i{number}" for number in range(IDENTITIES))


async def test_pages_that_nobody_reads_take_a_bounded_part_of_memory(attacked: Attacked) -> None:
    request = gallery_service_pb2.ListIdentitiesRequest(parent=GALLERY, page_size=1000).SerializeToString()
    before = attacked.memory_mib()
    async with attacking(attacked, window=0) as (attacker,):
        calls = {attacker.call(LIST_IDENTITIES, request) for _ in range(40)}
        await attacker.flush()
        assert await honest(attacked) == {"OK": 12}
        # Before the first of them times out, the oldest end for the bytes of all.
        await until(lambda: len(calls - attacker.ended) <= 2)
    assert attacked.memory_mib() - before < 200


async def test_floods_leave_few_lines_and_each_is_stamped(attacked: Attacked) -> None:
    host, _, port = attacked.address.rpartition(":")
    for content in (
        b"GET / HTTP/1.1\r\n\r\n",
        b"\x16\x03\x01" + bytes(200),
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\xff" * 99,
    ):
        for _ in range(10):
            _, writer = await asyncio.open_connection(host, int(port))
            writer.write(content)
            await writer.drain()
            writer.close()
    async with attacking(attacked, 3) as attackers:
        for one in attackers:
            for _ in range(100):
                one.call(GET_GALLERY, GET)
            await one.flush()
    async with attacking(attacked, window=0) as (attacker,):
        calls = {attacker.call(GET_GALLERY, GET) for _ in range(100)}
        await attacker.flush()
        await until(lambda: len(calls - attacker.ended) <= 2)
    assert await honest(attacked, 1) == {"OK": 2}
    lines = attacked.log.read_text().splitlines()
    assert all(re.match(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d+ [A-Z]+ [\w.]+: ", line) for line in lines)
    assert any("did not read the answer" in line for line in lines)
    assert len(lines) < 200
