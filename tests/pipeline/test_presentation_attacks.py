"""A score is the softmax of two logits, and a model that returns something else is refused."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import scipy.special
from hypothesis import given
from hypothesis import strategies as st

from sameface.errors import ModelCheckFailed
from sameface.inference.base import Tensor
from sameface.inference.onnx import OnnxInference
from sameface.models.add import add_pad
from sameface.pipeline.presentation_attacks import AttackDetection, AttackDetector
from tests.toy_pad import STATED, toy_pad

DETECTOR = AttackDetector(OnnxInference(Path("nowhere")), version=1)
LOGITS = st.floats(width=32, allow_nan=False, allow_infinity=False)


@given(bona_fide=LOGITS, attack=LOGITS)
def test_a_score_is_the_softmax_of_the_logits(bona_fide: float, attack: float) -> None:
    logits = np.array([[bona_fide, attack]], np.float32)
    score = DETECTOR._score(logits)
    assert score == pytest.approx(scipy.special.softmax(logits.astype(np.float64))[0, 0], abs=1e-12)
    assert 0.0 <= score <= 1.0


@pytest.mark.parametrize(
    "logits",
    [None, np.zeros((1, 3)), np.zeros((2, 2)), np.array([[np.nan, 0]]), np.array([[0, np.inf]])],
    ids=["missing", "three", "two images", "NaN", "infinite"],
)
def test_what_is_not_two_finite_logits_is_refused(logits: Tensor | None) -> None:
    with pytest.raises(ModelCheckFailed, match="two finite logits"):
        DETECTOR._score(logits)


def test_the_highest_version_is_used_and_its_crop_must_be_known(tmp_path: Path) -> None:
    (tmp_path / "toy.onnx").write_bytes(toy_pad())
    cards = [add_pad(tmp_path / "models", tmp_path / "toy.onnx", STATED, version) for version in (1, 10, 9)]
    detection = AttackDetection(OnnxInference(tmp_path / "models"), cards)
    found = detection.detector()
    assert found is not None
    assert found.version == 10
    other = [card.model_copy(update={"preprocessing": "another crop"}) for card in cards]
    with pytest.raises(ModelCheckFailed, match="another crop"):
        replace(detection, cards=other).detector()
    assert replace(detection, cards=()).detector() is None
