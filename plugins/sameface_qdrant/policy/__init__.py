"""Turns scores into decisions. Pure. A decision contains the numbers that it was made from.

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

import dataclasses
import math
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sameface_qdrant.errors import InvalidArgument, ThresholdNotCalibrated
from sameface_qdrant.values.decision import Candidate, Decision, Id, Outcome, Scope, ThresholdSource
from sameface_qdrant.values.gallery import POLICY_SETTINGS, Gallery, OperatingPoint, Policy, PolicyChanges
from sameface_qdrant.values.identity import Identity
from sameface_qdrant.values.origin import EmbeddingOrigin, comparable
from sameface_qdrant.values.scalars import is_whole, of_python, shown
from sameface_qdrant.values.settings import check_fields

_HIGHEST = sys.float_info.max
_DEFAULTS = {field.name: field.default for field in dataclasses.fields(Policy)}


def check_policy(policy: Policy) -> Policy:
    """Check every field of a policy and return it; names of choices become enum values.

    Raises:
        InvalidArgument: a field has another type, is out of range or is not one of the choices; ``metadata["field"]``
            names it.
    """
    checked = {setting.name: setting.checked(getattr(policy, setting.name)) for setting in POLICY_SETTINGS}
    size = of_python(policy.calibrated_size)
    if size is not None and not (is_whole(size) and 0 <= size < 2**63):
        raise InvalidArgument(
            f"calibrated_size is {shown(size)}; expected a number of identities or None",
            metadata={"field": "calibrated_size"},
        )
    return dataclasses.replace(policy, **checked, calibrated_size=size, revision=of_python(policy.revision))


def check_operating_points(points: Sequence[OperatingPoint]) -> tuple[OperatingPoint, ...]:
    """Check operating points and return them, with numbers of Python.

    Raises:
        InvalidArgument: an FMR is not 0 to 1, or a threshold is not finite.
    """
    plain = tuple(OperatingPoint(of_python(point.fmr), of_python(point.threshold)) for point in points)
    for place, point in enumerate(plain):
        for name, fits, expected in (
            ("fmr", 0.0 <= point.fmr <= 1.0, "0 to 1"),
            ("threshold", -_HIGHEST <= point.threshold <= _HIGHEST, "a finite number"),
        ):
            if not fits:
                field = f"operating_points[{place}].{name}"
                raise InvalidArgument(
                    f"{field} is {shown(getattr(point, name))}; expected {expected}", metadata={"field": field}
                )
    return plain


def changed_policy(policy: Policy, changes: PolicyChanges) -> Policy:
    """Return a policy with changes; None resets a field to its default.

    Raises:
        InvalidArgument: see `check_policy`.
    """
    check_fields(changes, PolicyChanges.__annotations__, "a policy")
    values: dict[str, Any] = {name: _DEFAULTS.get(name) if value is None else value for name, value in changes.items()}
    return check_policy(dataclasses.replace(policy, **values))


def revised_policy(before: Policy, changes: PolicyChanges, author: str, now: datetime) -> Policy:
    """Return a policy after changes, as a new revision; the same one if nothing differs.

    Raises:
        InvalidArgument: a setting is malformed.
    """
    wanted = changed_policy(before, changes)
    if wanted == before:
        return before
    return dataclasses.replace(wanted, revision=wanted.revision + 1, author=author, create_time=now)


def check_override(value: float | None, field: str, low: float, high: float) -> float | None:
    """Check the range of a threshold or margin, and return it as a number of Python. None is allowed.

    Raises:
        InvalidArgument: it is not ``low`` to ``high``; ``metadata["field"]`` is ``field``.
    """
    if value is not None and not low <= value <= high:
        raise InvalidArgument(f"{field} is {shown(value)}; expected {low:g} to {high:g}", metadata={"field": field})
    return None if value is None else float(value)


def comparison_fmr(target_fpir: float, gallery_size: int) -> float:
    """Return the FMR per comparison that keeps ``target_fpir`` in a gallery: 1 − (1 − FPIR)^(1/N).

    From FPIR ≈ 1 − (1 − FMR)^N for N independent comparisons (ISO/IEC 19795-1).
    """
    # log1p and expm1 keep precision where both rates are tiny.
    return -math.expm1(math.log1p(-target_fpir) / max(1, gallery_size))


def search_fpir(fmr: float, gallery_size: int) -> float:
    """Return the FPIR of a gallery for an FMR per comparison: 1 − (1 − FMR)^N."""
    return -math.expm1(max(1, gallery_size) * math.log1p(-fmr)) if fmr < 1 else 1.0


def is_stale(policy: Policy, gallery_size: int) -> bool:
    """Return whether the gallery has doubled since its identification threshold was calibrated."""
    return policy.calibrated_size is not None and gallery_size >= 2 * policy.calibrated_size


@dataclass(frozen=True, slots=True)
class Threshold:
    """The threshold of one decision and where it came from."""

    value: float
    source: ThresholdSource
    target_attained: bool | None = None
    """Whether an operating point was strict enough for the policy's target; None if no operating point was used."""
    stale: bool = False
    """Whether the gallery has doubled since it was calibrated."""


def operating_threshold(points: Sequence[OperatingPoint], fmr: float) -> Threshold | None:
    """Return the threshold of the point with the largest FMR up to ``fmr``; None if there are no points.

    If no point is strict enough, the strictest one is used and ``target_attained`` is False.
    """
    if not points:
        return None
    strict_enough = [point for point in points if point.fmr <= fmr]
    if strict_enough:
        chosen = max(strict_enough, key=lambda point: point.fmr)
    else:
        chosen = min(points, key=lambda point: point.fmr)
    return Threshold(chosen.threshold, ThresholdSource.MODEL_CARD, bool(strict_enough))


