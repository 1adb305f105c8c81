"""What decisions remember of a gallery, and how old that may be: two services on one server."""

import asyncio
import random
from collections.abc import AsyncIterator
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pytest
from qdrant_client import AsyncQdrantClient

from sameface_qdrant import Contract, NewTemplate, OperatingPoint, Outcome, Policy, Probe, Scope, Store
from sameface_qdrant.engines.base import Point
from sameface_qdrant.errors import (
    ContractMismatch,
    GalleryNotFound,
    IdentityNotFound,
    StoreUnavailable,
    TemplateLimitReached,
    ThresholdNotCalibrated,
)
from sameface_qdrant.policy import comparison_fmr, search_fpir
from sameface_qdrant.store import gallery_memory
from sameface_qdrant.store.payloads import META
from tests.plugin.conftest import CONTRACT, random_vector
from tests.plugin.steered import SteeredEngine

BOUND_S = 5.0
POLICY = Policy(verify_threshold=0.5, identify_threshold=0.5)


class Clock:
    """The clock of the memory alone. That of the event loop runs on."""

    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now


class Engine(SteeredEngine):
    """Counts counts, and lets a test act while one or a read runs."""

    def __init__(self, client: AsyncQdrantClient) -> None:
        super().__init__(client)
        self.counts = 0
        self.during_get: Any = None
        self.before_change: Any = None
        self.during_count: Any = None

    async def get(self, *arguments: Any, **options: Any) -> Any:
        found = await super().get(*arguments, **options)
        if self.during_get is not None:
            now, self.during_get = self.during_get, None
            await now()
        return found

    async def upsert(self, collection: str, *arguments: Any, **options: Any) -> None:
        if collection == META and self.before_change is not None:
            now, self.before_change = self.before_change, None
            await now()
        await super().upsert(collection, *arguments, **options)

    async def count(self, *arguments: Any, **options: Any) -> int:
        self._fail("count")
        self.counts += 1
        counted = await super().count(*arguments, **options)
        if self.during_count is not None:
            await self.during_count()
        return counted


@dataclass
class Services:
    clock: Clock
    client: AsyncQdrantClient
    engine: Engine
    """That of ``here``."""
    here: Store
    there: Store
    rng: np.random.Generator
    vectors: dict[str, np.ndarray] = field(default_factory=dict)

    async def enrol(self, store: Store, identity: str, gallery: str = "people") -> None:
        self.vectors[identity] = random_vector(self.rng)
        await store.enroll(gallery, identity, [NewTemplate(self.vectors[identity], CONTRACT)], display_name=identity)

    def probe(self, identity: str) -> Probe:
        return Probe(self.vectors[identity], CONTRACT)

    async def size(self) -> int:
        return (await self.here.identify("people", self.probe("ada"))).gallery_size


@pytest.fixture
async def services(monkeypatch: pytest.MonkeyPatch, rng: np.random.Generator) -> AsyncIterator[Services]:
    clock, client = Clock(), AsyncQdrantClient(":memory:")
    monkeypatch.setattr(gallery_memory, "time", clock)
    engine = Engine(client)
    here = await Store.over(engine, gallery_max_age_s=BOUND_S)
    there = await Store.over(SteeredEngine(client), gallery_max_age_s=BOUND_S)
    await here.galleries.create("people", CONTRACT, policy=POLICY)
    made = Services(clock, client, engine, here, there, rng)
    await made.enrol(here, "ada")
    yield made
    await here.galleries.sizes.aclose()


async def revision(services: Services) -> int:
    return (await services.here.identify("people", services.probe("ada"))).policy_revision


async def test_a_policy_changed_here_counts_at_once(services: Services) -> None:
    assert await revision(services) == 1
    await services.here.galleries.update("people", policy={"identify_threshold": 0.9})
    assert await revision(services) == 2


async def test_a_policy_changed_elsewhere_counts_within_the_bound(services: Services) -> None:
    assert await revision(services) == 1
    await services.there.galleries.update("people", policy={"identify_threshold": 0.9})
    services.clock.now += BOUND_S - 0.1
    assert await revision(services) == 1
    assert (await services.here.galleries.recent("people")).policy.revision == 1
    assert (await services.here.galleries.get("people")).policy.revision == 2
    services.clock.now += 0.2
    assert await revision(services) == 2


