"""Measures what a change of the model does to stored templates: four combinations of templates and probes. Pure numpy.

In each pair of samples, the first one is the template and the second one is the probe. All combinations have the same
pairs and the same resampled identities, so the intervals of their differences do not include how hard the people are.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

import numpy as np

from sameface.evaluation.identification import SPLITS
from sameface.evaluation.model_comparison import Endpoint, Verdict, check_same_samples, compare_figures
from sameface.evaluation.model_figures import Figure, ModelFigures, further_figures, measure_model
from sameface.evaluation.resampling import Estimate, draw_identities
from sameface.evaluation.samples import Samples
from sameface.evaluation.verification import REPLICATES
from sameface_qdrant.errors import InvalidArgument
from sameface_qdrant.metrics.comparisons import Vectors
from sameface_qdrant.metrics.intervals import percentile_interval

FMRS = (1e-3, 1e-4, 1e-5)
JUDGED = ("FNMR at FMR 1e-4", "FNMR at FMR 1e-5", "FNIR at FPIR 1e-2")
"""The endpoints that decide whether a map may be a default."""


class Combination(StrEnum):
    """Which version the templates and the probes are of."""

    OLD = "old alone"
    UNMAPPED = "old templates, new probes"
    MAPPED = "mapped templates, new probes"
    NEW = "new alone"


@dataclass(frozen=True, slots=True)
class Compatibility:
    """The figures of every combination that can be compared."""

    figures: Mapping[Combination, ModelFigures]
    against_old: Mapping[Combination, tuple[Endpoint, ...]]
    """Differences from the old version alone; of all combinations but that."""
    cosine: Estimate | None
    """Mean cosine of mapped and native templates, every identity counts the same; None without mapped templates."""

    @property
    def worse(self) -> tuple[Endpoint, ...]:
        """The endpoints of `JUDGED` in which mapped templates are worse than the old version alone."""
        endpoints = self.against_old.get(Combination.MAPPED, ())
        return tuple(one for one in endpoints if one.name in JUDGED and one.verdict is Verdict.WORSE)


def measure_compatibility(
    old: Samples,
    new: Samples,
    mapped: Vectors | None = None,
    *,
    fmrs: Sequence[float] = FMRS,
    replicates: int = REPLICATES,
    splits: int = SPLITS,
    seed: int = 0,
    confidence: float = 0.95,
) -> Compatibility:
    """Measure the combinations of two versions on the same samples.

    Args:
        old: embeddings by the old version.
        new: embeddings of the same samples by the new version.
        mapped: float32 [samples, new dimension] ``old.vectors`` brought into the new space; None if there is no map.
        fmrs: target FMRs.
        replicates: resamples of the identities.
        splits: of the searches.
        seed: of the resamples and splits.
        confidence: of the intervals, in (0, 1).

    Raises:
        InvalidArgument: the samples or their identities differ, or ``mapped`` has another shape.
        NotEnoughData: there is no mated or no non-mated comparison, or fewer than two identities have two samples.
    """
    old = replace(in_order_of(old, new), forgeries=None)
    new = replace(new, forgeries=None)
    if mapped is not None and mapped.shape != new.vectors.shape:
        raise InvalidArgument(
            f"mapped templates have shape {list(mapped.shape)}; expected {list(new.vectors.shape)}, one for each "
            "sample in the order of the new embeddings",
            metadata={"field": "mapped"},
        )

    def measured(samples: Samples, templates: Vectors | None = None) -> ModelFigures:
        return measure_model(
            samples,
            fmrs=fmrs,
            replicates=replicates,
            splits=splits,
            seed=seed,
            confidence=confidence,
            templates=templates,
        )

    figures = {Combination.OLD: measured(old)}
    if old.vectors.shape == new.vectors.shape:
        figures[Combination.UNMAPPED] = measured(new, old.vectors)
    if mapped is not None:
        figures[Combination.MAPPED] = measured(new, mapped)
    figures[Combination.NEW] = measured(new)
    of_old = _all_figures(figures[Combination.OLD])
    return Compatibility(
        figures,
        {
            name: compare_figures(of_old, _all_figures(found), confidence)
            for name, found in figures.items()
            if name is not Combination.OLD
        },
        None if mapped is None else _mean_cosine(new, mapped, replicates, seed, confidence),
    )


def in_order_of(old: Samples, new: Samples) -> Samples:
    """Return the embeddings of the old version in the order of the new one's.

    Raises:
        InvalidArgument: the samples or their identities differ, or one was acquired by only one version.
    """
    check_same_samples(old, new)
    if alone := sorted({*old.sample} ^ {*new.sample}):
        raise InvalidArgument(
            f"{len(alone)} samples have an embedding by only one of the versions, for instance {alone[0]!r}; expected "
            "the same ones; remove them, or embed again",
            metadata={"field": "embeddings"},
        )
    place = {name: row for row, name in enumerate(old.sample)}
    rows = [place[name] for name in new.sample]
    return replace(old, vectors=old.vectors[rows], identity=tuple(old.identity[row] for row in rows), sample=new.sample)


def _all_figures(found: ModelFigures) -> tuple[Figure, ...]:
    return (*found.figures, *further_figures(found))


def _mean_cosine(new: Samples, mapped: Vectors, replicates: int, seed: int, confidence: float) -> Estimate:
    """Return the mean over identities of the cosine between mapped and native templates, by resampled identities."""
    names, owners = np.unique(np.array(new.identity, dtype=np.str_), return_inverse=True)
    cosines = np.einsum("ij,ij->i", mapped.astype(np.float64), new.vectors.astype(np.float64))
    means = np.bincount(owners, cosines) / np.bincount(owners)
    drawn = draw_identities(len(names), replicates, seed) @ means / len(names)
    return Estimate(float(means.mean()), percentile_interval(drawn, confidence))
