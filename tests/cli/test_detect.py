"""`sameface detect` shows bona fide scores where the service examined the faces, and no column for them elsewhere."""

import contextlib
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image

from sameface.inference.embedders import VERSIONS_SETTING
from sameface.launcher import Service, served
from tests.cli.conftest import Run, lines
from tests.toy_pad import tinted, with_toy_pad


@pytest.fixture(scope="module")
def with_pad(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    folder = tmp_path_factory.mktemp("pad")
    repository, _ = with_toy_pad(folder)
    with contextlib.ExitStack() as stack:
        # The settings are of this service alone.
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("SAMEFACE_MODEL_REPOSITORY", str(repository))
            patch.setenv("SAMEFACE_EMBEDDER_VERSION", "1")
            patch.setenv(VERSIONS_SETTING, "[1]")
            service = served(folder / "data", folder / "serve.log", ["--inference", "onnx"])
            started = stack.enter_context(service)
        yield started


@pytest.fixture
def shots(tmp_path: Path, portraits: Path) -> Path:
    """A broken file and a photo without a face, then a bona fide photo and an attack, as the toy model sees them."""
    folder = tmp_path / "shots"
    folder.mkdir()
    (folder / "1.jpg").write_bytes(b"\xff\xd8\xff")
    Image.linear_gradient("L").save(folder / "2.png")
    (folder / "3.png").write_bytes(tinted(portraits / "barack_obama.jpg", 50))
    (folder / "4.png").write_bytes(tinted(portraits / "barack_obama.jpg", -50))
    return folder


def test_bona_fide_scores_are_shown_where_faces_were_examined(sameface: Run, with_pad: Service, shots: Path) -> None:
    printed = sameface("detect", str(shots), "--json", "--address", with_pad.address)
    scores = [face["presentation_attack_detection"] for one in lines(printed.stdout) for face in one.get("faces", ())]
    assert [one["model_version"] for one in scores] == [1, 1]
    assert scores[0]["score"] > 0.5 > scores[1]["score"]
    assert not any("threshold" in one for one in scores)
    result = sameface("detect", str(shots), "--address", with_pad.address)
    assert (result.returncode, printed.returncode) == (3, 3)
    heading, broken, empty, *faces = result.stdout.splitlines()
    place = heading.index("bona fide score")
    assert heading.index("yaw, pitch, roll") < place < heading.index("quality")
    assert "IMAGE_UNDECODABLE" in broken
    assert "no face" in empty
    for row, one in zip(faces, scores, strict=True):
        assert row[place : place + 16].strip() == f"{one['score']:.3f}"


@pytest.mark.parametrize("shown", [("1.jpg", "2.png", "3.png"), ("1.jpg", "2.png")])
def test_without_the_model_there_is_no_column(
    sameface: Run, service: Service, shots: Path, shown: tuple[str, ...]
) -> None:
    for name in {path.name for path in shots.iterdir()} - set(shown):
        (shots / name).unlink()
    result = sameface("detect", str(shots), "--address", service.address)
    heading, *rows = result.stdout.splitlines()
    assert len(rows) == len(shown)
    assert "yaw, pitch, roll" in heading
    assert "bona fide" not in heading
    printed = lines(sameface("detect", str(shots), "--json", "--address", service.address).stdout)
    assert not any("presentation_attack_detection" in face for one in printed for face in one.get("faces", ()))