def verification_threshold(gallery: Gallery, identity: Identity | None, requested: float | None) -> Threshold:
    """Return the threshold of a claim: the first one of request, identity, gallery and model card.

    Raises:
        ThresholdNotCalibrated: none of them has one.
    """
    return _first(
        _given(requested, ThresholdSource.REQUEST),
        _given(identity.verify_threshold if identity else None, ThresholdSource.IDENTITY),
        _given(gallery.policy.verify_threshold, ThresholdSource.GALLERY),
        operating_threshold(gallery.operating_points, gallery.policy.target_fmr),
    )


def identification_threshold(gallery: Gallery, gallery_size: int, requested: float | None) -> Threshold:
    """Return the threshold of a search: the first one of request, gallery and model card (at the gallery's size).

    Raises:
        ThresholdNotCalibrated: none of them has one.
    """
    policy = gallery.policy
    from_policy = _given(policy.identify_threshold, ThresholdSource.GALLERY)
    return _first(
        _given(requested, ThresholdSource.REQUEST),
        from_policy and dataclasses.replace(from_policy, stale=is_stale(policy, gallery_size)),
        operating_threshold(gallery.operating_points, comparison_fmr(policy.target_fpir, gallery_size)),
    )


def decide_verification(
    claim: Candidate[Id],
    best_other: Candidate[Id] | None,
    *,
    scope: Scope,
    threshold: Threshold,
    margin: float,
    policy_revision: int,
    gallery_size: int,
    shift: float = 0.0,
) -> Decision[Id]:
    """Decide a claim by the table of this module. ``best_other`` counts only with scope GALLERY.

    The threshold is one of scores with templates of the claim's origin; for ``shift`` see
    `sameface_qdrant.values.origin.comparable`.
    """
    other = best_other if scope is Scope.GALLERY else None
    lead = None if other is None else comparable(claim, shift) - comparable(other, shift)
    candidates = (claim,) if other is None or lead is None else (other, claim) if lead < 0 else (claim, other)
    return Decision(
        outcome=_outcome(claim.score, lead, threshold.value, margin),
        score=claim.score,
        threshold=threshold.value,
        threshold_source=threshold.source,
        target_attained=threshold.target_attained,
        margin=margin,
        lead=lead,
        policy_revision=policy_revision,
        gallery_size=gallery_size,
        scope=scope,
        candidates=candidates,
        embedding_origin=claim.embedding_origin,
    )


def decide_identification(
    candidates: Sequence[Candidate[Id]],
    *,
    limit: int,
    threshold: Threshold,
    margin: float,
    policy_revision: int,
    gallery_size: int,
    shift: float = 0.0,
) -> Decision[Id]:
    """Decide a search over candidates, best first, one per identity. Without a candidate it is NO_MATCH.

    The decision lists at most ``limit`` candidates. The second one always counts for the lead. The threshold is one of
    scores with templates of the first candidate's origin; for ``shift`` see `sameface_qdrant.values.origin.comparable`.
    """
    score = candidates[0].score if candidates else None
    best = [comparable(candidate, shift) for candidate in candidates[:2]]
    lead = best[0] - best[1] if len(best) > 1 else None
    return Decision(
        outcome=Outcome.NO_MATCH if score is None else _outcome(score, lead, threshold.value, margin),
        score=score,
        threshold=threshold.value,
        threshold_source=threshold.source,
        target_attained=threshold.target_attained,
        threshold_stale=threshold.stale,
        margin=margin,
        lead=lead,
        policy_revision=policy_revision,
        gallery_size=gallery_size,
        scope=Scope.GALLERY,
        candidates=tuple(candidates[:limit]),
        embedding_origin=candidates[0].embedding_origin if candidates else EmbeddingOrigin.NATIVE,
    )


def decide_comparison(
    score: float, *, policy: Policy, operating_points: Sequence[OperatingPoint], threshold: float | None
) -> Decision:
    """Decide whether two embeddings outside any gallery are of the same subject.

    Raises:
        ThresholdNotCalibrated: neither ``threshold`` nor an operating point is given.
    """
    chosen = _first(
        _given(threshold, ThresholdSource.REQUEST), operating_threshold(operating_points, policy.target_fmr)
    )
    return Decision(
        outcome=_outcome(score, None, chosen.value, 0.0),
        score=score,
        threshold=chosen.value,
        threshold_source=chosen.source,
        target_attained=chosen.target_attained,
        margin=0.0,
        lead=None,
        policy_revision=policy.revision,
        gallery_size=0,
        scope=Scope.CLAIM,
    )


def _outcome(score: float, lead: float | None, threshold: float, margin: float) -> Outcome:
    # So that a score or a lead which is not a number never gives a MATCH.
    if not score >= threshold:
        return Outcome.NO_MATCH
    if lead is not None and not lead >= margin:
        return Outcome.AMBIGUOUS
    return Outcome.MATCH


def _given(value: float | None, source: ThresholdSource) -> Threshold | None:
    return None if value is None else Threshold(value, source)


def _first(*choices: Threshold | None) -> Threshold:
    for threshold in choices:
        if threshold is not None:
            return threshold
    raise ThresholdNotCalibrated(
        "no threshold is known: the request, the gallery's policy and its model card have none; calibrate the gallery, "
        "set a threshold in its policy, or send one with the request"
    )
