"""The contract of the store, on every engine that runs without a server."""

import asyncio
import dataclasses
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest

from sameface_qdrant import (
    Contract,
    NewTemplate,
    OperatingPoint,
    Outcome,
    Policy,
    Probe,
    Scope,
    Store,
    ThresholdSource,
)
from sameface_qdrant.errors import (
    ConcurrentUpdate,
    ContractMismatch,
    GalleryAlreadyExists,
    GalleryNotEmpty,
    GalleryNotFound,
    IdentityAlreadyExists,
    IdentityNotEmpty,
    IdentityNotFound,
    InvalidArgument,
    InvalidEmbedding,
    RequestIdReused,
    TemplateLimitReached,
    TemplateNotFound,
    ThresholdNotCalibrated,
)
from sameface_qdrant.values.vectors import Vector
from tests.identity_ids import NO_IDS
from tests.plugin.conftest import CONTRACT, SOON, PassBy, near, random_vector

POLICY = Policy(verify_threshold=0.5, identify_threshold=0.6, runner_up_margin=0.05)
AXES = np.eye(8, dtype=np.float32)


def template(vector: Vector, contract: Contract = CONTRACT, expire_time: datetime | None = None) -> NewTemplate:
    return NewTemplate(vector, contract, expire_time=expire_time)


def at_cosine(score: float, axis: int = 0, other: int = 7) -> Vector:
    """A vector whose cosine to one axis is ``score``, the rest along another axis."""
    return np.asarray(score * AXES[axis] + np.sqrt(1 - score**2) * AXES[other], dtype=np.float32)


@pytest.fixture
async def gallery(store: Store) -> str:
    await store.galleries.create("people", CONTRACT, policy=POLICY)
    return "people"


async def test_an_enrolled_identity_is_verified_and_identified(store: Store, gallery: str) -> None:
    await store.enroll(gallery, "ada", [template(AXES[0])], display_name="Ada")
    await store.enroll(gallery, "bob", [template(AXES[1])])
    claim = await store.verify(gallery, "ada", Probe(at_cosine(0.8), CONTRACT))
    assert (claim.outcome, claim.scope) == (Outcome.MATCH, Scope.GALLERY)
    assert claim.score == pytest.approx(0.8, abs=1e-6)
    assert claim.lead == pytest.approx(0.8, abs=1e-6)
    assert claim.squared_distance == pytest.approx(0.4, abs=1e-6)
    assert claim.matched
    search = await store.identify(gallery, Probe(at_cosine(0.8), CONTRACT))
    assert search.outcome is Outcome.MATCH
    assert [(found.identity, found.display_name) for found in search.candidates] == [("ada", "Ada"), ("bob", "")]
    assert search.gallery_size == 2


async def test_the_number_of_listed_candidates_does_not_change_the_lead(store: Store, gallery: str) -> None:
    await store.enroll(gallery, "ada", [template(AXES[0])])
    await store.enroll(gallery, "bob", [template(at_cosine(0.99))])
    decision = await store.identify(gallery, Probe(AXES[0], CONTRACT), limit=1)
    assert len(decision.candidates) == 1
    assert decision.outcome is Outcome.AMBIGUOUS
    assert not decision.matched
    assert decision.lead == pytest.approx(0.01, abs=1e-5)


async def test_the_best_template_of_an_identity_counts(store: Store, gallery: str) -> None:
    stored = await store.enroll(gallery, "ada", [template(AXES[0]), template(AXES[1]), template(AXES[2])])
    await store.enroll(gallery, "bob", [template(AXES[3])])
    decision = await store.verify(gallery, "ada", Probe(AXES[2], CONTRACT))
    assert decision.score == pytest.approx(1.0, abs=1e-6)
    assert decision.candidates[0].template == stored[2].id


