"""Reads the boxes of HEIC and AVIF files (ISO/IEC 23008-12) before they are decoded, and decodes HEIC."""

import struct
from collections.abc import Iterator
from dataclasses import dataclass

import pi_heif
from PIL import AvifImagePlugin, Image

from sameface.errors import ImageTooLarge
from sameface.vision.av1 import sequence_sizes
from sameface.vision.formats import refused
from sameface.vision.limits import ImageLimits

MOST_ITEMS = 2000
"""More items are refused. A photo of 48 megapixels has about 200 tiles, twice that with its gain map."""
MOST_BOXES = 10_000

# The work on one photo is counted in its own thread.
pi_heif.options.DECODE_THREADS = 1
pi_heif.options.THUMBNAILS = False
pi_heif.options.DEPTH_IMAGES = False
pi_heif.options.AUX_IMAGES = False
AvifImagePlugin.DEFAULT_MAX_THREADS = 1

_CODECS = {b"hvc1": "HEVC", b"hev1": "HEVC", b"av01": "AV1"}
_NAMES = {
    b"avc1": "H.264",
    b"vvc1": "VVC",
    b"evc1": "EVC",
    b"j2k1": "JPEG 2000",
    b"jpeg": "JPEG",
    b"unci": "raw",
    b"mski": "a mask",
}
_DERIVED = (b"grid", b"iden", b"iovl", b"tmap")


@dataclass(frozen=True, slots=True)
class Container:
    """What the boxes say of the photo, which is the file's primary item."""

    codec: str
    """HEVC or AV1."""
    code_points: tuple[int, int] | None
    """Colour primaries and transfer characteristics by ITU-T H.273."""


def read_container(content: bytes, limits: ImageLimits) -> Container | None:
    """Return what the boxes of a HEIF file say of its primary item, or None if they name none (a sequence).

    Raises:
        ImageTooLarge: an item has more pixels than the limits allow, or there are too many items.
        ImageUndecodable: the codec is not read.
        ValueError, KeyError, IndexError, struct.error: the boxes make no sense.
    """
    boxes = _Boxes(content)
    top = {kind: (start, end) for kind, start, end in boxes.inside(0, len(content))}
    if b"meta" not in top:
        return None
    meta = {kind: (start, end) for kind, start, end in boxes.inside(top[b"meta"][0] + 4, top[b"meta"][1])}
    kinds = _items(boxes, *meta[b"iinf"])
    start, _ = meta[b"pitm"]
    primary = _number(content, start + 4, 4 if content[start] else 2)
    properties = _properties(boxes, *meta[b"iprp"])
    for kind, at, _ in properties.listed:
        if kind == b"ispe":
            width, height = struct.unpack_from(">II", content, at + 4)
            limits.check_pixels("HEIC or AVIF", width, height)
    codec = _codec(kinds, primary, _references(boxes, meta.get(b"iref")))
    if codec == "AV1" and b"iloc" in meta:
        _check_av1(content, meta, kinds, limits)
    code_points = None
    for index in properties.of_item.get(primary, ()):
        kind, at, _ = properties.listed[index - 1] if 0 < index <= len(properties.listed) else (b"", 0, 0)
        if kind == b"colr" and content[at : at + 4] == b"nclx":
            primaries, transfer = struct.unpack_from(">HH", content, at + 4)
            code_points = (primaries, transfer)
    return Container(codec, code_points)


def _check_av1(
    content: bytes, meta: dict[bytes, tuple[int, int]], kinds: dict[int, bytes], limits: ImageLimits
) -> None:
    """Check the pictures' own sizes. libavif decodes a picture that is larger than its item says."""
    inside = meta.get(b"idat", (0, 0))[0]
    for item, method, start, length in _places(content, *meta[b"iloc"]):
        if kinds.get(item) != b"av01":
            continue
        start += inside if method == 1 else 0
        try:
            sizes = sequence_sizes(content, start, min(len(content), start + length if length else len(content)))
        except ValueError:
            raise refused("AVIF", "holds a picture with the header of a video") from None
        for width, height in sizes:
            limits.check_pixels("AVIF", width, height)


def _places(content: bytes, start: int, _: int) -> Iterator[tuple[int, int, int, int]]:
    """Yield item, construction method, offset and length of each item's first extent."""
    version, sizes = content[start], _number(content, start + 4, 2)
    offset_size, length_size, base_size = sizes >> 12, sizes >> 8 & 15, sizes >> 4 & 15
    index_size = sizes & 15 if version else 0
    item_size = 4 if version == 2 else 2
    count, position = _number(content, start + 6, item_size), start + 6 + item_size
    for _item in range(min(count, MOST_ITEMS)):
        item, position = _number(content, position, item_size), position + item_size
        method = 0
        if version:
            method, position = _number(content, position, 2) & 15, position + 2
        base, position = _number(content, position + 2, base_size), position + 2 + base_size
        extents, position = _number(content, position, 2), position + 2
        each = index_size + offset_size + length_size
        at = position + index_size
        yield item, method, base + _number(content, at, offset_size), _number(content, at + offset_size, length_size)
        position += extents * each


