"""Admission limits requests by number and bytes, streams by number, and delays samples of streams."""

import asyncio
from contextlib import ExitStack

import pytest

from sameface.api.admission import Admission, Limits
from sameface.errors import ServerBusy


def admission(requests: int = 2, request_bytes: int = 100, streams: int = 1) -> Admission:
    return Admission(Limits(requests, request_bytes, streams, stream_idle_s=1.0))


def test_requests_beyond_the_limit_are_refused_until_one_ends() -> None:
    admitted = admission()
    with admitted.request(1):
        with admitted.request(1), pytest.raises(ServerBusy, match="2 requests"), admitted.request(1):
            pass
        with admitted.request(1):
            assert admitted.in_flight == 2
    assert admitted.in_flight == 0


def test_requests_that_together_hold_too_much_are_refused_but_one_alone_never() -> None:
    admitted = admission(requests=10)
    with admitted.request(1000), pytest.raises(ServerBusy, match="bytes") as refused, admitted.request(1):
        pass
    assert refused.value.retry_after_s
    with ExitStack() as requests:
        for _ in range(4):
            requests.enter_context(admitted.request(25))
        with pytest.raises(ServerBusy), admitted.request(1):
            pass


def test_streams_are_counted_by_themselves() -> None:
    admitted = admission()
    with admitted.stream():
        with pytest.raises(ServerBusy, match="streams"), admitted.stream():
            pass
        with admitted.request(1), admitted.request(1):
            assert admitted.in_flight == 3


async def test_a_sample_of_a_stream_waits_for_room() -> None:
    admitted, worked_on, most = admission(), 0, 0

    async def sample() -> None:
        nonlocal worked_on, most
        async with admitted.sample():
            worked_on += 1
            most = max(most, worked_on)
            await asyncio.sleep(0.001)
            worked_on -= 1

    with admitted.request(1):
        await asyncio.gather(*(sample() for _ in range(10)))
        assert most == 1
    await asyncio.gather(*(sample() for _ in range(10)))
    assert most == 2


async def test_a_cancelled_sample_gives_its_room_back() -> None:
    admitted = admission(requests=1)

    async def sample() -> None:
        async with admitted.sample():
            await asyncio.sleep(3600)

    tasks = [asyncio.create_task(sample()) for _ in range(3)]
    await asyncio.sleep(0.01)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    with admitted.request(1):
        assert admitted.in_flight == 1


async def test_idle_waits_for_requests_and_streams() -> None:
    admitted = admission()
    with admitted.stream():
        waiting = asyncio.create_task(admitted.idle(0.01))
        await asyncio.sleep(0.05)
        assert not waiting.done()
    await waiting
