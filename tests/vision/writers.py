"""Writes image files that no common tool writes: TIFF of any layout, PNG chunks, JPEG segments, ICC profiles, boxes."""

import struct
import zlib
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

# White, red, green and blue by x and y, and the exponent from values to light.
SPACES: dict[str, tuple[tuple[tuple[float, float], ...], float]] = {
    "srgb": (((0.3127, 0.3290), (0.64, 0.33), (0.30, 0.60), (0.15, 0.06)), 2.2),
    "display-p3": (((0.3127, 0.3290), (0.68, 0.32), (0.265, 0.69), (0.15, 0.06)), 2.2),
    "adobe-rgb": (((0.3127, 0.3290), (0.64, 0.33), (0.21, 0.71), (0.15, 0.06)), 2.2),
    "prophoto": (((0.3457, 0.3585), (0.7347, 0.2653), (0.1596, 0.8404), (0.0366, 0.0001)), 1.8),
    "rec2020": (((0.3127, 0.3290), (0.708, 0.292), (0.17, 0.797), (0.131, 0.046)), 2.4),
    "linear": (((0.3127, 0.3290), (0.64, 0.33), (0.30, 0.60), (0.15, 0.06)), 1.0),
    "channels-swapped": (((0.3127, 0.3290), (0.15, 0.06), (0.64, 0.33), (0.30, 0.60)), 2.2),
}
_BRADFORD = np.array([[0.8951, 0.2664, -0.1614], [-0.7502, 1.7135, 0.0367], [0.0389, -0.0685, 1.0296]])
_D50 = np.array([0.9642, 1.0, 0.8249])


