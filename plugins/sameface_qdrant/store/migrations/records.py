"""Converts migrations and template maps to stored records and back. Pure."""

import base64
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from sameface_qdrant.engines.base import Point
from sameface_qdrant.errors import InvalidArgument, MapMismatch
from sameface_qdrant.store.migration_link import (
    MAPPED,
    contract_of,
    contract_payload,
    mapped_of,
    points_of,
    points_payload,
)
from sameface_qdrant.store.payloads import Payload, etag, moment, policy_of
from sameface_qdrant.values.contract import Contract
from sameface_qdrant.values.gallery import MappedTemplates, OperatingPoint, Policy
from sameface_qdrant.values.ids import point_id
from sameface_qdrant.values.migration import Migration, MigrationState
from sameface_qdrant.values.schema import MIGRATING, stamped
from sameface_qdrant.values.template_map import TemplateMap

MIGRATION, MAP = "migration", "map"
"""Kinds of records in the meta collection."""


@dataclass(frozen=True, slots=True)
class Kept:
    """What a gallery had under its old contract, to be restored by a rollback."""

    policy: Policy
    operating_points: tuple[OperatingPoint, ...]
    mapped: MappedTemplates | None
    promoted: tuple[str, ...]
    """Names of the settings of the policy that the promotion has changed."""


@dataclass(frozen=True, slots=True)
class Stored:
    """A migration's record."""

    point: Point
    id: str
    uid: str
    gallery: str
    old: Contract
    new: Contract
    map_sha256: str
    state: MigrationState
    rate: float
    operating_points: tuple[OperatingPoint, ...]
    """The new model card's."""
    mapped_operating_points: tuple[OperatingPoint, ...]
    author: str
    request_id: str
    failure: str = ""
    counts: Mapping[str, int] = field(default_factory=dict)
    """The last counts of a migration that has ended: ``total``, ``mapped`` and ``native``."""
    worker: str = ""
    worker_until: float = 0.0
    """Seconds since the epoch: until then the service with the token ``worker`` works on it."""

    @property
    def settled(self) -> bool:
        """Whether nothing is left to be done, in the gallery's record either."""
        return self.point.payload["ended"] is not None

    def shown(self, total: int, mapped: int, native: int, estimated_end: float | None = None) -> Migration:
        """Return the migration for callers."""
        payload = self.point.payload
        return Migration(
            id=self.id,
            gallery=self.gallery,
            old=self.old,
            new=self.new,
            map_sha256=self.map_sha256,
            state=self.state,
            total=total,
            mapped=mapped,
            native=native,
            rate=self.rate,
            failure=self.failure,
            author=self.author,
            create_time=moment(payload["created"]),
            update_time=moment(payload["updated"]),
            end_time=moment(payload.get("ended")),
            estimated_end=moment(estimated_end),
            etag=self.etag,
            mapped_operating_points=self.mapped_operating_points,
        )

    @property
    def etag(self) -> str:
        """Changes whenever the state does; the heartbeat of the work does not change it."""
        payload = self.point.payload
        return etag(self.uid, self.id, self.state.value, payload["updated"])


def migration_point_id(uid: str, migration: str) -> str:
    """Return the id of a migration's record in the meta collection."""
    return point_id(MIGRATION, uid, migration)


def migration_payload(
    migration: str,
    uid: str,
    gallery: str,
    old: Contract,
    template_map: TemplateMap,
    *,
    rate: float,
    operating_points: tuple[OperatingPoint, ...],
    author: str,
    request_id: str,
    now: float,
) -> dict[str, Any]:
    """Return the payload of a new migration's record, without the fields that `conditional_write` adds."""
    return {
        "kind": MIGRATION,
        # Under the gallery, so that it goes when the gallery is deleted.
        "gallery": uid,
        "identity": "",
        "of_gallery": gallery,
        "id": migration,
        "old": contract_payload(old),
        "new": contract_payload(template_map.new),
        "map_sha256": template_map.sha256,
        "state": "",
        "migration_state": MigrationState.MAPPING.value,
        "rate": rate,
        "operating_points": points_payload(operating_points),
        "mapped_operating_points": points_payload(template_map.operating_points),
        "author": author,
        "request_id": request_id,
        "failure": "",
        "counts": {},
        "worker": "",
        "worker_until": 0.0,
        "created": now,
        "updated": now,
        "ended": None,
    }


def stored_of(point: Point) -> Stored:
    """Return the migration that a record holds."""
    payload = point.payload
    return Stored(
        point,
        id=payload["id"],
        uid=payload["gallery"],
        gallery=payload["of_gallery"],
        old=contract_of(payload["old"]),
        new=contract_of(payload["new"]),
        map_sha256=payload["map_sha256"],
        state=MigrationState(payload["migration_state"]),
        rate=float(payload["rate"]),
        operating_points=points_of(payload["operating_points"]),
        mapped_operating_points=points_of(payload["mapped_operating_points"]),
        author=payload["author"],
        request_id=payload["request_id"],
        failure=payload["failure"],
        counts=payload["counts"],
        worker=payload["worker"],
        worker_until=float(payload["worker_until"]),
    )


def kept_payload(gallery: Payload, changes: Iterable[str]) -> dict[str, Any]:
    """Return what a rollback restores, of a gallery's record before the promotion by some changes of the policy."""
    return {
        "policy": dict(gallery["policy"]),
        "operating_points": gallery["operating_points"],
        MAPPED: gallery.get(MAPPED),
        "promoted": sorted(changes),
    }


def kept_of(stored: Mapping[str, Any]) -> Kept:
    """Return what a rollback restores."""
    return Kept(
        policy_of(stored["policy"]),
        points_of(stored["operating_points"]),
        mapped_of(stored[MAPPED]),
        tuple(stored["promoted"]),
    )


def map_point(template_map: TemplateMap) -> Point:
    """Return the record of a template map. It stays: the digest of every mapped template names it."""
    payload = {
        "kind": MAP,
        "gallery": "",
        "identity": "",
        "sha256": template_map.sha256,
        "bytes": base64.b64encode(template_map.to_bytes()).decode(),
    }
    return Point(map_point_id(template_map.sha256), stamped(payload, MIGRATING))


def map_point_id(sha256: str) -> str:
    """Return the id of a map's record in the meta collection."""
    return point_id(MAP, sha256)


def map_of(point: Point | None, sha256: str) -> TemplateMap:
    """Return the map that a record holds.

    Raises:
        MapMismatch: it is missing or damaged, or its digest is another one.
    """
    try:
        found = None if point is None else TemplateMap.from_bytes(base64.b64decode(point.payload["bytes"]))
    except (InvalidArgument, MapMismatch, ValueError):
        found = None
    if found is None or found.sha256 != sha256:
        raise MapMismatch(
            f"the store has no intact template map {sha256[:12]}; cancel the migration, and begin it again with the "
            "map",
            metadata={"expected": sha256},
        )
    return found
