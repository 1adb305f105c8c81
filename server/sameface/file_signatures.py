"""The table of file signatures: the first bytes of each kind of file. `sameface.file_types` reads it.

Signatures are those of the formats' own specifications. Containers of ISO base media files (HEIF, MP4) are told by
their brands (ISO/IEC 14496-12, 4.3; registered at mp4ra.org).
"""

import re
from dataclasses import dataclass, field
from enum import StrEnum


class Use(StrEnum):
    """What the service can do with a kind of file."""

    PHOTO = "photo"
    """It is decoded."""
    PICTURE = "picture"
    """A picture in a format that is not decoded."""
    STAND_IN = "stand-in"
    """Not the photo, but its bytes written as text, or where it is."""
    OTHER = "other"
    """Not a picture."""


_REMEDIES = {
    "as base64 text": "decode it with base64.b64decode",
    "as hexadecimal text": "decode it with bytes.fromhex",
    "decoded as text": 'read the file as bytes, with open(path, "rb")',
    "bytes printed as text": "hand over the bytes, not their str()",
    "data URI": "decode what follows the comma with base64.b64decode",
    "URL": "download the photo and hand over its bytes",
    "Git LFS pointer": "run git lfs pull",
    "archive": "unpack it",
    "video": "hand over one of its frames as a picture",
}


@dataclass(frozen=True, slots=True)
class FileType:
    """A kind of file."""

    name: str
    """For people: ``JPEG``, ``camera raw (CR3)``, ``MP4 or MOV video``, ``JPEG as base64 text``."""
    use: Use
    other_name: str = field(default="", repr=False)
    """What the decoder calls it, where that is not ``name``: ``Canon CR3 raw``, ``QuickTime video``."""

    @property
    def format(self) -> str:
        """What the decoder calls it."""
        return self.other_name or self.name

    @property
    def is_photo(self) -> bool:
        """Whether the service decodes it."""
        return self.use is Use.PHOTO

    @property
    def remedy(self) -> str:
        """What to do instead, for people; empty for a photo."""
        if self.is_photo:
            return ""
        known = (remedy for end, remedy in _REMEDIES.items() if self.name.endswith(end))
        return next(known, "save it as JPEG or PNG" if self.use is Use.PICTURE else "expected the file of a photo")


def _picture(name: str) -> FileType:
    return FileType(name, Use.PICTURE)


def _raw(make: str, suffix: str) -> FileType:
    return FileType(f"camera raw ({suffix})", Use.PICTURE, f"{make} {suffix} raw")


def _other(name: str, other_name: str = "") -> FileType:
    return FileType(name, Use.OTHER, other_name)


def _stand_in(name: str, other_name: str = "") -> FileType:
    return FileType(name, Use.STAND_IN, other_name)


JPEG, PNG, WEBP, BMP, GIF, TIFF, HEIC, AVIF = (
    FileType(name, Use.PHOTO) for name in ("JPEG", "PNG", "WebP", "BMP", "GIF", "TIFF", "HEIC", "AVIF")
)
# Its boxes say which codec it holds, not its brands.
HEIF = FileType("HEIF", Use.PHOTO, "HEIC")
PHOTOS = (JPEG, PNG, WEBP, BMP, GIF, TIFF, HEIC, HEIF, AVIF)
EMPTY = _other("empty file")
ZEROS = _other("zero bytes")
TEXT = _other("text")
MP4 = _other("MP4 or MOV video", "MP4 video")
QUICKTIME = _other("MP4 or MOV video", "QuickTime video")
_MATROSKA = _other("Matroska or WebM video")