async def test_identities_with_many_templates_do_not_hide_the_others(
    store: Store, gallery: str, rng: np.random.Generator
) -> None:
    await store.enroll(gallery, "ada", [template(near(AXES[0], rng, 0.01)) for _ in range(16)])
    for number in range(5):
        await store.enroll(gallery, f"other-{number}", [template(at_cosine(0.5 - 0.1 * number))])
    decision = await store.identify(gallery, Probe(AXES[0], CONTRACT), limit=4)
    assert [found.identity for found in decision.candidates] == ["ada", "other-0", "other-1", "other-2"]


async def test_an_empty_gallery_is_an_answer(store: Store, gallery: str) -> None:
    decision = await store.identify(gallery, Probe(AXES[0], CONTRACT))
    assert (decision.outcome, decision.score, decision.gallery_size) == (Outcome.NO_MATCH, None, 0)
    assert not decision.matched


async def test_galleries_do_not_see_each_other(store: Store, gallery: str) -> None:
    await store.galleries.create("others", CONTRACT, policy=POLICY)
    await store.enroll(gallery, "ada", [template(AXES[0])])
    assert (await store.identify("others", Probe(AXES[0], CONTRACT))).outcome is Outcome.NO_MATCH
    with pytest.raises(IdentityNotFound):
        await store.verify("others", "ada", Probe(AXES[0], CONTRACT))


async def test_nobody_enrolled_differs_from_a_mismatch(store: Store, gallery: str) -> None:
    with pytest.raises(IdentityNotFound):
        await store.verify(gallery, "ada", Probe(AXES[0], CONTRACT))
    await store.identities.create(gallery, "ada")
    with pytest.raises(IdentityNotFound, match="no template in force"):
        await store.verify(gallery, "ada", Probe(AXES[0], CONTRACT))


async def enroll_expired(store: Store, gallery: str, identity: str, vectors: list[Vector], pass_by: PassBy) -> None:
    """Enrol templates, and let them expire."""
    soon = datetime.now(UTC) + SOON
    await store.enroll(gallery, identity, [template(vector, expire_time=soon) for vector in vectors])
    pass_by(soon)


@pytest.mark.parametrize("moment", [datetime.now(UTC) - timedelta(seconds=1), datetime(2090, 1, 1)])
async def test_a_template_that_has_expired_already_is_refused(store: Store, gallery: str, moment: datetime) -> None:
    new = template(AXES[0], expire_time=moment)
    for refused in (
        store.enroll(gallery, "ada", [new]),
        store.enroll(gallery, "ada", [new], validate_only=True),
    ):
        with pytest.raises(InvalidArgument, match="expire_time"):
            await refused


async def test_a_dry_run_finds_malformed_labels(store: Store, gallery: str) -> None:
    with pytest.raises(InvalidArgument, match="labels"):
        await store.enroll(gallery, "ada", [template(AXES[0])], validate_only=True, labels={"No Such Key": ""})


async def test_changes_without_an_etag_are_all_made(store: Store, gallery: str) -> None:
    fields = {"runner_up_margin": 0.2, "target_fmr": 1e-3, "target_fpir": 0.05, "max_templates": 7}
    changes = [store.galleries.update(gallery, policy={name: value}) for name, value in fields.items()]  # type: ignore[arg-type]
    await asyncio.gather(*changes, store.galleries.update(gallery, display_name="People"))
    after = await store.galleries.get(gallery)
    assert {name: getattr(after.policy, name) for name in fields} == fields
    assert (after.display_name, after.policy.verify_threshold) == ("People", POLICY.verify_threshold)
    assert after.policy.revision == 5


async def test_a_change_that_changes_nothing_makes_no_revision(store: Store, gallery: str) -> None:
    before = await store.galleries.update(gallery, policy={"verify_threshold": 0.7}, display_name="People")
    assert await store.galleries.update(gallery, policy={"verify_threshold": 0.7}, display_name="People") == before
    identity = await store.identities.create(gallery, "ada", display_name="Ada", labels={"team": "a"})
    assert await store.identities.update(gallery, "ada", {"display_name": "Ada", "labels": {"team": "a"}}) == identity


