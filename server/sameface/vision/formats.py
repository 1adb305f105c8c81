"""Tells a file's format by its first bytes, so that a photo that is refused can be named."""

import base64
import binascii
import re

from sameface.errors import ImageUndecodable

FORMATS = ("JPEG", "PNG", "WebP", "BMP", "GIF", "TIFF", "HEIC", "AVIF")
"""What `sameface.vision.decode_image` reads."""
INSTEAD = "send an 8-bit sRGB JPEG or PNG"
UNKNOWN = "unknown"

_LOOKED_AT = 1024
# Offset, signature, name. The first that fits counts.
_SIGNATURES = (
    (0, b"\xff\xd8\xff\xf7", "JPEG-LS"),
    (0, b"\xff\xd8\xff", "JPEG"),
    (0, b"\x89PNG\r\n\x1a\n\x00\x00\x00\x04CgBI", "Apple CgBI PNG"),
    (0, b"\x89PNG\r\n\x1a\n", "PNG"),
    (0, b"\x89PNG", "PNG damaged by a transfer as text"),
    (0, b"\x8bJNG\r\n\x1a\n", "JNG"),
    (0, b"\x8aMNG\r\n\x1a\n", "MNG"),
    (0, b"GIF87a", "GIF"),
    (0, b"GIF89a", "GIF"),
    (0, b"BM", "BMP"),
    (8, b"CR\x02\x00", "Canon CR2 raw"),
    (0, b"II\x1a\x00\x00\x00HEAPCCDR", "Canon CRW raw"),
    (0, b"IIRO", "Olympus ORF raw"),
    (0, b"IIRS", "Olympus ORF raw"),
    (0, b"MMOR", "Olympus ORF raw"),
    (0, b"IIU\x00", "Panasonic RW2 raw"),
    (0, b"FUJIFILMCCD-RAW", "Fujifilm RAF raw"),
    (0, b"FOVb", "Sigma X3F raw"),
    (0, b"\x00MRM", "Minolta MRW raw"),
    (0, b"II\xbc\x01", "JPEG XR"),
    (0, b"II*\x00", "TIFF"),
    (0, b"MM\x00*", "TIFF"),
    (0, b"II+\x00", "TIFF"),
    (0, b"MM\x00+", "TIFF"),
    (0, b"\x00\x00\x00\x0cjP  \r\n\x87\n", "JPEG 2000"),
    (0, b"\xff\x4f\xff\x51", "JPEG 2000 codestream"),
    (0, b"\x00\x00\x00\x0cJXL \r\n\x87\n", "JPEG XL"),
    (0, b"\xff\x0a", "JPEG XL codestream"),
    (0, b"8BPS", "Photoshop document (PSD)"),
    (0, b"8BIM", "Photoshop resources"),
    (0, b"\x00\x00\x01\x00", "ICO icon"),
    (0, b"\x00\x00\x02\x00\x01\x00", "CUR cursor"),
    (0, b"\x00\x00\x02\x00\x00\x00\x00", "TGA"),
    (0, b"\x00\x00\x03\x00\x00\x00\x00", "TGA"),
    (0, b"\x00\x00\x0a\x00\x00\x00\x00", "TGA"),
    (0, b"icns", "ICNS icon"),
    (0, b"\x76\x2f\x31\x01", "OpenEXR"),
    (0, b"#?RADIANCE", "Radiance HDR"),
    (0, b"#?RGBE", "Radiance HDR"),
    (0, b"DDS ", "DDS texture"),
    (0, b"\xabKTX", "KTX texture"),
    (0, b"qoif", "QOI"),
    (0, b"farbfeld", "farbfeld"),
    (0, b"FLIF", "FLIF"),
    (0, b"BPG\xfb", "BPG"),
    (0, b"\x0a\x05\x01", "PCX"),
    (0, b"\x01\xda", "SGI"),
    (0, b"\x59\xa6\x6a\x95", "Sun raster"),
    (0, b"gimp xcf", "GIMP document (XCF)"),
    (0, b"SIMPLE  =", "FITS"),
    (128, b"DICM", "DICOM"),
    (0, b"\x93NUMPY", "NumPy array"),
    (0, b"PK\x03\x04", "ZIP archive or office document"),
    (0, b"\x1f\x8b", "gzip archive"),
    (0, b"7z\xbc\xaf\x27\x1c", "7-Zip archive"),
    (0, b"Rar!", "RAR archive"),
    (0, b"\xd0\xcf\x11\xe0", "older office document"),
    (0, b"\x1a\x45\xdf\xa3", "Matroska or WebM video"),
    (0, b"OggS", "Ogg audio or video"),
    (0, b"\x00\x00\x01\xba", "MPEG video"),
    (0, b"\x00\x00\x01\xb3", "MPEG video"),
    (0, b"FLV\x01", "Flash video"),
    (0, b"0&\xb2u\x8ef\xcf\x11", "Windows Media video"),
    (0, b"ID3", "MP3 audio"),
    (0, b"\xd7\xcd\xc6\x9a", "Windows metafile (WMF)"),
    (40, b" EMF", "Windows metafile (EMF)"),
    (4, b"moov", "QuickTime video"),
    (4, b"mdat", "QuickTime video"),
    (4, b"wide", "QuickTime video"),
)
# What follows "RIFF" and a size.
_RIFF = {b"WEBP": "WebP", b"AVI ": "AVI video", b"WAVE": "WAV audio"}
# The first that is among the brands of an ISO base media file (ISO/IEC 14496-12) counts.
_BRANDS = (
    (b"crx ", "Canon CR3 raw"),
    (b"avif avis", "AVIF"),
    (b"heic heix heim heis hevc hevx hevm hevs mif1 msf1 mif2", "HEIC"),
    (b"jxl ", "JPEG XL"),
    (b"jp2 jpx jpm mjp2", "JPEG 2000"),
    (b"qt  ", "QuickTime video"),
    (b"3gp4 3gp5 3gp6 3g2a", "3GP video"),
    (b"M4A ", "M4A audio"),
)
_TEXTS = (
    (re.compile(rb"data:image/[\w.+-]+;base64,"), "data URI (text)"),
    (re.compile(rb"data:"), "data URI (text)"),
    (re.compile(rb"(?i)(https?|ftp|file|s3|gs)://"), "URL (text)"),
    (re.compile(rb"%PDF-"), "PDF document"),
    (re.compile(rb"%!PS"), "PostScript document"),
    (
        re.compile(rb"(?i)(<\?xml[^>]*>\s*)?(<!--.{0,400}?-->\s*)?(<!doctype svg[^>]*>\s*)?<svg", re.DOTALL),
        "SVG drawing",
    ),
    (re.compile(rb"(?i)(<!--.{0,400}?-->\s*)?<(!doctype html|html|head|body)", re.DOTALL), "HTML page"),
    (re.compile(rb"<\?xml|<[A-Za-z]"), "XML document"),
    (re.compile(rb"[{\[]\s*[\"{\[\]}0-9]"), "JSON text"),
    (re.compile(rb"P[1-7]\s"), "PNM"),
    (re.compile(rb"P[fF]\s"), "PFM"),
    (re.compile(rb"/\* XPM|#define "), "XPM or XBM"),
)
_BASE64 = re.compile(rb"[A-Za-z0-9+/_-]{16,}={0,2}")


