"""CalibrateGallery and WhatIfGallery on the shared real service."""

from collections.abc import Callable, Iterator

import grpc
import numpy as np
import pytest

from sameface.client import Client, Embedding, ServiceError
from sameface.client.connection import Connection
from sameface.launcher import Service
from sameface.v1 import calibration_pb2, decision_pb2, face_pb2, gallery_pb2, gallery_service_pb2
from tests.filled import filled_gallery
from tests.plugin.simulated import people

Refused = Callable[..., ServiceError]
VERIFICATION, IDENTIFICATION = calibration_pb2.OPERATION_VERIFICATION, calibration_pb2.OPERATION_IDENTIFICATION


@pytest.fixture(scope="module")
def staff(service: Service) -> Iterator[str]:
    """Name of a gallery of forty people with two templates each."""
    with Client(service.address) as client, filled_gallery(client, 40) as (gallery, _):
        yield f"galleries/{gallery}"


@pytest.fixture
def contract(connection: Connection, staff: str) -> face_pb2.Contract:
    answer: gallery_pb2.Gallery = connection.galleries.GetGallery(gallery_service_pb2.GetGalleryRequest(name=staff))
    return answer.contract


def request(name: str, **fields: object) -> gallery_service_pb2.CalibrateGalleryRequest:
    return gallery_service_pb2.CalibrateGalleryRequest(name=name, **fields)  # type: ignore[arg-type]


def test_validating_measures_and_changes_nothing(connection: Connection, staff: str) -> None:
    before = connection.galleries.GetGallery(gallery_service_pb2.GetGalleryRequest(name=staff))
    answer = connection.galleries.CalibrateGallery(request(staff, validate_only=True))
    assert answer.gallery == before
    measured = answer.calibration
    assert (measured.source, measured.identities, measured.gallery_size) == (
        calibration_pb2.Calibration.SOURCE_GALLERY,
        40,
        40,
    )
    assert (measured.comparisons, measured.possible_comparisons, measured.mated_comparisons) == (3120, 3120, 80)
    assert 20 <= measured.effective_comparisons < 3120
    for one in (measured.verification, measured.identification):
        assert one.interval.low <= one.rate <= one.interval.high
        assert one.rate <= max(one.target, one.supported)
    assert measured.verification.threshold < measured.identification.threshold
    assert measured.identification.method == calibration_pb2.MeasuredThreshold.METHOD_SEARCHES
    assert sum(measured.curves.non_mated) == 3120
    assert len(measured.curves.thresholds) == len(measured.curves.fmr) == 512
    assert any("look-alikes" in sentence for sentence in measured.findings)
    assert not answer.HasField("identity_thresholds")


def test_a_calibration_says_what_calls_will_answer(
    connection: Connection, staff: str, contract: face_pb2.Contract
) -> None:
    measured = connection.galleries.CalibrateGallery(request(staff, validate_only=True)).calibration
    assert 0 <= measured.runner_up_margin <= 0.05
    assert measured.expected_probes == 200
    claims, searches = (VERIFICATION, decision_pb2.SCOPE_CLAIM), (IDENTIFICATION, decision_pb2.SCOPE_GALLERY)
    kinds = {(one.operation, one.scope, one.mated): one for one in measured.expected_answers}
    assert len(kinds) == len(measured.expected_answers) == 6
    for one in kinds.values():
        shares = [one.match, one.ambiguous, one.no_match, one.wrong_match]
        assert sum(share.share for share in shares) == pytest.approx(1.0)
        assert all(share.interval.low <= share.share <= share.interval.high for share in shares)
        assert one.HasField("wrong_match") == (one.mated and one.operation == IDENTIFICATION)
    assert kinds[(*claims, False)].match.share == pytest.approx(measured.verification.fmr)
    assert kinds[(*claims, True)].no_match.share == pytest.approx(measured.verification.fnmr)
    assert (kinds[(*searches, True)].probes, kinds[(*searches, False)].probes) == (80, 40)

    # Scores without leads measure no margin, scores with leads do.
    table = {
        "scores": [0.1] * 50 + [0.9] * 50,
        "first": [*range(50), *range(50)],
        "second": [*range(50, 100), *range(50)],
    }
    for leads, known in ((None, False), ([-0.5] * 50 + [0.5] * 50, True)):
        scores = calibration_pb2.LabelledScores(**table, leads=leads)
        found = connection.galleries.CalibrateGallery(request(staff, validate_only=True, scores=scores)).calibration
        assert found.HasField("runner_up_margin") == known