async def test_an_expired_template_is_ignored_by_every_comparison(store: Store, gallery: str, pass_by: PassBy) -> None:
    await enroll_expired(store, gallery, "ada", [AXES[0]], pass_by)
    later = datetime.now(UTC) + timedelta(hours=1)
    await store.enroll(gallery, "bob", [template(at_cosine(0.7), expire_time=later)])
    decision = await store.identify(gallery, Probe(AXES[0], CONTRACT))
    assert [found.identity for found in decision.candidates] == ["bob"]
    with pytest.raises(IdentityNotFound):
        await store.verify(gallery, "ada", Probe(AXES[0], CONTRACT))


async def test_a_repeat_finds_what_the_first_call_stored(store: Store, gallery: str) -> None:
    first = await store.enroll(gallery, "ada", [template(AXES[0]), template(AXES[1])], request_id="r1")
    assert await store.enroll(gallery, "ada", [template(AXES[0]), template(AXES[1])], request_id="r1") == first
    by_content = await store.enroll(gallery, "bob", [template(AXES[2])])
    assert await store.enroll(gallery, "bob", [template(AXES[2])]) == by_content
    assert (await store.identities.get(gallery, "ada")).template_count == 2
    assert (await store.identities.get(gallery, "bob")).template_count == 1


async def test_a_request_id_is_not_reused_for_other_content(store: Store, gallery: str) -> None:
    await store.enroll(gallery, "ada", [template(AXES[0])], request_id="r1")
    with pytest.raises(RequestIdReused):
        await store.enroll(gallery, "ada", [template(AXES[1])], request_id="r1")
    assert (await store.identities.get(gallery, "ada")).template_count == 1


async def test_concurrent_repeats_store_one_template(store: Store, gallery: str) -> None:
    repeats = (store.enroll(gallery, "ada", [template(AXES[0])], request_id="r1") for _ in range(8))
    stored = await asyncio.gather(*repeats)
    assert len({one.id for (one,) in stored}) == 1
    assert (await store.identities.get(gallery, "ada")).template_count == 1


async def test_the_cap_holds_under_concurrent_enrolments(store: Store, gallery: str, rng: np.random.Generator) -> None:
    await store.galleries.update(gallery, policy={"max_templates": 5})
    calls = (store.enroll(gallery, "ada", [template(random_vector(rng))]) for _ in range(12))
    results = await asyncio.gather(*calls, return_exceptions=True)
    assert sum(isinstance(result, TemplateLimitReached) for result in results) == 7
    assert (await store.identities.get(gallery, "ada")).template_count == 5


async def test_an_enrolment_beyond_the_cap_stores_nothing(store: Store, gallery: str, rng: np.random.Generator) -> None:
    with pytest.raises(TemplateLimitReached):
        await store.enroll(gallery, "ada", [template(random_vector(rng)) for _ in range(17)])
    with pytest.raises(IdentityNotFound):
        await store.identities.get(gallery, "ada")


@pytest.mark.parametrize(
    "vector",
    [
        np.ones(7, np.float32),
        np.zeros(8, np.float32),
        np.array([np.nan] + [1.0] * 7, np.float32),
        np.array([np.inf] + [1.0] * 7, np.float32),
        np.ones((8, 1), np.float32),
    ],
    ids=["short", "zero", "nan", "infinite", "matrix"],
)
async def test_a_bad_embedding_in_a_batch_stores_none_of_it(store: Store, gallery: str, vector: Vector) -> None:
    with pytest.raises(InvalidEmbedding):
        await store.enroll(gallery, "ada", [template(AXES[0]), template(vector)])
    with pytest.raises(IdentityNotFound):
        await store.identities.get(gallery, "ada")
    with pytest.raises(InvalidEmbedding):
        await store.identify(gallery, Probe(vector, CONTRACT))


@pytest.mark.parametrize("scale", [1e-20, 1e-3, 1e18])
async def test_the_length_of_an_embedding_does_not_matter(store: Store, gallery: str, scale: float) -> None:
    await store.enroll(gallery, "ada", [template((AXES[0] * scale).astype(np.float32))])
    decision = await store.verify(gallery, "ada", Probe((at_cosine(0.7) * scale).astype(np.float32), CONTRACT))
    assert decision.score == pytest.approx(0.7, abs=1e-5)


