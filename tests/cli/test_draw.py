"""Drawings of faces and outcomes; they overwrite no file and lose no decision."""

import io
import shutil
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import ExifTags, Image, ImageDraw

from sameface.cli import draw
from sameface.cli.draw import save_drawing
from sameface.client import BoundingBox, Face, Landmarks, Point
from sameface.vision.align import CROP_SIDE, TEMPLATE
from tests.cli.conftest import Run


def test_drawings_show_what_was_found(sameface: Run, gallery: str, portraits: Path, tmp_path: Path) -> None:
    assert sameface("enroll", gallery, str(portraits / "barack_obama.jpg"), "--as", "obama").returncode == 0
    photo = portraits / "barack_obama.jpg"
    assert sameface("identify", gallery, str(photo), "--draw", str(tmp_path)).returncode == 0
    assert sameface("detect", str(photo), str(photo), "--draw", str(tmp_path / "detected")).returncode == 0
    assert {path.name for path in (tmp_path / "detected").iterdir()} == {
        "barack_obama.sameface.jpg",
        "barack_obama.sameface-2.jpg",
    }
    with Image.open(tmp_path / "barack_obama.sameface.jpg") as drawn, Image.open(photo) as original:
        assert drawn.size == original.size
        assert drawn.tobytes() != original.convert("RGB").tobytes()
    # Below the photo is the crop.
    with Image.open(tmp_path / "detected" / "barack_obama.sameface.jpg") as drawn, Image.open(photo) as original:
        assert drawn.width == original.width
        assert drawn.height >= original.height + CROP_SIDE


COLOURS = np.array([[230, 30, 30], [30, 200, 30], [30, 30, 230], [230, 230, 30], [200, 30, 230]])
"""Of the five landmarks."""


def face_at(box: BoundingBox, landmarks: Landmarks) -> Face:
    return Face(
        bounding_box=box,
        landmarks=landmarks,
        detection_score=1.0,
        quality=(),
        issues=(),
        presentation_attack_detection=None,
    )


def dotted(turn: float, scale: float) -> tuple[Image.Image, Face]:
    """Return a picture with a dot on each landmark of a face that is turned and scaled, and the face."""
    spin = scale * np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    points = (TEMPLATE - TEMPLATE.mean(axis=0)) @ spin.T + [400, 300]
    image = Image.new("RGB", (800, 600), "white")
    canvas = ImageDraw.Draw(image)
    for (x, y), colour in zip(points, COLOURS, strict=True):
        reach = 5 * scale
        canvas.ellipse((x - reach, y - reach, x + reach, y + reach), fill=tuple(map(int, colour)))
    marks = [Point(x=x, y=y) for x, y in points]
    names = ("right_eye", "left_eye", "nose_tip", "mouth_right", "mouth_left")
    box = BoundingBox(x=300, y=200, width=200, height=200)
    return image, face_at(box, Landmarks(**dict(zip(names, marks, strict=True))))


def written(image: Image.Image, orientation: int) -> bytes:
    """Return the picture as a camera would write it that was held in another way."""
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    stored = {1: image, 3: image.transpose(Image.Transpose.ROTATE_180), 6: image.transpose(Image.Transpose.ROTATE_90)}
    file = io.BytesIO()
    stored[orientation].save(file, "PNG", exif=exif)
    return file.getvalue()


@settings(max_examples=20, deadline=None)
@given(turn=st.floats(-np.pi, np.pi), scale=st.floats(1, 4), orientation=st.sampled_from([1, 3, 6]))
def test_the_crop_is_upright_whatever_the_turn(turn: float, scale: float, orientation: int) -> None:
    image, face = dotted(turn, scale)
    drawing = draw.draw_faces(written(image, orientation), [(face, "", "")], crops=True)
    with Image.open(io.BytesIO(drawing)) as opened:
        drawn = np.asarray(opened.convert("RGB")).astype(int)
    enlarged = (drawn.shape[0] - image.height - 2 * draw.GAP) / CROP_SIDE
    for (x, y), colour in zip(TEMPLATE, COLOURS, strict=True):
        row, column = image.height + draw.GAP + round(enlarged * (y + 0.5)), draw.GAP + round(enlarged * (x + 0.5))
        assert np.abs(drawn[row, column] - colour).max() < 80


@settings(max_examples=20, deadline=None)
@given(
    count=st.integers(0, 40),
    size=st.tuples(st.integers(1, 900), st.integers(1, 900)),
    place=st.floats(-1e5, 1e5, width=32),
)
def test_any_number_of_faces_fits_below_any_photo(count: int, size: tuple[int, int], place: float) -> None:
    file = io.BytesIO()
    Image.new("RGB", size).save(file, "PNG")
    # All landmarks in one point, perhaps far outside.
    point = Point(x=place, y=place)
    marks = Landmarks(right_eye=point, left_eye=point, nose_tip=point, mouth_right=point, mouth_left=point)
    face = face_at(BoundingBox(x=place, y=place, width=9, height=9), marks)
    drawing = draw.draw_faces(file.getvalue(), [(face, "AMBIGUOUS", "0.50")] * count, crops=True)
    with Image.open(io.BytesIO(drawing)) as drawn:
        width = max(size[0], CROP_SIDE + 2 * draw.GAP) if count else size[0]
        columns = (width - draw.GAP) // (CROP_SIDE + draw.GAP)
        rows = -(-count // max(1, columns))
        assert drawn.width == width
        assert drawn.height >= size[1] + rows * CROP_SIDE


def test_a_source_is_never_drawn_over(sameface: Run, gallery: str, portraits: Path, tmp_path: Path) -> None:
    for name in ("ada.jpg", "sub/ada.jpg", "ada.sameface.jpg"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        shutil.copy(portraits / "barack_obama.jpg", tmp_path / name)
    sources = {path: path.read_bytes() for path in tmp_path.rglob("*.jpg")}
    photos = [str(path) for path in sources]
    assert sameface("detect", *photos, "--draw", str(tmp_path)).returncode == 0
    assert sameface("identify", gallery, *photos, "--draw", str(tmp_path / "sub")).returncode == 1
    assert {path: path.read_bytes() for path in sources} == sources
    assert len(list(tmp_path.rglob("*.jpg"))) == 3 * len(sources)


def test_a_link_is_not_written_through(tmp_path: Path) -> None:
    (tmp_path / "ada.sameface.jpg").symlink_to(tmp_path / "elsewhere.jpg")
    assert save_drawing(tmp_path, "ada.png", b"picture").name == "ada.sameface-2.jpg"
    assert not (tmp_path / "elsewhere.jpg").exists()


def test_decisions_outlive_a_picture_that_cannot_be_drawn(
    sameface: Run, gallery: str, portraits: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    photo = str(portraits / "barack_obama.jpg")
    assert sameface("enroll", gallery, photo, "--as", "obama").returncode == 0

    def broken(*arguments: object) -> bytes:
        raise Image.DecompressionBombError("too large [/bold]")

    monkeypatch.setattr(draw, "draw_faces", broken)
    for arguments in (["identify", gallery, photo, photo], ["verify", gallery, "obama", photo, photo]):
        result = sameface(*arguments, "--draw", str(tmp_path))
        assert result.returncode == 0
        assert result.stdout.count("MATCH") == 2
        assert result.stderr.count(f"{photo} could not be drawn: DecompressionBombError: too large [/bold]") == 2
    # `detect` decides nothing, so its exit code tells no outcome.
    assert sameface("detect", photo, "--draw", str(tmp_path)).returncode == 3
