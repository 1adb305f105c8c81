"""The crop equals OpenCV's alignment and a plain least-squares solution."""

from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sameface.vision import align
from sameface.vision.align import TEMPLATE, similarity_transform


@given(
    angle=st.floats(-180, 180),
    scale=st.floats(0.05, 20),
    shift_x=st.floats(-500, 500),
    shift_y=st.floats(-500, 500),
    noise=st.integers(0, 1000),
)
def test_the_transform_is_the_least_squares_similarity(
    angle: float, scale: float, shift_x: float, shift_y: float, noise: int
) -> None:
    cos, sin = np.cos(np.radians(angle)), np.sin(np.radians(angle))
    source = (TEMPLATE @ np.array([[cos, sin], [-sin, cos]])) * scale + [shift_x, shift_y]
    source += np.random.default_rng(noise).normal(scale=scale, size=source.shape)
    # x' = a·x − b·y + c, y' = b·x + a·y + d: linear in a, b, c, d.
    rows = []
    for x, y in source:
        rows += [[x, -y, 1, 0], [y, x, 0, 1]]
    a, b, c, d = np.linalg.lstsq(np.array(rows), TEMPLATE.ravel(), rcond=None)[0]
    np.testing.assert_allclose(similarity_transform(source, TEMPLATE), [[a, -b, c], [b, a, d]], rtol=1e-6, atol=1e-6)


def test_a_face_on_the_template_is_its_own_crop() -> None:
    pixels = np.random.default_rng(3).integers(0, 256, (112, 112, 3), dtype=np.uint8)
    np.testing.assert_array_equal(align(pixels, TEMPLATE.astype(np.float32)), pixels)


@pytest.mark.parametrize("scale", [0.6, 1.0, 2.0])
def test_the_crop_is_opencvs(untouched: dict[str, Path], scale: float) -> None:
    rng = np.random.default_rng(4)
    pixels = cv2.GaussianBlur(rng.integers(0, 256, (400, 400, 3), dtype=np.uint8), (0, 0), 3)
    landmarks = (TEMPLATE * scale + np.array([90, 60]) + rng.normal(scale=2, size=(5, 2))).astype(np.float32)
    row = np.zeros((1, 15), np.float32)
    row[0, 4:14] = landmarks.ravel()
    expected = cv2.FaceRecognizerSF.create(str(untouched["sface"]), "").alignCrop(pixels, row)
    difference = np.abs(align(pixels, landmarks).astype(int) - expected.astype(int))
    # Both interpolate in fixed point, with matrices that differ in the last digits.
    assert difference.max() <= 3
    assert difference.mean() < 0.1


def test_a_large_face_is_averaged_and_not_sampled() -> None:
    # Plain bilinear sampling turns a fine checkerboard into large spots. Averaging gives an even grey.
    board = (np.indices((1200, 1200)).sum(axis=0) % 2 * 255).astype(np.uint8)
    crop = align(np.stack([board] * 3, axis=2), (TEMPLATE * 9.3 + 40).astype(np.float32))
    inner = crop[8:-8, 8:-8].astype(float)
    assert inner.mean() == pytest.approx(127.5, abs=2)
    assert inner.std() < 4


def test_what_lies_outside_the_picture_is_black() -> None:
    crop = align(np.full((60, 60, 3), 255, np.uint8), (TEMPLATE + 30).astype(np.float32))
    assert crop[-1, -1].tolist() == [0, 0, 0]
    assert crop.max() == 255