def test_thresholds_become_the_policy_and_a_repeat_changes_nothing(connection: Connection, staff: str) -> None:
    galleries = connection.galleries
    answer = galleries.CalibrateGallery(request(staff))
    policy = answer.gallery.policy
    assert policy.verify_threshold == pytest.approx(answer.calibration.verification.threshold)
    assert policy.identify_threshold == pytest.approx(answer.calibration.identification.threshold)
    assert (policy.calibrated_size, policy.author) == (40, "CalibrateGallery")
    assert galleries.CalibrateGallery(request(staff)).gallery == answer.gallery
    revisions = galleries.ListPolicyRevisions(gallery_service_pb2.ListPolicyRevisionsRequest(parent=staff)).policies
    assert revisions[0] == policy
    assert not revisions[-1].HasField("calibrated_size")


def test_a_stale_etag_and_a_target_out_of_reach_are_refused(
    connection: Connection, staff: str, refused: Refused
) -> None:
    galleries = connection.galleries
    assert refused(galleries.CalibrateGallery, request(staff, etag="0123456789abcdef")).reason == "CONCURRENT_UPDATE"
    galleries.UpdateGallery(
        gallery_service_pb2.UpdateGalleryRequest(
            gallery=gallery_pb2.Gallery(name=staff, policy=gallery_pb2.Policy(target_fmr=1e-7))
        )
    )
    before = galleries.GetGallery(gallery_service_pb2.GetGalleryRequest(name=staff))
    error = refused(galleries.CalibrateGallery, request(staff))
    assert (error.code, error.reason) == (grpc.StatusCode.FAILED_PRECONDITION, "CALIBRATION_NOT_SUPPORTED")
    assert error.metadata["target_fmr"] == "1e-07"
    assert galleries.GetGallery(gallery_service_pb2.GetGalleryRequest(name=staff)) == before
    only = galleries.CalibrateGallery(request(staff, operation=IDENTIFICATION))
    assert only.gallery.policy.verify_threshold == before.policy.verify_threshold
    accepted = galleries.CalibrateGallery(request(staff, operation=VERIFICATION, accept_supported=True))
    assert accepted.calibration.verification.supported > 1e-7
    galleries.UpdateGallery(
        gallery_service_pb2.UpdateGalleryRequest(
            gallery=gallery_pb2.Gallery(name=staff, policy=gallery_pb2.Policy(target_fmr=0.03))
        )
    )


def test_scores_of_the_callers_are_measured(connection: Connection, staff: str, refused: Refused) -> None:
    scores = np.linspace(-0.5, 0.5, 1000).tolist()
    labelled = calibration_pb2.LabelledScores(
        scores=[*scores, 0.9], first=[*range(1000), 7], second=[*range(1000, 2000), 7]
    )
    measured = connection.galleries.CalibrateGallery(request(staff, validate_only=True, scores=labelled)).calibration
    assert (measured.comparisons, measured.mated_comparisons) == (1000, 1)
    assert measured.verification.threshold == pytest.approx(0.47, abs=0.002)
    assert measured.identification.method == calibration_pb2.MeasuredThreshold.METHOD_GALLERY_SIZE
    for spoilt in (
        calibration_pb2.LabelledScores(scores=[0.5], first=[1], second=[1, 2]),
        calibration_pb2.LabelledScores(scores=[float("nan")], first=[1], second=[2]),
    ):
        error = refused(connection.galleries.CalibrateGallery, request(staff, scores=spoilt))
        assert error.reason == "INVALID_ARGUMENT"
    same = calibration_pb2.LabelledScores(scores=[0.5], first=[1], second=[1])
    error = refused(connection.galleries.CalibrateGallery, request(staff, scores=same))
    assert error.reason == "CALIBRATION_NOT_SUPPORTED"


def members(count: int, dimension: int = 128) -> list[calibration_pb2.Cohort.Member]:
    vectors, names = people(np.random.default_rng(5), count, 1, dimension=dimension, prefix="Stranger ")
    pairs = zip(names, vectors, strict=True)
    return [calibration_pb2.Cohort.Member(identity=name, values=vector) for name, vector in pairs]


def test_a_cohort_is_compared_with_the_gallery_and_not_kept(
    connection: Connection, staff: str, contract: face_pb2.Contract, refused: Refused
) -> None:
    calibrate = connection.galleries.CalibrateGallery
    cohort = calibration_pb2.Cohort(contract=contract, members=members(100))
    measured = calibrate(request(staff, validate_only=True, cohort=cohort)).calibration
    assert measured.source == calibration_pb2.Calibration.SOURCE_COHORT
    assert (measured.comparisons, measured.searches, measured.identities) == (100 * 40, 100, 140)
    listed = connection.galleries.ListIdentities(gallery_service_pb2.ListIdentitiesRequest(parent=staff)).identities
    assert len(listed) == 40
    other = face_pb2.Contract()
    other.CopyFrom(contract)
    other.sha256 = "0" * 64
    for spoilt, reason in (
        (calibration_pb2.Cohort(contract=other, members=members(3)), "CONTRACT_MISMATCH"),
        (calibration_pb2.Cohort(contract=contract, members=members(3, 64)), "INVALID_EMBEDDING"),
        (calibration_pb2.Cohort(contract=contract, members=[*members(1), *members(1, 64)]), "INVALID_ARGUMENT"),
        (calibration_pb2.Cohort(contract=contract), "INVALID_ARGUMENT"),
    ):
        assert refused(calibrate, request(staff, cohort=spoilt)).reason == reason


