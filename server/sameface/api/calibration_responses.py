"""Translates calibrations and what-ifs to messages. Pure functions."""

from sameface.resource_names import make_name
from sameface.v1 import calibration_pb2
from sameface_qdrant.calibration.expected import ExpectedAnswer, ExpectedShare
from sameface_qdrant.calibration.gallery import GalleryCalibration
from sameface_qdrant.calibration.thresholds import MeasuredThreshold
from sameface_qdrant.calibration.what_if import ErrorRate, SettingOutcomes
from sameface_qdrant.metrics.comparisons import ComparisonSource
from sameface_qdrant.metrics.curves import Curves
from sameface_qdrant.metrics.intervals import ConfidenceInterval
from sameface_qdrant.metrics.menagerie import ErrorRates, IdentityThresholds
from sameface_qdrant.values.decision import Outcome


def _interval_to(interval: ConfidenceInterval | None) -> calibration_pb2.ConfidenceInterval | None:
    return None if interval is None else calibration_pb2.ConfidenceInterval(low=interval.low, high=interval.high)


def _threshold_to(measured: MeasuredThreshold) -> calibration_pb2.MeasuredThreshold:
    return calibration_pb2.MeasuredThreshold(
        target=measured.target,
        supported=measured.supported,
        threshold=measured.threshold,
        rate=measured.rate,
        interval=_interval_to(measured.interval),
        method=f"METHOD_{measured.method}",
        reason=measured.reason,
        fmr=measured.fmr,
        fmr_interval=_interval_to(measured.fmr_interval),
        fnmr=measured.fnmr,
        fnmr_interval=_interval_to(measured.fnmr_interval),
        other_threshold=measured.other_threshold,
    )


def _share_to(share: ExpectedShare | None) -> calibration_pb2.ExpectedAnswer.Share | None:
    if share is None:
        return None
    return calibration_pb2.ExpectedAnswer.Share(share=share.share, interval=_interval_to(share.interval))


def _expected_to(answer: ExpectedAnswer) -> calibration_pb2.ExpectedAnswer:
    return calibration_pb2.ExpectedAnswer(
        operation=f"OPERATION_{answer.operation}",
        scope=f"SCOPE_{answer.scope}",
        mated=answer.mated,
        match=_share_to(answer.match),
        ambiguous=_share_to(answer.ambiguous),
        no_match=_share_to(answer.no_match),
        wrong_match=_share_to(answer.wrong_match),
        probes=answer.probes,
        identities=answer.identities,
    )


def calibration_to(found: GalleryCalibration, drawn: Curves) -> calibration_pb2.Calibration:
    """Return the message of a calibration with its curves."""
    measured, evidence = found.calibration, found.calibration.evidence
    return calibration_pb2.Calibration(
        verification=_threshold_to(measured.verify),
        identification=_threshold_to(measured.identify),
        gallery_size=measured.gallery_size,
        confidence=measured.confidence,
        source=f"SOURCE_{evidence.source}",
        identities=evidence.identities,
        comparisons=evidence.comparisons,
        possible_comparisons=evidence.possible_comparisons,
        effective_comparisons=evidence.effective_comparisons,
        mated_comparisons=evidence.mated_comparisons,
        mated_identities=evidence.mated_identities,
        searches=evidence.searches,
        findings=found.caveats,
        curves=calibration_pb2.Calibration.Curves(
            thresholds=drawn.thresholds,
            fmr=drawn.fmr,
            fnmr=drawn.fnmr,
            edges=drawn.edges,
            mated=drawn.mated,
            non_mated=drawn.non_mated,
        ),
        runner_up_margin=None if found.margin is None else found.margin.margin,
        ambiguous=None if found.margin is None else found.margin.ambiguous,
        expected_answers=[_expected_to(one) for one in found.expected.answers],
        expected_probes=found.expected.probes,
    )


def _errors_to(errors: ErrorRates | None) -> calibration_pb2.IdentityThresholds.ErrorRates | None:
    if errors is None:
        return None
    return calibration_pb2.IdentityThresholds.ErrorRates(
        fmr=errors.fmr, fmr_interval=_interval_to(errors.fmr_interval), fnmr=errors.fnmr
    )


def identity_thresholds_to(
    proposed: IdentityThresholds, gallery: str, source: ComparisonSource
) -> calibration_pb2.IdentityThresholds:
    """Return the message of proposed thresholds; identities of a gallery by their full names."""

    def name(identity: str) -> str:
        return identity if source is ComparisonSource.SCORES else make_name(gallery, identity)

    return calibration_pb2.IdentityThresholds(
        proposals=[
            calibration_pb2.IdentityThresholds.Proposal(
                identity=name(lamb.identity),
                verify_threshold=lamb.threshold,
                p_value=lamb.p_value,
                impostors=lamb.impostors,
                impostors_in_tail=lamb.impostors_in_tail,
            )
            for lamb in proposed.lambs
        ],
        before=_errors_to(proposed.before),
        after=_errors_to(proposed.after),
        raised=_errors_to(proposed.raised),
    )


def _rate_to(rate: ErrorRate | None) -> calibration_pb2.SettingOutcomes.ErrorRate | None:
    if rate is None:
        return None
    return calibration_pb2.SettingOutcomes.ErrorRate(
        errors=rate.errors, trials=rate.trials, interval=_interval_to(rate.interval)
    )


def side_to(side: SettingOutcomes) -> calibration_pb2.SettingOutcomes:
    """Return the message of the outcomes under one setting."""
    return calibration_pb2.SettingOutcomes(
        threshold=side.setting.threshold,
        runner_up_margin=side.setting.margin,
        matches=side.counts[Outcome.MATCH],
        ambiguous=side.counts[Outcome.AMBIGUOUS],
        no_matches=side.counts[Outcome.NO_MATCH],
        false_matches=_rate_to(side.false_matches),
        false_non_matches=_rate_to(side.false_non_matches),
    )
