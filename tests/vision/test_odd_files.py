"""Every kind of file gives the pixels and the embedding of the plain photo, or is refused by its name."""

import csv
import struct
from typing import Any

import numpy as np
import pytest
from PIL import Image

from sameface.errors import ImageTooLarge, ImageUndecodable
from sameface.inference.onnx import open_session
from sameface.settings import model_repository_source
from sameface.vision import ImageLimits, align, decode_faces, decode_image, detector_input
from tests.vision.hostile import saved
from tests.vision.odd import FOLDER, GREY, LIMITS, PLAIN, close
from tests.vision.writers import in_space, with_chunks

with (FOLDER / "expected.tsv").open(newline="") as listed:
    EXPECTED = {row["file"]: row["outcome"] for row in csv.DictReader(listed, delimiter="\t")}
READ = {name: outcome for name, outcome in EXPECTED.items() if outcome.startswith("read")}
REFUSED = {name: outcome for name, outcome in EXPECTED.items() if name not in READ}


def test_the_table_names_every_file() -> None:
    assert {path.name for path in FOLDER.iterdir()} - {"README.md", "expected.tsv"} == set(EXPECTED)
    assert len(READ) > 80
    assert len(REFUSED) > 60


@pytest.fixture(scope="module")
def cosines(detector: Any) -> dict[str, float]:
    """Cosine of every file that is read to the plain photo, in grey where the file is grey. The crop is the same."""
    tensor, scale = detector_input(PLAIN, 640)
    (raw,) = detector.run(None, {"images": tensor})
    (face,) = decode_faces(raw[0], (tensor.shape[3], tensor.shape[2]), scale)
    photos = {"read": PLAIN, "read as grey": np.repeat(GREY[:, :, np.newaxis], 3, axis=2)}
    photos |= {name: decode_image((FOLDER / name).read_bytes(), LIMITS).pixels for name in READ}
    crops = np.stack([align(pixels, face.landmarks).transpose(2, 0, 1) for pixels in photos.values()])
    embedder = open_session(model_repository_source() / "face_embedder" / "1" / "model.onnx", threads=1)
    # Most files give the same pixels, so most crops are there several times.
    different, places = np.unique(crops.reshape(len(crops), -1), axis=0, return_inverse=True)
    (embeddings,) = embedder.run(None, {"images": different.reshape(-1, 3, 112, 112)})
    vectors = dict(zip(photos, embeddings[places.ravel()], strict=True))
    return {name: float(vectors[name] @ vectors[outcome]) for name, outcome in READ.items()}


@pytest.mark.parametrize("name", READ)
def test_a_file_that_is_read_gives_the_embedding_of_the_plain_photo(name: str, cosines: dict[str, float]) -> None:
    assert cosines[name] >= 0.95


@pytest.mark.parametrize("name", REFUSED)
def test_a_file_that_is_refused_is_named_and_says_what_to_send(name: str) -> None:
    with pytest.raises(ImageUndecodable) as refused:
        decode_image((FOLDER / name).read_bytes(), LIMITS)
    assert REFUSED[name] in refused.value.message
    assert "JPEG or PNG" in refused.value.message or "send the complete file" in refused.value.message
    assert refused.value.metadata["format"] in refused.value.message


# The last bytes of each format that hold no pixels.
ENDS = {"baseline.jpg": 2, "progressive.jpg": 2, "restarts.jpg": 2, "plain.png": 16, "plain.gif": 2}


@pytest.mark.parametrize("name", ENDS)
def test_a_file_without_its_end_is_read_while_every_row_is_there(name: str) -> None:
    content = (FOLDER / name).read_bytes()
    whole = decode_image(content, LIMITS).pixels
    for missing in range(1, ENDS[name] + 1):
        close(content[:-missing], whole, 0.0)


