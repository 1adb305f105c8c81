"""Which target rates the samples of an evaluation support, and how figures at other targets are marked. Pure numpy.

The rule is that of a calibration (`sameface_qdrant.metrics.support`). Comparisons that share an identity are not
independent, so their number is divided by the design effect. Searches count by the people who are searched for, and
presentation attacks by species. Every table, record and card that has a rate at a target asks this module.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from sameface.evaluation.cross_comparison import CrossComparison
from sameface.evaluation.resampling import Counts, pairs_between
from sameface_qdrant.metrics.error_rates import Scores, Weights, fpir, threshold_at_fmr
from sameface_qdrant.metrics.intervals import effective_sample_size
from sameface_qdrant.metrics.support import ERRORS_TO_RESAMPLE, Support, support

MARK = "not supported"


def fmr_support(comparison: CrossComparison, resample_counts: Counts, confidence: float = 0.95) -> Support:
    """Return which FMRs the non-mated comparisons support.

    Args:
        comparison: the scores.
        resample_counts: how often each identity is in each resample, [resamples, identities]; for the design effect.
        confidence: in (0, 1).
    """
    trials = effective_comparisons(comparison, resample_counts)
    at_best = float(np.count_nonzero(comparison.tail >= 1.0)) / comparison.non_mated
    return support(trials, at_best=at_best, confidence=confidence)


def effective_comparisons(comparison: CrossComparison, resample_counts: Counts) -> float:
    """Return how many independent non-mated comparisons give the same certainty, at the lowest rate to resample.

    It is p·(1 − p) divided by the variance of the resampled FMR, where 30 errors are left; between half of the
    identities and all comparisons.
    """
    samples = comparison.samples_per_identity
    total = comparison.non_mated
    independent = max(1, int(np.count_nonzero(samples)) // 2)
    if total <= independent:
        return float(total)
    scores, weights = comparison.weighted_tail()
    threshold = threshold_at_fmr(scores, min(0.5, ERRORS_TO_RESAMPLE / total), weights)
    errors = int(np.count_nonzero(comparison.tail >= threshold))
    if not errors:
        return float(independent)
    first, second = comparison.sample_owners[comparison.tail_samples[:errors]].T
    rates = []
    for counts in resample_counts.astype(np.float64):
        if weight := pairs_between(samples * counts):
            rates.append(float(counts[first] @ counts[second]) / weight)
    # Two identities are always drawn together or not at all: then resampling says nothing.
    if len(rates) < 2 or np.ptp(rates) == 0.0:
        return float(independent)
    return effective_sample_size(errors / total, np.array(rates), independent, total)


def fpir_support(best: Scores, people: int, weights: Weights | None = None, confidence: float = 0.95) -> Support:
    """Return which FPIRs the non-mated searches support.

    Args:
        best: the highest score of each search.
        people: how many different identities were searched for. Two probes of one person are no two trials.
        weights: one for each search.
        confidence: in (0, 1).
    """
    return support(people, at_best=fpir(best, 1.0, weights), confidence=confidence)


def apcer_support(species: Mapping[str, Scores], confidence: float = 0.95) -> Support:
    """Return which APCERs the attacks support: each must be shown for every species, so the smallest one decides."""
    return support(min(scores.size for scores in species.values()), confidence=confidence)


def marked(text: str, target: float, found: Support) -> str:
    """Return the text of a figure at a target, marked if the target is not supported.

    >>> marked("1e-5", 1e-5, support(1000)), marked("1e-2", 1e-2, support(1000))
    ('1e-5 (not supported)', '1e-2')
    """
    return text if found.holds(target) else f"{text} ({MARK})"


def support_notes(rate: str, targets: Sequence[float], found: Support, trials: str) -> list[str]:
    """Return a sentence about the targets that are not supported; nothing if all are.

    Args:
        rate: name of the rate, such as FMR.
        targets: in (0, 1).
        found: what is supported.
        trials: what one trial is, in the plural.

    >>> support_notes("FMR", (1e-2, 1e-4, 1e-5), support(1000), "independent comparisons")[0][:58]
    'FMR 1e-4 and 1e-5 are not supported: these samples are wor'
    """
    lacking = sorted((one for one in targets if not found.holds(one)), reverse=True)
    if not lacking:
        return []
    *others, last = map(power_text, lacking)
    named = f"{', '.join(others)} and {last}" if others else last
    needed = f"{power_text(lacking[-1])} needs {found.needed(lacking[-1]):,}"
    return [
        f"{rate} {named} {'is' if len(lacking) == 1 else 'are'} {MARK}: these samples are worth about "
        f"{_about(found.trials)} {trials}, and the lowest supported {rate} is {found.lowest:.2g}. {needed}. Do not "
        "rely on figures there."
    ]


def support_record(found: Support) -> dict[str, Any]:
    """Return what is supported as plain values."""
    return {"lowest": found.lowest, "independent_trials": found.trials, "confidence": found.confidence}


def power_text(rate: float) -> str:
    """Return a target rate as text.

    >>> power_text(1e-4), power_text(0.05)
    ('1e-4', '5e-2')
    """
    digits, power = f"{rate:.0e}".split("e")
    return f"{digits}e{int(power)}"


def _about(number: float) -> str:
    """Return a number with two significant digits."""
    digits = max(0, len(str(int(number))) - 2)
    return f"{round(number, -digits):,.0f}"
