"""Compares two models on the same samples: their error rates, and confidence intervals of the differences. Pure numpy.

Both models are measured on the same resampled identities. So the intervals of the differences do not include how
easy or hard the people of a resample are.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np

from sameface.evaluation.dataset import Pair
from sameface.evaluation.identification import SPLITS, Identification, measure_searches, search_samples
from sameface.evaluation.pairs import correct_decisions, folds_of, pair_scores
from sameface.evaluation.resampling import Estimate, estimate
from sameface.evaluation.samples import Samples
from sameface.evaluation.support import power_text
from sameface.evaluation.verification import REPLICATES, Verification, verify
from sameface_qdrant.errors import InvalidArgument
from sameface_qdrant.metrics.error_rates import Rates
from sameface_qdrant.metrics.intervals import IdentityBootstrap, percentile_interval

FMRS = (1e-4, 1e-5)
FPIR = 1e-2


class Verdict(StrEnum):
    """How the second model compares with the first."""

    BETTER = "better"
    WORSE = "worse"
    NO_DIFFERENCE = "no difference shown"


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A figure of both models that was fixed in advance."""

    name: str
    is_supported: bool
    """Whether both samples support the target rate; true if there is none."""
    first: Estimate
    second: Estimate
    difference: Estimate
    """Second minus first."""
    lower_is_better: bool
    verdict: Verdict
    """There is a difference when the interval of the difference excludes 0."""


@dataclass(frozen=True, slots=True)
class ModelComparison:
    """The figures of two models on the same samples."""

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

    The endpoints are FNMR at FMR 1e-4 and 1e-5 over every pair of samples, where every identity counts the same; FNIR
    at FPIR 1 %; with forgeries, the EER of mated comparisons and skilled forgeries; and, if ``pairs`` are given, the
    accuracy over them. There is no correction for several endpoints.

    Raises:
        InvalidArgument: the samples or their identities differ, or a pair names a sample that is not among them.
        NotEnoughData: there is no mated or no non-mated comparison, or fewer than two identities have two samples.
    """
    check_same_samples(first, second)
    verified = tuple(
        verify(samples, FMRS, replicates=replicates, seed=seed, confidence=confidence) for samples in (first, second)
    )
    resample_counts = verified[0].resample_counts
    endpoints = [
        _endpoint(
            f"FNMR at FMR {power_text(fmr)}",
            one.fnmr_by_identity,
            other.fnmr_by_identity,
            verified[0].resampled.fnmr_by_identity[:, place],
            verified[1].resampled.fnmr_by_identity[:, place],
            confidence,
            is_supported=all(model.support.holds(fmr) for model in verified),
        )
        for place, (fmr, one, other) in enumerate(zip(FMRS, verified[0].points, verified[1].points, strict=True))
    ]
    identified = tuple(
        measure_searches(search_samples(samples, splits=splits, seed=seed), (FPIR,), resample_counts, confidence)
        for samples in (first, second)
    )
    endpoints.append(
        _endpoint(
            f"FNIR at FPIR {power_text(FPIR)}",
            identified[0].points[0].fnir,
            identified[1].points[0].fnir,
            identified[0].resampled[:, 0],
            identified[1].resampled[:, 0],
            confidence,
            is_supported=all(model.support.holds(FPIR) for model in identified),
        )
    )
    skilled = [one.skilled for one in verified if one.skilled is not None]
    if len(skilled) == 2:
        both = ((one.eer, one.eer_resampled) for one in skilled)
        (one, one_resampled), (other, other_resampled) = both
        endpoints.append(_endpoint("EER, skilled forgeries", one, other, one_resampled, other_resampled, confidence))
    if pairs:
        endpoints.append(_accuracy(first, second, pairs, replicates, seed, confidence))
    return ModelComparison(tuple(endpoints), (verified[0], verified[1]), (identified[0], identified[1]))


def check_same_samples(first: Samples, second: Samples) -> None:
    """Check that both have the same samples and forgeries with the same identities.

    A sample may be acquired in only one of them.

    Raises:
        InvalidArgument: the samples or their identities differ, or a file was unreadable for only one of them.
    """
    of_first, of_second = _identities(first), _identities(second)
    for one, other, name in ((of_first, of_second, "first"), (of_second, of_first, "second")):
        if alone := sorted(one.keys() - other.keys()):
            raise _refused(
                f"{len(alone)} of {len(one)} samples are only in the {name}, for instance {alone[0]!r}; expected the "
                "same samples in both"
            )
    if differing := sorted(name for name in of_first if of_first[name] != of_second[name]):
        name = differing[0]
        raise _refused(f"{name!r} is of {of_first[name]!r} in the first and of {of_second[name]!r} in the second")
    if forged := sorted({*_forgeries(first).items()} ^ {*_forgeries(second).items()}):
        raise _refused(
            f"{len(forged)} samples are forgeries of {forged[0][1]!r}, or of others, in only one of them, for instance "
            f"{forged[0][0]!r}; expected the same forgeries in both"
        )
    if unreadable := {one.sample for one in first.unreadable} ^ {one.sample for one in second.unreadable}:
        raise _refused(
            f"{len(unreadable)} samples could be read for only one of them, for instance {min(unreadable)!r}; repair "
            "or remove these files and embed again"
        )


def _endpoint(
    name: str,
    first: Estimate,
    second: Estimate,
    first_resampled: Rates,
    second_resampled: Rates,
    confidence: float,
    *,
    is_supported: bool = True,
    lower_is_better: bool = True,
) -> Endpoint:
    differences = second_resampled - first_resampled
    interval = percentile_interval(differences[np.isfinite(differences)], confidence)
    verdict = Verdict.NO_DIFFERENCE
    if interval.low > 0 or interval.high < 0:
        verdict = Verdict.BETTER if (interval.high < 0) == lower_is_better else Verdict.WORSE
    return Endpoint(
        name, is_supported, first, second, Estimate(second.value - first.value, interval), lower_is_better, verdict
    )


def _accuracy(
    first: Samples, second: Samples, pairs: Sequence[Pair], replicates: int, seed: int, confidence: float
) -> Endpoint:
    mated, folds = np.array([pair.mated for pair in pairs]), folds_of(pairs)
    identity_of = _identities(first)
    identities = [
        [identity_of[name] for name in names]
        for names in zip(*((pair.first, pair.second) for pair in pairs), strict=True)
    ]
    names, numbered = np.unique(np.array(identities, dtype=np.str_), return_inverse=True)
    numbered = numbered.reshape(2, -1)
    # The identities of the pairs are resampled; the thresholds of the folds stay.
    bootstrap = IdentityBootstrap(numbered[0], numbered[1], replicates, seed)
    values, rates = [], []
    for samples in (first, second):
        correct = correct_decisions(pair_scores(samples, pairs), mated, folds)
        rates.append(bootstrap.rates(correct))
        share = float(np.mean([correct[folds == fold].mean() for fold in np.unique(folds)]))
        values.append(estimate(share, rates[-1], max(1, names.size // 2), confidence))
    return _endpoint("accuracy over pairs", values[0], values[1], rates[0], rates[1], confidence, lower_is_better=False)


def _identities(samples: Samples) -> dict[str, str]:
    identities = dict(zip(samples.sample, samples.identity, strict=True))
    identities.update({one.sample: one.identity for one in samples.failures})
    return identities


def _forgeries(samples: Samples) -> dict[str, str]:
    return {} if samples.forgeries is None else _identities(samples.forgeries)


def _refused(message: str) -> InvalidArgument:
    return InvalidArgument(message, metadata={"field": "embeddings"})
