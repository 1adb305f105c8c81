"""Profiles against frontal photos: two models on the Face Research Lab London Set, in one run.

sameface evaluate verification LONDON --embedder-version 1 --save-embeddings one.npz    # and 2 in two.npz
python -m benchmarks.pose one.npz two.npz
"""

import sys
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from sameface.evaluation.model_comparison import check_same_samples
from sameface.evaluation.samples import Samples, read_embeddings
from sameface_qdrant.metrics.error_rates import fnmr, threshold_at_fmr

PROBES = {"three-quarter": "3quarter", "profile": "profile"}
FMRS = (1e-2, 1e-3)
REPLICATES = 1000

Scores = NDArray[np.float64]


def main(first: Path, second: Path) -> None:
    """Print FNMR of turned faces against frontal ones for both models, and the paired difference."""
    both = read_embeddings(first), read_embeddings(second)
    check_same_samples(*both)
    for name, part in PROBES.items():
        crossed = [cross(samples, part) for samples in both]
        people = crossed[0].shape[0]
        for rate in FMRS:
            ours, theirs = (missed(one, np.ones(people), rate) for one in crossed)
            rng = np.random.default_rng(0)
            drawn = [np.bincount(rng.integers(people, size=people), minlength=people) for _ in range(REPLICATES)]
            differences = [
                missed(crossed[1], times.astype(float), rate) - missed(crossed[0], times.astype(float), rate)
                for times in drawn
            ]
            low, high = np.percentile(differences, (2.5, 97.5))
            print(
                f"{name} against frontal, {people} people: FNMR at FMR {rate:g} {ours:.1%} and {theirs:.1%}, "
                f"difference {100 * (theirs - ours):+.1f} points (95 % {100 * low:+.1f} to {100 * high:+.1f})"
            )


def cross(samples: Samples, part: str) -> Scores:
    """Return the scores of each person's turned photos with each person's frontal ones, [people, people, pairs].

    Somebody with fewer photos than the others, because a face was not found, has NaN in their place.
    """
    people = sorted(set(samples.identity))
    sides = []
    for wanted in (part, "front"):
        held = [
            [
                place
                for place, (whose, name) in enumerate(zip(samples.identity, samples.sample, strict=True))
                if whose == person and wanted in Path(name).name
            ]
            for person in people
        ]
        most = max(map(len, held))
        side = np.full((len(people), most, samples.vectors.shape[1]), np.nan)
        for place, own in enumerate(held):
            side[place, : len(own)] = samples.vectors[own]
        sides.append(side)
    scores: Scores = np.einsum("pax,qbx->pqab", *sides).reshape(len(people), len(people), -1)
    return scores


def missed(scores: Scores, times: Scores, rate: float) -> float:
    """Return FNMR at an FMR where person i counts ``times[i]`` times, and a comparison of two the product of theirs."""
    people = len(times)
    weights = np.broadcast_to((times[:, None] * times[None])[:, :, None], scores.shape)
    own = np.eye(people, dtype=bool)
    there = np.isfinite(scores)
    non_mated = there & ~own[:, :, None] & (weights > 0)
    threshold = threshold_at_fmr(scores[non_mated], rate, weights[non_mated])
    mated = there & own[:, :, None]
    by_person = np.broadcast_to(times[:, None, None], scores.shape)
    return fnmr(scores[mated], threshold, by_person[mated])


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:3]))
