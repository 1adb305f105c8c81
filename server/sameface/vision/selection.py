"""Selects one of several faces in a photo."""

from collections.abc import Sequence
from enum import StrEnum

from sameface.errors import FaceNotFound, MultipleFaces
from sameface.vision.detection import Detection


class FaceSelection(StrEnum):
    """Rule to select a face."""

    LARGEST = "largest"
    """By the part of the box that is inside the image."""
    MOST_CENTRAL = "most_central"
    ERROR = "error"
    """Allow exactly one face."""


def largest_first(faces: Sequence[Detection], width: int, height: int) -> list[Detection]:
    """Return the faces of an image of ``width`` × ``height`` pixels by the area of their boxes inside it.

    A box may reach far beyond the image, and what is there is no face that anybody sees.
    """
    return sorted(faces, key=lambda face: face.area_inside(width, height), reverse=True)


def select_face(detections: Sequence[Detection], selection: FaceSelection, width: int, height: int) -> Detection:
    """Return the selected face in an image of ``width`` × ``height`` pixels.

    Raises:
        FaceNotFound: there is no face.
        MultipleFaces: there are several faces and the rule is ERROR. ``metadata["count"]`` is their number.
    """
    if not detections:
        raise FaceNotFound("no face was found in the photo; send one with a visible face", metadata={"count": 0})
    if selection is FaceSelection.ERROR and len(detections) > 1:
        raise MultipleFaces(
            f"{len(detections)} faces were found in the photo; exactly one is expected; send a photo of one person, or "
            "set face_selection",
            metadata={"count": len(detections)},
        )

    def distance_to_centre(face: Detection) -> float:
        x, y, face_width, face_height = face.box
        return (x + face_width / 2 - width / 2) ** 2 + (y + face_height / 2 - height / 2) ** 2

    if selection is FaceSelection.MOST_CENTRAL:
        return min(detections, key=distance_to_centre)
    return largest_first(detections, width, height)[0]
