"""Image processing: decode, detect, select, align, assess quality. Pure functions on arrays, without I/O or models."""

from sameface.vision.align import align
from sameface.vision.confirming import DOUBT, SURE, confirm_view, confirmed, is_clear
from sameface.vision.decode import DecodedImage, decode_image
from sameface.vision.detection import Detection, decode_faces, detector_input
from sameface.vision.formats import FORMATS, name_of_format
from sameface.vision.levels import Look, Tile, faces_of_tile, finer_looks, has_room, has_room_for_larger, tile_pixels
from sameface.vision.limits import ImageLimits
from sameface.vision.merging import Sighting, merge
from sameface.vision.pad_crop import PAD_PREPROCESSING, PAD_SIDE, pad_crop
from sameface.vision.pixels import Pixels
from sameface.vision.pose import head_pose
from sameface.vision.quality import QualityComponent, QualityLimits, assess_quality, quality_issues
from sameface.vision.selection import FaceSelection, largest_first, select_face
from sameface.vision.whole_image import fit_whole_image, isolate_strokes
from sameface.vision.work import PhotoWork, WorkStopped

__all__ = [
    "DOUBT",
    "FORMATS",
    "PAD_PREPROCESSING",
    "PAD_SIDE",
    "SURE",
    "DecodedImage",
    "Detection",
    "FaceSelection",
    "ImageLimits",
    "Look",
    "PhotoWork",
    "Pixels",
    "QualityComponent",
    "QualityLimits",
    "Sighting",
    "Tile",
    "WorkStopped",
    "align",
    "assess_quality",
    "confirm_view",
    "confirmed",
    "decode_faces",
    "decode_image",
    "detector_input",
    "faces_of_tile",
    "finer_looks",
    "fit_whole_image",
    "has_room",
    "has_room_for_larger",
    "head_pose",
    "is_clear",
    "isolate_strokes",
    "largest_first",
    "merge",
    "name_of_format",
    "pad_crop",
    "quality_issues",
    "select_face",
    "tile_pixels",
]
