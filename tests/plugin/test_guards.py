"""Guards at enrolment: what a policy allows, warns about and rejects, on every engine that runs without a server."""

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sameface_qdrant import NewTemplate, Policy, PolicyChanges, Store, Template
from sameface_qdrant.engines.base import Point
from sameface_qdrant.errors import (
    DuplicateSample,
    IdentityCollision,
    IdentityNotFound,
    InvalidArgument,
    TemplateLimitReached,
    TemplateOutlier,
    ThresholdNotCalibrated,
)
from sameface_qdrant.store.template_limit import replaceable
from sameface_qdrant.values.finding import FindingKind
from sameface_qdrant.values.gallery import GuardAction, WhenFull
from sameface_qdrant.values.template import Provenance
from sameface_qdrant.values.vectors import Vector
from tests.plugin.conftest import CONTRACT, random_vector

AXES = np.eye(8, dtype=np.float32)
POLICY = Policy(verify_threshold=0.5, identify_threshold=0.6)


def at_cosine(score: float, axis: int = 0, other: int = 7) -> Vector:
    return np.asarray(score * AXES[axis] + np.sqrt(1 - score**2) * AXES[other], dtype=np.float32)


async def enroll(store: Store, identity: str, *vectors: Vector, **options: object) -> Sequence[Template]:
    new = [NewTemplate(vector, CONTRACT) for vector in vectors]
    return await store.enroll("people", identity, new, **options)  # type: ignore[arg-type]


def kinds(templates: Sequence[Template]) -> list[FindingKind]:
    return [finding.kind for finding in templates[0].findings]


@pytest.fixture(autouse=True)
async def gallery(store: Store) -> None:
    await store.galleries.create("people", CONTRACT, policy=POLICY)


async def policy(store: Store, **changes: object) -> None:
    await store.galleries.update("people", policy=PolicyChanges(**changes))  # type: ignore[typeddict-item]


async def test_a_collision_is_told_with_score_identity_and_threshold(store: Store) -> None:
    await enroll(store, "ada", AXES[0])
    (entered,) = await enroll(store, "bob", at_cosine(0.7))
    (finding,) = entered.findings
    assert (finding.kind, finding.identity, finding.threshold) == (FindingKind.COLLISION, "ada", 0.6)
    assert finding.score == pytest.approx(0.7, abs=1e-6)
    assert (await store.identities.get("people", "bob")).template_count == 1


@pytest.mark.parametrize(("score", "collides"), [(0.59, False), (0.61, True)])
async def test_a_collision_is_rejected_from_the_threshold_on(store: Store, score: float, collides: bool) -> None:
    await policy(store, on_collision=GuardAction.REJECT)
    await enroll(store, "ada", AXES[0])
    if not collides:
        await enroll(store, "bob", at_cosine(score))
        return
    for validate_only in (True, False):
        with pytest.raises(IdentityCollision) as refused:
            await enroll(store, "bob", at_cosine(score), validate_only=validate_only)
        # The other identity and its score are in the finding only, not in what is sent to callers.
        assert refused.value.finding is not None
        assert refused.value.finding.identity == "ada"
        assert "ada" not in refused.value.message
        assert "ada" not in refused.value.metadata.values()
    with pytest.raises(IdentityNotFound):
        await store.identities.get("people", "bob")


async def test_a_collision_with_oneself_is_none(store: Store) -> None:
    await policy(store, on_collision=GuardAction.REJECT)
    await enroll(store, "ada", AXES[0])
    assert kinds(await enroll(store, "ada", at_cosine(0.9))) == []


async def test_the_policy_may_bring_its_own_collision_threshold(store: Store) -> None:
    await policy(store, on_collision=GuardAction.REJECT, collision_threshold=0.8)
    await enroll(store, "ada", AXES[0])
    assert kinds(await enroll(store, "bob", at_cosine(0.7))) == []


