"""Simulated people, and decisions of their probes as the store makes them: what expected answers are compared with."""

from collections import Counter

import numpy as np
from numpy.typing import NDArray

from sameface_qdrant import Candidate, Contract, Gallery, Operation, Outcome, Policy, Scope, ThresholdSource
from sameface_qdrant.calibration.expected import ExpectedAnswer, ExpectedAnswers, ExpectedShare
from sameface_qdrant.calibration.gallery import GalleryCalibration, measure
from sameface_qdrant.calibration.inputs import Cohort
from sameface_qdrant.calibration.requests import CalibrationOptions, GalleryTemplates
from sameface_qdrant.policy import Threshold, decide_identification, decide_verification

Vectors = NDArray[np.float32]
CONTRACT = Contract("voices", version=1, sha256="b" * 64, dimension=24, preprocessing="none")
LOOSE = Policy(target_fmr=0.03, target_fpir=0.12)
VERIFY, IDENTIFY = Operation.VERIFICATION, Operation.IDENTIFICATION
CLAIM, GALLERY = Scope.CLAIM, Scope.GALLERY
RIGHT, WRONG = "right", "wrong"


def calibrated(templates: Vectors, policy: Policy = LOOSE, cohort: Cohort | None = None) -> GalleryCalibration:
    """Calibrate a gallery of templates [identities, each, dimension]."""
    count, each = templates.shape[:2]
    names = [f"p{number:04d}" for number in range(count) for _ in range(each)]
    read = GalleryTemplates(templates.reshape(count * each, -1), names, len(names))
    return measure(Gallery("staff", CONTRACT, policy), count, read, CalibrationOptions(cohort=cohort))


def verified(scores: dict[int, float], claim: int, found: ExpectedAnswers, scope: Scope) -> str:
    """Decide a claim as the store does, from the score of every identity."""
    others = [Candidate(str(one), score, "t") for one, score in scores.items() if one != claim]
    assert found.verify_threshold is not None
    return decide_verification(
        Candidate(str(claim), scores[claim], "t"),
        max(others, key=lambda one: one.score, default=None),
        scope=scope,
        threshold=Threshold(found.verify_threshold, ThresholdSource.GALLERY),
        margin=found.margin,
        policy_revision=1,
        gallery_size=len(scores),
    ).outcome


def identified(scores: dict[int, float], own: int | None, found: ExpectedAnswers) -> str:
    """Decide a search as the store does; a MATCH of another than ``own`` is `WRONG`."""
    ranked = sorted((Candidate(str(one), score, "t") for one, score in scores.items()), key=lambda one: -one.score)
    assert found.identify_threshold is not None
    decision = decide_identification(
        ranked,
        limit=2,
        threshold=Threshold(found.identify_threshold, ThresholdSource.GALLERY),
        margin=found.margin,
        policy_revision=1,
        gallery_size=len(scores),
    )
    if decision.outcome is Outcome.MATCH and own is not None and decision.candidates[0].identity != str(own):
        return WRONG
    return decision.outcome


Counts = dict[tuple[Operation, Scope, bool], Counter[str]]


def decided(
    mated: list[tuple[int, dict[int, float]]], claims: list[tuple[int, dict[int, float]]], found: ExpectedAnswers
) -> Counts:
    """Count the outcomes of every kind of call: of mated probes, and of claims by people who are not enrolled."""
    return {
        (VERIFY, CLAIM, True): Counter(verified(scores, own, found, CLAIM) for own, scores in mated),
        (VERIFY, GALLERY, True): Counter(verified(scores, own, found, GALLERY) for own, scores in mated),
        (IDENTIFY, GALLERY, True): Counter(identified(scores, own, found) for own, scores in mated),
        (VERIFY, CLAIM, False): Counter(verified(scores, claim, found, CLAIM) for claim, scores in claims),
        (VERIFY, GALLERY, False): Counter(verified(scores, claim, found, GALLERY) for claim, scores in claims),
    }


def shares(answer: ExpectedAnswer, counts: Counter[str]) -> list[tuple[float, float, float, float]]:
    """Return share, low, high and the share that was counted, for each outcome."""
    total = sum(counts.values())
    named: list[tuple[str, ExpectedShare | None]] = [
        (Outcome.MATCH, answer.match),
        (Outcome.AMBIGUOUS, answer.ambiguous),
        (Outcome.NO_MATCH, answer.no_match),
        (WRONG, answer.wrong_match),
    ]
    return [
        (one.share, one.interval.low, one.interval.high, counts[name] / total) for name, one in named if one is not None
    ]


def alike(rng: np.random.Generator, count: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    return rng.normal(size=(count, 24)), np.full(count, 0.35)


def uneven(rng: np.random.Generator, count: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Some people vary far more than others."""
    return rng.normal(size=(count, 24)), rng.uniform(0.3, 1.1, count)


def look_alikes(rng: np.random.Generator, count: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Families of about three people who are hard to tell apart, as digits are."""
    families = rng.normal(size=(count // 3, 24))
    return families[rng.integers(0, len(families), count)] + 0.3 * rng.normal(size=(count, 24)), np.full(count, 0.4)


def drawn(rng: np.random.Generator, centres: NDArray[np.float64], spread: NDArray[np.float64], each: int) -> Vectors:
    vectors = centres[:, None] + spread[:, None, None] * rng.normal(size=(len(centres), each, 24))
    units: Vectors = (vectors / np.linalg.norm(vectors, axis=2, keepdims=True)).astype(np.float32)
    return units


def fused(probes: Vectors, templates: Vectors) -> list[dict[int, float]]:
    best = np.einsum("pd,nmd->pnm", probes, templates).max(axis=2)
    return [dict(enumerate(row.tolist())) for row in best]
