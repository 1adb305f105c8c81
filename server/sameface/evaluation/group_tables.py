"""Figures of groups as tables of text."""

from collections.abc import Sequence

from sameface.evaluation.group_intervals import FEW_IDENTITIES
from sameface.evaluation.groups import Group, GroupRates
from sameface.evaluation.labels import MAX_GROUPS
from sameface.evaluation.resampling import Estimate
from sameface.evaluation.support import MARK, power_text
from sameface.evaluation.tables import Table
from sameface_qdrant.calibration.report import interval_text, rate_text

FEW = "few people"


def group_tables(
    groups: Sequence[Group], columns_left_out: Sequence[str] = (), only: float | None = None
) -> list[Table]:
    """Return one table for each column of labels, with every threshold or only that of one target FMR."""
    tables = []
    for column in dict.fromkeys(group.column for group in groups):
        members = [group for group in groups if group.column == column]
        rows = [
            (
                group_name(group),
                f"{group.identities:,}",
                _threshold(rates),
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
        is_fixed = members[0].rates[0].target is None
        headings = (
            column,
            "identities",
            "threshold" if is_fixed else "FMR over all",
            "FMR",
            "95 % interval",
            "difference",
            "FNMR by identity",
            "95 % interval",
            "difference",
        )
        notes = [
            "All groups have the same threshold. FMR: comparisons between two identities of the group. Difference: "
            "from the largest group, in percentage points with its 95 % interval; an interval that includes 0 shows "
            "none.",
        ]
        if any(group.is_small for group in members):
            notes.append(
                f"“{FEW}”: fewer than {FEW_IDENTITIES} identities. The interval is then the wider one of bootstrap and "
                "Wilson's for so many people. The figures say more about these people than about the group."
            )
        if columns_left_out:
            notes.append(f"Columns left out, with one value or more than {MAX_GROUPS}: {', '.join(columns_left_out)}.")
        tables.append(Table(f"By {column}", headings, tuple(rows), tuple(notes)))
    return tables


def group_name(group: Group) -> str:
    """Return the label of a group, marked if it has few people."""
    return f"{group.label} ({FEW})" if group.is_small else group.label


def _threshold(rates: GroupRates) -> str:
    if rates.target is None:
        return f"{rates.threshold:.4f}"
    return power_text(rates.target) if rates.is_supported else f"{power_text(rates.target)} ({MARK})"


def _both(one: Estimate | None) -> tuple[str, str]:
    return ("–", "") if one is None else (rate_text(one.value), interval_text(one.interval))


def _signed(one: Estimate | None, is_reference: bool) -> str:
    if one is None:
        return "largest" if is_reference else "–"
    # Rates of equal groups may differ by rounding.
    value, low, high = (100 * round(rate, 9) for rate in (one.value, one.interval.low, one.interval.high))
    return f"{value:+.2g} ({low:+.2g} to {high:+.2g})"
