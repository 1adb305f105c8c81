"""Pose, size and the quality gate."""

import dataclasses
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sameface.errors import ExtremePose, FaceNotFound, FaceTooSmall, MultipleFaces, QualityTooLow
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
    crop = align(image.pixels, face.landmarks)
    if blur:
        crop = cv2.GaussianBlur(crop, (0, 0), blur)
    return quality_issues(assess_quality(image, face, crop), QualityLimits())


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
        "Luminance": 90.0,
        "IlluminationUniformity": 90.0,
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
        ("Luminance", 9.0, QualityTooLow, "min_luminance"),
        ("IlluminationUniformity", 4.0, QualityTooLow, "min_illumination_uniformity"),
        ("FaceCompleteness", 59.0, QualityTooLow, "min_face_completeness"),
    ],
)
def test_each_limit_is_enforced_and_named(name: str, value: float, error: type[Exception], setting: str) -> None:
    (issue,) = quality_issues(components(**{name: value}), QualityLimits())
    assert type(issue) is error
    assert float(issue.metadata[name]) == abs(value)
    assert float(issue.metadata[setting]) == getattr(QualityLimits(), setting)
    off = dataclasses.replace(QualityLimits(), **{setting: 0.0})
    assert quality_issues(components(**{name: value}), off) == ()


def test_size_is_reported_in_pixels_of_the_photo_as_sent() -> None:
    image = DecodedImage(np.full((400, 400, 3), 128, np.uint8), 1600, 1600, scale=0.25)
    face = Detection((100.0, 100.0, 112.0, 112.0), (TEMPLATE + 100).astype(np.float32), 0.9)
    quality = {part.name: part for part in assess_quality(image, face, align(image.pixels, face.landmarks))}
    assert quality["InterEyeDistance"].unit == "px"
    assert quality["InterEyeDistance"].measurement == pytest.approx(4 * 35, rel=0.1)


def test_the_part_of_a_face_outside_the_picture_is_counted() -> None:
    image = DecodedImage(np.full((100, 100, 3), 128, np.uint8), 100, 100, scale=1.0)
    face = Detection((-50.0, 0.0, 100.0, 100.0), (TEMPLATE - [50, 0]).astype(np.float32), 0.9)
    quality = {part.name: part for part in assess_quality(image, face, align(image.pixels, face.landmarks))}
    assert quality["FaceCompleteness"].value == pytest.approx(50.0)


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
