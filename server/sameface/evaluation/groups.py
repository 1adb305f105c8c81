"""Measures error rates of groups of people at one threshold for all, and their differences. Pure numpy.

These figures show differential performance (ISO/IEC 19795-10): whether groups have different error rates.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from sameface.evaluation.cross_comparison import NO_SCORE, CrossComparison, Positions, compare_all_samples
from sameface.evaluation.group_intervals import FEW_IDENTITIES, group_difference, group_estimate
from sameface.evaluation.labels import UNKNOWN, Labels
from sameface.evaluation.resampling import Counts, Estimate, draw_identities, pairs_between
from sameface.evaluation.samples import Samples
from sameface.evaluation.verification import REPLICATES, SHARES, Verification
from sameface_qdrant.metrics.error_rates import Indices, Mask, Rates, Scores, Weights, fmr, fnmr


@dataclass(frozen=True, slots=True)
class Cut:
    """A threshold for everybody."""

    threshold: float
    resampled: Scores
    """The threshold in every resample, [resamples]; NaN where there is none. A fixed threshold is the same in all."""
    target: float | None = None
    """The FMR over everybody that it is for; None for a threshold that was measured elsewhere or chosen."""
    is_supported: bool = True
    """Whether the comparisons of everybody support the target."""


@dataclass(frozen=True, slots=True)
class GroupRates:
    """Rates of a group at one threshold; None where the group has no such comparison."""

    target: float | None
    """The target FMR over everybody that the threshold is for; None for a fixed threshold."""
    threshold: float
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
    """Non-mated comparisons of two samples with the label."""
    is_reference: bool
    """Whether it is the largest group of its column, which the others are compared with."""
    rates: tuple[GroupRates, ...]

    @property
    def is_small(self) -> bool:
        """Whether the group has so few people that its figures describe them more than others of the group."""
        return self.identities < FEW_IDENTITIES


@dataclass(frozen=True, slots=True)
class _Resampled:
    fmr: Rates
    fnmr: Rates


def compare_down_to(samples: Samples, threshold: float) -> CrossComparison:
    """Compare every pair of samples; every non-mated score from ``threshold`` on is kept.

    Raises:
        NotEnoughData: there is no mated or no non-mated comparison.
    """
    for share in SHARES:
        comparison = compare_all_samples(samples, share)
        if comparison.is_complete or comparison.tail[-1] <= threshold:
            return comparison
    raise AssertionError("all scores were kept")


def measure_groups_at(
    samples: Samples,
    threshold: float,
    labels: Labels,
    *,
    replicates: int = REPLICATES,
    seed: int = 0,
    confidence: float = 0.95,
) -> tuple[Group, ...]:
    """Return the rates of every group at a threshold that is fixed, for instance the operating point of a model card.

    Raises:
        NotEnoughData: there is no mated or no non-mated comparison.
    """
    comparison = compare_down_to(samples, threshold)
    resample_counts = draw_identities(len(comparison.identities), replicates, seed)
    cut = Cut(threshold, np.full(replicates, threshold))
    return _measure(comparison, resample_counts, (cut,), labels, confidence)


def measure_groups(found: Verification, labels: Labels, confidence: float = 0.95) -> tuple[Group, ...]:
    """Return the rates of every group at the thresholds of ``found``; the largest group of each column comes first.

    Each resample has its own threshold, which is the same for all groups.
    """
    cuts = [
        Cut(point.threshold, found.resampled.thresholds[:, place], point.target, found.support.holds(point.target))
        for place, point in enumerate(found.points)
    ]
    return _measure(found.comparison, found.resample_counts, cuts, labels, confidence)


def _measure(
    comparison: CrossComparison, resample_counts: Counts, cuts: Sequence[Cut], labels: Labels, confidence: float
) -> tuple[Group, ...]:
    groups = []
    thresholds = np.stack([cut.resampled for cut in cuts], axis=1)
    for column, values in labels.items():
        names, counts = np.unique([value for value in values if value != UNKNOWN], return_counts=True)
        ordered = [str(names[place]) for place in np.argsort(-counts, kind="stable")]
        members = [np.array([value == name for value in values]) for name in ordered]
        resampled = [_resampled(comparison, resample_counts, thresholds, member) for member in members]
        found: list[Group] = []
        for name, member, rates in zip(ordered, members, resampled, strict=True):
            reference = (found[0], resampled[0]) if found else None
            found.append(_group(comparison, cuts, (column, name), (member, rates), reference, confidence))
        groups += found
    return tuple(groups)


def _group(
    comparison: CrossComparison,
    cuts: Sequence[Cut],
    names: tuple[str, str],
    group: tuple[Mask, _Resampled],
    reference: tuple[Group, _Resampled] | None,
    confidence: float,
) -> Group:
    member, resampled = group
    counts = _group_counts(comparison, member)
    mated = _are_in_group(member, comparison.mated_samples)
    people, of_mated = int((counts > 0).sum()), int(np.unique(comparison.owners[mated]).size)
    rates = []
    for place, cut in enumerate(cuts):
        fmr_value, fnmr_value = _rates(comparison, member, cut.threshold)
        of_fmr, of_fnmr = resampled.fmr[:, place], resampled.fnmr[:, place]
        found_fmr = _estimate(fmr_value, of_fmr, people, people // 2, confidence)
        found_fnmr = _estimate(fnmr_value, of_fnmr, of_mated, of_mated, confidence)
        differences: tuple[Estimate | None, Estimate | None] = (None, None)
        if reference is not None:
            largest, others = reference
            differences = (
                _difference(
                    found_fmr,
                    largest.rates[place].fmr,
                    of_fmr - others.fmr[:, place],
                    people < FEW_IDENTITIES or largest.is_small,
                    confidence,
                ),
                _difference(
                    found_fnmr,
                    largest.rates[place].fnmr,
                    of_fnmr - others.fnmr[:, place],
                    of_mated < FEW_IDENTITIES or largest.is_small,
                    confidence,
                ),
            )
        rates.append(GroupRates(cut.target, cut.threshold, cut.is_supported, found_fmr, found_fnmr, *differences))
    return Group(
        *names,
        identities=int(np.unique(comparison.sample_owners[member]).size),
        samples=int(member.sum()),
        mated=int(mated.sum()),
        non_mated=round(pairs_between(counts)),
        is_reference=reference is None,
        rates=tuple(rates),
    )


def _estimate(
    value: float | None, resampled: Rates, people: int, independent: int, confidence: float
) -> Estimate | None:
    return None if value is None else group_estimate(value, resampled, people, max(1, independent), confidence)


def _difference(
    one: Estimate | None, other: Estimate | None, resampled: Rates, has_few: bool, confidence: float
) -> Estimate | None:
    if one is None or other is None:
        return None
    return group_difference(one, other, resampled, has_few=has_few, confidence=confidence)


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


def _resampled(comparison: CrossComparison, resample_counts: Counts, thresholds: Scores, member: Mask) -> _Resampled:
    """Return the group's FMR and FNMR in every resample, [resamples, cuts] each. ``thresholds`` has the same shape."""
    tail = _are_in_group(member, comparison.tail_samples)
    scores = comparison.tail[tail]
    first, second = comparison.sample_owners[comparison.tail_samples[tail]].T
    order = np.flatnonzero(_are_in_group(member, comparison.mated_samples))
    order = order[np.argsort(comparison.mated[order], kind="stable")]
    mated, owners = comparison.mated[order], comparison.owners[order]
    weights = _identity_weights(owners)
    group_counts = _group_counts(comparison, member)
    fmrs, fnmrs = np.full(thresholds.shape, np.nan), np.full(thresholds.shape, np.nan)
    for row, counts in enumerate(resample_counts.astype(np.float64)):
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
