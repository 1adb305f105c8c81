"""Receipts of erasures."""

from datetime import datetime

from sameface.client.answer import Answer, reads
from sameface.client.enums import ErasureState
from sameface.resource_names import last_part
from sameface.v1 import gallery_pb2


@reads(gallery_pb2.ErasureReceipt.ByteEvidence)
class ByteEvidence(Answer):
    """What byte scans of the files found of one representation of the data. A scan can prove the removal only of
    what the scan before it found."""

    representation: str
    """The representation, for example the vector's numbers as they are stored."""
    sought: int
    """How many byte strings were searched for."""
    found_before: int
    """How many of them the scan before the removal found: the positive control."""
    found_after: int | None
    """How many of these the same scan found after the files were rewritten. None until then."""
    held_elsewhere: int
    """How many of the byte strings found after belong to data that is still stored: the same embedding enrolled
    elsewhere."""


@reads(gallery_pb2.ErasureReceipt)
class ErasureReceipt(Answer):
    """What was erased, how that was checked, and what the erasure does not cover. A receipt holds no biometric data."""

    name: str
    """``erasureReceipts/{erasure_receipt}``"""
    state: ErasureState
    """State of the erasure. The erased data cannot be read in either state."""
    erased: str
    """Name of the gallery, identity or template that was erased."""
    templates: int
    """How many templates were erased."""
    records: int
    """How many other records were erased: of identities, and of a gallery with its policies."""
    erase_time: datetime | None
    """When the data was erased."""
    done_time: datetime | None
    """When the state became DONE."""
    engine: str
    """Kind and version of the engine that stored the data."""
    unreadable: bool
    """Whether a check after the removal found that the data cannot be retrieved, searched or counted."""
    compacted: bool
    """Whether the engine rewrote its files without the data and deleted the old files. Of a Qdrant server: whether
    it reported that every segment was written again."""
    sampled: int
    """How many of the erased templates and records the byte scans looked for: all, up to a limit."""
    evidence: tuple[ByteEvidence, ...]
    """Results of the byte scans of the files, one for each representation."""
    not_covered: tuple[str, ...]
    """What this receipt does not cover, for example copies, backups and blocks of the disk."""
    failure: str
    """Why the engine could not rewrite the files yet. It tries again."""

    @property
    def id(self) -> str:
        """The last part of its name."""
        return last_part(self.name)
