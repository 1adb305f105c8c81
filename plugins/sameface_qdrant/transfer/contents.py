"""Reads an export: checks all of it, then yields its frames again. Blocking."""

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from sameface_qdrant.engines.base import Point
from sameface_qdrant.store.payloads import GALLERY, IDENTITY, POLICY, RECEIPT, TEMPLATE, gallery_of
from sameface_qdrant.transfer.erased import Event, event_of
from sameface_qdrant.transfer.frames import Frame, FrameKind, decoded, malformed
from sameface_qdrant.transfer.records import NOT_REWRITTEN
from sameface_qdrant.transfer.sealed_file import SealedReader
from sameface_qdrant.values.contract import check_contract
from sameface_qdrant.values.gallery import Gallery
from sameface_qdrant.values.schema import check_writable, schema_of


@dataclass(slots=True)
class ExportedContents:
    """What one gallery of a file holds."""

    record: Point
    gallery: Gallery
    identities: int = 0
    templates: int = 0


@dataclass(slots=True)
class Contents:
    """What a file holds, after all of it was checked."""

    content: str
    """``galleries`` or ``erasures``."""
    begun: float
    """Seconds since the epoch."""
    shared: bool
    """Whether several processes could write the store."""
    engine: str
    fingerprint: str
    secret: bytes = field(repr=False)
    """Empty in a list of erasures."""
    galleries: dict[str, ExportedContents] = field(default_factory=dict)
    events: list[Event] = field(default_factory=list)
    settled: set[str] = field(default_factory=set)
    """Notes of erasures that were done when the export began, and of moves: its records are as these left them."""
    notes: int = 0


def frames(file: SealedReader) -> Iterator[Frame]:
    """Yield every frame, decoded."""
    return map(decoded, file.frames())


def checked_contents(file: SealedReader, progress: Callable[[int, int], None] | None = None) -> Contents:
    """Read the whole file and return what it holds; ``progress`` is called with bytes read and bytes in all.

    Raises:
        ExportCorrupt: it was cut or changed, or its counts do not fit.
        StoreTooNew: a newer release wrote a record that this one must not write.
    """
    digest, check = hashlib.sha256(), _Check()
    for number, content in enumerate(file.frames()):
        frame = decoded(content)
        if frame.kind is FrameKind.END and frame.fields != {"frames": number, "digest": digest.hexdigest()}:
            raise malformed("its counts do not fit")
        try:
            check.take(frame)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise malformed(f"{type(error).__name__} in a frame of the kind {frame.kind}") from error
        digest.update(content)
        if progress is not None:
            progress(file.position, file.size)
    return check.result()


class _Check:
    """Checks frames in their order."""

    def __init__(self) -> None:
        self._contents: Contents | None = None
        self._open: ExportedContents | None = None
        self._ended = False

    def take(self, frame: Frame) -> None:
        """Check the next frame."""
        for point in frame.points:
            payload = point.payload
            check_writable(schema_of(payload), f"the {str(payload['kind'])[:20]} {point.id} of the export")
        if self._ended or (self._contents is None) != (frame.kind is FrameKind.STORE):
            raise malformed("frames are in another order")
        match frame.kind:
            case FrameKind.STORE:
                self._contents = _begun(frame.fields)
            case FrameKind.NOTES:
                self._notes(frame)
            case FrameKind.GALLERY:
                self._gallery(frame)
            case FrameKind.POLICIES:
                self._expect(frame, {POLICY})
            case FrameKind.IDENTITIES:
                self._identities(frame)
            case FrameKind.GALLERY_END:
                self._gallery_end(frame.fields)
            case FrameKind.END:
                self._ended = True

    def result(self) -> Contents:
        """Return what the frames hold."""
        if self._contents is None or self._open is not None or not self._ended:
            raise malformed("frames are missing")
        return self._contents

    def _notes(self, frame: Frame) -> None:
        assert self._contents is not None
        found = (event_of(point) for point in frame.points)
        self._contents.events += [event for event in found if event is not None]
        self._contents.notes += len(frame.points)
        self._contents.settled |= {
            point.id for point in frame.points if NOT_REWRITTEN not in point.payload.get("not_covered", ())
        }
        if any(point.payload["kind"] == RECEIPT and not point.payload["id"] for point in frame.points):
            raise ValueError("a receipt has no id")

    def _gallery(self, frame: Frame) -> None:
        assert self._contents is not None
        (record,) = frame.points
        gallery = gallery_of(record.payload)
        if self._open is not None or record.payload["kind"] != GALLERY or gallery.id in self._contents.galleries:
            raise malformed("frames are in another order")
        check_contract(gallery.contract)
        self._open = self._contents.galleries[gallery.id] = ExportedContents(record, gallery)

    def _identities(self, frame: Frame) -> None:
        self._expect(frame, {IDENTITY, TEMPLATE})
        assert self._open is not None
        owner = ""
        for point in frame.points:
            payload = point.payload
            if payload["kind"] == IDENTITY:
                owner = payload["identity"]
                float(payload["created"])
                self._open.identities += 1
                continue
            dimension = self._open.gallery.contract.dimension
            if point.vector is None or point.vector.shape != (dimension,) or not np.isfinite(point.vector).all():
                raise malformed("a template has no embedding of its contract")
            if payload["identity"] != owner:
                raise malformed("a template is not with its identity")
            self._open.templates += 1

    def _gallery_end(self, fields: dict[str, Any]) -> None:
        if self._open is None or (self._open.identities, self._open.templates) != (
            fields["identities"],
            fields["templates"],
        ):
            raise malformed("its counts do not fit")
        self._open = None

    def _expect(self, frame: Frame, kinds: set[str]) -> None:
        if self._open is None:
            raise malformed("frames are in another order")
        for point in frame.points:
            if point.payload["kind"] not in kinds or point.payload["gallery"] != self._open.gallery.uid:
                raise malformed("a record belongs to another gallery")


def _begun(fields: dict[str, Any]) -> Contents:
    return Contents(
        content=str(fields["content"]),
        begun=float(fields["begun"]),
        shared=bool(fields["shared"]),
        engine=str(fields["engine"]),
        fingerprint=str(fields["fingerprint"]),
        secret=bytes.fromhex(fields.get("secret", "")),
    )
