"""What the files of a store hold."""

import os
from pathlib import Path


def contents(folder: Path) -> bytes:
    """What was written to all files of a folder."""
    return b"\0".join(written(path) for path in sorted(folder.rglob("*")) if path.is_file())


def written(path: Path) -> bytes:
    """What was written to a file, without the parts that never were: of Edge's files of 32 MiB these are nearly all.

    A zero stands for each such part, and for the zeros before it.
    """
    parts: list[bytes] = []
    end = 0
    with path.open("rb") as file:
        while True:
            try:
                begin = os.lseek(file.fileno(), end, os.SEEK_DATA)
            except OSError:  # nothing was written after that
                return b"\0".join(parts)
            end = os.lseek(file.fileno(), begin, os.SEEK_HOLE)
            parts.append(os.pread(file.fileno(), end - begin, begin).rstrip(b"\0"))
