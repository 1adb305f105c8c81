"""Writes tests/data/odd: one small portrait as every kind of image file, and the table of what must become of each.

python -m tools.odd_photos

HEIC files need pillow-heif, which brings an encoder under the GPL and is therefore no dependency of this project. Where
it is not installed, the committed HEIC files stay as they are.
"""

import base64
import io
import struct
import sys
import zlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image, ImageChops, ImageCms, PngImagePlugin

from tests.vision import writers
from tests.vision.writers import exif, in_space, light, profile, segment, tiff, with_chunks, with_segments, xmp

ROOT = Path(__file__).resolve().parents[1]
FOLDER = ROOT / "tests" / "data" / "odd"
PORTRAIT = ROOT / "tests" / "data" / "portraits" / "barack_obama.jpg"
FACE, SIDE = (130, 70, 540, 510), 120

READ, GREY = "read", "read as grey"
"""The file gives the embedding of ``plain.png``, or of the same in grey."""

with Image.open(PORTRAIT) as opened:
    PLAIN = opened.convert("RGB").crop(FACE)
PLAIN.thumbnail((SIDE, SIDE), Image.Resampling.LANCZOS)
PIXELS = np.asarray(PLAIN)
SMALL = PIXELS[::3, ::3]
GREY_PLAIN = PLAIN.convert("L")
GREYS = np.asarray(GREY_PLAIN)[:, :, np.newaxis]
NEGATIVE = ImageChops.invert(PLAIN)
UNDO = {2: 0, 3: 3, 4: 1, 5: 5, 6: 2, 7: 6, 8: 4}

Entry = tuple[str, str, bytes]
"""Name of the file, what becomes of it, and its content. A refusal is a part of the message."""


def saved(image: Image.Image, file_format: str, **options: object) -> bytes:
    """An image as a file."""
    buffer = io.BytesIO()
    image.save(buffer, file_format, **options)
    return buffer.getvalue()


def jpeg(image: Image.Image = PLAIN, **options: object) -> bytes:
    """A JPEG that loses little."""
    return saved(image, "JPEG", **{"quality": 95, "subsampling": 0, **options})


def eight(values: np.ndarray) -> Image.Image:
    """An image of fractions."""
    return Image.fromarray((values * 255 + 0.5).astype(np.uint8))


