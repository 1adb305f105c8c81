"""Receipts of deletions."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum


class ErasedResource(StrEnum):
    """What a deletion was asked to erase."""

    TEMPLATE = "TEMPLATE"
    IDENTITY = "IDENTITY"
    GALLERY = "GALLERY"


class ErasureState(StrEnum):
    """How far an erasure is; points are unreadable in either state."""

    PENDING = "PENDING"
    """The bytes are, or may be, still in the store's files."""
    DONE = "DONE"
    """All that the engine can do is done; the receipt's evidence says what that was."""


@dataclass(frozen=True, slots=True)
class ByteEvidence:
    """What scans of the store's files found of one representation of the removed points."""

    representation: str
    sought: int
    """Byte strings looked for, one for each point of the sample that has this representation."""
    found_before: int
    """Of these, how many the scan found before the removal: the positive control. The rest no byte scan can prove."""
    found_after: int | None
    """Of these, how many the same scan found once the files were rewritten; None while they are not."""
    held_elsewhere: int = 0
    """Of those found after, how many belong to points that are stored now: the same embedding enrolled elsewhere."""


@dataclass(frozen=True, slots=True)
class ErasureReceipt:
    """What was erased, what was checked, and what it does not speak for. Holds no biometric data."""

    id: str
    state: ErasureState
    resource: ErasedResource
    gallery: str
    identity: str
    """Empty where a gallery was erased."""
    template: str
    """Id, where one template was erased."""
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
    """Whether the files were rewritten without the points, and the old files deleted."""
    sampled: int
    """Points that the evidence looks at: all of them up to a limit, else that many."""
    evidence: tuple[ByteEvidence, ...] = ()
    not_covered: tuple[str, ...] = ()
    failure: str = ""
    """Why the files could not be rewritten yet; it is tried again."""

    @property
    def not_provable(self) -> tuple[str, ...]:
        """Representations that the control did not find for every point: compressed, or in another form on disk."""
        return tuple(one.representation for one in self.evidence if one.found_before < one.sought)
