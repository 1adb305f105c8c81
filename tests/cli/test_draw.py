"""Drawings of faces and outcomes; they overwrite no file and lose no decision."""

import shutil
from pathlib import Path

import pytest
from PIL import Image

from sameface.cli import draw
from sameface.cli.draw import save_drawing
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
