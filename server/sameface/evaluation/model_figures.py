"""The error rates of one model that a comparison of models uses, with their values in every resample. Pure numpy."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from sameface.evaluation.dataset import Pair
from sameface.evaluation.identification import SPLITS, Identification, measure_searches, search_samples
from sameface.evaluation.pairs import correct_decisions, folds_of, pair_scores
from sameface.evaluation.resampling import Estimate, estimate
from sameface.evaluation.samples import Samples
from sameface.evaluation.support import power_text
from sameface.evaluation.verification import REPLICATES, Verification, verify
from sameface_qdrant.metrics.comparisons import Vectors
from sameface_qdrant.metrics.error_rates import Rates
from sameface_qdrant.metrics.intervals import IdentityBootstrap

FMRS = (1e-4, 1e-5)
FPIR = 1e-2


@dataclass(frozen=True, slots=True)
class Figure:
    """A rate of one model."""

    name: str
    value: Estimate
    resampled: Rates
    """The rate in every resample, [resamples]; NaN where there is none."""
    is_supported: bool = True
    """Whether the samples support the target rate; true if there is none."""
    lower_is_better: bool = True


@dataclass(frozen=True, slots=True)
class ModelFigures:
    """The figures of one model. Two models on the same samples and seed have the same resampled identities."""

    figures: tuple[Figure, ...]
    verification: Verification
    identification: Identification


def measure_model(
    samples: Samples,
    pairs: Sequence[Pair] = (),
    *,
    fmrs: Sequence[float] = FMRS,
    replicates: int = REPLICATES,
    splits: int = SPLITS,
    seed: int = 0,
    confidence: float = 0.95,
    templates: Vectors | None = None,
) -> ModelFigures:
    """Measure a model on samples.

    The figures are FNMR at ``fmrs`` over every pair of samples, where every identity counts the same; FNIR at FPIR 1 %;
    with forgeries, the EER of mated comparisons and skilled forgeries; and, if ``pairs`` are given, the accuracy over
    them. With ``templates``, float32 [samples, dimension], they are those of these templates against the samples as
    probes, without forgeries and pairs.

    Raises:
        InvalidArgument: a pair names a sample that is not among them.
        NotEnoughData: there is no mated or no non-mated comparison, or fewer than two identities have two samples.
    """
    verified = verify(samples, fmrs, replicates=replicates, seed=seed, confidence=confidence, templates=templates)
    figures = [
        Figure(
            f"FNMR at FMR {power_text(fmr)}",
            point.fnmr_by_identity,
            verified.resampled.fnmr_by_identity[:, place],
            verified.support.holds(fmr),
        )
        for place, (fmr, point) in enumerate(zip(fmrs, verified.points, strict=True))
    ]
    searches = search_samples(samples, splits=splits, seed=seed, templates=templates)
    identified = measure_searches(searches, (FPIR,), verified.resample_counts, confidence)
    figures.append(
        Figure(
            f"FNIR at FPIR {power_text(FPIR)}",
            identified.points[0].fnir,
            identified.resampled[:, 0],
            identified.support.holds(FPIR),
        )
    )
    if verified.skilled is not None:
        figures.append(Figure("EER, skilled forgeries", verified.skilled.eer, verified.skilled.eer_resampled))
    if pairs and templates is None:
        figures.append(_accuracy(samples, pairs, replicates, seed, confidence))
    return ModelFigures(tuple(figures), verified, identified)


def further_figures(found: ModelFigures) -> tuple[Figure, ...]:
    """Return the rank-1 rate, and FNMR at the same thresholds where every comparison counts the same."""
    verified = found.verification
    rank_one = Figure(
        "rank 1", found.identification.rank_one, found.identification.rank_one_resampled, lower_is_better=False
    )
    return (
        rank_one,
        *(
            Figure(
                f"FNMR by comparison at FMR {power_text(point.target)}",
                point.fnmr,
                verified.resampled.fnmr[:, place],
                verified.support.holds(point.target),
            )
            for place, point in enumerate(verified.points)
        ),
    )


def identities_of(samples: Samples) -> dict[str, str]:
    """Return the identity of every sample, acquired or not."""
    identities = dict(zip(samples.sample, samples.identity, strict=True))
    identities.update({one.sample: one.identity for one in samples.failures})
    return identities


def _accuracy(samples: Samples, pairs: Sequence[Pair], replicates: int, seed: int, confidence: float) -> Figure:
    mated, folds = np.array([pair.mated for pair in pairs]), folds_of(pairs)
    correct = correct_decisions(pair_scores(samples, pairs), mated, folds)
    identity_of = identities_of(samples)
    identities = [
        [identity_of[name] for name in names]
        for names in zip(*((pair.first, pair.second) for pair in pairs), strict=True)
    ]
    names, numbered = np.unique(np.array(identities, dtype=np.str_), return_inverse=True)
    numbered = numbered.reshape(2, -1)
    # The identities of the pairs are resampled; the thresholds of the folds stay.
    rates = IdentityBootstrap(numbered[0], numbered[1], replicates, seed).rates(correct)
    share = float(np.mean([correct[folds == fold].mean() for fold in np.unique(folds)]))
    found = estimate(share, rates, max(1, names.size // 2), confidence)
    return Figure("accuracy over pairs", found, rates, lower_is_better=False)
