"""Histories of calls that services make at the same time, and a checker that asks whether one order explains them.

The model is the whole gallery: which templates each identity has, by their notes. Every call takes effect at one moment
between its beginning and its end, or not at all (Herlihy and Wing 1990, "Linearizability"). A call that failed without
saying whether it took effect may take effect at any later moment.
"""

import asyncio
import random
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from enum import Enum
from typing import Any, TypeAlias

import numpy as np

from sameface_qdrant import NewTemplate, Provenance, Store
from sameface_qdrant.engines.base import Engine, Where
from sameface_qdrant.errors import ConcurrentUpdate, IdentityNotFound, StoreUnavailable
from tests.plugin.conftest import CONTRACT, random_vector

State: TypeAlias = frozenset[tuple[str, frozenset[str]]]
NOTHING: State = frozenset()
FOREVER = float("inf")


class Result(Enum):
    DONE = "done"
    NOT_FOUND = "not found"
    NO_EFFECT = "no effect"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Call:
    """One call: ``enrol`` identity and note, ``delete`` identity, ``move`` identity and target.

    ``half`` identity is what an enrolment or a move that was cut off may leave: the identity without the templates.
    """

    kind: str
    arguments: tuple[str, ...]
    began: float
    ended: float
    result: Result


def after(state: State, call: Call) -> State | None:
    """The state after a call that took effect with its result; None if it could not have had this result."""
    gallery = dict(state)
    identity = call.arguments[0]
    if call.result is Result.NOT_FOUND:
        return None if identity in gallery else state
    if call.kind == "half":
        gallery.setdefault(identity, frozenset())
    elif call.kind == "enrol":
        gallery[identity] = gallery.get(identity, frozenset()) | {call.arguments[1]}
    elif identity not in gallery:
        return None
    elif call.kind == "delete":
        del gallery[identity]
    else:
        target = call.arguments[1]
        gallery[target] = gallery.get(target, frozenset()) | gallery.pop(identity)
    return frozenset(gallery.items())


def is_at_the_same_time(one: Call, other: Call) -> bool:
    return one.began < other.ended and other.began < one.ended


def joined(calls: Sequence[Call]) -> list[Call]:
    """The calls, with moves of one identity to one target at the same moment as one: the second finishes the first."""
    kept: list[Call] = []
    for call in calls:
        same = [one for one in kept if (one.kind, one.arguments, one.result) == ("move", call.arguments, Result.DONE)]
        twin = next((one for one in same if is_at_the_same_time(one, call)), None)
        if call.kind == "move" and call.result is Result.DONE and twin is not None:
            kept[kept.index(twin)] = replace(twin, began=max(twin.began, call.began), ended=min(twin.ended, call.ended))
        else:
            kept.append(call)
    return kept


def seen_for_a_moment(calls: Sequence[Call]) -> list[Call]:
    """What enrolments without effect may have shown while they ran: a new identity, which somebody deleted or moved."""
    return [
        Call("moment", call.arguments[:1], call.began, call.ended, Result.UNKNOWN)
        for call in calls
        if call.kind == "enrol" and call.result is Result.NO_EFFECT
    ]


def is_explained(calls: Sequence[Call], final: State) -> bool:
    """Whether some order of the calls, each between its beginning and its end, leads to the final state."""
    certain = [call for call in joined(calls) if call.result is not Result.NO_EFFECT] + seen_for_a_moment(calls)
    seen: set[tuple[frozenset[int], State]] = set()

    def search(left: frozenset[int], state: State) -> bool:
        if (left, state) in seen:
            return False
        seen.add((left, state))
        if state == final and all(certain[one].result is Result.UNKNOWN for one in left):
            return True
        ends = (certain[one].ended for one in left if certain[one].result is not Result.UNKNOWN)
        first_end = min(ends, default=FOREVER)
        for one in left:
            call = certain[one]
            if call.began > first_end or call.kind == "moment":
                continue
            following = after(state, call)
            if following is not None and search(left - {one}, following):
                return True
            if following is None and call.result is Result.DONE:
                for other in left:
                    if certain[other].kind == "moment" and is_at_the_same_time(certain[other], call):
                        shown = after(state | {(certain[other].arguments[0], frozenset())}, call)
                        if shown is not None and search(left - {one, other}, shown):
                            return True
        return False

    return search(frozenset(range(len(certain))), NOTHING)


