"""Requests that arrive share places: slow ones hold up nobody, and no caller takes all."""

import asyncio
import random
import time
from collections import Counter
from collections.abc import Callable

import pytest

from sameface.api import arrivals
from sameface.api.arrivals import Arrivals
from sameface.errors import ServerBusy, StreamIdle

PLACES = 8
SLOW = 6


async def until(condition: Callable[[], bool]) -> None:
    while not condition():  # noqa: ASYNC110  # there is no event for it
        await asyncio.sleep(0.01)


@pytest.fixture(autouse=True)
def short_turns(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(arrivals, "TURN_S", 0.01)


class Sender:
    """Sends requests of one caller."""

    def __init__(self, places: Arrivals, caller: str) -> None:
        self._places, self._caller = places, caller
        self.ends: Counter[str] = Counter()
        self.arriving = 0

    async def send(self, complete: asyncio.Event | None = None) -> None:
        """Send a request, which is complete at once or when the event is set."""
        try:
            async with self._places.place(self._caller):
                self.arriving += 1
                try:
                    if complete is not None:
                        await complete.wait()
                finally:
                    self.arriving -= 1
            self.ends["arrived"] += 1
        except (ServerBusy, StreamIdle) as ended:
            self.ends[ended.reason] += 1


@pytest.mark.parametrize("connections", [1, 3, 60])
async def test_slow_requests_hold_up_nobody(connections: int) -> None:
    places, never = Arrivals(PLACES, arrive_s=60.0), asyncio.Event()
    slow = [Sender(places, f"slow-{number}") for number in range(connections)]
    sending = [asyncio.create_task(slow[number % connections].send(never)) for number in range(60)]
    honest = Sender(places, "honest")
    for _ in range(5):
        await honest.send()
    assert honest.ends == {"arrived": 5}
    for one in sending:
        one.cancel()
    await asyncio.gather(*sending, return_exceptions=True)


@pytest.mark.parametrize(("held_up_s", "ends"), [(0.3, "arrived"), (0.9, "SERVER_BUSY")])
async def test_what_came_while_the_loop_was_held_up_is_read_first(held_up_s: float, ends: str) -> None:
    places, never, complete = Arrivals(PLACES, arrive_s=60.0, turn_s=0.2), asyncio.Event(), asyncio.Event()
    slow = [Sender(places, f"slow-{number}") for number in range(SLOW)]
    sending = [asyncio.create_task(one.send(never)) for one in slow]
    await until(lambda: places._slow == SLOW)
    honest = Sender(places, "honest")
    sending.append(asyncio.create_task(honest.send(complete)))
    await until(lambda: honest.arriving == 1)
    time.sleep(held_up_s)  # noqa: ASYNC251  # nothing else runs in the loop
    for _ in range(5):
        await asyncio.sleep(0)
    complete.set()
    await sending.pop()
    assert honest.ends == {ends: 1}
    for one in sending:
        one.cancel()
    await asyncio.gather(*sending, return_exceptions=True)


async def test_a_connection_with_many_slow_requests_gives_way_to_one_with_few() -> None:
    places, complete = Arrivals(PLACES, arrive_s=60.0), asyncio.Event()
    greedy, honest = Sender(places, "greedy"), Sender(places, "honest")
    sending = [asyncio.create_task(greedy.send(complete)) for _ in range(20)]
    await until(lambda: greedy.ends.total() >= 20 - SLOW)
    sending += [asyncio.create_task(honest.send(complete)) for _ in range(2)]
    await until(lambda: greedy.ends["SERVER_BUSY"] >= 16)
    complete.set()
    await asyncio.gather(*sending)
    assert honest.ends == {"arrived": 2}
    assert greedy.ends == {"arrived": 4, "SERVER_BUSY": 16}


async def test_callers_that_ask_again_and_again_do_not_keep_a_slow_request_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(arrivals, "KEEP_S", 0.1)
    monkeypatch.setattr(arrivals, "TURN_S", 0.001)
    places, never = Arrivals(PLACES, arrive_s=60.0), asyncio.Event()
    hostile = [Sender(places, f"hostile-{number}") for number in range(30)]

    async def again(sender: Sender) -> None:
        while True:
            await sender.send(never)
            await asyncio.sleep(0.001)

    def ended() -> int:
        return sum(sender.ends.total() for sender in hostile)

    sending = [asyncio.create_task(again(sender)) for sender in hostile]
    # Everyone has had a place for a while.
    await until(lambda: all(places._in_vain.seconds(f"hostile-{number}") > 0.25 for number in range(30)))
    for number in range(3):
        honest, complete = Sender(places, f"honest-{number}"), asyncio.Event()
        upload, before = asyncio.create_task(honest.send(complete)), ended()
        await until(lambda: ended() > before + 50 or upload.done())  # noqa: B023  # awaited here
        complete.set()
        await upload
        assert honest.ends == {"arrived": 1}
    for one in sending:
        one.cancel()
    await asyncio.gather(*sending, return_exceptions=True)


async def test_it_is_forgotten_who_had_places_in_vain(monkeypatch: pytest.MonkeyPatch) -> None:
    in_vain = arrivals._InVain()
    in_vain.add("ada", 2.0)
    in_vain.add("ada", 1.0)
    assert (in_vain.seconds("ada"), in_vain.seconds("ben")) == (3.0, 0.0)
    monkeypatch.setattr(arrivals, "MOST_REMEMBERED", 3)
    for caller in ("ben", "cem", "dag"):
        in_vain.add(caller, 1.0)
    assert (in_vain.seconds("ada"), in_vain.seconds("ben")) == (0.0, 1.0)
    monkeypatch.setattr(arrivals, "REMEMBER_S", 0.0)
    assert in_vain.seconds("ben") == 0.0


async def test_no_more_arrive_than_there_are_places_and_each_is_given_back() -> None:
    places, rng, total, most = Arrivals(PLACES, arrive_s=60.0), random.Random(3), 0, 0

    async def one(connection: str) -> None:
        nonlocal total, most
        await asyncio.sleep(rng.random() * 0.1)
        complete = asyncio.Event()
        asyncio.get_running_loop().call_later(rng.random() * 0.05, complete.set)
        try:
            async with places.place(connection):
                total += 1
                most = max(most, total)
                try:
                    await complete.wait()
                finally:
                    total -= 1
        except ServerBusy:
            pass

    tasks = [asyncio.create_task(one(f"connection-{rng.randrange(6)}")) for _ in range(150)]
    await asyncio.sleep(0.05)
    for task in rng.sample(tasks, 30):
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    assert 1 < most <= PLACES
    # All places are free again: as many at once as at first.
    complete = asyncio.Event()
    last = Sender(places, "last")
    sending = [asyncio.create_task(last.send(complete)) for _ in range(SLOW)]
    await until(lambda: last.arriving == len(sending))
    complete.set()
    await asyncio.gather(*sending)
    assert last.ends == {"arrived": len(sending)}


async def test_a_request_that_never_arrives_is_ended() -> None:
    sender = Sender(Arrivals(PLACES, arrive_s=0.05), "slow")
    await sender.send(asyncio.Event())
    assert sender.ends == {"STREAM_IDLE": 1}