# Offset, signature, kind. The first that fits counts, so a longer signature stands before one that it begins with.
SIGNATURES: tuple[tuple[int, bytes, FileType], ...] = (
    (0, b"\xff\xd8\xff\xf7", _picture("JPEG-LS")),
    (0, b"\xff\xd8\xff", JPEG),
    (0, b"\x89PNG\r\n\x1a\n\0\0\0\x04CgBI", _picture("Apple CgBI PNG")),
    (0, b"\x89PNG\r\n\x1a\n", PNG),
    (0, b"\x89PNG", _other("PNG with changed line ends", "PNG damaged by a transfer as text")),
    (0, b"\x8bJNG\r\n\x1a\n", _picture("JNG")),
    (0, b"\x8aMNG\r\n\x1a\n", _picture("MNG")),
    (0, b"GIF87a", GIF),
    (0, b"GIF89a", GIF),
    # Raw files of other cameras (DNG, NEF, ARW) begin like any TIFF.
    (0, b"II*\0\x10\0\0\0CR", _raw("Canon", "CR2")),
    (0, b"II\x1a\0\0\0HEAPCCDR", _raw("Canon", "CRW")),
    (0, b"FUJIFILMCCD-RAW", _raw("Fujifilm", "RAF")),
    (0, b"IIRO", _raw("Olympus", "ORF")),
    (0, b"IIRS", _raw("Olympus", "ORF")),
    (0, b"MMOR", _raw("Olympus", "ORF")),
    (0, b"IIU\0", _raw("Panasonic", "RW2")),
    (0, b"FOVb", _raw("Sigma", "X3F")),
    (0, b"\0MRM", _raw("Minolta", "MRW")),
    (0, b"II\xbc\x01", _picture("JPEG XR")),
    (0, b"II*\0", TIFF),
    (0, b"MM\0*", TIFF),
    (0, b"II+\0", TIFF),
    (0, b"MM\0+", TIFF),
    (0, b"\0\0\0\x0cjP  \r\n\x87\n", _picture("JPEG 2000")),
    (0, b"\xff\x4f\xff\x51", _picture("JPEG 2000")),
    (0, b"\0\0\0\x0cJXL \r\n\x87\n", _picture("JPEG XL")),
    (0, b"\xff\x0a", _picture("JPEG XL")),
    (0, b"8BPS", _picture("Photoshop document (PSD)")),
    (0, b"8BIM", _other("Photoshop resources")),
    (0, b"gimp xcf", _picture("GIMP document (XCF)")),
    (0, b"v/1\x01", _picture("OpenEXR")),
    (0, b"#?RADIANCE", _picture("Radiance HDR")),
    (0, b"#?RGBE", _picture("Radiance HDR")),
    (0, b"\0\0\2\0\0\0\0", _picture("TGA")),
    (0, b"\0\0\3\0\0\0\0", _picture("TGA")),
    (0, b"\0\0\x0a\0\0\0\0", _picture("TGA")),
    (0, b"\0\0\1\0", _picture("ICO icon")),
    (0, b"\0\0\2\0\1\0", _picture("CUR cursor")),
    (0, b"icns", _picture("ICNS icon")),
    (0, b"DDS ", _picture("DDS texture")),
    (0, b"\xabKTX", _picture("KTX texture")),
    (0, b"qoif", _picture("QOI")),
    (0, b"farbfeld", _picture("farbfeld")),
    (0, b"BPG\xfb", _picture("BPG")),
    (0, b"FLIF", _picture("FLIF")),
    (0, b"\x0a\x05\x01", _picture("PCX")),
    (0, b"\x01\xda", _picture("SGI")),
    (0, b"\x59\xa6\x6a\x95", _picture("Sun raster")),
    (0, b"SIMPLE  =", _picture("FITS")),
    (128, b"DICM", _picture("DICOM")),
    (0, b"AT&TFORM", _picture("DjVu")),
    (0, b"\xd7\xcd\xc6\x9a", _picture("Windows metafile (WMF)")),
    (40, b" EMF", _picture("Windows metafile (EMF)")),
    (0, b"\xc5\xd0\xd3\xc6", _picture("PostScript document")),
    (0, b"PK\3\4", _other("ZIP archive")),
    (0, b"PK\5\6", _other("ZIP archive")),
    (0, b"PK\7\x08", _other("ZIP archive")),
    (0, b"\x1f\x8b", _other("gzip archive")),
    (0, b"7z\xbc\xaf\x27\x1c", _other("7-Zip archive")),
    (0, b"Rar!", _other("RAR archive")),
    (0, b"\xfd7zXZ\0", _other("xz archive")),
    (0, b"BZh", _other("bzip2 archive")),
    (0, b"\x28\xb5\x2f\xfd", _other("Zstandard archive")),
    (0, b"\x1a\x45\xdf\xa3", _MATROSKA),
    (0, b"\0\0\1\xba", _other("MPEG video")),
    (0, b"\0\0\1\xb3", _other("MPEG video")),
    (0, b"\x30\x26\xb2\x75\x8e\x66\xcf\x11", _other("Windows Media video")),
    (0, b"FLV\1", _other("Flash video")),
    (0, b"ID3", _other("MP3 audio")),
    (0, b"OggS", _other("Ogg audio or video")),
    (0, b"fLaC", _other("FLAC audio")),
    (0, b"SQLite format 3\0", _other("SQLite database")),
    (0, b"\xd0\xcf\x11\xe0", _other("OLE document or thumbnail cache")),
    (0, b"\0\0\0\1Bud1", _other("Finder settings")),
    (0, b"\0\5\x16\7", _other("AppleDouble file")),
    (0, b"bplist", _other("property list")),
    (0, b"L\0\0\0\1\x14\2\0", _other("Windows shortcut")),
    (0, b"\x93NUMPY", _other("NumPy array")),
    (0, b"\x89HDF\r\n\x1a\n", _other("HDF5 file")),
    (0, b"PAR1", _other("Parquet file")),
    (0, b"\x7fELF", _other("program")),
    (0, b"MZ\x90\0", _other("program")),
    (0, b"\xcf\xfa\xed\xfe", _other("program")),
    (0, b"\xca\xfe\xba\xbe", _other("program")),
)
# What follows "RIFF" and a size.
RIFF = {b"WEBP": WEBP, b"AVI ": _other("AVI video"), b"WAVE": _other("WAV audio")}
OTHER_RIFF = _other("RIFF file")
# The brands of an ISO base media file.
BRANDS: dict[bytes, FileType] = {
    **dict.fromkeys((b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs"), HEIC),
    **dict.fromkeys((b"avif", b"avis"), AVIF),
    b"crx ": _raw("Canon", "CR3"),
    b"jxl ": _picture("JPEG XL"),
    **dict.fromkeys((b"jp2 ", b"jpx ", b"jpm ", b"mjp2"), _picture("JPEG 2000")),
    b"qt  ": QUICKTIME,
    **dict.fromkeys((b"3gp4", b"3gp5", b"3gp6", b"3g2a"), _other("3GP video")),
    b"M4A ": _other("M4A audio"),
}
HEIF_BRANDS = {b"mif1", b"mif2", b"msf1", b"miaf", b"1pic"}
"""A container of any codec, which its other brands may name."""
QUICKTIME_BOXES = {b"moov", b"mdat", b"wide", b"free", b"skip", b"pnot"}
"""A QuickTime file without brands begins with one of these."""
BMP_HEADER_SIZES = {12, 16, 40, 52, 56, 64, 108, 124}

# How texts begin, after white space. The first that fits counts.
_COMMENT = rb"(<!--.{0,400}?-->\s*)?"
WRITTEN: tuple[tuple[re.Pattern[bytes], FileType], ...] = tuple(
    (re.compile(begin, re.DOTALL | re.IGNORECASE), kind)
    for begin, kind in (
        (rb"version https://git-lfs", _stand_in("Git LFS pointer")),
        (rb"data:", _stand_in("data URI", "data URI (text)")),
        (rb"(https?|ftp|file|s3|gs|az|abfs)://", _stand_in("URL", "URL (text)")),
        (rb"b['\"]", _stand_in("bytes printed as text")),
        (rb"%PDF", _other("PDF document")),
        (rb"%!PS", _picture("PostScript document")),
        (rb"(<\?xml[^>]*>\s*)?" + _COMMENT + rb"(<!doctype svg[^>]*>\s*)?<svg", _picture("SVG drawing")),
        (_COMMENT + rb"<(!doctype html|html|head|body)", _other("web page", "HTML page")),
        (rb"<x:xmpmeta|<\?xpacket", _other("XMP")),
        (rb"<\?xml|<[a-z]", _other("XML document")),
        (rb"[{\[]\s*[\"{\[\]}0-9]", _other("JSON", "JSON text")),
        (rb"P[1-7]\s", _picture("PNM")),
        (rb"PF\s", _picture("PFM")),
        (rb"/\* XPM|#define ", _picture("XPM or XBM")),
    )
)
