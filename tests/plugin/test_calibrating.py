"""A gallery is calibrated from its templates. Its policy changes only if the rates are supported or accepted."""

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from sameface_qdrant import Contract, NewTemplate, Operation, Outcome, Policy, Probe, Scope, Store
from sameface_qdrant.calibration.inputs import Cohort, read_cohort, read_scores
from sameface_qdrant.errors import (
    ConcurrentUpdate,
    GalleryNotFound,
    InvalidArgument,
    InvalidEmbedding,
    NotEnoughData,
    ThresholdNotCalibrated,
)
from sameface_qdrant.metrics.comparisons import ComparisonSource, labelled_scores
from sameface_qdrant.store import payloads
from tests.plugin.simulated import people

CONTRACT = Contract("voices", version=1, sha256="b" * 64, dimension=32, preprocessing="none")
# Few people, so targets that few can support.
LOOSE = Policy(target_fmr=0.03, target_fpir=0.12, runner_up_margin=0.0)


async def filled(store: Store, count: int, each: int = 2, policy: Policy = LOOSE) -> NDArray[np.float32]:
    """Enrol simulated people into the gallery ``staff``, and return their vectors."""
    await store.galleries.create("staff", CONTRACT, policy=policy)
    vectors, names = people(np.random.default_rng(1), count, each)
    for start in range(0, len(names), each):
        new = [NewTemplate(vector, CONTRACT) for vector in vectors[start : start + each]]
        await store.enroll("staff", names[start], new)
    return vectors


async def test_measuring_changes_nothing_and_applying_makes_a_revision(store: Store) -> None:
    vectors = await filled(store, 40)
    with pytest.raises(ThresholdNotCalibrated):
        await store.identify("staff", Probe(vectors[0], CONTRACT))
    measured = await store.calibrate("staff")
    assert not measured.applied
    assert (await store.galleries.get("staff")).policy.revision == 1
    assert measured.comparisons.source is ComparisonSource.GALLERY
    assert (measured.calibration.evidence.comparisons, measured.calibration.evidence.mated_comparisons) == (80 * 39, 80)

    applied = await store.calibrate("staff", apply=True, author="ada")
    policy = (await store.galleries.get("staff")).policy
    assert applied.gallery.policy == policy
    assert policy.verify_threshold == measured.calibration.verify.threshold
    assert policy.identify_threshold == measured.calibration.identify.threshold
    assert measured.margin is not None
    assert policy.runner_up_margin == measured.margin.margin == measured.expected.margin
    assert (policy.revision, policy.author, policy.calibrated_size) == (2, "ada", 40)
    assert policy.create_time is not None
    assert (await store.identify("staff", Probe(vectors[0], CONTRACT))).outcome is Outcome.MATCH
    # The same templates give the same thresholds again, so no new revision.
    assert (await store.calibrate("staff", apply=True, author="ada")).gallery.policy.revision == 2
    assert [one.revision for one in await store.galleries.revisions("staff")] == [1, 2]


async def test_a_target_that_is_not_supported_is_applied_only_where_that_is_accepted(store: Store) -> None:
    await filled(store, 80, policy=Policy(target_fmr=1e-6, target_fpir=0.06))
    with pytest.raises(NotEnoughData, match=r"The target FMR of 1e-06 is not supported") as refused:
        await store.calibrate("staff", apply=True)
    assert refused.value.metadata["target_fmr"] == "1e-06"
    assert 1e-6 < float(refused.value.metadata["supported_fmr"]) < 0.05
    assert (await store.galleries.get("staff")).policy.revision == 1
    identify = await store.calibrate("staff", apply=True, operation=Operation.IDENTIFICATION)
    assert identify.gallery.policy.verify_threshold is None
    assert identify.gallery.policy.identify_threshold == identify.calibration.identify.threshold
    accepted = await store.calibrate("staff", apply=True, accept_supported=True, operation=Operation.VERIFICATION)
    assert accepted.gallery.policy.verify_threshold == accepted.calibration.verify.threshold
    assert accepted.calibration.verify.rate <= accepted.calibration.verify.supported


async def test_a_threshold_with_a_supported_rate_above_five_percent_is_never_applied(store: Store) -> None:
    await filled(store, 3)
    measured = await store.calibrate("staff")
    assert measured.calibration.verify.supported > 0.05
    with pytest.raises(NotEnoughData, match=r"No threshold is applied whose supported rate is above 0\.05"):
        await store.calibrate("staff", apply=True, accept_supported=True)


