"""One enrolment of a batch: how far it is, why it is refused, and the change that stores it. Pure."""

import time
from collections.abc import Sequence
from dataclasses import dataclass, field

from sameface_qdrant.engines.base import Point
from sameface_qdrant.errors import IdentityExpired, RequestIdReused, SamefaceError, StoreTooNew
from sameface_qdrant.store import payloads
from sameface_qdrant.store.conditional_write import Change, change_of, is_closed, is_pending, overtaken
from sameface_qdrant.store.enrolment_request import Entry
from sameface_qdrant.store.galleries import Tenant
from sameface_qdrant.store.guard_findings import Subject
from sameface_qdrant.store.identity_records import not_found
from sameface_qdrant.values.enrolment import Enrolment
from sameface_qdrant.values.finding import Finding, FindingKind
from sameface_qdrant.values.schema import check_writable, schema_of
from sameface_qdrant.values.template import Template


@dataclass(slots=True)
class Item:
    """One enrolment of a batch, and how far it is."""

    request: Enrolment
    record_id: str = ""
    """The id of the identity's record in the gallery."""
    entries: list[Entry] = field(default_factory=list)
    record: Point | None = None
    """The identity's record as it was read."""
    stored: dict[str, Point] = field(default_factory=dict)
    """Its templates that are stored and in force, by id."""
    expired: list[str] = field(default_factory=list)
    """Ids of stored templates that have expired. The enrolment replaces these."""
    fresh: list[Entry] = field(default_factory=list)
    """Entries that are not stored yet."""
    points: list[Point] = field(default_factory=list)
    """The templates to be written: those of ``fresh``."""
    findings: list[Finding] = field(default_factory=list)
    because_of: frozenset[str] = frozenset()
    """See `Verdict.because_of`."""
    replaced: list[str] = field(default_factory=list)
    """Ids of templates that the new ones replace."""
    error: SamefaceError | None = None

    @property
    def subject(self) -> Subject:
        """What the guards look at."""
        return Subject(self.request.identity, self.record, self.points)

    def templates(self, gallery: str) -> tuple[Template, ...]:
        """Return the stored templates in the order of the request, those that are new with what was found."""
        new, found = {entry.key for entry in self.fresh}, tuple(self.findings)
        return tuple(
            payloads.template_of(self.stored[entry.key], gallery, found if entry.key in new else ())
            for entry in self.entries
        )


def keys_of(items: Sequence[Item]) -> list[str]:
    """Return the ids of the records and of the enrolments' own templates."""
    return [key for item in items for key in (item.record_id, *(entry.key for entry in item.entries))]


def repeat_refusal(tenant: Tenant, item: Item) -> SamefaceError | None:
    """Refuse a request id that was used for other content, and a template that another service may remove."""
    request_id = item.request.request_id
    for entry in item.entries:
        if entry.key in item.stored and item.stored[entry.key].payload["digest"] != entry.digest:
            return RequestIdReused(
                f"request_id {request_id} was used before for another photo or embedding; send a new request_id",
                metadata={"field": "request_id", "request_id": request_id},
            )
    if any(map(is_pending, item.stored.values())):
        return overtaken(tenant.gallery.id, item.request.identity)
    return None


def identity_refusal(tenant: Tenant, item: Item) -> SamefaceError | None:
    """Refuse an identity that does not exist and must not be made, one that is changing, and one that has expired."""
    identity, record = item.request.identity, item.record
    if record is None:
        return None if item.request.create_identity else not_found(tenant, identity)
    try:
        check_writable(schema_of(record.payload), "the record")
    except StoreTooNew as newer:
        return newer
    if record.payload["moving_to"] or is_closed(record):
        return overtaken(tenant.gallery.id, identity)
    if not payloads.in_force(record.payload, time.time()):
        return IdentityExpired(
            f"the identity {identity!r} of {tenant.gallery.id!r} has expired; set a later expire_time or delete it "
            "first",
            metadata={"gallery": tenant.gallery.id, "identity": identity},
        )
    return None


def change_for(tenant: Tenant, item: Item, now: float, writer: str) -> Change:
    """Return the write of templates together with their identity's record."""
    request = item.request
    if item.record is not None:
        return change_of(tenant.collection, item.record, {"updated": now}, item.points, writer=writer)
    payload = payloads.identity_payload(
        tenant.uid,
        request.identity,
        display_name=request.display_name,
        labels=request.labels,
        verify_threshold=None,
        now=now,
        request_id=request.request_id,
        consent_reference=request.consent_reference,
        purpose=request.purpose,
    )
    return change_of(tenant.collection, Point(item.record_id, {}), payload, item.points, new=True, writer=writer)


def replacements(item: Item) -> list[Finding]:
    """Return what tells the caller which templates are replaced."""
    return [Finding(FindingKind.REPLACED, item.request.identity, key) for key in item.replaced]