async def test_a_bound_of_zero_reads_for_each_decision(services: Services) -> None:
    careful = await Store.over(services.engine, gallery_max_age_s=0, size_max_age_s=0)
    assert (await careful.identify("people", services.probe("ada"))).policy_revision == 1
    await services.there.galleries.update("people", policy={"identify_threshold": 0.9})
    assert (await careful.identify("people", services.probe("ada"))).policy_revision == 2


@pytest.mark.parametrize("seed", range(20))
async def test_no_decision_is_by_an_older_policy_than_the_bound_allows(services: Services, seed: int) -> None:
    draw = random.Random(seed)
    changes = [(services.clock.now, 1, services.here)]
    for _ in range(60):
        services.clock.now += draw.choice((0.0, 0.5, 2.0, 6.0))
        if draw.random() < 0.4:
            store = draw.choice((services.here, services.there))
            changed = await store.galleries.update("people", policy={"identify_threshold": draw.random()})
            changes.append((services.clock.now, changed.policy.revision, store))
        used = await revision(services)
        assert used <= changes[-1][1]
        assert used >= max(made for at, made, _ in changes if at <= services.clock.now - BOUND_S or made == 1)
        assert used >= max(made for _, made, store in changes if store is services.here)


async def test_a_read_that_a_change_overtakes_is_not_remembered(services: Services) -> None:
    services.clock.now += BOUND_S + 1  # the next decision reads
    update = services.here.galleries.update("people", policy={"identify_threshold": 0.9})

    async def change() -> None:
        await update

    services.engine.during_get = change
    await revision(services)
    assert await revision(services) == 2


async def test_a_change_whose_answer_is_lost_leaves_no_old_policy(services: Services) -> None:
    async def decide_and_lose_the_answer() -> None:
        services.clock.now += BOUND_S + 1
        assert await revision(services) == 1  # read and remembered before the write is applied
        services.engine.failing = {"get"}

    services.engine.before_change = decide_and_lose_the_answer  # the history, before the record itself
    with pytest.raises(StoreUnavailable):
        await services.here.galleries.update("people", policy={"identify_threshold": 0.9})
    services.engine.failing = set()
    assert await revision(services) == 2


async def test_a_gallery_that_is_gone_is_dropped_when_that_is_noticed(services: Services) -> None:
    read = await services.here.galleries.recent("people")
    await services.there.galleries.delete("people", force=True)
    assert await services.here.galleries.recent("people") == read
    with pytest.raises(GalleryNotFound):
        await services.here.identify(read, services.probe("ada"))
    with pytest.raises(GalleryNotFound):
        await services.here.galleries.recent("people")
    await services.there.galleries.create("people", CONTRACT, policy=POLICY)
    await services.here.galleries.recent("people")
    await services.there.galleries.delete("people", force=True)
    with pytest.raises(GalleryNotFound):
        await services.here.galleries.get("people")
    with pytest.raises(GalleryNotFound):
        await services.here.galleries.recent("people")


async def ask(services: Services, operation: str) -> Any:
    probe = services.probe("ada")
    if operation == "verify":
        return await services.here.verify("people", "ada", probe)
    return await (services.here.identify if operation == "identify" else services.here.search)("people", probe)


@pytest.mark.parametrize("operation", ["verify", "identify", "search"])
@pytest.mark.parametrize("by", ["here", "there"])
async def test_a_deleted_gallery_is_not_found_at_once(services: Services, by: str, operation: str) -> None:
    await ask(services, operation)
    await getattr(services, by).galleries.delete("people", force=True)
    if by == "here":
        with pytest.raises(GalleryNotFound):
            await services.here.galleries.recent("people")
    with pytest.raises(GalleryNotFound):
        await ask(services, operation)


@pytest.mark.parametrize("operation", ["verify", "identify", "search"])
@pytest.mark.parametrize("by", ["here", "there"])
async def test_a_gallery_made_again_under_its_id_is_decided_upon_at_once(
    services: Services, by: str, operation: str
) -> None:
    await ask(services, operation)
    maker: Store = getattr(services, by)
    await maker.galleries.delete("people", force=True)
    stricter = replace(POLICY, verify_threshold=0.6, identify_threshold=0.6)
    await maker.galleries.create("people", CONTRACT, policy=stricter)
    earlier = services.probe("ada")
    await services.enrol(maker, "ada")
    answer = await ask(services, operation)
    if operation == "search":
        assert [one.template.identity for one in answer] == ["ada"]
        assert answer[0].score > 0.99
    else:
        assert (answer.outcome, answer.threshold, answer.gallery_size) == (Outcome.MATCH, 0.6, 1)
    decision = await services.here.identify("people", earlier)
    assert decision.outcome is Outcome.NO_MATCH