async def test_a_policy_that_was_changed_meanwhile_is_left_alone(store: Store) -> None:
    await filled(store, 40)
    before = await store.galleries.get("staff")
    await store.galleries.update("staff", policy={"target_fmr": 0.04})
    with pytest.raises(ConcurrentUpdate):
        await store.calibrate("staff", apply=True, etag=before.etag)
    assert (await store.galleries.get("staff")).policy.verify_threshold is None


async def test_a_calibration_is_stale_once_the_gallery_has_doubled(store: Store) -> None:
    await filled(store, 40)
    await store.calibrate("staff", apply=True)
    more, names = people(np.random.default_rng(2), 40, 1, prefix="more")
    for vector, name in list(zip(more, names, strict=True))[:39]:
        await store.enroll("staff", name, [NewTemplate(vector, CONTRACT)])
    probe = Probe(more[0], CONTRACT)
    assert not (await store.identify("staff", probe)).threshold_stale
    await store.enroll("staff", names[39], [NewTemplate(more[39], CONTRACT)])
    decision = await store.identify("staff", probe)
    assert (decision.gallery_size, decision.threshold_stale) == (80, True)
    # A threshold from the request or from a person was not calibrated for a size.
    assert not (await store.identify("staff", probe, threshold=0.5)).threshold_stale
    changed = await store.galleries.update("staff", policy={"identify_threshold": 0.5})
    assert changed.policy.calibrated_size is None
    assert not (await store.identify("staff", probe)).threshold_stale


async def test_a_cohort_and_scores_take_the_place_of_the_templates(store: Store) -> None:
    await filled(store, 10)
    cohort, cohort_names = people(np.random.default_rng(3), 200, 1, prefix="s")
    searched = await store.calibrate("staff", apply=True, cohort=Cohort(7 * cohort, tuple(cohort_names)))
    assert searched.comparisons.source is ComparisonSource.COHORT
    assert searched.calibration.evidence.searches == 200
    scores = labelled_scores(np.linspace(-1, 0.4, 500), [f"a{n}" for n in range(500)], [f"b{n}" for n in range(500)])
    read = await store.calibrate("staff", comparisons=scores)
    assert read.calibration.evidence.comparisons == 500
    assert read.calibration.verify.threshold == pytest.approx(0.4 - 0.03 * 1.4, abs=0.005)
    with pytest.raises(InvalidArgument, match="one of them"):
        await store.calibrate("staff", comparisons=scores, cohort=Cohort(cohort, tuple(cohort_names)))
    with pytest.raises(InvalidEmbedding):
        await store.calibrate("staff", cohort=Cohort(cohort[:, :5], tuple(cohort_names)))
    with pytest.raises(InvalidArgument, match="as many"):
        await store.calibrate("staff", cohort=Cohort(cohort, tuple(cohort_names[1:])))


async def test_what_if_starts_from_the_policy_and_leaves_it(store: Store) -> None:
    await filled(store, 40)
    with pytest.raises(ThresholdNotCalibrated):
        await store.what_if("staff", Operation.VERIFICATION, threshold=0.5)
    applied = await store.calibrate("staff", apply=True)
    changed = await store.what_if("staff", Operation.VERIFICATION, threshold=0.99, scope=Scope.CLAIM)
    assert changed.before.setting.threshold == applied.calibration.verify.threshold
    assert changed.before.false_matches is not None
    assert changed.before.false_matches.value == pytest.approx(applied.calibration.verify.rate)
    assert changed.after.counts[Outcome.MATCH] == 0
    searches = await store.what_if("staff", Operation.IDENTIFICATION, margin=0.3)
    assert searches.after.setting.threshold == applied.calibration.identify.threshold
    assert searches.before.setting.margin == applied.gallery.policy.runner_up_margin
    assert searches.before.counts[Outcome.AMBIGUOUS] < searches.after.counts[Outcome.AMBIGUOUS]
    # Claims with scope GALLERY need a lead, with scope CLAIM they do not.
    claims = await store.what_if("staff", Operation.VERIFICATION, margin=0.3)
    assert claims.before.counts[Outcome.AMBIGUOUS] < claims.after.counts[Outcome.AMBIGUOUS]
    alone = await store.what_if("staff", Operation.VERIFICATION, margin=0.3, scope=Scope.CLAIM)
    assert alone.after.counts[Outcome.AMBIGUOUS] == 0
    assert (await store.galleries.get("staff")).policy.revision == 2
    with pytest.raises(InvalidArgument, match="threshold is 2"):
        await store.what_if("staff", Operation.VERIFICATION, threshold=2.0)