async def test_an_embedding_under_another_contract_is_refused(store: Store, gallery: str) -> None:
    other = dataclasses.replace(CONTRACT, sha256="b" * 64)
    with pytest.raises(ContractMismatch):
        await store.enroll(gallery, "ada", [template(AXES[0], other)])
    with pytest.raises(ContractMismatch):
        await store.identify(gallery, Probe(AXES[0], other))
    with pytest.raises(IdentityNotFound):
        await store.identities.get(gallery, "ada")


async def test_an_embedding_under_an_equivalent_contract_is_taken(store: Store) -> None:
    other = dataclasses.replace(CONTRACT, sha256="b" * 64)
    await store.galleries.create("both", dataclasses.replace(CONTRACT, equivalent_to=frozenset({other.sha256})))
    await store.enroll("both", "ada", [template(AXES[0], other)])


async def test_thresholds_come_from_the_first_source_that_has_one(store: Store) -> None:
    points = (OperatingPoint(1e-3, 0.3), OperatingPoint(1e-4, 0.4), OperatingPoint(1e-5, 0.5))
    await store.galleries.create("card", CONTRACT, operating_points=points)
    await store.enroll("card", "ada", [template(AXES[0])])
    await store.identities.create("card", "bob", verify_threshold=0.9)
    await store.enroll("card", "bob", [template(AXES[1])])

    async def threshold(identity: str, requested: float | None = None) -> tuple[float, ThresholdSource]:
        decision = await store.verify("card", identity, Probe(AXES[0], CONTRACT), threshold=requested)
        return decision.threshold, decision.threshold_source

    assert await threshold("ada") == (0.4, ThresholdSource.MODEL_CARD)
    assert await threshold("bob") == (0.9, ThresholdSource.IDENTITY)
    assert await threshold("bob", 0.2) == (0.2, ThresholdSource.REQUEST)
    await store.galleries.update("card", policy={"verify_threshold": 0.6})
    assert await threshold("ada") == (0.6, ThresholdSource.GALLERY)


async def test_without_any_threshold_a_decision_is_refused(store: Store) -> None:
    await store.galleries.create("bare", CONTRACT)
    await store.enroll("bare", "ada", [template(AXES[0])])
    with pytest.raises(ThresholdNotCalibrated):
        await store.verify("bare", "ada", Probe(AXES[0], CONTRACT))
    with pytest.raises(ThresholdNotCalibrated):
        await store.identify("bare", Probe(AXES[0], CONTRACT))
    assert (await store.identify("bare", Probe(AXES[0], CONTRACT), threshold=0.5)).outcome is Outcome.MATCH


async def test_every_revision_of_a_policy_is_kept(store: Store, gallery: str) -> None:
    changed = await store.galleries.update(gallery, policy={"verify_threshold": 0.7}, author="ada")
    assert (changed.policy.revision, changed.policy.author) == (2, "ada")
    revisions = await store.galleries.revisions(gallery)
    assert [(one.revision, one.verify_threshold) for one in revisions] == [(1, 0.5), (2, 0.7)]


async def test_a_stale_etag_changes_nothing(store: Store, gallery: str) -> None:
    before = await store.galleries.get(gallery)
    await store.galleries.update(gallery, policy={"verify_threshold": 0.7}, etag=before.etag)
    with pytest.raises(ConcurrentUpdate):
        await store.galleries.update(gallery, policy={"verify_threshold": 0.8}, etag=before.etag)
    with pytest.raises(ConcurrentUpdate):
        await store.galleries.delete(gallery, etag=before.etag)
    assert (await store.galleries.get(gallery)).policy.verify_threshold == 0.7


async def test_concurrent_policy_updates_from_one_etag_admit_one(store: Store, gallery: str) -> None:
    etag = (await store.galleries.get(gallery)).etag
    calls = (
        store.galleries.update(gallery, policy={"verify_threshold": 0.1 * number}, etag=etag) for number in range(6)
    )
    results = await asyncio.gather(*calls, return_exceptions=True)
    assert sum(isinstance(result, ConcurrentUpdate) for result in results) == 5
    assert (await store.galleries.get(gallery)).policy.revision == 2


