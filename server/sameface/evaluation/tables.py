"""Figures as tables of text, for the terminal and for the report."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sameface.evaluation.forgeries import Attempts, ForgeryRates
from sameface.evaluation.groups import LEAST_IDENTITIES, MAX_GROUPS, Group
from sameface.evaluation.identification import Identification
from sameface.evaluation.model_comparison import ModelComparison
from sameface.evaluation.resampling import Estimate
from sameface.evaluation.verification import Verification, power_text
from sameface_qdrant.calibration.report import interval_text, rate_text

RELIABLE = 10
"""With fewer false matches at a threshold than this, its figures are not reliable."""


@dataclass(frozen=True, slots=True)
class Table:
    """A table of text with notes."""

    title: str
    headings: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    notes: tuple[str, ...] = ()


def conditions_table(found: dict[str, Any], title: str = "Conditions") -> Table:
    """Return the conditions of a measurement; lists are shown as counts with the first names."""
    refused = ", ".join(f"{count} {reason}" for reason, count in found["quality_gate_would_refuse"].items())
    failed = _named(found["not_acquired"])
    rows = (
        ("data", f"{found['data']}: {found['identities']:,} identities, {found['samples']:,} samples"),
        ("model", found["model"] or "not stated"),
        ("preprocessed", found["preprocessed"] or "not stated"),
        ("photos without a face (FTA)", f"{rate_text(found['failure_to_acquire_rate'])}: {failed}"),
        ("unreadable files, left out", _named(list(found["unreadable"]))),
        ("identities with one sample (no mated comparison)", _named(found["identities_with_one_sample"])),
        ("quality gate would refuse", refused or "none known"),
    )
    return Table(title, ("", ""), rows)


def verification_tables(found: Verification) -> list[Table]:
    """Return FNMR at every target FMR, and EER."""
    comparison = found.comparison
    rows = [
        (
            power_text(point.target),
            f"{point.threshold:.4f}",
            f"{point.false_matches:,}",
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
        f"Every pair of samples of {len(comparison.identities):,} identities: {comparison.mated.size:,} mated and "
        f"{comparison.non_mated:,} non-mated comparisons.",
        f"Intervals: 95 % percentile intervals of {len(found.resample_counts):,} resamples of the identities. Each "
        "resample has its own thresholds.",
        "A photo without a face never matches in a mated comparison, and is in no non-mated comparison.",
        "If few non-mated comparisons match, the threshold depends on a few people, or on wrong labels.",
        *_too_few(found),
    )
    headings = ("FMR", "threshold", "false matches", "FNMR", "95 % interval", "FNMR by identity", "95 % interval")
    return [Table("Verification (1:1)", headings, tuple(rows), notes)]


def group_tables(
    groups: Sequence[Group], columns_left_out: Sequence[str] = (), only: float | None = None
) -> list[Table]:
    """Return one table for each column of labels, with every target FMR or with only one."""
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
            "FMR over all",
            "FMR",
            "95 % interval",
            "difference",
            "FNMR by identity",
            "95 % interval",
            "difference",
        )
        notes = [
            "All groups have the same threshold. FMR: comparisons between two people of the group. Difference: from "
            "the largest group, in percentage points with its 95 % interval; an interval that includes 0 shows none.",
            f"Groups of fewer than {LEAST_IDENTITIES} people have no rates.",
        ]
        if columns_left_out:
            notes.append(f"Columns left out, with one value or more than {MAX_GROUPS}: {', '.join(columns_left_out)}.")
        tables.append(Table(f"By {column}", headings, tuple(rows), tuple(notes)))
    return tables


def identification_tables(found: Identification) -> list[Table]:
    """Return FNIR at every target FPIR, and the rank-1 rate."""
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
    rows.append(("rank 1 at any score", "", *_share(found.rank_one)))
    notes = (
        f"{searches.splits} random splits. In each, {searches.gallery_size:,} identities are enrolled with one photo. "
        f"In all, {searches.mated.size:,} mated and {searches.non_mated.size:,} non-mated searches. Every identity "
        "counts the same.",
        f"Intervals: 95 % percentile intervals of {len(found.resampled):,} resamples of the probes' identities.",
    )
    return [Table("Open-set identification (1:N)", ("", "threshold", "rate", "95 % interval"), tuple(rows), notes)]


def comparison_tables(found: ModelComparison, names: tuple[str, str]) -> list[Table]:
    """Return every endpoint of both models, with the difference and the verdict."""
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
        "In brackets: 95 % intervals. Differences are in percentage points, second minus first, with intervals from "
        "the same resampled identities for both. In FNMR and FNIR every identity counts the same.",
        "Each endpoint has a 5 % chance to show a difference where there is none; for several it is higher. Decide "
        "by one endpoint that you chose in advance.",
        *_too_few(found.verification[0]),
    )
    return [Table("Comparison", headings, rows, notes)]


def forgeries_table(attempts: Attempts, found: ForgeryRates, fusion: str) -> Table:
    """Return the error rates of signatures."""
    rows = (
        ("EER, skilled forgeries", *_both(found.eer_skilled)),
        ("EER, random forgeries", *_both(found.eer_random)),
        (f"FNMR at threshold {found.threshold:.4f}", rate_text(found.fnmr), ""),
        ("FMR at this threshold, skilled forgeries", rate_text(found.fmr_skilled), ""),
        ("FMR at this threshold, random forgeries", rate_text(found.fmr_random), ""),
    )
    notes = (
        f"{len(attempts.signers):,} signers, each enrolled with {attempts.references.shape[1]} genuine signatures. "
        f"Scores are fused by their {'maximum' if fusion == 'max' else 'mean'}. "
        f"{attempts.genuine.probes.size:,} genuine, {attempts.skilled.probes.size:,} skilled and "
        f"{attempts.random.probes.size:,} random attempts.",
        "There is one threshold for all signers. Every signer counts the same. Intervals: resamples of the signers.",
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
    """Return a warning for each target whose threshold has too few false matches."""
    return [
        f"FMR {power_text(point.target)} is not reliable with these samples: its threshold has only "
        f"{point.false_matches} false matches."
        for point in found.points
        if point.false_matches < RELIABLE
    ]


def _both(one: Estimate | None) -> tuple[str, str]:
    return ("–", "") if one is None else (rate_text(one.value), interval_text(one.interval))


def _share(one: Estimate) -> tuple[str, str]:
    """Return a rate near 1 with two decimals of a percent."""
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
