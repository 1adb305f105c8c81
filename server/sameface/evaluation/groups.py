"""Error rates of groups of people at the threshold of all, and how they differ. Pure but for reading the table."""

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
from sameface_qdrant.metrics.error_rates import Indices, Mask, Scores, fmr, fnmr
from sameface_qdrant.metrics.intervals import percentile_interval

MAX_GROUPS = 10
"""A column with more values (an age in years, a name) is no grouping."""
BY_SAMPLE, BY_IDENTITY = ("photo", "sample"), ("identity", "id")
LEAST_IDENTITIES = 5
"""Of a group: rates of fewer people say more about these people than about the group."""
UNKNOWN = ""

Labels = Mapping[str, tuple[str, ...]]
"""For each column one label for every sample, those that could not be acquired last; empty where it is not known."""


@dataclass(frozen=True, slots=True)
class GroupRates:
    """A group at one threshold; rates are None where it has too few identities, or no such comparison."""

    target: float
    """The FMR that the threshold keeps over everybody."""
    fmr: Estimate | None
    """Between two people of the group, over comparisons."""
    fnmr: Estimate | None
    """Every identity counting the same."""
    fmr_difference: Estimate | None
    """From the column's largest group; None for that itself."""
    fnmr_difference: Estimate | None


@dataclass(frozen=True, slots=True)
class Group:
    """People with one label."""

    column: str
    label: str
    identities: int
    samples: int
    mated: int
    """Comparisons of which both sides have the label."""
    non_mated: int
    is_reference: bool
    """Whether it is the largest of its column, from which differences are taken."""
    rates: tuple[GroupRates, ...]


@dataclass(frozen=True, slots=True)
class _Resampled:
    fmr: Scores
    fnmr: Scores


def read_labels(path: Path, samples: Samples) -> tuple[Labels, tuple[str, ...]]:
    """Return the labels of ``samples`` by column, and the columns that are no grouping.

    The first column is ``photo`` (paths below the data folder) or ``identity`` (or ``id``); every other one labels.

    Raises:
        InvalidArgument: the first column is another, a key is there twice, no row is about any of the samples, or no
            column is a grouping.
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
        raise _refused(f"{path} has the first column {key!r}; expected photo or identity, then columns of labels")
    table = {row[0]: row for row in rows if row}
    if len(table) != sum(1 for row in rows if row):
        raise _refused(f"{path} has two rows for one {key}; expected each once")
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
            f"{path} has no column that parts the samples into 2 to {MAX_GROUPS} groups: {', '.join(columns)}"
        )
    return groupings, tuple(name for name in columns if name not in groupings)


def measure_groups(found: Verification, labels: Labels, confidence: float = 0.95) -> tuple[Group, ...]:
    """Return the rates of every group at the thresholds of ``found``, largest group of each column first.

    In each resample of the identities the threshold is that of the resample, and all groups have the same one.
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
    cross = found.cross
    held = _held(cross, member)
    identities = int(np.unique(cross.owner_of[member]).size)
    is_reference = rates is reference[1]
    mated = _both(member, cross.mated_samples)
    people = np.unique(cross.owners[mated]).size
    all_rates = []
    for place, point in enumerate(found.points):
        values = _rates(cross, member, point.threshold)
        of_reference = _rates(cross, reference[0], point.threshold)
        estimates: list[Estimate | None] = []
        differences: list[Estimate | None] = []
        for value, other, resamples, others, independent in zip(
            values,
            of_reference,
            (rates.fmr[:, place], rates.fnmr[:, place]),
            (reference[1].fmr[:, place], reference[1].fnmr[:, place]),
            (int((held > 0).sum()) // 2, people),
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
        all_rates.append(GroupRates(point.target, *estimates, *differences))
    return Group(
        column,
        name,
        identities=identities,
        samples=int(member.sum()),
        mated=int(mated.sum()),
        non_mated=round(pairs_between(held)),
        is_reference=is_reference,
        rates=tuple(all_rates),
    )


def _rates(cross: CrossComparison, member: Mask, threshold: float) -> tuple[float | None, float | None]:
    """Return FMR and FNMR of a group; None without a comparison."""
    non_mated = round(pairs_between(_held(cross, member)))
    tail = cross.tail[_both(member, cross.tail_samples)]
    # What was not kept lies below every threshold.
    below = non_mated - tail.size
    scores, weights = np.append(tail, NO_SCORE), np.append(np.ones(tail.size), float(below))
    mated = _both(member, cross.mated_samples)
    return (
        fmr(scores, threshold, weights) if non_mated else None,
        fnmr(cross.mated[mated], threshold, _same_for_each(cross.owners[mated])) if mated.any() else None,
    )


def _resampled(found: Verification, member: Mask) -> _Resampled:
    """Return the group's FMR and FNMR in every resample, [resamples, targets] each."""
    cross, thresholds = found.cross, found.resampled.thresholds
    tail = _both(member, cross.tail_samples)
    scores = cross.tail[tail]
    first, second = cross.owner_of[cross.tail_samples[tail]].T
    order = np.flatnonzero(_both(member, cross.mated_samples))
    order = order[np.argsort(cross.mated[order], kind="stable")]
    mated, owners = cross.mated[order], cross.owners[order]
    base = _same_for_each(owners)
    held = _held(cross, member)
    fmrs, fnmrs = np.full(thresholds.shape, np.nan), np.full(thresholds.shape, np.nan)
    for row, times in enumerate(found.drawn.astype(np.float64)):
        if not np.isfinite(thresholds[row]).all():
            continue
        accepted = np.searchsorted(-scores, -thresholds[row], side="right")
        if total := pairs_between(held * times):
            most = accepted.max()
            sums = np.append(0.0, np.cumsum(times[first[:most]] * times[second[:most]]))
            fmrs[row] = sums[accepted] / total
        missed = np.append(0.0, np.cumsum(times[owners] * base))
        if missed[-1]:
            fnmrs[row] = missed[np.searchsorted(mated, thresholds[row], side="left")] / missed[-1]
    return _Resampled(fmrs, fnmrs)


def _held(cross: CrossComparison, member: Mask) -> Scores:
    """Return how many embedded samples of the group each identity has."""
    owners = cross.owner_of[: cross.embedded][member[: cross.embedded]]
    return np.bincount(owners, minlength=len(cross.identities)).astype(np.float64)


def _same_for_each(owners: Indices) -> Scores:
    """Return weights with which every identity counts the same within the group."""
    weights: Scores = 1.0 / np.bincount(owners)[owners] if owners.size else np.empty(0)
    return weights


def _both(member: Mask, sides: Positions) -> Mask:
    both: Mask = np.all(member[sides], axis=1)
    return both


def _refused(message: str) -> InvalidArgument:
    return InvalidArgument(message, metadata={"field": "groups"})
