"""Every kind of file gives the pixels and the embedding of the plain photo, or is refused by its name."""

import csv
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from sameface.errors import ImageTooLarge, ImageUndecodable
from sameface.inference.onnx import open_session
from sameface.settings import model_repository_source
from sameface.vision import FORMATS, ImageLimits, align, decode_faces, decode_image, detector_input
from sameface.vision.formats import name_of_format
from tests.vision.hostile import saved
from tests.vision.writers import exif, in_space, profile, segment, tiff, with_chunks, with_segments, xmp

LIMITS = ImageLimits()
FOLDER = Path(__file__).resolve().parents[1] / "data" / "odd"
with (FOLDER / "expected.tsv").open(newline="") as listed:
    EXPECTED = {row["file"]: row["outcome"] for row in csv.DictReader(listed, delimiter="\t")}
READ = {name: outcome for name, outcome in EXPECTED.items() if outcome.startswith("read")}
REFUSED = {name: outcome for name, outcome in EXPECTED.items() if name not in READ}
PLAIN = np.asarray(Image.open(FOLDER / "plain.png").convert("RGB"))
GREY = np.asarray(Image.fromarray(PLAIN).convert("L"))


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


def close(content: bytes, expected: NDArray[np.generic], most: float) -> None:
    """The file has these pixels, with a mean difference of at most ``most``."""
    actual = decode_image(content, LIMITS).pixels
    wanted = expected if expected.ndim == 3 else np.repeat(expected[:, :, np.newaxis], 3, axis=2)
    assert actual.shape == wanted.shape
    assert np.abs(actual.astype(float) - wanted.astype(float)).mean() <= most


LOSSLESS: dict[str, dict[str, Any]] = {
    "PNG": {}, "TIFF": {"compression": "tiff_lzw"}, "WEBP": {"lossless": True, "exact": True}, "BMP": {}, "GIF": {},
}  # fmt: skip
LOSSY: dict[str, dict[str, Any]] = {
    "JPEG": {"quality": 95}, "MPO": {"quality": 95}, "AVIF": {"quality": 95, "speed": 10}, "WEBP": {"quality": 95},
}  # fmt: skip
UNDO = {1: None, 2: 0, 3: 3, 4: 1, 5: 5, 6: 2, 7: 6, 8: 4}


