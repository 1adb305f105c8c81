"""The segments of a JPEG file (ITU-T T.81, annex B): takes the metadata apart and finds the scans."""

import re
import struct
from dataclasses import dataclass, field

import numpy as np

from sameface.errors import ImageTooLarge
from sameface.vision.formats import not_read
from sameface.vision.profiles import LARGEST_PROFILE
from sameface.vision.work import PhotoWork

MAX_SCANS = 100
"""Most scans of a file. A progressive photo has about 10, a sequential one 1 to 4."""
MAX_SEGMENTS = 2000
"""Most segments of a file. A photo with much metadata has about 300: 16 MiB in segments of 64 KiB."""

# FF followed by any byte but 00 (a stuffed byte of a scan), FF (a fill byte) and RST0 to RST7 (inside a scan).
_MARKER = re.compile(rb"\xff[\x01-\xcf\xd8-\xfe]")
_MARKS = np.array([_MARKER.match(bytes((0xFF, second))) is not None for second in range(256)])
"""Whether this byte after FF makes a marker."""
_NEAR, _BLOCK = 1 << 16, 1 << 17
_SOI, _EOI, _SOS, _COM = 0xD8, 0xD9, 0xDA, 0xFE
_FIRST_WITH_LENGTH = 0xC0
_APPLICATION = range(0xE0, 0xF0)
# Start of frame. C4, C8 and CC are something else.
_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC} | {0xF7}
_PROGRESSIVE = 0xC2
_OTHER_JPEGS = {
    0xC3: "lossless JPEG",
    0xC9: "arithmetic-coded JPEG",
    0xCA: "arithmetic-coded JPEG",
    0xCB: "lossless JPEG",
    **dict.fromkeys((0xC5, 0xC6, 0xC7, 0xCD, 0xCE, 0xCF), "hierarchical JPEG"),
    0xF7: "JPEG-LS",
}
_SEQUENTIAL = (0xC0, 0xC1)
_DQT = 0xDB
_TABLE_BYTES = 65
_SIZE = struct.Struct(">HH")
# These hold the colour space.
_KEPT = (b"JFIF\0", b"Adobe")
_EXIF, _XMP, _ICC = b"Exif\0\0", b"http://ns.adobe.com/xap/1.0/\0", b"ICC_PROFILE\0"


@dataclass(frozen=True, slots=True)
class PlainJpeg:
    """A JPEG without metadata, and the metadata that a photo's look depends on."""

    content: bytes
    """Ends with an end marker (EOI), whether the file had one or not."""
    scans: tuple[int, ...]
    """Offset of each scan's header (SOS) in ``content``. Decoding processes the whole image once per scan."""
    ended: bool
    """Whether the file had an end marker."""
    in_colour: bool
    """Whether the scans hold at least the mean values of each component."""
    complete: bool
    """Whether the scans hold all bits of each coefficient of each component."""
    adobe: bool
    """Whether Adobe's marker is there. Then the inks of a CMYK image are stored inverted."""
    exif: bytes | None
    xmp: bytes | None
    profile: bytes | None
    width: int
    """0 if the frame's header is broken."""
    height: int
    ordinary: bool
    """Whether it is sequential, of three components, and its frame and quantisation tables are well formed."""

    def prolonged(self) -> bytes:
        """Return the content with other bytes between the last scan and its end.

        Decoders ignore them if the scan holds every row, and read them as rows if some are missing.
        """
        return self.content[:-2] + _OTHER_ROWS + self.content[-2:]


# Long enough for the rest of a row: 512 bytes of a pattern that no code repeats as an empty block.
_OTHER_ROWS = bytes(37 + number * 89 % 181 for number in range(512))


@dataclass(slots=True)
class _Script:
    """Which coefficients of which components the scans hold."""

    progressive: bool = False
    missing: dict[int, set[int]] = field(default_factory=dict)
    width: int = 0
    height: int = 0
    ordinary: bool = False

    def frame(self, marker: int, content: bytes, start: int) -> None:
        self.progressive = marker == _PROGRESSIVE
        count = content[start + 9]
        components = content[start + 10 : start + 10 + 3 * count : 3]
        self.missing = {component: set(range(64)) if self.progressive else {0} for component in components}
        self.height, self.width = _SIZE.unpack_from(content, start + 5)
        # One frame, with as many components as it names.
        again, self.ordinary = self.ordinary, False
        length = int.from_bytes(content[start + 2 : start + 4], "big")
        if marker in _SEQUENTIAL and not again and count == 3 and length == 17:
            self.ordinary = len(self.missing) == count

    def scan(self, content: bytes, start: int) -> None:
        count = content[start + 4]
        spectrum = content[start + 5 + 2 * count : start + 8 + 2 * count]
        if len(spectrum) < 3:
            return
        first, last, bits = spectrum
        for component in content[start + 5 : start + 5 + 2 * count : 2]:
            coefficients = self.missing.get(component, set())
            if not self.progressive:
                coefficients.clear()
            elif bits & 15 == 0:
                coefficients.difference_update(range(first, last + 1))
            elif first == 0:
                # Its last bits may follow.
                coefficients.discard(0)

    @property
    def in_colour(self) -> bool:
        for coefficients in self.missing.values():  # noqa: SIM110  # a generator would be five calls more
            if 0 in coefficients:
                return False
        return True

    @property
    def complete(self) -> bool:
        return bool(self.missing) and not any(self.missing.values())