async def test_a_gallery_made_again_under_another_contract_takes_its_probes_at_once(services: Services) -> None:
    await revision(services)
    other = Contract("voices", version=2, sha256="b" * 64, dimension=8, preprocessing="none")
    await services.there.galleries.delete("people", force=True)
    await services.there.galleries.create("people", other, policy=POLICY)
    vector = random_vector(services.rng)
    await services.there.enroll("people", "bob", [NewTemplate(vector, other)])
    assert (await services.here.identify("people", Probe(vector, other))).outcome is Outcome.MATCH
    await services.here.identify("people", Probe(vector, other))
    with pytest.raises(ContractMismatch):
        await services.here.identify("people", services.probe("ada"))


async def test_a_threshold_set_elsewhere_ends_not_calibrated_at_once(services: Services) -> None:
    await services.here.galleries.update("people", policy={"identify_threshold": None})
    with pytest.raises(ThresholdNotCalibrated):
        await revision(services)
    await services.there.galleries.update("people", policy={"identify_threshold": 0.5})
    assert await revision(services) == 3


async def test_an_identity_enrolled_elsewhere_is_found_at_once(services: Services) -> None:
    with pytest.raises(IdentityNotFound):
        await services.here.verify("people", "bob", services.probe("ada"))
    await services.enrol(services.there, "bob")
    decision = await services.here.verify("people", "bob", services.probe("bob"))
    assert (decision.outcome, decision.scope) == (Outcome.MATCH, Scope.GALLERY)


async def test_a_write_never_uses_what_is_remembered(services: Services) -> None:
    await revision(services)
    await services.there.galleries.update("people", policy={"max_templates": 1})
    with pytest.raises(TemplateLimitReached):
        await services.enrol(services.here, "ada")
    await services.there.galleries.delete("people", force=True)
    await services.there.galleries.create("people", CONTRACT, policy=POLICY)
    await services.enrol(services.here, "bob")
    assert [one.id for one in (await services.there.identities.list("people")).items] == ["bob"]


async def test_the_size_of_a_small_gallery_is_exact(services: Services) -> None:
    for number in range(1, 5):
        decision = await services.here.verify("people", "ada", services.probe("ada"))
        assert (decision.gallery_size, decision.scope) == (number, Scope.GALLERY if number >= 2 else Scope.CLAIM)
        await services.enrol(services.there, f"p{number}")
    for number in range(1, 5):
        await services.there.identities.delete("people", f"p{number}", force=True)
        assert await services.size() == 5 - number


@pytest.fixture
def large(monkeypatch: pytest.MonkeyPatch) -> None:
    """Sizes from 3 on are large, and 4 identities are believed for 4 seconds."""
    monkeypatch.setattr(gallery_memory, "LARGE", 3)
    monkeypatch.setattr(gallery_memory, "IDENTITIES_PER_S", 1)


async def fill(services: Services, until: int) -> None:
    for number in range(1, until):
        await services.enrol(services.here, f"p{number}")


@pytest.mark.usefixtures("large")
async def test_a_large_size_is_counted_again_in_time(services: Services) -> None:
    await fill(services, 4)
    assert await services.size() == 4
    counts = services.engine.counts
    await services.enrol(services.there, "eve")
    services.clock.now += 1.9
    assert await services.size() == 4
    assert services.engine.counts == counts
    services.clock.now += 2.2  # 4.1 in all
    assert await services.size() == 5
    assert services.engine.counts == counts + 1


@pytest.mark.usefixtures("large")
async def test_a_size_in_use_is_renewed_beside_decisions(services: Services) -> None:
    await fill(services, 4)
    await services.size()
    await services.enrol(services.there, "eve")
    services.clock.now += 2.1  # over half of its time
    held = asyncio.Event()
    services.engine.during_count = held.wait
    assert await services.size() == 4  # does not wait for the count
    held.set()
    services.engine.during_count = None
    await asyncio.gather(*services.here.galleries.sizes._counting.values())
    assert await services.size() == 5


@pytest.mark.usefixtures("large")
async def test_identities_enrolled_here_are_in_a_remembered_size(services: Services) -> None:
    await fill(services, 4)
    await services.size()
    counts = services.engine.counts
    await services.enrol(services.here, "eve")
    await services.here.identities.create("people", "without-templates")
    before = services.engine.counts
    assert await services.size() == 6
    assert services.engine.counts == before >= counts


