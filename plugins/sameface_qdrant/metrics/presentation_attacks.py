"""Error rates of presentation attack detection (ISO/IEC 30107-3). Pure numpy.

A detector gives each presentation a bona fide score; higher means less like an attack. A presentation is classified as
bona fide when score ≥ threshold. Attacks are grouped by the species of their instrument (PAIS), such as printed photos
or screens. An average over species would hide the one that passes, so species are never averaged: the rate of the
detector is that of its worst species. A presentation without a response, for instance a photo in which no face was
found, has no score and counts in the non-response rates alone.

Functions raise ValueError if there is no score, or if a score is not finite.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from sameface_qdrant.metrics.error_rates import Rates, Scores, fmr, fnmr, fta, threshold_at_fmr
from sameface_qdrant.metrics.intervals import ConfidenceInterval, wilson_interval

Species = Mapping[str, ArrayLike]
"""The bona fide scores of the attacks with each species of instrument; at least one species."""


@dataclass(frozen=True, slots=True)
class PadRate:
    """A rate over independent presentations with its Wilson interval."""

    value: float
    interval: ConfidenceInterval
    presentations: int


@dataclass(frozen=True, slots=True)
class PadCurve:
    """APCER of the worst species and BPCER at every threshold where one of them changes."""

    thresholds: Scores
    """Ascending."""
    apcer: Rates
    bpcer: Rates


def apcer(attacks: ArrayLike, threshold: float) -> float:
    """Return the attack presentation classification error rate of one species: the share that passes as bona fide.

    ISO/IEC 30107-3: 1 − (1/N) Σ Res, over the N attacks with a response, where Res is 1 for "attack".

    >>> apcer([0.1, 0.2, 0.6, 0.9], threshold=0.6)
    0.5
    """
    return fmr(attacks, threshold)


def bpcer(bona_fide: ArrayLike, threshold: float) -> float:
    """Return the bona fide presentation classification error rate: the share that is taken for an attack.

    >>> bpcer([0.1, 0.6, 0.7, 0.8], threshold=0.6)
    0.25
    """
    return fnmr(bona_fide, threshold)


def worst_apcer(species: Species, threshold: float) -> float:
    """Return the APCER of the species with the highest one.

    >>> worst_apcer({"print": [0.1, 0.2], "replay": [0.3, 0.8]}, threshold=0.5)
    0.5
    """
    return max(apcer(scores, threshold) for scores in _some(species).values())


def threshold_at_apcer(species: Species, target: float) -> float:
    """Return the lowest threshold at which no species has an APCER above ``target`` (0 to 1).

    It may be just above 1, if more attacks than that have a score of 1.
    """
    return max(threshold_at_fmr(scores, target) for scores in _some(species).values())


def bpcer_at_apcer(bona_fide: ArrayLike, species: Species, target: float) -> float:
    """Return BPCER at the lowest threshold where no species has an APCER above ``target``.

    BPCER10, BPCER20 and BPCER100 are those at 1/10, 1/20 and 1/100.

    >>> bpcer_at_apcer([0.3, 0.6, 0.7, 0.9], {"print": [0.1, 0.5], "replay": [0.2, 0.2]}, 1 / 100)
    0.25
    """
    return bpcer(bona_fide, threshold_at_apcer(species, target))


def pad_curve(bona_fide: ArrayLike, species: Species) -> PadCurve:
    """Return the DET curve of a detector: APCER of the worst species and BPCER over all thresholds."""
    groups = [np.asarray(scores, dtype=np.float64).ravel() for scores in _some(species).values()]
    genuine = np.asarray(bona_fide, dtype=np.float64).ravel()
    thresholds = np.unique(np.concatenate([genuine, *groups]))
    worst = np.max([1.0 - _share_below(scores, thresholds) for scores in groups], axis=0)
    return PadCurve(thresholds, worst, _share_below(genuine, thresholds))


def apnrr(without_response: int, presentations: int) -> float:
    """Return the attack presentation non-response rate of one species."""
    return fta(without_response, presentations)


def bpnrr(without_response: int, presentations: int) -> float:
    """Return the bona fide presentation non-response rate."""
    return fta(without_response, presentations)


def pad_rate(errors: int, presentations: int, confidence: float = 0.95) -> PadRate:
    """Return a rate with its interval.

    The interval is right for independent presentations only. If several are of one person, one instrument or one video,
    it is too narrow.

    Raises:
        ValueError: there is no presentation, or there are more errors than presentations.
    """
    interval = wilson_interval(errors, presentations, confidence)
    return PadRate(errors / presentations, interval, presentations)


def apcer_rate(attacks: ArrayLike, threshold: float, confidence: float = 0.95) -> PadRate:
    """Return the `apcer` of one species with its interval."""
    return _counted(apcer(attacks, threshold), np.size(attacks), confidence)


def bpcer_rate(bona_fide: ArrayLike, threshold: float, confidence: float = 0.95) -> PadRate:
    """Return the `bpcer` with its interval."""
    return _counted(bpcer(bona_fide, threshold), np.size(bona_fide), confidence)


def _counted(rate: float, presentations: int, confidence: float) -> PadRate:
    return pad_rate(round(rate * presentations), presentations, confidence)


def _some(species: Species) -> Species:
    if not species:
        raise ValueError("no species of attacks was given; expected at least one")
    return species


def _share_below(scores: Scores, thresholds: Scores) -> Rates:
    if scores.size == 0 or not np.isfinite(scores).all():
        raise ValueError(f"{scores.size} scores were given; expected at least one, all of them finite")
    shares: Rates = np.searchsorted(np.sort(scores), thresholds, side="left") / scores.size
    return shares
