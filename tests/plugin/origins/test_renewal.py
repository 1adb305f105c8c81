"""Mapped templates are replaced by native ones as people come by, and nobody creeps in."""

from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from sameface_qdrant import NewTemplate, PolicyChanges, Probe, Provenance, Renewal, Store, Template
from sameface_qdrant.errors import RequestIdReused, TemplateNotFound
from sameface_qdrant.values.decision import Operation, RenewalState
from sameface_qdrant.values.origin import EmbeddingOrigin
from tests.plugin.conftest import CONTRACT, ENGINES, PassBy, opened_store
from tests.plugin.migration.worlds import NEW, POINTS, as_bytes, filled, mapped, new_model, points_of, the_map, unit
from tests.plugin.protection.conftest import opened

VERIFY, IDENTIFY = 0.6, 0.65
"""Mapped thresholds; those of native templates are 0.1 higher."""
BOUND = VERIFY + 0.1


@pytest.fixture(params=ENGINES)
async def store(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Store]:
    async with opened_store(request.param, tmp_path) as opened:
        yield opened


async def migrated(store: Store, **changes: object) -> tuple[str, dict[str, NDArray[np.float32]]]:
    """Promote ``g``; return the migration, and the mapped vectors by template. The first two are those of p0."""
    vectors = await filled(store)
    migration = await mapped(store)
    policy = PolicyChanges(
        verify_threshold=VERIFY + 0.1,
        identify_threshold=IDENTIFY + 0.1,
        mapped_verify_threshold=VERIFY,
        mapped_identify_threshold=IDENTIFY,
        renew_on_match="apply",
        **changes,  # type: ignore[typeddict-item]
    )
    await store.migrations.promote("g", migration, policy=policy)
    return migration, dict(zip(vectors, the_map().applied(np.stack(list(vectors.values()))), strict=True))


def at_cosine(vector: NDArray[np.float32], score: float, seed: int = 1) -> NDArray[np.float32]:
    """Return a unit vector with this cosine to another one."""
    other = np.random.default_rng(seed).normal(size=vector.size)
    other -= (other @ vector) * vector
    return np.asarray(score * vector + np.sqrt(1 - score**2) * other / np.linalg.norm(other), np.float32)


async def of_p0(store: Store) -> dict[str, Template]:
    return {one.id: one for one in (await store.templates.list("g", "p0")).items}


async def test_a_match_far_above_the_threshold_proposes_the_template_it_is_nearest_to(store: Store) -> None:
    _, made = await migrated(store)
    (template, vector), *_ = made.items()
    verified, identified = (
        await store.verify("g", "p0", Probe(vector, NEW)),
        await store.identify("g", Probe(vector, NEW)),
    )
    for decision, required in ((verified, BOUND), (identified, IDENTIFY + 0.1)):
        proposed = decision.renewal
        assert proposed is not None
        assert proposed == Renewal("p0", template, proposed.score, proposed.required, RenewalState.PROPOSED)
        assert (proposed.score, proposed.required) == pytest.approx((1.0, required), abs=1e-5)
    # A request that lowers the threshold does not lower the bound.
    far = Probe(at_cosine(vector, 0.5), NEW)
    assert (await store.verify("g", "p0", far, threshold=0.0, margin=0.0)).renewal is None
    await store.galleries.update("g", policy={"renew_on_match": "off"})
    assert (await store.verify("g", "p0", Probe(vector, NEW))).renewal is None


async def test_a_renewed_template_keeps_its_id_and_leaves_the_old_contract_alone(store: Store) -> None:
    migration, made = await migrated(store)
    (template, vector), *_ = made.items()
    before, old = (await of_p0(store))[template], as_bytes(await points_of(store, CONTRACT))
    probe = at_cosine(vector, 0.9)
    new = NewTemplate(probe, NEW, Provenance("photo", {"sharpness": 81.0}, "gate 2"), content=b"another photo")
    done = await store.renew("g", "p0", template, new)
    assert (done.state, done.reason) == (RenewalState.RENEWED, "")
    assert done.score == pytest.approx(0.9, abs=1e-5)
    after = (await of_p0(store))[template]
    assert (before.embedding_origin, after.embedding_origin) == (EmbeddingOrigin.MAPPED, EmbeddingOrigin.NATIVE)
    assert (after.map_sha256, after.provenance) == ("", new.provenance)
    assert after.renew_time is not None
    assert (after.create_time, after.expire_time) == (before.create_time, before.expire_time)
    assert len(await of_p0(store)) == 2
    decision = await store.verify("g", "p0", Probe(probe, NEW))
    assert (decision.embedding_origin, decision.threshold) == (EmbeddingOrigin.NATIVE, VERIFY + 0.1)
    again = await store.renew("g", "p0", template, new)
    assert (again.state, again.reason) == (RenewalState.REFUSED, "NOT_MAPPED")
    # A pass brings over what has changed: nothing of this.
    await store.migrations.worker.settle()
    assert as_bytes(await points_of(store, CONTRACT)) == old
    await store.migrations.roll_back("g", migration)
    assert as_bytes(await points_of(store, CONTRACT)) == old


