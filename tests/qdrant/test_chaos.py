"""The harness of `make qdrant` on the twin: services are killed, and every kind of broken promise is caught."""

import asyncio
import random
from typing import Any

import pytest
from qdrant_client import AsyncQdrantClient

from sameface_qdrant import Store
from sameface_qdrant.engines.base import Point, Where
from sameface_qdrant.errors import StoreUnavailable
from sameface_qdrant.store.conditional_write import STATE
from tests.plugin.steered import SteeredEngine
from tests.qdrant import chaos as chaos_module
from tests.qdrant.chaos import Chaos
from tests.qdrant.faults import Fault
from tests.qdrant.handles import Handle, OnEvent, ServiceTask
from tests.qdrant.ledger import Ledger, Operation, broken
from tests.qdrant.outcome import KINDS, Outcome, summary, table
from tests.qdrant.service import CONTRACT, Task

SECONDS = 3.0


class Twin(SteeredEngine):
    """One service's view of the shared memory. Faults make it fail, or do what a store must not do."""

    sabotage = ""
    dead = False
    loses = ""

    async def _run(self, awaited: Any) -> Any:
        if self.dead:
            awaited.close()
            raise StoreUnavailable("killed")
        return await super()._run(awaited)

    async def aclose(self) -> None:
        """The memory stays for the others."""

    async def delete(self, collection: str, where: Any) -> None:
        if self.sabotage == "back" and collection == CONTRACT.key and random.random() < 0.5:
            return
        await super().delete(collection, where)

    async def upsert(self, collection: str, points: Any, **options: Any) -> None:
        await super().upsert(collection, points, **options)
        companions = options.get("companions", ())
        if self.sabotage == "copies" and companions:
            copied = [
                Point(_other_id(one.id), {**one.payload, "identity": "zz", STATE: ""}, one.vector) for one in companions
            ]
            await super().upsert(collection, copied)
        if self.sabotage == "lost" and companions:
            self.loses = companions[0].id

    async def set_payload(self, collection: str, where: Where, payload: Any) -> None:
        await super().set_payload(collection, where, payload)
        if self.sabotage == "lost" and self.loses:
            await super().delete(collection, [self.loses])

    async def get(self, *arguments: Any, **options: Any) -> Any:
        if self.sabotage == "untyped" and random.random() < 0.05:
            raise KeyError("a template id")
        if self.sabotage == "failed" and random.random() < 0.3:
            raise StoreUnavailable("no answer in time", retry_after_s=chaos_module.GIVEN_UP_AFTER_S)
        return await super().get(*arguments, **options)


def _other_id(point: str) -> str:
    return point[:-4] + ("0000" if point[-4:] != "0000" else "1111")


async def run(sabotage: str = "", seconds: float = SECONDS, seed: int = 7) -> Outcome:
    client = AsyncQdrantClient(":memory:")
    turns = random.Random(seed)
    engines: list[Twin] = []

    def engine() -> Twin:
        engines.append(Twin(client, lambda: turns.randrange(4)))
        return engines[-1]

    async def spawn(task: Task, on_event: OnEvent) -> Handle:
        own = engine()

        def cut_off() -> None:
            own.dead = True

        store = await Store.over(own)
        own.sabotage = sabotage
        return ServiceTask(task, store, on_event, cut_off)

    async def unanswered() -> None:
        for one in engines[1:]:
            one.failing = {"set_payload"}
        await asyncio.sleep(0.5)
        for one in engines[1:]:
            one.failing = set()

    async def healthy() -> None:
        pass

    reader = await Store.over(Twin(client))
    chaos = Chaos(reader, spawn, Task("", ":memory:", "", seed, lanes=1), ("s0", "s1", "s2"))
    faults = [] if sabotage == "failed" else [Fault("writes without an answer", False, unanswered)]
    return await chaos.run(seconds, faults, healthy, kills_every_s=1.5)


async def test_promises_are_kept_while_services_are_killed() -> None:
    kinds = {"enrol", "delete", "move", "drop"}
    for seconds in (SECONDS, 4 * SECONDS, 16 * SECONDS):  # a busy machine does little in a second
        outcome = await run(seconds=seconds)
        assert outcome.violations == []
        figures = summary([outcome])
        if kinds <= figures["acknowledged"].keys() and figures["verifications"] and figures["races"]:
            break
    assert kinds <= figures["acknowledged"].keys()
    assert figures["verifications"] > 0
    assert figures["races"] > 0
    assert figures["services killed"] > 0
    assert "writes without an answer" in table([outcome])


@pytest.mark.parametrize("kind", KINDS)
async def test_every_kind_of_broken_promise_is_caught(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    # A store that does not keep its promises may never finish a call.
    monkeypatch.setattr(chaos_module, "STOPPED_WITHIN_S", 0.5)
    if kind == "failed":
        monkeypatch.setattr(chaos_module, "GIVEN_UP_AFTER_S", 0.2)
    # On a busy machine little is done in a short time.
    for seconds in (1.5, 3, 6, 12):
        outcome = await run(kind, seconds=seconds)
        if kind in (found := {one.kind for one in outcome.violations}):
            break
    assert kind in found


def promised(*operations: Operation) -> Ledger:
    ledger = Ledger()
    for one in operations:
        ledger.begin(one)
        ledger.done(one.number)
    return ledger


ENROLLED = Operation("1", "enrol", "a", ("n1", "n2"))
DELETED = Operation("2", "delete", "a")
MOVED = Operation("2", "move", "a", target="b")
DROPPED = Operation("2", "drop", "a", ("n1",))


@pytest.mark.parametrize(
    ("ledger", "seen", "stored", "kinds"),
    [
        (promised(ENROLLED), {"a": ["n1", "n2"]}, {"a": ["n1", "n2"]}, []),
        (promised(ENROLLED), {"a": ["n1"]}, {"a": ["n1"]}, ["lost"]),
        (promised(ENROLLED), {}, {"a": ["n1", "n2"]}, ["lost"]),
        (promised(ENROLLED), {"a": ["n1", "n2"]}, {"a": ["n1", "n2", "n2"]}, ["copies"]),
        (promised(ENROLLED, DELETED), {}, {}, []),
        (promised(ENROLLED, DELETED), {"a": []}, {}, ["back"]),
        (promised(ENROLLED, DELETED), {"a": ["n1"]}, {"a": ["n1"]}, ["back", "back", "copies"]),
        (promised(ENROLLED, DELETED), {}, {"b": ["n2"]}, ["copies"]),
        (promised(ENROLLED, MOVED), {"b": ["n1", "n2"]}, {"b": ["n1", "n2"]}, []),
        (promised(ENROLLED, MOVED), {"a": ["n1", "n2"]}, {"a": ["n1", "n2"]}, ["lost", "back", "copies", "copies"]),
        (promised(ENROLLED, DROPPED), {"a": ["n2"]}, {"a": ["n2"]}, []),
        (promised(ENROLLED, DROPPED), {"a": ["n1", "n2"]}, {"a": ["n1", "n2"]}, ["back", "copies"]),
    ],
)
def test_the_ledger_tells_what_is_broken(
    ledger: Ledger, seen: dict[str, list[str]], stored: dict[str, list[str]], kinds: list[str]
) -> None:
    assert [one.kind for one in broken(ledger, seen, stored)] == kinds
