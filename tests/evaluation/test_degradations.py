"""Degraded copies of photos."""

import numpy as np
import pytest

from sameface.evaluation.degradations import DEGRADATIONS, degrade
from sameface_qdrant.errors import InvalidArgument

LANDMARKS = np.array([[50.0, 60.0], [90.0, 60.0], [70.0, 82.0], [54.0, 104.0], [86.0, 104.0]])


def photo() -> np.ndarray:
    rows, columns = np.mgrid[:160, :140]
    return np.stack([100 + 60 * np.sin(rows / 3), 120 + 60 * np.cos(columns / 4), rows], axis=-1).astype(np.uint8)


@pytest.mark.parametrize("kind", DEGRADATIONS)
def test_a_degradation_is_seeded_and_grows_with_its_strength(kind: str) -> None:
    pixels = photo()
    before = pixels.copy()
    weak, strong, again = (degrade(kind, pixels, LANDMARKS, strength, 3) for strength in (0.0, 1.0, 1.0))
    assert (pixels == before).all()
    assert (strong.pixels == again.pixels).all()
    for copy in (weak, strong):
        assert copy.pixels.dtype == np.uint8
        assert copy.pixels.shape != pixels.shape or (copy.pixels != pixels).any()
        assert copy.landmarks.shape == (5, 2)
    if kind == "cropped":
        assert strong.pixels.size < weak.pixels.size < pixels.size
    else:
        lost = [np.abs(copy.pixels.astype(int) - pixels).mean() for copy in (weak, strong)]
        assert lost[0] < lost[1] or kind == "glasses"


def test_a_cut_moves_the_landmarks_with_the_face() -> None:
    pixels = photo()
    for seed in range(8):
        copy = degrade("cropped", pixels, LANDMARKS, 0.5, seed)
        left, top = (LANDMARKS - copy.landmarks)[0].astype(int)
        height, width = copy.pixels.shape[:2]
        assert (copy.pixels == pixels[top : top + height, left : left + width]).all()


@pytest.mark.parametrize("kind", DEGRADATIONS)
@pytest.mark.parametrize("place", [(-400.0, -400.0), (5.0, 5.0), (900.0, 20.0)])
def test_a_face_anywhere_in_a_tiny_photo_is_degraded(kind: str, place: tuple[float, float]) -> None:
    copy = degrade(kind, photo()[:20, :30], LANDMARKS + place, 1.0, 0)
    assert copy.pixels.size > 0


@pytest.mark.parametrize(("kind", "strength"), [("rain", 0.5), ("blur", -0.1), ("blur", float("nan"))])
def test_an_unknown_degradation_is_refused(kind: str, strength: float) -> None:
    with pytest.raises(InvalidArgument, match="expected a strength from 0 to 1 and one of blur"):
        degrade(kind, photo(), LANDMARKS, strength, 0)