def main() -> None:
    """Write the files and the table."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    table = ["file\toutcome"]
    for group in (jpegs, pngs, tiffs, others, colours, orientations, heics, cameras, no_photos):
        for name, outcome, content in group():
            if content:
                (FOLDER / name).write_bytes(content)
            if (FOLDER / name).exists():
                table.append(f"{name}\t{outcome}")
    (FOLDER / "expected.tsv").write_text("\n".join(table) + "\n")
    files = [path for path in FOLDER.iterdir() if path.name not in ("README.md", "expected.tsv")]
    print(f"{len(files)} files, {sum(path.stat().st_size for path in files)} bytes in {FOLDER.relative_to(ROOT)}")


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


def pngs() -> Iterator[Entry]:
    """PNG: depths, palettes, transparency, metadata, and ends."""
    plain = saved(PLAIN, "PNG", optimize=True)
    alpha = np.full(GREYS.shape, 255, np.uint8)
    yield "plain.png", READ, plain
    yield "rgb-16.png", READ, writers.png(PIXELS.astype(np.uint16) * 257, 16, 2)
    yield "rgb-12-in-16.png", "no value above", writers.png(SMALL.astype(np.uint16) * 16, 16, 2)
    for bits in (8, 10, 12, 14, 16):
        deep = (GREYS.astype(np.uint32) * ((1 << bits) - 1) // 255).astype(np.uint16)
        yield f"grey-{bits}-in-16.png", GREY, writers.png(deep, 16, 0)
    for bits in (1, 2, 4):
        coarse = (GREYS.astype(np.uint16) * ((1 << bits) - 1) + 127) // 255
        yield f"grey-{bits}.png", "greys, too few", writers.png(coarse.astype(np.uint8), bits, 0)
    yield "grey-alpha.png", GREY, writers.png(np.dstack([GREYS, alpha]), 8, 4)
    yield "alpha-all-zero.png", READ, writers.png(np.dstack([PIXELS, alpha * 0]), 8, 6)
    yield "palette-256.png", READ, saved(PLAIN.quantize(256), "PNG")
    yield "palette-16.png", "colours, too few", saved(PLAIN.quantize(16), "PNG")
    yield "palette-alpha.png", READ, saved(PLAIN.quantize(255), "PNG", transparency=255)
    yield "animated.png", READ, saved(PLAIN, "PNG", save_all=True, append_images=[NEGATIVE.resize((40, 40))])
    long = PngImagePlugin.PngInfo()
    long.add_text("Comment", "A photo. " * 1_000_000, zip=True)
    yield "text-of-9-mb.png", READ, saved(PLAIN, "PNG", pnginfo=long)
    wide = eight(in_space(PIXELS, "display-p3"))
    large = zlib.compress(profile("display-p3", padding=3_000_000), 9)
    yield "profile-of-3-mb.png", READ, with_chunks(saved(wide, "PNG"), (b"iCCP", b"wide\0\0" + large))
    yield "no-end.png", READ, plain[:-12]
    yield "no-checksum.png", READ, plain[:-14]
    yield "truncated.png", "truncated", plain[: len(plain) * 7 // 10]
    yield "apple.png", "Apple CgBI PNG", plain[:8] + writers.chunk(b"CgBI", b"\x50\0\x20\x06") + plain[8:]
    yield "as-text.png", "damaged by a transfer as text", plain.replace(b"\r\n", b"\n")


def tiffs() -> Iterator[Entry]:
    """TIFF: numbers, photometric interpretations, and arrangements."""
    deep = PIXELS.astype(np.uint16) * 257
    grey = GREYS / 255
    yield "rgb.tiff", READ, tiff(PIXELS, 2)
    yield "rgb-big-endian.tiff", READ, tiff(PIXELS, 2, order=">")
    yield "rgb-16-big-endian.tiff", READ, tiff(deep, 2, order=">")
    yield "rgb-12-in-16.tiff", "no value above", tiff(SMALL.astype(np.uint16) * 16, 2)
    yield "rgb-16-planar.tiff", READ, tiff(deep, 2, planar=True)
    yield "rgb-tiled.tiff", READ, tiff(PIXELS, 2, tile=(48, 64))
    yield "rgb-strips.tiff", READ, tiff(PIXELS, 2, rows=5)
    yield "rgb-bigtiff.tiff", READ, tiff(PIXELS, 2, big=True)
    yield "rgb-bigtiff-big-endian.tiff", "big-endian BigTIFF", tiff(SMALL, 2, big=True, order=">")
    yield "rgb-float.tiff", "pixels that are not read", tiff((SMALL / 255).astype(np.float32), 2)
    yield "min-is-white.tiff", GREY, tiff(255 - GREYS, 0)
    yield "min-is-white-16.tiff", "white as 0", tiff(65535 - GREYS.astype(np.uint16) * 257, 0)
    for bits in (10, 12, 16):
        values = (GREYS.astype(np.uint32) * ((1 << bits) - 1) // 255).astype(np.uint16)
        yield f"grey-{bits}-in-16.tiff", GREY, tiff(values, 1)
    yield "signed-16.tiff", GREY, tiff(GREYS.astype(np.int16) * 128, 1)
    yield "signed-16-negative.tiff", "values from -", tiff((GREYS.astype(np.int32) * 257 - 32768).astype(np.int16), 1)
    yield "signed-8.tiff", "pixels that are not read", tiff((GREYS.astype(np.int16) - 128).astype(np.int8), 1)
    yield "unsigned-32.tiff", GREY, tiff(GREYS.astype(np.uint32), 1)
    yield "unsigned-32-full.tiff", "values from -", tiff(GREYS.astype(np.uint32) * 16843009, 1)
    for name, top in (("1", 1), ("255", 255), ("65535", 65535)):
        yield f"float-to-{name}.tiff", GREY, tiff((grey * top).astype(np.float32), 1)
    yield "float-hdr.tiff", "values from 0", tiff((grey * 8).astype(np.float32), 1)
    yield "float-big-endian.tiff", "float, big-endian", tiff((grey * 255).astype(np.float32)[::3, ::3], 1, order=">")
    yield "float-nan.tiff", "not finite", tiff(np.where(grey > 0.99, np.nan, grey).astype(np.float32), 1)
    yield "float-signed.tiff", "values from -", tiff((grey * 2 - 1).astype(np.float32), 1)
    yield "float-64.tiff", "pixels that are not read", tiff(grey, 1)
    yield "cmyk.tiff", READ, tiff(np.asarray(PLAIN.convert("CMYK")), 5)
    yield "ycbcr.tiff", READ, tiff(np.asarray(PLAIN.convert("YCbCr")), 6, deflate=False, tags={530: (3, [1, 1])})
    spaces = ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB")
    lab = ImageCms.profileToProfile(PLAIN, *spaces, outputMode="LAB")
    yield "lab.tiff", READ, saved(lab, "TIFF", compression="tiff_adobe_deflate")
    yield "extra-sample.tiff", READ, tiff(np.dstack([PIXELS, GREYS]), 2)
    yield "transparent.tiff", "transparent everywhere", tiff(np.zeros((64, 64, 4), np.uint8), 2, tags={338: (3, [1])})
    pages = saved(PLAIN, "TIFF", save_all=True, append_images=[NEGATIVE.resize((40, 40))], compression="tiff_lzw")
    yield "two-pages.tiff", READ, pages
    yield "thumbnail-first.tiff", "begins with a thumbnail", tiff(SMALL, 2, tags={254: (4, [1])})
    yield "jpeg.tiff", "compression jpeg", saved(PLAIN, "TIFF", compression="jpeg")
    yield "bilevel.tiff", "greys, too few", saved(PLAIN.convert("1"), "TIFF")
    yield "fax.tiff", "compression group4", saved(PLAIN.convert("1"), "TIFF", compression="group4")
    yield "truncated.tiff", "truncated", tiff(PIXELS[:40], 2, deflate=False, rows=8)[:9_000]


def others() -> Iterator[Entry]:
    """BMP, GIF, WebP and AVIF."""
    bmp = saved(PLAIN, "BMP")
    yield "24.bmp", READ, bmp
    yield "32-without-alpha.bmp", READ, bitmap(32)
    yield "16.bmp", READ, bitmap(16)
    yield "top-down.bmp", READ, bitmap(24)
    yield "truncated.bmp", "truncated", bmp[: len(bmp) // 2]
    yield "plain.gif", READ, saved(PLAIN.quantize(256), "GIF")
    yield "transparent.gif", READ, saved(PLAIN.quantize(255), "GIF", transparency=255)
    animation = [NEGATIVE.resize(PLAIN.size).quantize(4)]
    animated = saved(PLAIN.quantize(256), "GIF", save_all=True, append_images=animation)
    yield "animated.gif", READ, animated
    yield "no-trailer.gif", READ, saved(PLAIN.quantize(256), "GIF")[:-1]
    yield "16-colours.gif", "colours, too few", saved(PLAIN.quantize(16), "GIF")
    lossy = saved(PLAIN, "WEBP", quality=95)
    yield "lossy.webp", READ, lossy
    yield "lossless.webp", READ, saved(PLAIN, "WEBP", lossless=True)
    yield "alpha.webp", READ, saved(PLAIN.convert("RGBA"), "WEBP", lossless=True)
    yield "animated.webp", READ, saved(PLAIN, "WEBP", quality=95, save_all=True, append_images=[NEGATIVE])
    yield "truncated.webp", "truncated", lossy[: len(lossy) * 7 // 10]
    yield "plain.avif", READ, saved(PLAIN, "AVIF", quality=95)
    yield "alpha.avif", READ, saved(PLAIN.convert("RGBA"), "AVIF", quality=95)
    yield "animated.avif", READ, saved(PLAIN, "AVIF", quality=95, save_all=True, append_images=[NEGATIVE])
    yield "truncated.avif", "truncated", saved(PLAIN, "AVIF", quality=95)[:3000]


def bitmap(bits: int) -> bytes:
    """A BMP with its rows from top to bottom, of 16 (5 for each colour), 24 or 32 bits (the last 8 unused)."""
    height, width, _ = PIXELS.shape
    if bits == 16:
        five = PIXELS.astype(np.uint16) >> 3
        rows = (five[:, :, 0] << 10 | five[:, :, 1] << 5 | five[:, :, 2]).astype("<u2")
    else:
        rows = PIXELS[:, :, ::-1]
        if bits == 32:
            rows = np.dstack([rows, np.zeros_like(GREYS)])
    each = [row.tobytes() for row in rows]
    body = b"".join(row + bytes(-len(row) % 4) for row in each)
    head = struct.pack("<IiiHHIIiiII", 40, width, -height, 1, bits, 0, len(body), 2835, 2835, 0, 0)
    return b"BM" + struct.pack("<IHHI", 54 + len(body), 0, 0, 54) + head + body


def colours() -> Iterator[Entry]:
    """Colour spaces, by profile and by name."""
    for space in ("display-p3", "adobe-rgb", "prophoto", "rec2020", "linear", "channels-swapped"):
        wide = eight(in_space(PIXELS, space))
        yield f"{space}.jpg", READ, jpeg(wide, icc_profile=profile(space))
        if space in ("prophoto", "channels-swapped"):
            yield f"{space}.png", READ, saved(wide, "PNG", icc_profile=profile(space))
            yield f"{space}.webp", READ, saved(wide, "WEBP", lossless=True, icc_profile=profile(space))
            yield f"{space}.tiff", READ, saved(wide, "TIFF", compression="tiff_lzw", icc_profile=profile(space))
            yield f"{space}.avif", READ, saved(wide, "AVIF", quality=95, icc_profile=profile(space))
    dark = eight(light(GREYS[:, :, 0]))
    yield "grey-linear.png", GREY, saved(dark, "PNG", icc_profile=profile("linear", grey=True))
    yield "grey-profile-on-rgb.png", READ, saved(PLAIN, "PNG", icc_profile=profile("linear", grey=True))
    yield "broken-profile.png", READ, saved(PLAIN, "PNG", icc_profile=profile("rec2020")[:200])
    yield "no-profile.jpg", READ, jpeg(icc_profile=b"not a profile " * 20)
    plain = saved(PLAIN, "PNG")
    for gamma in (0.3, 1.0):
        stored = saved(eight(light(PIXELS) ** gamma), "PNG")
        yield f"gamma-{gamma}.png", READ, with_chunks(stored, (b"gAMA", struct.pack(">I", round(gamma * 100_000))))
    yield "gamma-0.png", READ, with_chunks(plain, (b"gAMA", bytes(4)))
    root = with_chunks(saved(eight(in_space(PIXELS, "rec2020") ** (2.4 * 0.45455)), "PNG"), *named_by_points("rec2020"))
    yield "chromaticities.png", READ, root
    for name, code in (("pq", 16), ("hlg", 18), ("linear", 8)):
        values = transferred(in_space(PIXELS, "rec2020") ** 2.4, code)
        yield f"cicp-{name}.png", READ, with_chunks(saved(eight(values), "PNG"), (b"cICP", bytes([9, code, 0, 1])))
    inks = np.dstack([np.full(PIXELS.shape, 90, np.uint8), 255 - GREYS])
    yield "press-without-profile.tiff", "four inks of a press", tiff(inks, 5)


def named_by_points(space: str) -> tuple[tuple[bytes, bytes], tuple[bytes, bytes]]:
    """The chunks gAMA and cHRM."""
    points = b"".join(struct.pack(">II", round(x * 100_000), round(y * 100_000)) for x, y in writers.SPACES[space][0])
    return (b"gAMA", struct.pack(">I", 45455)), (b"cHRM", points)


def transferred(linear: np.ndarray, code: int) -> np.ndarray:
    """Light as ITU-T H.273 stores it: linear, PQ with white at 203 cd/m², HLG with white at 75 % of the signal."""
    if code == 16:
        power = (linear * 203 / 10_000) ** 0.1593017578125
        return ((0.8359375 + 18.8515625 * power) / (1 + 18.6875 * power)) ** 78.84375
    if code == 18:
        scene = linear ** (1 / 1.2) * 0.265
        above = 0.17883277 * np.log(np.maximum(12 * scene - 0.28466892, 1e-9)) + 0.55991073
        return np.where(scene <= 1 / 12, np.sqrt(3 * scene), above)
    return linear


def orientations() -> Iterator[Entry]:
    """Orientation tags, valid and not."""
    for place in (3, 6):
        lying = PLAIN.transpose(UNDO[place])
        yield f"exif-{place}.jpg", READ, jpeg(lying, exif=b"Exif\0\0" + exif(place, order=">"))
        yield f"exif-{place}.png", READ, saved(lying, "PNG", exif=exif(place))
        yield f"exif-{place}.webp", READ, saved(lying, "WEBP", quality=95, exif=exif(place))
        yield f"exif-{place}.avif", READ, saved(lying, "AVIF", quality=95, exif=exif(place))
        yield f"tag-{place}.tiff", READ, tiff(np.asarray(lying), 2, tags={274: (3, [place])})
    lying = PLAIN.transpose(UNDO[6])
    yield "xmp-6.jpg", READ, jpeg(lying, xmp=xmp(6))
    yield "xmp-6.webp", READ, saved(lying, "WEBP", quality=95, xmp=xmp(6))
    text = PngImagePlugin.PngInfo()
    text.add_itxt("XML:com.adobe.xmp", xmp(6).decode())
    yield "xmp-6.png", READ, saved(lying, "PNG", pnginfo=text)
    yield "exif-6-xmp-3.jpg", READ, jpeg(lying, exif=b"Exif\0\0" + exif(6), xmp=xmp(3))
    yield "exif-6-as-long.jpg", READ, jpeg(lying, exif=b"Exif\0\0" + exif(6, kind=4))
    for place in (0, 9, 65535):
        yield f"exif-{place}.jpg", READ, jpeg(exif=b"Exif\0\0" + exif(place))
    yield "exif-cut.jpg", READ, jpeg(exif=b"Exif\0\0" + exif(6)[:12])
    yield "exif-far.jpg", READ, jpeg(exif=b"Exif\0\0II*\0\xff\xff\xff\x7f")


def heics() -> Iterator[Entry]:
    """HEIC, where its encoder is installed; else names alone, for the table."""
    try:
        import pillow_heif
    except ImportError:
        print("pillow-heif is not installed: the HEIC files stay as they are", file=sys.stderr)
        pillow_heif = None

    def made(image: Image.Image, **options: object) -> bytes:
        return saved(image, "HEIF", **{"quality": 95, **options}) if pillow_heif else b""

    whole = b""
    if pillow_heif:
        pillow_heif.register_heif_opener()
        whole = made(PLAIN)
    deep = io.BytesIO()
    if pillow_heif:
        samples = (PIXELS.astype(np.uint16) * 257).tobytes()
        pillow_heif.from_bytes("RGB;16", PLAIN.size, samples).save(deep, quality=95)
    wide = eight(in_space(PIXELS, "channels-swapped"))
    bright = eight(transferred(in_space(PIXELS, "rec2020") ** 2.4, 16))
    names = {"color_primaries": 9, "transfer_characteristics": 16, "matrix_coefficients": 9, "full_range_flag": 1}
    yield "plain.heic", READ, whole
    yield "grey.heic", GREY, made(GREY_PLAIN)
    yield "alpha.heic", READ, made(PLAIN.convert("RGBA"))
    yield "10-bit.heic", READ, deep.getvalue()
    yield "second-is-primary.heic", READ, made(NEGATIVE, save_all=True, append_images=[PLAIN], primary_index=1)
    yield "turned.heic", READ, made(PLAIN.transpose(UNDO[6]), exif=exif(6))
    yield "profile.heic", READ, made(wide, icc_profile=profile("channels-swapped"))
    yield "pq.heic", READ, made(bright, **names)
    yield "truncated.heic", "truncated", whole[: len(whole) * 7 // 10]


def cameras() -> Iterator[Entry]:
    """Heads of cameras' raw files, most with a small preview first, as cameras write them."""

    def preview(**tags: tuple[int, object]) -> bytes:
        return tiff(SMALL, 2, tags={254: (4, [1]), **{int(name[1:]): value for name, value in tags.items()}})

    yield "camera.dng", "DNG raw", preview(_50706=(1, [1, 4, 0, 0]), _330=(4, [8]))
    yield "camera.nef", "NIKON raw", preview(_271=(2, b"NIKON CORPORATION\0"), _330=(4, [8]))
    yield "camera.arw", "SONY raw", preview(_271=(2, b"SONY\0"), _330=(4, [8]))
    yield "camera.pef", "PENTAX raw", tiff(GREYS, 32803, tags={271: (2, b"PENTAX\0")})
    yield "camera.cr2", "Canon CR2 raw", b"II*\0\x10\0\0\0CR\x02\0" + bytes(100) + jpeg()[:4000]
    yield "camera.cr3", "Canon CR3 raw", b"\0\0\0\x18ftypcrx \0\0\0\x01crx isom" + bytes(100)
    yield "camera.raf", "Fujifilm RAF raw", b"FUJIFILMCCD-RAW 0201" + bytes(100) + jpeg()[:4000]
    yield "camera.orf", "Olympus ORF raw", b"IIRO\x08\0\0\0" + bytes(100)
    yield "camera.rw2", "Panasonic RW2 raw", b"IIU\0\x18\0\0\0" + bytes(100)


