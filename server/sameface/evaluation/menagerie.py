"""Which identities are hard: their mean scores over every pair of samples. Pure numpy."""

import numpy as np

from sameface.evaluation.cross_comparison import NO_SCORE, CrossComparison
from sameface.evaluation.samples import Samples
from sameface_qdrant.errors import NotEnoughData
from sameface_qdrant.metrics.animals import Animals, group_means
from sameface_qdrant.metrics.error_rates import Indices, Scores


def animals_of(samples: Samples, comparison: CrossComparison) -> Animals | None:
    """Return the groups of the identities by their mean scores; None with fewer than 8 identities to group.

    Samples that could not be acquired have no score and are left out.
    """
    try:
        return group_means(comparison.identities, *mean_scores(samples, comparison))
    except NotEnoughData:
        return None


def mean_scores(samples: Samples, comparison: CrossComparison) -> tuple[Scores, Scores]:
    """Return the mean mated and the mean non-mated score of each identity, [identities]; NaN where there is none.

    The sum of all cosines of an identity with the others is the product of two sums of vectors, so no pair is computed.
    """
    count = len(comparison.identities)
    acquired = comparison.mated > NO_SCORE
    pairs = np.bincount(comparison.owners[acquired], minlength=count)
    total = np.bincount(comparison.owners[acquired], comparison.mated[acquired], count).astype(np.float64)
    owners = comparison.sample_owners[: comparison.embedded]
    sums = np.zeros((count, samples.vectors.shape[1]))
    np.add.at(sums, owners, samples.vectors.astype(np.float64))
    everyone = sums.sum(axis=0)
    own = comparison.samples_per_identity
    cosines: Scores = np.einsum("ij,ij->i", sums, everyone - sums)
    return _divided(total, pairs), _divided(cosines, own * (comparison.embedded - own))


def _divided(total: Scores, number: Indices) -> Scores:
    means: Scores = np.divide(total, number, out=np.full(total.size, np.nan), where=number > 0)
    return means
