"""Points are read in the version of most replicas, also while a change is on its way to them.

`Replicas` answers as a cluster of three does, by Qdrant's source: a quorum read takes what two replicas have in the
same version, a majority read asks all three and takes what most of them have.
"""

import random
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from qdrant_client import models

from sameface_qdrant.engines.server import replicas as replicas_module
from sameface_qdrant.engines.server.replicas import FORGOTTEN_AFTER_S, MISSING_AFTER_S, Strays, agreed
from sameface_qdrant.errors import StoreUnavailable


class Replicas:
    """One version of one point on each of three replicas; None where it is missing."""

    def __init__(self, versions: Sequence[int | None], seed: int, *, settles_on: int | None = None) -> None:
        self.versions = list(versions)
        self.asked: list[models.ReadConsistencyType | None] = []
        self._draw = random.Random(seed)
        self._settles_on = settles_on

    async def read(self, ids: Sequence[Any], consistency: models.ReadConsistencyType | None) -> list[models.Record]:
        assert list(ids) == [1]
        self.asked.append(consistency)
        drawn = self._draw.sample(self.versions, 3)
        if self._settles_on is not None and len(self.asked) > 4:
            self.versions = [self._settles_on] * 3
        if consistency is None:
            version = drawn[0]
        elif consistency is models.ReadConsistencyType.QUORUM:
            version = drawn[0] if drawn[0] == drawn[1] else None
        else:
            ((version, count),) = Counter(drawn).most_common(1)
            version = version if count >= 2 else None
        return [] if version is None else [models.Record(id=1, payload={"version": version})]

    async def held(self, ids: Sequence[Any]) -> list[list[models.Record]]:
        """Each node asks its own replica."""
        return [[] if version is None else [models.Record(id=1)] for version in self.versions]


@pytest.fixture(autouse=True)
def _without_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(replicas_module, "PAUSES_S", (0.0,) * 5)


class Clock:
    """Time that passes with each look."""

    def __init__(self, step: float = MISSING_AFTER_S) -> None:
        self.now, self.step = 0.0, step

    def __call__(self) -> float:
        self.now += self.step
        return self.now


async def version_of(replicas: Replicas, strays: Strays | None = None) -> int | None:
    """The version after the second look; the first one never takes a point of one replica for missing."""
    strays = strays or Strays(Clock())
    with suppress(StoreUnavailable):
        await agreed(replicas.read, replicas.held, [1], strays)
    found = await agreed(replicas.read, replicas.held, [1], strays)
    return found[0].payload["version"] if found and found[0].payload else None


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize("versions", [(1, 1, 2), (2, 2, 1), (1, 1, 1)])
async def test_a_point_that_is_being_changed_is_not_missing(versions: tuple[int, int, int], seed: int) -> None:
    assert await version_of(Replicas(versions, seed)) == Counter(versions).most_common(1)[0][0]


@pytest.mark.parametrize("seed", range(20))
async def test_a_point_that_no_replica_has_is_missing(seed: int) -> None:
    replicas = Replicas((None, None, None), seed)
    assert await version_of(replicas) is None
    assert len(replicas.asked) == 4


@pytest.mark.parametrize("seed", range(20))
async def test_a_point_that_most_replicas_have_removed_is_missing(seed: int) -> None:
    # The one that has it may be drawn each time, and is the node's own.
    assert await version_of(Replicas((None, None, 1), seed)) is None


@pytest.mark.parametrize("seed", range(20))
async def test_replicas_that_all_differ_are_asked_again(seed: int) -> None:
    assert await version_of(Replicas((1, 2, 3), seed, settles_on=3)) == 3


async def test_replicas_that_never_agree_are_told() -> None:
    with pytest.raises(StoreUnavailable, match="do not agree") as told:
        await version_of(Replicas((1, 2, 3), 0))
    assert told.value.retry_after_s


@given(versions=st.tuples(*[st.sampled_from([None, 1, 2, 3])] * 3), seed=st.integers(0, 99))
async def test_no_version_is_returned_that_fewer_than_two_replicas_have(
    versions: tuple[int | None, int | None, int | None], seed: int
) -> None:
    most, count = Counter(versions).most_common(1)[0]
    try:
        version = await version_of(Replicas(versions, seed))
    except StoreUnavailable:
        # Only where no two agree, and most have it nevertheless.
        assert count == 1
        assert versions.count(None) <= 1
        return
    if version is not None:
        assert versions.count(version) >= 2
    elif count >= 2 and most is not None:
        # The replica that was asked alone has it not: a write that is under way, or was not acknowledged.
        assert None in versions
    else:
        assert versions.count(None) >= 1


async def test_a_point_of_one_replica_is_missing_behind_a_single_address_too() -> None:
    replicas = Replicas((None, None, 1), 0)

    async def held(ids: Sequence[Any]) -> list[list[models.Record]]:
        return (await replicas.held(ids))[2:]

    async def own(ids: Sequence[Any], consistency: models.ReadConsistencyType | None) -> list[models.Record]:
        return [models.Record(id=1)] if consistency is None else []

    strays = Strays(Clock())
    with pytest.raises(StoreUnavailable, match="do not agree"):
        await agreed(own, held, [1], strays)
    assert await agreed(own, held, [1], strays) == []


def test_a_point_is_missing_only_after_it_has_been_on_a_minority_for_a_while() -> None:
    clock = Clock(MISSING_AFTER_S / 3)
    strays = Strays(clock)
    assert [strays.note(1) for _ in range(5)] == [False, False, False, True, True]
    assert not strays.note(2)
    strays.forget([1])
    assert not strays.note(1)
    clock.now += FORGOTTEN_AFTER_S
    assert not strays.note(2)
