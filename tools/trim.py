"""Removes from installed packages what a service does not use: a third of the size of its image.

Usage: python trim.py FOLDER, where FOLDER is a site-packages. Called by docker/install.sh.

Removed are tests, stubs for type checkers, what compilers read, a second copy of ONNX Runtime that is for programs in
C, and from every shared library the part that only debuggers and linkers read.
"""

import shutil
import struct
import sys
from pathlib import Path

UNUSED = ("*/tests", "*.pyi", "*.pyx", "*.px[di]", "*.[ah]", "numpy/f2py", "onnxruntime/capi/libonnxruntime.so*")
ELF64 = b"\x7fELF\x02\x01"
"""What a file for 64 bits begins with whose numbers are little-endian, as on x86-64 and arm64."""
HEADER = 64
WORTHWHILE = 1 << 16
"""Fewer bytes are left where they are."""


def trim(folder: Path) -> int:
    """Remove what is not used, and return how many bytes that were."""
    before = _size(folder)
    for path in unused(folder):
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
    for path in folder.rglob("*.so*"):
        if path.is_file() and not path.is_symlink():
            content = path.read_bytes()
            if len(content) - len(shorter := without_tail(content)) >= WORTHWHILE:
                # Written anew: installers link files into their cache.
                mode = path.stat().st_mode
                path.unlink()
                path.write_bytes(shorter)
                path.chmod(mode)
    return before - _size(folder)


def unused(folder: Path) -> list[Path]:
    """Return the files and folders that are removed."""
    return [path for pattern in UNUSED for path in sorted(folder.rglob(pattern))]


def without_tail(content: bytes) -> bytes:
    """Return a shared library up to the last byte that is loaded, without its table of sections.

    A program that loads it reads the program headers alone (ELF-64 object file format, version 1.5, sections 4 and 7).
    Symbols and debug information are behind what is loaded. Another file is returned as it is.
    """
    if not content.startswith(ELF64) or len(content) < HEADER:
        return content
    (headers,) = struct.unpack_from("<Q", content, 32)
    size, number = struct.unpack_from("<HH", content, 54)
    if headers + size * number > len(content):
        return content
    # Of a program header: where its bytes begin in the file, and how many they are.
    spans = [struct.unpack_from("<QxxxxxxxxxxxxxxxxQ", content, headers + size * index + 8) for index in range(number)]
    end = max([HEADER, headers + size * number, *(offset + length for offset, length in spans)])
    kept = bytearray(content[:end])
    struct.pack_into("<Q", kept, 40, 0)  # where the table of sections begins
    struct.pack_into("<HH", kept, 60, 0, 0)  # their number, and the one with their names
    return bytes(kept)


def _size(folder: Path) -> int:
    return sum(path.lstat().st_size for path in folder.rglob("*") if not path.is_dir())


if __name__ == "__main__":
    for each in sys.argv[1:]:
        print(f"{each}: {trim(Path(each)) / 1e6:.0f} MB removed")
