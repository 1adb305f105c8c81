"""Two models on the same samples: what each scores, and whether the difference is more than chance. Pure numpy.

The same resampled identities go through both models, so that what makes a set of people easy or hard cancels out.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np

from sameface.evaluation.cross_comparison import CrossComparison, TailTooShort, compare_all_samples
from sameface.evaluation.dataset import Pair
from sameface.evaluation.identification import SPLITS, Identification, measure_searches, search_samples
from sameface.evaluation.pairs import correct_decisions, folds_of, pair_scores
from sameface.evaluation.resampling import Estimate, draw_identities, estimate
from sameface.evaluation.samples import Samples
from sameface.evaluation.verification import REPLICATES, SHARES, Verification, power_text, verify_cross
from sameface_qdrant.errors import InvalidArgument
from sameface_qdrant.metrics.error_rates import Scores
from sameface_qdrant.metrics.intervals import IdentityBootstrap, percentile_interval

FMRS = (1e-4, 1e-5)
FPIR = 1e-2


class Verdict(StrEnum):
    """What the second model is, compared with the first."""

    BETTER = "better"
    WORSE = "worse"
    NO_DIFFERENCE = "no difference shown"


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A figure that was named before looking, of both models."""

    name: str
    first: Estimate
    second: Estimate
    difference: Estimate
    """Second less first."""
    lower_is_better: bool
    verdict: Verdict
    """By whether the interval of the difference excludes 0."""


@dataclass(frozen=True, slots=True)
class ModelComparison:
    """Both models on the same samples."""

    endpoints: tuple[Endpoint, ...]
    verification: tuple[Verification, Verification]
    identification: tuple[Identification, Identification]


def compare_models(
    first: Samples,
    second: Samples,
    pairs: Sequence[Pair] = (),
    *,
    replicates: int = REPLICATES,
    splits: int = SPLITS,
    seed: int = 0,
    confidence: float = 0.95,
) -> ModelComparison:
    """Measure two models on the same samples.

    Endpoints: FNMR at FMR 1e-4 and 1e-5 over all cross pairs, every identity counting the same; FNIR at FPIR 1 %; and
    the accuracy over ``pairs`` where there are some. Nothing is corrected for looking at several.

    Raises:
        InvalidArgument: the samples or their identities differ; a pair names a sample that is not there.
        NotEnoughData: there is no mated or no non-mated comparison, or fewer than two identities have two samples.
    """
    check_same_samples(first, second)
    one, other = _verify_both(first, second, replicates, seed, confidence)
    drawn = one.drawn
    endpoints = [
        _endpoint(
            f"FNMR at FMR {power_text(fmr)}",
            ours.fnmr_by_identity,
            theirs.fnmr_by_identity,
            one.resampled.fnmr_by_identity[:, place],
            other.resampled.fnmr_by_identity[:, place],
            confidence,
        )
        for place, (fmr, ours, theirs) in enumerate(zip(FMRS, one.points, other.points, strict=True))
    ]
    found = tuple(
        measure_searches(search_samples(samples, splits=splits, seed=seed), (FPIR,), drawn, confidence)
        for samples in (first, second)
    )
    endpoints.append(
        _endpoint(
            f"FNIR at FPIR {power_text(FPIR)}",
            found[0].points[0].fnir,
            found[1].points[0].fnir,
            found[0].resampled[:, 0],
            found[1].resampled[:, 0],
            confidence,
        )
    )
    if pairs:
        endpoints.append(_accuracy(first, second, pairs, replicates, seed, confidence))
    return ModelComparison(tuple(endpoints), (one, other), (found[0], found[1]))


def check_same_samples(first: Samples, second: Samples) -> None:
    """Check that both are of the same samples, whether or not each could be acquired.

    Raises:
        InvalidArgument: they are not.
    """
    ours, theirs = _identities(first), _identities(second)
    for one, other, name in ((ours, theirs, "first"), (theirs, ours, "second")):
        if alone := sorted(one.keys() - other.keys()):
            raise _refused(
                f"{len(alone)} of {len(one)} samples are only in the {name}, for instance {alone[0]!r}; expected the "
                "same samples in both"
            )
    if differing := sorted(name for name in ours if ours[name] != theirs[name]):
        name = differing[0]
        raise _refused(f"{name!r} is of {ours[name]!r} in the first and of {theirs[name]!r} in the second")
    if unreadable := {one.sample for one in first.unreadable} ^ {one.sample for one in second.unreadable}:
        raise _refused(
            f"{len(unreadable)} samples could be read for one of them only, for instance {min(unreadable)!r}; mend or "
            "remove these files and embed again"
        )


def _verify_both(
    first: Samples, second: Samples, replicates: int, seed: int, confidence: float
) -> tuple[Verification, Verification]:
    def verified(cross: CrossComparison) -> Verification:
        return verify_cross(cross, FMRS, draw_identities(len(cross.identities), replicates, seed), confidence)

    both = []
    for samples in (first, second):
        for share in SHARES:
            try:
                both.append(verified(compare_all_samples(samples, share)))
                break
            except TailTooShort:
                continue
    return both[0], both[1]


def _endpoint(
    name: str,
    first: Estimate,
    second: Estimate,
    ours: Scores,
    theirs: Scores,
    confidence: float,
    *,
    lower_is_better: bool = True,
) -> Endpoint:
    differences = theirs - ours
    interval = percentile_interval(differences[np.isfinite(differences)], confidence)
    verdict = Verdict.NO_DIFFERENCE
    if interval.low > 0 or interval.high < 0:
        verdict = Verdict.BETTER if (interval.high < 0) == lower_is_better else Verdict.WORSE
    return Endpoint(name, first, second, Estimate(second.value - first.value, interval), lower_is_better, verdict)


def _accuracy(
    first: Samples, second: Samples, pairs: Sequence[Pair], replicates: int, seed: int, confidence: float
) -> Endpoint:
    mated, folds = np.array([pair.mated for pair in pairs]), folds_of(pairs)
    owners = _identities(first)
    sides = [
        [owners[name] for name in names] for names in zip(*((one.first, one.second) for one in pairs), strict=True)
    ]
    names, codes = np.unique(np.array(sides, dtype=np.str_), return_inverse=True)
    codes = codes.reshape(2, -1)
    # Thresholds are those of the folds; what is resampled is who the pairs are of.
    bootstrap = IdentityBootstrap(codes[0], codes[1], replicates, seed)
    values, rates = [], []
    for samples in (first, second):
        right = correct_decisions(pair_scores(samples, pairs), mated, folds)
        rates.append(bootstrap.rates(right))
        share = float(np.mean([right[folds == fold].mean() for fold in np.unique(folds)]))
        values.append(estimate(share, rates[-1], max(1, names.size // 2), confidence))
    return _endpoint("accuracy over pairs", values[0], values[1], rates[0], rates[1], confidence, lower_is_better=False)


def _identities(samples: Samples) -> dict[str, str]:
    identities = dict(zip(samples.sample, samples.identity, strict=True))
    identities.update({one.sample: one.identity for one in samples.failures})
    return identities


def _refused(message: str) -> InvalidArgument:
    return InvalidArgument(message, metadata={"field": "embeddings"})