def halves(calls: Sequence[Call]) -> list[Call]:
    """What calls that were cut off may have left, before a repeat finishes them; as many as could make a difference."""
    found: list[Call] = []
    for call in sorted(calls, key=lambda one: one.began):
        if call.result is Result.UNKNOWN and call.kind in ("enrol", "move"):
            identity = call.arguments[0] if call.kind == "enrol" else call.arguments[1]
            removals = sum(one.kind in ("delete", "move") and one.arguments[0] == identity for one in calls)
            if sum(one.arguments == (identity,) for one in found) <= removals:
                found.append(Call("half", (identity,), call.began, FOREVER, Result.UNKNOWN))
    return found


async def recorded(kind: str, arguments: tuple[str, ...], work: Any) -> Call:
    """Await one call, and record when it ran and what became of it."""
    began, result = time.monotonic(), Result.DONE
    try:
        await work
    except IdentityNotFound:
        result = Result.NOT_FOUND
    except StoreUnavailable:
        result = Result.UNKNOWN
    except ConcurrentUpdate:
        # A move that is overtaken has begun, and goes on when it is repeated.
        result = Result.UNKNOWN if kind == "move" else Result.NO_EFFECT
    return Call(kind, arguments, began, FOREVER if result is Result.UNKNOWN else time.monotonic(), result)


USUAL = ("enrol", "enrol", "delete", "move")
MANY_MOVES = ("enrol", "enrol", "delete", "move", "move")


async def race(
    stores: Sequence[Store],
    gallery: str,
    seed: int,
    *,
    people: Sequence[str] = ("a", "b"),
    rounds: int = 3,
    kinds: Sequence[str] = USUAL,
) -> list[Call]:
    """Let every store call at the same time, a few times. The calls are drawn from the seed."""
    draw, rng = random.Random(seed), np.random.default_rng(seed)
    calls: list[Call] = []

    async def service(number: int, store: Store) -> None:
        for turn in range(rounds):
            kind, identity = draw.choice(kinds), draw.choice(people)
            for _ in range(draw.randrange(40)):
                await asyncio.sleep(0)
            if kind == "enrol":
                note = f"{number}.{turn}"
                new = [NewTemplate(random_vector(rng), CONTRACT, Provenance(note=note))]
                calls.append(await recorded(kind, (identity, note), store.enroll(gallery, identity, new)))
            elif kind == "delete":
                erasing = store.identities.delete(gallery, identity, force=True)
                calls.append(await recorded(kind, (identity,), erasing))
            else:
                target = draw.choice([one for one in people if one != identity])
                moving = store.identities.move(gallery, identity, target, merge=True)
                calls.append(await recorded(kind, (identity, target), moving))

    await asyncio.gather(*(service(number, store) for number, store in enumerate(stores)))
    return calls


async def settle(store: Store, gallery: str) -> None:
    """Repeat every move that was interrupted, as its caller would."""
    for one in (await store.identities.list(gallery)).items:
        record = await store.identities.record(await store.galleries.tenant(gallery), one.id)
        if record.payload["moving_to"]:
            await store.identities.move(gallery, one.id, record.payload["moving_to"], merge=True)


async def state_of(store: Store, gallery: str) -> State:
    """The gallery as a caller sees it."""
    found: dict[str, frozenset[str]] = {}
    for one in (await store.identities.list(gallery)).items:
        templates = (await store.templates.list(gallery, one.id)).items
        found[one.id] = frozenset(template.provenance.note for template in templates)
    return frozenset(found.items())


async def left_over(engine: Engine, collection: str) -> list[Mapping[str, Any]]:
    """Templates that belong to no identity, and points that nobody confirmed."""
    points, _ = await engine.scroll(collection, Where({}), 1000)
    known = {(one.payload["gallery"], one.payload["identity"]) for one in points if one.payload["kind"] == "identity"}
    return [
        one.payload
        for one in points
        if (one.payload["gallery"], one.payload["identity"]) not in known or one.payload.get("state")
    ]
