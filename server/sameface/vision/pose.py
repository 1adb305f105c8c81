"""Estimates head pose and size from five landmarks."""

import math
from dataclasses import dataclass

import numpy as np

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
_INVERSE: list[list[float]] = np.linalg.pinv(_CENTRED).T.tolist()
"""By landmark, the weights of its place in the three columns of the fitted matrix. They sum to 0."""


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
    # Plain floats: for five points they are faster than arrays. Any origin near the points will do.
    a = b = c = d = e = f = 0.0
    origin_x, origin_y = face.landmarks[2].tolist()
    for (x, y), (of_x, of_y, of_z) in zip(face.landmarks.tolist(), _INVERSE, strict=True):
        x, y = x - origin_x, y - origin_y
        a, b, c = a + of_x * x, b + of_y * x, c + of_z * x
        d, e, f = d + of_x * y, e + of_y * y, f + of_z * y
    # The nearest matrix with orthonormal rows is (M·Mᵀ)^−½ · M. The root of a 2×2 matrix S is (S + √det S · I) / trace
    # of the root.
    p, q, r = a * a + b * b + c * c, a * d + b * e + c * f, d * d + e * e + f * f
    root = math.sqrt(max(p * r - q * q, _FLAT * (p + r) ** 2))
    trace = math.sqrt(p + r + 2.0 * root)
    scale = max(root, _FLAT) * max(trace, _FLAT)
    upper, mixed, lower = (r + root) / scale, -q / scale, (p + root) / scale
    a, b, c, d, e, f = (
        upper * a + mixed * d,
        upper * b + mixed * e,
        upper * c + mixed * f,
        mixed * a + lower * d,
        mixed * b + lower * e,
        mixed * c + lower * f,
    )
    # The third axis of the rotation is the cross product of the two.
    return HeadPose(
        yaw=math.degrees(math.atan2(b * f - c * e, a * e - b * d)),
        pitch=math.degrees(math.asin(max(-1.0, min(1.0, c * d - a * f)))),
        roll=-math.degrees(math.atan2(b, e)),
        inter_eye_distance=trace / 2.0 * _EYES,
    )
