"""The request of an enrolment: the identity, its templates, and the points that store them. Pure."""

import hmac
from collections.abc import Container, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from sameface_qdrant.engines.base import Point
from sameface_qdrant.store import payloads
from sameface_qdrant.store.galleries import Tenant
from sameface_qdrant.store.migration_link import secondary_of
from sameface_qdrant.values.contract import Contract
from sameface_qdrant.values.decision import Probe
from sameface_qdrant.values.enrolment import Enrolment
from sameface_qdrant.values.ids import check_identity_id, check_labels, member_id
from sameface_qdrant.values.template import NewTemplate
from sameface_qdrant.values.vectors import Vector, units_under


@dataclass(frozen=True, slots=True)
class Entry:
    """One template of a request."""

    new: NewTemplate
    vector: Vector
    """Unit norm."""
    digest: str
    """Keyed digest of the content."""
    key: str
    """The template's point id."""
    secondary: Vector | None = None
    """Unit norm: the same photo under the other contract of a migrating gallery; None if the caller gave none."""


def check_request(request: Enrolment) -> None:
    """Raise InvalidArgument if an id, a label or an expiry is malformed."""
    check_identity_id(request.identity, "identity")
    check_labels(request.labels)
    now = datetime.now(UTC)
    for new in request.templates:
        payloads.check_future(new.expire_time, now)


def entries_of(tenant: Tenant, request: Enrolment, secret: bytes) -> list[Entry]:
    """Return the entries of a request.

    Point ids derive from the request id, or without one from the content. So a repeat finds its own points.

    Raises:
        InvalidEmbedding, ContractMismatch: an embedding does not fit the gallery.
    """
    contract, link = tenant.gallery.contract, tenant.gallery.migration
    chosen = [new if link is None else _embedding(new, contract) or new for new in request.templates]
    vectors = units_under(contract, chosen)
    entries = []
    for number, (new, vector) in enumerate(zip(request.templates, vectors, strict=True)):
        other = None if link is None else _embedding(new, secondary_of(link))
        secondary = None if link is None or other is None else units_under(secondary_of(link), [other])[0]
        digest = hmac.digest(secret, new.content or vector.tobytes(), "sha256").hex()
        named_by = f"{request.request_id}/{number}" if request.request_id else digest
        key = member_id(payloads.TEMPLATE, tenant.uid, request.identity, named_by)
        entries.append(Entry(new, vector, digest, key, secondary))
    return entries


def _embedding(new: NewTemplate, contract: Contract) -> NewTemplate | Probe | None:
    """Return the embedding of a new template under a contract; None if the caller gave none.

    The caller may have read the gallery before its contract was exchanged.
    """
    given: tuple[NewTemplate | Probe, ...] = (new, *new.also)
    return next((one for one in given if contract.accepts(one.contract)), None)


def not_stored(entries: Sequence[Entry], present: Container[str]) -> list[Entry]:
    """Return the entries whose ids are not in ``present``, each id once."""
    return list({entry.key: entry for entry in entries if entry.key not in present}.values())


def template_points(
    tenant: Tenant, request: Enrolment, entries: Sequence[Entry], record: Point | None, now: float
) -> list[Point]:
    """Return the points that store entries. ``record`` is that of the identity, None if it is new."""
    return [
        payloads.template_point(
            entry.key,
            tenant.uid,
            request.identity,
            entry.vector,
            contract_key=tenant.gallery.contract.key if tenant.gallery.migration else entry.new.contract.key,
            provenance=entry.new.provenance,
            labels=record.payload["labels"] if record else request.labels,
            digest=entry.digest,
            now=now,
            expires=payloads.seconds(entry.new.expire_time),
            identity_expires=record.payload.get("expires") if record else None,
        )
        for entry in entries
    ]
