"""How a migration begins: what must hold, and the two records that name it. The gallery's record decides."""

import hashlib
import math
import uuid
from dataclasses import replace
from typing import Any

from sameface_qdrant.engines.base import Point
from sameface_qdrant.errors import (
    ConcurrentUpdate,
    GalleryNotFound,
    InvalidArgument,
    MapMismatch,
    MigrationInProgress,
    RequestIdReused,
)
from sameface_qdrant.store.migration_link import LINK, link_of, link_payload
from sameface_qdrant.store.migrations.records import Stored, stored_of
from sameface_qdrant.store.migrations.state import Fields, MigrationRecords
from sameface_qdrant.store.payloads import Payload
from sameface_qdrant.values.gallery import MigrationLink
from sameface_qdrant.values.migration import HIGHEST_RATE, LOWEST_RATE, Migration
from sameface_qdrant.values.protection import protection_of
from sameface_qdrant.values.template_map import TemplateMap


def check_begin(record: Payload, template_map: TemplateMap) -> None:
    """Check that the migration of a gallery may begin, of whose record the payload is given.

    Raises:
        MigrationInProgress: the gallery is in a migration already, or is being re-keyed.
        MapMismatch: the map does not lead from the gallery's contract to another one that it can have.
    """
    link = link_of(record)
    if link.migration is not None:
        raise MigrationInProgress(
            f"the gallery {link.gallery!r} is in the migration {link.migration.id} already; finish, roll back or "
            "cancel that one first",
            metadata={"gallery": link.gallery, "migration": link.migration.id},
        )
    protection = protection_of(record.get("protection"))
    if protection is not None and protection.following is not None:
        raise MigrationInProgress(
            f"the gallery {link.gallery!r} is being re-keyed; finish that first, with another re-key",
            metadata={"gallery": link.gallery},
        )
    template_map.check_between(link.contract, template_map.new)
    if template_map.new.key == link.contract.key:
        raise MapMismatch(
            f"the map leads to {link.contract.key}, the contract that the gallery {link.gallery!r} has; take a map "
            "to another version",
            metadata={"given": template_map.new.key, "gallery": link.gallery},
        )
    if protection is not None and template_map.new.dimension != link.contract.dimension:
        raise MapMismatch(
            f"the map leads from {link.contract.dimension} to {template_map.new.dimension} numbers; a protected "
            "gallery keeps its dimension: take a map to a version of the same dimension",
            metadata={"given": template_map.new.dimension, "expected": link.contract.dimension},
        )


async def begun(
    records: MigrationRecords, gallery: str, uid: str, payload: dict[str, Any], template_map: TemplateMap
) -> Stored:
    """Store a migration, and name it in the record of its gallery.

    Raises:
        MapMismatch, MigrationInProgress: see `check_begin`.
        RequestIdReused: another call with the same request id began another migration.
        GalleryNotFound: the gallery was deleted meanwhile.
        ConcurrentUpdate: other calls were faster; repeat the call.
    """
    stored, mine = await records.insert(payload, template_map)

    def change(present: Payload) -> Fields | None:
        if names(present, stored):
            return None  # by another call with the same request id
        check_begin(present, template_map)
        link = MigrationLink(stored.id, stored.old, stored.new, promoted=False, map_sha256=stored.map_sha256)
        return {LINK: link_payload(link)}

    try:
        if not mine:
            check_same(stored, stored.request_id, template_map.new.version, payload["rate"])
        await records.change_gallery(gallery, uid, change)
    except (MigrationInProgress, GalleryNotFound, ConcurrentUpdate):
        # A record that the gallery names, or that another call has stored, is not this one's to remove.
        if mine and not await _is_named(records, stored):
            await records.remove(stored)
        raise
    if await records.find(uid, stored.id) is None:
        # It was taken for one that never began. Now that the gallery names it, nobody does that any more.
        stored, _ = await records.insert(payload, template_map)
    return stored


async def _is_named(records: MigrationRecords, stored: Stored) -> bool:
    try:
        return names((await records.gallery(stored.gallery)).payload, stored)
    except GalleryNotFound:
        return False


def check_rate(rate: float) -> None:
    """Raise InvalidArgument unless a migration can have this rate."""
    if not LOWEST_RATE <= rate <= HIGHEST_RATE:
        raise InvalidArgument(
            f"rate is {rate:g}; expected {LOWEST_RATE:g} to {HIGHEST_RATE:g} templates a second",
            metadata={"field": "rate"},
        )


def check_same(stored: Stored, request_id: str, version: int, rate: float) -> None:
    """Raise RequestIdReused if a migration is not the one that a call with its request id asks for.

    ``version`` is that of the new contract, 0 for any.
    """
    if version in (0, stored.new.version) and math.isclose(rate, stored.rate):
        return
    raise RequestIdReused(
        f"the request id {request_id[:64]!r} began a migration to the version {stored.new.version} with "
        f"{stored.rate:g} templates a second; use another request id for another migration",
        metadata={"field": "request_id", "request_id": request_id[:64]},
    )


def names(gallery: Payload, stored: Stored) -> bool:
    """Return whether a gallery's record names a migration."""
    link = link_of(gallery).migration
    return link is not None and link.id == stored.id


def id_of(uid: str, request_id: str) -> str:
    """Return the id of a new migration; a repeat with the same request id gets the same one."""
    if not request_id:
        return uuid.uuid4().hex[:16]
    return hashlib.sha256(f"{uid}/{request_id}".encode()).hexdigest()[:16]


def unstored(payload: dict[str, Any]) -> Migration:
    """Return a migration that was only checked."""
    return replace(stored_of(Point("", payload)).shown(0, 0, 0), id="", etag="")