async def test_names_are_taken_once(store: Store, gallery: str) -> None:
    with pytest.raises(GalleryAlreadyExists):
        await store.galleries.create(gallery, CONTRACT)
    first = await store.identities.create(gallery, "ada", request_id="r1")
    assert await store.identities.create(gallery, "ada", request_id="r1") == first
    with pytest.raises(IdentityAlreadyExists):
        await store.identities.create(gallery, "ada", request_id="r2")


async def test_a_program_that_runs_twice_finds_what_it_made(store: Store, gallery: str) -> None:
    for name in (gallery, gallery + "-new"):
        made = [await store.galleries.create(name, CONTRACT, display_name=show, exist_ok=True) for show in ("", "a")]
        assert made[0] == made[1] == await store.galleries.get(name)
        ada = [await store.identities.create(name, "ada", purpose=why, exist_ok=True) for why in ("door", "")]
        assert (ada[0], ada[1].purpose) == (ada[1], "door")
    other = dataclasses.replace(CONTRACT, sha256="f" * 64)
    with pytest.raises(GalleryAlreadyExists, match=f"under the contract {CONTRACT.key}"):
        await store.galleries.create(gallery, other, exist_ok=True)


async def test_what_has_children_is_deleted_only_by_force(store: Store, gallery: str) -> None:
    (stored,) = await store.enroll(gallery, "ada", [template(AXES[0])])
    with pytest.raises(IdentityNotEmpty):
        await store.identities.delete(gallery, "ada")
    with pytest.raises(GalleryNotEmpty):
        await store.galleries.delete(gallery)
    await store.templates.delete(gallery, "ada", stored.id)
    with pytest.raises(TemplateNotFound):
        await store.templates.get(gallery, "ada", stored.id)
    await store.identities.delete(gallery, "ada")
    await store.enroll(gallery, "bob", [template(AXES[0])])
    await store.galleries.delete(gallery, force=True)
    with pytest.raises(GalleryNotFound):
        await store.identify(gallery, Probe(AXES[0], CONTRACT))


async def test_a_gallery_made_again_inherits_nothing(store: Store, gallery: str) -> None:
    await store.enroll(gallery, "ada", [template(AXES[0])], request_id="r1")
    await store.galleries.update(gallery, policy={"verify_threshold": 0.9})
    await store.galleries.delete(gallery, force=True)
    await store.galleries.create(gallery, CONTRACT, policy=POLICY)
    assert not (await store.identities.list(gallery)).items
    assert len(await store.galleries.revisions(gallery)) == 1
    assert (await store.identify(gallery, Probe(AXES[0], CONTRACT))).gallery_size == 0


async def test_a_gallery_that_is_being_erased_receives_no_template(
    store: Store, gallery: str, rng: np.random.Generator
) -> None:
    enrolments = [store.enroll(gallery, f"p{number}", [template(random_vector(rng))]) for number in range(20)]
    tasks = [asyncio.create_task(call) for call in enrolments]
    await asyncio.sleep(0)
    await store.galleries.delete(gallery, force=True)
    results = await asyncio.gather(*tasks, return_exceptions=True)
    assert all(isinstance(result, tuple | GalleryNotFound) for result in results)
    await store.galleries.create(gallery, CONTRACT, policy=POLICY)
    assert (await store.identify(gallery, Probe(AXES[0], CONTRACT))).gallery_size == 0


async def test_pages_show_everything_once(store: Store, gallery: str) -> None:
    wanted = {f"person-{number:02d}" for number in range(11)}
    for identity in wanted:
        await store.identities.create(gallery, identity)
    seen: list[str] = []
    token = ""
    while True:
        page = await store.identities.list(gallery, page_size=4, page_token=token)
        seen += [identity.id for identity in page.items]
        token = page.next_token
        if not token:
            break
    assert sorted(seen) == sorted(wanted)


