"""Searches Edge's files for points before and after their removal. Implements `ErasureEvidence`."""

import asyncio
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np

from sameface_qdrant.engines.base import INDEXED_POINT_ID, POINT_ID, POINT_IDS, ByteSearch, Compaction, Point
from sameface_qdrant.engines.edge import erasure_notes
from sameface_qdrant.engines.edge.byte_scan import present
from sameface_qdrant.engines.edge.collection import EdgeCollection, blocking_call
from sameface_qdrant.engines.edge.compaction import DIGEST, VECTOR
from sameface_qdrant.errors import SamefaceError

LOOKS = 3
"""Most scans of one search. A scan may have missed points if the shard was exchanged meanwhile; it is repeated then."""
PLAIN = 4
"""A vector with fewer values other than zero looks like other bytes, so it is not searched for."""


class EdgeErasureEvidence:
    """Reached as ``EdgeEngine.erasure_evidence``."""

    def __init__(
        self,
        folder: Path,
        collections: Mapping[str, EdgeCollection],
        compact: Callable[[EdgeCollection], "asyncio.Task[SamefaceError | None]"],
    ) -> None:
        self._folder = folder
        self._collections = collections
        self._compact = compact

    async def search_bytes(self, collection: str, points: Sequence[Point]) -> tuple[ByteSearch, ...]:
        """See `ErasureEvidence.search_bytes`."""
        opened = self._collections[collection]
        sought = _representations(points)
        needles = [needle for group in sought.values() for needle in group]
        found: set[bytes] = set()
        async with opened.writing:
            await opened.empty_log()  # the positive control is of the shard's files
        for _ in range(LOOKS):
            handle = opened.handle
            found |= await blocking_call(
                opened.folder, lambda: present(opened.folder, needles, skip=erasure_notes.FOLDER)
            )
            if opened.handle is handle:
                break
        searches = [
            ByteSearch(name, group, tuple(needle in found for needle in group)) for name, group in sought.items()
        ]
        return _by_segment(searches)

    async def note(self, collection: str, receipt: str, searches: Sequence[ByteSearch]) -> None:
        """See `ErasureEvidence.note`."""
        folder = self._collections[collection].folder
        await blocking_call(folder, erasure_notes.note, folder, receipt, searches)

    async def compaction(self, collection: str, receipt: str) -> Compaction | None:
        """See `ErasureEvidence.compaction`; it also starts an unfinished erasure again."""
        opened = self._collections[collection]
        kept = await blocking_call(opened.folder, erasure_notes.outcome, opened.folder, receipt)
        if kept is None:
            return None
        done_at, evidence = kept
        failure = "" if done_at is not None or opened.failure is None else opened.failure.message
        if done_at is None and opened.pending and time.monotonic() >= opened.retry_at:
            self._compact(opened)
        return Compaction(done_at, evidence, failure)

    async def forget(self, collection: str, receipt: str) -> None:
        """See `ErasureEvidence.forget`."""
        folder = self._folder / collection
        await blocking_call(folder, erasure_notes.forget, folder, receipt)

    async def noted(self, collection: str) -> tuple[str, ...]:
        """See `ErasureEvidence.noted`."""
        folder = self._folder / collection
        return await blocking_call(folder, erasure_notes.noted, folder)

    async def collections(self) -> tuple[str, ...]:
        """See `ErasureEvidence.collections`."""
        return await blocking_call(self._folder, erasure_notes.collections, self._folder)


def _by_segment(searches: Sequence[ByteSearch]) -> tuple[ByteSearch, ...]:
    """Leave out the representation of an id that the segment of its point does not use.

    A point that was moved from an indexed segment to the other one has both. One that was not found has one.
    """
    found = {
        one.representation: dict(zip(one.needles, one.found, strict=True))
        for one in searches
        if one.representation in POINT_IDS
    }
    here = {
        POINT_ID: lambda needle: found[POINT_ID][needle] or not found[INDEXED_POINT_ID][needle[::-1]],
        INDEXED_POINT_ID: lambda needle: found[INDEXED_POINT_ID][needle],
    }
    kept = []
    for one in searches:
        chosen = [
            (needle, was)
            for needle, was in zip(one.needles, one.found, strict=True)
            if one.representation not in here or here[one.representation](needle)
        ]
        if chosen or not one.needles:
            needles, was_found = zip(*chosen, strict=True) if chosen else ((), ())
            kept.append(ByteSearch(one.representation, needles, was_found))
    return tuple(kept)


def _representations(points: Sequence[Point]) -> dict[str, tuple[bytes, ...]]:
    """Return, by representation, the bytes that Edge is known to write for points."""
    vectors = [point.vector for point in points if point.vector is not None]
    digests = {str(point.payload["digest"]) for point in points if point.payload.get("digest")}
    return {
        VECTOR: tuple(
            sorted({vector.astype("<f4").tobytes() for vector in vectors if np.count_nonzero(vector) >= PLAIN})
        ),
        POINT_ID: tuple(sorted(uuid.UUID(point.id).bytes for point in points)),
        INDEXED_POINT_ID: tuple(sorted(uuid.UUID(point.id).bytes[::-1] for point in points)),
        DIGEST: tuple(sorted(digest.encode() for digest in digests)),
    }
