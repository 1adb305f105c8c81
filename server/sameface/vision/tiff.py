"""Checks the directory of a TIFF file (TIFF 6.0) before it is decoded: its layout, and that it is no raw file."""

from sameface.errors import ImageUndecodable
from sameface.vision.formats import INSTEAD, not_read, refused
from sameface.vision.ifd import Directory, first_directory

# libtiff decodes these in time linear in the pixels. JPEG is not among them: inside a TIFF it may have many scans.
COMPRESSIONS = {1: "raw", 32773: "packbits", 5: "tiff_lzw", 32946: "tiff_deflate", 8: "tiff_adobe_deflate"}
_OTHERS = {
    2: "tiff_ccitt", 3: "group3", 4: "group4", 6: "tiff_jpeg", 7: "jpeg", 34676: "tiff_sgilog", 34677: "tiff_sgilog24",
    34712: "jpeg2000", 34887: "lerc", 34925: "lzma", 50000: "zstd", 50001: "webp", 50002: "jpegxl", 52546: "jpegxl",
}  # fmt: skip

_SUBFILE, _WIDTH, _HEIGHT, _BITS, _COMPRESSION, _PHOTOMETRIC = 254, 256, 257, 258, 259, 262
_MAKE, _SAMPLES, _PLANAR, _SUB_DIRECTORIES, _INK_SET = 271, 277, 284, 330, 332
_EXTRA, _FORMAT, _DNG, _NEF_WB = 338, 339, 50706, 37398
_COLOURS = {0: "grey, white is 0", 1: "grey", 2: "RGB", 3: "palette", 4: "mask", 5: "CMYK", 6: "YCbCr", 8: "CIELab",
            9: "ICCLab", 10: "ITULab", 32803: "colour filter array", 34892: "linear raw"}  # fmt: skip
_KINDS = {1: "unsigned", 2: "signed", 3: "float", 4: "undefined", 5: "complex integer", 6: "complex float"}
# Photometric interpretation, kind and bits of a sample, and the samples: what Pillow reads right.
_LAYOUTS = {
    *((colour, 1, bits, 1) for colour in (0, 1, 3) for bits in (1, 2, 4, 8)),
    *((colour, 1, 8, 2) for colour in (1, 3)),
    (0, 1, 16, 1), (1, 1, 12, 1), (1, 1, 16, 1), (1, 1, 32, 1), (1, 2, 16, 1), (1, 2, 32, 1),
    (0, 3, 32, 1), (1, 3, 32, 1),
    *((2, 1, 8, samples) for samples in (3, 4, 5, 6)), (2, 1, 16, 3), (2, 1, 16, 4),
    (5, 1, 8, 4), (5, 1, 8, 5), (5, 1, 8, 6), (5, 1, 16, 4), (6, 1, 8, 3), (8, 1, 8, 3),
}  # fmt: skip
_MAKERS = (b"NIKON", b"SONY", b"PENTAX", b"SAMSUNG", b"Hasselblad", b"Phase One", b"Leaf", b"EPSON", b"KODAK", b"Kodak")


def check_tiff(content: bytes) -> Directory:
    """Return the first directory of a TIFF file if its image is one that is read.

    Raises:
        ImageUndecodable: a camera's raw file, a thumbnail, a layout or a compression that is not read.
    """
    if content.startswith(b"MM\0+"):
        raise not_read("big-endian BigTIFF")
    directory = first_directory(content)
    if directory is None or _WIDTH not in directory.integers:
        raise ImageUndecodable(
            f"the TIFF image is truncated or broken: it has no directory; {INSTEAD}", metadata={"format": "TIFF"}
        )
    _check_raw(directory)
    compression = directory.one(_COMPRESSION, 1)
    if compression not in COMPRESSIONS:
        name = _OTHERS.get(compression, str(compression))
        raise ImageUndecodable(
            f"the TIFF image has the compression {name}; expected one of {', '.join(COMPRESSIONS.values())}; "
            f"or {INSTEAD}",
            metadata={"format": "TIFF", "compression": name},
        )
    _check_layout(directory, big_endian=content.startswith(b"MM"))
    return directory


def _check_raw(directory: Directory) -> None:
    make = directory.texts.get(_MAKE, b"")
    maker = next((name.decode() for name in _MAKERS if make.startswith(name)), None)
    if _DNG in directory.integers:
        raise not_read("DNG raw")
    if directory.one(_PHOTOMETRIC, 1) in (32803, 34892):
        raise not_read(f"{maker or 'camera'} raw")
    if directory.one(_SUBFILE, 0) & 1 or (maker and _SUB_DIRECTORIES in directory.integers):
        if maker:
            raise not_read(f"{maker} raw")
        raise refused("TIFF", "begins with a thumbnail of another image", layout="thumbnail")


def _check_layout(directory: Directory, *, big_endian: bool) -> None:
    bits = directory.integers.get(_BITS, (1,))
    colour, kind = directory.one(_PHOTOMETRIC, 0), directory.one(_FORMAT, 1)
    samples = directory.one(_SAMPLES, 1)
    known = len(set(bits)) == 1 and (colour, kind, bits[0], samples) in _LAYOUTS and directory.one(_INK_SET, 1) == 1
    # libtiff gives numbers in the machine's order; Pillow takes these for the file's order.
    swapped = big_endian and (kind != 1 or bits[0] == 32)
    if not known or swapped:
        each = "/".join(map(str, bits if len(set(bits)) > 1 else bits[:1]))
        layout = f"{_COLOURS.get(colour, str(colour))}, {samples} × {each} bits, {_KINDS.get(kind, 'unknown')}"
        layout += ", big-endian" if swapped else ""
        raise refused("TIFF", f"has pixels that are not read ({layout})", layout=layout)
