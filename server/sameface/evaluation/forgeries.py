"""Signature verification: genuine signatures against skilled and random forgeries. Pure numpy.

Each signer is enrolled with K genuine signatures. Mated probes are the signer's other genuine signatures. Skilled
forgeries imitate the signer; random forgeries are genuine signatures of other signers (ISO/IEC 19795-1: active and
zero-effort impostor attempts). There is one threshold for all signers, and every signer counts the same.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from sameface.evaluation.resampling import Estimate, draw_identities, estimate
from sameface.evaluation.samples import Compare, Samples
from sameface_qdrant.errors import NotEnoughData
from sameface_qdrant.metrics.comparisons import Vectors
from sameface_qdrant.metrics.error_rates import Indices, Mask, Scores, eer, eer_threshold, fmr, fnmr

Fusion = Literal["max", "mean"]

REPLICATES = 1000


@dataclass(frozen=True, slots=True)
class Claims:
    """Probes, and the signer that each claims to be of."""

    probes: Indices
    """Positions of samples, [claims]."""
    claimed: Indices
    """Indices of signers, [claims]."""

    def weights(self, signers: int) -> Scores:
        """Return weights of the claims with which each of so many signers counts the same, [claims]."""
        weights: Scores = 1.0 / np.bincount(self.claimed, minlength=signers)[self.claimed]
        return weights


@dataclass(frozen=True, slots=True)
class Attempts:
    """The references of each signer, and the claims that are compared with them."""

    signers: tuple[str, ...]
    references: Indices
    """Positions of the genuine signatures that are enrolled, [signers, K]."""
    genuine: Claims
    skilled: Claims
    random: Claims


@dataclass(frozen=True, slots=True)
class ForgeryRates:
    """Error rates at one threshold for all: that of the EER of skilled forgeries."""

    threshold: float
    eer_skilled: Estimate
    eer_random: Estimate
    """At the threshold of its own EER."""
    fnmr: Estimate
    fmr_skilled: Estimate
    fmr_random: Estimate


def with_forgeries(samples: Samples) -> tuple[Vectors, tuple[str, ...], Mask]:
    """Return the samples and their forgeries in one list: vectors, signers, and which are forgeries."""
    forged = samples.forgeries
    if forged is None:
        return samples.vectors, samples.identity, np.zeros(len(samples.identity), np.bool_)
    return (
        np.concatenate([samples.vectors, forged.vectors]),
        (*samples.identity, *forged.identity),
        np.repeat([False, True], [len(samples.identity), len(forged.identity)]),
    )


def draw_attempts(
    signers: Sequence[str], is_forgery: Sequence[bool] | NDArray[np.bool_], templates: int, seed: int = 0
) -> Attempts:
    """Draw ``templates`` genuine signatures of each signer to enrol; all other signatures are probes.

    Signers with fewer than ``templates + 1`` genuine signatures are left out. For random forgeries, one genuine
    signature of every signer is drawn, and it claims to be of each other signer.

    Args:
        signers: the signer of each sample; for a skilled forgery, the signer who is imitated.
        is_forgery: whether each sample is a skilled forgery.
        templates: K, 1 or more.
        seed: of the drawing.

    Raises:
        NotEnoughData: fewer than two signers are left.
    """
    names, codes = np.unique(np.asarray(signers, dtype=np.str_), return_inverse=True)
    forged = np.asarray(is_forgery, dtype=np.bool_)
    chosen = np.flatnonzero(np.bincount(codes[~forged], minlength=len(names)) > templates)
    if chosen.size < 2:
        raise NotEnoughData(
            f"{chosen.size} signers have {templates + 1} genuine signatures; expected at least 2 such signers",
            metadata={"identities": int(chosen.size), "comparisons": 0},
        )
    rng = np.random.default_rng(seed)
    shuffled = [rng.permutation(np.flatnonzero((codes == one) & ~forged)) for one in chosen]
    genuine = [(np.sort(own[templates:]), place) for place, own in enumerate(shuffled)]
    skilled = [(np.flatnonzero((codes == one) & forged), place) for place, one in enumerate(chosen)]
    one_each = np.array([rng.choice(own) for own in shuffled])
    others = [(np.delete(one_each, place), place) for place in range(chosen.size)]
    return Attempts(
        tuple(str(names[one]) for one in chosen),
        np.stack([np.sort(own[:templates]) for own in shuffled]),
        _claims(genuine),
        _claims(skilled),
        _claims(others),
    )


def claim_scores(attempts: Attempts, claims: Claims, compare: Compare, fusion: Fusion = "max") -> Scores:
    """Return the score of each claim, fused over the claimed signer's K references; shape [claims]."""
    scores = np.empty(claims.probes.size)
    for place, references in enumerate(attempts.references):
        rows = np.flatnonzero(claims.claimed == place)
        if rows.size:
            scores[rows] = fuse(np.asarray(compare(claims.probes[rows], references), dtype=np.float64), fusion)
    return scores


