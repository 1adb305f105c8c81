"""Draws faces and outcomes on copies of photos."""

import io
import itertools
from collections.abc import Sequence
from pathlib import Path
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from sameface.cli.output import note
from sameface.client import Face
from sameface.client.connection import MAX_MESSAGE_BYTES

COLOURS = {"MATCH": (18, 160, 110), "NO_MATCH": (200, 50, 60), "AMBIGUOUS": (215, 140, 20), "": (47, 111, 237)}
MOST_PIXELS = 200_000_000
SMALLEST_TEXT = 12
GAP = 8
"""Pixels between the crops below a photo."""

Shown: TypeAlias = tuple[Face, str, str]
"""A face with its outcome (MATCH, NO_MATCH, AMBIGUOUS or empty) and the text above its box."""


def draw_faces(photo: bytes, faces: Sequence[Shown], crops: bool = False) -> bytes:
    """Return a copy of a photo with box, landmarks and text of each face, as a JPEG.

    Args:
        photo: the bytes of the image file.
        faces: what to draw.
        crops: whether to show each face's upright crop of 112×112 pixels, cut by its landmarks, in a strip below the
            photo.

    Raises:
        SamefaceError: the photo cannot be decoded.
    """
    # OpenCV takes half a second to import, which commands without a drawing do not need.
    from sameface.vision import ImageLimits, align, decode_image

    limits = ImageLimits(
        max_bytes=MAX_MESSAGE_BYTES,
        max_pixels=MOST_PIXELS,
        max_pixels_whole=MOST_PIXELS,
        max_cpu_s=60.0,
        max_side=MOST_PIXELS,
    )
    pixels = decode_image(photo, limits).pixels
    image = Image.fromarray(pixels)
    canvas = ImageDraw.Draw(image)
    for shown in faces:
        _draw_face(canvas, max(image.size), *shown)
    if crops and faces:
        image = _with_strip(
            image, [(Image.fromarray(align(pixels, _points(face))), outcome, text) for face, outcome, text in faces]
        )
    written = io.BytesIO()
    image.save(written, format="JPEG", quality=90)
    return written.getvalue()


def _draw_face(canvas: ImageDraw.ImageDraw, side: int, face: Face, outcome: str, text: str) -> None:
    colour, box = COLOURS.get(outcome, COLOURS[""]), face.bounding_box
    # Large enough to be seen in the whole photo, but not larger than a small face of a group.
    width = max(2, min(round(side / 300), round(box.width / 25)))
    canvas.rectangle((box.x, box.y, box.x + box.width, box.y + box.height), outline=colour, width=width)
    reach = 1.5 * width
    for x, y in _points(face):
        canvas.ellipse((x - reach, y - reach, x + reach, y + reach), fill="white", outline=colour)
    if text:
        size = max(SMALLEST_TEXT, min(round(side / 45), round(box.width / 4)))
        # Inside the picture, if the face is at its upper edge.
        _draw_text(canvas, (box.x, max(box.y, 1.2 * size + 2 * width)), text, size, width, colour)


def _draw_text(
    canvas: ImageDraw.ImageDraw,
    place: tuple[float, float],
    text: str,
    size: int,
    margin: int,
    colour: tuple[int, int, int],
) -> None:
    """Draw text on a ground of a colour. ``place`` is its lower left corner."""
    font = ImageFont.load_default(size=size)
    left, top, right, bottom = canvas.textbbox(place, text, font=font, anchor="lb")
    canvas.rectangle((left - margin, top - margin, right + margin, bottom + margin), fill=colour)
    canvas.text(place, text, font=font, anchor="lb", fill="white")


def _with_strip(image: Image.Image, crops: Sequence[tuple[Image.Image, str, str]]) -> Image.Image:
    """Return a photo with its crops in rows below, enlarged by a whole number where a third of its height has room."""
    width, smallest = max(image.width, crops[0][0].width + 2 * GAP), crops[0][0].width

    def layout(scale: int) -> tuple[int, int, int]:
        """Return side and columns of the crops, and the height of all."""
        side = scale * smallest
        columns = max(1, (width - GAP) // (side + GAP))
        return side, columns, GAP + -(-len(crops) // columns) * (side + GAP)

    fitting = (scale for scale in (4, 3, 2) if layout(scale)[2] <= image.height / 3 and layout(scale)[0] < width / 3)
    side, columns, height = layout(next(fitting, 1))
    step = side + GAP
    sheet = Image.new("RGB", (width, image.height + height), "white")
    sheet.paste(image)
    canvas = ImageDraw.Draw(sheet)
    for number, (crop, outcome, text) in enumerate(crops):
        row, column = divmod(number, columns)
        x, y = GAP + column * step, image.height + GAP + row * step
        colour = COLOURS.get(outcome, COLOURS[""])
        sheet.paste(crop.resize((side, side), Image.Resampling.NEAREST), (x, y))
        canvas.rectangle((x - 2, y - 2, x + side + 1, y + side + 1), outline=colour, width=2)
        _draw_text(canvas, (x + 2, y + side - 2), text, max(SMALLEST_TEXT, side // 9), 2, colour)
    return sheet


def _points(face: Face) -> NDArray[np.float32]:
    """Return the five landmarks, [5, 2]."""
    marks = face.landmarks
    points = (marks.right_eye, marks.left_eye, marks.nose_tip, marks.mouth_right, marks.mouth_left)
    return np.array([[point.x, point.y] for point in points], np.float32)


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


def try_to_draw(folder: Path, name: str, photo: bytes, faces: Sequence[Shown], *, crops: bool = False) -> bool:
    """Draw a photo into ``folder`` and return whether it worked. If not, print why."""
    try:
        save_drawing(folder, name, draw_faces(photo, faces, crops))
    except Exception as error:  # A failed drawing must not lose the result, and Pillow may raise anything.
        note(f"{name} could not be drawn: {type(error).__name__}: {error}")
        return False
    return True
