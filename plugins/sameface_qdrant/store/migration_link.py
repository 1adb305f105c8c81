"""Converts what a gallery's record holds about its migration to values and back. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sameface_qdrant.errors import MigrationInProgress
from sameface_qdrant.values.contract import Contract
from sameface_qdrant.values.gallery import MappedTemplates, MigrationLink, OperatingPoint
from sameface_qdrant.values.migration import MigrationState
from sameface_qdrant.values.schema import known_fields

LINK, MAPPED, KEPT = "migration", "mapped", "kept"
"""Fields of a gallery's record. The last one is what a roll back restores."""


@dataclass(frozen=True, slots=True)
class Fence:
    """Says that one call exchanges the contract of a gallery. Once it is shut, it keeps writes out."""

    token: str
    until: float
    """Seconds since the epoch. Whoever set it renews it. After that time anybody may remove it."""
    shut: bool = False


@dataclass(frozen=True, slots=True)
class Link:
    """A gallery's record, as far as it says under which contracts its points are stored."""

    uid: str
    gallery: str
    contract: Contract
    migration: MigrationLink | None = None
    fence: Fence | None = None
    ending: MigrationState | None = None
    """The state that the migration is about to get. The points of the secondary collection are being erased."""

    @property
    def primary(self) -> str:
        """The collection of the contract that the gallery decides under."""
        return self.contract.key

    @property
    def is_shut(self) -> bool:
        """Whether writes are kept out of the gallery."""
        return self.fence is not None and self.fence.shut

    @property
    def secondary(self) -> Contract | None:
        """The other contract that its templates are stored under; None if it is not being migrated."""
        return None if self.migration is None else secondary_of(self.migration)


def secondary_of(link: MigrationLink) -> Contract:
    """Return the contract that a gallery in migration does not decide under at present."""
    return link.old if link.promoted else link.new


def contract_payload(contract: Contract) -> dict[str, Any]:
    """Return a contract as plain values."""
    return {
        "model": contract.model,
        "version": contract.version,
        "sha256": contract.sha256,
        "dimension": contract.dimension,
        "preprocessing": contract.preprocessing,
        "equivalent_to": sorted(contract.equivalent_to),
    }


def contract_of(stored: Mapping[str, Any]) -> Contract:
    """Return the contract that plain values hold."""
    return Contract(**{**known_fields(Contract, stored), "equivalent_to": frozenset(stored["equivalent_to"])})


def points_payload(points: tuple[OperatingPoint, ...]) -> list[list[float]]:
    """Return operating points as plain values."""
    return [[point.fmr, point.threshold] for point in points]


def points_of(stored: Any) -> tuple[OperatingPoint, ...]:
    """Return the operating points that plain values hold."""
    return tuple(OperatingPoint(fmr, threshold) for fmr, threshold in stored or ())


def link_payload(
    link: MigrationLink, fence: Fence | None = None, ending: MigrationState | None = None
) -> dict[str, Any]:
    """Return what a gallery's record holds about its migration."""
    return {
        "id": link.id,
        "old": contract_payload(link.old),
        "new": contract_payload(link.new),
        "promoted": link.promoted,
        "map_sha256": link.map_sha256,
        "fence": None if fence is None else {"token": fence.token, "until": fence.until, "shut": fence.shut},
        "ending": "" if ending is None else ending.value,
    }


def migration_link_of(stored: Mapping[str, Any] | None) -> MigrationLink | None:
    """Return the migration that a gallery's record names."""
    if not stored:
        return None
    return MigrationLink(
        stored["id"], contract_of(stored["old"]), contract_of(stored["new"]), stored["promoted"], stored["map_sha256"]
    )


def mapped_payload(mapped: MappedTemplates | None) -> dict[str, Any] | None:
    """Return what a gallery's record holds about its mapped templates."""
    if mapped is None:
        return None
    return {"map_sha256": mapped.map_sha256, "operating_points": points_payload(mapped.operating_points)}


def mapped_of(stored: Mapping[str, Any] | None) -> MappedTemplates | None:
    """Return what a gallery's record says about its mapped templates."""
    return None if not stored else MappedTemplates(stored["map_sha256"], points_of(stored["operating_points"]))


def link_of(record: Mapping[str, Any]) -> Link:
    """Return what a gallery's record says about its contracts."""
    stored = record.get(LINK) or {}
    fence = stored.get("fence")
    return Link(
        uid=str(record["gallery"]),
        gallery=str(record["id"]),
        contract=contract_of(record["contract"]),
        migration=migration_link_of(stored),
        fence=None if not fence else Fence(fence["token"], fence["until"], fence["shut"]),
        ending=MigrationState(stored["ending"]) if stored.get("ending") else None,
    )


def check_not_migrating(record: Mapping[str, Any], done: str) -> None:
    """Raise MigrationInProgress if the gallery of a record is in a migration; ``done`` says what cannot be done."""
    link = migration_link_of(record.get(LINK))
    if link is not None:
        raise MigrationInProgress(
            f"the gallery {record['id']!r} is in the migration {link.id}, so it cannot be {done} now; finish, roll "
            "back or cancel the migration first",
            metadata={"gallery": record["id"], "migration": link.id},
        )