async def test_the_store_answers_other_probes_as_was_expected(tmp_path: Path) -> None:
    store = await Store.open(f"edge://{tmp_path}")
    await store.galleries.create("staff", CONTRACT, policy=Policy(target_fmr=0.03, target_fpir=0.12))
    vectors, names = people(np.random.default_rng(5), 40, 4, spread=1.0)
    samples = vectors.reshape(40, 4, -1)
    for name, (first, second, *_) in zip(names[::4], samples, strict=True):
        await store.enroll("staff", name, [NewTemplate(first, CONTRACT), NewTemplate(second, CONTRACT)])
    expected = (await store.calibrate("staff", apply=True)).expected
    claims, searches = [], []
    for name, sample in zip(names[::4], samples, strict=True):
        for vector in sample[2:]:
            # The default call, with nothing but the probe.
            claims.append((await store.verify("staff", name, Probe(vector, CONTRACT))).outcome)
            found = await store.identify("staff", Probe(vector, CONTRACT))
            searches.append((found.outcome, bool(found.candidates) and found.candidates[0].identity == name))
    await store.aclose()
    answer = expected.of(Operation.VERIFICATION, Scope.GALLERY, mated=True)
    search = expected.of(Operation.IDENTIFICATION, Scope.GALLERY, mated=True)
    assert answer is not None
    assert search is not None
    for share, counted in (
        (answer.match, claims.count(Outcome.MATCH)),
        (answer.ambiguous, claims.count(Outcome.AMBIGUOUS)),
        (answer.no_match, claims.count(Outcome.NO_MATCH)),
        (search.match, searches.count((Outcome.MATCH, True))),
        (search.wrong_match, searches.count((Outcome.MATCH, False))),
    ):
        assert share is not None
        assert share.interval.low <= counted / 80 <= share.interval.high
    # The margin of 0.05 that nobody measured would leave more people outside.
    assert expected.margin < 0.05


async def test_a_policy_of_an_older_release_has_the_default_share_of_ambiguous_answers(store: Store) -> None:
    await store.galleries.create("staff", CONTRACT)
    stored = payloads.policy_payload((await store.galleries.get("staff")).policy)
    del stored["target_ambiguous"]
    assert payloads.policy_of(stored).target_ambiguous == 0.02
    changed = await store.galleries.update("staff", policy={"target_ambiguous": 0.1})
    assert (await store.galleries.get("staff")).policy.target_ambiguous == changed.policy.target_ambiguous == 0.1
    with pytest.raises(InvalidArgument, match=r"target_ambiguous is 1\.5; expected 0 to 1"):
        await store.galleries.update("staff", policy={"target_ambiguous": 1.5})


async def test_a_gallery_with_nobody_to_compare_says_so(store: Store) -> None:
    with pytest.raises(GalleryNotFound):
        await store.calibrate("staff")
    await store.galleries.create("staff", CONTRACT)
    for call in (store.calibrate("staff"), store.what_if("staff", Operation.VERIFICATION, threshold=0.5)):
        with pytest.raises((NotEnoughData, ThresholdNotCalibrated)):
            await call


def test_a_table_of_scores_is_read(tmp_path: Path) -> None:
    path = tmp_path / "scores.csv"
    path.write_text("first,second,score,note\nada,ada,0.9,x\nada,bob,0.1,y\n")
    with path.open() as file:
        read = read_scores(file)
    assert (read.mated.tolist(), read.non_mated.tolist(), read.names) == ([0.9], [0.1], ("ada", "bob"))
    for text, said in (("a,b\n1,2\n", "no column first, score, second"), ("score,first,second\nx,a,b\n", "line 2")):
        path.write_text(text)
        with path.open() as file, pytest.raises(InvalidArgument, match=said):
            read_scores(file)


def test_a_cohort_is_read_and_runs_no_code(tmp_path: Path) -> None:
    path = tmp_path / "cohort.npz"
    np.savez(path, vectors=np.ones((2, 4)), identities=np.array([7, 8]))
    assert read_cohort(path).identities == ("7", "8")
    np.savez(path, vectors=np.ones((2, 4)))
    with pytest.raises(InvalidArgument, match="identities"):
        read_cohort(path)
    np.savez(path, vectors=np.ones((2, 4)), identities=np.array([Path("a"), None], dtype=object))
    with pytest.raises(InvalidArgument, match="not a cohort"):
        read_cohort(path)
    np.savez(path, vectors=np.ones(4), identities=np.array([7, 8]))
    with pytest.raises(InvalidArgument, match=r"\[4\]"):
        read_cohort(path)
