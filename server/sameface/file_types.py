"""Tells the kind of a file by its first bytes. One table for the client, the command line and the decoder.

Signatures are those of the formats' own specifications. Containers of ISO base media files (HEIF, MP4) are told by
their brands (ISO/IEC 14496-12, 4.3; registered at mp4ra.org).
"""

import base64
import binascii
import codecs
import re
import string
from dataclasses import dataclass
from enum import StrEnum

HEAD_BYTES = 64
"""As many of a file's first bytes tell its kind."""


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
    """For people: ``JPEG``, ``camera raw (CR3)``, ``MP4 video``, ``JPEG as base64 text``."""
    use: Use

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


JPEG, PNG, GIF, WEBP, BMP, TIFF, HEIC, HEIF, AVIF = PHOTOS = tuple(
    FileType(name, Use.PHOTO) for name in ("JPEG", "PNG", "GIF", "WebP", "BMP", "TIFF", "HEIC", "HEIF", "AVIF")
)
EMPTY = FileType("empty file", Use.OTHER)
TEXT = FileType("text", Use.OTHER)
_ISO_VIDEO = FileType("MP4 or MOV video", Use.OTHER)


def _pictures(**signatures: tuple[bytes, ...]) -> dict[bytes, FileType]:
    return {head: FileType(name.replace("_", " "), Use.PICTURE) for name, heads in signatures.items() for head in heads}


def _raws(**signatures: tuple[bytes, ...]) -> dict[bytes, FileType]:
    return {head: FileType(f"camera raw ({name})", Use.PICTURE) for name, heads in signatures.items() for head in heads}


def _others(signatures: dict[str, tuple[bytes, ...]]) -> dict[bytes, FileType]:
    return {head: FileType(name, Use.OTHER) for name, heads in signatures.items() for head in heads}


