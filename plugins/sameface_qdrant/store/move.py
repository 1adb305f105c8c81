"""Moves the templates of one identity to another one. No acknowledged template is lost on the way.

1. The source's record names the target and an id of the move. From then on nothing is enrolled for the source, and
   nobody deletes it. If a service has read the record before, it finds the change and removes its template.
2. The templates are written under the target, together with the target's record, which keeps the id of the move. Their
   new ids derive from the old ones, so a repeat writes the same points. They count after a check that the source is
   still being moved.
3. When that is durable, a note of both ids is written (`sameface_qdrant.store.move_notes`), and the source is erased:
   its templates, and then its record.

A repeat finishes a move that was interrupted. The id of the move tells the target from another identity that got the
same name meanwhile. Of two services that make the same move, the one that wrote the source's record last goes on, and
the other one is overtaken.

Until the source is erased, a repeat could bring back what was deleted under the target. So the target's record names
the source, and whoever deletes something of the target, or moves another identity there, finishes that move first
(`finish_arrival`).
"""

import time
import uuid
from collections.abc import Mapping, Sequence
from typing import Any

from sameface_qdrant.engines.base import Engine, Point, Where
from sameface_qdrant.errors import IdentityAlreadyExists, TemplateLimitReached
from sameface_qdrant.store import payloads
from sameface_qdrant.store.clock import time_now
from sameface_qdrant.store.conditional_write import (
    PENDING,
    REVISION,
    STATE,
    Change,
    change_of,
    confirm,
    is_closed,
    is_left_over,
    is_pending,
    overtaken,
    remove,
    take_back,
    write,
)
from sameface_qdrant.store.filters import identity_filter
from sameface_qdrant.store.galleries import Tenant
from sameface_qdrant.store.identity_records import find_record
from sameface_qdrant.store.move_notes import move_note, moved_template_id


async def move(engine: Engine, tenant: Tenant, source: Point, target: str, *, merge: bool) -> Point:
    """Move every template of the source's record to the target identity, and return the target's record.

    The source is erased. The caller holds the write lock and commits. `Identities.move` lists the errors.
    """
    identity = source.payload["identity"]
    if is_closed(source):
        raise overtaken(tenant.gallery.id, identity)
    begun = source.payload["moving_to"]
    if begun and begun != target and await _has_arrived(engine, tenant, source, begun):
        raise overtaken(tenant.gallery.id, identity)
    present = await find_record(engine, tenant, target)
    await _check_target(engine, tenant, source, present)
    move_id = source.payload["move"] if begun == target else uuid.uuid4().hex
    arrived = present is not None and present.payload["moved_by"] == move_id
    if present is not None and not arrived and await finish_arrival(engine, tenant, present):
        present = await find_record(engine, tenant, target)
    if present is not None and not merge and not arrived:
        raise IdentityAlreadyExists(
            f"the identity {target!r} exists already in {tenant.gallery.id!r}; merge into it, or choose another id",
            metadata={"gallery": tenant.gallery.id, "identity": target},
        )
    if not arrived:
        copies = _copies(tenant, await _templates(engine, tenant, identity), target, present)
        await _check_room(engine, tenant, target, copies)
    closing = {"moving_to": target, "move": move_id, "merging": merge}
    _, closed = await _write(engine, tenant, source, closing)
    if not engine.exclusive:
        # Two identities may be closed at the same moment, each to be moved to the other one.
        present = await find_record(engine, tenant, target)
        await _check_target(engine, tenant, closed, present)
    # Read again: templates that another service wrote until then are stored now. Its confirmation or removal follows.
    points = await _templates(engine, tenant, identity)
    if any(is_pending(point) and not is_left_over(point) for point in points):
        raise overtaken(tenant.gallery.id, identity)
    counting = [point for point in points if not is_pending(point)]
    copies = _copies(tenant, counting, target, present)
    fresh = {**source.payload, "identity": target, "moving_to": "", "move": ""}
    record = present or Point(payloads.identity_point_id(tenant.uid, target), fresh)
    ids = tuple(copy.id for copy in copies)
    if ids and not engine.exclusive:
        # Of a move that was interrupted. A move that still runs finds its copies missing, and erases nothing.
        await engine.delete(tenant.collection, Where({"gallery": tenant.uid, STATE: PENDING}, ids=ids))
    arrival = {"moved_by": move_id, "moved_from": identity}
    change, written = await _write(engine, tenant, record, arrival, copies, new=present is None)
    if not engine.exclusive and not _is_same(await find_record(engine, tenant, identity), closed):
        # Another service makes the same move, or has made it. Or this one was taken for crashed.
        await take_back(engine, change)
        if present is None:
            await remove(engine, tenant.collection, written)
        raise overtaken(tenant.gallery.id, identity)
    await confirm(engine, change)
    stored = await engine.get(tenant.collection, ids)
    if len(stored) < len(ids) or any(map(is_pending, stored.values())):
        raise overtaken(tenant.gallery.id, identity)
    # What is stored of them under another contract, see `sameface_qdrant.store.migrations.both_contracts`.
    if (carry := getattr(engine, "carry", None)) is not None:
        carried = {point.id: copy for point, copy in zip(counting, copies, strict=True)}
        if present is None:
            carried[source.id] = written
        await carry(tenant.collection, tenant.uid, carried)
    # Make the copies durable first: an interrupted flush must not remove only the originals.
    await engine.commit(tenant.collection)
    note = move_note(tenant.uid, tenant.gallery.id, identity, target, move_id, time_now())
    await engine.upsert(payloads.META, [note], insert_only=True)
    await engine.commit(payloads.META)
    if points:
        # By id, because another service may have finished this move, and somebody may be enrolled under this id again.
        moved = Where({"gallery": tenant.uid, "identity": identity}, ids=tuple(point.id for point in points))
        await engine.delete(tenant.collection, moved)
    await remove(engine, tenant.collection, closed)
    if not engine.exclusive and _is_of_move(await find_record(engine, tenant, identity), move_id):
        raise overtaken(tenant.gallery.id, identity)
    return written


