"""Small files beside the shards: the format of the folder, the name of the current shard."""

import os
import shutil
from pathlib import Path

from sameface_qdrant.errors import StoreCorrupt

FORMAT_FILE, FORMAT = "FORMAT", "sameface-edge-1"


def check_format(folder: Path) -> None:
    """Note the format in a new folder, or check that of an old one.

    Raises:
        StoreCorrupt: the folder was written in another format.
    """
    found = read_text(folder / FORMAT_FILE)
    if found is None:
        write_text(folder / FORMAT_FILE, FORMAT)
    elif found != FORMAT:
        raise StoreCorrupt(
            f"{folder} has format {found[:40]!r}; this version reads {FORMAT!r}",
            metadata={"path": folder, "found": found[:40]},
        )


def read_text(path: Path) -> str | None:
    """Return a small file's text, None where it does not exist."""
    try:
        return path.read_text(encoding="utf-8").strip()
    except FileNotFoundError:
        return None


def write_text(path: Path, text: str) -> None:
    """Write a small file so that after a crash it has either the old or the new text, durably."""
    partial = path.with_name(f".{path.name}.partial")
    with partial.open("w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    partial.replace(path)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def clear_strays(folder: Path, current: Path | None) -> None:
    """Delete shard folders that are not the current one: left by an erasure, or by one that was cut off."""
    for stray in folder.glob("shard-*"):
        if stray != current:
            shutil.rmtree(stray)
