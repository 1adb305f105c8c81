"""Calibrates one gallery: measures thresholds, and checks them before they are applied. Pure.

`sameface_qdrant.Store` and `sameface_qdrant.Attached` both calibrate through this module. They differ in how they read
templates and where they keep the policy.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import TypedDict

import numpy as np
from numpy.typing import NDArray

from sameface_qdrant.calibration.caveats import caveats, unsupported_targets
from sameface_qdrant.calibration.inputs import Cohort
from sameface_qdrant.calibration.thresholds import Calibration, calibrate
from sameface_qdrant.calibration.what_if import (
    DecisionSetting,
    RecordedDecisions,
    WhatIf,
    identification_decisions,
    verification_decisions,
    what_if,
)
from sameface_qdrant.errors import InvalidArgument, NotEnoughData
from sameface_qdrant.metrics.comparisons import Comparisons
from sameface_qdrant.metrics.cross_comparison import MAX_COMPARISONS, compare_cohort, compare_gallery
from sameface_qdrant.policy import check_override, identification_threshold, verification_threshold
from sameface_qdrant.values.display import brief
from sameface_qdrant.values.gallery import Gallery, PolicyChanges

MAX_TEMPLATES = 10_000
"""The most templates that are read. A larger gallery is calibrated on a sample."""
HIGHEST_APPLIED_RATE = 0.05
"""No threshold is applied if its supported rate is above this one."""


class Operation(StrEnum):
    """What a threshold is for."""

    VERIFICATION = "VERIFICATION"
    IDENTIFICATION = "IDENTIFICATION"


class CalibrationOptions(TypedDict, total=False):
    """Options of `sameface_qdrant.Store.calibrate` and `sameface_qdrant.Attached.calibrate`."""

    apply: bool
    """Write the thresholds into the policy as a new revision; else only measure."""
    accept_supported: bool
    """If a target is not supported, apply the threshold for the lowest supported rate, if that is 5 % at most."""
    operation: Operation | None
    """Apply only the threshold for this operation; None applies both."""
    comparisons: Comparisons | None
    """Labelled scores, from `read_scores` or `labelled_scores`; None compares the gallery's templates."""
    cohort: Cohort | None
    """People who are not enrolled, to compare the gallery with."""
    author: str
    """Stored with the policy's new revision."""
    max_comparisons: int
    """Most non-mated comparisons, by default 1,000,000; more are sampled."""
    seed: int
    """Seed of sampling and bootstrap, by default 0."""


class SettingChanges(TypedDict, total=False):
    """The setting that a what-if tries. A field that is missing has the policy's value."""

    threshold: float | None
    margin: float | None
    decisions: RecordedDecisions | None
    """Decisions to decide again, from `recorded_decisions`; None compares the gallery's templates."""


@dataclass(frozen=True, slots=True)
class GalleryTemplates:
    """Templates of a gallery, read to be compared."""

    __repr__ = brief

    vectors: NDArray[np.float32]
    """[templates, dimension], unit L2 norm."""
    identities: Sequence[str]
    """[templates] The identity of each."""
    complete: bool
    """False if a limit left templates out; the others are a sample."""


@dataclass(frozen=True, slots=True)
class GalleryCalibration:
    """What was measured for a gallery, and the gallery as it is now."""

    __repr__ = brief

    gallery: Gallery
    calibration: Calibration
    comparisons: Comparisons
    applied: bool
    caveats: tuple[str, ...]
    """Sentences about what was compared and how far the result can be trusted."""


def given_scores(options: CalibrationOptions) -> Comparisons | None:
    """Return the caller's scores; None if the gallery's templates are to be compared.

    Raises:
        InvalidArgument: the options hold both scores and a cohort.
    """
    scores = options.get("comparisons")
    if scores is not None and options.get("cohort") is not None:
        raise InvalidArgument("scores and a cohort were given; give one of them", metadata={"field": "cohort"})
    return scores


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
    searched = size
    if isinstance(evidence, GalleryTemplates):
        if evidence.complete:
            searched = len(set(evidence.identities))
        evidence = _compared(gallery, evidence, options)
    measured = calibrate(
        evidence,
        target_fmr=gallery.policy.target_fmr,
        target_fpir=gallery.policy.target_fpir,
        gallery_size=max(1, searched),
        seed=options.get("seed", 0),
    )
    return GalleryCalibration(gallery, measured, evidence, False, caveats(measured))


def policy_changes(found: GalleryCalibration, size: int, options: CalibrationOptions) -> PolicyChanges:
    """Return the changes of the policy that apply a calibration.

    Raises:
        NotEnoughData: a target is not supported, and the options do not accept the supported rate.
    """
    operation = options.get("operation")
    verify, identify = operation is not Operation.IDENTIFICATION, operation is not Operation.VERIFICATION
    accept = options.get("accept_supported", False)
    _check_supported(found.calibration, found.gallery.id, verify=verify, identify=identify, accept=accept)
    changes = PolicyChanges()
    if verify:
        changes["verify_threshold"] = found.calibration.verify.threshold
    if identify:
        changes["identify_threshold"] = found.calibration.identify.threshold
        changes["calibrated_size"] = max(1, size)
    return changes


def settings(
    gallery: Gallery, operation: Operation, size: int, changes: SettingChanges
) -> tuple[DecisionSetting, DecisionSetting]:
    """Return a gallery's present setting and the changed one.

    Raises:
        ThresholdNotCalibrated: the policy and the model card have no threshold.
        InvalidArgument: the threshold is outside −1..1, or the margin outside 0..2.
    """
    threshold = check_override(changes.get("threshold"), "threshold", -1.0, 1.0)
    margin = check_override(changes.get("margin"), "runner_up_margin", 0.0, 2.0)
    if operation is Operation.VERIFICATION:
        in_force = verification_threshold(gallery, None, None).value
    else:
        in_force = identification_threshold(gallery, size, None).value
    before = DecisionSetting(in_force, gallery.policy.runner_up_margin)
    return before, DecisionSetting(
        in_force if threshold is None else threshold, before.margin if margin is None else margin
    )


def compare_settings(
    templates: GalleryTemplates, operation: Operation, before: DecisionSetting, after: DecisionSetting
) -> WhatIf:
    """Return what another setting would change among comparisons of a gallery's templates.

    Raises:
        NotEnoughData: the templates are of fewer than two identities.
    """
    comparisons = compare_gallery(templates.vectors, templates.identities)
    chosen = verification_decisions if operation is Operation.VERIFICATION else identification_decisions
    return what_if(chosen(comparisons), before, after)


def _compared(gallery: Gallery, templates: GalleryTemplates, options: CalibrationOptions) -> Comparisons:
    most, seed = options.get("max_comparisons", MAX_COMPARISONS), options.get("seed", 0)
    if (cohort := options.get("cohort")) is None:
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
        "Accept the supported rates, or set other targets."
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
