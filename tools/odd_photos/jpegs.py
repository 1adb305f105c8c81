"""JPEG files."""

from collections.abc import Iterator

from tests.vision.writers import segment, with_segments
from tools.odd_photos.portrait import GREY, GREY_PLAIN, NEGATIVE, PLAIN, READ, Entry, jpeg, saved


def jpegs() -> Iterator[Entry]:
    """JPEG: kinds of coding, metadata, and ends."""
    plain, progressive = jpeg(), jpeg(progressive=True)
    yield "baseline.jpg", READ, plain
    yield "progressive.jpg", READ, progressive
    yield "grey.jpg", GREY, jpeg(GREY_PLAIN)
    yield "restarts.jpg", READ, jpeg(restart_marker_blocks=3)
    yield "mpo.jpg", READ, saved(PLAIN, "MPO", save_all=True, append_images=[NEGATIVE], quality=95, subsampling=0)
    yield "many-segments.jpg", READ, with_segments(plain, *(segment(0xE0 + n % 16, bytes(20)) for n in range(900)))
    yield "fill-bytes.jpg", READ, plain[:2] + b"\xff" * 40 + plain[2:]
    yield "after-the-end.jpg", READ, plain + plain[:2000]
    yield "no-end.jpg", READ, plain[:-2]
    yield "half-an-end.jpg", READ, plain[:-1]
    yield "zeros-for-an-end.jpg", READ, plain[:-2] + bytes(500)
    yield "no-end-progressive.jpg", READ, progressive[:-2]
    yield "truncated.jpg", "last rows", plain[: len(plain) * 7 // 10]
    yield "truncated-with-end.jpg", "last rows", plain[: len(plain) * 7 // 10] + b"\xff\xd9"
    yield "truncated-progressive.jpg", "last rows", progressive[: len(progressive) // 2]
    yield "truncated-progressive-with-end.jpg", "last rows", progressive[: len(progressive) // 2] + b"\xff\xd9"
    inks = PLAIN.convert("CMYK")
    yield "cmyk.jpg", READ, jpeg(inks)
    marker = jpeg(inks).find(b"\xff\xee")
    yield "cmyk-without-adobe.jpg", "four inks", jpeg(inks)[:marker] + jpeg(inks)[marker + 16 :]
    for name, code in (("lossless", 0xC3), ("arithmetic", 0xC9), ("hierarchical", 0xC5)):
        kind = "arithmetic-coded" if code == 0xC9 else name
        yield f"{name}.jpg", f"{kind} JPEG", plain.replace(b"\xff\xc0", bytes([0xFF, code]), 1)
    frame = plain.find(b"\xff\xc0")
    yield "12-bit.jpg", "12-bit JPEG", plain[: frame + 4] + b"\x0c" + plain[frame + 5 :]
    yield "after-a-header.jpg", "JPEG after 17 other bytes", b"\x00\x10 IMAGE HEADER \x00" + plain
