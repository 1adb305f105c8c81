"""Turns to work: who is begun, who is refused, and that nothing is begun for a caller that is gone or too late."""

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from sameface.api import refusals
from sameface.api.lanes import Lane
from sameface.api.refusals import MOST_HELD_OF_ONE, Refusals
from sameface.errors import ServerBusy
from sameface.turn import give_turn_back

KIND = "VerifyFace 1 0"


class Worker:
    """Does work in a lane, and notes what was begun."""

    def __init__(self, lane: Lane) -> None:
        self.lane, self.begun, self.ended = lane, list[str](), asyncio.Event()

    async def work(self, caller: str, left_s: float | None = None, *, patient: bool = False) -> None:
        async with self.lane.turn(caller, KIND, left_s, patient=patient):
            self.begun.append(caller)
            await self.ended.wait()

    def start(self, caller: str, left_s: float | None = None, *, patient: bool = False) -> asyncio.Task[None]:
        return asyncio.create_task(self.work(caller, left_s, patient=patient))


def lane_of(at_once: int, *, longest_wait_s: float = 60.0, takes_s: float = 0.1) -> Lane:
    lane = Lane(at_once, longest_wait_s)
    lane.forecast.add(KIND, takes_s)
    return lane


@asynccontextmanager
async def busy(worker: Worker) -> AsyncIterator[None]:
    """Every place of the lane is taken inside the block."""
    tasks = [worker.start("first", patient=True) for _ in range(worker.lane.at_once)]
    await asyncio.sleep(0)
    worker.begun.clear()
    try:
        yield
    finally:
        worker.ended.set()
        await asyncio.gather(*tasks)


async def test_so_many_work_at_a_time_and_the_others_wait() -> None:
    worker = Worker(lane_of(2))
    tasks = [worker.start("ada") for _ in range(5)]
    await asyncio.sleep(0)
    assert (len(worker.begun), worker.lane.working, worker.lane.waiting) == (2, 2, 3)
    assert worker.lane.wait_s("ada") == pytest.approx(0.25, abs=0.02)
    worker.ended.set()
    await asyncio.gather(*tasks)
    assert (len(worker.begun), worker.lane.working, worker.lane.waiting) == (5, 0, 0)
    assert worker.lane.wait_s("ada") == 0.0


async def test_work_of_a_caller_that_is_gone_is_never_begun_and_its_place_is_free_at_once() -> None:
    worker = Worker(lane_of(1))
    async with busy(worker):
        gone, stays = worker.start("gone"), worker.start("stays")
        await asyncio.sleep(0)
        gone.cancel()
        await asyncio.wait([gone])
        assert worker.lane.waiting == 1
    await stays
    assert worker.begun == ["stays"]


async def test_a_caller_that_goes_just_when_its_turn_comes_gives_it_to_the_next() -> None:
    worker = Worker(lane_of(1))
    async with busy(worker):
        gone, stays = worker.start("gone"), worker.start("stays")
        await asyncio.sleep(0)
        worker.ended.set()
        # One round of the loop later the first work has ended and the turn is given, but not taken yet.
        await asyncio.sleep(0)
        gone.cancel()
    await stays
    await asyncio.wait([gone])
    assert worker.begun == ["stays"] or worker.begun == ["gone", "stays"]
    assert worker.lane.working == worker.lane.waiting == 0


async def test_work_that_waited_too_long_is_refused_and_never_begun() -> None:
    worker = Worker(lane_of(1, longest_wait_s=0.0, takes_s=0.005))
    async with busy(worker):
        late = worker.start("late")
        with pytest.raises(ServerBusy) as refused:
            await late
        assert refused.value.retry_after_s
        assert worker.lane.waiting == 0
    assert worker.begun == []


@pytest.mark.parametrize(("left_s", "taken"), [(None, True), (10.0, True), (0.15, False), (0.0, False)])
async def test_a_call_that_could_not_end_before_its_deadline_is_refused_at_once(
    left_s: float | None, taken: bool
) -> None:
    worker = Worker(lane_of(1))
    async with busy(worker):
        call = worker.start("ada", left_s)
        await asyncio.sleep(0)
        assert call.done() != taken
        if not taken:
            with pytest.raises(ServerBusy):
                await call
    if taken:
        await call
    assert worker.begun == ["ada"] * taken


async def test_a_machine_without_load_refuses_nobody() -> None:
    worker = Worker(lane_of(1, longest_wait_s=0.0, takes_s=30.0))
    worker.ended.set()
    await worker.work("ada", left_s=0.01)
    assert worker.begun == ["ada"]


async def test_the_queue_is_bounded_by_the_longest_wait_and_a_newcomer_overtakes() -> None:
    worker = Worker(lane_of(1, longest_wait_s=1.0))
    async with busy(worker):
        greedy = [worker.start("greedy") for _ in range(30)]
        await asyncio.sleep(0)
        refused = sum(task.done() for task in greedy)
        # Eight tenths of a second are planned for, and the first work has just begun.
        assert 20 <= refused <= 24
        modest = worker.start("modest")
        await asyncio.sleep(0)
        assert not modest.done()
    ended = await asyncio.gather(*greedy, return_exceptions=True)
    await modest
    assert sum(isinstance(one, ServerBusy) for one in ended) == refused
    assert worker.begun.index("modest") <= 1


