"""Copies of photos with what was found on them."""

import io
from collections.abc import Sequence
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont, ImageOps

from sameface.v1 import face_pb2

COLOURS = {"MATCH": (18, 160, 110), "NO_MATCH": (200, 50, 60), "AMBIGUOUS": (215, 140, 20), "": (47, 111, 237)}


def draw_faces(photo: bytes, faces: Sequence[tuple[face_pb2.Face, str, str]], target: Path) -> None:
    """Write a copy of a photo with box, landmarks and text of each face.

    Args:
        photo: the bytes of the image file.
        faces: each face with its outcome (MATCH, NO_MATCH, AMBIGUOUS or empty) and the text above its box.
        target: where to write; the suffix chooses the format.
    """
    with Image.open(io.BytesIO(photo)) as opened:
        image = ImageOps.exif_transpose(opened).convert("RGB")
    canvas = ImageDraw.Draw(image)
    width = max(2, round(max(image.size) / 300))
    font = ImageFont.load_default(size=max(12, round(max(image.size) / 45)))
    for face, outcome, text in faces:
        colour = COLOURS.get(outcome, COLOURS[""])
        box = face.bounding_box
        corners = (box.x, box.y, box.x + box.width, box.y + box.height)
        canvas.rectangle(corners, outline=colour, width=width)
        marks = face.landmarks
        for point in (marks.right_eye, marks.left_eye, marks.nose_tip, marks.mouth_right, marks.mouth_left):
            reach = 1.5 * width
            canvas.ellipse(
                (point.x - reach, point.y - reach, point.x + reach, point.y + reach), fill="white", outline=colour
            )
        if text:
            left, top, right, bottom = canvas.textbbox((box.x, box.y), text, font=font, anchor="lb")
            shift = max(0.0, width - top)
            canvas.rectangle((left - width, top - width + shift, right + width, bottom + width + shift), fill=colour)
            canvas.text((box.x, box.y + shift), text, font=font, anchor="lb", fill="white")
    target.parent.mkdir(parents=True, exist_ok=True)
    image.save(target)


def drawing_path(folder: Path, name: str, taken: set[str]) -> Path:
    """Return a path in ``folder`` for the drawing of a photo; photos of one name get numbers."""
    stem = Path(name).stem or "photo"
    number, chosen = 1, stem
    while chosen in taken:
        number += 1
        chosen = f"{stem}-{number}"
    taken.add(chosen)
    return folder / f"{chosen}.jpg"
