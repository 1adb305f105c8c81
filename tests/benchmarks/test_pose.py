"""Turned faces against frontal ones: the fast resampling against counting, folds, and the command."""

import itertools
import json
from pathlib import Path

import numpy as np
import pytest

from benchmarks.pose import cross_scores, main, resampled_fnmr, turned_rates, weighted_fnmr, within_folds
from sameface.evaluation.resampling import draw_identities
from sameface.evaluation.samples import Samples, write_embeddings

VIEWS = ("neutral_front", "smiling_front", "neutral_left_profile", "neutral_right_3quarter", "smiling_left_3quarter")


def photos(people: int, noise: float, seed: int = 0) -> Samples:
    """Return people with two frontal photos and turned ones; profiles are harder."""
    rng = np.random.default_rng(seed)
    centres = np.random.default_rng(1).normal(size=(people, 16))
    names = [(person, view) for person in range(people) for view in VIEWS]
    vectors = np.stack(
        [centres[person] + noise * (2 if "profile" in view else 1) * rng.normal(size=16) for person, view in names]
    )
    return Samples(
        (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32),
        tuple(f"{person:03}" for person, _ in names),
        tuple(f"{person:03}/{view}.jpg" for person, view in names),
    )


@pytest.mark.parametrize("folds", [1, 3])
def test_fast_resampling_gives_what_every_resample_alone_gives(folds: int) -> None:
    scores = within_folds(np.round(cross_scores(photos(12, 0.8), "profile"), 1), folds)
    counts = draw_identities(12, 25, 0)
    fast = resampled_fnmr(scores, counts, (0.1, 0.01))
    slow = [[weighted_fnmr(scores, row.astype(np.float64), target) for target in (0.1, 0.01)] for row in counts]
    assert np.allclose(fast, slow)


def test_with_folds_only_comparisons_of_one_fold_count() -> None:
    samples = photos(6, 0.8)
    found = next(
        one for one in turned_rates({"a": samples}, folds=2, replicates=100) if (one.view, one.fmr) == ("profile", 1e-2)
    )
    by_name = dict(zip(samples.sample, samples.vectors, strict=True))
    mated: list[list[float]] = [[] for _ in range(6)]
    non_mated = []
    for one, other in itertools.product(range(6), repeat=2):
        for frontal in ("neutral_front", "smiling_front"):
            score = float(
                by_name[f"{one:03}/neutral_left_profile.jpg"].astype(float)
                @ by_name[f"{other:03}/{frontal}.jpg"].astype(float)
            )
            if one == other:
                mated[one].append(score)
            elif one % 2 == other % 2:
                non_mated.append(score)
    # With 24 non-mated scores, an FMR of 1 % accepts none of them.
    threshold = max(non_mated)
    assert found.fnmr.value == pytest.approx(np.mean([np.mean(np.array(own) <= threshold) for own in mated]))


def test_two_models_without_an_error_are_not_said_to_be_equal() -> None:
    found = turned_rates({"base": photos(20, 0.01), "other": photos(20, 0.01, seed=2)}, replicates=100)
    for one in found:
        assert one.fnmr.value == 0
        if one.difference is not None:
            # Nothing was missed among 20 people: either rate may be as high as its own interval says.
            assert one.difference.value == 0
            assert one.difference.interval.high == pytest.approx(one.fnmr.interval.high)
            assert one.difference.interval.low == pytest.approx(-one.fnmr.interval.high)
            assert one.difference.interval.high > 0.05


def test_every_model_is_compared_with_the_first_one(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name, noise in (("base", 0.9), ("same", 0.9), ("better", 0.3)):
        write_embeddings(tmp_path / f"{name}.npz", photos(20, noise))
    files = [f"{name}={tmp_path / name}.npz" for name in ("base", "same", "better")]
    main([*files, "--replicates", "100", "--json"])
    found = {(one["view"], one["fmr"], one["model"]): one for one in json.loads(capsys.readouterr().out)}
    assert len(found) == 2 * 2 * 3
    assert found["profile", 0.01, "base"]["difference"] is None
    assert set(found["profile", 0.01, "same"]["difference"].values()) == {0.0}
    assert found["profile", 0.01, "better"]["difference"]["high"] < 0
    assert found["profile", 0.01, "better"]["fnmr"]["high"] > 0
    main([*files, "--replicates", "100"])
    assert "Turned faces against frontal ones" in capsys.readouterr().out
    with pytest.raises(SystemExit):
        main([files[0], files[0]])
    assert "a different name for each file" in capsys.readouterr().err
