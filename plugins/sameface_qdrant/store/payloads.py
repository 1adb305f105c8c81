"""Converts domain values to stored payloads and back. Pure."""

import dataclasses
import hashlib
from collections.abc import Mapping
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

from sameface_qdrant.engines.base import Point
from sameface_qdrant.errors import ConcurrentUpdate, InvalidArgument
from sameface_qdrant.store.migration_link import (
    LINK,
    MAPPED,
    contract_of,
    contract_payload,
    mapped_of,
    migration_link_of,
    points_of,
    points_payload,
)
from sameface_qdrant.store.template_origin import origin_of, provenance_of
from sameface_qdrant.values.finding import Finding
from sameface_qdrant.values.gallery import POLICY_SETTINGS, Gallery, Policy, PresentationAttackAction
from sameface_qdrant.values.identity import Identity, IdentityChanges
from sameface_qdrant.values.ids import member_id, point_id
from sameface_qdrant.values.protection import protection_of
from sameface_qdrant.values.scalars import of_python
from sameface_qdrant.values.schema import (
    CURRENT,
    EXAMINES_ATTACKS,
    MIGRATING,
    PROTECTED,
    SCHEMA_FIELD,
    SchemaVersion,
    schema_of,
    stamped,
)
from sameface_qdrant.values.template import Provenance, Template
from sameface_qdrant.values.vectors import Vector

META = "meta"
"""The collection of galleries, their policies, and receipts of erasures."""
UNFINISHED = "import"
"""The kind of the record that an import keeps about a gallery until the gallery is whole."""
GALLERY, POLICY, SECRET, IDENTITY, TEMPLATE, RECEIPT = "gallery", "policy", "secret", "identity", "template", "receipt"

Payload = Mapping[str, Any]


def seconds(moment: datetime | None) -> float | None:
    """Return seconds since the epoch."""
    return None if moment is None else moment.timestamp()


def moment(value: Any) -> datetime | None:
    """Return a stored moment in UTC."""
    return None if value is None else datetime.fromtimestamp(float(value), UTC)


def etag(*parts: object) -> str:
    """Return a short text that changes whenever one of the parts does."""
    return hashlib.sha256("\x1f".join(map(str, parts)).encode()).hexdigest()[:16]


def check_etag(given: str, present: str, what: str) -> None:
    """Raise ConcurrentUpdate if an etag is given and is not the present one."""
    if given and given != present:
        raise ConcurrentUpdate(
            f"{what!r} has changed: its etag is {present}, and {given[:64]!r} was given; read it again and repeat",
            metadata={"etag": present},
        )


def gallery_point_id(gallery: str) -> str:
    """Return the id of a gallery's record in the meta collection."""
    return point_id(GALLERY, gallery)


def policy_point(uid: str, gallery: Payload) -> Point:
    """Return the record of the policy that a gallery's payload holds; revisions are never overwritten."""
    payload = {
        SCHEMA_FIELD: dataclasses.asdict(schema_of(gallery)),
        **gallery["policy"],
        "kind": POLICY,
        "gallery": uid,
    }
    return Point(point_id(POLICY, uid, str(payload["revision"])), payload)


def gallery_form(policy: Policy, protected: bool, migrating: bool = False) -> SchemaVersion:
    """Return the schema version of the record of a gallery with this policy.

    ``migrating`` says whether it is in a migration or has mapped templates.
    """
    if migrating:
        return MIGRATING
    if protected:
        return PROTECTED
    return CURRENT if policy.presentation_attack is PresentationAttackAction.OFF else EXAMINES_ATTACKS


def form_of(gallery: Payload) -> SchemaVersion:
    """Return the schema version of a gallery's record with this payload."""
    migrating = bool(gallery.get(LINK) or gallery.get(MAPPED))
    return gallery_form(policy_of(gallery["policy"]), bool(gallery.get("protection")), migrating)


def policy_payload(policy: Policy) -> dict[str, Any]:
    """Return a policy as plain values."""
    values = {field.name: getattr(policy, field.name) for field in dataclasses.fields(policy)}
    values["created"] = seconds(values.pop("create_time"))
    return {name: value.value if isinstance(value, StrEnum) else value for name, value in values.items()}


def policy_of(payload: Payload) -> Policy:
    """Return the policy that a payload holds; a field that an older version did not store has its default."""
    names = {field.name for field in dataclasses.fields(Policy)}
    values = {name: value for name, value in payload.items() if name in names}
    for setting in POLICY_SETTINGS:
        if issubclass(setting.kind, StrEnum) and setting.name in values:
            values[setting.name] = setting.kind(values[setting.name])
    return Policy(**values, create_time=moment(payload.get("created")))


def gallery_payload(gallery: Gallery, uid: str) -> dict[str, Any]:
    """Return the payload of a gallery's record, without the fields that `conditional_write` adds.

    Every gallery has a new ``uid``, so that a gallery under a reused id inherits nothing.
    """
    return {
        "kind": GALLERY,
        "gallery": uid,
        "identity": "",
        "id": gallery.id,
        "display_name": gallery.display_name,
        "contract": contract_payload(gallery.contract),
        "operating_points": points_payload(gallery.operating_points),
        "policy": policy_payload(gallery.policy),
        "created": seconds(gallery.create_time),
        "updated": seconds(gallery.update_time),
    }


