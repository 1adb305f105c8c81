"""Figures as plain values: what ``--json`` prints."""

from collections.abc import Sequence
from typing import Any

from sameface.evaluation.cross_comparison import CrossComparison
from sameface.evaluation.forgeries import Attempts, ForgeryRates
from sameface.evaluation.groups import Group
from sameface.evaluation.identification import Identification
from sameface.evaluation.model_comparison import ModelComparison
from sameface.evaluation.operating_points import MeasuredOperatingPoint
from sameface.evaluation.resampling import Estimate
from sameface.evaluation.samples import Samples
from sameface.evaluation.support import support_record
from sameface.evaluation.verification import Verification
from sameface_qdrant.metrics.error_rates import fta
from sameface_qdrant.metrics.support import Support

CARD_DIGITS = 5
"""Decimals of a rate in a model card."""


def conditions(source: str, samples: Samples, forgeries: int | None = None) -> dict[str, Any]:
    """Return what was measured: data, counts and model, and the samples and identities that are treated differently.

    ``forgeries`` is how many there are, if ``samples`` do not hold them.
    """
    if forgeries is None:
        forgeries = 0 if samples.forgeries is None else len(samples.forgeries.sample)
    failed, unreadable = samples.not_acquired, samples.unreadable
    counts: dict[str, int] = {}
    for identity in [*samples.identity, *(failure.identity for failure in failed)]:
        counts[identity] = counts.get(identity, 0) + 1
    attempted = len(samples.sample) + len(failed)
    return {
        "data": source,
        "model": samples.model,
        "preprocessed": samples.preprocessed,
        "identities": len(counts),
        "samples": attempted,
        "skilled_forgeries": forgeries,
        "failure_to_acquire_rate": fta(len(failed), attempted) if attempted else None,
        "not_acquired": [failure.sample for failure in failed],
        "unreadable": {failure.sample: failure.reason for failure in unreadable},
        "identities_with_one_sample": sorted(name for name, count in counts.items() if count == 1),
        "quality_gate_would_refuse": samples.refusals,
    }


def estimate_record(one: Estimate | None) -> dict[str, float] | None:
    """Return a rate and its interval."""
    return None if one is None else {"value": one.value, "low": one.interval.low, "high": one.interval.high}


def verification_record(found: Verification) -> dict[str, Any]:
    """Return verification figures."""
    return {
        "mated": int(found.comparison.mated.size),
        "non_mated": found.comparison.non_mated,
        "supported_fmr": support_record(found.support),
        "replicates": len(found.resample_counts),
        "points": [
            {
                "fmr": point.target,
                "supported": found.support.holds(point.target),
                "threshold": point.threshold,
                "measured_fmr": point.fmr,
                "non_mated_above": point.false_matches,
                "fnmr": estimate_record(point.fnmr),
                "fnmr_by_identity": estimate_record(point.fnmr_by_identity),
            }
            for point in found.points
        ],
        "eer": estimate_record(found.eer),
        "eer_by_identity": estimate_record(found.eer_by_identity),
        "skilled_forgeries": skilled_record(found),
    }


def skilled_record(found: Verification) -> dict[str, Any] | None:
    """Return how many skilled forgeries are accepted at each point; None without forgeries."""
    if found.skilled is None:
        return None
    return {
        "forgeries": found.skilled.comparison.forgeries,
        "comparisons": int(found.skilled.comparison.scores.size),
        "identities": found.skilled.identities,
        "points": [
            {"fmr": point.target, "threshold": point.threshold, "fmr_of_forgeries": estimate_record(rate)}
            for point, rate in zip(found.points, found.skilled.fmr, strict=True)
        ],
        "eer": estimate_record(found.skilled.eer),
    }


