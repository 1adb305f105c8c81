"""The segments of a JPEG file (ITU-T T.81, annex B): removes metadata and finds the scans."""

import re
from dataclasses import dataclass

from sameface.errors import ImageTooLarge
from sameface.vision.work import PhotoWork

SIGNATURE = b"\xff\xd8\xff"
MAX_SCANS = 100
"""Most scans of a file. A progressive photo has about 10, a sequential one 1 to 4."""
MAX_SEGMENTS = 2000
"""Most segments of a file. A photo with much metadata has about 300: 16 MiB in segments of 64 KiB."""

# FF followed by any byte but 00 (a stuffed byte of a scan), FF (a fill byte) and RST0 to RST7 (inside a scan).
_MARKER = re.compile(rb"\xff[\x01-\xcf\xd8-\xfe]")
_SOI, _EOI, _SOS, _COM = 0xD8, 0xD9, 0xDA, 0xFE
_FIRST_WITH_LENGTH = 0xC0
_APPLICATION = range(0xE0, 0xF0)
# These hold the colour space (JFIF, Adobe) and the orientation (EXIF, XMP).
_KEPT = (b"JFIF\0", b"Adobe", b"Exif\0\0", b"http://ns.adobe.com/xap/1.0/\0")


@dataclass(frozen=True, slots=True)
class PlainJpeg:
    """A JPEG without the metadata that decoding does not need."""

    content: bytes
    scans: tuple[int, ...]
    """Offset of each scan's header (SOS) in ``content``. Decoding processes the whole image once per scan."""


def plain_jpeg(content: bytes, work: PhotoWork) -> PlainJpeg:
    """Return the first image of a JPEG file, with only the first JFIF, Adobe, EXIF and XMP segment of its metadata.

    Time and memory of metadata parsers can grow with the square of their input, so we keep that input small.

    Raises:
        ImageTooLarge: the file has more than `MAX_SCANS` scans or `MAX_SEGMENTS` segments; see also `PhotoWork.check`.
        WorkStopped: see `PhotoWork.check`.
    """
    header, scans, missing = bytearray(content[:2]), list[int](), list(_KEPT)
    # Every byte from the first scan to the end of the image is kept. ``shift`` is how far these bytes move.
    shift, position, end = 0, 2, len(content)
    for _ in range(MAX_SEGMENTS):
        work.check()
        found = _MARKER.search(content, position)
        if found is None:
            break
        start, position, marker = found.start(), found.end(), content[found.end() - 1]
        if marker == _EOI:
            end = position
            break
        if marker < _FIRST_WITH_LENGTH or marker == _SOI:
            continue
        if marker == _SOS:
            shift = shift if scans else start - len(header)
            scans.append(start - shift)
            if len(scans) > MAX_SCANS:
                raise _too_many("scans", MAX_SCANS, "as an ordinary JPEG")
            # Ignore the length of the header: a wrong length could hide another scan.
            continue
        position = start + 2 + max(2, int.from_bytes(content[start + 2 : start + 4], "big"))
        if scans or marker == _COM:
            continue
        if marker in _APPLICATION:
            kind = next((one for one in missing if content.startswith(one, start + 4)), None)
            if kind is None:
                continue
            missing.remove(kind)
        header += content[start:position]
    else:
        raise _too_many("segments", MAX_SEGMENTS, "without its metadata")
    rest = content[shift + len(header) : end] if scans else b""
    return PlainJpeg(bytes(header) + rest, tuple(scans))


def _too_many(what: str, most: int, how: str) -> ImageTooLarge:
    return ImageTooLarge(
        f"the JPEG image has more than {most} {what}; at most {most} are allowed; save it again {how}",
        metadata={what: f"more than {most}", "limit": most},
    )
