"""Pose, size and the quality gate."""

import dataclasses
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from sameface.errors import ExtremePose, FaceNotFound, FaceTooSmall, MultipleFaces, QualityTooLow
from sameface.evaluation.degradations import degrade
from sameface.vision import (
    DecodedImage,
    Detection,
    FaceSelection,
    ImageLimits,
    QualityLimits,
    align,
    assess_quality,
    decode_faces,
    decode_image,
    detector_input,
    quality_issues,
    select_face,
)
from sameface.vision.align import TEMPLATE
from sameface.vision.pose import MEAN_FACE, head_pose
from sameface.vision.quality import QualityComponent
from sameface.vision.visible import picture_bounds, visible_share


def turned(yaw: float, pitch: float, roll: float, size: float = 40.0) -> Detection:
    """The mean face, rotated by three angles and projected along the camera's axis."""
    y, p, r = np.radians([yaw, pitch, roll])
    about_y = np.array([[np.cos(y), 0, -np.sin(y)], [0, 1, 0], [np.sin(y), 0, np.cos(y)]])
    about_x = np.array([[1, 0, 0], [0, np.cos(p), -np.sin(p)], [0, np.sin(p), np.cos(p)]])
    about_z = np.array([[np.cos(r), -np.sin(r), 0], [np.sin(r), np.cos(r), 0], [0, 0, 1]])
    points = (size * MEAN_FACE @ (about_z @ about_x @ about_y).T)[:, :2] + 200
    return Detection((150.0, 150.0, 100.0, 100.0), points.astype(np.float32), 0.9)


@given(yaw=st.floats(-100, 100), pitch=st.floats(-60, 60), roll=st.floats(-170, 170), size=st.floats(10, 400))
def test_the_pose_of_a_projected_face_is_recovered(yaw: float, pitch: float, roll: float, size: float) -> None:
    pose = head_pose(turned(yaw, pitch, roll, size))
    assert (pose.yaw, pose.pitch, pose.roll) == pytest.approx((yaw, pitch, roll), abs=0.1)
    # The distance between the eyes, as if the face were turned to the camera.
    assert pose.inter_eye_distance == pytest.approx(0.991 * size, rel=1e-3)


@given(yaw=st.floats(-100, 100), pitch=st.floats(-60, 60), roll=st.floats(-170, 170), seed=st.integers(0, 1000))
def test_the_pose_is_the_nearest_scaled_rotation(yaw: float, pitch: float, roll: float, seed: int) -> None:
    face = turned(yaw, pitch, roll)
    landmarks = face.landmarks + np.random.default_rng(seed).normal(scale=4, size=(5, 2)).astype(np.float32)
    # The oracle is the singular value decomposition of the linear fit.
    points = landmarks.astype(np.float64)
    fitted = (np.linalg.pinv(MEAN_FACE - MEAN_FACE.mean(axis=0)) @ (points - points.mean(axis=0))).T
    u, sizes, vt = np.linalg.svd(fitted, full_matrices=False)
    across, down = u @ vt
    pose = head_pose(dataclasses.replace(face, landmarks=landmarks))
    assert pose.yaw == pytest.approx(np.degrees(np.arctan2(*np.cross(across, down)[[0, 2]])), abs=1e-6)
    assert pose.pitch == pytest.approx(np.degrees(np.arcsin(np.cross(across, down)[1])), abs=1e-6)
    assert pose.roll == pytest.approx(-np.degrees(np.arctan2(across[1], down[1])), abs=1e-6)
    assert pose.inter_eye_distance == pytest.approx(sizes.mean() * 0.991, rel=1e-6)


@pytest.mark.parametrize("step", [(0.0, 0.0), (1.0, 0.0), (3.0, 4.0)])
def test_landmarks_on_one_line_have_some_pose(step: tuple[float, float]) -> None:
    landmarks = (np.arange(5)[:, np.newaxis] * np.array(step) + 50).astype(np.float32)
    pose = head_pose(Detection((0.0, 0.0, 50.0, 50.0), landmarks, 0.9))
    assert np.isfinite([pose.yaw, pose.pitch, pose.roll, pose.inter_eye_distance]).all()