async def test_a_renewal_is_refused_as_an_enrolment_would_be(store: Store, pass_by: PassBy) -> None:
    _, made = await migrated(store, on_collision="reject", on_duplicate="reject")
    (template, vector), (other, _), (strangers, _), *_ = made.items()

    async def refused(score: float, content: bytes = b"", operation: Operation = Operation.VERIFICATION) -> str:
        new = NewTemplate(at_cosine(vector, score), NEW, content=content)
        done = await store.renew("g", "p0", template, new, operation=operation)
        assert done.state is RenewalState.REFUSED
        return done.reason

    assert await refused(BOUND - 0.01) == "SCORE_TOO_LOW"
    assert await refused(BOUND + 0.01, operation=Operation.IDENTIFICATION) == "SCORE_TOO_LOW"
    with pytest.raises(TemplateNotFound):
        await store.renew("g", "p0", strangers, NewTemplate(vector, NEW))
    await store.enroll("g", "p0", [NewTemplate(at_cosine(vector, 0.99), NEW, content=b"the same photo")])
    assert await refused(0.9, content=b"the same photo") == "DUPLICATE_SAMPLE"
    await store.galleries.update("g", policy={"on_collision": "allow"})
    await store.enroll("g", "twin", [NewTemplate(at_cosine(vector, 0.9, seed=2), NEW)])
    await store.galleries.update("g", policy={"on_collision": "reject"})
    assert await refused(0.95) == "IDENTITY_COLLISION"
    assert (await of_p0(store))[template].embedding_origin is EmbeddingOrigin.MAPPED
    assert (await of_p0(store))[other].embedding_origin is EmbeddingOrigin.MAPPED
    expiry = datetime.now(UTC) + timedelta(minutes=1)
    await store.identities.update("g", "p0", {"expire_time": expiry})
    pass_by(expiry)
    assert await refused(0.95) == "IDENTITY_EXPIRED"


async def test_photos_enrolled_again_replace_what_was_mapped_from_them(store: Store) -> None:
    await store.galleries.create("g", CONTRACT)
    vectors = [unit(np.random.default_rng(seed).normal(size=8)) for seed in (1, 2)]
    old = [NewTemplate(vector, CONTRACT, content=bytes([number])) for number, vector in enumerate(vectors)]
    first = await store.enroll("g", "ada", old, request_id="r1")
    migration = await mapped(store)
    await store.migrations.promote("g", migration, policy={"mapped_verify_threshold": 0.5, "on_collision": "allow"})
    new = [replace(one, vector=new_model(np.asarray(one.vector)), contract=NEW) for one in old]
    plain = await store.enroll("g", "ada", new, request_id="r1")
    assert {one.embedding_origin for one in plain} == {EmbeddingOrigin.MAPPED}
    for _ in range(2):
        renewed = await store.enroll("g", "ada", new, request_id="r1", renew=True)
        assert [one.id for one in renewed] == [one.id for one in first]
        assert {one.embedding_origin for one in renewed} == {EmbeddingOrigin.NATIVE}
    for one, expected in zip(renewed, new, strict=True):
        found = await store.templates.get("g", "ada", one.id, with_vector=True)
        assert np.allclose(np.asarray(found.vector), np.asarray(expected.vector), atol=1e-6)
    (fresh,) = await store.enroll("g", "bob", [replace(new[0], content=b"new")], renew=True)
    assert (fresh.identity, fresh.embedding_origin) == ("bob", EmbeddingOrigin.NATIVE)
    with pytest.raises(RequestIdReused):
        await store.enroll("g", "ada", [replace(new[0], content=b"other")], request_id="r1", renew=True)


async def test_a_protected_gallery_renews_under_its_key(tmp_path: Path) -> None:
    store = await opened("memory", tmp_path)
    migration, made = await migrated(store)
    (template, vector), *_ = made.items()
    old = as_bytes(await points_of(store, CONTRACT))
    new = NewTemplate(at_cosine(vector, 0.9), NEW, Provenance("photo", {"sharpness": 81.0}, "gate 2"))
    assert (await store.renew("g", "p0", template, new)).state is RenewalState.RENEWED
    after = (await of_p0(store))[template]
    assert (after.embedding_origin, after.provenance) == (EmbeddingOrigin.NATIVE, new.provenance)
    assert as_bytes(await points_of(store, CONTRACT)) == old
    await store.migrations.finish("g", migration)
    assert (await store.verify("g", "p0", Probe(at_cosine(vector, 0.9), NEW))).matched
    await store.aclose()


