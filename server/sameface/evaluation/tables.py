"""Figures as tables for people; the terminal and the report show the same."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sameface.evaluation.forgeries import Attempts, ForgeryRates
from sameface.evaluation.groups import Group
from sameface.evaluation.identification import Identification
from sameface.evaluation.model_comparison import ModelComparison
from sameface.evaluation.resampling import Estimate
from sameface.evaluation.verification import Verification, power_text
from sameface_qdrant.calibration.report import interval_text, rate_text

RELIABLE = 10
"""Non-mated comparisons above a threshold; with fewer of them it hardly means anything."""


@dataclass(frozen=True, slots=True)
class Table:
    """Columns of text, with what to know about them."""

    title: str
    headings: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    notes: tuple[str, ...] = ()


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
        *_too_few(found),
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
        *_too_few(found.verification[0]),
    )
    return [Table("Comparison", headings, rows, notes)]


def forgeries_table(attempts: Attempts, found: ForgeryRates, fusion: str) -> Table:
    """Return the error rates of signatures."""
    rows = (
        ("EER, skilled forgeries", *_both(found.eer_skilled)),
        ("EER, random forgeries", *_both(found.eer_random)),
        (f"at {found.threshold:.4f}: FNMR", rate_text(found.fnmr), ""),
        ("FMR, skilled forgeries", rate_text(found.fmr_skilled), ""),
        ("FMR, random forgeries", rate_text(found.fmr_random), ""),
    )
    notes = (
        f"{len(attempts.signers):,} signers, each enrolled with {attempts.references.shape[1]} genuine signatures; "
        f"scores fused by their {'maximum' if fusion == 'max' else 'mean'}. {attempts.genuine.probes.size:,} genuine, "
        f"{attempts.skilled.probes.size:,} skilled and {attempts.random.probes.size:,} random attempts.",
        "One threshold for all signers; every signer counts the same. Intervals: resamples of the signers.",
    )
    return Table("Signatures", ("", "rate", "95 % interval"), rows, notes)


def accuracy_table(title: str, what: str, accuracy: Estimate, notes: Sequence[str]) -> Table:
    """Return an accuracy with its interval."""
    return Table(
        title,
        ("", "accuracy", "95 % interval", "error"),
        ((what, *_share(accuracy), rate_text(1 - accuracy.value)),),
        tuple(notes),
    )


def _too_few(found: Verification) -> list[str]:
    """Return a warning for each target whose threshold hangs on next to nothing."""
    return [
        f"FMR {power_text(point.target)} is beyond these samples: {point.accepted} non-mated comparisons are above its "
        "threshold."
        for point in found.points
        if point.accepted < RELIABLE
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
