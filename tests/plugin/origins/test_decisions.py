"""Decisions in a gallery of native and mapped templates, against brute force."""

import dataclasses

import numpy as np
import pytest

from sameface_qdrant import MappedTemplates, NewTemplate, Policy, PolicyChanges, Store
from sameface_qdrant.errors import ThresholdNotCalibrated
from sameface_qdrant.policy import comparison_fmr, operating_threshold
from sameface_qdrant.values.decision import Scope, ThresholdSource
from sameface_qdrant.values.finding import FindingKind
from sameface_qdrant.values.origin import EmbeddingOrigin
from sameface_qdrant.values.vectors import Vector
from tests.plugin.conftest import CONTRACT, random_vector
from tests.plugin.migration.worlds import unit
from tests.plugin.origins.mapped_gallery import MAP, MAPPED_POINTS, POINTS, Kept, filled, fused, outcome_of

AXES = np.eye(8, dtype=np.float32)


def crowd(seed: int, identities: int = 8) -> list[Kept]:
    rng = np.random.default_rng(seed)
    kept = []
    for number in range(identities):
        centre = random_vector(rng)
        for _ in range(int(rng.integers(1, 4))):
            vector = centre + 0.25 * random_vector(rng)
            kept.append(Kept(f"p{number}", unit(vector), bool(rng.integers(2))))
    return kept


def probes(kept: list[Kept], seed: int, count: int) -> list[Vector]:
    """Near a template, near the middle of two of different identities, or anywhere."""
    rng = np.random.default_rng(seed)
    found = []
    for number in range(count):
        one, other = (kept[place].vector for place in rng.choice(len(kept), 2, replace=False))
        vector = (one, one + other, random_vector(rng))[number % 3] + 0.1 * random_vector(rng)
        found.append(unit(vector))
    return found


async def test_verification_agrees_with_brute_force(store: Store) -> None:
    kept = crowd(1)
    gallery = await filled(store, kept)
    outcomes = set()
    for number, probe in enumerate(probes(kept, 2, 30)):
        requested = (None, 0.7)[number % 2]
        native = 0.6 if requested is None else requested
        excesses = fused(kept, probe, native, native - 0.2)
        by_excess = sorted(excesses, key=lambda name: -excesses[name][0])
        claim = by_excess[number % 2]
        other = next(name for name in by_excess if name != claim)
        decision = await store.verify(gallery, claim, probe, threshold=requested)
        lead = excesses[claim][0] - excesses[other][0]
        origin = EmbeddingOrigin.MAPPED if excesses[claim][1] else EmbeddingOrigin.NATIVE
        assert decision.outcome is outcome_of(excesses[claim][0], lead, 0.05)
        assert decision.embedding_origin is origin
        assert decision.threshold == pytest.approx(native - 0.2 * excesses[claim][1])
        assert decision.score is not None
        assert decision.score - decision.threshold == pytest.approx(excesses[claim][0], abs=1e-5)
        assert decision.lead == pytest.approx(lead, abs=1e-5)
        assert [one.identity for one in decision.candidates] == sorted((claim, other), key=by_excess.index)
        alone = await store.verify(gallery, claim, probe, threshold=requested, scope=Scope.CLAIM)
        assert alone.outcome is outcome_of(excesses[claim][0], None, 0.05)
        outcomes.add((decision.outcome, origin))
    assert len(outcomes) >= 5


