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
from sameface.evaluation.samples import Compare
from sameface_qdrant.errors import NotEnoughData
from sameface_qdrant.metrics.error_rates import Indices, Scores, eer, eer_threshold, fmr, fnmr

Fusion = Literal["max", "mean"]

REPLICATES = 1000


@dataclass(frozen=True, slots=True)
class Claims:
    """Probes, and the signer that each claims to be of."""

    probes: Indices
    """Positions of samples, [claims]."""
    claimed: Indices
    """Indices of signers, [claims]."""


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
    fnmr: float
    fmr_skilled: float
    fmr_random: float


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

    Intervals are percentiles of a bootstrap over signers. A claim counts as often as the claimed signer was drawn.

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
            "there is no skilled forgery; expected at least one", metadata={"identities": len(attempts.signers)}
        )
    claimed_of = (attempts.genuine.claimed, attempts.skilled.claimed, attempts.random.claimed)
    weights = [_by_signer(claimed, len(attempts.signers)) for claimed in claimed_of]
    threshold = eer_threshold(genuine, skilled, weights[0], weights[1])
    resample_counts = draw_identities(len(attempts.signers), replicates, seed)
    estimates = []
    for scores, claimed, own in ((skilled, claimed_of[1], weights[1]), (random, claimed_of[2], weights[2])):
        resampled = []
        for counts in resample_counts:
            genuine_weights, forgery_weights = weights[0] * counts[claimed_of[0]], own * counts[claimed]
            if genuine_weights.sum() > 0 and forgery_weights.sum() > 0:
                resampled.append(eer(genuine, scores, genuine_weights, forgery_weights))
        value = eer(genuine, scores, weights[0], own)
        estimates.append(estimate(value, np.array(resampled), len(attempts.signers), confidence))
    return ForgeryRates(
        threshold,
        estimates[0],
        estimates[1],
        fnmr(genuine, threshold, weights[0]),
        fmr(skilled, threshold, weights[1]),
        fmr(random, threshold, weights[2]),
    )


def _claims(parts: Sequence[tuple[Indices, int]]) -> Claims:
    return Claims(
        np.concatenate([probes for probes, _ in parts]).astype(np.int64),
        np.concatenate([np.full(probes.size, place) for probes, place in parts]).astype(np.int64),
    )


def _by_signer(claimed: Indices, signers: int) -> Scores:
    return 1.0 / np.bincount(claimed, minlength=signers)[claimed]
