"""Work in threads: a cancelled caller returns when its work has ended, not before."""

import asyncio
import random
import threading
from collections.abc import AsyncGenerator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing, nullcontext

import pytest

from sameface_qdrant.concurrency import in_order, in_thread, to_end


@pytest.fixture
def threads() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(1, thread_name_prefix="work") as executor:
        yield executor


class Gated:
    """A call that begins, and ends when its gate is open."""

    def __init__(self) -> None:
        self.gate, self.begun, self.ended = threading.Event(), threading.Event(), threading.Event()

    def __call__(self) -> str:
        self.begun.set()
        self.gate.wait()
        self.ended.set()
        return threading.current_thread().name


async def until(event: threading.Event) -> None:
    await asyncio.to_thread(event.wait)


async def test_the_result_and_the_error_of_a_call_are_its_callers(threads: ThreadPoolExecutor) -> None:
    assert await in_thread(threads, divmod, 7, 2) == (3, 1)
    with pytest.raises(ZeroDivisionError):
        await in_thread(threads, divmod, 7, 0)


async def test_a_cancelled_caller_stops_its_call_and_waits_until_it_has_ended(threads: ThreadPoolExecutor) -> None:
    call = Gated()
    caller = asyncio.create_task(in_thread(threads, call, stop=call.gate.set))
    await until(call.begun)
    caller.cancel()
    with pytest.raises(asyncio.CancelledError):
        await caller
    assert call.ended.is_set()


async def test_a_caller_that_is_cancelled_again_still_waits(threads: ThreadPoolExecutor) -> None:
    call = Gated()
    caller = asyncio.create_task(in_thread(threads, call))
    await until(call.begun)
    for _ in range(3):
        caller.cancel()
        await asyncio.sleep(0)
        await asyncio.sleep(0)
    assert not caller.done()
    call.gate.set()
    with pytest.raises(asyncio.CancelledError):
        await caller
    assert call.ended.is_set()


async def test_a_call_that_has_not_begun_is_dropped_with_its_caller(threads: ThreadPoolExecutor) -> None:
    first, second = Gated(), Gated()
    running = asyncio.create_task(in_thread(threads, first))
    await until(first.begun)
    waiting = asyncio.create_task(in_thread(threads, second))
    await asyncio.sleep(0)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    first.gate.set()
    assert (await running).startswith("work")
    threads.shutdown()
    assert not second.begun.is_set()


async def test_a_failure_after_the_caller_was_cancelled_is_nobodys(
    threads: ThreadPoolExecutor, recwarn: pytest.WarningsRecorder
) -> None:
    call = Gated()

    def fail() -> None:
        call()
        raise ValueError("too late")

    caller = asyncio.create_task(in_thread(threads, fail, stop=call.gate.set))
    await until(call.begun)
    caller.cancel()
    with pytest.raises(asyncio.CancelledError):
        await caller


async def test_a_coroutine_is_awaited_to_its_end_by_a_cancelled_caller() -> None:
    gate, steps = asyncio.Event(), list[str]()

    async def write() -> None:
        steps.append("begun")
        await gate.wait()
        steps.append("ended")

    caller = asyncio.create_task(to_end(write()))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    caller.cancel()
    await asyncio.sleep(0)
    assert (steps, caller.done()) == (["begun"], False)
    gate.set()
    with pytest.raises(asyncio.CancelledError):
        await caller
    assert steps == ["begun", "ended"]


@pytest.mark.parametrize("seed", range(20))
async def test_results_come_in_the_order_of_the_items_while_no_more_than_allowed_run(seed: int) -> None:
    draw = random.Random(seed)
    count, at_once, failing = draw.randint(0, 12), draw.randint(1, 4), draw.choice((None, draw.randint(0, 11)))
    running = most = asked = 0

    async def pause() -> None:
        for _ in range(draw.randint(0, 4)):
            await asyncio.sleep(0)

    async def items() -> AsyncGenerator[int]:
        nonlocal asked
        for number in range(count):
            asked += 1
            await pause()
            yield number

    async def work(number: int) -> int:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await pause()
        running -= 1
        if number == failing:
            raise ValueError(number)
        return number

    found: list[int] = []
    fails = failing is not None and failing < count
    with pytest.raises(ValueError, match=str(failing)) if fails else nullcontext():
        async with aclosing(items()) as source, aclosing(in_order(source, work, at_once)) as results:
            async for result in results:
                found.append(result)
    assert found == list(range(failing if fails and failing is not None else count))
    assert running == 0
    assert most <= at_once
    assert asked <= min(count, len(found) + at_once + 1)


@pytest.mark.parametrize("at_once", [1, 2, 5])
async def test_what_was_begun_before_the_items_fail_is_yielded_first(at_once: int) -> None:
    async def items() -> AsyncGenerator[int]:
        for number in range(3):
            yield number
        raise KeyError("the source")

    async def work(number: int) -> int:
        await asyncio.sleep(0.001)
        return number

    found: list[int] = []

    async def collect() -> None:
        async with aclosing(items()) as source, aclosing(in_order(source, work, at_once)) as results:
            async for result in results:
                found.append(result)

    with pytest.raises(KeyError, match="the source"):
        await collect()
    assert found == [0, 1, 2]
