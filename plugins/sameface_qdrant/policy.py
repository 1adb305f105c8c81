"""From scores to decisions. Pure; every number that decides is in the decision.

Verification, score s of the claim, best other identity's score o, threshold t, runner-up margin m, lead = s − o:

| s ≥ t | nearest | lead ≥ m | scope CLAIM | scope GALLERY |
| --- | --- | --- | --- | --- |
| yes | claim | yes | MATCH | MATCH |
| yes | claim | no | MATCH | AMBIGUOUS |
| yes | other | – | MATCH | AMBIGUOUS |
| no | any | – | NO_MATCH | NO_MATCH |

Identification, best score s and the next identity's score o: s ≥ t and lead ≥ m → MATCH; s ≥ t and lead < m →
AMBIGUOUS; else NO_MATCH.
"""

import math
from collections.abc import Sequence

from sameface_qdrant.errors import InvalidArgument, ThresholdNotCalibrated
from sameface_qdrant.values import (
    Candidate,
    Decision,
    Gallery,
    Identity,
    OperatingPoint,
    Outcome,
    Policy,
    Scope,
    ThresholdSource,
)

HARD_TEMPLATE_LIMIT = 64
"""No policy may allow more templates per identity; it bounds the exact de-duplicated search."""


def check_policy(policy: Policy) -> Policy:
    """Return a policy after checking every range.

    Raises:
        InvalidArgument: a field is out of range; ``metadata["field"]`` names it.
    """
    ranges = (
        ("verify_threshold", policy.verify_threshold, -1.0, 1.0, True),
        ("identify_threshold", policy.identify_threshold, -1.0, 1.0, True),
        ("runner_up_margin", policy.runner_up_margin, 0.0, 2.0, True),
        ("target_fmr", policy.target_fmr, 0.0, 1.0, False),
        ("target_fpir", policy.target_fpir, 0.0, 1.0, False),
        ("max_templates", policy.max_templates, 1, HARD_TEMPLATE_LIMIT, True),
    )
    for field, value, low, high, closed in ranges:
        if value is not None and not (low <= value <= high if closed else low < value < high):
            raise InvalidArgument(
                f"{field} is {value:g}; expected {low:g} to {high:g}{'' if closed else ', both excluded'}",
                metadata={"field": field},
            )
    return policy


def check_override(value: float | None, field: str, low: float, high: float) -> float | None:
    """Return a threshold or margin that a request or identity brings, after checking its range."""
    if value is not None and not low <= value <= high:
        raise InvalidArgument(f"{field} is {value:g}; expected {low:g} to {high:g}", metadata={"field": field})
    return value


def comparison_fmr(target_fpir: float, gallery_size: int) -> float:
    """Return the FMR per comparison that keeps ``target_fpir`` in a gallery: 1 − (1 − FPIR)^(1/N).

    From FPIR ≈ 1 − (1 − FMR)^N for N independent comparisons (ISO/IEC 19795-1).
    """
    # log1p and expm1 keep precision where both rates are tiny.
    return -math.expm1(math.log1p(-target_fpir) / max(1, gallery_size))


def operating_threshold(points: Sequence[OperatingPoint], fmr: float) -> float | None:
    """Return the threshold of the point with the largest FMR not above ``fmr``, else of the strictest.

    None where there is no point.
    """
    if not points:
        return None
    lenient = [point for point in points if point.fmr <= fmr]
    chosen = max(lenient, key=lambda point: point.fmr) if lenient else min(points, key=lambda point: point.fmr)
    return chosen.threshold


def verification_threshold(
    gallery: Gallery, identity: Identity | None, requested: float | None
) -> tuple[float, ThresholdSource]:
    """Return the threshold of a claim and where it came from: request, identity, gallery, model card.

    Raises:
        ThresholdNotCalibrated: none of them brings one.
    """
    return _first_threshold(
        (requested, ThresholdSource.REQUEST),
        (identity.verify_threshold if identity else None, ThresholdSource.IDENTITY),
        (gallery.policy.verify_threshold, ThresholdSource.GALLERY),
        (operating_threshold(gallery.operating_points, gallery.policy.target_fmr), ThresholdSource.MODEL_CARD),
    )


