"""Signature verification: genuine signatures against skilled and random forgeries. Pure numpy.

A signer enrols with K genuine signatures. Mated probes are their other genuine ones; skilled forgeries imitate the
signer, random forgeries are genuine signatures of other signers (ISO/IEC 19795-1: active and zero-effort impostors).
One threshold holds for all signers, and every signer counts the same.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from sameface.evaluation.resampling import Estimate, draw_identities, estimate
from sameface_qdrant.errors import NotEnoughData
from sameface_qdrant.metrics.error_rates import Indices, Scores, eer, eer_threshold, fmr, fnmr

Compare = Callable[[Indices, Indices], NDArray[np.floating]]
"""Scores of samples (positions) with other samples, [probes, references]."""
Fusion = Literal["max", "mean"]

REPLICATES = 1000


@dataclass(frozen=True, slots=True)
class Claims:
    """Probes with the signer whom each claims to be."""

    probes: Indices
    """Positions of samples, [claims]."""
    claimed: Indices
    """Indices of signers, [claims]."""


@dataclass(frozen=True, slots=True)
class Attempts:
    """Who enrols with what, and what is compared with them."""

    signers: tuple[str, ...]
    references: Indices
    """Positions of the genuine signatures that enrol, [signers, K]."""
    genuine: Claims
    skilled: Claims
    random: Claims


@dataclass(frozen=True, slots=True)
class ForgeryRates:
    """Error rates at one global threshold: where FNMR and the FMR of skilled forgeries are nearest to each other."""

    threshold: float
    eer_skilled: Estimate
    eer_random: Estimate
    """At the threshold of its own."""
    fnmr: float
    fmr_skilled: float
    fmr_random: float


def draw_attempts(
    signers: Sequence[str], is_forgery: Sequence[bool] | NDArray[np.bool_], templates: int, seed: int = 0
) -> Attempts:
    """Draw ``templates`` genuine signatures of each signer to enrol; all others are probes.

    Signers with fewer than ``templates + 1`` genuine signatures are left out. Random forgeries: one genuine signature,
    drawn at random, of every signer claims to be each other one.

    Args:
        signers: whose name each sample bears; for a forgery, the signer who is imitated.
        is_forgery: whether it is an imitation, one for each sample.
        templates: K, 1 or more.
        seed: of what is drawn.

    Raises:
        NotEnoughData: fewer than two signers are left.
    """
    names, codes = np.unique(np.asarray(signers, dtype=np.str_), return_inverse=True)
    forged = np.asarray(is_forgery, dtype=np.bool_)
    chosen = np.flatnonzero(np.bincount(codes[~forged], minlength=len(names)) > templates)
    if chosen.size < 2:
        raise NotEnoughData(
            f"{chosen.size} signers have {templates + 1} genuine signatures; expected at least 2 who do",
            metadata={"identities": int(chosen.size), "comparisons": 0},
        )
    rng = np.random.default_rng(seed)
    shuffled = [rng.permutation(np.flatnonzero((codes == one) & ~forged)) for one in chosen]
    genuine = [(np.sort(own[templates:]), place) for place, own in enumerate(shuffled)]
    skilled = [(np.flatnonzero((codes == one) & forged), place) for place, one in enumerate(chosen)]
    strangers = np.array([rng.choice(own) for own in shuffled])
    others = [(np.delete(strangers, place), place) for place in range(chosen.size)]
    return Attempts(
        tuple(str(names[one]) for one in chosen),
        np.stack([np.sort(own[:templates]) for own in shuffled]),
        _claims(genuine),
        _claims(skilled),
        _claims(others),
    )


def claim_scores(attempts: Attempts, claims: Claims, compare: Compare, fusion: Fusion = "max") -> Scores:
    """Return each claim's score: that with the claimed signer's K references, fused; shape [claims]."""
    scores = np.empty(claims.probes.size)
    for place, references in enumerate(attempts.references):
        mine = np.flatnonzero(claims.claimed == place)
        if mine.size:
            scores[mine] = fuse(np.asarray(compare(claims.probes[mine], references), dtype=np.float64), fusion)
    return scores


def fuse(scores: Scores, fusion: Fusion = "max") -> Scores:
    """Return one score for each probe from those with K references, [probes, K] to [probes]."""
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
    """Return error rates of the scores of ``attempts.genuine``, ``.skilled`` and ``.random``, one for each claim.

    Intervals are percentiles of a bootstrap over signers; a claim counts as often as the claimed signer was drawn.

    Raises:
        NotEnoughData: there is no skilled forgery.
    """
    if not skilled.size:
        raise NotEnoughData(
            "there is no skilled forgery to take an error rate from", metadata={"identities": len(attempts.signers)}
        )
    sides = (attempts.genuine.claimed, attempts.skilled.claimed, attempts.random.claimed)
    weights = [_by_signer(claimed, len(attempts.signers)) for claimed in sides]
    threshold = eer_threshold(genuine, skilled, weights[0], weights[1])
    drawn = draw_identities(len(attempts.signers), replicates, seed)
    estimates = []
    for scores, claimed, own in ((skilled, sides[1], weights[1]), (random, sides[2], weights[2])):
        resampled = []
        for times in drawn:
            one, other = weights[0] * times[sides[0]], own * times[claimed]
            if one.sum() > 0 and other.sum() > 0:
                resampled.append(eer(genuine, scores, one, other))
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
