"""What a person should know about a calibration, in sentences. Pure."""

import math

from sameface_qdrant.calibration.thresholds import Calibration, MeasuredThreshold, Method
from sameface_qdrant.metrics.comparisons import Source
from sameface_qdrant.metrics.intervals import trials_for
from sameface_qdrant.policy import comparison_fmr


def findings(calibration: Calibration) -> tuple[str, ...]:
    """Return what stands behind the thresholds, what they do not support, and what they are biased by."""
    evidence = calibration.evidence
    sentences = [_what_was_compared(calibration)]
    for measured, rate in ((calibration.verify, "FMR"), (calibration.identify, "FPIR")):
        if not measured.is_supported:
            sentences.append(_not_supported(calibration, measured, rate))
    if not evidence.mated:
        sentences.append(
            "FNMR is not estimable from one template each. Enrol a second photo of some people, or bring mated scores."
        )
    elif evidence.mated_identities < 30:
        sentences.append(
            f"FNMR rests on {_count(evidence.mated_identities, 'identity', 'identities')} with two templates or more; "
            "that is few."
        )
    if evidence.source is Source.GALLERY:
        sentences.append(
            "These templates are enrolled already: where enrolment refuses look-alikes, the most similar impostors are "
            "missing here, and the true FMR and FPIR are higher. A cohort of other people has no such gap."
        )
    if evidence.source is Source.COHORT:
        sentences.append("The cohort stands for future strangers only as far as it resembles them and their photos.")
    sentences.append(
        "Thresholds were chosen and measured on the same comparisons; expect slightly more errors on others."
    )
    return tuple(sentences)


def not_supported(calibration: Calibration, *, verify: bool = True, identify: bool = True) -> tuple[str, ...]:
    """Return why targets are not supported, of those that are asked about; empty where all are."""
    asked = [(calibration.verify, "FMR")] * verify + [(calibration.identify, "FPIR")] * identify
    return tuple(_not_supported(calibration, one, rate) for one, rate in asked if not one.is_supported)


def _what_was_compared(calibration: Calibration) -> str:
    evidence = calibration.evidence
    sampled = f" (a sample of {evidence.possible:,})" if evidence.possible > evidence.comparisons else ""
    worth = ""
    if evidence.effective < evidence.comparisons:
        worth = f", worth about {_about(evidence.effective)} independent ones because people recur in them"
    return (
        f"{_count(evidence.identities, 'identity', 'identities')}: "
        f"{_count(evidence.comparisons, 'non-mated comparison', 'non-mated comparisons')}{sampled}{worth}; "
        f"{_count(evidence.mated, 'mated comparison', 'mated comparisons')}; "
        f"{_count(evidence.searches, 'search', 'searches')} for people who are not enrolled."
    )


def _not_supported(calibration: Calibration, measured: MeasuredThreshold, rate: str) -> str:
    evidence, confidence = calibration.evidence, calibration.confidence
    opening = (
        f"Supports {rate} ≤ {measured.supported:.2g}, not the {measured.target:g} that is aimed for: "
        f"the threshold {measured.threshold:.4f} is for {measured.supported:.2g}."
    )
    if measured.method is Method.SEARCHES:
        needed = trials_for(measured.target, confidence)
        return (
            f"{opening} At least {needed:,} searches for different people are needed, {evidence.searches:,} were made."
        )
    target = measured.target
    if measured.method is Method.GALLERY_SIZE:
        target = comparison_fmr(target, calibration.gallery_size)
    needed = trials_for(target, confidence)
    # Where everybody is compared with everybody, comparisons grow with the square of the people.
    growth = needed / evidence.effective
    crossed = evidence.effective < evidence.comparisons
    people = math.ceil(evidence.identities * (math.sqrt(growth) if crossed else growth))
    return (
        f"{opening} It takes the worth of {needed:,} independent comparisons; these are worth about "
        f"{_about(evidence.effective)}. About {_about(people)} people like these would do."
    )


def _about(number: float) -> str:
    """Return a number with two digits that count."""
    digits = max(0, len(str(int(number))) - 2)
    return f"{round(number, -digits):,.0f}"


def _count(number: int, one: str, several: str) -> str:
    return f"{number:,} {one if number == 1 else several}"