def test_the_nose_gives_the_sign_of_every_angle() -> None:
    eyes = turned(0, 0, 0).landmarks[:2].mean(axis=0)
    assert turned(30, 0, 0).landmarks[2][0] > eyes[0]
    assert turned(0, 30, 0).landmarks[2][1] > turned(0, 0, 0).landmarks[2][1]
    right_eye, left_eye = turned(0, 0, 30).landmarks[:2]
    assert left_eye[1] > right_eye[1]


@pytest.mark.dataset
def test_frontal_views_pass_and_profiles_are_refused_for_their_pose(detector: Any, shared_data: Path) -> None:
    refused = dict.fromkeys(("front", "left_3quarter", "right_3quarter", "left_profile", "right_profile"), 0)
    people = sorted(path for path in (shared_data / "london").iterdir() if path.is_dir())[::4]
    for person in people:
        for view in refused:
            issues = _issues(
                detector, person / f"neutral_{view}.jpg" if view != "front" else person / "neutral_front.jpg"
            )
            refused[view] += any(isinstance(issue, ExtremePose) for issue in issues)
    assert refused["front"] == 0
    assert refused["left_3quarter"] + refused["right_3quarter"] <= 0.1 * 2 * len(people)
    assert refused["left_profile"] + refused["right_profile"] >= 0.9 * 2 * len(people)


def _issues(detector: Any, path: Path, blur: float = 0.0) -> tuple[Exception, ...]:
    image = decode_image(path.read_bytes(), ImageLimits())
    tensor, scale = detector_input(image.pixels, 640)
    (raw,) = detector.run(None, {"images": tensor})
    found = decode_faces(raw[0], (tensor.shape[3], tensor.shape[2]), scale)
    face = select_face(found, FaceSelection.LARGEST, image.pixels.shape[1], image.pixels.shape[0])
    if blur:
        # In pixels of the crop, where the eyes are 35 pixels apart.
        width = blur * head_pose(face).inter_eye_distance / 35
        image = dataclasses.replace(image, pixels=cv2.GaussianBlur(image.pixels, (0, 0), width))
    return quality_issues(assess_quality(image, face, align(image.pixels, face.landmarks)), QualityLimits())


@pytest.mark.parametrize("name", sorted(path.name for path in Path("tests/data/portraits").glob("*.jpg")))
def test_a_portrait_passes_and_its_blurred_copy_does_not(detector: Any, portraits: Path, name: str) -> None:
    assert _issues(detector, portraits / name) == ()
    (issue,) = _issues(detector, portraits / name, blur=4)
    assert isinstance(issue, QualityTooLow)
    assert float(issue.metadata["Sharpness"]) < float(issue.metadata["min_sharpness"])


def components(**measured: float) -> tuple[QualityComponent, ...]:
    """Components of a good face, with some of them changed (value and measurement)."""
    good = {
        "InterEyeDistance": 80.0,
        "HeadPoseYaw": 0.0,
        "HeadPosePitch": 0.0,
        "HeadPoseRoll": 0.0,
        "Sharpness": 90.0,
        "DetectionScore": 93.0,
        "DynamicRange": 90.0,
        "EyesVisible": 90.0,
        "FaceCompleteness": 100.0,
    }
    return tuple(QualityComponent(name, value, value) for name, value in {**good, **measured}.items())


def test_a_good_face_has_no_issue() -> None:
    assert quality_issues(components(), QualityLimits()) == ()


def test_a_turn_in_the_picture_plane_is_refused_only_where_it_is_limited() -> None:
    lying = components(HeadPoseRoll=-91.0)
    assert quality_issues(lying, QualityLimits()) == ()
    (issue,) = quality_issues(lying, QualityLimits(max_roll=60.0))
    assert isinstance(issue, ExtremePose)
    assert (issue.metadata["HeadPoseRoll"], issue.metadata["max_roll"]) == ("91.0", "60.0")


