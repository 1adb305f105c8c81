"""Makes model_repository/face_embedder/golden_set.npz from the portraits.

Run it once: the card of every version has embeddings of exactly these pixels. After another run, every version must be
sealed again.
"""

import sys
from pathlib import Path

import numpy as np

from sameface.inference.golden_set import FILE_NAME
from sameface.inference.onnx import open_session
from sameface.vision import ImageLimits, align, decode_faces, decode_image, detector_input

ROOT = Path(__file__).resolve().parents[1]
REPOSITORY = ROOT / "model_repository"
PORTRAITS = ROOT / "tests" / "data" / "portraits"
# Identity → portraits. Photos of one person are next to each other.
PEOPLE = {
    "emmanuel_macron": ("emmanuel_macron_2014", "emmanuel_macron_2025"),
    "jacinda_ardern": ("jacinda_ardern_2018", "jacinda_ardern_2022"),
    "barack_obama": ("barack_obama",),
    "rishi_sunak": ("rishi_sunak",),
}


def main() -> int:
    """Detect and align the face of every portrait and store the crops."""
    detector = open_session(REPOSITORY / "face_detector" / "1" / "model.onnx", threads=1)
    identities, crops = [], []
    for identity, photos in PEOPLE.items():
        for photo in photos:
            pixels = decode_image((PORTRAITS / f"{photo}.jpg").read_bytes(), ImageLimits()).pixels
            tensor, scale = detector_input(pixels, 640)
            (raw,) = detector.run(None, {"images": tensor})
            (face, *_) = decode_faces(raw[0], (tensor.shape[3], tensor.shape[2]), scale)
            identities.append(identity)
            crops.append(align(pixels, face.landmarks).transpose(2, 0, 1))
    target = REPOSITORY / "face_embedder" / FILE_NAME
    np.savez_compressed(target, identities=np.array(identities), images=np.stack(crops))
    print(f"{target}: {len(crops)} faces of {len(PEOPLE)} people, {target.stat().st_size >> 10} KiB")
    return 0


if __name__ == "__main__":
    sys.exit(main())
