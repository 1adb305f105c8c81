"""Faces: every recipe starts from one pretrained backbone, has the same budget, and is measured on other people.

All pairs of the test images are compared, each recipe in its own way. FMR counts comparisons; in FNMR and rank-1 errors
every identity counts the same. Memory grows with the square of the number of test images: 3 GB at 10,000.
"""

import numpy as np
import torch
from numpy.typing import NDArray

from sameface_qdrant.errors import NotEnoughData
from sameface_qdrant.metrics.error_rates import eer, fnmr, threshold_at_fmr
from sameface_train.backbones import BACKBONES
from sameface_train.checkpoint import Trained
from sameface_train.comparison.drawings import scorer
from sameface_train.embedding import embed
from sameface_train.recipes import recipe
from sameface_train.samples import Samples

FMRS = (1e-2, 1e-3, 1e-4)
_BLOCK = 128


def judge(trained: Trained, held_out: Samples, *, kind: str = "") -> dict[str, float]:
    """Return error rates, 0..1: ``EER``, FNMR at those of `FMRS` that the pairs support, and ``rank-1`` errors.

    A rank-1 error: the other image with the highest score is not of the same identity. Only images of identities
    with two images or more are counted.

    Raises:
        NotEnoughData: no identity has two images, or there is one identity only.
    """
    score = scorer(trained, kind)
    vectors = torch.from_numpy(embed(trained.network, held_out.images, trained.side))
    with torch.no_grad():
        scores = torch.cat([score(part, vectors) for part in vectors.split(_BLOCK)]).numpy()
    return rates(scores, held_out.labels)


def rates(scores: NDArray[np.float32], labels: NDArray[np.int64]) -> dict[str, float]:
    """Return the rates of `judge` from the scores of every image with every other [N, N] and their labels [N]."""
    first, second = np.triu_indices(len(labels), 1)
    is_mated = labels[first] == labels[second]
    if not is_mated.any() or is_mated.all():
        raise NotEnoughData("expected two identities or more, one of them with two images", metadata={"comparisons": 0})
    pair_scores = scores[first, second]
    mated, non_mated = pair_scores[is_mated], pair_scores[~is_mated]
    owners = labels[first[is_mated]]
    weights = 1.0 / np.bincount(owners)[owners]
    found = {"EER": eer(mated, non_mated, weights)}
    for rate in (rate for rate in FMRS if rate * non_mated.size >= 1.0):
        found[f"FNMR@{rate:g}"] = fnmr(mated, threshold_at_fmr(non_mated, rate), weights)
    others = scores.copy()
    np.fill_diagonal(others, -np.inf)
    counts = np.bincount(labels)[labels]
    wrong = (labels[others.argmax(axis=1)] != labels) / counts
    found["rank-1"] = float(wrong[counts > 1].sum() / (1.0 / counts)[counts > 1].sum())
    return found


def pretrained() -> Trained:
    """Return the backbone from which every recipe starts, to be measured beside them."""
    backbone = BACKBONES["sface"]
    chosen = recipe("triplet", "faces")
    network = backbone.build(backbone.channels, backbone.side, chosen.dimension)
    return Trained(chosen, network, {}, (), backbone.side, 0, 0)
