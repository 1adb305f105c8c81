"""Reads the records of the meta collection that an export and an import need."""

import hashlib
import hmac
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any

from sameface_qdrant.engines.base import Engine, Point, Where
from sameface_qdrant.store.galleries import Tenant
from sameface_qdrant.store.move_notes import MOVE
from sameface_qdrant.store.payloads import GALLERY, META, RECEIPT, UNFINISHED, gallery_of
from sameface_qdrant.transfer.erased import Event, event_of
from sameface_qdrant.values.erasure import ErasureState

PAGE = 256
NOT_REWRITTEN = (
    "the files of the store that the deletion was asked of: they were not rewritten yet when the receipt was exported"
)


def fingerprint(secret: bytes) -> str:
    """Return what tells whether two stores have the same secret, and does not reveal it."""
    return hmac.new(secret, b"sameface store", hashlib.sha256).hexdigest()


async def scrolled(engine: Engine, collection: str, where: Where) -> AsyncIterator[list[Point]]:
    """Yield all points that match, one page at a time."""
    start: str | None = None
    while True:
        points, start = await engine.scroll(collection, where, PAGE, start)
        if points:
            yield points
        if start is None:
            return


async def tenants(engine: Engine) -> dict[str, tuple[Point, Tenant]]:
    """Return the record of every gallery, by the gallery's id."""
    found = {}
    async for points in scrolled(engine, META, Where({"kind": GALLERY})):
        for point in points:
            gallery = gallery_of(point.payload)
            found[gallery.id] = point, Tenant(gallery.uid, gallery)
    return found


async def unfinished_imports(engine: Engine) -> dict[str, Point]:
    """Return the record of every import that has not ended, by the gallery's id."""
    found: dict[str, Point] = {}
    async for points in scrolled(engine, META, Where({"kind": UNFINISHED})):
        found |= {str(point.payload["of_gallery"]): point for point in points}
    return found


async def notes(engine: Engine, galleries: Sequence[str]) -> AsyncIterator[list[Point]]:
    """Yield receipts of erasures and notes of moves, of some galleries or, if none is given, of all."""
    for kind in (RECEIPT, MOVE):
        async for points in scrolled(engine, META, Where({"kind": kind})):
            chosen = [point for point in points if not galleries or point.payload["of_gallery"] in galleries]
            if chosen:
                yield chosen


async def events(engine: Engine) -> list[Event]:
    """Return the erasures and moves that a store knows of."""
    found = []
    async for points in notes(engine, ()):
        found += [event for point in points if (event := event_of(point)) is not None]
    return found


def travelling(note: Point, now: float) -> Point:
    """Return a receipt, or a note of a move, as another store keeps it.

    Another store cannot rewrite the files of this one, so no receipt is pending there.
    """
    payload: Mapping[str, Any] = note.payload
    if payload["kind"] != RECEIPT or payload["state"] == ErasureState.DONE:
        return note
    done = {"state": ErasureState.DONE.value, "done_time": now, "failure": ""}
    return Point(note.id, {**payload, **done, "not_covered": [*payload["not_covered"], NOT_REWRITTEN]})
