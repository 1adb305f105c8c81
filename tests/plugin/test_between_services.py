"""Moments at which services on one Qdrant server get in each other's way, brought about one by one."""

import asyncio
import random
from typing import Any

import numpy as np
import pytest
from qdrant_client import AsyncQdrantClient

from sameface_qdrant import Contract, Gallery, GuardAction, NewTemplate, Policy, Probe, Store
from sameface_qdrant.engines.base import Where
from sameface_qdrant.errors import (
    ConcurrentUpdate,
    GalleryNotFound,
    IdentityNotFound,
    InvalidArgument,
    SamefaceError,
    StoreUnavailable,
    TemplateLimitReached,
)
from tests.plugin.conftest import CONTRACT, random_vector
from tests.plugin.steered import SteeredEngine

POLICY = Policy(verify_threshold=0.5, identify_threshold=0.5)


@pytest.mark.parametrize("seed", range(30))
async def test_the_limit_of_templates_holds_however_the_requests_interleave(seed: int) -> None:
    client, turns = AsyncQdrantClient(":memory:"), random.Random(seed)
    rng = np.random.default_rng(seed)
    stores = [await Store.over(SteeredEngine(client, lambda: turns.randrange(12))) for _ in range(3)]
    await stores[0].galleries.create("people", CONTRACT, policy=Policy(verify_threshold=0.5, max_templates=2))
    await stores[0].enroll("people", "ada", [NewTemplate(random_vector(rng), CONTRACT)])

    async def enrol(store: Store) -> bool:
        for _ in range(turns.randrange(60)):
            await asyncio.sleep(0)
        try:
            await store.enroll("people", "ada", [NewTemplate(random_vector(rng), CONTRACT)])
        except (ConcurrentUpdate, TemplateLimitReached):
            return False
        return True

    entered = await asyncio.gather(*map(enrol, stores))
    assert sum(entered) <= 1
    assert (await stores[0].identities.get("people", "ada")).template_count == 1 + sum(entered)


@pytest.mark.parametrize("action", [GuardAction.ALLOW, GuardAction.WARN])
async def test_a_template_that_another_service_acknowledged_survives_a_lost_answer(
    rng: np.random.Generator, action: GuardAction
) -> None:
    client = AsyncQdrantClient(":memory:")
    slow, other = SteeredEngine(client), await Store.over(SteeredEngine(client))
    store = await Store.over(slow)
    policy = Policy(
        verify_threshold=0.5, identify_threshold=0.5, on_collision=action, on_duplicate=action, on_outlier=action
    )
    await store.galleries.create("people", CONTRACT, policy=policy)
    new = [NewTemplate(random_vector(rng), CONTRACT)]

    async def repeat_elsewhere() -> None:
        await other.enroll("people", "ada", new, request_id="r")
        slow.failing = {"get"}

    slow.after_write = repeat_elsewhere
    with pytest.raises(StoreUnavailable):
        await store.enroll("people", "ada", new, request_id="r")
    assert (await other.identities.get("people", "ada")).template_count == 1


async def test_nothing_of_a_person_stays_under_a_gallery_that_was_deleted_meanwhile(rng: np.random.Generator) -> None:
    client = AsyncQdrantClient(":memory:")
    engine, other = SteeredEngine(client), await Store.over(SteeredEngine(client))
    store = await Store.over(engine)
    guarded = Policy(verify_threshold=0.5, identify_threshold=0.5, on_collision=GuardAction.REJECT)
    await store.galleries.create("people", CONTRACT, policy=guarded)

    async def delete_and_fail() -> None:
        await other.galleries.delete("people", force=True)
        engine.failing = {"nearest"}

    engine.before_write = delete_and_fail
    with pytest.raises(SamefaceError):
        await store.enroll("people", "ada", [NewTemplate(random_vector(rng), CONTRACT)], display_name="Ada Lovelace")
    left, _ = await SteeredEngine(client).scroll(CONTRACT.key, Where({}), 10)
    assert left == []


async def test_verifying_an_unknown_identity_leaves_nothing_running(
    store: Store, rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    await store.galleries.create("people", CONTRACT, policy=POLICY)
    for name in ("ada", "bob"):
        await store.enroll("people", name, [NewTemplate(random_vector(rng), CONTRACT)])
    running, search = 0, store._engine.nearest

    async def watched(*arguments: Any, **options: Any) -> Any:
        nonlocal running
        running += 1
        try:
            await asyncio.sleep(0.01)
            return await search(*arguments, **options)
        finally:
            running -= 1

    monkeypatch.setattr(store._engine, "nearest", watched)
    with pytest.raises(IdentityNotFound):
        await store.verify("people", "nobody", Probe(random_vector(rng), CONTRACT))
    assert running == 0


async def test_a_gallery_that_was_read_and_deleted_is_not_found(store: Store, rng: np.random.Generator) -> None:
    gallery = await store.galleries.create("people", CONTRACT, policy=POLICY)
    vector = random_vector(rng)
    await store.enroll("people", "ada", [NewTemplate(vector, CONTRACT)])
    await store.galleries.delete("people", force=True)
    probe = Probe(vector, CONTRACT)
    for again in (False, True):
        if again:
            await store.galleries.create("people", CONTRACT, policy=POLICY)
            await store.enroll("people", "ada", [NewTemplate(vector, CONTRACT)])
        with pytest.raises(GalleryNotFound):
            await store.verify(gallery, "ada", probe)
        with pytest.raises(GalleryNotFound):
            await store.identify(gallery, probe)
        with pytest.raises(GalleryNotFound):
            await store.search(gallery, probe)


async def test_a_gallery_that_was_not_read_from_a_store_is_refused(store: Store, rng: np.random.Generator) -> None:
    made = Gallery("people", Contract("voices", 1, "a" * 64, 8, "none"), POLICY)
    with pytest.raises(InvalidArgument, match="was not read from a store"):
        await store.identify(made, Probe(random_vector(rng), CONTRACT))
