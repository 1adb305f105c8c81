"""Figures as tables for people and as records for programs; the terminal, the JSON and the report show the same."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sameface.evaluation.comparison import ModelComparison
from sameface.evaluation.groups import Group
from sameface.evaluation.identification import Identification
from sameface.evaluation.resampling import Estimate
from sameface.evaluation.samples import Samples
from sameface.evaluation.verification import Verification, power_text
from sameface_qdrant.metrics import fte
from sameface_qdrant.plots import interval_text, rate_text


@dataclass(frozen=True, slots=True)
class Table:
    """Columns of text, with what to know about them."""

    title: str
    headings: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    notes: tuple[str, ...] = ()


def conditions(source: str, samples: Samples) -> dict[str, Any]:
    """Return what was measured: data, counts, model, and every sample and identity that is not like the others."""
    failed, unreadable = samples.not_acquired, samples.unreadable
    counts: dict[str, int] = {}
    for identity in [*samples.identity, *(one.identity for one in failed)]:
        counts[identity] = counts.get(identity, 0) + 1
    attempted = len(samples.sample) + len(failed)
    return {
        "data": source,
        "model": samples.model,
        "preprocessed": samples.preprocessed,
        "identities": len(counts),
        "samples": attempted,
        "failure_to_acquire_rate": fte(len(failed), attempted) if attempted else None,
        "not_acquired": [one.sample for one in failed],
        "unreadable": {one.sample: one.reason for one in unreadable},
        "identities_with_one_sample": sorted(name for name, count in counts.items() if count == 1),
        "quality_gate_would_refuse": samples.refusals,
    }


def conditions_table(found: dict[str, Any], title: str = "Conditions") -> Table:
    """Return the conditions, lists as counts with the first names."""
    refused = ", ".join(f"{count} {reason}" for reason, count in found["quality_gate_would_refuse"].items())
    failed = _named(found["not_acquired"])
    rows = (
        ("data", f"{found['data']}: {found['identities']:,} identities, {found['samples']:,} samples"),
        ("model", found["model"] or "not stated"),
        ("preprocessed", found["preprocessed"] or "not stated"),
        ("without a face (FTE)", f"{rate_text(found['failure_to_acquire_rate'])}: {failed}"),
        ("no readable photo, left out", _named(list(found["unreadable"]))),
        ("identities with one sample, so no mated comparison", _named(found["identities_with_one_sample"])),
        ("quality gate would refuse", refused or "none, as far as is known"),
    )
    return Table(title, ("", ""), rows)


def verification_tables(found: Verification) -> list[Table]:
    """Return FNMR at every target FMR, and the EER."""
    cross = found.cross
    rows = [
        (
            power_text(point.target),
            f"{point.threshold:.4f}",
            f"{point.accepted:,}",
            rate_text(point.fnmr.value),
            interval_text(point.fnmr.interval),
            rate_text(point.fnmr_by_identity.value),
            interval_text(point.fnmr_by_identity.interval),
        )
        for point in found.points
    ]
    by_comparison, by_identity = found.eer, found.eer_by_identity
    rows.append(
        (
            "EER",
            "",
            "",
            rate_text(by_comparison.value),
            interval_text(by_comparison.interval),
            rate_text(by_identity.value),
            interval_text(by_identity.interval),
        )
    )
    notes = (
        f"All cross pairs of {len(cross.identities):,} identities: {cross.mated.size:,} mated and "
        f"{cross.non_mated:,} non-mated comparisons.",
        f"Intervals: 95 % percentiles of {len(found.drawn):,} resamples of the identities, each with thresholds of its "
        "own.",
        "A mated comparison with a photo without a face never matches; such photos are in no non-mated comparison.",
        "Where few comparisons are above a threshold, a few people or wrong labels decide it.",
    )
    headings = ("FMR", "threshold", "non-mated above", "FNMR", "95 % interval", "FNMR by identity", "95 % interval")
    return [Table("Verification (1:1)", headings, tuple(rows), notes)]


def group_tables(
    groups: Sequence[Group], columns_left_out: Sequence[str] = (), only: float | None = None
) -> list[Table]:
    """Return one table for each column of labels, with every target FMR or only one."""
    tables = []
    for column in dict.fromkeys(group.column for group in groups):
        members = [group for group in groups if group.column == column]
        rows = [
            (
                group.label,
                f"{group.identities:,}",
                power_text(rates.target),
                *_both(rates.fmr),
                _signed(rates.fmr_difference, group.is_reference),
                *_both(rates.fnmr),
                _signed(rates.fnmr_difference, group.is_reference),
            )
            for place, target in enumerate(rates.target for rates in members[0].rates)
            if only in (None, target)
            for group in members
            for rates in (group.rates[place],)
        ]
        headings = (
            column,
            "identities",
            "FMR of all",
            "FMR",
            "95 % interval",
            "difference",
            "FNMR by identity",
            "95 % interval",
            "difference",
        )
        notes = [
            "At the threshold of all. FMR between two people of the group; differences from the largest group, with "
            "their 95 % intervals: those that hold 0 show no difference.",
            "Groups of fewer than five people are counted, not rated.",
        ]
        if columns_left_out:
            notes.append(f"No grouping (one value, or more than ten): {', '.join(columns_left_out)}.")
        tables.append(Table(f"By {column}", headings, tuple(rows), tuple(notes)))
    return tables


def identification_tables(found: Identification) -> list[Table]:
    """Return FNIR at every target FPIR, and rank 1."""
    searches = found.searches
    rows = [
        (
            f"FNIR at FPIR {power_text(point.target)}",
            f"{point.threshold:.4f}",
            rate_text(point.fnir.value),
            interval_text(point.fnir.interval),
        )
        for point in found.points
    ]
    rows.append(("rank 1, whatever the score", "", *_share(found.rank_one)))
    notes = (
        f"{searches.splits} random splits; in each {searches.gallery_size:,} identities are enrolled with one photo. "
        f"{searches.mated.size:,} mated and {searches.non_mated.size:,} non-mated searches in all; every identity "
        "counts the same.",
        f"Intervals: 95 % percentiles of {len(found.resampled):,} resamples of the identities searched for.",
    )
    return [Table("Open-set identification (1:N)", ("", "threshold", "rate", "95 % interval"), tuple(rows), notes)]


def comparison_tables(found: ModelComparison, names: tuple[str, str]) -> list[Table]:
    """Return every endpoint of both models, the difference and the verdict."""
    rows = tuple(
        (
            one.name,
            *(_with_interval(side, one.lower_is_better) for side in (one.first, one.second)),
            f"{100 * one.difference.value:+.2f} ({100 * one.difference.interval.low:+.2f} to "
            f"{100 * one.difference.interval.high:+.2f})",
            str(one.verdict),
        )
        for one in found.endpoints
    )
    headings = ("endpoint", *names, "difference", f"{names[1]} is")
    notes = (
        "In brackets 95 % intervals. Differences in percentage points, second less first; their intervals are "
        "percentiles over the same resampled identities for both. FNMR and FNIR: every identity counts the same.",
        "Several looks at 5 % each find a difference by chance more often than that: decide by the endpoint that was "
        "named before.",
    )
    return [Table("Comparison", headings, rows, notes)]


def accuracy_table(title: str, what: str, accuracy: Estimate, notes: Sequence[str]) -> Table:
    """Return an accuracy with its interval."""
    return Table(
        title,
        ("", "accuracy", "95 % interval", "error"),
        ((what, *_share(accuracy), rate_text(1 - accuracy.value)),),
        tuple(notes),
    )


def estimate_record(one: Estimate | None) -> dict[str, float] | None:
    """Return a rate with its interval for programs."""
    return None if one is None else {"value": one.value, "low": one.interval.low, "high": one.interval.high}


def verification_record(found: Verification) -> dict[str, Any]:
    """Return verification figures for programs."""
    return {
        "mated": int(found.cross.mated.size),
        "non_mated": found.cross.non_mated,
        "replicates": len(found.drawn),
        "points": [
            {
                "fmr": point.target,
                "threshold": point.threshold,
                "measured_fmr": point.fmr,
                "non_mated_above": point.accepted,
                "fnmr": estimate_record(point.fnmr),
                "fnmr_by_identity": estimate_record(point.fnmr_by_identity),
            }
            for point in found.points
        ],
        "eer": estimate_record(found.eer),
        "eer_by_identity": estimate_record(found.eer_by_identity),
    }


def groups_record(groups: Sequence[Group]) -> list[dict[str, Any]]:
    """Return the figures of groups for programs."""
    return [
        {
            "column": group.column,
            "label": group.label,
            "identities": group.identities,
            "samples": group.samples,
            "mated": group.mated,
            "non_mated": group.non_mated,
            "is_reference": group.is_reference,
            "rates": [
                {
                    "fmr_of_all": rates.target,
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


def identification_record(found: Identification) -> dict[str, Any]:
    """Return identification figures for programs."""
    return {
        "gallery_size": found.searches.gallery_size,
        "splits": found.searches.splits,
        "mated": int(found.searches.mated.size),
        "non_mated": int(found.searches.non_mated.size),
        "points": [
            {
                "fpir": point.target,
                "threshold": point.threshold,
                "measured_fpir": point.fpir,
                "fnir": estimate_record(point.fnir),
            }
            for point in found.points
        ],
        "rank_one": estimate_record(found.rank_one),
    }


def comparison_record(found: ModelComparison) -> list[dict[str, Any]]:
    """Return the endpoints of two models for programs."""
    return [
        {
            "endpoint": one.name,
            "first": estimate_record(one.first),
            "second": estimate_record(one.second),
            "difference": estimate_record(one.difference),
            "verdict": str(one.verdict),
        }
        for one in found.endpoints
    ]


def _both(one: Estimate | None) -> tuple[str, str]:
    return ("–", "") if one is None else (rate_text(one.value), interval_text(one.interval))


def _share(one: Estimate) -> tuple[str, str]:
    """Return a rate that is near 1: the digits that count are the last ones."""
    low, high = one.interval.low, one.interval.high
    return f"{100 * one.value:.2f} %", f"{100 * low:.2f} % to {100 * high:.2f} %"


def _with_interval(one: Estimate, is_error: bool) -> str:
    value, interval = _both(one) if is_error else _share(one)
    return f"{value} ({interval})"


def _signed(one: Estimate | None, is_reference: bool) -> str:
    if one is None:
        return "largest" if is_reference else "–"
    low, high = one.interval.low, one.interval.high
    return f"{100 * one.value:+.2g} ({100 * low:+.2g} to {100 * high:+.2g})"


def _named(names: Sequence[str], most: int = 5) -> str:
    if not names:
        return "none"
    return f"{len(names):,} ({', '.join(names[:most])}{', …' if len(names) > most else ''})"
