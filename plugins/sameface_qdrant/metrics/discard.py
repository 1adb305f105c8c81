"""Error-versus-discard characteristic: does a quality measure predict which comparisons fail? Pure numpy.

The comparisons with the lowest quality are discarded first, and FNMR is measured on the others, at a threshold that
stays fixed (Grother and Tabassi 2007, IEEE TPAMI 29, p. 531, there called error versus reject; ISO/IEC 29794-1; Schlett
et al. 2023, ACM Computing Surveys 56, 49). A useful measure makes FNMR fall; a useless one leaves it flat.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from sameface_qdrant.metrics.error_rates import Rates, Scores

Qualities = NDArray[np.float64]
"""Quality of samples or comparisons; higher is better. Any scale works, because only the order counts."""


@dataclass(frozen=True, slots=True)
class DiscardCurve:
    """FNMR over the share of comparisons that is discarded.

    The points are the edges of groups of equal quality, the whole of each discarded. Between two edges a part of a
    group is discarded. Its members cannot be told apart, so the curve has the mean over every choice among them.
    """

    qualities: Qualities
    """The quality of each group, ascending, [groups]."""
    discarded: Rates
    """The share that is discarded before each group and after the last one, 0 to 1, [groups + 1]."""
    errors: Rates
    """The share of all comparisons that is an error and not discarded, [groups + 1]."""

    def fnmr(self, discarded: float) -> float:
        """Return FNMR of what is left after a share of the comparisons, 0 or more and less than 1, is discarded.

        Raises:
            ValueError: the share is out of range.
        """
        _check_share(discarded)
        return float(np.interp(discarded, self.discarded, self.errors)) / (1.0 - discarded)

    def partial_area(self, limit: float) -> float:
        """Return the mean of FNMR while a share from 0 to ``limit`` is discarded: the area, divided by its width.

        Divided by FNMR with nothing discarded, it is 1 for a useless measure.

        Raises:
            ValueError: the limit is not between 0 and 1, both excluded.
        """
        _check_share(limit)
        if limit == 0.0:
            raise ValueError("limit is 0; expected more than 0 and less than 1")
        edges = np.append(self.discarded[self.discarded < limit], limit)
        errors = np.interp(edges, self.discarded, self.errors)
        left = 1.0 - edges
        width = left[:-1] - left[1:]
        slope = np.divide(errors[:-1] - errors[1:], width, out=np.zeros_like(width), where=width > 0)
        # Between two edges FNMR is (c + slope · u) / u, with the share u that is left. Its integral is
        # c · ln u + slope · u.
        constant = errors[:-1] - slope * left[:-1]
        return float((constant * np.log(left[:-1] / left[1:]) + slope * width).sum()) / limit


class DiscardOrder:
    """The order in which mated comparisons are discarded. It gives the curve for any weights, for a bootstrap."""

    def __init__(self, mated: ArrayLike, quality: ArrayLike, threshold: float) -> None:
        """Order comparisons by quality.

        Args:
            mated: scores, [comparisons].
            quality: of each comparison, usually `pairwise_quality`, [comparisons].
            threshold: the lowest score that is a match.

        Raises:
            ValueError: the shapes differ, there is no comparison, or a value is not finite.
        """
        scores, qualities = np.asarray(mated, np.float64), np.asarray(quality, np.float64)
        if scores.ndim != 1 or scores.shape != qualities.shape or not scores.size:
            raise ValueError(
                f"scores have shape {list(scores.shape)} and qualities {list(qualities.shape)}; expected one quality "
                "for each score, and at least one score"
            )
        if not (np.isfinite(scores).all() and np.isfinite(qualities).all()):
            raise ValueError("a score or a quality is not a finite number")
        self.qualities, self._group = np.unique(qualities, return_inverse=True)
        """The distinct qualities, ascending."""
        self._is_error = scores < threshold

    def curve(self, weights: ArrayLike | None = None) -> DiscardCurve:
        """Return the curve.

        Args:
            weights: how much each comparison counts, 0 or more, [comparisons]; without them all count the same.

        Raises:
            ValueError: the weights have another shape, are negative, or sum to 0.
        """
        each = np.ones(self._group.size) if weights is None else np.asarray(weights, np.float64)
        if each.shape != self._group.shape or not (np.isfinite(each) & (each >= 0)).all() or not each.sum():
            raise ValueError(f"expected {self._group.size} weights, finite, 0 or more, not all 0")
        groups = self.qualities.size
        discarded = np.cumsum(np.bincount(self._group, each, groups))
        errors = np.cumsum(np.bincount(self._group, each * self._is_error, groups))
        total, all_errors = discarded[-1], errors[-1]
        return DiscardCurve(
            self.qualities,
            np.append(0.0, discarded / total),
            np.append(all_errors, np.maximum(all_errors - errors, 0.0)) / total,
        )


def discard_curve(
    mated: ArrayLike, quality: ArrayLike, threshold: float, weights: ArrayLike | None = None
) -> DiscardCurve:
    """Return FNMR over the share of mated comparisons that is discarded, lowest quality first.

    >>> curve = discard_curve([0.2, 0.6, 0.7, 0.8], quality=[10, 50, 60, 70], threshold=0.5)
    >>> curve.fnmr(0.0), curve.fnmr(0.25)
    (0.25, 0.0)

    Raises:
        ValueError: see `DiscardOrder`.
    """
    return DiscardOrder(mated, quality, threshold).curve(weights)


def pairwise_quality(first: ArrayLike, second: ArrayLike) -> Qualities:
    """Return the quality of comparisons: that of the worse sample.

    >>> pairwise_quality([80, 30], [50, 90]).tolist()
    [50.0, 30.0]
    """
    return np.minimum(np.asarray(first, np.float64), np.asarray(second, np.float64))


def ideal_curve(mated: Scores, threshold: float, weights: ArrayLike | None = None) -> DiscardCurve:
    """Return the curve of a measure that discards every error before anything else. No measure does better."""
    return discard_curve(mated, np.asarray(mated) >= threshold, threshold, weights)


def _check_share(share: float) -> None:
    if not 0.0 <= share < 1.0:
        raise ValueError(f"the share is {share}; expected 0 or more and less than 1")