async def test_identification_agrees_with_brute_force(store: Store) -> None:
    kept = crowd(3)
    policy = Policy(target_fpir=0.2, runner_up_margin=0.1)
    gallery = await filled(store, kept, policy)
    fmr = comparison_fmr(0.2, 8)
    native, mapped = operating_threshold(POINTS, fmr), operating_threshold(MAPPED_POINTS, fmr)
    assert native is not None
    assert mapped is not None
    for number, probe in enumerate(probes(kept, 4, 30)):
        limit = (1, 3, 8)[number // 3 % 3]
        excesses = fused(kept, probe, native.value, mapped.value)
        by_excess = sorted(excesses, key=lambda name: -excesses[name][0])
        decision = await store.identify(gallery, probe, limit=limit)
        lead = excesses[by_excess[0]][0] - excesses[by_excess[1]][0]
        assert [one.identity for one in decision.candidates] == by_excess[:limit]
        assert decision.outcome is outcome_of(excesses[by_excess[0]][0], lead, 0.1)
        assert decision.lead == pytest.approx(lead, abs=1e-5)
        for one in decision.candidates:
            threshold = mapped if one.embedding_origin is EmbeddingOrigin.MAPPED else native
            assert one.score - threshold.value == pytest.approx(excesses[one.identity][0], abs=1e-5)


async def test_the_source_of_a_threshold_is_that_of_the_origin(store: Store) -> None:
    gallery = await filled(store, [Kept("ada", AXES[0], True), Kept("bob", AXES[1], False)])
    mapped, native = await store.verify(gallery, "ada", AXES[0]), await store.verify(gallery, "bob", AXES[1])
    assert (mapped.threshold, mapped.threshold_source) == (0.4, ThresholdSource.TEMPLATE_MAP)
    assert (native.threshold, native.threshold_source) == (0.6, ThresholdSource.MODEL_CARD)
    changes = PolicyChanges(mapped_verify_threshold=0.3, mapped_identify_threshold=0.2, verify_threshold=0.5)
    changed = await store.galleries.update("people", policy=changes)
    gallery = dataclasses.replace(changed, mapped=gallery.mapped)
    mapped = await store.verify(gallery, "ada", AXES[0])
    assert (mapped.threshold, mapped.threshold_source) == (0.3, ThresholdSource.GALLERY)
    assert (await store.identify(gallery, AXES[0])).threshold == 0.2
    await store.identities.update("people", "ada", {"verify_threshold": 0.9})
    own = await store.verify(gallery, "ada", AXES[0])
    assert own.threshold == pytest.approx(0.7)
    assert own.threshold_source is ThresholdSource.IDENTITY


async def test_mapped_templates_without_a_threshold_of_their_own_decide_nothing(store: Store) -> None:
    gallery = await filled(store, [Kept("ada", AXES[0], True), Kept("bob", AXES[1], False)])
    unknown = dataclasses.replace(gallery, mapped=MappedTemplates(MAP))
    for call in (store.verify(unknown, "bob", AXES[1]), store.identify(unknown, AXES[1])):
        with pytest.raises(ThresholdNotCalibrated, match="mapped_verify_threshold"):
            await call
    # The caller has chosen one for whatever is found.
    assert (await store.verify(unknown, "ada", AXES[0], threshold=0.9)).threshold == 0.9


@pytest.mark.parametrize(("score", "found"), [(0.5, True), (0.3, False)])
async def test_guards_compare_with_mapped_templates_by_their_threshold(
    store: Store, score: float, found: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    policy = Policy(identify_threshold=0.6, mapped_identify_threshold=0.4)
    gallery = await filled(store, [Kept("ada", AXES[0], True)], policy)
    tenant = dataclasses.replace(await store.galleries.tenant("people"), gallery=gallery)

    async def migrated(_: object) -> object:
        return tenant

    monkeypatch.setattr(store.galleries, "tenant", migrated)
    new = NewTemplate(unit(score * AXES[0] + np.sqrt(1 - score**2) * AXES[5]), CONTRACT)
    (entered,) = await store.enroll("people", "bob", [new])
    collisions = [one for one in entered.findings if one.kind is FindingKind.COLLISION]
    assert [(one.identity, one.threshold) for one in collisions] == [("ada", 0.4)] * found
    # An identity's own mapped template makes no outlier of a photo that reaches the mapped threshold.
    (again,) = await store.enroll("people", "ada", [new])
    outliers = [one.threshold for one in again.findings if one.kind is FindingKind.OUTLIER]
    assert outliers == [0.4] * (not found)
