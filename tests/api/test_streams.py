"""StreamIdentifyFaces keeps the order, limits the work, applies back-pressure, and survives a bad sample."""

import asyncio
import queue
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.rpc import error_details_pb2

from sameface.api.ordered import ordered
from sameface.client import ServiceError
from sameface.client.connection import Connection
from sameface.v1 import decision_pb2, face_pb2, face_service_pb2
from tests.api.conftest import Enroll

Request = face_service_pb2.StreamIdentifyFacesRequest


def reason_of(answer: face_service_pb2.StreamIdentifyFacesResponse) -> str:
    info = error_details_pb2.ErrorInfo()
    for detail in answer.error.details:
        if detail.Is(info.DESCRIPTOR):
            detail.Unpack(info)
    return str(info.reason)


def photo(portraits: Path, name: str) -> face_pb2.Sample:
    return face_pb2.Sample(photo=(portraits / name).read_bytes())


def test_answers_come_in_the_order_of_the_samples_with_their_tags(
    connection: Connection, gallery: str, enroll: Enroll, portraits: Path
) -> None:
    enroll("obama", "barack_obama.jpg")
    enroll("macron", "emmanuel_macron_2014.jpg")
    names = ["emmanuel_macron_2025.jpg", "barack_obama.jpg", "rishi_sunak.jpg"] * 6
    requests = [Request(settings=Request.Settings(gallery=gallery))]
    requests += [Request(sample=photo(portraits, name), tag=f"{n}-{name}") for n, name in enumerate(names)]
    answers = list(connection.faces.StreamIdentifyFaces(iter(requests)))
    assert [answer.tag for answer in answers] == [f"{n}-{name}" for n, name in enumerate(names)]
    assert [answer.index for answer in answers] == list(range(len(names)))
    outcomes = [answer.faces[0].decision.outcome for answer in answers[:3]]
    match, no_match = decision_pb2.OUTCOME_MATCH, decision_pb2.OUTCOME_NO_MATCH
    assert outcomes == [match, match, no_match]


def test_a_bad_sample_is_answered_in_its_place_and_the_stream_goes_on(
    connection: Connection, gallery: str, enroll: Enroll, portraits: Path
) -> None:
    enroll("obama", "barack_obama.jpg")
    good = photo(portraits, "barack_obama.jpg")
    requests = [
        Request(settings=Request.Settings(gallery=gallery), sample=good, tag="first"),
        Request(sample=face_pb2.Sample(photo=b"no photo"), tag="bad"),
        Request(tag="nothing"),
        Request(settings=Request.Settings(gallery=gallery), sample=good, tag="settings again"),
        Request(sample=good, tag="x" * 300),
        Request(sample=good, tag="last"),
    ]
    answers = list(connection.faces.StreamIdentifyFaces(iter(requests)))
    assert [reason_of(answer) for answer in answers] == [
        "",
        "IMAGE_UNDECODABLE",
        "INVALID_ARGUMENT",
        "INVALID_ARGUMENT",
        "INVALID_ARGUMENT",
        "",
    ]
    assert answers[1].error.code == grpc.StatusCode.INVALID_ARGUMENT.value[0]
    assert [answer.tag for answer in answers][-1] == "last"
    assert answers[-1].faces[0].decision.outcome == decision_pb2.OUTCOME_MATCH


@pytest.mark.parametrize(
    ("first", "reason"),
    [
        (Request(tag="no settings"), "INVALID_ARGUMENT"),
        (Request(settings=Request.Settings(gallery="nonsense")), "INVALID_ARGUMENT"),
        (Request(settings=Request.Settings(gallery="galleries/none-of-these")), "GALLERY_NOT_FOUND"),
    ],
)
def test_a_stream_that_cannot_begin_ends_with_the_reason(connection: Connection, first: Request, reason: str) -> None:
    with pytest.raises(grpc.RpcError) as refused:
        list(connection.faces.StreamIdentifyFaces(iter([first])))
    assert ServiceError.of(refused.value).reason == reason


def test_an_empty_stream_has_an_empty_answer(connection: Connection) -> None:
    assert list(connection.faces.StreamIdentifyFaces(iter([]))) == []


def test_an_answer_does_not_wait_for_the_next_sample(
    connection: Connection, gallery: str, enroll: Enroll, portraits: Path
) -> None:
    enroll("obama", "barack_obama.jpg")
    waiting: queue.Queue[Request | None] = queue.Queue()

    def samples() -> Iterator[Request]:
        while (request := waiting.get()) is not None:
            yield request

    answers = connection.faces.StreamIdentifyFaces(samples())
    waiting.put(Request(settings=Request.Settings(gallery=gallery)))
    for number in range(3):
        waiting.put(Request(sample=photo(portraits, "barack_obama.jpg"), tag=str(number)))
        assert next(answers).tag == str(number)
    waiting.put(None)
    assert list(answers) == []


class Source:
    """Yields numbers from 0, and counts how many were read."""

    def __init__(self, count: int) -> None:
        self.count = count
        self.taken = 0

    async def items(self) -> AsyncIterator[int]:
        for number in range(self.count):
            self.taken = number + 1
            yield number


async def test_no_more_than_allowed_is_worked_on_and_nothing_is_read_ahead_of_the_consumer() -> None:
    source, running, most = Source(50), 0, 0

    async def work(number: int) -> int:
        nonlocal running, most
        running += 1
        most = max(most, running)
        # Later items finish first.
        await asyncio.sleep(0.02 if number % 3 == 0 else 0.001)
        running -= 1
        return number

    answers = ordered(source.items(), work, 4)
    assert await anext(answers) == 0
    await asyncio.sleep(0.2)
    # One answer was read: at most four more items are in work, and one more is read ahead.
    assert source.taken <= 6
    assert [answer async for answer in answers] == list(range(1, 50))
    assert most == 4


async def test_leaving_early_cancels_what_is_in_the_works() -> None:
    cancelled, begun, all_began = 0, 0, asyncio.Event()

    async def work(number: int) -> int:
        nonlocal cancelled, begun
        begun += 1
        if begun == 3:
            all_began.set()
        try:
            await (all_began.wait() if number == 0 else asyncio.sleep(3600))
        except asyncio.CancelledError:
            cancelled += 1
            raise
        return number

    answers: Any = ordered(Source(10).items(), work, 3)
    assert await anext(answers) == 0
    # Two more were started while the first was in work.
    await answers.aclose()
    assert cancelled == 2