def name_of_format(content: bytes) -> str:
    """Return the name of a file's format: one of `FORMATS`, another format's name, or `UNKNOWN`.

    Reads the first 1024 bytes alone.

    >>> name_of_format(b"GIF89a")
    'GIF'
    >>> name_of_format(b"%PDF-1.7")
    'PDF document'
    """
    head = content[:_LOOKED_AT]
    if head[4:8] == b"ftyp":
        return _name_of_brands(head)
    if head[:4] == b"RIFF":
        return _RIFF.get(head[8:12], "RIFF file")
    for offset, signature, name in _SIGNATURES:
        if head.startswith(signature, offset):
            return name
    return _name_of_text(head)


def refused(name: str, why: str, **metadata: object) -> ImageUndecodable:
    """Return the error for a photo of the format ``name``. It says what to send instead."""
    return ImageUndecodable(f"the {name} image {why}; {INSTEAD}", metadata={"format": name, **metadata})


def not_read(name: str) -> ImageUndecodable:
    """Return the error for a photo of a format that is not among `FORMATS`."""
    return ImageUndecodable(
        f"the photo's format, {name}, is not read; expected {', '.join(FORMATS)}; {INSTEAD}", metadata={"format": name}
    )


def _name_of_brands(head: bytes) -> str:
    size = int.from_bytes(head[:4], "big")
    major, others = head[8:12], head[16 : max(16, min(size, len(head)))]
    for brand in (major, *(others[at : at + 4] for at in range(0, len(others), 4))):
        for brands, name in _BRANDS:
            if len(brand) == 4 and brand in (brands[at : at + 4] for at in range(0, len(brands), 5)):
                # A container of any codec says which one among its other brands.
                if brand in (b"mif1", b"msf1", b"mif2") and b"avif" in others:
                    return "AVIF"
                return name
    return "MP4 video"


def _name_of_text(head: bytes) -> str:
    text = head.removeprefix(b"\xef\xbb\xbf").lstrip()
    for pattern, name in _TEXTS:
        if pattern.match(text):
            return name
    line = b"".join(text[:512].split())
    if _BASE64.fullmatch(line):
        inner = _name_of_base64(line)
        return f"{inner} as base64 text" if inner else "base64 text"
    if len(text) >= 1 and all(byte >= 32 or byte in b"\t\n\r\x1b" for byte in text) and _is_utf8(text):
        return "text"
    start = head.find(b"\xff\xd8\xff")
    return f"JPEG after {start} other bytes" if start > 0 else UNKNOWN


def _name_of_base64(line: bytes) -> str | None:
    whole = line.translate(bytes.maketrans(b"-_", b"+/")).rstrip(b"=")
    try:
        inner = base64.b64decode(whole[: len(whole) // 4 * 4])
    except binascii.Error:
        return None
    for offset, signature, name in _SIGNATURES:
        if len(signature) > 2 and inner.startswith(signature, offset):
            return name
    if inner[:4] == b"RIFF":
        return _RIFF.get(inner[8:12])
    return _name_of_brands(inner) if inner[4:8] == b"ftyp" else None


def _is_utf8(text: bytes) -> bool:
    try:
        text.decode()
    except UnicodeDecodeError as error:
        # The last character may be cut.
        return error.start >= len(text) - 3 and len(text) > 4
    return True
