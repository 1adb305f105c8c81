"""The decision table, row by row, and the rules around it."""

import dataclasses
import math
import typing
from enum import StrEnum
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sameface_qdrant import Candidate, Contract, Gallery, OperatingPoint, Outcome, Policy, Scope, ThresholdSource
from sameface_qdrant.errors import InvalidArgument, ThresholdNotCalibrated
from sameface_qdrant.policy import (
    Threshold,
    changed_policy,
    check_policy,
    comparison_fmr,
    decide_comparison,
    decide_identification,
    decide_verification,
    identification_threshold,
    operating_threshold,
)
from sameface_qdrant.store.payloads import policy_of, policy_payload
from sameface_qdrant.values.gallery import (
    POLICY_SETTINGS,
    GuardAction,
    GuardActionName,
    PolicyChanges,
    PolicyOptions,
    PresentationAttackAction,
    PresentationAttackActionName,
    RenewOnMatch,
    RenewOnMatchName,
    WhenFull,
    WhenFullName,
)
from sameface_qdrant.values.settings import Setting
from tests.policies import another_value, policies

NUMBERS = [setting for setting in POLICY_SETTINGS if not issubclass(setting.kind, StrEnum)]
NAMES_OF: dict[type, Any] = {
    GuardAction: GuardActionName,
    PresentationAttackAction: PresentationAttackActionName,
    RenewOnMatch: RenewOnMatchName,
    WhenFull: WhenFullName,
}

THRESHOLD = Threshold(0.5, ThresholdSource.GALLERY)


def verification(claim: float, other: float | None, scope: Scope, margin: float = 0.1) -> Outcome:
    return decide_verification(
        Candidate("claim", claim, "t1"),
        None if other is None else Candidate("other", other, "t2"),
        scope=scope,
        threshold=THRESHOLD,
        margin=margin,
        policy_revision=1,
        gallery_size=2,
    ).outcome


@pytest.mark.parametrize(
    ("claim", "other", "by_claim", "by_gallery"),
    [
        (0.8, 0.3, Outcome.MATCH, Outcome.MATCH),
        (0.8, None, Outcome.MATCH, Outcome.MATCH),
        (0.8, 0.75, Outcome.MATCH, Outcome.AMBIGUOUS),
        (0.8, 0.9, Outcome.MATCH, Outcome.AMBIGUOUS),
        (0.4, 0.1, Outcome.NO_MATCH, Outcome.NO_MATCH),
        (0.4, 0.9, Outcome.NO_MATCH, Outcome.NO_MATCH),
        (0.5, 0.25, Outcome.MATCH, Outcome.MATCH),
        (0.75, 0.5, Outcome.MATCH, Outcome.MATCH),
    ],
)
def test_the_table_of_verification(claim: float, other: float | None, by_claim: Outcome, by_gallery: Outcome) -> None:
    assert verification(claim, other, Scope.CLAIM) is by_claim
    assert verification(claim, other, Scope.GALLERY) is by_gallery


@pytest.mark.parametrize(
    ("scores", "expected"),
    [
        ([0.8, 0.3], Outcome.MATCH),
        ([0.8], Outcome.MATCH),
        ([0.8, 0.75], Outcome.AMBIGUOUS),
        ([0.4, 0.1], Outcome.NO_MATCH),
        ([0.4, 0.39], Outcome.NO_MATCH),
        ([], Outcome.NO_MATCH),
    ],
)
def test_the_table_of_identification(scores: list[float], expected: Outcome) -> None:
    decision = decide_identification(
        [Candidate(f"p{number}", score, "t") for number, score in enumerate(scores)],
        limit=5,
        threshold=THRESHOLD,
        margin=0.1,
        policy_revision=1,
        gallery_size=len(scores),
    )
    assert decision.outcome is expected


@given(
    claim=st.floats(-1, 1),
    other=st.floats(-1, 1),
    threshold=st.floats(-1, 1),
    margin=st.floats(0, 2),
)
def test_looking_at_the_gallery_never_accepts_what_the_claim_alone_would_not(
    claim: float, other: float, threshold: float, margin: float
) -> None:
    def decide(scope: Scope) -> Outcome:
        return decide_verification(
            Candidate("claim", claim, "t1"),
            Candidate("other", other, "t2"),
            scope=scope,
            threshold=Threshold(threshold, ThresholdSource.REQUEST),
            margin=margin,
            policy_revision=1,
            gallery_size=2,
        ).outcome

    by_claim, by_gallery = decide(Scope.CLAIM), decide(Scope.GALLERY)
    assert (by_claim is Outcome.NO_MATCH) == (by_gallery is Outcome.NO_MATCH)
    if by_gallery is Outcome.MATCH:
        assert by_claim is Outcome.MATCH
        assert claim >= threshold
        assert claim >= other


@given(fpir=st.floats(1e-6, 0.5), size=st.integers(1, 10**7))
def test_the_comparison_rate_keeps_the_search_rate(fpir: float, size: int) -> None:
    fmr = comparison_fmr(fpir, size)
    assert 0 < fmr <= fpir * (1 + 1e-9)
    assert -math.expm1(size * math.log1p(-fmr)) == pytest.approx(fpir, rel=1e-9)


def test_the_operating_point_is_the_loosest_that_is_strict_enough() -> None:
    points = [OperatingPoint(1e-3, 0.3), OperatingPoint(1e-5, 0.5), OperatingPoint(1e-4, 0.4)]

    def chosen(fmr: float) -> tuple[float, bool | None]:
        threshold = operating_threshold(points, fmr)
        assert threshold is not None
        return threshold.value, threshold.target_attained

    assert chosen(1e-2) == (0.3, True)
    assert chosen(1e-3) == (0.3, True)
    assert chosen(5e-4) == (0.4, True)
    assert chosen(1e-7) == (0.5, False)
    assert operating_threshold([], 1e-3) is None


