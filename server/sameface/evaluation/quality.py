"""Measures how well quality predicts false non-matches: error-versus-discard curves with intervals. Pure numpy."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sameface.evaluation.assessed import AssessedPhotos
from sameface.evaluation.cross_comparison import NO_SCORE, compare_all_samples
from sameface.evaluation.resampling import Counts, Estimate, draw_identities, estimate
from sameface.evaluation.support import fmr_support
from sameface_qdrant.errors import NotEnoughData
from sameface_qdrant.metrics.discard import DiscardCurve, DiscardOrder, Qualities, ideal_curve, pairwise_quality
from sameface_qdrant.metrics.error_rates import Indices, Rates, Scores, Weights, fnmr, threshold_at_fmr
from sameface_qdrant.metrics.intervals import percentile_interval
from sameface_qdrant.metrics.support import Support

GATE = "quality gate"
UNIFIED = "UnifiedQualityScore"
WORST = 0.05
"""The share of comparisons whose discarding is reported."""
LIMITS = (0.05, 0.2)
"""The partial areas end at these shares."""


@dataclass(frozen=True, slots=True)
class ComponentCurve:
    """How well one quality component predicts false non-matches."""

    name: str
    curve: DiscardCurve
    fnmr_after: Estimate
    """FNMR after the worst 5 % of the comparisons are discarded."""
    areas: tuple[Estimate, ...]
    """Partial areas up to each of `LIMITS`, divided by those of a useless component: lower is better, 1 is useless."""


@dataclass(frozen=True, slots=True)
class QualityOfSet:
    """The curves of one set of mated comparisons. Every identity counts the same."""

    name: str
    comparisons: int
    identities: int
    fnmr: Estimate
    """With nothing discarded."""
    refused: float
    """The share of the set's photos that the gate refuses."""
    fnmr_passing: float | None
    """FNMR of the comparisons of which the gate refuses neither photo; None if there is none."""
    components: tuple[ComponentCurve, ...]
    """The gate first, then the components as the service lists them."""
    ideal: DiscardCurve
    """No component could do better."""


@dataclass(frozen=True, slots=True)
class QualityFigures:
    """The curves of photos as they are and, if there are any, of their degraded copies."""

    threshold: float
    fmr: float
    """The target FMR of the threshold, over the photos as they are."""
    support: Support
    """Which target FMRs these photos support."""
    sets: tuple[QualityOfSet, ...]


def measure_quality(
    photos: AssessedPhotos,
    copies: AssessedPhotos | None,
    fmr: float,
    *,
    replicates: int,
    seed: int,
    confidence: float = 0.95,
) -> QualityFigures:
    """Measure every component and the gate.

    A copy is compared with the other photos of its identity as they are. The threshold is that of ``fmr`` over all
    photos as they are, and stays fixed. Photos without a face have no quality, and are in no comparison.

    Args:
        photos: as they are.
        copies: degraded; None if there are none.
        fmr: the target FMR.
        replicates: of the bootstrap over identities.
        seed: of the bootstrap.
        confidence: of the intervals, in (0, 1).

    Raises:
        NotEnoughData: there is no mated or no non-mated comparison.
    """
    comparison = compare_all_samples(photos.samples, share=1.0)
    threshold = threshold_at_fmr(comparison.tail, fmr)
    acquired = comparison.mated > NO_SCORE
    first, second = comparison.mated_samples[acquired].T
    sets = [
        _measured(
            "photos as they are",
            comparison.mated[acquired],
            comparison.owners[acquired],
            _both(photos, first, photos, second),
            float(photos.refused.mean()),
            threshold,
            (replicates, seed, confidence),
        )
    ]
    if copies is not None:
        left, right = _mated(copies, photos)
        scores = np.einsum("ij,ij->i", copies.samples.vectors[left], photos.samples.vectors[right]).astype(np.float64)
        _, owners = np.unique(np.array(copies.samples.identity, np.str_)[left], return_inverse=True)
        sets.append(
            _measured(
                "degraded copies",
                scores,
                owners.astype(np.int64),
                _both(copies, left, photos, right),
                float(copies.refused.mean()),
                threshold,
                (replicates, seed, confidence),
            )
        )
    drawn = draw_identities(len(comparison.identities), replicates, seed)
    return QualityFigures(threshold, fmr, fmr_support(comparison, drawn, confidence), tuple(sets))


