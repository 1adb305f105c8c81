"""Sentences about a calibration: what was compared, and how far the result can be trusted. Pure."""

import math

from sameface_qdrant.calibration.expected import ExpectedAnswers
from sameface_qdrant.calibration.margin import MeasuredMargin
from sameface_qdrant.calibration.thresholds import Calibration, MeasuredThreshold, Method
from sameface_qdrant.metrics.comparisons import ComparisonSource
from sameface_qdrant.metrics.intervals import trials_to_support
from sameface_qdrant.policy import comparison_fmr
from sameface_qdrant.values.display import counted

FEW_IDENTITIES = 30
"""Fewer identities with a mated comparison make the FNMR uncertain."""
TOO_FEW_TO_RESAMPLE = 10
"""Fewer identities make intervals by resampling too narrow."""


def caveats(calibration: Calibration) -> tuple[str, ...]:
    """Return sentences: what was compared, which targets are not supported, how the measured rates may be biased."""
    evidence = calibration.evidence
    sentences = [_what_was_compared(calibration)]
    sentences += unsupported_targets(calibration)
    if not evidence.mated_comparisons:
        sentences.append(
            "No mated probe was compared, because nobody has two samples. So FNMR, the runner-up margin and the "
            "answers to mated probes are not known. Bring a cohort with two samples of each person, bring labelled "
            "scores with leads, or enrol a second sample of some people."
        )
    elif evidence.mated_identities < FEW_IDENTITIES:
        identities = counted(evidence.mated_identities, "identity", "identities")
        sentences.append(f"FNMR comes from only {identities} with two templates or more, so it is uncertain.")
    if evidence.identities < TOO_FEW_TO_RESAMPLE:
        sentences.append(
            f"Only {counted(evidence.identities, 'identity was', 'identities were')} compared. So few vary too little "
            f"when they are resampled, and intervals may be too narrow. {TOO_FEW_TO_RESAMPLE} or more are needed."
        )
    if evidence.source is ComparisonSource.GALLERY:
        sentences.append(
            "These templates are enrolled already. If enrolment refuses look-alikes, the most similar impostors are "
            "missing, and the true FMR and FPIR are higher. A cohort of other people does not have this bias."
        )
    if evidence.source is ComparisonSource.COHORT:
        sentences.append(
            "The rates hold for people who are like the cohort, and for photos that are like the cohort's."
        )
    sentences.append(
        "Thresholds were chosen and measured on the same comparisons; expect slightly more errors on others."
    )
    return tuple(sentences)


def answer_caveats(
    calibration: Calibration,
    margin: MeasuredMargin | None,
    expected: ExpectedAnswers,
    *,
    present_margin: float,
    growth: float,
    growth_within: float = 1.0,
) -> tuple[str, ...]:
    """Return sentences about the runner-up margin and the expected answers.

    Args:
        calibration: the measured thresholds.
        margin: the measured margin; None if there was nothing to measure it on.
        expected: what calls will answer.
        present_margin: of the policy.
        growth: how many times more templates the gallery has than were compared.
        growth_within: how many times more templates an identity has than were compared with it, at most.
    """
    evidence, sentences = calibration.evidence, []
    if evidence.mated_comparisons and margin is None:
        sentences.append(
            f"The runner-up margin was not measured and stays at {present_margin:g}, because these scores have no "
            "leads. Bring a lead for each score, or a cohort with two samples of each person."
        )
    if margin is not None and margin.margin < present_margin:
        sentences.append(
            f"The runner-up margin {margin.margin:g} is smaller than the present one of {present_margin:g}. With that, "
            f"more than {100 * margin.target:g} % of mated probes would be AMBIGUOUS, which is the target."
        )
    if margin is not None and not margin.is_attained:
        sentences.append(
            f"{100 * margin.ambiguous:.2g} % of mated probes are AMBIGUOUS even with the margin {margin.margin:g}, "
            f"because another identity is nearer; the target is {100 * margin.target:g} %. Look for people who are "
            "enrolled twice, enrol more templates of each person, or verify with scope CLAIM."
        )
    if growth > 1.0:
        sentences.append(
            f"The gallery has {growth:.3g} times as many templates as were compared. Any of them may be nearer than "
            "the right one. Margin and intervals allow for that many more AMBIGUOUS and false answers; the shares "
            "are as measured."
        )
    if growth_within > 1.0:
        sentences.append(
            f"Some identities have more templates than were compared with them, up to {growth_within:.3g} times as "
            "many. So the true FMR and FPIR may be as many times higher. The intervals of expected answers allow for "
            "that; the thresholds and their rates do not."
        )
    if any(one.fewer_templates for one in expected.answers):
        sentences.append(
            "A mated probe was compared with fewer templates than its identity has in use. The intervals of expected "
            "answers contain what more templates can change; the shares are as measured."
        )
    return tuple(sentences)


