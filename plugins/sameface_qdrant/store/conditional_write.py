"""Conditional writes: a record's next revision, with the points that belong to the same change.

Services that share a Qdrant server race. Every record that they change has a revision and the tokens of its latest
writers. A change is written on the condition that the revision is still the one that was read. Qdrant does not say
whether the condition was met, so the writer reads the record back and looks for its own token. Points that come with
the change are new and are always written. A writer that lost removes them again by its token.
"""

import time
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from sameface_qdrant.engines.base import Engine, Point, Where
from sameface_qdrant.errors import ConcurrentUpdate
from sameface_qdrant.values.schema import CURRENT, SchemaVersion, check_writable, schema_of, stamped

WRITER, WRITERS, REVISION = "mark", "marks", "revision"
"""Stored fields: the token of a template's writer, the tokens of a record's latest writers, and its revision."""
LATEST_WRITERS = 32
WITHDRAWN_AFTER_S = 60.0
"""A writer that lost removes its templates at once. After this time it has done so, or it has crashed."""


@dataclass(frozen=True, slots=True)
class Change:
    """A record and the points that come with it, to be written under one token."""

    collection: str
    record: Point
    companions: tuple[Point, ...]
    writer: str
    read_revision: int | None
    """The revision that the record had when it was read; None if it is new."""

    async def apply(self, engine: Engine) -> None:
        """Write everything in one batch, the record only if its condition holds."""
        new = self.read_revision is None
        condition = None if new else Where({REVISION: int(self.read_revision or 0)})
        await engine.upsert(self.collection, [self.record, *self.companions], insert_only=new, only_if=condition)

    def won(self, stored: Point | None) -> bool:
        """Return whether the record, read back, contains this change. Others may have changed it again since."""
        return stored is not None and self.writer in stored.payload[WRITERS]

    async def take_back(self, engine: Engine) -> None:
        """Remove the companions by token: another service with the same request may have written the same ids."""
        own = {"gallery": self.record.payload["gallery"], WRITER: self.writer}
        await engine.delete(self.collection, Where(own))


def change_of(
    collection: str,
    record: Point,
    payload: Mapping[str, Any],
    companions: Sequence[Point] = (),
    *,
    new: bool = False,
    form: SchemaVersion = CURRENT,
) -> Change:
    """Return the change that gives a record a payload, in its next revision.

    Args:
        collection: the collection of the record and its companions.
        record: as it was read; with ``new`` one that is not stored yet.
        payload: the record's new fields. The others stay.
        companions: points that are new with this change.
        new: whether the record is to be inserted.
        form: the schema version of the record after the change.

    Raises:
        StoreTooNew: a newer release wrote the record, and this one may not change it.
    """
    check_writable(schema_of(record.payload), "the record")
    writer = uuid.uuid4().hex
    revised = {
        **record.payload,
        **payload,
        REVISION: 1 if new else record.payload[REVISION] + 1,
        WRITERS: [*([] if new else record.payload[WRITERS]), writer][-LATEST_WRITERS:],
    }
    return Change(
        collection,
        Point(record.id, stamped(revised, form)),
        tuple(replace(point, payload={**point.payload, WRITER: writer}) for point in companions),
        writer,
        None if new else record.payload[REVISION],
    )


async def write(engine: Engine, change: Change) -> Point | None:
    """Write a change and return the stored record.

    Return None if another writer was faster; the companions are removed then.
    """
    await change.apply(engine)
    stored = (await engine.get(change.collection, [change.record.id])).get(change.record.id)
    if change.won(stored):
        return stored
    if change.companions:
        await change.take_back(engine)
    return None


def will_stay(template: Mapping[str, Any], identity: Mapping[str, Any] | None) -> bool:
    """Return whether a stored template stays: its writer won, or would have removed it by now."""
    won = identity is not None and template[WRITER] in identity[WRITERS]
    return won or time.time() - float(template["created"]) > WITHDRAWN_AFTER_S


def overtaken(gallery: str, identity: str) -> ConcurrentUpdate:
    """Return the error for a change of an identity that lost against another service."""
    return ConcurrentUpdate(
        f"another service changed the identity {identity!r} or its gallery, or is moving it; repeat the call",
        metadata={"gallery": gallery, "identity": identity},
    )
