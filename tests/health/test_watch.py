"""Probes run side by side; one that hangs counts as a failure, and is not begun twice."""

import asyncio
from collections.abc import AsyncIterator, Callable

import pytest

from sameface.health import watch as watching
from sameface.health.parts import PartHealth
from sameface.health.watch import PartsWatch, Watched
from sameface_qdrant.errors import StoreUnavailable


@pytest.fixture
async def watch(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[PartsWatch]:
    monkeypatch.setattr(watching, "AGAIN_S", 0.01)
    started = PartsWatch()
    yield started
    await started.aclose()


async def until(condition: Callable[[], bool]) -> None:
    while not condition():  # noqa: ASYNC110  # the time limit of the test bounds it
        await asyncio.sleep(0.01)


async def test_a_hanging_probe_and_an_unexpected_error_are_failures_and_others_go_on(watch: PartsWatch) -> None:
    released, begun, answers = asyncio.Event(), 0, {"second": 0}

    async def hangs() -> None:
        nonlocal begun
        begun += 1
        await released.wait()

    async def breaks() -> None:
        raise ZeroDivisionError

    async def answering() -> None:
        answers["second"] += 1

    watch.add(Watched("first", hangs, 0.01, 0.02))
    watch.add(Watched("broken", breaks, 0.01, 1.0))
    watch.add(Watched("second", answering, 0.01, 1.0))
    await until(lambda: not watch.health()["first"].serving and not watch.health()["broken"].serving)
    assert begun == 1
    assert [watch.health()[name].reason for name in ("first", "broken")] == ["NO_ANSWER", "INTERNAL"]
    seen = answers["second"]
    await until(lambda: answers["second"] > seen)
    assert watch.health()["second"].serving
    released.set()
    await until(lambda: watch.health()["first"].serving)
    assert not watch.health()["broken"].serving


class Unprintable(Exception):
    def __repr__(self) -> str:
        raise ValueError("no text")


@pytest.mark.parametrize("error", [asyncio.CancelledError(), Unprintable()])
async def test_a_probe_that_is_cancelled_or_cannot_be_judged_does_not_end_the_watch(
    watch: PartsWatch, error: BaseException
) -> None:
    begun, broken = 0, True

    async def probe() -> None:
        nonlocal begun
        begun += 1
        if broken:
            raise error

    watch.add(Watched("store", probe, 0.01, 1.0))
    await until(lambda: begun > 3)
    if isinstance(error, asyncio.CancelledError):
        assert (watch.health()["store"].serving, watch.health()["store"].reason) == (False, "INTERNAL")
    broken = False
    seen = begun
    await until(lambda: begun > seen + 1 and watch.health()["store"].serving)


async def test_one_failure_is_chance_and_two_are_told_with_their_reason(watch: PartsWatch) -> None:
    failures = iter([True, False, False, True, False, *[True] * 2, False, *[True] * 2])
    healths: list[PartHealth] = []

    async def probe() -> None:
        healths.append(watch.health()["store"])
        if next(failures, True):
            raise StoreUnavailable("it is away")

    watch.add(Watched("store", probe, 0.01, 1.0))
    await until(lambda: len(healths) > 12)
    assert [one.serving for one in healths[:8]] == [True] * 7 + [False]
    assert {one.reason for one in healths[7:]} == {"STORE_UNAVAILABLE"}
    assert len({one.since for one in healths[7:]}) == 1


async def test_a_part_that_tells_by_itself_is_believed_at_once(watch: PartsWatch) -> None:
    told = watch.follow("models")
    assert watch.health()["models"].serving
    await told(False, "MODEL_UNAVAILABLE")
    assert (watch.health()["models"].serving, watch.health()["models"].reason) == (False, "MODEL_UNAVAILABLE")
    await told(True, "MODEL_UNAVAILABLE")
    assert (watch.health()["models"].serving, watch.health()["models"].reason) == (True, "")