@dataclass(slots=True)
class _Metadata:
    missing: list[bytes] = field(default_factory=lambda: [*_KEPT, _EXIF, _XMP])
    found: dict[bytes, bytes] = field(default_factory=dict)
    profile: dict[int, bytes] = field(default_factory=dict)
    profile_bytes: int = 0

    def take(self, content: bytes, start: int, end: int) -> bool:
        """Remember the application segment. Return whether a decoder needs it."""
        if content.startswith(_ICC, start + 4):
            self.profile_bytes += end - start
            if self.profile_bytes <= LARGEST_PROFILE and end - start > 18:
                self.profile.setdefault(content[start + 16], content[start + 18 : end])
            return False
        kind = next((one for one in self.missing if content.startswith(one, start + 4)), None)
        if kind is None:
            return False
        self.missing.remove(kind)
        self.found[kind] = content[start + 4 : end] if kind in (_EXIF, _XMP) else b""
        return kind in _KEPT

    def joined_profile(self) -> bytes | None:
        if not self.profile or self.profile_bytes > LARGEST_PROFILE:
            return None
        return b"".join(part for _, part in sorted(self.profile.items()))


def plain_jpeg(content: bytes, work: PhotoWork) -> PlainJpeg:
    """Return the first image of a JPEG file, and beside it the first EXIF and XMP segment and the ICC profile.

    Time and memory of metadata parsers can grow with the square of their input, so they get none of it.

    Raises:
        ImageTooLarge: the file has more than `MAX_SCANS` scans or `MAX_SEGMENTS` segments; see also `PhotoWork.check`.
        ImageUndecodable: the JPEG is lossless, hierarchical, arithmetic-coded or not of 8 bits.
        WorkStopped: see `PhotoWork.check`.
    """
    header, scans, metadata, script = bytearray(content[:2]), list[int](), _Metadata(), _Script()
    # Every byte from the first scan to the end of the image is kept. ``shift`` is how far these bytes move.
    shift, position, end, ended, tables = 0, 2, len(content), False, True
    for number in range(MAX_SEGMENTS):
        if scans or number % 16 == 0:
            work.check()
        start = next_marker(content, position)
        if start is None:
            break
        position, marker = start + 2, content[start + 1]
        if marker == _EOI:
            end, ended = start, True
            break
        if marker < _FIRST_WITH_LENGTH or marker == _SOI:
            continue
        if marker == _SOS:
            shift = shift if scans else start - len(header)
            scans.append(start - shift)
            if len(scans) > MAX_SCANS:
                raise _too_many("scans", MAX_SCANS, "as an ordinary JPEG")
            # Ignore the length of the header: a wrong length could hide another scan.
            if start + 10 <= len(content):
                script.scan(content, start)
            continue
        position = start + 2 + max(2, int.from_bytes(content[start + 2 : start + 4], "big"))
        if marker in _FRAMES:
            _check_frame(marker, content[start + 4 : start + 5])
            if not scans and start + 10 <= len(content):
                script.frame(marker, content, start)
        elif marker == _DQT and (position - start - 4) % _TABLE_BYTES:
            tables = False
        if scans or marker == _COM or (marker in _APPLICATION and not metadata.take(content, start, position)):
            continue
        header += content[start:position]
    else:
        raise _too_many("segments", MAX_SEGMENTS, "without its metadata")
    if not ended:
        # Half an end marker.
        end = len(content.rstrip(b"\xff"))
    rest = memoryview(content)[shift + len(header) : end] if scans else b""
    found_metadata = metadata.found
    return PlainJpeg(
        content=b"".join((header, rest, b"\xff\xd9")),
        scans=tuple(scans),
        ended=ended,
        in_colour=script.in_colour,
        complete=script.complete,
        adobe=b"Adobe" in found_metadata,
        exif=found_metadata.get(_EXIF),
        xmp=found_metadata.get(_XMP),
        profile=metadata.joined_profile(),
        width=script.width,
        height=script.height,
        ordinary=script.ordinary and tables,
    )


def next_marker(content: bytes, position: int) -> int | None:
    """Return the offset of the first marker from ``position`` on, or None if there is none.

    Segments follow each other closely, and a small photo ends soon. The bytes of a scan have a stuffed FF in about 200
    bytes, where a regular expression stops each time. So the bytes of a long scan are compared in blocks.
    """
    found = _MARKER.search(content, position, position + _NEAR)
    if found is not None:
        return found.start()
    octets = np.frombuffer(content, dtype=np.uint8)
    # The near part, and each block, ends with the first byte of a marker that may begin there.
    for start in range(position + _NEAR - 1, len(content) - 1, _BLOCK):
        block = octets[start : start + _BLOCK + 1]
        candidates = np.flatnonzero(block[:-1] == 0xFF)
        marks = _MARKS[block[candidates + 1]]
        if marks.any():
            return start + int(candidates[marks.argmax()])
    return None


def _check_frame(marker: int, precision: bytes) -> None:
    if marker in _OTHER_JPEGS:
        raise not_read(_OTHER_JPEGS[marker])
    if precision and precision[0] != 8:
        raise not_read(f"{precision[0]}-bit JPEG")


def _too_many(what: str, most: int, how: str) -> ImageTooLarge:
    return ImageTooLarge(
        f"the JPEG image has more than {most} {what}; at most {most} are allowed; save it again {how}",
        metadata={what: f"more than {most}", "limit": most},
    )
