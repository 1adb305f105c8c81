"""The compare-and-set of the store: a record's next revision, with the points that belong to the same change.

Services that share a Qdrant server race. Every record that they change has a revision and the tokens of its latest
writers. A change is written on the condition that the record exists and still has the revision that was read. Qdrant
does not say whether the condition was met, so the writer reads the record back and looks for its own token.

Points that come with the change are inserted before the record, whatever becomes of it. They are pending: no decision
and no list has them. A writer that won confirms them, and one that lost removes them. Both name its token and the state
PENDING, so what one writer confirmed is never removed by another one. `sweep` removes those of a writer that crashed.

A record that is CLOSED is being erased. It changes no more, and nobody finds it.
"""

import asyncio
import secrets
import time
import uuid
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeVar

from sameface_qdrant.concurrency import together
from sameface_qdrant.engines.base import Engine, Point, Where
from sameface_qdrant.errors import ConcurrentUpdate
from sameface_qdrant.values.schema import CURRENT, SchemaVersion, check_writable, schema_of, stamped

Result = TypeVar("Result")

WRITER, WRITERS, REVISION = "mark", "marks", "revision"
"""Stored fields: the token of a template's writer, the tokens of a record's latest writers, and its revision."""
STATE, PENDING, CLOSED = "state", "pending", "closed"
"""A stored field, and its values. Most points have none."""
SINCE = "pending_since"
"""A stored field: seconds since the epoch."""
LATEST_WRITERS = 32
ATTEMPTS = 8
"""How often a change without an etag is tried if other services are faster."""
CRASHED_AFTER_S = 60.0
"""A writer confirms or removes what is pending at once. After this time it has done so, or it has crashed."""


@dataclass(frozen=True, slots=True)
class Change:
    """A record and the points that come with it, to be written under one token."""

    collection: str
    record: Point
    companions: tuple[Point, ...]
    writer: str
    read_revision: int | None
    """The revision that the record had when it was read; None if it is new."""

    def won(self, stored: Point | None) -> bool:
        """Return whether the record, read back, contains this change. Others may have changed it again since."""
        return stored is not None and self.writer in stored.payload[WRITERS]


def change_of(
    collection: str,
    record: Point,
    payload: Mapping[str, Any],
    companions: Sequence[Point] = (),
    *,
    new: bool = False,
    writer: str = "",
    form: SchemaVersion = CURRENT,
) -> Change:
    """Return the change that gives a record a payload, in its next revision.

    Args:
        collection: the collection of the record and its companions.
        record: as it was read; with ``new`` one that is not stored yet.
        payload: the record's new fields. The others stay.
        companions: points that are new with this change.
        new: whether the record is to be inserted.
        writer: the token, where several changes share one; see `new_writer`.
        form: the schema version of the record after the change.

    Raises:
        StoreTooNew: a newer release wrote the record, and this one may not change it.
    """
    check_writable(schema_of(record.payload), "the record")
    writer = writer or new_writer()
    revised = {
        **record.payload,
        **payload,
        REVISION: 1 if new else record.payload[REVISION] + 1,
        WRITERS: [*([] if new else record.payload[WRITERS]), writer][-LATEST_WRITERS:],
    }
    return Change(
        collection,
        Point(record.id, stamped(revised, form)),
        tuple(Point(point.id, {**point.payload, WRITER: writer}, point.vector) for point in companions),
        writer,
        None if new else record.payload[REVISION],
    )


def new_writer() -> str:
    """Return a token that no other writer has."""
    return uuid.uuid4().hex


async def apply(engine: Engine, *changes: Change) -> None:
    """Write changes of one collection. Each record is written only if its condition holds.

    A record and its companions go in one request, together with those of all changes under the same condition.
    """
    alike: dict[int | None, list[Change]] = {}
    for change in changes:
        # Where nobody else can have written in between, all known records have the revision that was read.
        condition = change.read_revision and (0 if engine.exclusive else change.read_revision)
        alike.setdefault(condition, []).append(change)
    await together(engine, *(_apply_alike(engine, group) for group in alike.values()))