def fuse(scores: Scores, fusion: Fusion = "max") -> Scores:
    """Fuse the scores with K references into one score for each probe: [probes, K] to [probes]."""
    fused: Scores = scores.max(axis=1) if fusion == "max" else scores.mean(axis=1)
    return fused


def measure_forgeries(
    attempts: Attempts,
    genuine: Scores,
    skilled: Scores,
    random: Scores,
    *,
    replicates: int = REPLICATES,
    seed: int = 0,
    confidence: float = 0.95,
) -> ForgeryRates:
    """Return the error rates of genuine, skilled and random claims.

    Intervals are percentiles of a bootstrap over signers. A claim counts as often as the claimed signer was drawn. Each
    resample has its own threshold.

    Args:
        attempts: the claims.
        genuine: a score for each of ``attempts.genuine``.
        skilled: a score for each of ``attempts.skilled``.
        random: a score for each of ``attempts.random``.
        replicates: of the bootstrap.
        seed: of the bootstrap.
        confidence: of the intervals, in (0, 1).

    Raises:
        NotEnoughData: there is no skilled forgery.
    """
    if not skilled.size:
        raise NotEnoughData(
            "there is no skilled forgery; expected at least one: in a folder as <signer>/forgery/<image>, in a file "
            "with the array forgery, with a folder forgery/ in the sample names, or named by --forged",
            metadata={"identities": len(attempts.signers)},
        )
    scores = (genuine, skilled, random)
    claimed_of = (attempts.genuine.claimed, attempts.skilled.claimed, attempts.random.claimed)
    weights = [
        claims.weights(len(attempts.signers)) for claims in (attempts.genuine, attempts.skilled, attempts.random)
    ]
    resampled = []
    for counts in draw_identities(len(attempts.signers), replicates, seed):
        drawn = [own * counts[claimed] for own, claimed in zip(weights, claimed_of, strict=True)]
        if all(own.any() for own in drawn):
            resampled.append(_rates(scores, drawn)[1:])
    threshold, *values = _rates(scores, weights)
    columns = np.array(resampled).reshape(-1, len(values)).T
    estimates = [
        estimate(value, column, len(attempts.signers), confidence)
        for value, column in zip(values, columns, strict=True)
    ]
    return ForgeryRates(threshold, *estimates)


def _rates(scores: tuple[Scores, Scores, Scores], weights: Sequence[Scores]) -> tuple[float, ...]:
    """Return the fields of `ForgeryRates`, from genuine, skilled and random scores with their weights."""
    genuine, skilled, random = scores
    threshold = eer_threshold(genuine, skilled, weights[0], weights[1])
    return (
        threshold,
        eer(genuine, skilled, weights[0], weights[1]),
        eer(genuine, random, weights[0], weights[2]),
        fnmr(genuine, threshold, weights[0]),
        fmr(skilled, threshold, weights[1]),
        fmr(random, threshold, weights[2]),
    )


def _claims(parts: Sequence[tuple[Indices, int]]) -> Claims:
    return Claims(
        np.concatenate([probes for probes, _ in parts]).astype(np.int64),
        np.concatenate([np.full(probes.size, place) for probes, place in parts]).astype(np.int64),
    )
