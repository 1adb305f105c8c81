"""Every kind of file is decoded correctly or refused with a reason, within the limits."""

import io
import struct
import subprocess
import sys
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from sameface.errors import ImageTooLarge, ImageUndecodable
from sameface.vision import ImageLimits, Pixels, decode_image

LIMITS = ImageLimits()
# Red, green, blue and white quarters: every rotation, flip or swap of channels is visible.
QUARTERS = np.zeros((40, 60, 3), np.uint8)
QUARTERS[:20, :30, 0] = QUARTERS[:20, 30:, 1] = QUARTERS[20:, :30, 2] = 255
QUARTERS[20:, 30:] = 255


def encode(image: Image.Image, file_format: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, format=file_format, **options)
    return buffer.getvalue()


def close(actual: Pixels, expected: Pixels, most: int = 12) -> None:
    # Away from the edges of the quarters, where lossy formats have artefacts.
    for rows in (slice(2, 16), slice(24, 38)):
        for columns in (slice(2, 26), slice(34, 58)):
            difference = np.abs(actual[rows, columns].astype(int) - expected[rows, columns].astype(int))
            assert difference.max() <= most


@pytest.mark.parametrize(
    ("file_format", "options"),
    [
        ("JPEG", {"quality": 95}),
        ("JPEG", {"quality": 95, "progressive": True}),
        ("PNG", {}),
        ("WEBP", {"quality": 95}),
        ("WEBP", {"lossless": True}),
        ("BMP", {}),
        ("TIFF", {}),
        ("GIF", {}),
    ],
)
def test_a_supported_format_gives_its_pixels(file_format: str, options: dict[str, Any]) -> None:
    decoded = decode_image(encode(Image.fromarray(QUARTERS), file_format, **options), LIMITS)
    assert (decoded.original_width, decoded.original_height, decoded.scale) == (60, 40, 1.0)
    close(decoded.pixels, QUARTERS, most=40 if file_format == "WEBP" else 12)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_applied(orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    undo = {
        2: Image.Transpose.FLIP_LEFT_RIGHT,
        3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_90,
        7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_270,
    }
    upright = Image.fromarray(QUARTERS)
    stored = upright.transpose(undo[orientation]) if orientation in undo else upright
    decoded = decode_image(encode(stored, "JPEG", quality=95, exif=exif.tobytes()), LIMITS)
    assert (decoded.original_width, decoded.original_height) == (60, 40)
    close(decoded.pixels, QUARTERS)


def test_cmyk_is_converted() -> None:
    decoded = decode_image(encode(Image.fromarray(QUARTERS).convert("CMYK"), "JPEG", quality=95), LIMITS)
    close(decoded.pixels, QUARTERS, most=20)


@pytest.mark.parametrize("file_format", ["PNG", "TIFF"])
def test_sixteen_bits_are_scaled_and_not_cut(file_format: str) -> None:
    ramp = np.linspace(0, 65535, 256).astype(np.uint16).reshape(16, 16)
    decoded = decode_image(encode(Image.fromarray(ramp), file_format), LIMITS)
    expected = (ramp / 257.0).astype(int)
    assert np.abs(decoded.pixels[:, :, 0].astype(int) - expected).max() <= 1
    assert (decoded.pixels[:, :, 0] == decoded.pixels[:, :, 2]).all()


def test_grey_and_one_bit_become_three_channels() -> None:
    grey = Image.fromarray(np.arange(256, dtype=np.uint8).reshape(16, 16))
    assert decode_image(encode(grey, "PNG"), LIMITS).pixels[:, :, 1].tolist() == np.asarray(grey).tolist()
    assert decode_image(encode(grey.convert("1"), "PNG"), LIMITS).pixels.shape == (16, 16, 3)


def test_transparency_lies_over_white() -> None:
    rgba = np.zeros((10, 10, 4), np.uint8)
    rgba[:5] = [255, 0, 0, 255]
    rgba[5:] = [255, 0, 0, 0]
    pixels = decode_image(encode(Image.fromarray(rgba), "PNG"), LIMITS).pixels
    assert pixels[0, 0].tolist() == [255, 0, 0]
    assert pixels[9, 9].tolist() == [255, 255, 255]


@pytest.mark.parametrize("file_format", ["GIF", "WEBP", "PNG"])
def test_of_an_animation_the_first_frame_counts(file_format: str) -> None:
    first, second = Image.fromarray(QUARTERS), Image.fromarray(255 - QUARTERS)
    options = {"lossless": True} if file_format == "WEBP" else {}
    content = encode(first, file_format, save_all=True, append_images=[second], **options)
    close(decode_image(content, LIMITS).pixels, QUARTERS)


def test_a_large_photo_is_reduced_and_its_own_size_kept() -> None:
    rng = np.random.default_rng(2)
    coarse = Image.fromarray(rng.integers(0, 256, (30, 40, 3), dtype=np.uint8))
    phone = coarse.resize((4032, 3024), Image.Resampling.BICUBIC)
    exif = Image.Exif()
    exif[0x0112] = 6
    decoded = decode_image(encode(phone, "JPEG", quality=90, exif=exif.tobytes()), LIMITS)
    assert (decoded.original_width, decoded.original_height) == (3024, 4032)
    assert max(decoded.pixels.shape[:2]) <= LIMITS.max_side
    assert decoded.scale == pytest.approx(decoded.pixels.shape[0] / 4032)
    small = Image.fromarray(decoded.pixels).resize((30, 40), Image.Resampling.BOX)
    expected = phone.transpose(Image.Transpose.ROTATE_270).resize((30, 40), Image.Resampling.BOX)
    assert np.abs(np.asarray(small).astype(int) - np.asarray(expected).astype(int)).mean() < 4


def png_header(width: int, height: int) -> bytes:
    """A PNG whose header has this size, with almost no data."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(bytes(100))) + chunk(b"IEND", b"")
    )


def test_a_header_of_gigapixels_is_refused_before_decoding() -> None:
    with pytest.raises(ImageTooLarge) as refused:
        decode_image(png_header(50_000, 50_000), LIMITS)
    limit = str(LIMITS.max_pixels_whole)
    assert refused.value.metadata == {
        "width": "50000",
        "height": "50000",
        "limit": limit,
        "setting": "SAMEFACE_IMAGE__MAX_PIXELS_WHOLE",
    }


@pytest.mark.parametrize("file_format", ["PNG", "WEBP", "GIF", "BMP", "TIFF"])
def test_what_cannot_be_decoded_at_a_reduced_size_has_a_limit_of_its_own(file_format: str) -> None:
    limits = ImageLimits(max_pixels=10_000, max_pixels_whole=2_000)
    with pytest.raises(ImageTooLarge, match="2400 pixels; at most 2000"):
        decode_image(encode(Image.fromarray(QUARTERS), file_format), limits)
    assert decode_image(encode(Image.fromarray(QUARTERS), "JPEG"), limits).pixels.shape == QUARTERS.shape


def test_the_largest_photo_that_is_allowed_takes_bounded_memory() -> None:
    # In a separate process, because the peak is that of the whole process.
    script = (
        "import io, resource\n"
        "from PIL import Image\n"
        "from sameface.vision import ImageLimits, decode_image\n"
        "buffer = io.BytesIO()\n"
        "Image.new('L', (5000, 5000)).save(buffer, 'WEBP', lossless=True)\n"
        "before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "decode_image(buffer.getvalue(), ImageLimits())\n"
        "print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024)\n"
    )
    result = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert int(result.stdout) < 450


def test_exif_that_cannot_be_read_whole_still_turns_the_photo() -> None:
    stored = Image.fromarray(QUARTERS).transpose(Image.Transpose.ROTATE_90)
    content = encode(stored, "JPEG", quality=95, exif=exif_with_text_resolution())
    close(decode_image(content, LIMITS).pixels, QUARTERS)


def exif_with_text_resolution() -> bytes:
    """Orientation 6 beside an XResolution of type ASCII, which some cameras write."""
    entries = struct.pack("<HHII", 0x0112, 3, 1, 6) + struct.pack("<HHI4s", 0x011A, 2, 4, b"72\x00\x00")
    return b"Exif\x00\x00II*\x00" + struct.pack("<IH", 8, 2) + entries + struct.pack("<I", 0)


def test_a_large_photo_of_sixteen_bits_is_turned_as_well() -> None:
    ramp = np.repeat(np.linspace(0, 65535, 2000).astype(np.uint16)[:, np.newaxis], 40, axis=1)
    exif = Image.Exif()
    exif[0x0112] = 6
    decoded = decode_image(encode(Image.fromarray(ramp), "PNG", exif=exif.tobytes()), LIMITS)
    assert (decoded.original_width, decoded.original_height) == (2000, 40)
    # The first row, which is dark, lies on the right.
    assert decoded.pixels[:, -5:].mean() < 5
    assert decoded.pixels[:, :5].mean() > 250


@pytest.mark.parametrize("size", [(3000, 1), (1, 3000), (1, 1)])
def test_a_line_of_pixels_is_a_picture(size: tuple[int, int]) -> None:
    decoded = decode_image(encode(Image.new("RGB", size, "red"), "JPEG"), LIMITS)
    assert (decoded.original_width, decoded.original_height) == size
    assert decoded.pixels.size


def test_fractions_up_to_one_are_not_black() -> None:
    fractions = Image.fromarray(np.linspace(0, 1, 256, dtype=np.float32).reshape(16, 16))
    assert decode_image(encode(fractions, "TIFF"), LIMITS).pixels.max() == 255


def test_too_many_bytes_are_refused_before_they_are_read() -> None:
    with pytest.raises(ImageTooLarge, match="11 bytes"):
        decode_image(b"not a photo", ImageLimits(max_bytes=10))


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\x00",
        b"not an image",
        b"%PDF-1.7\n",
        b"<svg xmlns='http://www.w3.org/2000/svg'/>",
        b"\xff\xd8\xff\xe0" + bytes(200),
        png_header(100, 100),
        b"II*\x00" + b"\xff" * 60,
    ],
    ids=["empty", "one byte", "text", "pdf", "svg", "jpeg head", "png without pixels", "broken tiff"],
)
def test_what_is_no_whole_image_is_refused(content: bytes) -> None:
    with pytest.raises(ImageUndecodable):
        decode_image(content, LIMITS)


@pytest.mark.parametrize("file_format", ["JPEG", "PNG", "WEBP", "BMP", "TIFF", "GIF"])
def test_a_truncated_file_is_refused(file_format: str) -> None:
    pixels = np.random.default_rng(6).integers(0, 256, (80, 80, 3), dtype=np.uint8)
    content = encode(Image.fromarray(pixels), file_format)
    for share in (0.02, 0.3, 0.6, 0.9):
        with pytest.raises(ImageUndecodable):
            decode_image(content[: int(len(content) * share)], LIMITS)


def test_the_name_of_a_format_does_not_matter_its_bytes_do(tmp_path: Path) -> None:
    path = tmp_path / "photo.png"
    path.write_bytes(encode(Image.fromarray(QUARTERS), "JPEG", quality=95))
    close(decode_image(path.read_bytes(), LIMITS).pixels, QUARTERS)


@settings(deadline=None, max_examples=150)
@given(
    file_format=st.sampled_from(["JPEG", "PNG", "WEBP", "BMP", "TIFF", "GIF"]),
    seed=st.integers(0, 2**16),
    changes=st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.integers(0, 255)), min_size=1, max_size=12),
)
def test_a_damaged_file_decodes_within_bounds_or_is_refused(
    file_format: str, seed: int, changes: list[tuple[float, int]]
) -> None:
    pixels = np.random.default_rng(seed).integers(0, 256, (24, 24, 3), dtype=np.uint8)
    content = bytearray(encode(Image.fromarray(pixels), file_format))
    for position, value in changes:
        content[int(position * len(content))] = value
    try:
        decoded = decode_image(bytes(content), LIMITS)
    except (ImageUndecodable, ImageTooLarge):
        return
    assert decoded.pixels.dtype == np.uint8
    assert decoded.pixels.ndim == 3
    assert decoded.pixels.shape[2] == 3
    assert max(decoded.pixels.shape) <= LIMITS.max_side


@settings(deadline=None, max_examples=200)
@given(st.binary(max_size=400))
def test_random_bytes_are_refused(content: bytes) -> None:
    with pytest.raises((ImageUndecodable, ImageTooLarge)):
        decode_image(content, LIMITS)
