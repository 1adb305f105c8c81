"""Removes from installed packages what a service does not use: a third of the size of its image.

Usage: python trim.py FOLDER, where FOLDER is a site-packages. Called by docker/install.sh.

Removed are tests, what type checkers and compilers read, parts of packages that neither sameface nor another package
imports, what colours source code in most languages, second copies of files, and from every shared library what only
debuggers and linkers read.
"""

import json
import shutil
import struct
import sys
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

UNUSED = (
    *("*/tests", "numpy/_core/_*_tests.*.so", "numpy/_core/_simd.*.so", "numpy/testing", "numpy/ma/testutils.py"),
    *("*.pyi", "*.pyx", "*.px[di]", "*.[ah]", "*.proto", "pydantic/mypy.py", "cffi", "pycparser", "numpy/f2py"),
    *("numpy/polynomial", "portalocker/redis.py", "pydantic/v1", "qdrant_client/serverless"),
    *(f"google/{name}" for name in ("cloud", "gapic", "logging", "longrunning", "type")),
    *("grpc/beta", "grpc/framework", "tritonclient/http", "tritonhttpclient"),
    *("tritonclient/utils/*shared_memory", "tritonshmutils"),
    *("pygments/formatters", "pygments/lexers/*.py", "pygments/styles/*.py"),
    *("cv2/LICENSE-3RD-PARTY.txt", "onnxruntime/capi/libonnxruntime.so*"),
)
"""In this order: for tests, for type checkers and compilers, parts that nothing here asks for, colours, and copies."""
USED = (
    *(f"pygments/lexers/{name}.py" for name in ("__init__", "_mapping", "data", "python", "shell", "special")),
    *(f"pygments/styles/{name}.py" for name in ("__init__", "_mapping", "default", "monokai")),
)
"""Left where they are. Rich colours tracebacks and the code in a command's help with them."""
ELF64 = b"\x7fELF\x02\x01"
"""What a file for 64 bits begins with whose numbers are little-endian, as on x86-64 and arm64."""
HEADER, PROGRAM_HEADER = 64, 56
LOADED = 1
"""The type of a program header whose bytes are mapped into memory (PT_LOAD)."""
LARGEST_PAGE = 1 << 16
"""Of Linux on x86-64 and arm64. Linkers wrote alignments of 2 MiB, which leave holes in files."""
WORTHWHILE = 1 << 12
"""Fewer bytes are left where they are."""


class Span(NamedTuple):
    """Bytes of a file that stay together. ``align``: they may move by multiples of this number of bytes."""

    begin: int
    end: int
    align: int


def trim(folder: Path) -> int:
    """Remove what is not used, and return how many bytes that were."""
    before = _size(folder)
    for path in unused(folder):
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
    for pattern, shorten in (("*.so*", shortened), ("*.dist-info/sboms/*.json", without_spaces)):
        for path in folder.rglob(pattern):
            if path.is_file() and not path.is_symlink():
                content = path.read_bytes()
                if len(content) - len(shorter := shorten(content)) >= WORTHWHILE:
                    # Written anew: installers link files into their cache.
                    mode = path.stat().st_mode
                    path.unlink()
                    path.write_bytes(shorter)
                    path.chmod(mode)
    return before - _size(folder)


def unused(folder: Path) -> list[Path]:
    """Return the files and folders that are removed."""
    return [path for path in sorted(folder.rglob("*")) if is_unused(path)]


def is_unused(path: Path) -> bool:
    """Return whether a file or folder of a site-packages is removed; what is in a removed folder is not asked for."""
    return any(path.match(pattern) for pattern in UNUSED) and not any(path.match(pattern) for pattern in USED)


def without_spaces(content: bytes) -> bytes:
    """Return a JSON document without the spaces between its values.

    >>> without_spaces(b'{"a": [1, 2.5]}')
    b'{"a":[1,2.5]}'
    """
    return json.dumps(json.loads(content), ensure_ascii=False, separators=(",", ":")).encode()


def shortened(content: bytes) -> bytes:
    """Return a shared library with the bytes that a program header names, without those between and behind them.

    A program that loads it reads the program headers alone (ELF-64 object file format, version 1.5, sections 4 and 7).
    Symbols, debug information and the table of sections are in none of them. In memory each segment keeps its place:
    in the file, it moves by a multiple of its alignment. Another file is returned as it is.
    """
    if not content.startswith(ELF64) or len(content) < HEADER:
        return content
    (headers,) = struct.unpack_from("<Q", content, 32)
    size, number = struct.unpack_from("<HH", content, 54)
    if size != PROGRAM_HEADER or headers + size * number > len(content):
        return content
    spans = [Span(0, HEADER, 1), Span(headers, headers + size * number, 1)]
    for at in range(headers, headers + size * number, size):
        kind, begin, length, align = _read(content, at)
        spans.append(Span(begin, begin + length, min(align, LARGEST_PAGE) if kind == LOADED else align))
    blocks = joined(spans)
    if blocks[-1].end > len(content):
        return content
    places = packed(blocks)
    kept = bytearray(places[-1] + blocks[-1].end - blocks[-1].begin)
    for block, place in zip(blocks, places, strict=True):
        kept[place : place + block.end - block.begin] = content[block.begin : block.end]

    def moved(offset: int) -> int:
        return next(offset - one.begin + to for one, to in zip(blocks, places, strict=True) if offset <= one.end)

    for at in range(headers, headers + size * number, size):
        kind, begin, _, align = _read(content, at)
        struct.pack_into("<Q", kept, moved(at) + 8, moved(begin))
        if kind == LOADED:
            struct.pack_into("<Q", kept, moved(at) + 48, min(align, LARGEST_PAGE))
    struct.pack_into("<QQ", kept, 32, moved(headers), 0)  # no table of sections
    struct.pack_into("<HH", kept, 60, 0, 0)  # their number, and the one with their names
    return bytes(kept)


def joined(spans: list[Span]) -> list[Span]:
    """Return the spans in their order, those as one that overlap or touch.

    >>> joined([Span(0, 64, 1), Span(4096, 5000, 4096), Span(64, 100, 8), Span(4200, 4300, 16)])
    [Span(begin=0, end=100, align=8), Span(begin=4096, end=5000, align=4096)]
    """
    blocks: list[Span] = []
    for span in sorted(spans):
        if blocks and span.begin <= blocks[-1].end:
            last = blocks.pop()
            span = Span(last.begin, max(last.end, span.end), max(last.align, span.align))
        blocks.append(span)
    return blocks


def packed(blocks: list[Span]) -> list[int]:
    """Return where each block begins if the holes before it are as small as its alignment allows.

    >>> packed([Span(0, 100, 8), Span(12290, 12300, 4096)])
    [0, 4098]
    """
    places = [blocks[0].begin]
    for before, block in pairwise(blocks):
        end = places[-1] + before.end - before.begin
        places.append(end + (block.begin - end) % max(block.align, 1))
    return places


def _read(content: bytes, at: int) -> tuple[int, int, int, int]:
    """Of a program header: its type, where its bytes begin in the file, how many they are, and their alignment."""
    kind, begin, length, align = struct.unpack_from("<I4xQ16xQ8xQ", content, at)
    return kind, begin, length, align


def _size(folder: Path) -> int:
    return sum(path.lstat().st_size for path in folder.rglob("*") if not path.is_dir())


if __name__ == "__main__":
    for each in sys.argv[1:]:
        print(f"{each}: {trim(Path(each)) / 1e6:.0f} MB removed")
