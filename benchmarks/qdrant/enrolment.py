"""Enrolments a second on a Qdrant server: in bulk, many calls at once, and one call after another."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence

from benchmarks.qdrant.filling import CONTRACT
from benchmarks.qdrant.people import People
from sameface_qdrant import Enrolment, GuardAction, NewTemplate, Policy, Store

AT_ONCE = 256
ONE_BY_ONE = 300
"""Most calls that are made one after another."""
POLICIES = {
    "guards off": Policy(
        verify_threshold=0.5,
        identify_threshold=0.6,
        on_collision=GuardAction.ALLOW,
        on_duplicate=GuardAction.ALLOW,
        on_outlier=GuardAction.ALLOW,
    ),
    "guards warn": Policy(verify_threshold=0.5, identify_threshold=0.6),
}


async def measure_enrolment(store: Store, people: People, count: int) -> list[dict[str, object]]:
    """Enrol ``count`` new identities with one template each, in every way, and return the rates.

    Each way has a gallery of its own, which is deleted afterwards.
    """
    vectors = people.templates(0, count, 1)[:, 0]
    enrolments = [Enrolment(f"p{number}", [NewTemplate(vector, CONTRACT)]) for number, vector in enumerate(vectors)]
    rows = []
    for guards, policy in POLICIES.items():
        for way, (enrol, most) in WAYS.items():
            some = enrolments[:most]
            gallery = f"{guards} {way}".replace(" ", "-")
            await store.galleries.create(gallery, CONTRACT, policy=policy)
            began, processor = time.perf_counter(), time.process_time()
            await enrol(store, gallery, some)
            seconds = time.perf_counter() - began
            rows.append(
                {
                    "guards": guards,
                    "way": way,
                    "enrolments": len(some),
                    "per_s": round(len(some) / seconds),
                    "client_ms": round(1000 * (time.process_time() - processor) / len(some), 2),
                }
            )
            await store.galleries.delete(gallery, force=True)
    return rows


async def _in_bulk(store: Store, gallery: str, enrolments: Sequence[Enrolment]) -> None:
    async for result in store.enroll_many(gallery, enrolments):
        if result.error is not None:
            raise result.error


async def _at_once(store: Store, gallery: str, enrolments: Sequence[Enrolment]) -> None:
    places = asyncio.Semaphore(AT_ONCE)

    async def one(enrolment: Enrolment) -> None:
        async with places:
            await store.enroll(gallery, enrolment.identity, enrolment.templates)

    await asyncio.gather(*map(one, enrolments))


async def _one_by_one(store: Store, gallery: str, enrolments: Sequence[Enrolment]) -> None:
    for enrolment in enrolments:
        await store.enroll(gallery, enrolment.identity, enrolment.templates)


Enrol = Callable[[Store, str, Sequence[Enrolment]], Awaitable[None]]
WAYS: dict[str, tuple[Enrol, int | None]] = {
    "in bulk": (_in_bulk, None),
    f"{AT_ONCE} at once": (_at_once, None),
    "one by one": (_one_by_one, ONE_BY_ONE),
}