@pytest.mark.parametrize(
    ("name", "value", "error", "setting"),
    [
        ("InterEyeDistance", 19.9, FaceTooSmall, "min_inter_eye_distance"),
        ("HeadPoseYaw", -61.0, ExtremePose, "max_yaw"),
        ("HeadPosePitch", 46.0, ExtremePose, "max_pitch"),
        ("Sharpness", 19.0, QualityTooLow, "min_sharpness"),
        ("DetectionScore", 79.0, QualityTooLow, "min_detection_score"),
        ("DynamicRange", 24.0, QualityTooLow, "min_dynamic_range"),
        ("FaceCompleteness", 79.0, QualityTooLow, "min_face_completeness"),
    ],
)
def test_each_limit_is_enforced_and_named(name: str, value: float, error: type[Exception], setting: str) -> None:
    (issue,) = quality_issues(components(**{name: value}), QualityLimits())
    assert type(issue) is error
    assert float(issue.metadata[name]) == abs(value)
    assert float(issue.metadata[setting]) == getattr(QualityLimits(), setting)
    off = dataclasses.replace(QualityLimits(), **{setting: 0.0})
    assert quality_issues(components(**{name: value}), off) == ()


def test_size_is_that_of_the_decoded_image() -> None:
    image = DecodedImage(np.full((400, 400, 3), 128, np.uint8), 1600, 1600, scale=0.25)
    face = Detection((100.0, 100.0, 112.0, 112.0), (TEMPLATE + 100).astype(np.float32), 0.9)
    quality = measured(image, face)
    assert quality["InterEyeDistance"].unit == "px"
    assert quality["InterEyeDistance"].measurement == pytest.approx(35, rel=0.1)


def measured(image: DecodedImage, face: Detection) -> dict[str, QualityComponent]:
    return {part.name: part for part in assess_quality(image, face, align(image.pixels, face.landmarks))}


def scene(height: int = 240, width: int = 240) -> NDArray[np.uint8]:
    """A picture without plain parts."""
    noise = np.random.default_rng(5).normal(128, 40, (height, width, 3))
    smooth = np.asarray(cv2.GaussianBlur(noise, (0, 0), 1.5))
    pixels: NDArray[np.uint8] = np.clip(smooth * 2 - 128, 0, 255).astype(np.uint8)
    return pixels


@settings(max_examples=25)
@given(cut=st.integers(0, 60), side=st.integers(0, 3), turn=st.integers(0, 3))
def test_the_larger_the_cut_the_less_of_the_face_is_visible(cut: int, side: int, turn: int) -> None:
    landmarks = TEMPLATE.astype(np.float32) + 64
    shares = [visible_share(*cut_off(scene(), landmarks, 60 + each, side)) for each in (0, cut, cut + 10)]
    assert shares[0] == 1.0
    assert shares[0] >= shares[1] >= shares[2]
    pixels, moved = cut_off(scene(), landmarks, 60 + cut, side)
    assert visible_share(*quarter_turned(pixels, moved, turn)) == pytest.approx(shares[1], abs=0.02)


def cut_off(
    pixels: NDArray[np.uint8], landmarks: NDArray[np.float32], lines: int, side: int
) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
    """Take lines away from one side: left, top, right, bottom."""
    match side:
        case 0:
            return pixels[:, lines:], landmarks - np.array([lines, 0], np.float32)
        case 1:
            return pixels[lines:], landmarks - np.array([0, lines], np.float32)
        case 2:
            return pixels[:, :-lines], landmarks
        case _:
            return pixels[:-lines], landmarks


def quarter_turned(
    pixels: NDArray[np.uint8], landmarks: NDArray[np.float32], turns: int
) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
    for _ in range(turns):
        landmarks = np.stack([landmarks[:, 1], pixels.shape[1] - 1 - landmarks[:, 0]], axis=1)
        pixels = np.rot90(pixels)
    return np.ascontiguousarray(pixels), landmarks