_JP2_BOX, _JXL_BOX = b"\0\0\0\x0cjP  \r\n\x87\n", b"\0\0\0\x0cJXL \r\n\x87\n"
# A longer signature stands before one that it begins with.
_SIGNATURES: dict[bytes, FileType] = {
    **_pictures(JPEG_2000=(_JP2_BOX, b"\xff\x4f\xff\x51"), JPEG_XL=(_JXL_BOX, b"\xff\x0a")),
    b"\xff\xd8\xff": JPEG,
    b"\x89PNG\r\n\x1a\n": PNG,
    b"GIF87a": GIF,
    b"GIF89a": GIF,
    # TIFF files of cameras whose ninth byte tells them apart. Others (DNG, NEF, ARW) begin like any TIFF.
    **_raws(
        CR2=(b"II*\0\x10\0\0\0CR",),
        CRW=(b"II\x1a\0\0\0HEAPCCDR",),
        RAF=(b"FUJIFILMCCD-RAW",),
        ORF=(b"IIRO", b"IIRS", b"MMOR"),
        RW2=(b"IIU\0",),
        X3F=(b"FOVb",),
        MRW=(b"\0MRM",),
    ),
    b"II*\0": TIFF,
    b"MM\0*": TIFF,
    b"II+\0": TIFF,
    b"MM\0+": TIFF,
    **_pictures(
        JPEG_XR=(b"II\xbc\x01",),
        Photoshop=(b"8BPS",),
        GIMP=(b"gimp xcf",),
        OpenEXR=(b"v/1\x01",),
        Radiance_HDR=(b"#?RADIANCE", b"#?RGBE"),
        QOI=(b"qoif",),
        BPG=(b"BPG\xfb",),
        FLIF=(b"FLIF",),
        DDS=(b"DDS ",),
        TGA=(b"\0\0\2\0\0\0\0\0", b"\0\0\x0a\0\0\0\0\0"),
        ICO=(b"\0\0\1\0", b"\0\0\2\0"),
        ICNS=(b"icns",),
        FITS=(b"SIMPLE  =",),
        DjVu=(b"AT&TFORM",),
        PostScript=(b"%!PS", b"\xc5\xd0\xd3\xc6"),
    ),
    **_others(
        {
            "PDF": (b"%PDF",),
            "ZIP archive": (b"PK\3\4", b"PK\5\6", b"PK\7\x08"),
            "gzip archive": (b"\x1f\x8b",),
            "7z archive": (b"7z\xbc\xaf\x27\x1c",),
            "RAR archive": (b"Rar!\x1a\7",),
            "xz archive": (b"\xfd7zXZ\0",),
            "bzip2 archive": (b"BZh",),
            "Zstandard archive": (b"\x28\xb5\x2f\xfd",),
            "Matroska or WebM video": (b"\x1a\x45\xdf\xa3",),
            "MPEG video": (b"\0\0\1\xba", b"\0\0\1\xb3"),
            "Windows Media video": (b"\x30\x26\xb2\x75\x8e\x66\xcf\x11",),
            "Flash video": (b"FLV\1",),
            "MP3 audio": (b"ID3",),
            "Ogg audio or video": (b"OggS",),
            "FLAC audio": (b"fLaC",),
            "SQLite database": (b"SQLite format 3\0",),
            "OLE document or thumbnail cache": (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1",),
            "Finder settings": (b"\0\0\0\1Bud1",),
            "AppleDouble file": (b"\0\5\x16\7",),
            "property list": (b"bplist",),
            "Windows shortcut": (b"L\0\0\0\1\x14\2\0",),
            "NumPy array": (b"\x93NUMPY",),
            "HDF5 file": (b"\x89HDF\r\n\x1a\n",),
            "Parquet file": (b"PAR1",),
            "program": (b"\x7fELF", b"MZ\x90\0", b"\xcf\xfa\xed\xfe", b"\xca\xfe\xba\xbe"),
        }
    ),
}
_RIFF = {
    b"WEBP": WEBP,
    b"AVI ": FileType("AVI video", Use.OTHER),
    b"WAVE": FileType("WAV audio", Use.OTHER),
}
_HEIC_BRANDS = {b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs"}
_AVIF_BRANDS = {b"avif", b"avis"}
_HEIF_BRANDS = {b"mif1", b"mif2", b"msf1", b"miaf", b"1pic"}
# Boxes that a QuickTime file without brands begins with.
_QUICKTIME = {b"moov", b"mdat", b"wide", b"free", b"skip", b"pnot"}
_BMP_HEADER_SIZES = {12, 16, 40, 52, 56, 64, 108, 124}
_PNM = re.compile(rb"P[1-7fF][ \t\r\n]")

_STAND_INS = ("Git LFS pointer", "data URI", "URL", "bytes printed as text")
_WRITTEN = {
    "Git LFS pointer": ("version https://git-lfs",),
    "web page": ("<!doctype html", "<html", "<head", "<body"),
    "SVG": ("<svg",),
    "XMP": ("<x:xmpmeta", "<?xpacket"),
    "XML": ("<?xml", "<!doctype"),
    "data URI": ("data:",),
    "URL": ("http://", "https://", "s3://", "gs://", "ftp://", "file://", "az://", "abfs://"),
    "bytes printed as text": ("b'", 'b"'),
    "JSON": ("{", "["),
}
_BASE64 = frozenset((string.ascii_letters + string.digits + "+/-_=").encode())
_URL_SAFE = bytes.maketrans(b"-_", b"+/")


def file_type(head: bytes) -> FileType | None:
    """Return the kind of a file by its first `HEAD_BYTES` bytes; None if it is unknown.

    The rest of the file is not looked at, so a truncated JPEG is a JPEG. More bytes change nothing.

    >>> file_type(b"\\xff\\xd8\\xff\\xe0\\x00\\x10JFIF")
    FileType(name='JPEG', use=<Use.PHOTO: 'photo'>)
    >>> file_type(b"/9j/4AAQSkZJRgABAQ")
    FileType(name='JPEG as base64 text', use=<Use.STAND_IN: 'stand-in'>)
    """
    head = bytes(head[:HEAD_BYTES])
    if not head:
        return EMPTY
    return _binary(head) or _text(head)


def _binary(head: bytes) -> FileType | None:
    for signature, kind in _SIGNATURES.items():
        if head.startswith(signature):
            return kind
    if head.startswith(b"RIFF"):
        return _RIFF.get(head[8:12])
    if head[4:8] == b"ftyp":
        return _of_brands(head)
    if head[4:8] in _QUICKTIME:
        return _ISO_VIDEO
    if head.startswith(b"BM") and int.from_bytes(head[14:18], "little") in _BMP_HEADER_SIZES:
        return BMP
    if _PNM.match(head):
        return FileType("PNM", Use.PICTURE)
    if head.startswith((b"\x89PNG\n\x1a\n", b"\x89PNG\r\r\n", b"\x89PNG\r\n\x1a\r\n")):
        return FileType("PNG with changed line ends", Use.OTHER)
    if not head.strip(b"\0"):
        return FileType("zero bytes", Use.OTHER)
    return None


def _of_brands(head: bytes) -> FileType:
    size = min(int.from_bytes(head[:4], "big"), len(head))
    major, *others = (head[start : start + 4] for start in (8, *range(16, size, 4)))
    for brand in (major, *others):
        if brand in _HEIC_BRANDS:
            return HEIC
        if brand in _AVIF_BRANDS:
            return AVIF
    if major == b"crx ":
        return FileType("camera raw (CR3)", Use.PICTURE)
    return HEIF if _HEIF_BRANDS & {major, *others} else _ISO_VIDEO


def _text(head: bytes) -> FileType | None:
    if head.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return TEXT
    try:
        # The head may end inside a character.
        text = codecs.getincrementaldecoder("utf-8-sig")().decode(head)
    except UnicodeDecodeError:
        return None
    if inner := _decoded_bytes(text):
        return FileType(f"{inner.name} decoded as text", Use.STAND_IN)
    if any(character < " " and character not in "\t\n\r\f" for character in text):
        return None
    begin = text.lstrip().lower()
    for name, starts in _WRITTEN.items():
        if begin.startswith(starts):
            return FileType(name, Use.STAND_IN if name in _STAND_INS else Use.PICTURE if name == "SVG" else Use.OTHER)
    if inner := _encoded(text):
        return inner
    return TEXT


def _decoded_bytes(text: str) -> FileType | None:
    """Return the kind of a binary file that was read as text in Latin-1, or in UTF-8 with its bytes replaced."""
    try:
        kind = _binary(text.encode("latin-1"))
    except UnicodeEncodeError:
        kind = JPEG if text.startswith("\ufffd\ufffd\ufffd") else PNG if text.startswith("\ufffdPNG") else None
    return kind if kind and kind.is_photo and not text.isascii() else None


def _encoded(text: str) -> FileType | None:
    """Return the kind of a binary file that was written as base64 or hexadecimal text."""
    letters = "".join(text.split()).encode()
    if len(letters) >= 12 and all(letter in _BASE64 for letter in letters):
        whole = letters.rstrip(b"=")
        kind = _binary(base64.b64decode(whole[: len(whole) // 4 * 4].translate(_URL_SAFE)))
        if kind and kind.use is not Use.OTHER:
            return FileType(f"{kind.name} as base64 text", Use.STAND_IN)
    try:
        kind = _binary(binascii.unhexlify(letters[: len(letters) // 2 * 2]))
    except (binascii.Error, ValueError):
        return None
    return FileType(f"{kind.name} as hexadecimal text", Use.STAND_IN) if kind and kind.is_photo else None
