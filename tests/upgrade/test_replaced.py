"""Every call of a load counts for a replacement, whenever it ends and however it fails."""

import asyncio
from collections.abc import Awaitable, Callable

import grpc
import pytest

from sameface.client.errors import ServiceError
from tests.conftest import PORTRAITS
from tests.faults.callers import Load
from tests.upgrade.run import Replacement, replaced

AWAY = ServiceError(grpc.StatusCode.UNAVAILABLE, "STORE_UNAVAILABLE", "the store is away", {}, None)


class Late(Load):
    """Calls that fail once no more of them begin, or at once. Nothing is sent."""

    def __init__(self, error: Exception, *, late: bool) -> None:
        super().__init__("127.0.0.1:9", PORTRAITS, seed=1, rates={"get": 300.0})
        self.error, self.begun, self.end = error, 0, asyncio.Event()
        if not late:
            self.end.set()

    def _kinds(self) -> dict[str, Callable[[], Awaitable[None]]]:
        return {"get": self._fail}

    async def _fail(self) -> None:
        self.begun += 1
        await self.end.wait()
        raise self.error

    async def stop(self) -> None:
        self.end.set()
        await super().stop()

    async def check(self) -> None:
        """Nothing was acknowledged."""


async def nothing() -> None:
    """Replace nothing."""


REPLACEMENTS: list[Replacement] = [("Triton 1", nothing), ("service 1", nothing)]


async def test_calls_that_fail_after_the_last_replacement_count_for_it() -> None:
    load = Late(AWAY, late=True)
    (first, last), broken = await replaced(load, REPLACEMENTS, lambda part: None, settle_s=0.05)
    assert load.begun > 0
    assert (first.calls, first.failed) == (0, ())
    assert last.calls == load.begun
    assert last.failed == ("UNAVAILABLE STORE_UNAVAILABLE",) * load.begun
    assert not broken


async def test_calls_that_fail_before_the_first_replacement_are_told() -> None:
    load = Late(AWAY, late=False)
    steps, broken = await replaced(load, REPLACEMENTS, lambda part: None, settle_s=0.05)
    assert broken
    assert set(broken) == {"failed before the first replacement: UNAVAILABLE STORE_UNAVAILABLE"}
    assert len(broken) + sum(len(step.failed) for step in steps) == load.begun


@pytest.mark.parametrize("error", [ValueError("no such scope"), KeyError("decision"), AttributeError("outcome")])
async def test_an_error_that_is_not_typed_is_a_broken_promise(error: Exception) -> None:
    load = Late(error, late=True)
    (_, last), broken = await replaced(load, REPLACEMENTS, lambda part: None, settle_s=0.02)
    assert load.begun > 0
    assert last.failed == (type(error).__name__,) * load.begun
    assert broken == [f"untyped: {type(error).__name__}: {error}"] * load.begun
