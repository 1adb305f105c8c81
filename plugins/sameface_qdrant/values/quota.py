"""Quotas: how much the galleries of one tenant may hold together."""

from dataclasses import dataclass

from sameface_qdrant.errors import InvalidArgument
from sameface_qdrant.values.ids import check_gallery_pattern, covers_gallery

TEMPLATE_OVERHEAD_BYTES = 1024
"""What a template counts beside its embedding: its payload, its ids, and its share of the identity's record."""


@dataclass(frozen=True, slots=True)
class Quota:
    """Limits of a tenant, which is one gallery or all whose ids have one start. None is no limit.

    Raises:
        InvalidArgument: the gallery or a limit has another form.
    """

    gallery: str
    """The id of a gallery, the start of ids with ``*`` behind it, or ``*`` for all galleries together."""
    galleries: int | None = None
    identities: int | None = None
    bytes: int | None = None
    """Of templates: each counts four bytes for each number of its embedding, and `TEMPLATE_OVERHEAD_BYTES`."""

    def __post_init__(self) -> None:
        check_gallery_pattern(self.gallery, "the gallery of a quota")
        for name in ("galleries", "identities", "bytes"):
            if (limit := getattr(self, name)) is not None and limit < 0:
                raise InvalidArgument(
                    f"{name} of a quota is {limit}; expected 0 or more", metadata={"field": f"quotas.{name}"}
                )

    def covers(self, gallery: str) -> bool:
        """Return whether it is for this gallery."""
        return covers_gallery(self.gallery, gallery)


@dataclass(frozen=True, slots=True)
class Holding:
    """What galleries hold together."""

    galleries: int = 0
    identities: int = 0
    bytes: int = 0

    def __add__(self, other: "Holding") -> "Holding":
        return Holding(self.galleries + other.galleries, self.identities + other.identities, self.bytes + other.bytes)

    def __sub__(self, other: "Holding") -> "Holding":
        return self + Holding(-other.galleries, -other.identities, -other.bytes)

    def exceeded(self, quota: Quota, more: "Holding") -> str:
        """Return the first limit that ``more`` would exceed; empty for none. What does not grow exceeds nothing."""
        for name in ("galleries", "identities", "bytes"):
            limit, added = getattr(quota, name), getattr(more, name)
            if limit is not None and added > 0 and getattr(self, name) + added > limit:
                return name
        return ""


def template_bytes(dimension: int) -> int:
    """Return what one template counts."""
    return 4 * dimension + TEMPLATE_OVERHEAD_BYTES