def test_a_gallery_too_large_for_the_card_is_told_so() -> None:
    points = (OperatingPoint(1e-3, 0.3), OperatingPoint(1e-5, 0.5))
    contract = Contract("voices", 1, "a" * 64, 8, "none")
    gallery = Gallery("people", contract, Policy(target_fpir=1e-2), operating_points=points)
    assert identification_threshold(gallery, 1000, None).target_attained is True
    too_large = identification_threshold(gallery, 2000, None)
    assert (too_large.value, too_large.target_attained) == (0.5, False)
    assert identification_threshold(gallery, 2000, 0.4).target_attained is None


def test_a_comparison_without_gallery_takes_the_card_or_the_request() -> None:
    points = [OperatingPoint(1e-4, 0.4)]
    assert decide_comparison(0.45, policy=Policy(), operating_points=points, threshold=None).outcome is Outcome.MATCH
    assert decide_comparison(0.45, policy=Policy(), operating_points=points, threshold=0.5).outcome is Outcome.NO_MATCH
    with pytest.raises(ThresholdNotCalibrated):
        decide_comparison(0.45, policy=Policy(), operating_points=[], threshold=None)


def test_every_setting_is_a_typed_option() -> None:
    options = typing.get_type_hints(PolicyOptions)
    assert list(options) == [setting.name for setting in POLICY_SETTINGS]
    for setting in POLICY_SETTINGS:
        names = NAMES_OF.get(setting.kind)
        assert options[setting.name] == (setting.kind | None if names is None else setting.kind | names | None)
    changes = set(typing.get_type_hints(PolicyChanges)) - set(options)
    assert changes < {field.name for field in dataclasses.fields(Policy)}


@pytest.mark.parametrize("choices", NAMES_OF)
def test_a_choice_may_be_given_by_its_name(choices: type[StrEnum]) -> None:
    assert [name.upper() for name in typing.get_args(NAMES_OF[choices])] == list(choices)
    for setting in POLICY_SETTINGS:
        if setting.kind is choices:
            assert [setting.checked(name) for name in typing.get_args(NAMES_OF[choices])] == list(choices)


@pytest.mark.parametrize("setting", NUMBERS, ids=[setting.name for setting in NUMBERS])
def test_a_number_out_of_range_is_refused(setting: Setting) -> None:
    assert setting.range is not None
    step = 1 if setting.kind is int else 1e-6
    outside: list[Any] = [setting.range.low - step, setting.range.high + step]
    outside += [] if setting.kind is int else [math.nan]
    edges: list[Any] = [setting.range.low, setting.range.high]
    for value in outside + ([] if setting.range.closed else edges):
        with pytest.raises(InvalidArgument, match=f"{setting.name} is .*; expected {setting.range}") as refused:
            check_policy(dataclasses.replace(Policy(), **{setting.name: value}))
        assert refused.value.metadata == {"field": setting.name}
    for value in edges if setting.range.closed else []:
        check_policy(dataclasses.replace(Policy(), **{setting.name: value}))


def test_what_is_no_choice_is_refused() -> None:
    changes: Any = {"when_full": "perhaps"}
    with pytest.raises(InvalidArgument, match="expected one of REJECT, REPLACE_OLDEST") as refused:
        changed_policy(Policy(), changes)
    assert refused.value.metadata == {"field": "when_full"}


@given(policy=policies())
def test_any_policy_is_valid_and_the_same_after_storage(policy: Policy) -> None:
    assert check_policy(policy) == policy
    assert policy_of(policy_payload(policy)) == policy


@given(policy=policies())
def test_none_puts_any_setting_back(policy: Policy) -> None:
    reset: Any = {setting.name: None for setting in POLICY_SETTINGS}
    default = Policy()
    kept = {setting.name: getattr(default, setting.name) for setting in POLICY_SETTINGS}
    assert changed_policy(policy, reset) == dataclasses.replace(policy, **kept)


STORED_BY_0_1_0 = {
    "verify_threshold": 0.5,
    "identify_threshold": None,
    "runner_up_margin": 0.1,
    "target_fmr": 1e-4,
    "target_fpir": 1e-2,
    "max_templates": 8,
    "when_full": "REPLACE_OLDEST",
    "on_collision": "REJECT",
    "collision_threshold": 0.4,
    "on_duplicate": "WARN",
    "on_outlier": "ALLOW",
    "outlier_threshold": None,
    "calibrated_size": 40,
    "revision": 3,
    "author": "somebody",
    "created": 1_700_000_000.5,
}


def test_a_stored_policy_keeps_its_form() -> None:
    policy = policy_of(STORED_BY_0_1_0)
    assert (policy.when_full, policy.on_outlier, policy.calibrated_size) == (
        WhenFull.REPLACE_OLDEST,
        GuardAction.ALLOW,
        40,
    )
    assert policy_payload(policy).items() >= STORED_BY_0_1_0.items()


@pytest.mark.parametrize("setting", POLICY_SETTINGS, ids=[setting.name for setting in POLICY_SETTINGS])
def test_a_setting_that_an_older_version_did_not_store_has_its_default(setting: Setting) -> None:
    payload = policy_payload(dataclasses.replace(Policy(), **{setting.name: another_value(setting)}))
    del payload[setting.name]
    assert policy_of(payload) == Policy()
