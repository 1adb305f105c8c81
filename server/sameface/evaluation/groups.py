"""Measures error rates of groups of people at one threshold for all, and their differences. Only the table is read."""

import csv
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from sameface.evaluation.cross_comparison import NO_SCORE, CrossComparison, Positions
from sameface.evaluation.resampling import Estimate, estimate, pairs_between
from sameface.evaluation.samples import Samples
from sameface.evaluation.verification import Verification
from sameface_qdrant.errors import InvalidArgument
from sameface_qdrant.metrics.error_rates import Indices, Mask, Rates, Weights, fmr, fnmr
from sameface_qdrant.metrics.intervals import percentile_interval

MAX_GROUPS = 10
"""A column with more different values, such as an age in years or a name, is not a grouping."""
BY_SAMPLE, BY_IDENTITY = ("photo", "sample"), ("identity", "id")
LEAST_IDENTITIES = 5
"""Groups with fewer identities have no rates: they would describe these people, not the group."""
UNKNOWN = ""

Labels = Mapping[str, tuple[str, ...]]
"""For each column the label of every sample; those that could not be acquired are last. Unknown labels are empty."""


@dataclass(frozen=True, slots=True)
class GroupRates:
    """Rates of a group at one threshold; None if it has too few identities or no such comparison."""

    target: float
    """The target FMR over everybody that the threshold is for."""
    is_supported: bool
    """Whether the comparisons of everybody support the target."""
    fmr: Estimate | None
    """Of comparisons between two people of the group. Every comparison counts the same."""
    fnmr: Estimate | None
    """Every identity counts the same."""
    fmr_difference: Estimate | None
    """FMR less that of the column's largest group; None for the largest group."""
    fnmr_difference: Estimate | None
    """FNMR less that of the column's largest group."""


@dataclass(frozen=True, slots=True)
class Group:
    """People with the same label."""

    column: str
    label: str
    identities: int
    samples: int
    mated: int
    """Mated comparisons of two samples with the label."""
    non_mated: int
    is_reference: bool
    """Whether it is the largest group of its column, which the others are compared with."""
    rates: tuple[GroupRates, ...]


@dataclass(frozen=True, slots=True)
class _Resampled:
    fmr: Rates
    fnmr: Rates


def read_labels(path: Path, samples: Samples) -> tuple[Labels, tuple[str, ...]]:
    """Return the labels of ``samples`` by column, and the names of the columns that are not groupings.

    The first column is ``photo`` (paths below the data folder) or ``identity`` (or ``id``). The others are labels.

    Raises:
        InvalidArgument: the first column has another name, a key occurs twice, no row is about one of the samples, or
            no column is a grouping.
        OSError: the file cannot be read.
    """
    with path.open(encoding="utf-8-sig", newline="") as file:
        key, *columns = next(csv.reader(file), [""])
        rows = list(csv.reader(file))
    failed = samples.not_acquired
    if key in BY_SAMPLE:
        keys = [*samples.sample, *(one.sample for one in failed)]
    elif key in BY_IDENTITY:
        keys = [*samples.identity, *(one.identity for one in failed)]
    else:
        raise _refused(
            f"{path} has the first column {key!r}; expected photo or identity, and columns of labels after it"
        )
    table = {row[0]: row for row in rows if row}
    if len(table) != sum(1 for row in rows if row):
        raise _refused(f"{path} has two rows for the same {key}; expected one row for each")
    if not columns or not table.keys() & set(keys):
        raise _refused(
            f"{path} has {len(columns)} columns of labels and {len(table)} rows, none about the {len(keys)} samples; "
            f"expected rows such as {keys[0] if keys else '…'},label"
        )
    labels = {
        column: tuple(
            table[one][place].strip() if one in table and place < len(table[one]) else UNKNOWN for one in keys
        )
        for place, column in enumerate(columns, start=1)
    }
    groupings = {name: values for name, values in labels.items() if 1 < len(set(values) - {UNKNOWN}) <= MAX_GROUPS}
    if not groupings:
        raise _refused(
            f"{path} has no column with 2 to {MAX_GROUPS} different labels; its columns are {', '.join(columns)}"
        )
    return groupings, tuple(name for name in columns if name not in groupings)


def measure_groups(found: Verification, labels: Labels, confidence: float = 0.95) -> tuple[Group, ...]:
    """Return the rates of every group at the thresholds of ``found``; the largest group of each column comes first.

    Each resample has its own threshold, which is the same for all groups.
    """
    groups = []
    for column, values in labels.items():
        names, counts = np.unique([value for value in values if value != UNKNOWN], return_counts=True)
        ordered = [str(names[place]) for place in np.argsort(-counts, kind="stable")]
        members = [np.array([value == name for value in values]) for name in ordered]
        resampled = [_resampled(found, member) for member in members]
        for name, member, rates in zip(ordered, members, resampled, strict=True):
            groups.append(_group(found, column, name, member, rates, (members[0], resampled[0]), confidence))
    return tuple(groups)