def light(pixels: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Return the linear light of sRGB pixels, 0 to 1."""
    value = pixels / 255.0
    return np.where(value <= 0.04045, value / 12.92, ((value + 0.055) / 1.055) ** 2.4)


def xyz(x: float, y: float) -> NDArray[np.float64]:
    return np.array([x / y, 1.0, (1 - x - y) / y])


def to_xyz(space: str) -> NDArray[np.float64]:
    points = [xyz(*point) for point in SPACES[space][0]]
    primaries = np.stack(points[1:], axis=1)
    return np.asarray(primaries * np.linalg.solve(primaries, points[0]))


def adaptation(source: NDArray[np.float64], target: NDArray[np.float64]) -> NDArray[np.float64]:
    scale = np.diag((_BRADFORD @ target) / (_BRADFORD @ source))
    return np.asarray(np.linalg.inv(_BRADFORD) @ scale @ _BRADFORD)


def in_space(pixels: NDArray[np.uint8], space: str) -> NDArray[np.float64]:
    """Return sRGB pixels in another colour space, 0 to 1."""
    white = xyz(*SPACES[space][0][0])
    matrix = np.linalg.inv(to_xyz(space)) @ adaptation(xyz(0.3127, 0.3290), white) @ to_xyz("srgb")
    return np.asarray((light(pixels) @ matrix.T).clip(0.0, 1.0) ** (1 / SPACES[space][1]))


def profile(space: str, *, grey: bool = False, padding: int = 0) -> bytes:
    """An ICC profile of version 2: matrix and exponents, or an exponent alone. ``padding`` bytes mean nothing."""

    def fixed(values: Sequence[float]) -> bytes:
        return b"".join(struct.pack(">i", round(value * 65536)) for value in values)

    exponent = SPACES[space][1]
    curve = b"curv\0\0\0\0" + struct.pack(">IHH", 1, round(exponent * 256), 0)
    tags = {
        b"wtpt": b"XYZ \0\0\0\0" + fixed([float(value) for value in _D50]),
        b"desc": b"desc\0\0\0\0" + struct.pack(">I", 2) + b"x\0" + bytes(78),
    }
    if grey:
        tags[b"kTRC"] = curve
    else:
        matrix = adaptation(xyz(*SPACES[space][0][0]), _D50) @ to_xyz(space)
        for number, letter in enumerate((b"r", b"g", b"b")):
            tags[letter + b"XYZ"] = b"XYZ \0\0\0\0" + fixed([float(value) for value in matrix[:, number]])
            tags[letter + b"TRC"] = curve
    if padding:
        tags[b"padd"] = b"data" + bytes(padding)
    body, table, start = b"", struct.pack(">I", len(tags)), 132 + 12 * len(tags)
    for name, content in tags.items():
        table += name + struct.pack(">II", start + len(body), len(content))
        body += content + bytes(-len(content) % 4)
    head = struct.pack(">I4sI", start + len(body), b"test", 0x02100000) + b"mntr" + (b"GRAY" if grey else b"RGB ")
    head += b"XYZ " + bytes(12) + b"acsp" + bytes(28) + fixed([float(value) for value in _D50])
    return head.ljust(128, b"\0") + table + body


def chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def with_chunks(png: bytes, *chunks: tuple[bytes, bytes]) -> bytes:
    """A PNG with more chunks after its header."""
    return png[:33] + b"".join(chunk(kind, content) for kind, content in chunks) + png[33:]


def png(samples: NDArray[np.uint8] | NDArray[np.uint16], bits: int, colour: int) -> bytes:
    """A PNG of integers, shape [height, width, channels]. ``colour`` is 0 grey, 2 RGB, 4 grey and alpha, 6 RGBA."""
    height, width, _ = samples.shape
    if bits < 8:
        each = np.unpackbits(samples[:, :, 0].astype(np.uint8)[:, :, np.newaxis], axis=2)[:, :, 8 - bits :]
        rows = np.packbits(each.reshape(height, -1), axis=1).astype(np.uint8).view(np.uint8)
    else:
        wide = samples.astype(">u2" if bits == 16 else np.uint8)
        rows = np.frombuffer(wide.tobytes(), np.uint8).reshape(height, -1)
    filtered = np.concatenate([np.zeros((height, 1), np.uint8), rows], axis=1).tobytes()
    header = struct.pack(">IIBBBBB", width, height, bits, colour, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(filtered)) + chunk(b"IEND", b"")


def segment(marker: int, content: bytes) -> bytes:
    return bytes([0xFF, marker]) + struct.pack(">H", len(content) + 2) + content


def with_segments(jpeg: bytes, *segments: bytes) -> bytes:
    """A JPEG with more segments at its beginning."""
    return jpeg[:2] + b"".join(segments) + jpeg[2:]


def exif(orientation: int, *, kind: int = 3, order: str = "<") -> bytes:
    """EXIF with nothing but an orientation. ``kind`` is its TIFF type."""
    value = struct.pack(f"{order}H", orientation) + b"\0\0" if kind == 3 else struct.pack(f"{order}I", orientation)
    head = (b"II" if order == "<" else b"MM") + struct.pack(f"{order}HI", 42, 8)
    return head + struct.pack(f"{order}HHHI", 1, 274, kind, 1) + value + bytes(4)


def xmp(orientation: int) -> bytes:
    return (
        '<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
        '<rdf:Description xmlns:tiff="http://ns.adobe.com/tiff/1.0/" '
        f'tiff:Orientation="{orientation}"/></rdf:RDF></x:xmpmeta>'
    ).encode()


def tiff(
    samples: NDArray[np.generic],
    photometric: int,
    *,
    order: str = "<",
    big: bool = False,
    deflate: bool = True,
    planar: bool = False,
    tile: tuple[int, int] | None = None,
    rows: int = 0,
    bits: int = 0,
    tags: Mapping[int, tuple[int, Sequence[int] | bytes]] | None = None,
) -> bytes:
    """A TIFF of an array, shape [height, width, channels], of any type of number.

    ``tags`` adds or replaces tags: number to type (1 byte, 2 text, 3 short, 4 long, 7 bytes) and values. ``rows`` is
    the height of a strip, ``bits`` what a sample is said to have.
    """
    height, width, channels = samples.shape
    ordered = samples.astype(samples.dtype.newbyteorder("<" if order == "<" else ">"))
    planes = [ordered[:, :, number : number + 1] for number in range(channels)] if planar else [ordered]
    pieces = [piece.tobytes() for plane in planes for piece in _pieces(plane, tile, rows or height)]
    stored = [zlib.compress(piece) if deflate else piece for piece in pieces]
    kind = {"u": 1, "i": 2, "f": 3, "c": 6}[samples.dtype.kind]
    entries: dict[int, tuple[int, Sequence[int] | bytes]] = {
        256: (4, [width]), 257: (4, [height]), 258: (3, [bits or samples.dtype.itemsize * 8] * channels),
        259: (3, [8 if deflate else 1]), 262: (3, [photometric]), 277: (3, [channels]),
        284: (3, [2 if planar else 1]), 339: (3, [kind] * channels),
    }  # fmt: skip
    if tile:
        entries |= {322: (4, [tile[1]]), 323: (4, [tile[0]])}
    else:
        entries[278] = (4, [rows or height])
    base = 3 if photometric in (2, 6, 8) else 4 if photometric == 5 else 1
    if channels > base:
        entries[338] = (3, [0] * (channels - base))
    entries |= dict(tags or {})
    start = 16 if big else 8
    offsets = [start + sum(map(len, stored[:number])) for number in range(len(stored))]
    entries[324 if tile else 273] = (4, offsets)
    entries[325 if tile else 279] = (4, [len(piece) for piece in stored])
    body = b"".join(stored) + bytes(sum(map(len, stored)) % 2)
    return _tiff_head(order, big, start + len(body)) + body + _directory(entries, order, big, start + len(body))


def _pieces(plane: NDArray[np.generic], tile: tuple[int, int] | None, rows: int) -> list[NDArray[np.generic]]:
    if tile is None:
        return [plane[top : top + rows] for top in range(0, plane.shape[0], rows)]
    high, wide = tile
    padded = np.pad(plane, ((0, -plane.shape[0] % high), (0, -plane.shape[1] % wide), (0, 0)))
    return [
        padded[top : top + high, left : left + wide]
        for top in range(0, padded.shape[0], high)
        for left in range(0, padded.shape[1], wide)
    ]


def _tiff_head(order: str, big: bool, directory: int) -> bytes:
    letters = b"II" if order == "<" else b"MM"
    if big:
        return letters + struct.pack(f"{order}HHHQ", 43, 8, 0, directory)
    return letters + struct.pack(f"{order}HI", 42, directory)


def _directory(entries: Mapping[int, tuple[int, Sequence[int] | bytes]], order: str, big: bool, start: int) -> bytes:
    room, count = (8, "Q") if big else (4, "I")
    listed, extra = b"", b""
    after = start + (8 + 20 * len(entries) + 8 if big else 2 + 12 * len(entries) + 4)
    for tag, (kind, values) in sorted(entries.items()):
        letter = {1: "B", 3: "H", 4: "I"}.get(kind, "B")
        packed = values if isinstance(values, bytes) else struct.pack(f"{order}{len(values)}{letter}", *values)
        listed += struct.pack(f"{order}HH{count}", tag, kind, len(values))
        if len(packed) <= room:
            listed += packed.ljust(room, b"\0")
        else:
            listed += struct.pack(f"{order}{count}", after + len(extra))
            extra += packed + bytes(len(packed) % 2)
    return struct.pack(f"{order}{'Q' if big else 'H'}", len(entries)) + listed + bytes(room) + extra
