"""Admission limits requests by number and bytes, streams by number, and delays samples of streams."""

import asyncio
import random
from collections import Counter
from collections.abc import Iterable
from contextlib import ExitStack, suppress

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
        for caller in ("ada", "ben", "cem", "dag"):
            requests.enter_context(admitted.request(25, caller))
        with pytest.raises(ServerBusy), admitted.request(1):
            pass


def admitted_at_once(admitted: Admission, requests: ExitStack, callers: Iterable[str]) -> Counter[str]:
    """How many requests of each caller are admitted, if none ends."""
    found: Counter[str] = Counter()
    for caller in callers:
        with suppress(ServerBusy):
            requests.enter_context(admitted.request(1, caller))
            found[caller] += 1
    return found


def test_a_caller_alone_uses_nearly_everything_and_leaves_room_for_others() -> None:
    admitted = admission(requests=64, request_bytes=1 << 20)
    with ExitStack() as requests:
        assert admitted_at_once(admitted, requests, ["greedy"] * 100) == {"greedy": 56}
        assert admitted_at_once(admitted, requests, ["ada", "ben", "ada"]) == {"ada": 2, "ben": 1}


@pytest.mark.parametrize(("limit", "greedy"), [(4, 1), (8, 1), (64, 1), (64, 3)])
def test_greedy_callers_do_not_keep_a_modest_one_out(limit: int, greedy: int) -> None:
    admitted, rng = admission(requests=limit, request_bytes=1 << 20), random.Random(7)
    running: list[ExitStack] = []
    for _ in range(300):
        for caller in rng.choices([f"greedy-{number}" for number in range(greedy)], k=10):
            with ExitStack() as request, suppress(ServerBusy):
                request.enter_context(admitted.request(1, caller))
                running.append(request.pop_all())
        with admitted.request(1, "modest"):
            assert admitted.in_flight <= limit
        running.pop(rng.randrange(len(running))).close()
    assert len(running) >= limit // 2
    for request in running:
        request.close()
    assert admitted.in_flight == 0


def test_bytes_are_shared_too() -> None:
    admitted = admission(requests=64, request_bytes=1000)
    with ExitStack() as requests:
        for _ in range(20):
            with suppress(ServerBusy):
                requests.enter_context(admitted.request(100, "greedy"))
        assert admitted_at_once(admitted, requests, ["greedy", "ada"]) == {"greedy": 1, "ada": 1}
        requests.enter_context(admitted.request(90, "ben"))


def test_one_caller_leaves_a_stream_to_others() -> None:
    admitted = Admission(Limits(8, 100, 8, stream_idle_s=1.0, streams_per_caller=3))
    with ExitStack() as streams:
        for _ in range(3):
            streams.enter_context(admitted.stream("greedy"))
        with pytest.raises(ServerBusy, match="of this caller"), admitted.stream("greedy"):
            pass
        streams.enter_context(admitted.stream("ada"))
    assert admitted.in_flight == 0


async def test_the_stream_that_is_silent_longest_gives_way_where_streams_are_short(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("sameface.api.admission.SILENT_S", 5.0)
    admitted, now = admission(streams=3), asyncio.get_running_loop().time()
    with ExitStack() as streams:
        ada, ben, cem = (streams.enter_context(admitted.stream(name)) for name in ("ada", "ben", "cem"))
        with pytest.raises(ServerBusy, match="3 streams"), admitted.stream("dag"):
            pass
        # A large photo on a slow network takes so long.
        ada.silent_since, ben.silent_since, cem.silent_since = now - 4, now - 50, now - 20
        with pytest.raises(ServerBusy, match="3 streams"), admitted.stream("dag"):
            pass
        ben.silent_since, cem.silent_since = now - 70, now - 65
        streams.enter_context(admitted.stream("dag"))
        assert [one.gave_way.is_set() for one in (ada, ben, cem)] == [False, True, False]
        streams.enter_context(admitted.stream("eli"))
        assert cem.gave_way.is_set()
        with pytest.raises(ServerBusy, match="3 streams"), admitted.stream("fay"):
            pass
    with admitted.stream("ada"), admitted.stream("ben"), admitted.stream("cem"):
        assert admitted.in_flight == 3
    assert admitted.in_flight == 0


async def test_a_silent_stream_of_a_caller_with_more_gives_way_sooner() -> None:
    admitted, now = admission(streams=3), asyncio.get_running_loop().time()
    with ExitStack() as streams:
        greedy = [streams.enter_context(admitted.stream("greedy")) for _ in range(2)]
        ada = streams.enter_context(admitted.stream("ada"))
        greedy[0].silent_since, greedy[1].silent_since, ada.silent_since = now - 12, now - 11, now - 50
        with pytest.raises(ServerBusy, match="3 streams"), admitted.stream("ada"):
            pass
        streams.enter_context(admitted.stream("ben"))
        assert [one.gave_way.is_set() for one in (*greedy, ada)] == [True, False, False]
        with pytest.raises(ServerBusy, match="3 streams"), admitted.stream("cem"):
            pass


async def test_samples_that_streams_hold_are_limited_by_their_bytes_and_given_back() -> None:
    admitted = admission(request_bytes=200)
    with admitted.bytes_of_samples("ada") as first:
        await first.enter(500)
        with admitted.bytes_of_samples("ben") as second:
            waiting = asyncio.create_task(second.enter(20))
            await asyncio.sleep(0.01)
            assert not waiting.done()
            first.leave(500)
            await waiting
            await first.enter(60)
            waiting = asyncio.create_task(second.enter(30))
            await asyncio.sleep(0.01)
            assert not waiting.done()
            waiting.cancel()
        # The second stream has ended without giving its bytes back, and its late sample gives nothing back twice.
        second.leave(20)
        await first.enter(20)
        assert first.held == 80


async def test_samples_of_one_caller_leave_room_for_those_of_another() -> None:
    admitted, working, free = admission(requests=64, request_bytes=1 << 20), list[str](), asyncio.Event()

    async def sample(caller: str) -> None:
        async with admitted.sample(caller, "StreamIdentifyFaces"):
            working.append(caller)
            await free.wait()

    samples = [asyncio.create_task(sample("greedy")) for _ in range(64)]
    await asyncio.sleep(0)
    samples.append(asyncio.create_task(sample("modest")))
    await asyncio.sleep(0)
    assert "modest" in working
    free.set()
    await asyncio.gather(*samples)
    assert len(working) == 65


async def test_samples_of_streams_leave_room_for_unary_calls() -> None:
    admitted, working = admission(requests=16, request_bytes=1 << 20), 0

    async def sample(number: int) -> None:
        nonlocal working
        async with admitted.sample(f"caller-{number}"):
            working += 1
            await asyncio.sleep(3600)

    samples = [asyncio.create_task(sample(number)) for number in range(40)]
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert working == 4
    with ExitStack() as requests:
        assert admitted_at_once(admitted, requests, ["ada"] * 5 + ["ben"] * 5) == {"ada": 5, "ben": 5}
    for one in samples:
        one.cancel()
    await asyncio.gather(*samples, return_exceptions=True)


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
