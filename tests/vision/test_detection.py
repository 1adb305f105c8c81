"""Boxes, landmarks and scores equal those of OpenCV's FaceDetectorYN with the published weights."""

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from sameface.vision import ImageLimits, Pixels, decode_faces, decode_image, detector_input
from sameface.vision.detection import MULTIPLE


def detect(detector: Any, pixels: Pixels, longest_side: int, **options: Any) -> list[list[float]]:
    tensor, scale = detector_input(pixels, longest_side)
    (raw,) = detector.run(None, {"images": tensor})
    found = decode_faces(raw[0], (tensor.shape[3], tensor.shape[2]), scale, **options)
    return [[*face.box, *face.landmarks.ravel().tolist(), face.score] for face in found]


def detect_by_opencv(weights: Path, pixels: Pixels, longest_side: int, **options: Any) -> np.ndarray[Any, Any]:
    tensor, scale = detector_input(pixels, longest_side)
    image = np.ascontiguousarray(tensor[0].transpose(1, 2, 0)[:, :, ::-1])
    oracle = cv2.FaceDetectorYN.create(
        str(weights),
        "",
        (image.shape[1], image.shape[0]),
        options.get("score_threshold", 0.7),
        options.get("nms_threshold", 0.3),
        5000,
    )
    _, faces = oracle.detect(image)
    if faces is None:
        return np.zeros((0, 15))
    faces = faces.astype(np.float64)
    faces[:, :14] /= scale
    return np.asarray(faces)


@pytest.mark.parametrize("longest_side", [160, 320, 640])
@pytest.mark.parametrize("name", sorted(path.name for path in Path("tests/data/portraits").glob("*.jpg")))
def test_a_portrait_gives_what_opencv_gives(
    detector: Any, untouched: dict[str, Path], portraits: Path, name: str, longest_side: int
) -> None:
    pixels = decode_image((portraits / name).read_bytes(), ImageLimits()).pixels
    expected = detect_by_opencv(untouched["yunet"], pixels, longest_side)
    assert len(expected) >= 1
    np.testing.assert_allclose(detect(detector, pixels, longest_side), expected, atol=2e-3)


def test_a_crowd_gives_what_opencv_gives(detector: Any, untouched: dict[str, Path], portraits: Path) -> None:
    tiles = []
    for number, path in enumerate(sorted(portraits.glob("*.jpg"))):
        pixels = decode_image(path.read_bytes(), ImageLimits()).pixels
        side = 120 + 40 * number
        tile = np.zeros((320, 320, 3), np.uint8)
        height = pixels.shape[0] * side // pixels.shape[1]
        small = cv2.resize(pixels, (side, height), interpolation=cv2.INTER_AREA)[:320]
        tile[: small.shape[0], : small.shape[1]] = small
        tiles.append(tile)
    crowd = np.concatenate([np.concatenate(tiles[:3], axis=1), np.concatenate(tiles[3:], axis=1)])
    # A low threshold gives many overlapping candidates, which tests the suppression.
    options = {"score_threshold": 0.3, "nms_threshold": 0.3}
    expected = detect_by_opencv(untouched["yunet"], crowd, 960, **options)
    assert len(expected) >= 6
    np.testing.assert_allclose(detect(detector, crowd, 960, **options), expected, atol=2e-3)


@pytest.mark.dataset
def test_lfw_photos_give_what_opencv_gives(detector: Any, untouched: dict[str, Path], shared_data: Path) -> None:
    for path in sorted((shared_data / "lfw_devtest").glob("*/*.jpg"))[::40]:
        pixels = decode_image(path.read_bytes(), ImageLimits()).pixels
        expected = detect_by_opencv(untouched["yunet"], pixels, 640)
        np.testing.assert_allclose(detect(detector, pixels, 640), expected, atol=2e-3, err_msg=path.name)


def test_nothing_is_found_in_noise_and_in_black(detector: Any) -> None:
    noise = np.random.default_rng(1).integers(0, 256, (200, 300, 3), dtype=np.uint8)
    assert detect(detector, noise, 640) == []
    assert detect(detector, np.zeros_like(noise), 640) == []


@pytest.mark.parametrize(("height", "width"), [(1, 1), (31, 33), (32, 64), (700, 90), (90, 1500)])
def test_the_tensor_is_padded_and_never_enlarged(height: int, width: int) -> None:
    pixels = np.full((height, width, 3), 200, np.uint8)
    tensor, scale = detector_input(pixels, 640)
    assert tensor.dtype == np.uint8
    assert tensor.shape[2] % MULTIPLE == 0
    assert tensor.shape[3] % MULTIPLE == 0
    assert scale == min(1.0, 640 / max(height, width))
    shown = tensor[0, 0] == 200
    assert shown.any(axis=1).sum() == max(1, round(height * scale))
    assert shown.any(axis=0).sum() == max(1, round(width * scale))
