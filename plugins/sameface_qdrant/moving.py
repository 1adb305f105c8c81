"""Moving the templates of one identity to another one, so that no acknowledged template is lost on the way.

First the source's record says where it is moving to: from then on nothing is enrolled for it, and a service that had
read it before finds it changed and takes its template back. Then the templates are written under the target, together
with its record; their new ids follow from the old ones, so that a repeat writes the same. Last the source is erased.
"""

import time
import uuid

from sameface_qdrant import records
from sameface_qdrant.engines.base import Engine, Point, Where
from sameface_qdrant.errors import ConcurrentUpdate, IdentityAlreadyExists, TemplateLimitReached
from sameface_qdrant.galleries import Tenant
from sameface_qdrant.ids import point_id


async def move(engine: Engine, tenant: Tenant, source: Point, target: str, *, merge: bool) -> Point:
    """Move every template of a source (its record) to the target identity; returns the target's record.

    The source is erased. The caller holds the turn and commits. `Identities.move` says what is raised.
    """
    identity = source.payload["identity"]
    target_id = records.identity_point_id(tenant.uid, target)
    there = (await engine.get(tenant.collection, [target_id])).get(target_id)
    begun = source.payload["moving_to"] == target
    if source.payload["moving_to"] and not begun:
        raise _overtaken(tenant, identity)
    if there is not None and not merge and not begun:
        raise IdentityAlreadyExists(
            f"the identity {target!r} exists already in {tenant.gallery.id!r}; merge into it, or choose another id",
            metadata={"gallery": tenant.gallery.id, "identity": target},
        )
    points = await _templates(engine, tenant, identity)
    copies = [_copy(tenant, point, target, there, uuid.uuid4().hex) for point in points]
    await _check_room(engine, tenant, target, copies)
    closed = await _write(engine, tenant, source, {**source.payload, "moving_to": target})
    # Read again: what another service had written until then is there now, or is about to be taken back.
    points = await _templates(engine, tenant, identity)
    if not engine.exclusive and not all(records.settled(p.payload, closed.payload, time.time()) for p in points):
        raise _overtaken(tenant, identity)
    copies = [_copy(tenant, point, target, there, uuid.uuid4().hex) for point in points]
    record = there or Point(
        target_id, {**source.payload, "identity": target, "revision": 0, "marks": [], "moving_to": ""}
    )
    written = await _write(engine, tenant, record, record.payload, copies, new=there is None)
    await engine.delete(tenant.collection, Where({"gallery": tenant.uid, "identity": identity}))
    return written


async def _templates(engine: Engine, tenant: Tenant, identity: str) -> list[Point]:
    where = records.of_identity(tenant.uid, identity, records.TEMPLATE, valid_at=time.time())
    found, _ = await engine.scroll(tenant.collection, where, 1000)
    read = await engine.get(tenant.collection, [point.id for point in found], with_vector=True)
    return list(read.values())


def _copy(tenant: Tenant, point: Point, target: str, there: Point | None, mark: str) -> Point:
    payload = {**point.payload, "identity": target, "mark": mark}
    if there is not None:
        payload["labels"] = there.payload["labels"]
        payload["expires"] = records.earlier(payload.get("own_expires"), there.payload.get("expires"))
    return Point(point_id(records.TEMPLATE, tenant.uid, target, f"moved/{point.id}"), payload, point.vector)


async def _check_room(engine: Engine, tenant: Tenant, target: str, copies: list[Point]) -> None:
    where = records.of_identity(tenant.uid, target, records.TEMPLATE, valid_at=time.time())
    held, _ = await engine.scroll(tenant.collection, where, 1000)
    together = len({point.id for point in (*held, *copies)})
    limit = tenant.gallery.policy.max_templates
    if together > limit:
        raise TemplateLimitReached(
            f"the identity {target!r} would have {together} templates, and the limit is {limit}; delete some first",
            metadata={"identity": target, "templates": len(held), "limit": limit},
        )


async def _write(
    engine: Engine,
    tenant: Tenant,
    record: Point,
    payload: records.Payload,
    copies: list[Point] | None = None,
    *,
    new: bool = False,
) -> Point:
    """Write an identity's next revision, with templates; raise ConcurrentUpdate where another service was faster."""
    mark = uuid.uuid4().hex
    changed = Point(record.id, records.next_revision(payload, mark, time.time()))
    points = [Point(copy.id, {**copy.payload, "mark": mark}, copy.vector) for copy in copies or []]
    unchanged = None if new else Where({"revision": record.payload["revision"]})
    await engine.upsert(tenant.collection, [changed, *points], insert_only=new, only_if=unchanged)
    stored = (await engine.get(tenant.collection, [record.id])).get(record.id)
    if stored is None or mark not in stored.payload["marks"]:
        await engine.delete(tenant.collection, Where({"gallery": tenant.uid, "mark": mark}))
        raise _overtaken(tenant, record.payload["identity"])
    return stored


def _overtaken(tenant: Tenant, identity: str) -> ConcurrentUpdate:
    return ConcurrentUpdate(
        f"the identity {identity!r} was changed by another service, or is being moved elsewhere; repeat the call",
        metadata={"gallery": tenant.gallery.id, "identity": identity},
    )