def gallery_of(payload: Payload) -> Gallery:
    """Return the gallery that a payload holds."""
    return Gallery(
        id=payload["id"],
        contract=contract_of(payload["contract"]),
        policy=policy_of(payload["policy"]),
        display_name=payload["display_name"],
        operating_points=points_of(payload["operating_points"]),
        create_time=moment(payload["created"]),
        update_time=moment(payload["updated"]),
        etag=etag(payload["gallery"], payload["revision"]),
        uid=payload["gallery"],
        protection=protection_of(payload.get("protection")),
        migration=migration_link_of(payload.get(LINK)),
        mapped=mapped_of(payload.get(MAPPED)),
    )


def identity_point_id(uid: str, identity: str) -> str:
    """Return the id of an identity's record, which lies beside its templates."""
    return member_id(IDENTITY, uid, identity)


def identity_payload(
    uid: str,
    identity: str,
    *,
    display_name: str,
    labels: Mapping[str, str],
    verify_threshold: float | None,
    now: float,
    request_id: str,
    consent_reference: str = "",
    purpose: str = "",
    expires: float | None = None,
) -> dict[str, Any]:
    """Return the payload of a new identity's record, without the fields that `conditional_write` adds."""
    return {
        "kind": IDENTITY,
        "gallery": uid,
        "identity": identity,
        "display_name": display_name,
        "labels": dict(labels),
        "verify_threshold": verify_threshold,
        "consent_reference": consent_reference,
        "purpose": purpose,
        "expires": expires,
        # The target and the id of a move from here that has begun, whether it merges, and the latest move to here.
        "moving_to": "",
        "move": "",
        "merging": False,
        "moved_by": "",
        "created": now,
        "updated": now,
        "request_id": request_id,
    }


def identity_fields(changes: IdentityChanges) -> dict[str, Any]:
    """Return changes of an identity as fields of its payload."""
    fields: dict[str, Any] = {name: of_python(value) for name, value in changes.items()}
    if "labels" in fields:
        fields["labels"] = dict(fields["labels"])
    if "expire_time" in fields:
        fields["expires"] = seconds(fields.pop("expire_time"))
    return fields


def identity_of(payload: Payload, gallery: str, template_count: int) -> Identity:
    """Return the identity that a payload holds."""
    return Identity(
        gallery=gallery,
        id=payload["identity"],
        display_name=payload["display_name"],
        labels=payload["labels"],
        verify_threshold=payload["verify_threshold"],
        consent_reference=payload["consent_reference"],
        purpose=payload["purpose"],
        expire_time=moment(payload.get("expires")),
        template_count=template_count,
        create_time=moment(payload["created"]),
        update_time=moment(payload["updated"]),
        etag=etag(payload["gallery"], payload["identity"], payload["created"], payload["revision"]),
    )


def template_point(
    point: str,
    uid: str,
    identity: str,
    vector: Vector,
    *,
    contract_key: str,
    provenance: Provenance,
    labels: Mapping[str, str],
    digest: str,
    now: float,
    expires: float | None,
    identity_expires: float | None,
) -> Point:
    """Return the record of a template.

    ``digest`` is keyed and tells a retry from a reused request id.
    """
    payload = {
        "kind": TEMPLATE,
        "gallery": uid,
        "identity": identity,
        "contract": contract_key,
        "source": provenance.source,
        "quality": {name: of_python(value) for name, value in provenance.quality.items()},
        "note": provenance.note,
        # A copy of the identity's labels, so that a search can filter by them.
        "labels": dict(labels),
        "digest": digest,
        "created": now,
        "own_expires": expires,
    }
    if (effective := earliest(expires, identity_expires)) is not None:
        payload["expires"] = effective
    return Point(point, stamped(payload), vector)


def check_future(moment: datetime | None, now: datetime) -> None:
    """Raise InvalidArgument if an expiry has no time zone, or is not after ``now``."""
    if moment is None:
        return
    if moment.tzinfo is None:
        raise InvalidArgument(
            f"expire_time is {moment}, without a time zone; give it one, for instance datetime.UTC",
            metadata={"field": "expire_time"},
        )
    if moment <= now:
        raise InvalidArgument(
            f"expire_time is {moment:%Y-%m-%d %H:%M:%S%z}, which is in the past; expected a time in the future",
            metadata={"field": "expire_time"},
        )


def earliest(one: float | None, other: float | None) -> float | None:
    """Return the earlier of two moments; None means never."""
    return min((moment for moment in (one, other) if moment is not None), default=None)


def in_force(payload: Payload, now: float) -> bool:
    """Return whether a template has not expired."""
    return (expires := payload.get("expires")) is None or float(expires) > now


def template_of(point: Point, gallery: str, findings: tuple[Finding, ...] = ()) -> Template:
    """Return the template that a point holds, with its vector if it was read, and with what was found about it."""
    payload = point.payload
    origin, map_sha256 = origin_of(payload)
    provenance, renewed = provenance_of(payload)
    return Template(
        id=point.id,
        gallery=gallery,
        identity=payload["identity"],
        contract_key=payload["contract"],
        provenance=provenance,
        vector=point.vector,
        create_time=moment(payload["created"]),
        expire_time=moment(payload.get("expires")),
        embedding_origin=origin,
        map_sha256=map_sha256,
        renew_time=moment(renewed),
        findings=findings,
    )
