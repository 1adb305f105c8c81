"""What an attached collection remembers about its points: its own removals, and points that it passed over."""

import asyncio
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from qdrant_client import AsyncQdrantClient, models
from qdrant_client.local.async_qdrant_local import AsyncQdrantLocal

from sameface_qdrant import Attached, Policy, attach
from sameface_qdrant.attached import counting, passed_over, sameness
from sameface_qdrant.errors import ContractMismatch
from tests.plugin import oracle

POLICY = Policy(verify_threshold=0.1, identify_threshold=0.1)
VECTORS = np.random.default_rng(0).normal(size=(60, 4))


class Slow(AsyncQdrantClient):
    """Waits behind each call of some names, as a distant server does, and counts the calls."""

    def __init__(self) -> None:
        super().__init__(":memory:")
        self.waits: dict[str, asyncio.Event] = {}
        self.reached = asyncio.Event()
        self.calls: dict[str, int] = {}

    async def _called(self, name: str) -> None:
        self.calls[name] = self.calls.get(name, 0) + 1
        if name in self.waits:
            self.reached.set()
            await self.waits[name].wait()

    async def scroll(self, *args: Any, **kwargs: Any) -> Any:
        found = await super().scroll(*args, **kwargs)
        await self._called("scroll")
        return found

    async def delete(self, *args: Any, **kwargs: Any) -> Any:
        found = await super().delete(*args, **kwargs)
        await self._called("delete")
        return found

    async def count(self, *args: Any, **kwargs: Any) -> Any:
        await self._called("count")
        return await super().count(*args, **kwargs)

    async def query_points(self, *args: Any, **kwargs: Any) -> Any:
        await self._called("query_points")
        return await super().query_points(*args, **kwargs)


async def people(client: AsyncQdrantClient, owners: Sequence[str], broken: Sequence[int] = ()) -> Attached:
    await client.create_collection("faces", models.VectorParams(size=4, distance=models.Distance.COSINE))
    points = [
        models.PointStruct(id=k, vector=VECTORS[k % 60].tolist(), payload={"who": who}) for k, who in enumerate(owners)
    ]
    await client.upsert("faces", points)
    local = client._client
    assert isinstance(local, AsyncQdrantLocal)
    for place in broken:
        local.collections["faces"].vectors[""][place] = [math.nan] * 4
    return await attach(client, collection="faces", identity_key="who", policy=POLICY, writable=True)


@pytest.mark.parametrize("slow", ["delete", "count"])
async def test_an_own_removal_of_every_witness_is_not_taken_for_another_collection(
    slow: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sameness, "EVERY_S", 0.0)
    client = Slow()
    one = await people(client, ["ada"] * 20 + [f"p{k}" for k in range(20, 60)])
    client.waits[slow] = asyncio.Event()
    removal = asyncio.create_task(one.delete("ada"))
    await client.reached.wait()
    event = client.waits.pop(slow)
    assert (await one.verify("p30", VECTORS[30])).score == pytest.approx(1.0, abs=oracle.CLOSE)
    event.set()
    assert await removal == 20
    assert (await one.verify("p30", VECTORS[30])).score == pytest.approx(1.0, abs=oracle.CLOSE)
    # Another collection of the same layout is still noticed.
    await client.delete_collection("faces")
    await people(client, [f"new{k}" for k in range(60)][::-1])
    local = client._client
    assert isinstance(local, AsyncQdrantLocal)
    local.collections["faces"].vectors[""] = -np.asarray(local.collections["faces"].vectors[""], np.float32)[::-1]
    with pytest.raises(ContractMismatch, match="same layout"):
        await one.verify("p30", VECTORS[30])
    await client.close()


async def test_witnesses_that_were_read_before_an_own_removal_are_not_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sameness, "EVERY_S", 0.0)
    client = Slow()
    one = await people(client, ["ada"] * 20 + ["bob"] * 10)
    witnesses = one._witnesses
    client.waits["scroll"] = asyncio.Event()
    reading = asyncio.create_task(witnesses.remember())
    await client.reached.wait()
    event = client.waits.pop("scroll")
    assert await one.delete("ada") == 20
    event.set()
    await reading
    for _ in range(2):
        assert (await one.verify("bob", VECTORS[20])).score == pytest.approx(1.0, abs=oracle.CLOSE)
    assert len(witnesses._remembered) == 10
    await client.close()


@pytest.mark.parametrize("read", [True, False], ids=["counted", "unread"])
async def test_broken_points_cost_no_further_searches_and_come_back_once_they_are_mended(
    read: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(counting, "READ_UP_TO", 10_000 if read else 0)
    client = Slow()
    one = await people(client, [f"p{k % 60}" for k in range(300)], broken=range(60, 280))
    if not read:
        await one.identify(VECTORS[0])
    client.calls.clear()
    for k in (1, 2, 3):
        assert (await one.identify(VECTORS[k])).candidates[0].identity == f"p{k}"
        assert len(await one.search(VECTORS[k], limit=5)) == 5
    assert client.calls["query_points"] == 6
    point = models.PointStruct(id=70, vector=(-VECTORS[5]).tolist(), payload={"who": "p10"})
    await client.upsert("faces", [point])
    monkeypatch.setattr(passed_over, "EVERY_S", 0.0)
    assert (await one.identify(-VECTORS[5])).score == pytest.approx(1.0, abs=oracle.CLOSE)
    await client.delete("faces", [71])
    await one.identify(VECTORS[0])
    assert {70, 71} & set(one._passed_over.ids) == set()
    assert len(one._passed_over.ids) == 218
    await client.close()