@pytest.mark.parametrize("gallery", ["", "Ada", "-ada", "ada.", "a" * 65, "ädä", "a/b", "a\n"])
async def test_a_malformed_id_of_a_gallery_is_refused(store: Store, gallery: str) -> None:
    with pytest.raises(InvalidArgument):
        await store.galleries.create(gallery, CONTRACT)


@pytest.mark.parametrize("identity", [*NO_IDS, "Jos\udce9"])
async def test_a_malformed_id_is_refused(store: Store, gallery: str, identity: str) -> None:
    with pytest.raises(InvalidArgument):
        await store.identities.create(gallery, identity)
    with pytest.raises(InvalidArgument):
        await store.enroll(gallery, identity, [template(AXES[0])])


@pytest.mark.parametrize(
    ("field", "policy"),
    [
        ("verify_threshold", Policy(verify_threshold=1.1)),
        ("identify_threshold", Policy(identify_threshold=float("nan"))),
        ("runner_up_margin", Policy(runner_up_margin=-0.1)),
        ("target_fmr", Policy(target_fmr=0.0)),
        ("target_fpir", Policy(target_fpir=1.0)),
        ("max_templates", Policy(max_templates=65)),
    ],
)
async def test_a_policy_out_of_range_names_its_field(store: Store, field: str, policy: Policy) -> None:
    with pytest.raises(InvalidArgument) as refused:
        await store.galleries.create("odd", CONTRACT, policy=policy)
    assert refused.value.metadata["field"] == field


@pytest.mark.parametrize(
    ("field", "contract"),
    [
        ("contract.model", dataclasses.replace(CONTRACT, model="../../escaped")),
        ("contract.model", dataclasses.replace(CONTRACT, model="org/model")),
        ("contract.version", dataclasses.replace(CONTRACT, version=0)),
        ("contract.sha256", dataclasses.replace(CONTRACT, sha256="A" * 64)),
        ("contract.dimension", dataclasses.replace(CONTRACT, dimension=0)),
        ("contract.dimension", dataclasses.replace(CONTRACT, dimension=70_000)),
        ("contract.preprocessing", dataclasses.replace(CONTRACT, preprocessing="")),
    ],
)
async def test_a_malformed_contract_names_its_field(store: Store, field: str, contract: Contract) -> None:
    with pytest.raises(InvalidArgument) as refused:
        await store.galleries.create("odd", contract)
    assert refused.value.metadata["field"] == field
    with pytest.raises(GalleryNotFound):
        await store.galleries.get("odd")


async def test_an_expired_template_is_renewed_by_the_same_content(store: Store, gallery: str, pass_by: PassBy) -> None:
    await enroll_expired(store, gallery, "ada", [AXES[0]], pass_by)
    await store.enroll(gallery, "ada", [template(AXES[0])])
    assert (await store.verify(gallery, "ada", Probe(AXES[0], CONTRACT))).outcome is Outcome.MATCH
    assert (await store.identities.get(gallery, "ada")).template_count == 1


async def test_expired_templates_do_not_count_towards_the_cap(
    store: Store, gallery: str, rng: np.random.Generator, pass_by: PassBy
) -> None:
    await enroll_expired(store, gallery, "ada", [random_vector(rng) for _ in range(16)], pass_by)
    await store.enroll(gallery, "ada", [template(random_vector(rng)) for _ in range(16)])
    with pytest.raises(TemplateLimitReached):
        await store.enroll(gallery, "ada", [template(random_vector(rng))])


async def test_the_display_name_changes_without_a_new_policy_revision(store: Store, gallery: str) -> None:
    before = await store.galleries.get(gallery)
    after = await store.galleries.update(gallery, display_name="People")
    assert (after.display_name, after.policy.revision) == ("People", 1)
    assert after.etag != before.etag
    assert await store.galleries.revisions(gallery) == (before.policy,)


async def test_a_store_is_named_by_its_url() -> None:
    with pytest.raises(InvalidArgument, match="expected edge"):
        await Store.open("redis://localhost")
