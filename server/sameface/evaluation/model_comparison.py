"""Compares two models on the same samples: their error rates, and confidence intervals of the differences. Pure numpy.

Both models are measured on the same resampled identities. So the intervals of the differences do not include how
easy or hard the people of a resample are.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np

from sameface.evaluation.dataset import Pair
from sameface.evaluation.identification import SPLITS, Identification
from sameface.evaluation.model_figures import FMRS, Figure, identities_of, measure_model
from sameface.evaluation.resampling import Estimate
from sameface.evaluation.samples import Samples
from sameface.evaluation.verification import REPLICATES, Verification
from sameface_qdrant.errors import InvalidArgument
from sameface_qdrant.metrics.intervals import percentile_interval


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
    fmrs: Sequence[float] = FMRS,
    replicates: int = REPLICATES,
    splits: int = SPLITS,
    seed: int = 0,
    confidence: float = 0.95,
) -> ModelComparison:
    """Measure two models on the same samples.

    The endpoints are the figures of `sameface.evaluation.model_figures.measure_model`. There is no correction for
    several endpoints.

    Raises:
        InvalidArgument: the samples or their identities differ, or a pair names a sample that is not among them.
        NotEnoughData: there is no mated or no non-mated comparison, or fewer than two identities have two samples.
    """
    check_same_samples(first, second)
    one, other = (
        measure_model(samples, pairs, fmrs=fmrs, replicates=replicates, splits=splits, seed=seed, confidence=confidence)
        for samples in (first, second)
    )
    return ModelComparison(
        compare_figures(one.figures, other.figures, confidence),
        (one.verification, other.verification),
        (one.identification, other.identification),
    )


def compare_figures(
    first: Sequence[Figure], second: Sequence[Figure], confidence: float = 0.95
) -> tuple[Endpoint, ...]:
    """Return the differences of the figures that both models have. Both come from the same resampled identities."""
    of_second = {one.name: one for one in second}
    return tuple(_endpoint(one, of_second[one.name], confidence) for one in first if one.name in of_second)


def check_same_samples(first: Samples, second: Samples) -> None:
    """Check that both have the same samples and forgeries with the same identities.

    A sample may be acquired in only one of them.

    Raises:
        InvalidArgument: the samples or their identities differ, or a file was unreadable for only one of them.
    """
    of_first, of_second = identities_of(first), identities_of(second)
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


def _endpoint(first: Figure, second: Figure, confidence: float) -> Endpoint:
    differences = second.resampled - first.resampled
    interval = percentile_interval(differences[np.isfinite(differences)], confidence)
    verdict = Verdict.NO_DIFFERENCE
    if interval.low > 0 or interval.high < 0:
        verdict = Verdict.BETTER if (interval.high < 0) == first.lower_is_better else Verdict.WORSE
    return Endpoint(
        first.name,
        first.is_supported and second.is_supported,
        first.value,
        second.value,
        Estimate(second.value.value - first.value.value, interval),
        first.lower_is_better,
        verdict,
    )


def _forgeries(samples: Samples) -> dict[str, str]:
    return {} if samples.forgeries is None else identities_of(samples.forgeries)


def _refused(message: str) -> InvalidArgument:
    return InvalidArgument(message, metadata={"field": "embeddings"})
