"""The portrait that every file shows, and what the writers of files share."""

import io
from pathlib import Path

import numpy as np
from PIL import Image, ImageChops

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "tests" / "data" / "odd"
PORTRAIT = ROOT / "tests" / "data" / "portraits" / "barack_obama.jpg"
FACE, SIDE = (130, 70, 540, 510), 120

READ, GREY = "read", "read as grey"
"""The file gives the embedding of ``plain.png``, or of the same in grey."""

with Image.open(PORTRAIT) as opened:
    PLAIN = opened.convert("RGB").crop(FACE)
PLAIN.thumbnail((SIDE, SIDE), Image.Resampling.LANCZOS)
PIXELS = np.asarray(PLAIN)
SMALL = PIXELS[::3, ::3]
GREY_PLAIN = PLAIN.convert("L")
GREYS = np.asarray(GREY_PLAIN)[:, :, np.newaxis]
NEGATIVE = ImageChops.invert(PLAIN)
UNDO = {2: 0, 3: 3, 4: 1, 5: 5, 6: 2, 7: 6, 8: 4}

Entry = tuple[str, str, bytes]
"""Name of the file, what becomes of it, and its content. A refusal is a part of the message."""


def saved(image: Image.Image, file_format: str, **options: object) -> bytes:
    """An image as a file."""
    buffer = io.BytesIO()
    image.save(buffer, file_format, **options)
    return buffer.getvalue()


def jpeg(image: Image.Image = PLAIN, **options: object) -> bytes:
    """A JPEG that loses little."""
    return saved(image, "JPEG", **{"quality": 95, "subsampling": 0, **options})


def eight(values: np.ndarray) -> Image.Image:
    """An image of fractions."""
    return Image.fromarray((values * 255 + 0.5).astype(np.uint8))