def test_identity_thresholds_are_proposed_and_not_set(
    connection: Connection, staff: str, contract: face_pb2.Contract
) -> None:
    # People who are not enrolled and all look like one enrolled person.
    name = f"{staff}/identities/p0000"
    vectors, _ = people(np.random.default_rng(1), 40, 2, dimension=128, spread=0.8)
    rng = np.random.default_rng(6)
    lookalikes = [
        calibration_pb2.Cohort.Member(identity=f"like {number}", values=vectors[0] + 0.08 * rng.normal(size=128))
        for number in range(30)
    ]
    cohort = calibration_pb2.Cohort(contract=contract, members=[*members(200), *lookalikes])
    answer = connection.galleries.CalibrateGallery(
        request(staff, validate_only=True, cohort=cohort, propose_identity_thresholds=True)
    )
    (proposal,) = answer.identity_thresholds.proposals
    assert proposal.identity == name
    assert proposal.verify_threshold > answer.calibration.verification.threshold
    found = answer.identity_thresholds
    assert found.after.fmr < found.before.fmr
    identity = connection.galleries.GetIdentity(gallery_service_pb2.GetIdentityRequest(name=name))
    assert not identity.HasField("verify_threshold")


def what_if(name: str, **fields: object) -> gallery_service_pb2.WhatIfGalleryRequest:
    return gallery_service_pb2.WhatIfGalleryRequest(name=name, **fields)  # type: ignore[arg-type]


def test_what_if_counts_what_moves(connection: Connection, staff: str, refused: Refused) -> None:
    ask = connection.galleries.WhatIfGallery
    claim = decision_pb2.SCOPE_CLAIM
    answer = ask(what_if(staff, operation=VERIFICATION, threshold=0.99, scope=claim))
    assert answer.before.matches + answer.before.no_matches == 3120 + 80
    assert answer.after.matches == 0
    assert answer.before.false_matches.trials == 3120
    assert answer.before.false_matches.interval.high > 0
    (moved,) = (one for one in answer.transitions if one.before == decision_pb2.OUTCOME_MATCH)
    assert (moved.after, moved.count) == (decision_pb2.OUTCOME_NO_MATCH, answer.before.matches)
    leading = ask(what_if(staff, operation=VERIFICATION, runner_up_margin=2.0))
    assert (leading.after.matches, leading.after.no_matches) == (0, answer.before.no_matches)
    searches = ask(what_if(staff, operation=IDENTIFICATION, runner_up_margin=2.0))
    assert (searches.after.matches, searches.after.false_matches.trials) == (0, 40)
    decisions = calibration_pb2.RecordedDecisions(scores=[0.2, 0.95], leads=[float("nan"), 0.01], mated=[False, True])
    read = ask(what_if(staff, operation=IDENTIFICATION, threshold=0.1, decisions=decisions))
    assert (read.before.ambiguous, read.after.matches, read.after.false_matches.errors) == (1, 1, 1)
    assert not read.after.false_matches.HasField("interval")
    for spoilt in (
        what_if(staff),
        what_if(staff, operation=7),
        what_if(staff, operation=VERIFICATION, threshold=1.5),
        what_if(staff, operation=VERIFICATION, decisions=calibration_pb2.RecordedDecisions(scores=[0.1], leads=[1, 2])),
    ):
        assert refused(ask, spoilt).reason == "INVALID_ARGUMENT"


def test_decisions_say_when_the_calibration_is_stale(service: Service) -> None:
    with Client(service.address) as client, filled_gallery(client, 30) as (gallery, vectors):
        client.update_gallery(gallery, target_fpir=0.2)  # a rate that thirty people support
        calibrated = client.calibrate_gallery(gallery, operation="identification")
        assert calibrated.gallery.policy.calibrated_size == 30
        probe = Embedding(values=tuple(vectors[0].tolist()), contract=calibrated.gallery.contract)

        def stale() -> bool:
            decision = client.identify(gallery, probe).faces[0].decision
            assert decision is not None
            return decision.threshold_stale

        for number in range(29):
            client.create_identity(gallery, f"more-{number}")
        assert not stale()
        client.create_identity(gallery, "one-more")
        assert stale()
