"""No file costs much more work than a photo of its size, and the work stops when the caller leaves."""

import io
import struct
import time
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from PIL import Image

from sameface.errors import ImageTooLarge, ImageUndecodable
from sameface.vision import ImageLimits, PhotoWork, WorkStopped, decode_image
from sameface.vision.jpeg import MAX_SCANS, plain_jpeg
from sameface.vision.opening import JPEG_READ_SIZE, READ_SIZE
from tests.vision.hostile import (
    COM,
    DQT,
    DRI,
    EOI,
    SOF0,
    SOS,
    bmp_of_short_runs,
    gif_of_small_blocks,
    jpeg,
    png_of_empty_chunks,
    refinement,
    saved,
    scan,
    segment,
)

LIMITS = ImageLimits()
NOISE = np.random.default_rng(4).integers(0, 256, (400, 500, 3), dtype=np.uint8)


class CountedWork(PhotoWork):
    """Counts the points where the work can be stopped, and stops it at one of them."""

    def __init__(self, last: int | None = None) -> None:
        super().__init__(max_cpu_s=1e6)
        self.checks = 0
        self._last = last

    def check(self) -> None:
        self.checks += 1
        if self.checks == self._last:
            self.stop()
        super().check()


def cpu_s(content: bytes) -> float:
    began = time.thread_time()
    decode_image(content, LIMITS)
    return time.thread_time() - began


def test_thirty_kilobytes_of_empty_scans_are_refused_before_decoding() -> None:
    content = jpeg(4000, 3000, 2999)
    assert len(content) < 33_000
    work = CountedWork()
    with pytest.raises(ImageTooLarge, match="more than 100 scans; at most 100 are allowed") as refused:
        decode_image(content, LIMITS, work)
    assert refused.value.metadata == {"scans": "more than 100", "limit": "100"}
    # Only the first segments were read.
    assert work.checks < MAX_SCANS + 20


def test_a_large_jpeg_may_have_fewer_scans() -> None:
    with pytest.raises(ImageTooLarge, match="4000×3000 pixels has 90 scans; at most 83 are allowed") as refused:
        decode_image(jpeg(4000, 3000, 89), LIMITS)
    assert refused.value.metadata == {
        "scans": "90",
        "width": "4000",
        "height": "3000",
        "limit": "83",
        "setting": "SAMEFACE_IMAGE__MAX_SCAN_PIXELS",
    }


BETWEEN = [b"", segment(COM, b"\xff\xda"), segment(0xE5, bytes(9)), b"\xff" * 7, segment(DRI, b"\0\1")]