async def test_a_renewed_template_is_mapped_again_by_the_next_migration_and_not_renewed_again() -> None:
    store = await Store.open(":memory:")
    migration, made = await migrated(store)
    await store.migrations.finish("g", migration)
    (template, vector), (untouched, other), *_ = made.items()
    third = replace(NEW, version=3, sha256="c" * 64)
    following = the_map(old=NEW, new=third)
    found = await store.migrations.create("g", following, operating_points=POINTS, rate=1e6)
    await store.migrations.worker.settle()
    photo = at_cosine(vector, 0.9)
    assert (await store.renew("g", "p0", template, NewTemplate(photo, NEW))).state is RenewalState.RENEWED
    before = as_bytes(await points_of(store, NEW))
    thresholds = PolicyChanges(mapped_verify_threshold=VERIFY, verify_threshold=VERIFY)
    await store.migrations.promote("g", found.id, policy=thresholds)
    of_photo, of_other = following.applied(np.stack([photo, other]))
    for one, expected in ((template, of_photo), (untouched, of_other)):
        shown = await store.templates.get("g", "p0", one, with_vector=True)
        assert shown.embedding_origin is EmbeddingOrigin.MAPPED
        assert np.allclose(np.asarray(shown.vector), expected, atol=1e-5)
    again = await store.renew("g", "p0", template, NewTemplate(at_cosine(of_photo, 0.95), third))
    assert (again.state, again.reason) == (RenewalState.REFUSED, "ALREADY_RENEWED")
    once = await store.renew("g", "p0", untouched, NewTemplate(at_cosine(of_other, 0.95), third))
    assert once.state is RenewalState.RENEWED
    await store.migrations.roll_back("g", found.id)
    assert as_bytes(await points_of(store, NEW)) == before
    await store.aclose()


STEPS = 80


def path(start: NDArray[np.float32], end: NDArray[np.float32]) -> list[NDArray[np.float32]]:
    """Photos that are mixed of two people, with more of the second one from step to step."""
    return [unit((1 - share) * start + share * end) for share in np.linspace(0, 1, STEPS)]


async def walked(
    store: Store, identity: str, first: NDArray[np.float32], stranger: NDArray[np.float32], *, by_rule: bool
) -> None:
    """Come by with photos of a path from a person's template ``first`` to a stranger; renew whatever may be renewed.

    The first photo is as far away as the rule lets it be.

    Without the rule, each match replaces the template that it is nearest to. That is made of public calls.
    """
    for photo in path(first, stranger):
        if photo @ first > BOUND + 0.05:
            continue
        decision = await store.verify("g", identity, Probe(photo, NEW), margin=0.0)
        if by_rule:
            for template in (await store.templates.list("g", identity)).items:
                # The attacker also asks for what no decision has proposed.
                await store.renew("g", identity, template.id, NewTemplate(photo, NEW))
        elif decision.matched:
            await store.enroll("g", identity, [NewTemplate(photo, NEW)])
            await store.templates.delete("g", identity, decision.candidates[0].template)


async def nearest_enrolment(store: Store, identity: str, enrolled: list[NDArray[np.float32]]) -> float:
    """Return how near the template is that is furthest from every enrolment."""
    found = [
        (await store.templates.get("g", identity, one.id, with_vector=True)).vector
        for one in (await store.templates.list("g", identity)).items
    ]
    return float((np.stack([one for one in found if one is not None]) @ np.stack(enrolled).T).max(axis=1).min())


@pytest.mark.parametrize("by_rule", [True, False])
async def test_who_comes_nearer_step_by_step_stays_within_one_step_of_the_enrolment(by_rule: bool) -> None:
    store = await Store.open(":memory:")
    _, made = await migrated(store, on_collision="allow", on_outlier="allow", on_duplicate="allow")
    enrolled = list(made.values())[:2]
    stranger = at_cosine(unit(enrolled[0] + enrolled[1]), -0.2, seed=4)
    assert not (await store.verify("g", "p0", Probe(stranger, NEW), margin=0.0)).matched
    await walked(store, "p0", enrolled[0], stranger, by_rule=by_rule)
    taken_in = (await store.verify("g", "p0", Probe(stranger, NEW), margin=0.0)).matched
    furthest = await nearest_enrolment(store, "p0", enrolled)
    assert taken_in is not by_rule
    assert (furthest >= BOUND - 1e-5) is by_rule
    if by_rule:
        # It went about as far as the rule lets it, so the bound was put to the test. The other template may be nearer.
        assert furthest < BOUND + 0.1
    await store.aclose()