def no_photos() -> Iterator[Entry]:
    """Other images, videos, documents and texts."""
    yield "image.jp2", "JPEG 2000", saved(PLAIN.resize((40, 40)), "JPEG2000")
    yield "image.jxl", "JPEG XL", b"\0\0\0\x0cJXL \r\n\x87\n" + bytes(40)
    yield "image.jxr", "JPEG XR", b"II\xbc\x01\x20\0\0\0" + bytes(40)
    yield "image.ico", "ICO icon", saved(PLAIN.resize((32, 32)), "ICO")
    yield "image.psd", "Photoshop document", b"8BPS\0\x01" + bytes(40)
    yield "image.ppm", "PNM", saved(PLAIN.resize((20, 20)), "PPM")
    yield "image.tga", "TGA", saved(PLAIN.resize((20, 20)), "TGA")
    yield "image.qoi", "QOI", saved(PLAIN.resize((20, 20)), "QOI")
    yield "drawing.svg", "SVG drawing", b'<?xml version="1.0"?>\n<svg xmlns="http://www.w3.org/2000/svg"/>'
    yield "document.pdf", "PDF document", b"%PDF-1.7\n%\xe2\xe3\xcf\xd3\n"
    yield "video.mp4", "MP4 video", b"\0\0\0\x18ftypisom\0\0\x02\0isomiso2" + bytes(40)
    yield "video.mov", "QuickTime video", b"\0\0\0\x14ftypqt  \0\0\x02\0qt  " + bytes(40)
    yield "video.webm", "Matroska or WebM video", b"\x1a\x45\xdf\xa3" + bytes(40)
    yield "archive.zip", "ZIP archive", b"PK\x03\x04" + bytes(40)
    text = base64.b64encode(jpeg())
    yield "base64.txt", "JPEG as base64 text", text[:3000]
    yield "data-uri.txt", "data URI", b"data:image/jpeg;base64," + text[:3000]
    yield "address.txt", "URL", b"https://example.com/photo.jpg\n"
    yield "page.html", "HTML page", b"<!DOCTYPE html>\n<html><head><title>404 Not Found</title></head></html>"
    yield "answer.json", "JSON text", b'{"error": {"code": 403, "message": "Forbidden"}}'
    yield "note.txt", "text", "Ein Foto wäre schöner.\n".encode()


if __name__ == "__main__":
    main()