def gate_quality(photos: AssessedPhotos) -> Qualities:
    """Return the order in which the gate discards, [samples]: refused photos below 0, both groups by unified score."""
    unified = photos.quality.get(UNIFIED, np.zeros(len(photos.refused)))
    return np.where(photos.refused, unified - 101.0, unified)


def _mated(copies: AssessedPhotos, photos: AssessedPhotos) -> tuple[Indices, Indices]:
    """Return the positions of every copy and every other photo of its identity."""
    rows = {name: np.flatnonzero(np.array(photos.samples.identity) == name) for name in set(copies.samples.identity)}
    pairs = [
        (place, int(other))
        for place, (name, sample) in enumerate(zip(copies.samples.identity, copies.samples.sample, strict=True))
        for other in rows[name]
        if photos.samples.sample[int(other)] != sample
    ]
    if not pairs:
        raise NotEnoughData(
            "no face was found in a copy of a photo whose identity has another photo; expected at least one",
            metadata={"comparisons": 0},
        )
    found = np.array(pairs, np.int64)
    return found[:, 0], found[:, 1]


def _both(
    one: AssessedPhotos, first: NDArray[np.integer], other: AssessedPhotos, second: NDArray[np.integer]
) -> dict[str, Qualities]:
    """Return the pairwise quality of comparisons: that of the gate, and of every component."""
    qualities = {GATE: pairwise_quality(gate_quality(one)[first], gate_quality(other)[second])}
    for name in one.quality:
        qualities[name] = pairwise_quality(one.quality[name][first], other.quality[name][second])
    return qualities


def _measured(
    name: str,
    mated: Scores,
    owners: Indices,
    qualities: Mapping[str, Qualities],
    refused: float,
    threshold: float,
    bootstrap: tuple[int, int, float],
) -> QualityOfSet:
    replicates, seed, confidence = bootstrap
    present, numbered, counts = np.unique(owners, return_inverse=True, return_counts=True)
    weights = 1.0 / counts[numbered]
    drawn = draw_identities(present.size, replicates, seed)
    everything = DiscardOrder(mated, np.zeros(mated.size), threshold)
    resampled = np.array([everything.curve(weights * row[numbered]).fnmr(0.0) for row in drawn])
    passing = qualities[GATE] >= 0.0
    return QualityOfSet(
        name,
        int(mated.size),
        int(present.size),
        estimate(fnmr(mated, threshold, weights), resampled, present.size, confidence),
        refused,
        fnmr(mated[passing], threshold, weights[passing]) if passing.any() else None,
        tuple(
            _component(part, DiscardOrder(mated, quality, threshold), weights, numbered, drawn, confidence)
            for part, quality in qualities.items()
        ),
        ideal_curve(mated, threshold, weights),
    )


def _component(
    name: str, order: DiscardOrder, weights: Weights, numbered: Indices, drawn: Counts, confidence: float
) -> ComponentCurve:
    curve = order.curve(weights)
    resampled = np.array([_figures(order.curve(weights * row[numbered])) for row in drawn])
    after, *areas = _figures(curve)
    return ComponentCurve(
        name,
        curve,
        estimate(after, resampled[:, 0], drawn.shape[1], confidence),
        tuple(_ratio(area, resampled[:, 1 + place], confidence) for place, area in enumerate(areas)),
    )


def _figures(curve: DiscardCurve) -> tuple[float, ...]:
    """Return FNMR after the worst are discarded, and the relative areas. Without an error a component is useless: 1."""
    start = curve.fnmr(0.0)
    return (curve.fnmr(WORST), *(curve.partial_area(limit) / start if start else 1.0 for limit in LIMITS))


def _ratio(value: float, resampled: Rates, confidence: float) -> Estimate:
    return Estimate(value, percentile_interval(resampled, confidence))