def identification_threshold(
    gallery: Gallery, gallery_size: int, requested: float | None
) -> tuple[float, ThresholdSource]:
    """Return the threshold of a search and where it came from: request, gallery, model card at the gallery's size.

    Raises:
        ThresholdNotCalibrated: none of them brings one.
    """
    wanted = comparison_fmr(gallery.policy.target_fpir, gallery_size)
    return _first_threshold(
        (requested, ThresholdSource.REQUEST),
        (gallery.policy.identify_threshold, ThresholdSource.GALLERY),
        (operating_threshold(gallery.operating_points, wanted), ThresholdSource.MODEL_CARD),
    )


def decide_verification(
    claim: Candidate,
    best_other: Candidate | None,
    *,
    scope: Scope,
    threshold: tuple[float, ThresholdSource],
    margin: float,
    policy_revision: int,
    gallery_size: int,
) -> Decision:
    """Decide a claim by the table above; ``best_other`` is looked at with scope GALLERY only."""
    other = best_other if scope is Scope.GALLERY else None
    lead = None if other is None else claim.score - other.score
    return Decision(
        outcome=_outcome(claim.score, lead, threshold[0], margin),
        score=claim.score,
        threshold=threshold[0],
        threshold_source=threshold[1],
        margin=margin,
        lead=lead,
        policy_revision=policy_revision,
        gallery_size=gallery_size,
        scope=scope,
        candidates=tuple(sorted(filter(None, (claim, other)), key=lambda candidate: -candidate.score)),
    )


def decide_identification(
    candidates: Sequence[Candidate],
    *,
    limit: int,
    threshold: tuple[float, ThresholdSource],
    margin: float,
    policy_revision: int,
    gallery_size: int,
) -> Decision:
    """Decide a search over candidates, best first, one per identity; none at all is NO_MATCH.

    At most ``limit`` of them are listed in the decision, but the second one always counts for the lead.
    """
    score = candidates[0].score if candidates else None
    lead = candidates[0].score - candidates[1].score if len(candidates) > 1 else None
    return Decision(
        outcome=Outcome.NO_MATCH if score is None else _outcome(score, lead, threshold[0], margin),
        score=score,
        threshold=threshold[0],
        threshold_source=threshold[1],
        margin=margin,
        lead=lead,
        policy_revision=policy_revision,
        gallery_size=gallery_size,
        scope=Scope.GALLERY,
        candidates=tuple(candidates[:limit]),
    )


def decide_comparison(
    score: float, *, policy: Policy, operating_points: Sequence[OperatingPoint], threshold: float | None
) -> Decision:
    """Decide whether two embeddings that belong to no gallery are of one subject."""
    chosen = _first_threshold(
        (threshold, ThresholdSource.REQUEST),
        (operating_threshold(operating_points, policy.target_fmr), ThresholdSource.MODEL_CARD),
    )
    return Decision(
        outcome=_outcome(score, None, chosen[0], 0.0),
        score=score,
        threshold=chosen[0],
        threshold_source=chosen[1],
        margin=0.0,
        lead=None,
        policy_revision=policy.revision,
        gallery_size=0,
        scope=Scope.CLAIM,
    )


def _outcome(score: float, lead: float | None, threshold: float, margin: float) -> Outcome:
    if score < threshold:
        return Outcome.NO_MATCH
    if lead is not None and lead < margin:
        return Outcome.AMBIGUOUS
    return Outcome.MATCH


def _first_threshold(*choices: tuple[float | None, ThresholdSource]) -> tuple[float, ThresholdSource]:
    for value, source in choices:
        if value is not None:
            return value, source
    raise ThresholdNotCalibrated(
        "no threshold is known: the request, the gallery's policy and its model card bring none; set one in the policy "
        "or send one with the request"
    )