@pytest.mark.parametrize("side", range(4))
@pytest.mark.parametrize("bar", ["black", "white", "repeated"])
def test_bars_do_not_make_up_for_a_cut(side: int, bar: str) -> None:
    landmarks = TEMPLATE.astype(np.float32) + 64
    pixels, moved = cut_off(scene(), landmarks, 120, side)
    border = [(0, 0, 120, 0), (120, 0, 0, 0), (0, 0, 0, 120), (0, 120, 0, 0)][side]
    kind = cv2.BORDER_REPLICATE if bar == "repeated" else cv2.BORDER_CONSTANT
    padded = cv2.copyMakeBorder(pixels, *border, kind, value=[255 if bar == "white" else 0] * 3)
    assert visible_share(padded, landmarks) == pytest.approx(visible_share(pixels, moved), abs=0.05)
    assert visible_share(padded, landmarks) < 0.7
    assert picture_bounds(scene()) == (0.0, 0.0, 240.0, 240.0)


def test_landmarks_squeezed_into_half_a_face_do_not_make_it_whole() -> None:
    squeezed = (TEMPLATE * [0.5, 1.0] + [-15, 64]).astype(np.float32)
    assert visible_share(scene()[:, 15:], squeezed) < 0.8


def test_a_plain_picture_has_no_bars() -> None:
    plain = np.full((300, 300, 3), 200, np.uint8)
    assert picture_bounds(plain) == (0.0, 0.0, 300.0, 300.0)
    assert visible_share(plain, TEMPLATE.astype(np.float32) + 90) == 1.0


@pytest.fixture(scope="module")
def faces(detector: Any, portraits: Path) -> list[tuple[NDArray[np.uint8], Detection]]:
    """Two portraits at a face size of the crop's, with their faces."""
    found = []
    for name in ("barack_obama.jpg", "rishi_sunak.jpg"):
        pixels = decode_image((portraits / name).read_bytes(), ImageLimits()).pixels
        face = seen(detector, pixels)
        shrink = 60 / head_pose(face).inter_eye_distance
        pixels = cv2.resize(pixels, None, fx=shrink, fy=shrink, interpolation=cv2.INTER_AREA)
        found.append((pixels.astype(np.uint8), seen(detector, pixels)))
    return found


def seen(detector: Any, pixels: NDArray[np.uint8]) -> Detection:
    tensor, scale = detector_input(pixels, 640)
    (raw,) = detector.run(None, {"images": tensor})
    return decode_faces(raw[0], (tensor.shape[3], tensor.shape[2]), scale)[0]


def quality_of(pixels: NDArray[np.uint8], face: Detection) -> dict[str, QualityComponent]:
    return measured(DecodedImage(pixels, pixels.shape[1], pixels.shape[0], 1.0), face)


def test_more_blur_is_less_sharp(faces: list[tuple[NDArray[np.uint8], Detection]]) -> None:
    for pixels, face in faces:
        copies = [pixels, *(cv2.GaussianBlur(pixels, (0, 0), width) for width in (2, 4, 6))]
        sharp, less, little, least = (quality_of(copy, face)["Sharpness"].value for copy in copies)
        assert sharp > less > little >= least
        assert sharp > 60
        assert least < 20


def test_noise_is_not_sharpness(faces: list[tuple[NDArray[np.uint8], Detection]]) -> None:
    rng = np.random.default_rng(0)
    for pixels, face in faces:
        for grey in (False, True):
            shape = (*pixels.shape[:2], 1 if grey else 3)
            noise = rng.normal(size=shape)
            copies = [np.clip(pixels + width * noise, 0, 255).astype(np.uint8) for width in (0, 10, 30, 60)]
            values = [quality_of(copy, face)["Sharpness"].value for copy in copies]
            assert values == sorted(values, reverse=True)
            assert values[-1] < 20
        night = np.clip(np.round(pixels * 0.06 + rng.normal(0, 3, pixels.shape)) * 14, 0, 255).astype(np.uint8)
        assert quality_of(night, face)["Sharpness"].value < 20


