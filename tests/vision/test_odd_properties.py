"""Any mode, layout and metadata of a photo gives its pixels."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from sameface.errors import ImageTooLarge, ImageUndecodable
from sameface.vision import ImageLimits, decode_image
from tests.vision.hostile import saved
from tests.vision.odd import FOLDER, LIMITS, PLAIN, UNDO, close, photo
from tests.vision.writers import exif, in_space, profile, segment, tiff, with_chunks, with_segments, xmp

LOSSLESS: dict[str, dict[str, Any]] = {
    "PNG": {}, "TIFF": {"compression": "tiff_lzw"}, "WEBP": {"lossless": True, "exact": True}, "BMP": {}, "GIF": {},
}  # fmt: skip
LOSSY: dict[str, dict[str, Any]] = {
    "JPEG": {"quality": 95}, "MPO": {"quality": 95}, "AVIF": {"quality": 95, "speed": 10}, "WEBP": {"quality": 95},
}  # fmt: skip


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
