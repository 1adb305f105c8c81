"""The quality of a face for comparison: its components, and the gate that refuses poor faces.

Component names come from ISO/IEC 29794-5 (OFIQ) where it has one. The formulas are ours, and no conformance is claimed.
Every component is 0..100, higher is better, and includes the measured value. `sameface evaluate quality` measures how
well each one predicts errors.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, TypeAlias

import cv2
import numpy as np
from annotated_types import Ge, Le

from sameface.errors import ExtremePose, FaceTooSmall, QualityTooLow
from sameface.vision.align import TEMPLATE, similarity_transform
from sameface.vision.crop_quality import detail_beyond_noise, dynamic_range, eye_brightness, mean_luminance
from sameface.vision.decode import DecodedImage
from sameface.vision.detection import Detection
from sameface.vision.pixels import Pixels
from sameface.vision.pose import head_pose
from sameface.vision.visible import visible_share
from sameface_qdrant.errors import InvalidArgument

# The settings check these ranges; this module does not.
Score: TypeAlias = Annotated[float, Ge(0), Le(100)]
Degrees: TypeAlias = Annotated[float, Ge(0), Le(180)]


@dataclass(frozen=True, slots=True)
class QualityComponent:
    """One component: ``value`` 0..100, and the measured value in ``unit``."""

    name: str
    value: float
    measurement: float
    unit: str = ""


@dataclass(frozen=True, slots=True)
class QualityLimits:
    """Limits of the quality gate. ``max_`` and ``min_`` values still pass; 0 switches a check off."""

    min_inter_eye_distance: Annotated[float, Ge(0)] = 20.0
    """In pixels of the decoded image, as if the face were turned to the camera. Large photos are decoded at a reduced
    size."""
    min_detection_score: Score = 80.0
    """100 times the detector's confidence. Photos of the LFW development set have 87 or more."""
    min_sharpness: Score = 20.0
    """More than 99 % of the photos of the LFW development set pass. A crop with a Gaussian blur of 3 px fails, and so
    does one whose detail is hidden by noise."""
    min_dynamic_range: Score = 25.0
    """4 bits. A face that is nearly black or nearly white has less."""
    min_face_completeness: Score = 80.0
    """A face cut in half has about 60 or less. Nearly all photos cut to the detector's box have 84 or more."""
    min_eyes_visible: Score = 0.0
    """50 refuses dark glasses."""
    max_yaw: Degrees = 60.0
    """In degrees to either side. 60° is between a three-quarter view and a profile."""
    max_pitch: Degrees = 45.0
    max_roll: Degrees = 0.0
    """Off: the face is turned upright before it is examined, whatever its turn."""


ANGLES = {"HeadPoseYaw": "max_yaw", "HeadPosePitch": "max_pitch", "HeadPoseRoll": "max_roll"}
SCORES = {
    "DetectionScore": "min_detection_score",
    "Sharpness": "min_sharpness",
    "DynamicRange": "min_dynamic_range",
    "FaceCompleteness": "min_face_completeness",
    "EyesVisible": "min_eyes_visible",
}


def assess_quality(image: DecodedImage, face: Detection, crop: Pixels) -> tuple[QualityComponent, ...]:
    """Measure every component of a face found in ``image``, aligned to ``crop`` [112, 112, 3]."""
    pose = head_pose(face)
    grey = cv2.cvtColor(crop, cv2.COLOR_RGB2GRAY).astype(np.uint8, copy=False)
    mean = mean_luminance(grey)
    bits = dynamic_range(grey)
    eyes = eye_brightness(grey)
    matrix = similarity_transform(face.landmarks, TEMPLATE)
    detail = detail_beyond_noise(image.pixels, grey, matrix)
    visible = visible_share(image.pixels, face.landmarks, matrix)
    sharpness = _ramp(detail, -26, -11)
    return (
        QualityComponent("UnifiedQualityScore", unified(sharpness, face.score), unified(sharpness, face.score)),
        QualityComponent("DetectionScore", 100 * face.score, face.score),
        QualityComponent("InterEyeDistance", _ramp(pose.inter_eye_distance, 0, 90), pose.inter_eye_distance, "px"),
        _angle("HeadPoseYaw", pose.yaw),
        _angle("HeadPosePitch", pose.pitch),
        _angle("HeadPoseRoll", pose.roll),
        QualityComponent("Sharpness", sharpness, detail, "dB"),
        QualityComponent("DynamicRange", _ramp(bits, 3, 7), bits, "bit"),
        QualityComponent("Luminance", _ramp(min(mean, 255 - mean), 0, 100), mean),
        QualityComponent("FaceCompleteness", 100 * visible, visible),
        QualityComponent("EyesVisible", _ramp(eyes, 0.2, 0.8), eyes),
    )


def quality_issues(quality: tuple[QualityComponent, ...], limits: QualityLimits) -> tuple[InvalidArgument, ...]:
    """Return why the quality gate rejects a face, as errors to raise: size first, then pose, then the other limits."""
    by_name = {component.name: component for component in quality}
    issues: list[InvalidArgument] = []
    distance = by_name["InterEyeDistance"].measurement
    if distance < limits.min_inter_eye_distance:
        issues.append(
            FaceTooSmall(
                f"the eyes are {distance:.1f} px apart; at least {limits.min_inter_eye_distance:g} px are needed",
                metadata={
                    "InterEyeDistance": f"{distance:.1f}",
                    "min_inter_eye_distance": limits.min_inter_eye_distance,
                },
            )
        )
    turned = {
        name: (abs(by_name[name].measurement), setting, getattr(limits, setting))
        for name, setting in ANGLES.items()
        if abs(by_name[name].measurement) > (getattr(limits, setting) or math.inf)
    }
    if turned:
        issues.append(
            _refusal(ExtremePose, "the head is turned too far", turned, "{name} {value:.0f}°, at most {limit:g}°")
        )
    poor = {
        name: (by_name[name].value, setting, getattr(limits, setting))
        for name, setting in SCORES.items()
        if by_name[name].value < getattr(limits, setting)
    }
    if poor:
        text = "the face is too poor to compare"
        issues.append(_refusal(QualityTooLow, text, poor, "{name} {value:.0f}, at least {limit:g}"))
    return tuple(issues)


def unified(sharpness: float, detection_score: float) -> float:
    """Return one number, 0 to 100, that predicts errors better than any single component.

    Args:
        sharpness: the value of Sharpness, 0 to 100.
        detection_score: the detector's confidence, 0 to 1.
    """
    return (sharpness + 2 * _ramp(detection_score, 0.7, 0.95)) / 3


def _refusal(
    error: Callable[..., InvalidArgument], text: str, found: dict[str, tuple[float, str, float]], each: str
) -> InvalidArgument:
    """Return an error that names every value with its limit. ``found`` maps a component to value, setting and limit."""
    parts = [each.format(name=name, value=value, limit=limit) for name, (value, _, limit) in found.items()]
    metadata: dict[str, object] = {}
    for name, (value, setting, limit) in found.items():
        metadata |= {name: f"{value:.1f}", setting: limit}
    return error(f"{text}: {', '.join(parts)}", metadata=metadata)


def _angle(name: str, degrees: float) -> QualityComponent:
    return QualityComponent(name, 100 * max(0.0, math.cos(math.radians(degrees))) ** 2, degrees, "degrees")


def _ramp(value: float, low: float, high: float) -> float:
    return 100.0 * min(1.0, max(0.0, (value - low) / (high - low)))
