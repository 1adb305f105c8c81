"""Keeps the numbers of a shard's operations ahead of the versions of its points.

Edge gives each operation a number, and a point has the number of its latest change as its version. Edge silently skips
a change whose number is below the point's version. At loading it goes on from the number in `segment.json`, but a flush
makes that file durable after the versions of the points. If a crash comes between the two, later deletions and updates
would be acknowledged and do nothing. So after each loading the numbers are advanced beyond the points.
"""

import json
import logging
from pathlib import Path

import numpy as np
import qdrant_edge as edge

log = logging.getLogger(__name__)

SENTINEL = "00000000-0000-4000-8000-000000000000"
"""The id of a point that is written only to be removed at once."""
MOST_BEHIND = 1 << 23
"""Edge counts so many operations within a minute. No flush holds so many, so a larger difference was misread."""
_UNKNOWN = "the versions of points in %s are not as Qdrant Edge 0.9 writes them; they were not checked"
_VERSION = np.dtype("<u8")


def catch_up(shard: edge.EdgeShard, path: Path) -> None:
    """Advance the operations of a shard that was just loaded from ``path``, if its points are ahead; blocks."""
    behind = _behind(path)
    if behind is None:
        if shard.info().points_count:
            log.warning(_UNKNOWN, path)
        return
    if behind <= 0:
        return
    if behind > MOST_BEHIND:
        log.warning(_UNKNOWN, path)
        return
    removal = edge.UpdateOperation.delete_points([SENTINEL])
    for _ in range(behind):
        shard.update(removal)  # takes a number and changes nothing
    # Only a change of a point has its number flushed.
    shard.update(edge.UpdateOperation.upsert_points([edge.Point(SENTINEL, {}, {})]))
    shard.update(removal)
    shard.flush()
    log.info("%s was not closed properly; its operations were advanced by %d", path, behind)
    if (_behind(path) or 0) > 0:
        log.warning("the operations of %s are still behind its points; restore it from a backup", path)


def _behind(path: Path) -> int | None:
    """Return how far the points are ahead of the operations; None if the files do not tell."""
    points = [
        _largest(file)
        for name in ("mutable_id_tracker.versions", "id_tracker.versions")
        for file in path.glob(f"segments/*/{name}")
    ]
    try:
        operations = [_operation(file) for file in path.glob("segments/*/segment.json")]
    except (KeyError, TypeError, ValueError):
        return None
    return max(points) - max(operations) if points and operations else None


def _largest(file: Path) -> int:
    versions = np.fromfile(file, _VERSION, count=file.stat().st_size // _VERSION.itemsize)
    return int(versions.max(initial=0))


def _operation(file: Path) -> int:
    version = json.loads(file.read_text(encoding="utf-8"))["version"]
    return 0 if version is None else int(version)
