"""Answers that callers leave unread end before those of callers who read."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from sameface.api import answers
from sameface.api.answers import Answers

MIB = 1 << 20


class Calls:
    """Calls whose answers are sent until they are ended."""

    def __init__(self, unread: Answers) -> None:
        self._unread, self._calls = unread, dict[str, asyncio.Task[None]]()

    async def answer(self, name: str, caller: str, size: int) -> None:
        """Begin to send an answer."""

        async def sending() -> None:
            with self._unread.being_sent(caller, size):
                await asyncio.sleep(3600)

        self._calls[name] = asyncio.create_task(sending())
        await asyncio.sleep(0)
        await asyncio.sleep(0)

    def ended(self) -> list[str]:
        """The calls that were ended."""
        return [name for name, call in self._calls.items() if call.cancelled()]

    async def close(self) -> None:
        for call in self._calls.values():
            call.cancel()
        await asyncio.gather(*self._calls.values(), return_exceptions=True)


@pytest.fixture
async def calls() -> AsyncIterator[Calls]:
    opened = Calls(Answers(64 * MIB, 3600.0))
    yield opened
    await opened.close()


async def test_many_callers_who_do_not_read_cost_one_who_reads_nothing(
    calls: Calls, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(answers, "AT_LEAST_S", 0.001, raising=False)
    for number in range(63):
        await calls.answer(f"hostile-{number}", f"connection-{number}", MIB)
    await asyncio.sleep(0.1)
    await calls.answer("honest", "honest", 2 * MIB)
    await asyncio.sleep(0)
    assert calls.ended() == ["hostile-0"]


async def test_a_caller_who_takes_all_at_once_ends_its_own_oldest(calls: Calls) -> None:
    await calls.answer("honest", "honest", 2 * MIB)
    for number in range(31):
        await calls.answer(f"greedy-{number}", "greedy", 2 * MIB)
    assert calls.ended() == []
    await calls.answer("last", "greedy", 2 * MIB)
    await asyncio.sleep(0)
    assert calls.ended() == ["greedy-0"]


async def test_a_single_answer_is_never_too_large(calls: Calls) -> None:
    await calls.answer("large", "honest", 65 * MIB)
    assert calls.ended() == []
