"""Moving the templates of one identity to another one, so that no acknowledged template is lost on the way.

First the source's record says where it is moving to: from then on nothing is enrolled for it, and a service that had
read it before finds it changed and takes its template back. Then the templates are written under the target, together
with its record, which names the move; their new ids follow from the old ones, so that a repeat writes the same. Once
that is durable the source is erased. A repeat finishes what was cut off, and never takes another identity that came to
have the target's id meanwhile for the one that it was moving to.
"""

import time
import uuid
from collections.abc import Mapping, Sequence
from typing import Any

from sameface_qdrant.engines.base import Engine, Point, Where
from sameface_qdrant.errors import ConcurrentUpdate, IdentityAlreadyExists, TemplateLimitReached
from sameface_qdrant.store import payloads
from sameface_qdrant.store.conditional_write import change_of, will_stay, write
from sameface_qdrant.store.filters import identity_filter
from sameface_qdrant.store.galleries import Tenant
from sameface_qdrant.values.ids import point_id


async def move(engine: Engine, tenant: Tenant, source: Point, target: str, *, merge: bool) -> Point:
    """Move every template of a source (its record) to the target identity; returns the target's record.

    The source is erased. The caller holds the write lock and commits. `Identities.move` says what is raised.
    """
    identity = source.payload["identity"]
    begun = source.payload["moving_to"]
    if begun and begun != target and await _has_arrived(engine, tenant, source, begun):
        raise _overtaken(tenant, identity)
    there = await _find(engine, tenant, target)
    moving = source.payload["move"] if begun == target else uuid.uuid4().hex
    if there is not None and not merge and there.payload["moved_by"] != moving:
        raise IdentityAlreadyExists(
            f"the identity {target!r} exists already in {tenant.gallery.id!r}; merge into it, or choose another id",
            metadata={"gallery": tenant.gallery.id, "identity": target},
        )
    await _check_room(
        engine, tenant, target, _copies(tenant, await _templates(engine, tenant, identity), target, there)
    )
    closed = await _write(engine, tenant, source, {"moving_to": target, "move": moving})
    # Read again: what another service had written until then is there now, or is about to be taken back.
    points = await _templates(engine, tenant, identity)
    if not engine.exclusive and not all(will_stay(point.payload, closed.payload) for point in points):
        raise _overtaken(tenant, identity)
    copies = _copies(tenant, points, target, there)
    fresh = {**source.payload, "identity": target, "moving_to": "", "move": ""}
    record = there or Point(payloads.identity_point_id(tenant.uid, target), fresh)
    written = await _write(engine, tenant, record, {"moved_by": moving}, copies, new=there is None)
    # What is acknowledged must not depend on a flush that may be cut off between the copies and their originals.
    await engine.commit(tenant.collection)
    await engine.delete(tenant.collection, Where({"gallery": tenant.uid, "identity": identity}))
    return written


async def _find(engine: Engine, tenant: Tenant, identity: str) -> Point | None:
    key = payloads.identity_point_id(tenant.uid, identity)
    return (await engine.get(tenant.collection, [key])).get(key)


async def _has_arrived(engine: Engine, tenant: Tenant, source: Point, target: str) -> bool:
    there = await _find(engine, tenant, target)
    return there is not None and there.payload["moved_by"] == source.payload["move"]


async def _templates(engine: Engine, tenant: Tenant, identity: str) -> list[Point]:
    """Return all of them, expired ones too: these may be prolonged."""
    where = identity_filter(tenant.uid, identity, payloads.TEMPLATE)
    found, _ = await engine.scroll(tenant.collection, where, 1000)
    read = await engine.get(tenant.collection, [point.id for point in found], with_vector=True)
    return list(read.values())


def _copies(tenant: Tenant, points: Sequence[Point], target: str, there: Point | None) -> list[Point]:
    copies = []
    for point in points:
        payload: dict[str, Any] = {**point.payload, "identity": target}
        if there is not None:
            payload["labels"] = there.payload["labels"]
            payload["expires"] = payloads.earliest(payload.get("own_expires"), there.payload.get("expires"))
        copies.append(
            Point(point_id(payloads.TEMPLATE, tenant.uid, target, f"moved/{point.id}"), payload, point.vector)
        )
    return copies


async def _check_room(engine: Engine, tenant: Tenant, target: str, copies: Sequence[Point]) -> None:
    now = time.time()
    held, _ = await engine.scroll(
        tenant.collection, identity_filter(tenant.uid, target, payloads.TEMPLATE, valid_at=now), 1000
    )
    together = {point.id for point in (*held, *copies) if payloads.in_force(point.payload, now)}
    limit = tenant.gallery.policy.max_templates
    if len(together) > limit:
        raise TemplateLimitReached(
            f"the identity {target!r} would have {len(together)} templates, with a limit of {limit}; delete some first",
            metadata={"identity": target, "templates": len(held), "limit": limit},
        )


async def _write(
    engine: Engine,
    tenant: Tenant,
    record: Point,
    payload: Mapping[str, Any],
    copies: Sequence[Point] = (),
    *,
    new: bool = False,
) -> Point:
    """Write an identity's next revision, with templates; raise ConcurrentUpdate where another service was faster."""
    fields = {**payload, "updated": time.time()}
    written = await write(engine, change_of(tenant.collection, record, fields, copies, new=new))
    if written is None:
        raise _overtaken(tenant, record.payload["identity"])
    return written


def _overtaken(tenant: Tenant, identity: str) -> ConcurrentUpdate:
    return ConcurrentUpdate(
        f"the identity {identity!r} was changed by another service, or is being moved elsewhere; repeat the call",
        metadata={"gallery": tenant.gallery.id, "identity": identity},
    )