async def test_the_same_sample_under_another_identity_is_a_duplicate(store: Store) -> None:
    await policy(store, on_collision=GuardAction.ALLOW)
    await enroll(store, "ada", AXES[0])
    found = await enroll(store, "bob", AXES[0])
    assert [(finding.kind, finding.identity) for finding in found[0].findings] == [(FindingKind.DUPLICATE, "ada")]
    await policy(store, on_duplicate=GuardAction.REJECT)
    with pytest.raises(DuplicateSample):
        await enroll(store, "eve", AXES[0])
    # A repeat of a stored template is not a duplicate.
    assert kinds(await enroll(store, "bob", AXES[0])) == []


async def test_the_same_sample_under_another_request_is_a_duplicate(store: Store) -> None:
    await enroll(store, "ada", AXES[0], request_id="one")
    assert kinds(await enroll(store, "ada", AXES[0], request_id="two")) == [FindingKind.DUPLICATE]


async def test_a_template_unlike_its_identity_is_an_outlier(store: Store) -> None:
    await enroll(store, "ada", AXES[0])
    found = await enroll(store, "ada", at_cosine(0.3))
    assert kinds(found) == [FindingKind.OUTLIER]
    assert found[0].findings[0].score == pytest.approx(0.3, abs=1e-6)
    await policy(store, on_outlier=GuardAction.REJECT)
    with pytest.raises(TemplateOutlier):
        await enroll(store, "ada", at_cosine(0.3, other=6))
    # It is enough to be near to one of them.
    assert kinds(await enroll(store, "ada", at_cosine(0.6, other=5))) == []


async def test_the_templates_of_one_call_are_compared_with_each_other(store: Store) -> None:
    await policy(store, on_outlier=GuardAction.REJECT)
    with pytest.raises(TemplateOutlier):
        await enroll(store, "ada", AXES[0], at_cosine(0.9), AXES[3])
    with pytest.raises(IdentityNotFound):
        await store.identities.get("people", "ada")
    await enroll(store, "ada", AXES[0], at_cosine(0.9))


async def test_without_any_threshold_a_warning_says_so_and_a_rejection_is_refused(store: Store) -> None:
    await policy(store, verify_threshold=None, identify_threshold=None)
    assert kinds(await enroll(store, "ada", AXES[0])) == [FindingKind.NOT_CHECKED]
    await policy(store, on_collision=GuardAction.REJECT)
    with pytest.raises(ThresholdNotCalibrated):
        await enroll(store, "bob", AXES[1])


async def test_what_is_allowed_is_not_looked_at(store: Store) -> None:
    allow = GuardAction.ALLOW
    await policy(store, on_collision=allow, on_duplicate=allow, on_outlier=allow)
    await enroll(store, "ada", AXES[0], AXES[1])
    assert kinds(await enroll(store, "bob", AXES[0])) == []


@pytest.mark.parametrize(
    ("how", "gives_way"),
    [(WhenFull.REPLACE_OLDEST, 0), (WhenFull.REPLACE_LOWEST_QUALITY, 1), (WhenFull.REPLACE_MOST_REDUNDANT, 2)],
)
async def test_a_full_identity_gives_way_as_its_policy_says(store: Store, how: WhenFull, gives_way: int) -> None:
    await policy(store, max_templates=3, when_full=how, on_outlier=GuardAction.ALLOW)
    held = []
    for number, quality in enumerate((50.0, 20.0, 80.0)):
        provenance = Provenance("photo", {"Sharpness": quality, "Brightness": 90.0})
        (one,) = await store.enroll("people", "ada", [NewTemplate(AXES[number], CONTRACT, provenance)])
        held.append(one.id)
    new = np.asarray(0.9 * AXES[2] + 0.1 * AXES[5], dtype=np.float32)
    preview = await enroll(store, "ada", new, validate_only=True)
    assert [finding.template for finding in preview[0].findings] == [held[gives_way]]
    entered = await enroll(store, "ada", new)
    assert [(finding.kind, finding.template) for finding in entered[0].findings] == [
        (FindingKind.REPLACED, held[gives_way])
    ]
    page = await store.templates.list("people", "ada")
    expected = {*held, entered[0].id} - {held[gives_way]}
    assert {template.id for template in page.items} == expected