def points_record(
    points: Sequence[MeasuredOperatingPoint],
    comparison: CrossComparison,
    found: Support,
    measured_on: str,
    *,
    for_card: bool = False,
) -> list[dict[str, Any]]:
    """Return operating points; with ``for_card`` only what a model card holds."""
    return [
        {
            "fmr": point.target_fmr,
            "threshold": point.threshold,
            "fnmr": round(point.fnmr, 5),
            "fnmr_by_identity": round(point.fnmr_by_identity, 5),
            "non_mated": comparison.non_mated,
            "mated": int(comparison.mated.size),
            "identities": len(comparison.identities),
            "measured_on": measured_on,
            "false_matches": point.false_matches,
            "independent": round(found.trials),
            "supported": found.holds(point.target_fmr),
            **({} if for_card else {"fmr_of_forgeries": point.fmr_of_forgeries}),
        }
        for point in points
    ]


def groups_record(groups: Sequence[Group]) -> list[dict[str, Any]]:
    """Return the figures of groups."""
    return [
        {
            "column": group.column,
            "label": group.label,
            "identities": group.identities,
            "samples": group.samples,
            "mated": group.mated,
            "non_mated": group.non_mated,
            "is_reference": group.is_reference,
            "few_identities": group.is_small,
            "rates": [
                {
                    "fmr_of_all": rates.target,
                    "threshold": rates.threshold,
                    "supported": rates.is_supported,
                    "fmr": estimate_record(rates.fmr),
                    "fnmr_by_identity": estimate_record(rates.fnmr),
                    "fmr_difference": estimate_record(rates.fmr_difference),
                    "fnmr_difference": estimate_record(rates.fnmr_difference),
                }
                for rates in group.rates
            ],
        }
        for group in groups
    ]


def groups_for_card(groups: Sequence[Group], measured_on: str, note: str = "") -> list[dict[str, Any]]:
    """Return what a model card says of groups, at their first threshold."""
    return [
        {
            "measured_on": measured_on,
            "column": group.column,
            "label": group.label,
            "identities": group.identities,
            "mated": group.mated,
            "non_mated": group.non_mated,
            "threshold": round(group.rates[0].threshold, CARD_DIGITS),
            "fmr": rounded_record(group.rates[0].fmr),
            "fnmr_by_identity": rounded_record(group.rates[0].fnmr),
            "few_identities": group.is_small,
            "note": note,
        }
        for group in groups
    ]


def rounded_record(one: Estimate | None) -> dict[str, float] | None:
    """Return a rate and its interval with the digits of a model card."""
    found = estimate_record(one)
    return None if found is None else {name: round(rate, CARD_DIGITS) for name, rate in found.items()}


def identification_record(found: Identification) -> dict[str, Any]:
    """Return identification figures."""
    return {
        "gallery_size": found.searches.gallery_size,
        "splits": found.searches.splits,
        "mated": int(found.searches.mated.size),
        "non_mated": int(found.searches.non_mated.size),
        "supported_fpir": support_record(found.support),
        "points": [
            {
                "fpir": point.target,
                "supported": found.support.holds(point.target),
                "threshold": point.threshold,
                "measured_fpir": point.fpir,
                "fnir": estimate_record(point.fnir),
            }
            for point in found.points
        ],
        "rank_one": estimate_record(found.rank_one),
    }


def comparison_record(found: ModelComparison) -> list[dict[str, Any]]:
    """Return the endpoints of a comparison of two models."""
    return [
        {
            "endpoint": one.name,
            "supported": one.is_supported,
            "first": estimate_record(one.first),
            "second": estimate_record(one.second),
            "difference": estimate_record(one.difference),
            "verdict": str(one.verdict),
        }
        for one in found.endpoints
    ]


def forgeries_record(attempts: Attempts, found: ForgeryRates, fusion: str) -> dict[str, Any]:
    """Return the error rates of signatures."""
    return {
        "signers": len(attempts.signers),
        "templates": int(attempts.references.shape[1]),
        "fusion": fusion,
        "genuine": int(attempts.genuine.probes.size),
        "skilled": int(attempts.skilled.probes.size),
        "random": int(attempts.random.probes.size),
        "eer_skilled": estimate_record(found.eer_skilled),
        "eer_random": estimate_record(found.eer_random),
        "threshold": found.threshold,
        "fnmr": estimate_record(found.fnmr),
        "fmr_skilled": estimate_record(found.fmr_skilled),
        "fmr_random": estimate_record(found.fmr_random),
    }
