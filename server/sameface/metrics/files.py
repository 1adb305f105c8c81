"""What metrics say of files: when certificates and keys end, and how much space is left."""

import shutil
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path

from sameface.access.ends import certificate_end, key_ends
from sameface_qdrant.errors import SamefaceError


def first_end(path: Path) -> float:
    """Return when the first certificate of a PEM file ends, in seconds of the epoch.

    A file that cannot be read, or has no certificate, ended at 0: nobody can use it, and the alert must not end.
    """
    try:
        return certificate_end(path).timestamp()
    except (OSError, ValueError):
        return 0.0


def next_key_end(path: Path) -> float | None:
    """Return when the next API key of a file ends, in seconds of the epoch; None without one, or without a usable file.

    Keys that ended within the last days count, see `key_ends`.
    """
    try:
        return min(key_ends(path, datetime.now(UTC)), default=None)
    except (OSError, SamefaceError):
        return None


def space(folders: Mapping[str, Path]) -> Iterator[tuple[str, int, int] | tuple[str, None, None]]:
    """Yield for each folder its name, the free bytes of its file system and the size of that.

    Both are None if the folder cannot be asked: it is missing, or its disk or the way to it does not answer.
    """
    for name, folder in folders.items():
        try:
            usage = shutil.disk_usage(folder)
        except OSError:
            yield name, None, None
        else:
            yield name, usage.free, usage.total