@given(
    side=st.integers(1, 3000),
    other=st.integers(1, 3000),
    components=st.sampled_from([1, 3, 4]),
    refinements=st.one_of(st.integers(0, 120), st.just(3000)),
    coded=st.booleans(),
    between=st.sampled_from(BETWEEN),
)
def test_scans_are_counted_and_bounded_however_they_are_written(
    side: int, other: int, components: int, refinements: int, coded: bool, between: bytes
) -> None:
    entropy = refinement(side, other) if coded else b""
    content = jpeg(side, other, refinements, components=components, entropy=entropy, between=between)
    work = CountedWork()
    if refinements + 1 > min(MAX_SCANS, LIMITS.max_scan_pixels // (side * other)):
        with pytest.raises(ImageTooLarge, match="scans"):
            decode_image(content, LIMITS, work)
        return
    assert len(plain_jpeg(content, CountedWork()).scans) == refinements + 1
    if components == 4:
        with pytest.raises(ImageUndecodable, match="four inks without Adobe's marker"):
            decode_image(content, LIMITS, work)
        return
    decoded = decode_image(content, LIMITS, work)
    assert (decoded.original_width, decoded.original_height) == (side, other)
    # The work can be stopped at least once per scan, and not much more often. A photo that ends in grey, as this one,
    # is decoded twice to see whether its last rows are missing.
    assert refinements + 1 <= work.checks <= 2 * (3 * refinements + 100)


@pytest.mark.parametrize(
    "before_a_scan",
    [
        b"",
        b"\xff\xff\xff",
        b"\xff\x00\x12\x34",
        b"\xff\xd0\xff\xd7",
        b"\xff\x01",
        b"\xff\x02\xff\xda\x00",
        segment(COM, b"\xff\xd9"),
        segment(0xE1, b"\xff\xd9" * 20),
        b"\xff\xfe\x00\x00",
        b"\xff\xfe\x00\x01",
    ],
    ids=[
        "nothing",
        "fill bytes",
        "a stuffed byte",
        "restarts",
        "TEM",
        "a reserved marker",
        "an end inside a comment",
        "ends inside metadata",
        "a segment of length 0",
        "a segment of length 1",
    ],
)
def test_no_way_of_writing_hides_a_scan(before_a_scan: bytes) -> None:
    assert len(plain_jpeg(jpeg(64, 64, 40, between=before_a_scan), CountedWork()).scans) >= 41
    with pytest.raises(ImageTooLarge, match="more than 100 scans"):
        decode_image(jpeg(64, 64, 500, between=before_a_scan), LIMITS)


def test_sequential_jpegs_are_bounded_as_well() -> None:
    once = scan([1], b"\x00\x3f\x00")
    frame = segment(SOF0, struct.pack(">BHHB", 8, 64, 64, 3) + b"\x01\x11\x00\x02\x11\x00\x03\x11\x00")
    content = b"\xff\xd8" + segment(DQT, b"\x00" + b"\x01" * 64) + frame + once * 400 + b"\xff\xd9"
    with pytest.raises(ImageTooLarge, match="more than 100 scans"):
        decode_image(content, LIMITS)


def test_the_most_scans_that_are_allowed_cost_a_bounded_multiple_of_a_photo() -> None:
    # The ratio of this thread's processor time for two files of the same size. For refused files it would be 1000.
    side = 2000
    worst = jpeg(side, side, MAX_SCANS - 1, entropy=refinement(side, side))
    photo = saved(Image.fromarray(NOISE).resize((side, side)), "JPEG", progressive=True, subsampling=0)
    assert cpu_s(worst) < 60 * cpu_s(photo)


def test_decoding_of_a_jpeg_ends_within_one_scan() -> None:
    content = jpeg(400, 400, 90, entropy=refinement(400, 400))
    whole = CountedWork()
    decode_image(content, LIMITS, whole)
    for last in range(1, whole.checks):
        work = CountedWork(last)
        with pytest.raises(WorkStopped):
            decode_image(content, LIMITS, work)
        assert work.checks == last
    assert whole.checks > 90


@pytest.mark.parametrize("file_format", ["JPEG", "PNG", "BMP", "GIF"])
def test_decoding_can_be_ended_between_small_pieces_of_the_file(file_format: str) -> None:
    image = Image.fromarray(NOISE).resize((1500, 1200), Image.Resampling.NEAREST)
    content = saved(image.quantize(200) if file_format == "GIF" else image, file_format)
    work = CountedWork()
    decode_image(content, LIMITS, work)
    assert work.checks >= len(content) / (JPEG_READ_SIZE if file_format == "JPEG" else READ_SIZE)
    with pytest.raises(WorkStopped):
        decode_image(content, LIMITS, CountedWork(work.checks // 2))


@pytest.mark.parametrize("file_format", ["WEBP", "TIFF"])
def test_decoding_in_one_piece_is_not_begun_for_nobody(file_format: str) -> None:
    work = PhotoWork(1.0)
    work.stop()
    with pytest.raises(WorkStopped):
        decode_image(saved(Image.fromarray(NOISE), file_format), LIMITS, work)


@pytest.mark.parametrize(
    ("hostile", "count"), [(png_of_empty_chunks, 20_000), (gif_of_small_blocks, 50_000), (bmp_of_short_runs, 50_000)]
)
def test_a_parser_that_is_kept_busy_can_be_ended_all_along(hostile: Callable[[int], bytes], count: int) -> None:
    work = CountedWork(count)
    with pytest.raises(WorkStopped):
        decode_image(hostile(count), LIMITS, work)
    assert work.checks == count


def test_processor_time_is_bounded_with_what_was_used_and_allowed() -> None:
    limits = ImageLimits(max_cpu_s=0.01)
    with pytest.raises(ImageTooLarge, match="processor time") as refused:
        decode_image(png_of_empty_chunks(100_000), limits)
    assert refused.value.metadata["limit"] == "0.01"
    assert 0.0 <= float(refused.value.metadata["cpu_s"]) < 1.0


def test_many_segments_are_refused_and_metadata_is_not_parsed() -> None:
    with pytest.raises(ImageTooLarge, match="more than 2000 segments"):
        decode_image(jpeg(8, 8, 0, metadata=segment(0xE5, b"") * 10_000), LIMITS)
    exif, profile = b"Exif\x00\x00II*\x00\x08\x00\x00\x00\x00\x00", b"ICC_PROFILE\x00\x01\x01"
    metadata = (
        segment(0xE1, exif) * 200 + segment(0xE2, profile + bytes(60_000)) * 50 + segment(COM, bytes(60_000)) * 50
    )
    content = jpeg(8, 8, 0, metadata=metadata)
    plain = plain_jpeg(content, CountedWork())
    assert plain.content == jpeg(8, 8, 0)
    assert plain.exif == exif
    assert decode_image(content, LIMITS).pixels.shape == (8, 8, 3)


def test_what_follows_the_picture_is_left_out() -> None:
    photo = saved(Image.fromarray(NOISE), "JPEG")
    plain = plain_jpeg(photo + b"\xff\xda\x00\x08" * 5000, CountedWork())
    assert plain.content.endswith(bytes([0xFF, EOI]))
    assert len(plain.scans) == photo.count(bytes([0xFF, SOS])) == 1


@given(
    progressive=st.booleans(),
    mode=st.sampled_from(["L", "RGB", "CMYK"]),
    quality=st.integers(1, 100),
    restart=st.sampled_from([0, 1, 7]),
    comment=st.binary(max_size=80),
    changes=st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.integers(0, 255)), max_size=3),
)
def test_leaving_metadata_out_changes_no_pixel(
    progressive: bool, mode: str, quality: int, restart: int, comment: bytes, changes: list[tuple[float, int]]
) -> None:
    photo = bytearray(
        saved(
            Image.fromarray(NOISE[:60, :70]).convert(mode),
            "JPEG",
            progressive=progressive,
            quality=quality,
            restart_marker_blocks=restart,
            comment=comment,
            icc_profile=bytes(300),
        )
    )
    for position, value in changes:
        photo[int(position * len(photo))] = value
    try:
        with Image.open(io.BytesIO(bytes(photo)), formats=["JPEG"]) as image:
            expected = np.asarray(image)
    except Exception:
        assume(False)
    plain = plain_jpeg(bytes(photo), CountedWork()).content
    with Image.open(io.BytesIO(plain), formats=["JPEG"]) as image:
        assert np.array_equal(np.asarray(image), expected)


def test_a_tiff_holds_no_other_format() -> None:
    image = Image.fromarray(NOISE)
    for compression in ("raw", "packbits", "tiff_lzw", "tiff_adobe_deflate", "tiff_deflate"):
        content = saved(image, "TIFF", compression=compression)
        assert np.array_equal(decode_image(content, LIMITS).pixels, NOISE)
    with pytest.raises(ImageUndecodable, match="compression jpeg; expected one of raw, packbits") as refused:
        decode_image(saved(image, "TIFF", compression="jpeg"), LIMITS)
    assert refused.value.metadata == {"format": "TIFF", "compression": "jpeg"}


def test_a_tiff_of_a_million_strips_makes_no_object_of_each() -> None:
    content = bytearray(saved(Image.fromarray(NOISE), "TIFF"))
    with Image.open(io.BytesIO(bytes(content))) as image:
        assert len(image.tile) == 1
        assert image.tile[0].codec_name == "libtiff"
