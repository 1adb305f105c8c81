"""Calibrates one gallery: measures thresholds, and checks them before they are applied. Pure.

`sameface_qdrant.Store` and `sameface_qdrant.Attached` both calibrate through this module. They differ in how they read
templates and where they keep the policy.
"""

from dataclasses import dataclass

from sameface_qdrant.calibration.by_origin import compared_with_mapped
from sameface_qdrant.calibration.caveats import answer_caveats, caveats, unsupported_targets, unusable_caveats
from sameface_qdrant.calibration.expected import ExpectedAnswers
from sameface_qdrant.calibration.margin import HIGHEST_MARGIN, MeasuredMargin, measure_margin
from sameface_qdrant.calibration.measured_answers import expected_answers
from sameface_qdrant.calibration.requests import CalibrationOptions, GalleryTemplates, SettingChanges
from sameface_qdrant.calibration.thresholds import Calibration, calibrate
from sameface_qdrant.calibration.what_if import (
    DecisionSetting,
    WhatIf,
    identification_decisions,
    verification_decisions,
    what_if,
)
from sameface_qdrant.errors import NotEnoughData, ThresholdNotCalibrated
from sameface_qdrant.metrics.comparisons import Comparisons
from sameface_qdrant.metrics.cross_comparison import compare_cohort, compare_gallery
from sameface_qdrant.policy import check_override, identification_threshold, verification_threshold
from sameface_qdrant.policy.origins import identification_thresholds, verification_thresholds
from sameface_qdrant.values.decision import Operation, Scope
from sameface_qdrant.values.display import brief
from sameface_qdrant.values.gallery import Gallery, PolicyChanges
from sameface_qdrant.values.origin import EmbeddingOrigin

HIGHEST_APPLIED_RATE = 0.05
"""No threshold is applied if its supported rate is above this one."""


@dataclass(frozen=True, slots=True)
class GalleryCalibration:
    """What was measured for a gallery, and the gallery as it is now."""

    __repr__ = brief

    gallery: Gallery
    calibration: Calibration
    margin: MeasuredMargin | None
    """None if there is no mated probe with a lead. The policy's margin then stays as it is."""
    expected: ExpectedAnswers
    """What calls will answer once the thresholds and the margin are applied."""
    comparisons: Comparisons
    applied: bool
    caveats: tuple[str, ...]
    """Sentences about what was compared and how far the result can be trusted."""


def measure(
    gallery: Gallery, size: int, evidence: Comparisons | GalleryTemplates, options: CalibrationOptions
) -> GalleryCalibration:
    """Measure the thresholds for the targets of a gallery's policy, and apply nothing. May take seconds.

    Args:
        gallery: with policy and contract.
        size: how many identities it has.
        evidence: scores, or the gallery's templates to compare.
        options: see `CalibrationOptions`.

    Raises:
        NotEnoughData: there is nothing to compare.
        InvalidArgument, InvalidEmbedding, ContractMismatch: the cohort is malformed.
    """
    searched, growth, within, unusable = size, 1.0, 1.0, 0
    if isinstance(evidence, GalleryTemplates):
        growth, within, unusable = evidence.growth, evidence.growth_within, evidence.unusable
        if growth == 1.0:
            searched = len(set(evidence.identities))
        evidence = _compared(gallery, evidence, options)
    policy = gallery.policy
    measured = calibrate(
        evidence,
        target_fmr=policy.target_fmr,
        target_fpir=policy.target_fpir,
        gallery_size=max(1, searched),
        seed=options.seed,
    )
    verify, identify = _thresholds_to_be(gallery, size, measured, options)
    # What an operator has raised by hand stays, if the target allows it.
    highest = max(HIGHEST_MARGIN, policy.runner_up_margin)
    margin = measure_margin(evidence, policy.target_ambiguous, verify, identify, growth, highest=highest)
    expected = expected_answers(
        evidence,
        verify=verify,
        identify=identify,
        margin=policy.runner_up_margin if margin is None else margin.margin,
        effective_comparisons=measured.evidence.effective_comparisons,
        growth=growth,
        growth_within=within,
        confidence=measured.confidence,
        seed=options.seed,
    )
    told = caveats(measured) + answer_caveats(
        measured,
        margin,
        expected,
        present_margin=policy.runner_up_margin,
        growth=growth,
        growth_within=within,
    )
    return GalleryCalibration(gallery, measured, margin, expected, evidence, False, told + unusable_caveats(unusable))


def _thresholds_to_be(
    gallery: Gallery, size: int, measured: Calibration, options: CalibrationOptions
) -> tuple[float | None, float | None]:
    """Return the thresholds of claims and of searches that are in force once the calibration is applied."""
    operation, origin = options.operation, options.origin
    verify: float | None = measured.verify.threshold
    identify: float | None = measured.identify.threshold
    try:
        if operation is Operation.IDENTIFICATION:
            verify = verification_thresholds(gallery, None, None).of(origin).value
    except ThresholdNotCalibrated:
        verify = None
    try:
        if operation is Operation.VERIFICATION:
            identify = identification_thresholds(gallery, size, None).of(origin).value
    except ThresholdNotCalibrated:
        identify = None
    return verify, identify