async def _apply_alike(engine: Engine, changes: Sequence[Change]) -> None:
    collection, revision = changes[0].collection, changes[0].read_revision
    records = [change.record for change in changes]
    companions = [companion for change in changes for companion in change.companions]
    if engine.exclusive:
        # One batch is written whole or not at all.
        await engine.upsert(collection, [*records, *companions], insert_only=revision is None)
        return
    marks = {STATE: PENDING, SINCE: time.time()}
    pending = [replace(point, payload={**point.payload, **marks}) for point in companions]
    condition = None if revision is None else Where({REVISION: revision})
    await engine.upsert(collection, records, insert_only=revision is None, only_if=condition, companions=pending)


async def confirm(engine: Engine, *changes: Change) -> None:
    """Make the companions of changes under one token count."""
    if not engine.exclusive and (these := _pending(changes)):
        await engine.set_payload(changes[0].collection, these, {STATE: ""})


async def take_back(engine: Engine, *changes: Change) -> None:
    """Remove the companions of changes under one token that are still pending."""
    if these := _pending(changes):
        await engine.delete(changes[0].collection, these)


def _pending(changes: Sequence[Change]) -> Where | None:
    """Return the filter on the companions that are pending; None if the changes have no companions."""
    ids = tuple(companion.id for change in changes for companion in change.companions)
    if not ids:
        return None
    # By token, because another service with the same request may have written the same ids.
    first = changes[0]
    return Where({"gallery": first.record.payload["gallery"], WRITER: first.writer, STATE: PENDING}, ids=ids)


async def write(engine: Engine, change: Change) -> Point | None:
    """Write a change and return the stored record; the caller confirms the companions.

    Return None if another writer was faster; the companions are removed then.
    """
    await apply(engine, change)
    stored = (await engine.get(change.collection, [change.record.id])).get(change.record.id)
    if change.won(stored):
        return stored
    await take_back(engine, change)
    return None


async def remove(engine: Engine, collection: str, record: Point) -> None:
    """Remove a record if it still has the revision that was read."""
    # With its gallery, which may keep a copy of the record under another contract.
    these = {"gallery": record.payload["gallery"], REVISION: record.payload[REVISION]}
    await engine.delete(collection, Where(these, ids=(record.id,)))


def confirmed(engine: Engine, where: Where) -> Where:
    """Return the filter without pending points. Where only this process writes, none is pending."""
    return where if engine.exclusive else replace(where, excludes={**where.excludes, STATE: PENDING})


def is_pending(template: Point) -> bool:
    """Return whether the writer of a template has neither confirmed nor removed it yet."""
    return template.payload.get(STATE) == PENDING


def is_closed(record: Point) -> bool:
    """Return whether a record is being erased."""
    return record.payload.get(STATE) == CLOSED


def is_left_over(point: Point) -> bool:
    """Return whether the writer of a pending template, or of a record whose change is not finished, has crashed."""
    moment = point.payload[SINCE if is_pending(point) else "updated"]
    return time.time() - float(moment) > CRASHED_AFTER_S


async def repeated(call: Callable[[], Awaitable[Result]], attempts: int = ATTEMPTS) -> Result:
    """Return what ``call`` returns. If another service was faster, call it again, with growing pauses between."""
    for attempt in range(1, attempts):
        try:
            return await call()
        except ConcurrentUpdate:
            await asyncio.sleep(0.01 * 2**attempt * secrets.SystemRandom().random())
    return await call()


def overtaken(gallery: str, identity: str) -> ConcurrentUpdate:
    """Return the error for a change of an identity that lost against another service."""
    return ConcurrentUpdate(
        f"another service changes, moves or deletes the identity {identity!r} or its gallery; repeat the call",
        metadata={"gallery": gallery, "identity": identity},
    )
