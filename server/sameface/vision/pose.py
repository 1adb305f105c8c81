"""Estimates head pose and size from five landmarks."""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sameface.vision.detection import Detection

# A mean face. The unit is the distance between eye line and mouth line; x points to the right of the image, y down, z
# away from the camera. x and y are means over the frontal views of the Face Research Lab London Set. The depths are
# chosen so that its three-quarter views give about 45° and its profiles more than 60°.
MEAN_FACE = np.array(
    [
        [-0.4955, 0.0, 0.0],
        [0.4955, 0.0, 0.0],
        [0.0, 0.5823, -0.5],
        [-0.4359, 1.0, -0.1],
        [0.4359, 1.0, -0.1],
    ]
)
_CENTRED = MEAN_FACE - MEAN_FACE.mean(axis=0)
_FLAT = 1e-24
"""It keeps landmarks that lie on one line, or on one point, from a division by zero."""
_EYES = float(np.linalg.norm(MEAN_FACE[1] - MEAN_FACE[0]))
_INVERSE: NDArray[np.float64] = np.linalg.pinv(_CENTRED)


@dataclass(frozen=True, slots=True)
class HeadPose:
    """Angles in degrees; 0 is frontal and upright. They are accurate to about 10°, enough for a quality gate."""

    yaw: float
    """Positive if the nose points to the right of the image."""
    pitch: float
    """Positive if the nose points down."""
    roll: float
    """Positive if the head is tilted clockwise in the image."""
    inter_eye_distance: float
    """Pixels between the eye centres, as if the face were turned to the camera."""


def head_pose(face: Detection) -> HeadPose:
    """Fit the mean face under weak perspective (scaled orthography; DeMenthon and Davis 1995, section 2).

    The linear fit gives a 2×3 matrix. The scaled rotation nearest to it gives the angles. Profiles need no special
    case: there the depth of the nose determines the scale instead of the eyes.
    """
    landmarks = face.landmarks.astype(np.float64)
    fitted = (_INVERSE @ (landmarks - landmarks.mean(axis=0))).T
    # The nearest matrix with orthonormal rows is (M·Mᵀ)^−½ · M. The root of a 2×2 matrix S is (S + √det S · I) / trace
    # of the root.
    (p, q), (_, r) = (fitted @ fitted.T).tolist()
    root = math.sqrt(max(p * r - q * q, _FLAT * (p + r) ** 2))
    trace = math.sqrt(p + r + 2.0 * root)
    inverse = np.array([[r + root, -q], [-q, p + root]]) / (max(root, _FLAT) * max(trace, _FLAT))
    (a, b, c), (d, e, f) = (inverse @ fitted).tolist()
    # The third axis of the rotation is the cross product of the two.
    return HeadPose(
        yaw=math.degrees(math.atan2(b * f - c * e, a * e - b * d)),
        pitch=math.degrees(math.asin(max(-1.0, min(1.0, c * d - a * f)))),
        roll=-math.degrees(math.atan2(b, e)),
        inter_eye_distance=trace / 2.0 * _EYES,
    )
