"""The log has nothing of a photo, at no level."""

import contextlib
import io
import logging
from collections.abc import Iterator

import pytest
from PIL import Image, PngImagePlugin

from sameface.errors import ImageUndecodable
from sameface.logs import OWN, Level, log_to_stderr
from sameface.vision import ImageLimits
from sameface.vision.decode import decode_image

TEXT = "Ward 7, bed 2"


@pytest.fixture
def root() -> Iterator[logging.Logger]:
    """The root logger, set up again after the test."""
    logger = logging.getLogger()
    before, level = logger.handlers[:], logger.level
    yield logger
    logger.handlers[:] = before
    for name, number in (("", level), *((own, logging.NOTSET) for own in OWN)):
        logging.getLogger(name).setLevel(number)


def photo(name: str, *, cut: bool = False) -> bytes:
    """A photo with a text in its metadata."""
    buffer, exif, texts = io.BytesIO(), Image.Exif(), PngImagePlugin.PngInfo()
    exif[0x010E] = exif[0x013B] = TEXT
    texts.add_text("Comment", TEXT)
    more = {"pnginfo": texts} if name == "PNG" else {}
    Image.new("RGB", (200, 200), "white").save(buffer, name, exif=exif, **more)
    content = buffer.getvalue()
    return content[: len(content) // 2] if cut else content


@pytest.mark.parametrize("level", ["debug", "info", "warning", "error"])
def test_texts_of_a_photo_are_not_logged(
    level: Level, root: logging.Logger, capsys: pytest.CaptureFixture[str]
) -> None:
    log_to_stderr(level)
    for name in ("TIFF", "JPEG", "PNG", "WEBP"):
        for cut in (False, True):
            with contextlib.suppress(ImageUndecodable):
                decode_image(photo(name, cut=cut), ImageLimits())
    logging.getLogger("sameface.test").error("of our own")
    said = capsys.readouterr().err
    assert "of our own" in said
    assert TEXT not in said


def test_the_test_would_notice(
    root: logging.Logger, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sameface.logs.MOST_LINES", 1000)
    log_to_stderr("debug")
    root.setLevel(logging.DEBUG)
    Image.open(io.BytesIO(photo("TIFF"))).load()
    assert TEXT in capsys.readouterr().err


@pytest.mark.parametrize(("level", "own", "others"), [("debug", True, False), ("info", False, False)])
def test_debug_is_for_the_own_modules(
    level: Level, own: bool, others: bool, root: logging.Logger, capsys: pytest.CaptureFixture[str]
) -> None:
    log_to_stderr(level)
    for name in ("sameface.x", "sameface_qdrant.y", "library"):
        logging.getLogger(name).debug("%s says", name)
    said = capsys.readouterr().err
    assert ("sameface.x says" in said) is ("sameface_qdrant.y says" in said) is own
    assert ("library says" in said) is others