@pytest.mark.usefixtures("large")
async def test_only_new_identities_are_added_to_a_remembered_size(services: Services) -> None:
    await fill(services, 4)
    await services.size()
    tenant = await services.here.galleries.tenant("people")
    others = [
        {"gallery": tenant.uid, "kind": "template"},
        {"gallery": "another", "kind": "identity"},
        {"kind": "secret"},
    ]
    services.here.galleries.sizes.add([Point(str(number), payload) for number, payload in enumerate(others)])
    assert await services.size() == 4
    await services.here.galleries.update("people", display_name="renamed")
    assert await services.size() == 4


@pytest.mark.usefixtures("large")
async def test_a_bound_of_zero_counts_for_each_decision(services: Services) -> None:
    await fill(services, 4)
    careful = await Store.over(services.engine, gallery_max_age_s=0, size_max_age_s=0)
    await careful.identify("people", services.probe("ada"))
    counts = services.engine.counts
    await asyncio.gather(*(careful.identify("people", services.probe("ada")) for _ in range(3)))
    assert services.engine.counts == counts + 3


@pytest.mark.usefixtures("large")
async def test_a_gallery_emptied_elsewhere_has_its_true_size(services: Services) -> None:
    await fill(services, 4)
    await services.size()
    for name in ("ada", "p1", "p2", "p3"):
        await services.there.identities.delete("people", name, force=True)
    decision = await services.here.identify("people", services.probe("ada"))
    assert (decision.candidates, decision.gallery_size) == ((), 0)


@pytest.mark.usefixtures("large")
async def test_a_size_that_became_small_is_exact(services: Services) -> None:
    await fill(services, 4)
    await services.size()
    for name in ("p1", "p2", "p3"):
        await services.there.identities.delete("people", name, force=True)
    services.clock.now += 4.1

    async def enrol() -> None:
        services.engine.during_count = None
        await services.enrol(services.there, "bob")

    services.engine.during_count = enrol  # this count does not see it
    decision = await services.here.verify("people", "ada", services.probe("ada"))
    assert decision.gallery_size == 2


@pytest.mark.usefixtures("large")
async def test_a_failing_count_fails_no_decision_before_its_time(services: Services) -> None:
    await fill(services, 4)
    await services.size()
    services.engine.failing = {"count"}
    services.clock.now += 3.0
    assert await services.size() == 4
    await asyncio.sleep(0)
    services.clock.now += 1.1
    with pytest.raises(StoreUnavailable):
        await services.size()
    services.engine.failing = set()
    assert await services.size() == 4


@pytest.mark.usefixtures("large")
async def test_closing_ends_a_count_that_runs(services: Services) -> None:
    await fill(services, 4)
    await services.size()
    services.clock.now += 3.0
    services.engine.during_count = asyncio.Event().wait
    await services.size()
    await services.here.aclose()
    assert not services.here.galleries.sizes._counting


def test_an_old_size_changes_the_rate_of_false_positives_as_documented() -> None:
    """The module and `docs/scaling.md` state it: 5 % at 100 new identities a second."""
    target, per_s = 0.01, 100
    for used in (1000, 20_000, 120_000):
        age = min(gallery_memory.SIZE_MAX_AGE_S, used / gallery_memory.IDENTITIES_PER_S)
        true = used + per_s * age
        rate = search_fpir(comparison_fmr(target, used), round(true))
        assert rate <= target * (1 + per_s / gallery_memory.IDENTITIES_PER_S) * 1.001
    assert per_s / gallery_memory.IDENTITIES_PER_S == 0.05


@pytest.mark.usefixtures("large")
async def test_a_threshold_of_the_model_card_is_for_the_size_that_is_reported(services: Services) -> None:
    points = [OperatingPoint(comparison_fmr(0.01, size), 0.5 + size / 100) for size in range(1, 10)]
    await services.here.galleries.create("cards", CONTRACT, policy=Policy(target_fpir=0.01), operating_points=points)
    for number in range(4):
        await services.enrol(services.here, f"c{number}", "cards")
        decision = await services.here.identify("cards", services.probe(f"c{number}"))
        assert decision.threshold == pytest.approx(0.5 + decision.gallery_size / 100)
        assert decision.gallery_size == number + 1
