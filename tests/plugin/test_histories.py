"""Any two changes of one identity at the same moment have an order: enrolments, deletions and moves."""

import random

import pytest
from qdrant_client import AsyncQdrantClient

from sameface_qdrant import Policy, Store
from tests.plugin.conftest import CONTRACT, QDRANT_API_KEY, QDRANT_URL, cleared_server, needs_server
from tests.plugin.histories import MANY_MOVES, Call, Result, is_explained, left_over, race, settle, state_of
from tests.plugin.steered import SteeredEngine

SEVERAL_MOVES = (67, 84, 98, 110, 278, 537, 656, 675, 696)
"""Seeds with two services that make the same move, while a third one deletes its target."""


@pytest.mark.parametrize("seed", [*range(40), *SEVERAL_MOVES])
async def test_some_order_explains_what_services_did_at_the_same_time(seed: int) -> None:
    client, turns = AsyncQdrantClient(":memory:"), random.Random(seed)
    longest = turns.choice((4, 12, 40))
    stores = [await Store.over(SteeredEngine(client, lambda: turns.randrange(longest))) for _ in range(3)]
    await stores[0].galleries.create("people", CONTRACT, policy=Policy(verify_threshold=0.5))
    calls = await race(stores, "people", seed, rounds=4, kinds=MANY_MOVES)
    reader = await Store.over(SteeredEngine(client))
    await settle(reader, "people")
    final = await state_of(reader, "people")
    told = "\n".join(map(str, sorted(calls, key=lambda call: call.began)))
    assert is_explained(calls, final), f"{told}\n{final}"
    assert await left_over(SteeredEngine(client), CONTRACT.key) == []


@needs_server
async def test_some_order_explains_what_services_did_on_a_server() -> None:
    async with cleared_server() as (_, options):
        stores = [await Store.open(QDRANT_URL, api_key=QDRANT_API_KEY, options=options) for _ in range(3)]
        for seed in range(20):
            gallery = f"people-{seed}"
            await stores[0].galleries.create(gallery, CONTRACT, policy=Policy(verify_threshold=0.5))
            calls = await race(stores, gallery, seed)
            await settle(stores[0], gallery)
            final = await state_of(stores[0], gallery)
            told = "\n".join(map(str, sorted(calls, key=lambda call: call.began)))
            assert is_explained(calls, final), f"{told}\n{final}"
        assert await left_over(stores[0]._engine, CONTRACT.key) == []
        for store in stores:
            await store.aclose()


def call(kind: str, *arguments: str, began: float, ended: float, result: Result = Result.DONE) -> Call:
    return Call(kind, arguments, began, ended, result)


ENROLLED = call("enrol", "a", "1", began=0, ended=1)
REFUSED = call("enrol", "a", "1", began=0, ended=1, result=Result.NO_EFFECT)


@pytest.mark.parametrize(
    ("calls", "final", "explained"),
    [
        ([ENROLLED], {"a": "1"}, True),
        ([ENROLLED], {}, False),
        ([ENROLLED, call("delete", "a", began=2, ended=3)], {}, True),
        ([ENROLLED, call("delete", "a", began=2, ended=3)], {"a": "1"}, False),
        (
            [ENROLLED, call("delete", "a", began=2, ended=3), call("move", "a", "b", began=2, ended=3)],
            {"b": "1"},
            False,
        ),
        ([ENROLLED, call("move", "a", "b", began=2, ended=3)], {"b": "1"}, True),
        ([ENROLLED, call("delete", "a", began=0, ended=3, result=Result.NOT_FOUND)], {"a": "1"}, True),
        ([ENROLLED, call("delete", "a", began=2, ended=3, result=Result.NOT_FOUND)], {"a": "1"}, False),
        ([ENROLLED, call("delete", "a", began=2, ended=9, result=Result.UNKNOWN)], {"a": "1"}, True),
        ([ENROLLED, call("delete", "a", began=2, ended=9, result=Result.UNKNOWN)], {}, True),
        ([ENROLLED, call("delete", "a", began=2, ended=3, result=Result.NO_EFFECT)], {}, False),
        # Whoever deletes an identity that is just being made, may be told that it was there.
        ([REFUSED, call("delete", "a", began=0, ended=3)], {}, True),
        ([REFUSED, call("delete", "a", began=2, ended=3)], {}, False),
        ([REFUSED, call("delete", "a", began=0, ended=3), call("delete", "a", began=0, ended=3)], {}, False),
        ([REFUSED], {"a": ""}, False),
        ([REFUSED], {"a": "1"}, False),
    ],
)
def test_the_checker_tells_a_history_with_an_order_from_one_without(
    calls: list[Call], final: dict[str, str], explained: bool
) -> None:
    assert is_explained(calls, frozenset((name, frozenset(notes)) for name, notes in final.items())) is explained
