"""Measures the quality of a face for comparison. The component names come from ISO/IEC 29794-5 (OFIQ). The formulas are
ours, and no conformance is claimed. Every component is 0..100, higher is better, and includes the measured value.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, TypeAlias

import cv2
import numpy as np
from annotated_types import Ge, Le

from sameface.errors import ExtremePose, FaceTooSmall, QualityTooLow
from sameface.vision.decode import DecodedImage, Pixels
from sameface.vision.detection import Detection
from sameface.vision.pose import head_pose
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
    """In pixels of the photo as sent, as if the face were turned to the camera."""
    min_sharpness: Score = 20.0
    """Every photo of the LFW development set passes. A crop with a Gaussian blur of 3 px fails."""
    min_luminance: Score = 10.0
    min_illumination_uniformity: Score = 5.0
    min_face_completeness: Score = 60.0
    max_yaw: Degrees = 60.0
    """In degrees to either side. 60° is between a three-quarter view and a profile."""
    max_pitch: Degrees = 45.0
    max_roll: Degrees = 0.0
    """Off: the face is turned upright before it is examined, whatever its turn."""


ANGLES = {"HeadPoseYaw": "max_yaw", "HeadPosePitch": "max_pitch", "HeadPoseRoll": "max_roll"}
SCORES = {
    "Sharpness": "min_sharpness",
    "Luminance": "min_luminance",
    "IlluminationUniformity": "min_illumination_uniformity",
    "FaceCompleteness": "min_face_completeness",
}


def assess_quality(image: DecodedImage, face: Detection, crop: Pixels) -> tuple[QualityComponent, ...]:
    """Measure every component of a face found in ``image``, aligned to ``crop`` [112, 112, 3]."""
    pose = head_pose(face)
    distance = pose.inter_eye_distance / image.scale
    grey = cv2.cvtColor(crop, cv2.COLOR_RGB2GRAY)
    inner = grey[20:104, 20:92]
    mean = float(inner.mean())
    left, right = float(inner[:, : inner.shape[1] // 2].mean()), float(inner[:, inner.shape[1] // 2 :].mean())
    detail = sharpness(grey)
    inside = _share_inside(image, face)
    evenness = min(left, right) / max(left, right, 1.0)
    return (
        QualityComponent("DetectionScore", 100 * face.score, face.score),
        QualityComponent("InterEyeDistance", _ramp(distance, 0, 90), distance, "px"),
        _angle("HeadPoseYaw", pose.yaw),
        _angle("HeadPosePitch", pose.pitch),
        _angle("HeadPoseRoll", pose.roll),
        QualityComponent("Sharpness", _ramp(detail, 0, 5), detail),
        QualityComponent("Luminance", _ramp(min(mean, 255 - mean), 0, 100), mean),
        QualityComponent("IlluminationUniformity", 100 * evenness, evenness),
        QualityComponent("FaceCompleteness", 100 * inside, inside),
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


def _refusal(
    error: Callable[..., InvalidArgument], text: str, found: dict[str, tuple[float, str, float]], each: str
) -> InvalidArgument:
    """Return an error that names every value with its limit. ``found`` maps a component to value, setting and limit."""
    parts = [each.format(name=name, value=value, limit=limit) for name, (value, _, limit) in found.items()]
    metadata: dict[str, object] = {}
    for name, (value, setting, limit) in found.items():
        metadata |= {name: f"{value:.1f}", setting: limit}
    return error(f"{text}: {', '.join(parts)}", metadata=metadata)


def sharpness(grey: Pixels) -> float:
    """Return the fine detail of a crop: the standard deviation of its Laplacian relative to its contrast, times 10.

    It is relative, so that high contrast does not make a blurred photo look sharp.
    """
    inner = grey[20:104, 20:92].astype(np.float32)
    detail = float(cv2.Laplacian(inner, cv2.CV_32F).std())
    return 10.0 * detail / (float(inner.std()) + 5.0)


def _angle(name: str, degrees: float) -> QualityComponent:
    return QualityComponent(name, 100 * max(0.0, math.cos(math.radians(degrees))) ** 2, degrees, "degrees")


def _ramp(value: float, low: float, high: float) -> float:
    return 100.0 * min(1.0, max(0.0, (value - low) / (high - low)))


def _share_inside(image: DecodedImage, face: Detection) -> float:
    height, width = image.pixels.shape[:2]
    x, y, face_width, face_height = face.box
    inside_x = max(0.0, min(x + face_width, width) - max(x, 0.0))
    inside_y = max(0.0, min(y + face_height, height) - max(y, 0.0))
    return float(inside_x * inside_y / max(face_width * face_height, 1e-6))