async def finish_arrival(engine: Engine, tenant: Tenant, target: Point) -> bool:
    """Finish the move to an identity, of whose record ``target`` is given, if it was interrupted.

    Return whether it was; the record is another one then. The caller holds the write lock.

    Raises:
        ConcurrentUpdate: a service may still be busy with the move.
    """
    identity, source = target.payload["identity"], target.payload.get("moved_from", "")
    found = await find_record(engine, tenant, source) if source else None
    if found is None or not _is_of_move(found, target.payload["moved_by"]):
        return False
    if not engine.exclusive and not is_left_over(found):
        raise overtaken(tenant.gallery.id, identity)
    await move(engine, tenant, found, identity, merge=True)
    return True


def _is_same(source: Point | None, closed: Point) -> bool:
    return source is not None and source.payload[REVISION] == closed.payload[REVISION]


def _is_of_move(source: Point | None, move_id: str) -> bool:
    return source is not None and bool(move_id) and source.payload["move"] == move_id


async def _check_target(engine: Engine, tenant: Tenant, source: Point, target: Point | None) -> None:
    """Raise ConcurrentUpdate if the target is being moved or erased. A source that is closed is opened again."""
    if target is None or not (is_closed(target) or target.payload["moving_to"]):
        return
    if source.payload["moving_to"] and target.payload["moved_by"] != source.payload["move"]:
        await _write(engine, tenant, source, {"moving_to": "", "move": ""})
    raise overtaken(tenant.gallery.id, target.payload["identity"])


async def _has_arrived(engine: Engine, tenant: Tenant, source: Point, target: str) -> bool:
    present = await find_record(engine, tenant, target)
    return present is not None and present.payload["moved_by"] == source.payload["move"]


async def _templates(engine: Engine, tenant: Tenant, identity: str) -> list[Point]:
    """Return all templates. Expired ones too, because they may get a later expiry."""
    where = identity_filter(tenant.uid, identity, payloads.TEMPLATE)
    found, _ = await engine.scroll(tenant.collection, where, 1000)
    read = await engine.get(tenant.collection, [point.id for point in found], with_vector=True)
    return list(read.values())


def _copies(tenant: Tenant, points: Sequence[Point], target: str, present: Point | None) -> list[Point]:
    copies = []
    for point in points:
        payload: dict[str, Any] = {**point.payload, "identity": target}
        if present is not None:
            payload["labels"] = present.payload["labels"]
            payload["expires"] = payloads.earliest(payload.get("own_expires"), present.payload.get("expires"))
        copies.append(Point(moved_template_id(tenant.uid, target, point.id), payload, point.vector))
    return copies


async def _check_room(engine: Engine, tenant: Tenant, target: str, copies: Sequence[Point]) -> None:
    now = time.time()
    own, _ = await engine.scroll(
        tenant.collection, identity_filter(tenant.uid, target, payloads.TEMPLATE, valid_at=now), 1000
    )
    together = {point.id for point in (*own, *copies) if payloads.in_force(point.payload, now)}
    limit = tenant.gallery.policy.max_templates
    if len(together) > limit:
        raise TemplateLimitReached(
            f"the identity {target!r} would have {len(together)} templates, with a limit of {limit}; delete some first",
            metadata={"identity": target, "templates": len(own), "limit": limit},
        )


async def _write(
    engine: Engine,
    tenant: Tenant,
    record: Point,
    payload: Mapping[str, Any],
    copies: Sequence[Point] = (),
    *,
    new: bool = False,
) -> tuple[Change, Point]:
    """Write an identity's next revision, with templates; raise ConcurrentUpdate if another service was faster."""
    change = change_of(tenant.collection, record, {**payload, "updated": time_now()}, copies, new=new)
    written = await write(engine, change)
    if written is None:
        raise overtaken(tenant.gallery.id, record.payload["identity"])
    return change, written
