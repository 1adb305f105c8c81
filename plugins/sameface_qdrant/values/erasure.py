"""Receipts of deletions."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from sameface_qdrant.values.display import brief


class ErasedResource(StrEnum):
    """What a deletion was asked to erase."""

    TEMPLATE = "TEMPLATE"
    IDENTITY = "IDENTITY"
    GALLERY = "GALLERY"


class ErasureState(StrEnum):
    """How far an erasure is. The points are unreadable in both states."""

    PENDING = "PENDING"
    """The files of the store or of the server may still hold the bytes."""
    DONE = "DONE"
    """The engine has done all that it can; the receipt's evidence says what."""


@dataclass(frozen=True, slots=True)
class ByteEvidence:
    """What scans of the store's files found for one representation of the removed points."""

    representation: str
    sought: int
    """Byte strings searched for, one for each point of the sample that has this representation."""
    found_before: int
    """How many the scan found before the removal: the positive control. A byte scan proves nothing about the others."""
    found_after: int | None
    """How many the same scan found after the files were rewritten; None until then."""
    held_elsewhere: int = 0
    """How many of ``found_after`` belong to points that are still stored: the same embedding enrolled elsewhere."""


@dataclass(frozen=True, slots=True)
class ErasureReceipt:
    """What was erased, what was checked, and what could not be checked. Holds no biometric data."""

    __repr__ = brief

    id: str
    state: ErasureState
    resource: ErasedResource
    gallery: str
    identity: str
    """Empty if a gallery was erased."""
    template: str
    """Its id if one template was erased, else empty."""
    templates: int
    """Templates erased."""
    records: int
    """Other records erased: of identities, and of the gallery with its policies."""
    erase_time: datetime
    done_time: datetime | None
    """When the state became DONE."""
    engine: str
    """Kind and version of the engine."""
    unreadable: bool
    """Checked after the removal: the points cannot be retrieved, found by a search or counted."""
    compacted: bool
    """Whether the files were rewritten without the points, and the old files deleted. Of a server: whether it reported
    that every segment was written again."""
    sampled: int
    """How many of the points the evidence covers: all of them, up to a limit."""
    evidence: tuple[ByteEvidence, ...] = ()
    not_covered: tuple[str, ...] = ()
    """Where bytes may remain that nobody has checked."""
    failure: str = ""
    """Why the files could not be rewritten yet. The store tries again."""

    @property
    def not_provable(self) -> tuple[str, ...]:
        """Representations that the positive control did not find for every point, because the disk holds another form
        of them."""
        return tuple(one.representation for one in self.evidence if one.found_before < one.sought)