@pytest.mark.parametrize(
    "name", ["baseline.jpg", "progressive.jpg", "restarts.jpg", "plain.png", "plain.gif", "lossy.webp", "24.bmp",
             "rgb-strips.tiff", "plain.avif", "plain.heic", "mpo.jpg"]
)  # fmt: skip
@pytest.mark.parametrize("end", [b"", b"\xff\xd9"])
def test_a_file_without_its_last_rows_is_refused(name: str, end: bytes) -> None:
    content = (FOLDER / name).read_bytes()
    # The first of the two photos of an MPO fills about half of it.
    most = 45 if name == "mpo.jpg" else 90
    for share in range(10, most, 10):
        # Before the last scan of a progressive JPEG with an end, only finer detail is missing.
        if name == "progressive.jpg" and end and share > 60:
            continue
        with pytest.raises(ImageUndecodable):
            decode_image(content[: len(content) * share // 100] + end, LIMITS)


def test_a_photo_that_ends_in_grey_is_whole() -> None:
    pixels = PLAIN.copy()
    pixels[-40:] = 128
    for options in ({}, {"progressive": True}, {"restart_marker_blocks": 2}):
        content = saved(Image.fromarray(pixels), "JPEG", quality=95, **options)
        close(content, pixels, 3.0)
        close(content[:-2], pixels, 3.0)


def test_each_limit_names_the_setting_that_raises_it() -> None:
    plain = (FOLDER / "baseline.jpg").read_bytes()
    for limits, content, setting in (
        (ImageLimits(max_bytes=100), plain, "MAX_BYTES"),
        (ImageLimits(max_pixels=100), plain, "MAX_PIXELS"),
        (ImageLimits(max_scan_pixels=20_000), (FOLDER / "progressive.jpg").read_bytes(), "MAX_SCAN_PIXELS"),
        (ImageLimits(max_cpu_s=1e-9), plain, "MAX_CPU_S"),
        *(
            (ImageLimits(max_pixels_whole=100), (FOLDER / name).read_bytes(), "MAX_PIXELS_WHOLE")
            for name in ("plain.png", "rgb.tiff", "lossy.webp", "alpha.webp", "plain.gif", "24.bmp", "plain.avif",
                         "plain.heic")
        ),
    ):  # fmt: skip
        with pytest.raises(ImageTooLarge) as refused:
            decode_image(content, limits)
        assert refused.value.metadata["setting"] == f"SAMEFACE_IMAGE__{setting}"
        assert refused.value.metadata["setting"] in refused.value.message
        assert "limit" in refused.value.metadata


def test_heif_of_too_many_items_or_pixels_is_refused_before_decoding() -> None:
    for name in ("plain.heic", "plain.avif"):
        content = bytearray((FOLDER / name).read_bytes())
        place = content.index(b"ispe")
        content[place + 8 : place + 16] = struct.pack(">II", 60_000, 60_000)
        with pytest.raises(ImageTooLarge, match="60000×60000"):
            decode_image(bytes(content), LIMITS)
        content = bytearray((FOLDER / name).read_bytes())
        place = content.index(b"iinf")
        content[place + 8 : place + 10] = struct.pack(">H", 60_000)
        with pytest.raises(ImageTooLarge, match="60000 items"):
            decode_image(bytes(content), LIMITS)


def test_an_av1_picture_larger_than_its_item_says_is_refused_before_decoding() -> None:
    """The size that the container states is patched to a small one."""
    for options in ({}, {"subsampling": "4:0:0"}, {"autotiling": False}):
        content = bytearray(saved(Image.new("RGB", (700, 600), "red"), "AVIF", speed=10, **options))
        assert decode_image(bytes(content), ImageLimits(max_pixels_whole=420_000)).pixels.shape == (600, 700, 3)
        place = content.index(b"ispe")
        content[place + 8 : place + 16] = struct.pack(">II", 10, 10)
        with pytest.raises(ImageTooLarge, match="700×600"):
            decode_image(bytes(content), ImageLimits(max_pixels_whole=400_000))


def test_hdr_light_of_any_peak_gives_the_photo() -> None:
    """White of 100 to 1000 cd/m² in PQ is white."""
    linear = in_space(PLAIN, "rec2020") ** 2.4
    for white in (100, 203, 500, 1000):
        power = (linear * white / 10_000) ** 0.1593017578125
        stored = ((0.8359375 + 18.8515625 * power) / (1 + 18.6875 * power)) ** 78.84375
        content = saved(Image.fromarray((stored * 255 + 0.5).astype(np.uint8)), "PNG")
        close(with_chunks(content, (b"cICP", bytes([9, 16, 0, 1]))), PLAIN, 3.0)


def test_transparent_heic_outlives_its_file() -> None:
    contents = [(FOLDER / name).read_bytes() for name in ("alpha.heic", "plain.heic")]
    decoded = [decode_image(content, ImageLimits(max_side=112)).pixels for content in contents * 5]
    assert max(np.abs(pixels.astype(int) - decoded[1]).mean() for pixels in decoded) < 3