def _group(
    found: Verification,
    column: str,
    name: str,
    member: Mask,
    rates: _Resampled,
    reference: tuple[Mask, _Resampled],
    confidence: float,
) -> Group:
    comparison = found.comparison
    counts = _group_counts(comparison, member)
    identities = int(np.unique(comparison.sample_owners[member]).size)
    is_reference = rates is reference[1]
    mated = _are_in_group(member, comparison.mated_samples)
    people = np.unique(comparison.owners[mated]).size
    all_rates = []
    for place, point in enumerate(found.points):
        values = _rates(comparison, member, point.threshold)
        of_reference = _rates(comparison, reference[0], point.threshold)
        estimates: list[Estimate | None] = []
        differences: list[Estimate | None] = []
        for value, other, resamples, others, independent in zip(
            values,
            of_reference,
            (rates.fmr[:, place], rates.fnmr[:, place]),
            (reference[1].fmr[:, place], reference[1].fnmr[:, place]),
            (int((counts > 0).sum()) // 2, people),
            strict=True,
        ):
            if identities < LEAST_IDENTITIES:
                value = None
            estimates.append(None if value is None else estimate(value, resamples, max(1, independent), confidence))
            known = np.isfinite(resamples) & np.isfinite(others)
            differences.append(
                None
                if is_reference or value is None or other is None or not known.any()
                else Estimate(value - other, percentile_interval((resamples - others)[known], confidence))
            )
        all_rates.append(GroupRates(point.target, found.support.holds(point.target), *estimates, *differences))
    return Group(
        column,
        name,
        identities=identities,
        samples=int(member.sum()),
        mated=int(mated.sum()),
        non_mated=round(pairs_between(counts)),
        is_reference=is_reference,
        rates=tuple(all_rates),
    )


def _rates(comparison: CrossComparison, member: Mask, threshold: float) -> tuple[float | None, float | None]:
    """Return FMR and FNMR of a group; None without such a comparison."""
    non_mated = round(pairs_between(_group_counts(comparison, member)))
    tail = comparison.tail[_are_in_group(member, comparison.tail_samples)]
    # Scores that were not kept are below every threshold.
    below = non_mated - tail.size
    scores, weights = np.append(tail, NO_SCORE), np.append(np.ones(tail.size), float(below))
    mated = _are_in_group(member, comparison.mated_samples)
    return (
        fmr(scores, threshold, weights) if non_mated else None,
        fnmr(comparison.mated[mated], threshold, _identity_weights(comparison.owners[mated])) if mated.any() else None,
    )


def _resampled(found: Verification, member: Mask) -> _Resampled:
    """Return the group's FMR and FNMR in every resample, [resamples, targets] each."""
    comparison, thresholds = found.comparison, found.resampled.thresholds
    tail = _are_in_group(member, comparison.tail_samples)
    scores = comparison.tail[tail]
    first, second = comparison.sample_owners[comparison.tail_samples[tail]].T
    order = np.flatnonzero(_are_in_group(member, comparison.mated_samples))
    order = order[np.argsort(comparison.mated[order], kind="stable")]
    mated, owners = comparison.mated[order], comparison.owners[order]
    weights = _identity_weights(owners)
    group_counts = _group_counts(comparison, member)
    fmrs, fnmrs = np.full(thresholds.shape, np.nan), np.full(thresholds.shape, np.nan)
    for row, counts in enumerate(found.resample_counts.astype(np.float64)):
        if not np.isfinite(thresholds[row]).all():
            continue
        accepted = np.searchsorted(-scores, -thresholds[row], side="right")
        if total := pairs_between(group_counts * counts):
            most = accepted.max()
            sums = np.append(0.0, np.cumsum(counts[first[:most]] * counts[second[:most]]))
            fmrs[row] = sums[accepted] / total
        missed = np.append(0.0, np.cumsum(counts[owners] * weights))
        if missed[-1]:
            fnmrs[row] = missed[np.searchsorted(mated, thresholds[row], side="left")] / missed[-1]
    return _Resampled(fmrs, fnmrs)


def _group_counts(comparison: CrossComparison, member: Mask) -> Weights:
    """Return how many samples of the group with an embedding each identity has, [identities]."""
    owners = comparison.sample_owners[: comparison.embedded][member[: comparison.embedded]]
    return np.bincount(owners, minlength=len(comparison.identities)).astype(np.float64)


def _identity_weights(owners: Indices) -> Weights:
    """Return weights of mated comparisons; with them every identity counts the same."""
    weights: Weights = 1.0 / np.bincount(owners)[owners] if owners.size else np.empty(0)
    return weights


def _are_in_group(member: Mask, pairs: Positions) -> Mask:
    """Return which pairs of samples are both in the group."""
    both: Mask = np.all(member[pairs], axis=1)
    return both


def _refused(message: str) -> InvalidArgument:
    return InvalidArgument(message, metadata={"field": "groups"})