@dataclass(slots=True)
class _Boxes:
    content: bytes
    read: int = 0

    def inside(self, start: int, end: int) -> Iterator[tuple[bytes, int, int]]:
        """Yield kind, start and end of the content of each box."""
        while start + 8 <= end:
            self.read += 1
            if self.read > MOST_BOXES:
                raise ImageTooLarge(
                    f"the photo has more than {MOST_BOXES} boxes; save it again as an ordinary JPEG",
                    metadata={"boxes": f"more than {MOST_BOXES}", "limit": MOST_BOXES},
                )
            size, kind = struct.unpack_from(">I4s", self.content, start)
            head = 8
            if size == 1:
                (size,), head = struct.unpack_from(">Q", self.content, start + 8), 16
            size = size or end - start
            if size < head:
                raise ValueError("a box is shorter than its head")
            yield kind, start + head, min(start + size, end)
            start += size


@dataclass(frozen=True, slots=True)
class _Properties:
    listed: list[tuple[bytes, int, int]]
    of_item: dict[int, list[int]]


def _number(content: bytes, at: int, size: int) -> int:
    return int.from_bytes(content[at : at + size], "big")


def _items(boxes: _Boxes, start: int, end: int) -> dict[int, bytes]:
    content = boxes.content
    wide = content[start] > 0
    count = _number(content, start + 4, 4 if wide else 2)
    if count > MOST_ITEMS:
        raise ImageTooLarge(
            f"the photo has {count} items; at most {MOST_ITEMS} are allowed; save it again as an ordinary JPEG",
            metadata={"items": count, "limit": MOST_ITEMS},
        )
    kinds = dict[int, bytes]()
    for kind, at, _ in boxes.inside(start + (8 if wide else 6), end):
        if kind == b"infe" and content[at] >= 2:
            size = 4 if content[at] == 3 else 2
            kinds[_number(content, at + 4, size)] = content[at + 6 + size : at + 10 + size]
    return kinds


def _properties(boxes: _Boxes, start: int, end: int) -> _Properties:
    content, listed, of_item = boxes.content, list[tuple[bytes, int, int]](), dict[int, list[int]]()
    for kind, at, until in boxes.inside(start, end):
        if kind == b"ipco":
            listed = list(boxes.inside(at, until))
        elif kind == b"ipma":
            item_size, wide = (4 if content[at] else 2), content[at + 3] & 1
            position = at + 8
            for _ in range(min(_number(content, at + 4, 4), MOST_ITEMS)):
                item, count = _number(content, position, item_size), content[position + item_size]
                position += item_size + 1
                width, mask = (2, 0x7FFF) if wide else (1, 0x7F)
                of_item[item] = [_number(content, position + n * width, width) & mask for n in range(count)]
                position += count * width
    return _Properties(listed, of_item)


def _references(boxes: _Boxes, place: tuple[int, int] | None) -> dict[int, int]:
    """Return the first image that each derived item is made of."""
    if place is None:
        return {}
    content, made_of = boxes.content, dict[int, int]()
    size = 4 if content[place[0]] else 2
    for kind, at, _ in boxes.inside(place[0] + 4, place[1]):
        if kind == b"dimg":
            made_of.setdefault(_number(content, at, size), _number(content, at + size + 2, size))
    return made_of


def _codec(kinds: dict[int, bytes], item: int, made_of: dict[int, int]) -> str:
    for _ in range(8):
        kind = kinds.get(item, b"")
        if kind not in _DERIVED:
            break
        item = made_of.get(item, -1)
    if kind not in _CODECS:
        name = _NAMES.get(kind, "an unknown codec")
        raise refused("HEIF", f"holds {name} instead of HEVC or AV1", codec=name)
    return _CODECS[kind]


def open_heic(content: bytes, limits: ImageLimits) -> Image.Image:
    """Return the primary image of a HEIC file, 8 bits a sample, turned as its container says.

    Decodes in one call that cannot be stopped. libheif refuses pictures that are larger than their item says.

    Raises:
        ImageTooLarge: the image has too many pixels; found before decoding.
        Exception: the file is broken.
    """
    file = pi_heif.open_heif(content, convert_hdr_to_8bit=True)
    photo = file[file.primary_index]
    limits.check_pixels("HEIC", *photo.size)
    # The data belongs to libheif's image and is freed with it, so it must be copied.
    image = Image.frombytes(photo.mode, photo.size, photo.data, "raw", photo.mode, photo.stride)
    profile = photo.info.get("icc_profile")
    if profile:
        image.info["icc_profile"] = bytes(profile)
    return image
