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
    u, singular, vt = np.linalg.svd(fitted, full_matrices=False)
    x_axis, y_axis = u @ vt
    z_axis = np.cross(x_axis, y_axis)
    return HeadPose(
        yaw=math.degrees(math.atan2(z_axis[0], z_axis[2])),
        pitch=math.degrees(math.asin(max(-1.0, min(1.0, z_axis[1])))),
        roll=-math.degrees(math.atan2(x_axis[1], y_axis[1])),
        inter_eye_distance=float(singular.mean() * np.linalg.norm(MEAN_FACE[1] - MEAN_FACE[0])),
    )
