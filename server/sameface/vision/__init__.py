"""Image processing: decode, detect, select, align, assess quality. Pure functions on arrays, without I/O or models."""

from sameface.vision.align import align
from sameface.vision.decode import DecodedImage, ImageLimits, Pixels, decode_image
from sameface.vision.detection import Detection, decode_faces, detector_input
from sameface.vision.quality import QualityComponent, QualityLimits, assess_quality, quality_issues
from sameface.vision.selection import FaceSelection, select_face
from sameface.vision.work import PhotoWork, WorkStopped

__all__ = [
    "DecodedImage",
    "Detection",
    "FaceSelection",
    "ImageLimits",
    "PhotoWork",
    "Pixels",
    "QualityComponent",
    "QualityLimits",
    "WorkStopped",
    "align",
    "assess_quality",
    "decode_faces",
    "decode_image",
    "detector_input",
    "quality_issues",
    "select_face",
]
