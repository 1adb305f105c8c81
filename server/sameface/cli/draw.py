"""Draws faces and outcomes on copies of photos."""

import io
import itertools
from collections.abc import Sequence
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont, ImageOps

from sameface.cli.output import note
from sameface.v1 import face_pb2

COLOURS = {"MATCH": (18, 160, 110), "NO_MATCH": (200, 50, 60), "AMBIGUOUS": (215, 140, 20), "": (47, 111, 237)}


def draw_faces(photo: bytes, faces: Sequence[tuple[face_pb2.Face, str, str]]) -> bytes:
    """Return a copy of a photo with box, landmarks and text of each face, as a JPEG.

    Args:
        photo: the bytes of the image file.
        faces: each face with its outcome (MATCH, NO_MATCH, AMBIGUOUS or empty) and the text above its box.
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
    written = io.BytesIO()
    image.save(written, format="JPEG")
    return written.getvalue()


def save_drawing(folder: Path, name: str, drawing: bytes) -> Path:
    """Write the drawing of a photo into ``folder`` and return its path. No file is overwritten.

    The drawing of ``ada.png`` is ``ada.sameface.jpg``; if that exists, ``ada.sameface-2.jpg``, and so on.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for number in itertools.count(1):
        path = folder / f"{Path(name).stem}.sameface{f'-{number}' if number > 1 else ''}.jpg"
        try:
            with path.open("xb") as file:
                file.write(drawing)
        except FileExistsError:
            continue
        return path
    raise AssertionError("counting ended")


def try_to_draw(folder: Path, name: str, photo: bytes, faces: Sequence[tuple[face_pb2.Face, str, str]]) -> bool:
    """Draw a photo into ``folder`` and return whether it worked. If not, print why."""
    try:
        save_drawing(folder, name, draw_faces(photo, faces))
    except Exception as error:  # A failed drawing must not lose the result, and Pillow may raise anything.
        note(f"{name} could not be drawn: {type(error).__name__}: {error}")
        return False
    return True
