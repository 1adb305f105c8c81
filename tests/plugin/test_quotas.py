"""The galleries of a tenant hold no more than their quotas, whatever is done in which order."""

import asyncio
import random
import uuid
from collections.abc import Awaitable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sameface_qdrant import Contract, Enrolment, NewTemplate, Quota, Store
from sameface_qdrant.engines.base import Point
from sameface_qdrant.errors import InvalidArgument, QuotaExceeded
from sameface_qdrant.store import payloads
from sameface_qdrant.store.quotas import Quotas
from sameface_qdrant.store.tenant import Tenant
from sameface_qdrant.values.quota import template_bytes

CONTRACT = Contract("model", 1, "0" * 64, 4, "1")
BYTES = template_bytes(4)
GALLERIES = ("team-a", "team-b", "other")


def template(seed: int) -> NewTemplate:
    return NewTemplate(np.random.default_rng(seed).normal(size=4).astype(np.float32), CONTRACT)


STEPS = st.tuples(
    st.sampled_from(["gallery", "identity", "enrol", "bulk", "delete", "drop"]),
    st.sampled_from(GALLERIES),
    st.integers(0, 3),
)


@settings(max_examples=25)
@given(
    limits=st.tuples(st.integers(0, 2), st.integers(0, 4), st.integers(0, 6)),
    steps=st.lists(STEPS, min_size=5, max_size=25),
)
async def test_what_is_held_is_what_a_model_of_the_quota_allows(
    limits: tuple[int, int, int], steps: list[tuple[str, str, int]]
) -> None:
    most_galleries, most_identities, most_templates = limits
    store = await Store.open(":memory:")
    store.use_quotas([Quota("team-*", most_galleries, most_identities, most_templates * BYTES)])
    held: dict[str, dict[str, int]] = {}
    call: Awaitable[Any]

    def fits(gallery: str, galleries: int = 0, identities: int = 0, templates: int = 0) -> bool:
        ours = [held[one] for one in held if one.startswith("team-")]
        used = (len(ours), sum(map(len, ours)), sum(sum(one.values()) for one in ours))
        added = (galleries, identities, templates)
        return not gallery.startswith("team-") or all(
            not more or have + more <= most for have, more, most in zip(used, added, limits, strict=True)
        )

    for number, (step, gallery, person) in enumerate(steps):
        identity = f"person-{person}"
        people = held.get(gallery)
        if step == "gallery" and people is None:
            allowed, call = fits(gallery, galleries=1), store.galleries.create(gallery, CONTRACT)
        elif people is None:
            continue
        elif step == "identity" and identity not in people:
            allowed, call = fits(gallery, identities=1), store.identities.create(gallery, identity)
        elif step in ("enrol", "bulk"):
            allowed = fits(gallery, identities=int(identity not in people), templates=1)
            if step == "enrol":
                call = store.enroll(gallery, identity, [template(number)], request_id=str(uuid.uuid4()))
            else:
                call = bulk(store, gallery, Enrolment(identity, [template(number)]))
        elif step == "delete" and identity in people:
            await store.identities.delete(gallery, identity, force=True)
            del people[identity]
            continue
        elif step == "drop":
            await store.galleries.delete(gallery, force=True)
            del held[gallery]
            continue
        else:
            continue
        if not allowed:
            with pytest.raises(QuotaExceeded, match=r"team-\*"):
                await call
            continue
        await call
        if step == "gallery":
            held[gallery] = {}
        elif people is not None:
            people[identity] = people.get(identity, 0) + (step != "identity")
    for gallery, people in held.items():
        page = await store.identities.list(gallery)
        assert {one.id: one.template_count for one in page.items} == people
    await store.aclose()


async def bulk(store: Store, gallery: str, enrolment: Enrolment) -> None:
    async for result in store.enroll_many(gallery, [enrolment]):
        if result.error is not None:
            raise result.error