def unsupported_targets(calibration: Calibration, *, verify: bool = True, identify: bool = True) -> tuple[str, ...]:
    """Return one sentence for each target that is not supported; empty if all are supported.

    Args:
        calibration: what was measured.
        verify: whether to look at the target FMR.
        identify: whether to look at the target FPIR.
    """
    asked = [(calibration.verify, "FMR")] * verify + [(calibration.identify, "FPIR")] * identify
    return tuple(_unsupported(calibration, one, rate) for one, rate in asked if not one.is_supported)


def _what_was_compared(calibration: Calibration) -> str:
    evidence = calibration.evidence
    possible = evidence.possible_comparisons
    sampled = f" (a sample of {possible:,})" if possible > evidence.comparisons else ""
    equivalent = ""
    if evidence.effective_comparisons < evidence.comparisons:
        equivalent = (
            f", equivalent to about {_about(evidence.effective_comparisons)} independent ones because people recur in "
            "them"
        )
    return (
        f"{counted(evidence.identities, 'identity', 'identities')}: "
        f"{counted(evidence.comparisons, 'non-mated comparison', 'non-mated comparisons')}{sampled}{equivalent}; "
        f"{counted(evidence.mated_comparisons, 'mated comparison', 'mated comparisons')}; "
        f"{counted(evidence.searches, 'search', 'searches')} for people who are not enrolled."
    )


def _unsupported(calibration: Calibration, measured: MeasuredThreshold, rate: str) -> str:
    evidence, confidence = calibration.evidence, calibration.confidence
    opening = (
        f"The target {rate} of {measured.target:g} is not supported: the lowest supported {rate} is "
        f"{measured.supported:.2g}, and the threshold {measured.threshold:.4f} is for that rate."
    )
    if measured.method is Method.SEARCHES:
        needed, different = trials_to_support(measured.target, confidence), evidence.different_searches
        if different >= needed:
            return f"{opening} {_as_high_as_possible('searches')}"
        pairs = ""
        if different < evidence.searches:
            pairs = (
                ", because searches for two people who are nearest to each other have the same score and count as one"
            )
        return (
            f"{opening} It needs {needed:,} different searches; {counted(evidence.searches, 'search', 'searches')} "
            f"{'was' if evidence.searches == 1 else 'were'} made, which count as {different:,}{pairs}."
        )
    target = measured.target
    if measured.method is Method.GALLERY_SIZE:
        target = comparison_fmr(target, calibration.gallery_size)
    needed = trials_to_support(target, confidence)
    if evidence.effective_comparisons >= needed:
        return f"{opening} {_as_high_as_possible('comparisons')}"
    # If all people are compared with each other, comparisons grow with the square of the number of people.
    growth = needed / evidence.effective_comparisons
    is_crossed = evidence.effective_comparisons < evidence.comparisons
    people = math.ceil(evidence.identities * (math.sqrt(growth) if is_crossed else growth))
    return (
        f"{opening} It needs {needed:,} independent comparisons; these are equivalent to about "
        f"{_about(evidence.effective_comparisons)}. About {_about(people)} people like these would be enough."
    )


def _as_high_as_possible(compared: str) -> str:
    return (
        f"There are enough {compared}, but too many of them have the score 1, which every threshold accepts. Look for "
        "people who are enrolled twice, or labels that are wrong."
    )


def _about(number: float) -> str:
    """Return a number with two significant digits."""
    digits = max(0, len(str(int(number))) - 2)
    return f"{round(number, -digits):,.0f}"


def unusable_caveats(templates: int) -> tuple[str, ...]:
    """Return what to say about templates that were left out because their embedding is broken."""
    if not templates:
        return ()
    return (
        f"{counted(templates, 'template was', 'templates were')} left out: the embedding is not finite or has "
        "zero norm. Delete such points, or embed their samples again.",
    )
