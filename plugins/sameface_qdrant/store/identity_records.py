"""Reads and writes the record of one identity."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from sameface_qdrant.engines.base import Engine, Point
from sameface_qdrant.errors import IdentityNotFound
from sameface_qdrant.store import payloads
from sameface_qdrant.store.clock import time_now
from sameface_qdrant.store.conditional_write import change_of, confirmed, write
from sameface_qdrant.store.filters import identity_filter
from sameface_qdrant.store.galleries import Tenant

NO_FIELDS: Mapping[str, Any] = MappingProxyType({})


async def find_record(engine: Engine, tenant: Tenant, identity: str) -> Point | None:
    """Return an identity's record, also one that is being erased; None if there is none."""
    key = payloads.identity_point_id(tenant.uid, identity)
    return (await engine.get(tenant.collection, [key])).get(key)


async def touch(engine: Engine, tenant: Tenant, record: Point, fields: Mapping[str, Any] = NO_FIELDS) -> Point | None:
    """Write an identity's next revision, and return it; None if another service was faster."""
    return await write(engine, change_of(tenant.collection, record, {**fields, "updated": time_now()}))


async def template_count(engine: Engine, tenant: Tenant, identity: str, *, valid_at: float | None = None) -> int:
    """Return how many templates an identity has, or how many of them are in force at a moment."""
    where = identity_filter(tenant.uid, identity, payloads.TEMPLATE, valid_at)
    return await engine.count(tenant.collection, confirmed(engine, where))


def not_found(tenant: Tenant, identity: str) -> IdentityNotFound:
    """Return the error for an identity that does not exist."""
    gallery = tenant.gallery.id
    return IdentityNotFound(
        f"nobody is enrolled in {gallery!r} under {identity!r}; check the id, or enrol a template first",
        metadata={"gallery": gallery, "identity": identity},
    )
