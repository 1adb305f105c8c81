"""Figures as tables of text, for the terminal and for the report."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sameface.evaluation.cross_comparison import CrossComparison
from sameface.evaluation.forgeries import Attempts, ForgeryRates
from sameface.evaluation.identification import Identification
from sameface.evaluation.model_comparison import ModelComparison
from sameface.evaluation.operating_points import MeasuredOperatingPoint
from sameface.evaluation.resampling import Estimate
from sameface.evaluation.support import MARK, marked, power_text, support_notes
from sameface.evaluation.verification import Verification
from sameface_qdrant.calibration.report import interval_text, rate_text
from sameface_qdrant.metrics.support import Support

COMPARISONS, SEARCHES = "independent comparisons", "searches for different identities"


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
    rows: tuple[tuple[str, str], ...] = (
        ("data", f"{found['data']}: {found['identities']:,} identities, {found['samples']:,} samples"),
        ("model", found["model"] or "not stated"),
        ("preprocessed", found["preprocessed"] or "not stated"),
        ("samples that gave no embedding (FTA)", f"{rate_text(found['failure_to_acquire_rate'])}: {failed}"),
        ("unreadable files, left out", _named(list(found["unreadable"]))),
        ("identities with one sample (no mated comparison)", _named(found["identities_with_one_sample"])),
        ("quality gate would refuse", refused or "none known"),
    )
    if found["skilled_forgeries"]:
        kept = f"{found['skilled_forgeries']:,}, apart from these samples: never mated, never enrolled"
        rows = (*rows[:1], ("skilled forgeries", kept), *rows[1:])
    return Table(title, ("", ""), rows)


def verification_tables(found: Verification) -> list[Table]:
    """Return FNMR at every target FMR, and EER; and a table of skilled forgeries if there are any."""
    comparison = found.comparison
    rows = [
        (
            marked(power_text(point.target), point.target, found.support),
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
        "A sample that gave no embedding never matches in a mated comparison, and is in no non-mated comparison.",
        "If few non-mated comparisons match, the threshold depends on a few identities, or on wrong labels.",
        *support_notes("FMR", [point.target for point in found.points], found.support, COMPARISONS),
    )
    headings = ("FMR", "threshold", "false matches", "FNMR", "95 % interval", "FNMR by identity", "95 % interval")
    return [Table("Verification (1:1)", headings, tuple(rows), notes), *_skilled_table(found)]


def _skilled_table(found: Verification) -> list[Table]:
    skilled = found.skilled
    if skilled is None:
        return []
    rows = [
        (marked(power_text(point.target), point.target, found.support), f"{point.threshold:.4f}", *_both(rate))
        for point, rate in zip(found.points, skilled.fmr, strict=True)
    ]
    rows.append(("EER, mated against skilled forgeries", "", *_both(skilled.eer)))
    notes = (
        f"{skilled.comparison.forgeries:,} forgeries of {skilled.identities:,} identities, each compared with every "
        f"genuine sample of whom it imitates: {skilled.comparison.scores.size:,} comparisons. Every identity counts "
        "the same. They are in no other figure here.",
        "The thresholds are for chance impostors: the FMR in the first column does not say how many forgeries pass.",
        "sameface evaluate forgeries measures claims of identities with several enrolled templates.",
    )
    headings = ("FMR of chance impostors", "threshold", "FMR of skilled forgeries", "95 % interval")
    return [Table("Skilled forgeries", headings, tuple(rows), notes)]


def points_table(points: Sequence[MeasuredOperatingPoint], comparison: CrossComparison, found: Support) -> Table:
    """Return thresholds for target FMRs, and what stands behind each."""
    has_forgeries = any(one.fmr_of_forgeries is not None for one in points)
    rows = tuple(
        (
            marked(f"{one.target_fmr:g}", one.target_fmr, found),
            f"{one.threshold:.4f}",
            f"{one.false_matches:,}",
            rate_text(one.fnmr),
            rate_text(one.fnmr_by_identity),
            *((rate_text(one.fmr_of_forgeries),) if has_forgeries else ()),
        )
        for one in points
    )
    headings = ("FMR", "threshold", "false matches", "FNMR", "FNMR by identity")
    notes = (
        f"{comparison.mated.size:,} mated and {comparison.non_mated:,} non-mated comparisons: every pair of images of "
        f"{len(comparison.identities):,} identities, worth about {found.trials:,.0f} independent comparisons.",
        *support_notes("FMR", [one.target_fmr for one in points], found, COMPARISONS),
        "sameface evaluate verification shows the confidence intervals of these figures.",
    )
    return Table(
        "Operating points", (*headings, *(("FMR of skilled forgeries",) if has_forgeries else ())), rows, notes
    )


def identification_tables(found: Identification) -> list[Table]:
    """Return FNIR at every target FPIR, and the rank-1 rate."""
    searches = found.searches
    rows = [
        (
            marked(f"FNIR at FPIR {power_text(point.target)}", point.target, found.support),
            f"{point.threshold:.4f}",
            rate_text(point.fnir.value),
            interval_text(point.fnir.interval),
        )
        for point in found.points
    ]
    rows.append(("rank 1 at any score", "", *_share(found.rank_one)))
    notes = (
        f"{searches.splits} random splits. In each, {searches.gallery_size:,} identities are enrolled with one sample. "
        f"In all, {searches.mated.size:,} mated and {searches.non_mated.size:,} non-mated searches. Every identity "
        "counts the same.",
        f"Intervals: 95 % percentile intervals of {len(found.resampled):,} resamples of the probes' identities.",
        *support_notes("FPIR", [point.target for point in found.points], found.support, SEARCHES),
    )
    return [Table("Open-set identification (1:N)", ("", "threshold", "rate", "95 % interval"), tuple(rows), notes)]


def comparison_tables(found: ModelComparison, names: tuple[str, str]) -> list[Table]:
    """Return every endpoint of both models, with the difference and the verdict."""
    rows = tuple(
        (
            one.name if one.is_supported else f"{one.name} ({MARK})",
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
        *_weakest("FMR", found.verification, COMPARISONS),
        *_weakest("FPIR", found.identification, SEARCHES),
    )
    return [Table("Comparison", headings, rows, notes)]


def forgeries_table(attempts: Attempts, found: ForgeryRates, fusion: str) -> Table:
    """Return the error rates of genuine claims and forgeries."""
    rows = (
        ("EER, skilled forgeries", *_both(found.eer_skilled)),
        ("EER, random forgeries", *_both(found.eer_random)),
        (f"FNMR at threshold {found.threshold:.4f}", *_both(found.fnmr)),
        ("FMR at this threshold, skilled forgeries", *_both(found.fmr_skilled)),
        ("FMR at this threshold, random forgeries", *_both(found.fmr_random)),
    )
    notes = (
        f"{len(attempts.signers):,} signers, each enrolled with {attempts.references.shape[1]} genuine samples. "
        f"Scores are fused by their {'maximum' if fusion == 'max' else 'mean'}. "
        f"{attempts.genuine.probes.size:,} genuine, {attempts.skilled.probes.size:,} skilled and "
        f"{attempts.random.probes.size:,} random attempts.",
        "There is one threshold for all signers: that of the first EER. Every signer counts the same. Intervals: "
        "resamples of the signers, each with its own threshold.",
    )
    return Table("Skilled and random forgeries", ("", "rate", "95 % interval"), rows, notes)


def accuracy_table(title: str, what: str, accuracy: Estimate, notes: Sequence[str]) -> Table:
    """Return an accuracy with its interval."""
    return Table(
        title,
        ("", "accuracy", "95 % interval", "error"),
        ((what, *_share(accuracy), rate_text(1 - accuracy.value)),),
        tuple(notes),
    )


def _weakest(rate: str, models: Sequence[Verification] | Sequence[Identification], trials: str) -> list[str]:
    """Return a sentence about targets that the samples of one of the models do not support."""
    lowest = max((model.support for model in models), key=lambda found: found.lowest)
    return support_notes(rate, [point.target for point in models[0].points], lowest, trials)


def _both(one: Estimate | None) -> tuple[str, str]:
    return ("–", "") if one is None else (rate_text(one.value), interval_text(one.interval))


def _share(one: Estimate) -> tuple[str, str]:
    """Return a rate near 1 with two decimals of a percent."""
    low, high = one.interval.low, one.interval.high
    return f"{100 * one.value:.2f} %", f"{100 * low:.2f} % to {100 * high:.2f} %"


def _with_interval(one: Estimate, is_error: bool) -> str:
    value, interval = _both(one) if is_error else _share(one)
    return f"{value} ({interval})"


def _named(names: Sequence[str], most: int = 5) -> str:
    if not names:
        return "none"
    return f"{len(names):,} ({', '.join(names[:most])}{', …' if len(names) > most else ''})"