def photo(seed: int, side: int) -> Image.Image:
    """A smooth picture with noise, in which every turn and every swap of channels is visible."""
    rng = np.random.default_rng(seed)
    coarse = Image.fromarray(rng.integers(20, 236, (4, 5, 3), dtype=np.uint8))
    return coarse.resize((side, side * 4 // 5), Image.Resampling.BICUBIC)


@settings(max_examples=120)
@given(
    file_format=st.sampled_from(sorted({*LOSSLESS, *LOSSY})),
    mode=st.sampled_from(["RGB", "RGBA", "L", "LA", "CMYK", "YCbCr", "P", "PA", "I;16"]),
    place=st.sampled_from([*UNDO, 0, 9, 99]),
    space=st.sampled_from([None, "display-p3", "adobe-rgb", "linear", "channels-swapped"]),
    seed=st.integers(0, 999),
    side=st.integers(50, 120),
    lossy=st.booleans(),
)
def test_any_mode_in_any_format_with_any_metadata_gives_its_pixels(
    file_format: str, mode: str, place: int, space: str | None, seed: int, side: int, lossy: bool
) -> None:
    upright = photo(seed, side)
    if mode in ("P", "PA"):
        upright = upright.quantize(256).convert("RGB")
    pixels = np.asarray(upright)
    options = dict(LOSSY.get(file_format, {}) if lossy or file_format not in LOSSLESS else LOSSLESS[file_format])
    most = 5.0 if file_format in LOSSY else 0.6
    grey = mode in ("L", "LA", "I;16")
    if space and not grey and mode in ("RGB", "RGBA") and file_format in ("JPEG", "PNG", "WEBP", "TIFF", "AVIF"):
        upright = Image.fromarray((in_space(pixels, space) * 255 + 0.5).astype(np.uint8))
        options["icc_profile"] = profile(space)
        # Eight bits of light are few for the dark parts.
        most += 2.5 if space == "linear" else 0.5
    if file_format in ("JPEG", "PNG", "WEBP", "TIFF", "AVIF", "MPO"):
        lying = upright if UNDO.get(place) is None else upright.transpose(UNDO[place])  # type: ignore[arg-type]
        options["exif"] = exif(place) if file_format not in ("JPEG", "MPO") else b"Exif\0\0" + exif(place)
    else:
        lying = upright
    if mode in ("P", "PA"):
        stored = lying.quantize(256).convert(mode)
        most += 1.0
    elif mode == "I;16":
        stored = Image.fromarray(np.asarray(lying.convert("L")).astype(np.uint16) * 257)
    else:
        stored = lying.convert(mode)
    if file_format == "GIF":
        most += 10.0
    if mode == "YCbCr":
        most += 1.0
    try:
        content = saved(stored, file_format, **options)
    except (OSError, ValueError, KeyError, RuntimeError):
        # Pillow does not write this mode in this format.
        return
    if mode == "I;16" and file_format not in ("PNG", "TIFF"):
        # Pillow writes white.
        return
    close(content, np.asarray(Image.fromarray(pixels).convert("L")) if grey else pixels, most)


LAYOUTS: dict[str, tuple[int, Callable[[NDArray[Any]], NDArray[Any]]]] = {
    "rgb": (2, lambda grey: np.dstack([grey, grey, grey])),
    "rgb 16": (2, lambda grey: np.dstack([grey, grey, grey]).astype(np.uint16) * 257),
    "grey": (1, lambda grey: grey),
    "white is 0": (0, lambda grey: 255 - grey),
    "10 in 16": (1, lambda grey: (grey.astype(np.uint32) * 1023 // 255).astype(np.uint16)),
    "12 in 16": (1, lambda grey: (grey.astype(np.uint32) * 4095 // 255).astype(np.uint16)),
    "16": (1, lambda grey: grey.astype(np.uint16) * 257),
    "32": (1, lambda grey: grey.astype(np.uint32) * 257),
    "signed": (1, lambda grey: grey.astype(np.int16) * 128),
    "float to 1": (1, lambda grey: (grey / 255).astype(np.float32)),
    "float to 255": (1, lambda grey: grey.astype(np.float32)),
    "float to 65535": (1, lambda grey: (grey * 257.0).astype(np.float32)),
    "inks": (5, lambda grey: np.dstack([255 - grey, 255 - grey, 255 - grey, grey * 0])),
    "extra": (2, lambda grey: np.dstack([grey, grey, grey, grey * 0 + 7])),
    "double": (1, lambda grey: grey / 255),
    "float rgb": (2, lambda grey: (np.dstack([grey, grey, grey]) / 255).astype(np.float32)),
    "small signed": (1, lambda grey: (grey.astype(np.int16) - 128).astype(np.int8)),
    "five samples of 16": (2, lambda grey: np.dstack([grey] * 5).astype(np.uint16) * 257),
}


@settings(max_examples=60)
@given(
    most=st.floats(-6, 31).map(lambda power: float(np.float32(2.0**power))),
    kind=st.sampled_from(["float", "32 bits", "16 bits"]),
)
def test_grey_with_more_than_8_bits_is_bright_enough_or_refused(most: float, kind: str) -> None:
    """Nothing is decoded as black because its range was guessed too large."""
    grey = photo(5, 60).convert("L")
    values = np.asarray(grey) / np.asarray(grey).max() * most
    if kind == "16 bits":
        values = values.clip(0, 65535)
    stored = values.astype({"float": np.float32, "32 bits": np.int32, "16 bits": np.uint16}[kind])
    try:
        actual = decode_image(saved(Image.fromarray(stored), "PNG" if kind == "16 bits" else "TIFF"), LIMITS).pixels
    except ImageUndecodable as refused:
        assert "so it is unclear what white is; expected 0 to" in refused.message  # noqa: PT017
        assert "send an 8-bit sRGB JPEG or PNG" in refused.message  # noqa: PT017
        return
    assert actual.max() >= 255 // 8


@pytest.mark.parametrize("most", [0.05, 1.2, 31.0, 300.0, 1023.0, 4095.0, 8000.0, 80_000.0, 1e9])
def test_floats_whose_range_nothing_tells_are_refused_with_their_values(most: float) -> None:
    values = (np.asarray(photo(5, 60).convert("L")) / 255 * most).astype(np.float32)
    values[0, 0] = most
    with pytest.raises(
        ImageUndecodable, match=r"the TIFF image has values from .*; expected 0 to 1, 255 or 65535; send"
    ):
        decode_image(saved(Image.fromarray(values), "TIFF"), LIMITS)


@pytest.mark.parametrize("most", [100_000, 2**24])
def test_integers_far_below_31_bits_are_refused(most: int) -> None:
    values = (np.asarray(photo(5, 60).convert("L")) / 255 * most).astype(np.int32)
    with pytest.raises(ImageUndecodable, match="so it is unclear what white is"):
        decode_image(saved(Image.fromarray(values), "TIFF"), LIMITS)


@settings(max_examples=120)
@given(
    layout=st.sampled_from(sorted(LAYOUTS)),
    order=st.sampled_from("<>"),
    big=st.booleans(),
    deflate=st.booleans(),
    planar=st.booleans(),
    tile=st.sampled_from([None, (16, 32), (64, 16)]),
    rows=st.integers(1, 60),
    place=st.sampled_from(sorted(UNDO)),
)
def test_any_layout_of_a_tiff_gives_its_pixels_or_is_refused(
    layout: str, order: str, big: bool, deflate: bool, planar: bool, tile: tuple[int, int] | None, rows: int, place: int
) -> None:
    grey = np.asarray(photo(5, 60).convert("L"))
    # White and black are there, as in most photos.
    grey = ((grey - float(grey.min())) * 255 / float(np.ptp(grey))).astype(np.uint8)
    photometric, make = LAYOUTS[layout]
    turn = UNDO[place]
    lying = grey if turn is None else np.asarray(Image.fromarray(grey).transpose(turn))  # type: ignore[arg-type]
    samples = make(lying)
    samples = samples if samples.ndim == 3 else samples[:, :, np.newaxis]
    content = tiff(
        samples, photometric, order=order, big=big, deflate=deflate, planar=planar, tile=tile, rows=rows,
        tags={274: (3, [place])},
    )  # fmt: skip
    try:
        actual = decode_image(content, LIMITS).pixels
    except ImageUndecodable as refused:
        swapped = order == ">" and (big or layout in ("32", "signed") or "float" in layout)
        assert layout in ("double", "float rgb", "small signed", "five samples of 16") or swapped
        assert refused.message.startswith(("the TIFF image", "the photo's format, big-endian BigTIFF"))  # noqa: PT017
        return
    assert np.abs(actual.astype(float) - grey[:, :, np.newaxis]).mean() < 2.0


@pytest.mark.parametrize("megabytes", [0.5, 2, 5])
@pytest.mark.parametrize("kind", [b"tEXt", b"iTXt", b"eXIf", b"iCCP", b"prVt"])
def test_large_metadata_of_a_png_is_no_obstacle(kind: bytes, megabytes: float) -> None:
    content = b"Comment\0\0" + bytes(int(megabytes * (1 << 20)))
    close(with_chunks(saved(Image.fromarray(PLAIN), "PNG"), (kind, content)), PLAIN, 0.0)


@pytest.mark.parametrize("marker", [0xE0, 0xE1, 0xE2, 0xED, 0xEE, 0xEF, 0xFE])
def test_large_metadata_of_a_jpeg_is_no_obstacle(marker: int) -> None:
    plain = (FOLDER / "baseline.jpg").read_bytes()
    content = with_segments(plain, *(segment(marker, bytes(60_000)) for _ in range(150)))
    close(content, decode_image(plain, LIMITS).pixels, 0.0)


def test_a_profile_of_three_megabytes_is_used_and_one_of_six_left_out() -> None:
    swapped = Image.fromarray((in_space(PLAIN, "channels-swapped") * 255 + 0.5).astype(np.uint8))
    for file_format, options in (("PNG", {}), ("WEBP", {"lossless": True}), ("TIFF", {}), ("JPEG", {"quality": 95})):
        large = profile("channels-swapped", padding=3_000_000)
        close(saved(swapped, file_format, icc_profile=large, **options), PLAIN, 3.0)
        larger = profile("channels-swapped", padding=6_000_000)
        close(saved(swapped, file_format, icc_profile=larger, **options), np.asarray(swapped), 3.0)


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


@pytest.mark.parametrize("place", range(1, 9))
@pytest.mark.parametrize("file_format", ["JPEG", "PNG", "WEBP"])
def test_orientation_of_xmp_counts_where_exif_says_nothing(file_format: str, place: int) -> None:
    turn = UNDO[place]
    image = Image.fromarray(PLAIN)
    content = saved(image if turn is None else image.transpose(turn), file_format, quality=95, **(  # type: ignore[arg-type]
        {} if file_format == "PNG" else {"xmp": xmp(place)}
    ))  # fmt: skip
    if file_format == "PNG":
        content = with_chunks(content, (b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + xmp(place)))
    close(content, PLAIN, 5.0)


@given(st.binary(max_size=80), st.sampled_from([b"II*\0\x08\0\0\0", b"MM\0*\0\0\0\x08", b""]))
def test_no_exif_is_an_obstacle(tail: bytes, head: bytes) -> None:
    image = Image.fromarray(PLAIN[::8, ::8])
    decoded = decode_image(saved(image, "JPEG", exif=b"Exif\0\0" + head + tail), LIMITS)
    assert sorted(decoded.pixels.shape[:2]) == sorted(PLAIN[::8, ::8].shape[:2])


def test_of_an_extreme_aspect_a_line_is_left() -> None:
    for size in ((1, 20_000), (20_000, 1), (7, 20_000)):
        for file_format in ("JPEG", "PNG", "TIFF"):
            decoded = decode_image(saved(Image.new("RGB", size, "red"), file_format), LIMITS)
            assert (decoded.original_width, decoded.original_height) == size
            assert max(decoded.pixels.shape) == LIMITS.max_side
            assert decoded.scale == pytest.approx(0.08)


@pytest.mark.parametrize("mode", ["RGB", "P", "I;16", "F", "CMYK", "LA"])
def test_a_reduced_photo_keeps_its_aspect_and_looks_the_same(mode: str) -> None:
    pixels = np.asarray(photo(8, 1000))
    grey = np.asarray(Image.fromarray(pixels).convert("L"))
    if mode == "I;16":
        stored = Image.fromarray(grey.astype(np.uint16) * 257)
    elif mode == "F":
        stored = Image.fromarray((grey / 255).astype(np.float32))
    else:
        stored = Image.fromarray(pixels).quantize(256) if mode == "P" else Image.fromarray(pixels).convert(mode)
    decoded = decode_image(saved(stored, "TIFF"), ImageLimits(max_side=250))
    assert decoded.pixels.shape == (200, 250, 3)
    small = np.asarray(Image.fromarray(pixels).resize((250, 200), Image.Resampling.BOX)).astype(float)
    if mode in ("I;16", "F", "LA"):
        small = np.asarray(Image.fromarray(grey).resize((250, 200), Image.Resampling.BOX))[:, :, np.newaxis].astype(
            float
        )
    assert np.abs(decoded.pixels - small).mean() < 4


def ftyp(*brands: bytes) -> bytes:
    return struct.pack(">I4s4sI", 16 + 4 * len(brands[1:]), b"ftyp", brands[0], 0) + b"".join(brands[1:]) + bytes(8)


@pytest.mark.parametrize(
    ("content", "name"),
    [
        (ftyp(b"heic", b"mif1"), "HEIC"),
        (ftyp(b"mif1", b"heic"), "HEIC"),
        (ftyp(b"mif1", b"avif"), "AVIF"),
        (ftyp(b"avis"), "AVIF"),
        (ftyp(b"msf1", b"hevc"), "HEIC"),
        (ftyp(b"isom", b"iso2", b"avc1"), "MP4 video"),
        (ftyp(b"M4V "), "MP4 video"),
        (ftyp(b"qt  "), "QuickTime video"),
        (ftyp(b"crx ", b"isom"), "Canon CR3 raw"),
        (b"RIFF\x10\0\0\0AVI ", "AVI video"),
        (b"  \n<html>", "HTML page"),
        (b"\xef\xbb\xbf{\"a\": 1}", "JSON text"),
        (b"[1, 2]", "JSON text"),
        (b"iVBORw0KGgoAAAANSUhEUgAAAAEAAAAB", "PNG as base64 text"),
        (b"/9j/4AAQSkZJRgABAQAAAQABAAD/2wBD", "JPEG as base64 text"),
        (b"data:image/png;base64,iVBOR", "data URI (text)"),
        (b"http://example.com/a.jpg", "URL (text)"),
        (bytes(64), "unknown"),
        (b"", "unknown"),
    ],
)  # fmt: skip
def test_a_format_is_known_by_its_first_bytes(content: bytes, name: str) -> None:
    assert name_of_format(content) == name


@given(st.binary(max_size=300), st.sampled_from([b"", b"II*\0", b"\0\0\0\x20ftyp", b"<", b"data:", b"A" * 20, b"RIFF"]))
def test_every_file_has_a_name_that_quotes_nothing_of_it(content: bytes, head: bytes) -> None:
    name = name_of_format(head + content)
    assert name
    assert len(name) < 60
    if name not in FORMATS and head + content:
        with pytest.raises(ImageUndecodable) as refused:
            decode_image(head + content, LIMITS)
        assert refused.value.metadata == {"format": name}


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


@settings(max_examples=120)
@given(
    name=st.sampled_from(
        ["plain.heic", "alpha.heic", "plain.avif", "alpha.avif", "exif-3.jpg", "rgb.tiff", "alpha.webp"]
    ),
    changes=st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.integers(0, 255)), min_size=1, max_size=8),
    early=st.booleans(),
)
def test_a_damaged_file_stays_within_bounds(name: str, changes: list[tuple[float, int]], early: bool) -> None:
    content = bytearray((FOLDER / name).read_bytes())
    for position, value in changes:
        content[int(position * (500 if early else len(content)))] = value
    try:
        decoded = decode_image(bytes(content), LIMITS)
    except (ImageUndecodable, ImageTooLarge) as refused:
        assert len(refused.message) < 600  # noqa: PT017
        return
    assert max(decoded.pixels.shape) <= LIMITS.max_side


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