def policy_changes(found: GalleryCalibration, size: int, options: CalibrationOptions) -> PolicyChanges:
    """Return the changes of the policy that apply a calibration.

    Raises:
        NotEnoughData: a target is not supported, and the options do not accept the supported rate.
    """
    operation = options.operation
    verify, identify = operation is not Operation.IDENTIFICATION, operation is not Operation.VERIFICATION
    accept = options.accept_supported
    _check_supported(found.calibration, found.gallery.id, verify=verify, identify=identify, accept=accept)
    changes = PolicyChanges()
    verified, identified = found.calibration.verify.threshold, found.calibration.identify.threshold
    if options.origin is EmbeddingOrigin.MAPPED:
        if verify:
            changes["mapped_verify_threshold"] = verified
        if identify:
            changes["mapped_identify_threshold"] = identified
        return changes
    if verify:
        changes["verify_threshold"] = verified
    if identify:
        changes["identify_threshold"] = identified
        changes["calibrated_size"] = max(1, size)
    if found.margin is not None:
        changes["runner_up_margin"] = found.margin.margin
    return changes


def settings(
    gallery: Gallery, operation: Operation, size: int, changes: SettingChanges
) -> tuple[DecisionSetting, DecisionSetting]:
    """Return a gallery's present setting and the changed one.

    Raises:
        ThresholdNotCalibrated: the policy and the model card have no threshold.
        InvalidArgument: the threshold is outside −1..1, or the margin outside 0..2.
    """
    threshold = check_override(changes.threshold, "threshold", -1.0, 1.0)
    margin = check_override(changes.margin, "runner_up_margin", 0.0, 2.0)
    if operation is Operation.VERIFICATION:
        in_force = verification_threshold(gallery, None, None).value
    else:
        in_force = identification_threshold(gallery, size, None).value
    before = DecisionSetting(in_force, gallery.policy.runner_up_margin)
    return before, DecisionSetting(
        in_force if threshold is None else threshold, before.margin if margin is None else margin
    )


def compare_settings(
    templates: GalleryTemplates,
    operation: Operation,
    before: DecisionSetting,
    after: DecisionSetting,
    scope: Scope | None = None,
) -> WhatIf:
    """Return what another setting would change among comparisons of a gallery's templates.

    Args:
        templates: of two identities or more.
        operation: which decisions to repeat.
        before: the present setting.
        after: the other one.
        scope: of verifications; None is GALLERY.

    Raises:
        NotEnoughData: the templates are of fewer than two identities.
    """
    comparisons = compare_gallery(templates.vectors, templates.identities)
    if operation is Operation.IDENTIFICATION:
        return what_if(identification_decisions(comparisons), before, after)
    return what_if(verification_decisions(comparisons, scope or Scope.GALLERY), before, after)


def _compared(gallery: Gallery, templates: GalleryTemplates, options: CalibrationOptions) -> Comparisons:
    most, seed = options.max_comparisons, options.seed
    if options.origin is EmbeddingOrigin.MAPPED:
        return compared_with_mapped(gallery, templates, options)
    if (cohort := options.cohort) is None:
        return compare_gallery(templates.vectors, templates.identities, max_comparisons=most, seed=seed)
    units = cohort.units(gallery.contract)
    return compare_cohort(
        units, cohort.identities, templates.vectors, templates.identities, max_comparisons=most, seed=seed
    )


def _check_supported(measured: Calibration, gallery: str, *, verify: bool, identify: bool, accept: bool) -> None:
    asked = {"fmr": measured.verify} if verify else {}
    asked |= {"fpir": measured.identify} if identify else {}
    highest = max(one.supported for one in asked.values())
    refused = unsupported_targets(measured, verify=verify, identify=identify)
    if not refused or (accept and highest <= HIGHEST_APPLIED_RATE):
        return
    numbers = {f"target_{rate}": f"{one.target:g}" for rate, one in asked.items()}
    numbers |= {f"supported_{rate}": f"{one.supported:.3g}" for rate, one in asked.items()}
    advice = (
        "Set accept_supported to apply the supported rates, or set target_fmr or target_fpir of the policy higher."
        if highest <= HIGHEST_APPLIED_RATE
        else f"No threshold is applied whose supported rate is above {HIGHEST_APPLIED_RATE:g}."
    )
    raise NotEnoughData(
        " ".join([*refused, advice]),
        metadata={
            "gallery": gallery,
            "identities": measured.evidence.identities,
            "comparisons": measured.evidence.comparisons,
            **numbers,
        },
    )
