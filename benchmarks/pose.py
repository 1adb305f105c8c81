"""Compares profile photos with frontal photos, for two models on the Face Research Lab London Set.

sameface evaluate verification LONDON --embedder-version 1 --save-embeddings one.npz    # and 2 in two.npz
python -m benchmarks.pose one.npz two.npz
"""

import sys
from pathlib import Path

import numpy as np

from sameface.evaluation.model_comparison import check_same_samples
from sameface.evaluation.samples import Samples, read_embeddings
from sameface_qdrant.metrics.error_rates import Scores, Weights, fnmr, threshold_at_fmr

PROBES = {"three-quarter": "3quarter", "profile": "profile"}
FMRS = (1e-2, 1e-3)
REPLICATES = 1000


def main(first: Path, second: Path) -> None:
    """Print FNMR of turned faces against frontal ones for both models, and the paired difference."""
    both = read_embeddings(first), read_embeddings(second)
    check_same_samples(*both)
    for name, part in PROBES.items():
        scores = [cross_scores(samples, part) for samples in both]
        people = scores[0].shape[0]
        for rate in FMRS:
            first_fnmr, second_fnmr = (weighted_fnmr(one, np.ones(people), rate) for one in scores)
            rng = np.random.default_rng(0)
            resamples = [np.bincount(rng.integers(people, size=people), minlength=people) for _ in range(REPLICATES)]
            differences = [
                weighted_fnmr(scores[1], counts.astype(float), rate)
                - weighted_fnmr(scores[0], counts.astype(float), rate)
                for counts in resamples
            ]
            low, high = np.percentile(differences, (2.5, 97.5))
            difference = second_fnmr - first_fnmr
            print(
                f"{name} against frontal, {people} people: FNMR at FMR {rate:g} {first_fnmr:.1%} and "
                f"{second_fnmr:.1%}, difference {100 * difference:+.1f} points (95 % {100 * low:+.1f} to "
                f"{100 * high:+.1f})"
            )


def cross_scores(samples: Samples, part: str) -> Scores:
    """Return the scores of each person's turned photos with each person's frontal ones, [people, people, pairs].

    A person with fewer photos than the others, because a face was not found, has NaN for the missing ones.
    """
    people = sorted(set(samples.identity))
    sides = []
    for wanted in (part, "front"):
        photos = [
            [
                place
                for place, (identity, name) in enumerate(zip(samples.identity, samples.sample, strict=True))
                if identity == person and wanted in Path(name).name
            ]
            for person in people
        ]
        most = max(map(len, photos))
        side = np.full((len(people), most, samples.vectors.shape[1]), np.nan)
        for place, own in enumerate(photos):
            side[place, : len(own)] = samples.vectors[own]
        sides.append(side)
    scores: Scores = np.einsum("pax,qbx->pqab", *sides).reshape(len(people), len(people), -1)
    return scores


def weighted_fnmr(scores: Scores, counts: Weights, target_fmr: float) -> float:
    """Return FNMR at an FMR. Person i counts ``counts[i]`` times; a comparison of two people counts their product."""
    people = len(counts)
    weights = np.broadcast_to((counts[:, None] * counts[None])[:, :, None], scores.shape)
    is_own = np.eye(people, dtype=bool)
    is_finite = np.isfinite(scores)
    non_mated = is_finite & ~is_own[:, :, None] & (weights > 0)
    threshold = threshold_at_fmr(scores[non_mated], target_fmr, weights[non_mated])
    mated = is_finite & is_own[:, :, None]
    by_person = np.broadcast_to(counts[:, None, None], scores.shape)
    return fnmr(scores[mated], threshold, by_person[mated])


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:3]))
