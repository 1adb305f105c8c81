"""Small files beside the shards (format of the folder, name of the current shard), and checks of free disk space."""

import contextlib
import errno
import json
import os
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from sameface_qdrant.errors import StoreCorrupt, StoreFull
from sameface_qdrant.values.schema import CURRENT, INDEXED, SchemaVersion, check_writable, schema_of, stamped

FORMAT_FILE, FORMAT = "FORMAT", "sameface-edge"
FIRST_FORMAT = "sameface-edge-1"
"""The text of the file before it had a schema version; it means version 1."""
LOG, LOGGED = "writes.log", "has_log"
"""The log in a shard's folder, and a field of the format while only logs keep older releases out."""
_noting = threading.Lock()
MIB = 1 << 20
ROOM_TO_WRITE, ROOM_TO_DELETE, ROOM_TO_OPEN = 64 * MIB, 16 * MIB, 4 * MIB
"""With fewer free bytes, each of these is refused. Edge writes to sparse files through memory maps. If the disk has no
block left for a page, the system raises no error but ends the process with SIGBUS. (On tmpfs holes take room as soon as
a shard is opened, about 50 MiB each.)"""


def check_format(folder: Path) -> None:
    """Write format and schema version of a new folder, or check those of an existing one.

    Raises:
        StoreCorrupt: the file does not name a format of this engine.
        StoreTooNew: a newer release wrote the folder, and this one cannot read or change it.
    """
    found = read_text(folder / FORMAT_FILE)
    if found is not None:
        version = _version_in(found)
        if version is None:
            raise StoreCorrupt(
                f"{folder} has format {found[:40]!r}; this release reads {FORMAT!r} of schema version "
                f"{CURRENT.version}; name another folder, or restore this one from a backup",
                metadata={"path": folder, "found": found[:40]},
            )
        check_writable(version, f"the folder {folder}")
        if version.version >= CURRENT.version and found != FIRST_FORMAT:
            return
    with (
        contextlib.suppress(OSError) if found is not None else contextlib.nullcontext()
    ):  # a full disk opens for reading
        write_text(folder / FORMAT_FILE, json.dumps(stamped({"format": FORMAT})))


def note_index(folder: Path) -> None:
    """Note durably that a store has a graph, so that releases which know none refuse it."""
    with _noting:
        noted = _noted(folder)
        if noted.pop(LOGGED, False) or schema_of(noted).least_reader < INDEXED.least_reader:
            write_text(folder / FORMAT_FILE, json.dumps(stamped(noted, INDEXED)))


def note_log(folder: Path) -> None:
    """Note durably that a store has a log of writes, so that releases which know none refuse it until it is closed."""
    with _noting:
        noted = _noted(folder)
        if schema_of(noted).least_reader < INDEXED.least_reader:
            write_text(folder / FORMAT_FILE, json.dumps({**stamped(noted, INDEXED), LOGGED: True}))


def forget_log(folder: Path) -> None:
    """Take back what `note_log` noted, if every log is empty."""
    if any(path.stat().st_size for path in folder.glob(f"*/shard-*/{LOG}")):
        return  # of a collection that was not opened since a crash, or that could not be flushed
    with _noting:
        noted = _noted(folder)
        if noted.pop(LOGGED, False):
            write_text(folder / FORMAT_FILE, json.dumps(stamped(noted)))


def _noted(folder: Path) -> dict[str, Any]:
    found = read_text(folder / FORMAT_FILE)
    return {"format": FORMAT} if found in (None, FIRST_FORMAT) else json.loads(found or "")


def _version_in(text: str) -> SchemaVersion | None:
    if text == FIRST_FORMAT:
        return SchemaVersion(1, 1, 1)
    try:
        noted = json.loads(text)
        return schema_of(noted) if noted["format"] == FORMAT else None
    except (ValueError, KeyError, TypeError):
        return None


def check_room(folder: Path, needed: int) -> None:
    """Raise StoreFull if the disk under ``folder`` has fewer than ``needed`` bytes free."""
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise StoreFull(
            f"the disk under {folder} has {free // MIB} MiB left; {-(-needed // MIB)} MiB are needed; free some "
            "space; reads still work",
            metadata={"path": folder, "free": free, "needed": needed},
        )


def bytes_on_disk(folder: Path) -> int:
    """Return how many bytes the files below a folder take up; holes take none."""
    return sum(path.stat().st_blocks * 512 for path in folder.rglob("*") if path.is_file())


def read_text(path: Path) -> str | None:
    """Return a small file's text; None if it does not exist."""
    try:
        return path.read_text(encoding="utf-8").strip()
    except FileNotFoundError:
        return None


def write_text(path: Path, text: str) -> None:
    """Write a small file so that after a crash it has either the old or the new text, durably.

    The package for this, atomicwrites, is no longer maintained.
    """
    partial = path.with_name(f".{path.name}.partial")
    with partial.open("w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    partial.replace(path)
    sync_folder(path.parent)


def sync_folder(path: Path) -> None:
    """Make the names in a folder durable."""
    folder = os.open(path, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def clear_strays(folder: Path, current: Path | None) -> None:
    """Delete shard folders other than the current one, which a finished or interrupted erasure left behind."""
    for stray in folder.glob("shard-*"):
        if stray != current:
            shutil.rmtree(stray)


def copy_files(source: Path, target: Path) -> None:
    """Copy a folder whose files nobody writes meanwhile. Holes stay holes; nothing is made durable."""
    for path in [source, *sorted(source.rglob("*"))]:
        copy = target / path.relative_to(source)
        if path.is_dir():
            copy.mkdir()
            continue
        with path.open("rb", buffering=0) as old, copy.open("wb") as new:
            new.truncate(path.stat().st_size)
            for begin, end in extents(old.fileno()):
                old.seek(begin)
                new.seek(begin)
                while begin < end and (piece := old.read(min(MIB, end - begin))):
                    new.write(piece)
                    begin += len(piece)


def extents(file: int) -> Iterator[tuple[int, int]]:
    """Yield where a sparse file has contents. Edge's files are mostly holes while a collection is small."""
    end = 0
    while True:
        try:
            begin = os.lseek(file, end, os.SEEK_DATA)
        except OSError as error:
            if error.errno == errno.ENXIO:  # no contents after this
                return
            raise
        end = os.lseek(file, begin, os.SEEK_HOLE)
        yield begin, end
