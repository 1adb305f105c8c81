"""Plots of an evaluation: curves of searches, histograms, a map. Drawing imports matplotlib."""

import base64
import io
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from sameface.evaluation.cross_comparison import HISTOGRAM_BINS, NO_SCORE, CrossComparison
from sameface.evaluation.det_plot import MODELS, legend_label
from sameface.evaluation.identification import Identification
from sameface.evaluation.samples import Samples
from sameface_qdrant.calibration.report import (
    GRID,
    INK,
    MATED,
    NON_MATED,
    MarkedThreshold,
    histogram_figure,
    new_figure,
    style_axes,
    svg_text,
)
from sameface_qdrant.metrics.curves import Curves
from sameface_qdrant.metrics.error_rates import DetCurve, Scores, fnir, fpir
from sameface_qdrant.metrics.intervals import ConfidenceInterval

if TYPE_CHECKING:
    pass

ON_THE_MAP = 12
"""Identities with their own colour; more colours could not be distinguished."""
CURVE_POINTS = 160


def identification_curve(found: Identification) -> DetCurve:
    """Return FPIR and FNIR over thresholds, in the form of a DET curve."""
    searches = found.searches
    highest = np.sort(searches.non_mated)[::-1]
    places = np.unique(np.geomspace(1, highest.size, CURVE_POINTS).astype(int)) - 1
    thresholds = np.unique(np.nextafter(highest[places], np.inf))
    ranks = np.where(searches.is_rank_one, 1, 2)
    return DetCurve(
        thresholds,
        np.array([fpir(searches.non_mated, one, searches.non_mated_weights) for one in thresholds]),
        np.array([fnir(searches.mated, ranks, one, weights=searches.mated_weights) for one in thresholds]),
    )


def worst_listed_pairs(
    scores: Scores, mated: NDArray[np.bool_], most: int = 12
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the positions of the non-mated pairs with the highest and of the mated pairs with the lowest scores."""
    order = np.argsort(scores, kind="stable")
    order = order[scores[order] > NO_SCORE]
    return order[~mated[order]][::-1][:most], order[mated[order]][:most]


def histogram_svg(comparison: CrossComparison, thresholds: Mapping[str, float]) -> str:
    """Draw histograms of mated and non-mated scores with thresholds as lines; return SVG."""
    mated, non_mated = comparison.histogram
    filled = np.flatnonzero(mated + non_mated)
    shown = slice(int(filled[0]), int(filled[-1]) + 1)
    edges = np.linspace(-1.0, 1.0, HISTOGRAM_BINS + 1)[shown.start : shown.stop + 1]
    none, interval = np.empty(0), ConfidenceInterval(0.0, 0.0)
    curves = Curves(none, none, none, edges, mated[shown], non_mated[shown])
    marked = [MarkedThreshold(name, threshold, 0.0, interval) for name, threshold in thresholds.items()]
    return svg_text(histogram_figure(curves, marked))


def score_histograms_svg(groups: Mapping[str, Scores], threshold: float) -> str:
    """Draw histograms of up to three groups of scores with a threshold; return SVG. Bars are shares of each group."""
    figure, axes = new_figure()
    every = np.concatenate(list(groups.values()))
    edges = np.linspace(float(every.min()), max(float(every.max()), float(every.min()) + 1e-3), HISTOGRAM_BINS // 2 + 1)
    for (name, scores), colour in zip(groups.items(), (MATED, NON_MATED, MODELS[0]), strict=False):
        counts, _ = np.histogram(scores, edges)
        axes.stairs(counts / max(1, scores.size), edges, color=colour, linewidth=1.8, label=f"{name} ({scores.size:,})")
    axes.axvline(threshold, color=INK, linewidth=1.4, linestyle="--", label=f"accepted ≥ {threshold:.3f}")
    axes.set_xlabel("score (cosine similarity)")
    axes.set_ylabel("share of each group in a bin")
    axes.set_title("Histograms of the scores", loc="left", color=INK, fontsize=12)
    style_axes(axes)
    return svg_text(figure)


def map_png(samples: Samples) -> tuple[str, float]:
    """Draw the first two principal components; return a data URI and their share of the variance, 0 to 1."""
    places, share = principal_components(samples.vectors)
    largest = [name for name, _ in Counter(samples.identity).most_common(ON_THE_MAP)]
    identities = np.array(samples.identity)
    figure, axes = new_figure()
    others = ~np.isin(identities, largest)
    label = f"{others.sum():,} samples of\nother identities" if others.any() else None
    axes.scatter(places[others, 0], places[others, 1], s=5, color=GRID, linewidths=0, label=label)
    for number, name in enumerate(largest):
        own = identities == name
        colour = f"C{number % 10}"
        marker = "o" if number < 10 else "^"
        axes.scatter(
            places[own, 0],
            places[own, 1],
            s=12,
            color=colour,
            marker=marker,
            linewidths=0,
            label=legend_label(name),
            alpha=0.8,
        )
    axes.set_xlabel("first principal component")
    axes.set_ylabel("second principal component")
    axes.set_title("Map of the embeddings", loc="left", color=INK, fontsize=12)
    style_axes(axes)
    axes.legend(fontsize=9, loc="center left", bbox_to_anchor=(1.0, 0.5), frameon=False, labelcolor=INK)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=140)
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode("ascii"), share


def principal_components(vectors: NDArray[np.floating]) -> tuple[Scores, float]:
    """Return each vector's first two principal components, [samples, 2], and their share of the variance, 0 to 1."""
    centred = vectors.astype(np.float64) - vectors.mean(axis=0)
    # The covariance is small, so many samples cost no more than one pass.
    variances, directions = np.linalg.eigh(centred.T @ centred)
    share = float(variances[-2:].sum() / variances.sum()) if variances.sum() > 0 else 0.0
    places: Scores = centred @ directions[:, :-3:-1]
    return places, share


def worst_pairs(
    comparison: CrossComparison, most: int = 12
) -> tuple[list[tuple[int, int, float]], list[tuple[int, int, float]]]:
    """Return the non-mated pairs with the highest and the mated pairs with the lowest scores.

    There is one pair of each two identities, or of each identity, and none with a sample that could not be acquired.

    Returns:
        The positions of both samples and the score, for each pair; first the non-mated pairs, then the mated ones.
    """
    high = _first_of_each(comparison.sample_owners[comparison.tail_samples], most)
    order = np.argsort(comparison.mated, kind="stable")
    order = order[comparison.mated[order] > NO_SCORE]
    low = order[_first_of_each(comparison.owners[order][:, None], most)]
    return _pairs(comparison.tail_samples, comparison.tail, high), _pairs(
        comparison.mated_samples, comparison.mated, low
    )


def _first_of_each(owners: NDArray[np.int64], most: int) -> list[int]:
    seen: set[tuple[int, ...]] = set()
    chosen: list[int] = []
    for place, whose in enumerate(owners):
        key = tuple(sorted(map(int, whose)))
        if key not in seen:
            seen.add(key)
            chosen.append(place)
            if len(chosen) == most:
                break
    return chosen


def _pairs(
    samples: NDArray[np.int32], scores: Scores, chosen: Sequence[int] | NDArray[np.int64]
) -> list[tuple[int, int, float]]:
    return [(int(samples[one, 0]), int(samples[one, 1]), float(scores[one])) for one in chosen]