def test_too_dark_and_too_bright_faces_lose_their_range(faces: list[tuple[NDArray[np.uint8], Detection]]) -> None:
    for pixels, face in faces:
        for factor in (0.03, 12.0):
            copy = np.clip(pixels * factor, 0, 255).astype(np.uint8)
            assert quality_of(copy, face)["DynamicRange"].value < 25
        assert quality_of(pixels, face)["DynamicRange"].value > 60


def test_a_quarter_turn_changes_little(faces: list[tuple[NDArray[np.uint8], Detection]]) -> None:
    for pixels, face in faces:
        upright = quality_of(pixels, face)
        turned_pixels, landmarks = quarter_turned(pixels, face.landmarks, 1)
        turned_face = quality_of(turned_pixels, Detection(face.box, landmarks.astype(np.float32), face.score))
        for name in ("Sharpness", "DynamicRange", "Luminance", "FaceCompleteness", "EyesVisible"):
            assert turned_face[name].value == pytest.approx(upright[name].value, abs=3)


def test_dark_glasses_are_told(faces: list[tuple[NDArray[np.uint8], Detection]]) -> None:
    for pixels, face in faces:
        worn = degrade("glasses", pixels, face.landmarks.astype(np.float64), 1.0, 0).pixels
        assert quality_of(pixels, face)["EyesVisible"].value > 75
        assert quality_of(worn, face)["EyesVisible"].value < 50
        issues = quality_issues(tuple(quality_of(worn, face).values()), QualityLimits(min_eyes_visible=50))
        assert any("min_eyes_visible" in issue.metadata for issue in issues)


@pytest.mark.dataset
def test_half_faces_are_refused_on_every_side_and_whole_ones_pass(detector: Any, shared_data: Path) -> None:
    people = [path for path in sorted((shared_data / "lfw_devtest").iterdir()) if path.is_dir()][::40]
    passed = whole = cuts = 0
    for person in people:
        pixels = decode_image(min(person.iterdir()).read_bytes(), ImageLimits()).pixels
        face = seen(detector, pixels)
        whole += not quality_issues(tuple(quality_of(pixels, face).values()), QualityLimits())
        middle = face.landmarks.mean(axis=0)
        height, width = pixels.shape[:2]
        for side, lines in enumerate((middle[0], middle[1], width - middle[0], height - middle[1])):
            half, _ = cut_off(pixels, face.landmarks, round(float(lines)), side)
            tensor, scale = detector_input(np.ascontiguousarray(half), 640)
            (raw,) = detector.run(None, {"images": tensor})
            for found in decode_faces(raw[0], (tensor.shape[3], tensor.shape[2]), scale)[:1]:
                cuts += 1
                passed += not quality_issues(
                    tuple(quality_of(np.ascontiguousarray(half), found).values()), QualityLimits()
                )
    assert whole >= len(people) - 1
    assert cuts >= 15
    assert passed <= 0.05 * cuts


BIG_AT_THE_EDGE = Detection((0.0, 0.0, 60.0, 60.0), TEMPLATE.astype(np.float32), 0.9)
SMALL_IN_THE_MIDDLE = Detection((85.0, 85.0, 30.0, 30.0), TEMPLATE.astype(np.float32), 0.8)


def test_of_several_faces_the_one_that_is_meant_is_chosen() -> None:
    faces = [BIG_AT_THE_EDGE, SMALL_IN_THE_MIDDLE]
    assert select_face(faces, FaceSelection.LARGEST, 200, 200) is BIG_AT_THE_EDGE
    assert select_face(faces, FaceSelection.MOST_CENTRAL, 200, 200) is SMALL_IN_THE_MIDDLE
    with pytest.raises(MultipleFaces) as refused:
        select_face(faces, FaceSelection.ERROR, 200, 200)
    assert refused.value.metadata["count"] == "2"
    assert select_face(faces[:1], FaceSelection.ERROR, 200, 200) is BIG_AT_THE_EDGE
    with pytest.raises(FaceNotFound):
        select_face([], FaceSelection.LARGEST, 200, 200)