async def test_calls_that_were_taken_are_answered_although_the_machine_has_become_slower() -> None:
    worker = Worker(lane_of(2, longest_wait_s=0.2, takes_s=0.002))
    calls = [worker.start("ada") for _ in range(6)]
    await asyncio.sleep(0)
    assert worker.lane.waiting == 4
    # Much longer than they were to wait.
    await asyncio.sleep(0.3)
    worker.ended.set()
    await asyncio.gather(*calls)
    assert len(worker.begun) == 6


async def test_patient_work_waits_for_as_long_as_it_takes() -> None:
    worker = Worker(lane_of(1, longest_wait_s=0.0, takes_s=0.001))
    async with busy(worker):
        patient = worker.start("stream", patient=True)
        await asyncio.sleep(0.02)
        assert not patient.done()
    await patient
    assert worker.begun == ["stream"]


async def test_a_turn_can_be_given_back_before_the_call_has_ended() -> None:
    worker, stored = Worker(lane_of(1)), asyncio.Event()

    async def enroll() -> None:
        async with worker.lane.turn("ada", KIND):
            give_turn_back()
            give_turn_back()
            await stored.wait()

    enrolling = asyncio.create_task(enroll())
    await asyncio.sleep(0)
    worker.ended.set()
    await worker.work("ben")
    assert worker.begun == ["ben"]
    assert not enrolling.done()
    enrolling.cancel()
    await asyncio.wait([enrolling])
    assert worker.lane.working == worker.lane.waiting == 0


async def test_long_work_of_a_caller_that_always_leaves_early_counts_as_its_share() -> None:
    worker = Worker(lane_of(1, takes_s=0.002))
    left = worker.start("greedy", patient=True)
    await asyncio.sleep(0)
    # Others wait, so that shares are counted.
    waiting = [worker.start(caller, patient=True) for caller in ("greedy", "modest", "modest", "modest")]
    await asyncio.sleep(0.02)
    left.cancel()
    await asyncio.wait([left])
    assert worker.lane.forecast.seconds(KIND, "greedy") >= 0.015
    assert worker.lane.forecast.seconds(KIND, "modest") < 0.015
    waiting += [worker.start(caller, patient=True) for caller in ("greedy", "modest")]
    worker.ended.set()
    await asyncio.gather(*waiting)
    assert worker.begun[-1] == "greedy"


async def test_long_work_of_one_caller_refuses_no_short_work_of_another() -> None:
    worker = Worker(lane_of(2, longest_wait_s=0.5, takes_s=0.01))
    for _ in range(50):
        worker.lane.forecast.add(KIND, 30.0, "greedy")
    worker.lane.forecast.add(KIND, 0.01, "usual")
    # One place is taken for half a minute. The other is free at once, and again and again.
    tasks = [worker.start("greedy"), worker.start("usual")]
    await asyncio.sleep(0)
    assert worker.lane.working == 2
    known, newcomer = worker.start("usual", left_s=1.0), worker.start("newcomer", left_s=1.0)
    await asyncio.sleep(0)
    refused = [one.done() for one in (newcomer, known)]
    worker.ended.set()
    await asyncio.gather(*tasks, newcomer, known)
    assert refused == [False, False]


async def test_whatever_happens_no_place_is_lost() -> None:
    lane, rng, most, doing = lane_of(3, longest_wait_s=0.02, takes_s=0.001), random.Random(2), 0, 0

    async def call(caller: str) -> None:
        nonlocal most, doing
        async with lane.turn(caller, KIND, rng.choice([None, 0.01, 5.0])):
            doing += 1
            most = max(most, doing)
            try:
                await asyncio.sleep(rng.random() * 0.004)
                if rng.random() < 0.2:
                    raise ValueError("it failed")
            finally:
                doing -= 1

    tasks = []
    for _ in range(150):
        tasks.append(asyncio.create_task(call(rng.choice("abc"))))
        await asyncio.sleep(0.001 * rng.random())
        if rng.random() < 0.2:
            rng.choice(tasks).cancel()
    ended = await asyncio.gather(*tasks, return_exceptions=True)
    assert most == 3
    assert (lane.working, lane.waiting, doing) == (0, 0, 0)
    assert {type(one) for one in ended} <= {type(None), ServerBusy, ValueError, asyncio.CancelledError}


async def test_refusals_that_come_too_fast_are_held_but_not_all_of_a_caller(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(refusals, "AT_ONCE_PER_S", 5.0)
    paced = Refusals()
    refused = [asyncio.create_task(paced.pace("greedy", None)) for _ in range(200)]
    await asyncio.sleep(0)
    assert paced.held == MOST_HELD_OF_ONE
    assert sum(task.done() for task in refused) == 200 - MOST_HELD_OF_ONE
    # Those of another caller are held too, until refusals come slower.
    other = asyncio.create_task(paced.pace("other", None))
    await asyncio.sleep(0)
    assert paced.held == MOST_HELD_OF_ONE + 1
    refused.append(other)
    # A caller that is gone is not held on to.
    for task in refused:
        task.cancel()
    await asyncio.gather(*refused, return_exceptions=True)
    assert paced.held == 0