async def test_a_calls_own_templates_do_not_give_way_to_each_other(store: Store) -> None:
    await policy(store, max_templates=2, when_full=WhenFull.REPLACE_OLDEST, on_outlier=GuardAction.ALLOW)
    (oldest,) = await enroll(store, "ada", AXES[0])
    (younger,) = await enroll(store, "ada", AXES[1])
    kept, entered = await enroll(store, "ada", AXES[0], AXES[2])
    assert kept.id == oldest.id
    page = await store.templates.list("people", "ada")
    assert {one.id for one in page.items} == {oldest.id, entered.id}
    assert younger.id not in {one.id for one in page.items}


async def test_the_same_sample_twice_in_one_call_is_one_template_or_a_duplicate(store: Store) -> None:
    first, second = await enroll(store, "ada", AXES[0], AXES[0])
    assert first.id == second.id
    assert (await store.identities.get("people", "ada")).template_count == 1
    await policy(store, on_duplicate=GuardAction.REJECT)
    with pytest.raises(DuplicateSample):
        await enroll(store, "bob", AXES[1], AXES[1], request_id="one")


@pytest.mark.parametrize("field", ["on_collision", "on_duplicate", "on_outlier", "when_full"])
async def test_a_choice_that_there_is_not_is_refused_and_a_plain_string_taken(store: Store, field: str) -> None:
    with pytest.raises(InvalidArgument, match=field):
        await policy(store, **{field: "perhaps"})
    for name in ("REJECT", "reject"):
        await policy(store, **{field: name})
        kept = getattr((await store.galleries.get("people")).policy, field)
        assert isinstance(kept, GuardAction | WhenFull)
        assert kept == "REJECT"


async def test_no_policy_makes_room_for_more_than_it_allows(store: Store, rng: np.random.Generator) -> None:
    await policy(store, max_templates=3, when_full=WhenFull.REPLACE_OLDEST)
    with pytest.raises(TemplateLimitReached):
        await enroll(store, "ada", *(random_vector(rng) for _ in range(4)))


async def test_the_policys_guards_are_kept_with_its_revisions(store: Store) -> None:
    await policy(store, on_collision=GuardAction.REJECT, when_full=WhenFull.REPLACE_OLDEST, outlier_threshold=0.2)
    kept = (await store.galleries.revisions("people"))[-1]
    assert (kept.on_collision, kept.when_full, kept.outlier_threshold) == ("REJECT", "REPLACE_OLDEST", 0.2)


@given(
    seed=st.integers(0, 2**32 - 1),
    count=st.integers(1, 5),
    held=st.integers(5, 9),
    new=st.integers(1, 3),
    how=st.sampled_from([how for how in WhenFull if how is not WhenFull.REJECT]),
)
def test_what_gives_way_is_what_brute_force_says(seed: int, count: int, held: int, new: int, how: WhenFull) -> None:
    rng = np.random.default_rng(seed)
    vectors = rng.normal(size=(held + new, 8))
    vectors = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)
    qualities = rng.integers(0, 4, size=held) * 25.0
    ages = rng.permutation(held)
    points = [
        Point(
            str(number), {"created": float(ages[number]), "quality": {"Sharpness": qualities[number]}}, vectors[number]
        )
        for number in range(held)
    ]
    chosen = replaceable(points, list(vectors[held:]), count, how)
    left = list(range(held))
    expected = []
    for _ in range(count):
        if how is WhenFull.REPLACE_OLDEST:
            one = min(left, key=lambda number: ages[number])
        elif how is WhenFull.REPLACE_LOWEST_QUALITY:
            one = min(left, key=lambda number: (qualities[number], ages[number]))
        else:
            others = {
                number: max(
                    float(vectors[number].astype(float) @ vectors[other].astype(float))
                    for other in [*left, *range(held, held + new)]
                    if other != number
                )
                for number in left
            }
            most = max(others.values())
            one = min((number for number in left if others[number] == most), key=lambda number: ages[number])
        left.remove(one)
        expected.append(str(one))
    assert chosen == expected