@pytest.fixture
async def full() -> Store:
    """A store whose quota is used up by what one request made each."""
    store = await Store.open(":memory:")
    store.use_quotas([Quota("*", galleries=1, identities=2, bytes=2 * BYTES)])
    await store.galleries.create("staff", CONTRACT, request_id="first")
    await store.identities.create("staff", "ada", request_id="second")
    await store.enroll("staff", "bob", [template(1), template(2)], request_id="third")
    return store


async def test_a_repeat_of_what_was_done_is_not_refused(full: Store) -> None:
    await full.galleries.create("staff", CONTRACT, request_id="first")
    await full.identities.create("staff", "ada", request_id="second")
    repeated = await full.enroll("staff", "bob", [template(1), template(2)], request_id="third")
    assert len(repeated) == 2
    await full.aclose()


async def test_what_exceeds_a_quota_is_refused_and_stores_nothing(full: Store) -> None:
    with pytest.raises(QuotaExceeded, match="1 galleries"):
        await full.galleries.create("guests", CONTRACT)
    with pytest.raises(QuotaExceeded, match="2 identities"):
        await full.identities.create("staff", "eve")
    for validate_only in (True, False):
        with pytest.raises(QuotaExceeded, match="bytes"):
            await full.enroll("staff", "ada", [template(3)], validate_only=validate_only)
    assert [one.id for one in (await full.galleries.list()).items] == ["staff"]
    found = (await full.identities.list("staff")).items
    assert {one.id: one.template_count for one in found} == {"ada": 0, "bob": 2}
    # What makes room is noticed at once.
    await full.identities.delete("staff", "bob", force=True)
    await full.enroll("staff", "ada", [template(3), template(4)])
    await full.aclose()


async def test_many_at_once_do_not_exceed_a_quota() -> None:
    store = await Store.open(":memory:")
    store.use_quotas([Quota("staff", identities=10)])
    await store.galleries.create("staff", CONTRACT)
    calls = [store.enroll("staff", f"person-{number}", [template(number)]) for number in range(30)]
    results = await asyncio.gather(*calls, return_exceptions=True)
    assert sum(isinstance(one, QuotaExceeded) for one in results) == 20
    assert len((await store.identities.list("staff")).items) == 10
    await store.aclose()


class SlowlyCounted:
    """A store of one gallery whose counts are old when they arrive."""

    exclusive = False

    def __init__(self, tenant: Tenant) -> None:
        self._tenant = tenant
        self.identities = 0

    async def scroll(self, *_: Any, **__: Any) -> tuple[list[Point], None]:
        payload = payloads.gallery_payload(self._tenant.gallery, self._tenant.uid)
        return [Point("id", {**payload, "revision": 1})], None

    async def ensure(self, *_: Any) -> None:
        pass

    async def count(self, *_: Any) -> int:
        found = self.identities
        await asyncio.sleep(0.002)
        return found


async def test_what_is_written_during_a_count_is_not_forgotten() -> None:
    store = await Store.open(":memory:")
    gallery = await store.galleries.create("staff", CONTRACT)
    tenant = Tenant(gallery.uid, gallery)
    engine: Any = SlowlyCounted(tenant)
    quotas = Quotas(engine, [Quota("*", identities=10)])
    draw = random.Random(3)

    async def enrol() -> None:
        await asyncio.sleep(draw.random() / 50)
        async with quotas.admission() as admission:
            await admission.enrolment(tenant, 1, 0)
            await asyncio.sleep(draw.random() / 500)
            engine.identities += 1

    results = await asyncio.gather(*(enrol() for _ in range(60)), return_exceptions=True)
    assert engine.identities <= 10
    assert {type(one) for one in results} <= {type(None), QuotaExceeded}
    assert engine.identities >= 5
    await store.aclose()


@pytest.mark.parametrize("wrong", [{"gallery": ""}, {"gallery": "A*"}, {"gallery": "a**"}, {"bytes": -1}])
def test_a_quota_of_another_form_is_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(InvalidArgument, match="quota"):
        Quota(**{"gallery": "staff", **wrong})  # type: ignore[arg-type]
