"""Computes the right answers from every template. Imports none of the code under test."""

import math
from collections.abc import Hashable, Iterable, Mapping, Sequence
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

Name = TypeVar("Name", bound=Hashable)
Numbers = NDArray[np.float64]

CLOSE = 1e-5
"""The smallest difference that scores of float32 vectors show."""


def cosine(one: Numbers, other: Numbers) -> float:
    """Cosine similarity in double precision."""
    one, other = np.asarray(one, dtype=np.float64), np.asarray(other, dtype=np.float64)
    return float(one @ other / math.sqrt(float(one @ one) * float(other @ other)))


def best_scores(templates: Iterable[tuple[Name, Numbers]], probe: Numbers) -> dict[Name, float]:
    """The score of every identity that has a template: that of its best template."""
    best: dict[Name, float] = {}
    for name, vector in templates:
        best[name] = max(best.get(name, -2.0), cosine(vector, probe))
    return best


def verification(
    scores: Mapping[Name, float], claim: Name, gallery: bool, threshold: float, margin: float
) -> tuple[str, float, float | None]:
    """Outcome, score and lead of a claim."""
    others = [score for name, score in scores.items() if name != claim]
    lead = scores[claim] - max(others) if gallery and others else None
    return _outcome(scores[claim], lead, threshold, margin), scores[claim], lead


def identification(
    scores: Mapping[Name, float], threshold: float, margin: float
) -> tuple[str, float | None, float | None]:
    """Outcome, score and lead of the best identity."""
    ranked = sorted(scores.values(), reverse=True)
    if not ranked:
        return "NO_MATCH", None, None
    lead = ranked[0] - ranked[1] if len(ranked) > 1 else None
    return _outcome(ranked[0], lead, threshold, margin), ranked[0], lead


def clear_cut(score: float | None, lead: float | None, threshold: float, margin: float) -> bool:
    """Whether rounding cannot change the outcome."""
    far = score is None or abs(score - threshold) > 10 * CLOSE
    return far and (lead is None or abs(lead - margin) > 10 * CLOSE)


def fused_comparisons(templates: Sequence[tuple[Name, Numbers]]) -> tuple[list[float], list[float]]:
    """Sorted mated and non-mated scores of every template with every identity, without the template itself."""
    mated: list[float] = []
    non_mated: list[float] = []
    for position, (name, vector) in enumerate(templates):
        others = [*templates[:position], *templates[position + 1 :]]
        for other, score in best_scores(others, vector).items():
            (mated if name == other else non_mated).append(score)
    return sorted(mated), sorted(non_mated)


def rate_is(rate: float, scores: Sequence[float], threshold: float) -> bool:
    """Whether a share ``rate`` of the scores is at or above a threshold, give or take scores within rounding of it."""
    fewest = sum(score > threshold + CLOSE for score in scores)
    most = sum(score > threshold - CLOSE for score in scores)
    return fewest <= round(rate * len(scores)) <= most


def _outcome(score: float, lead: float | None, threshold: float, margin: float) -> str:
    if score < threshold:
        return "NO_MATCH"
    return "MATCH" if lead is None or lead >= margin else "AMBIGUOUS"
