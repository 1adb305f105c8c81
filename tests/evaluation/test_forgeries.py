"""Signatures: which are compared, and error rates, compared with scikit-learn and plain loops."""

import numpy as np
import pytest
import sklearn.metrics

from sameface.evaluation.forgeries import claim_scores, draw_attempts, fuse, measure_forgeries
from sameface_qdrant.errors import NotEnoughData

# Signers a to e with six genuine signatures and four forgeries of each, f with a single genuine one.
SIGNERS = [name for name in "abcde" for _ in range(10)] + ["f"]
FORGED = [number % 10 >= 6 for number in range(50)] + [False]


def test_everybody_claims_what_they_should() -> None:
    attempts = draw_attempts(SIGNERS, FORGED, templates=2, seed=4)
    assert attempts.signers == tuple("abcde")
    for place, name in enumerate("abcde"):
        mine = set(attempts.references[place])
        genuine = {
            one for one, (who, forged) in enumerate(zip(SIGNERS, FORGED, strict=True)) if who == name and not forged
        }
        assert len(mine) == 2
        assert mine < genuine
        assert set(attempts.genuine.probes[attempts.genuine.claimed == place]) == genuine - mine
        skilled = attempts.skilled.probes[attempts.skilled.claimed == place]
        assert {SIGNERS[one] for one in skilled} == {name}
        assert all(FORGED[one] for one in skilled)
        assert len(skilled) == 4
        random = attempts.random.probes[attempts.random.claimed == place]
        assert sorted(SIGNERS[one] for one in random) == sorted(set("abcde") - {name})
        assert not any(FORGED[one] for one in random)


def test_a_claim_is_scored_with_the_templates_of_whom_it_claims() -> None:
    attempts = draw_attempts(SIGNERS, FORGED, templates=3, seed=0)
    matrix = np.random.default_rng(0).normal(size=(51, 51))
    for fusion, by_hand in (("max", max), ("mean", np.mean)):
        found = claim_scores(attempts, attempts.random, lambda p, r: matrix[np.ix_(p, r)], fusion)  # type: ignore[arg-type]
        for score, probe, claimed in zip(found, attempts.random.probes, attempts.random.claimed, strict=True):
            assert score == pytest.approx(by_hand([matrix[probe, one] for one in attempts.references[claimed]]))
    assert fuse(np.array([[0.1, 0.5]])).tolist() == [0.5]


def test_rates_are_scikit_learns_with_every_signer_counting_the_same() -> None:
    # Signer a has more probes than the others.
    signers, forged = [*SIGNERS, *(["a"] * 8)], [*FORGED, *([False] * 8)]
    attempts = draw_attempts(signers, forged, templates=2, seed=1)
    rng = np.random.default_rng(1)
    genuine = rng.normal(1.5, 1, attempts.genuine.probes.size)
    skilled = rng.normal(0.5, 1, attempts.skilled.probes.size)
    random = rng.normal(-2, 1, attempts.random.probes.size)
    found = measure_forgeries(attempts, genuine, skilled, random, replicates=100)
    weights = [
        [1 / np.sum(claims.claimed == one) for one in claims.claimed]
        for claims in (attempts.genuine, attempts.skilled, attempts.random)
    ]
    for ours, scores, own in (
        (found.eer_skilled, skilled, weights[1]),
        (found.eer_random, random, weights[2]),
    ):
        labels = [1] * genuine.size + [0] * scores.size
        fpr, tpr, _ = sklearn.metrics.roc_curve(
            labels, [*genuine, *scores], sample_weight=[*weights[0], *own], drop_intermediate=False
        )
        nearest = np.argmin(np.abs(fpr - (1 - tpr)))
        assert ours.value == pytest.approx((fpr[nearest] + 1 - tpr[nearest]) / 2, abs=1e-9)
        assert ours.interval.low <= ours.value <= ours.interval.high
    missed = sum(w for w, score in zip(weights[0], genuine, strict=True) if score < found.threshold) / 5
    accepted = sum(w for w, score in zip(weights[1], skilled, strict=True) if score >= found.threshold) / 5
    assert found.fnmr.value == pytest.approx(missed)
    assert found.fmr_skilled.value == pytest.approx(accepted)
    assert found.fmr_random.value == pytest.approx(
        sum(w for w, score in zip(weights[2], random, strict=True) if score >= found.threshold) / 5
    )


def test_what_is_missing_is_said() -> None:
    with pytest.raises(NotEnoughData, match="genuine signatures"):
        draw_attempts(SIGNERS, FORGED, templates=6)
    attempts = draw_attempts(SIGNERS[:20], [False] * 20, templates=1)
    with pytest.raises(NotEnoughData, match="no skilled forgery"):
        measure_forgeries(attempts, np.ones(18), np.empty(0), np.ones(2))
