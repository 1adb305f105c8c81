"""Between domain values and stored payloads: what each kind of point holds. Pure."""

import dataclasses
import hashlib
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

from sameface_qdrant.engines.base import Point, Where
from sameface_qdrant.errors import ConcurrentUpdate, InvalidArgument
from sameface_qdrant.values.contract import Contract
from sameface_qdrant.values.gallery import POLICY_SETTINGS, Gallery, OperatingPoint, Policy
from sameface_qdrant.values.identity import Identity, IdentityChanges
from sameface_qdrant.values.ids import NO_LABELS, check_labels, point_id
from sameface_qdrant.values.template import Provenance, Template, TemplateFilter
from sameface_qdrant.values.vectors import Vector

META = "meta"
"""The collection of galleries, their policies, and receipts of erasures."""
GALLERY, POLICY, SECRET, IDENTITY, TEMPLATE = "gallery", "policy", "secret", "identity", "template"

LATEST_WRITERS = 32
TAKEN_BACK_S = 60.0
"""A writer that lost takes its templates back at once; after this long it has, or never will."""

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
    """Raise ConcurrentUpdate where an etag is given and is not the present one."""
    if given and given != present:
        raise ConcurrentUpdate(
            f"{what!r} has etag {present}, {given[:64]!r} was given; read it again and repeat",
            metadata={"etag": present},
        )


def gallery_point_id(gallery: str) -> str:
    """Return the id of a gallery's record in the meta collection."""
    return point_id(GALLERY, gallery)


def policy_point(uid: str, policy: Policy) -> Point:
    """Return the record of one revision of a policy; revisions are never overwritten."""
    payload = {"kind": POLICY, "gallery": uid, **policy_payload(policy)}
    return Point(point_id(POLICY, uid, str(policy.revision)), payload)


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


def gallery_point(gallery: Gallery, uid: str, *, revision: int, request_id: str, marks: Sequence[str] = ()) -> Point:
    """Return a gallery's record.

    ``uid`` is new with every gallery, so that an id used again inherits nothing. ``revision`` counts every change (the
    policy counts its own), ``marks`` are those of the latest writers, see `marked`.
    """
    contract = gallery.contract
    payload = {
        "kind": GALLERY,
        "gallery": uid,
        "identity": "",
        "id": gallery.id,
        "display_name": gallery.display_name,
        "contract": {
            "model": contract.model,
            "version": contract.version,
            "sha256": contract.sha256,
            "dimension": contract.dimension,
            "preprocessing": contract.preprocessing,
            "equivalent_to": sorted(contract.equivalent_to),
        },
        "operating_points": [[point.fmr, point.threshold] for point in gallery.operating_points],
        "policy": policy_payload(gallery.policy),
        "revision": revision,
        "marks": list(marks),
        "created": seconds(gallery.create_time),
        "updated": seconds(gallery.update_time),
        "request_id": request_id,
    }
    return Point(gallery_point_id(gallery.id), payload)


def gallery_of(payload: Payload) -> Gallery:
    """Return the gallery that a payload holds."""
    contract = payload["contract"]
    return Gallery(
        id=payload["id"],
        contract=Contract(**{**contract, "equivalent_to": frozenset(contract["equivalent_to"])}),
        policy=policy_of(payload["policy"]),
        display_name=payload["display_name"],
        operating_points=tuple(OperatingPoint(fmr, threshold) for fmr, threshold in payload["operating_points"]),
        create_time=moment(payload["created"]),
        update_time=moment(payload["updated"]),
        etag=etag(payload["gallery"], payload["revision"]),
    )


def identity_point_id(uid: str, identity: str) -> str:
    """Return the id of an identity's record, which lies beside its templates."""
    return point_id(IDENTITY, uid, identity)


def identity_payload(
    uid: str,
    identity: str,
    *,
    display_name: str,
    labels: Mapping[str, str],
    verify_threshold: float | None,
    mark: str,
    now: float,
    request_id: str,
    consent_reference: str = "",
    purpose: str = "",
    expires: float | None = None,
) -> dict[str, Any]:
    """Return the payload of a new identity."""
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
        # Of a move that has begun: where to, and its id; and the id of the move that brought templates here.
        "moving_to": "",
        "move": "",
        "moved_by": "",
        "revision": 1,
        "created": now,
        "updated": now,
        "marks": [mark],
        "request_id": request_id,
    }


def identity_fields(changes: IdentityChanges) -> dict[str, Any]:
    """Return changes of an identity as fields of its payload."""
    fields: dict[str, Any] = dict(changes)
    if "labels" in fields:
        fields["labels"] = dict(fields["labels"])
    if "expire_time" in fields:
        fields["expires"] = seconds(fields.pop("expire_time"))
    return fields


def next_revision(payload: Payload, mark: str, now: float) -> dict[str, Any]:
    """Return an identity's payload as it is after a change by the writer of ``mark``."""
    return {**payload, "revision": payload["revision"] + 1, "updated": now, "marks": marked(payload, mark)}


def marked(payload: Payload, mark: str) -> list[str]:
    """Return the marks of the latest writers with one more.

    A conditional write does not say whether it was applied; the writer finds its mark among these afterwards if it was,
    also where others have written since.
    """
    return [*payload["marks"], mark][-LATEST_WRITERS:]


def settled(template: Payload, identity: Payload | None, now: float) -> bool:
    """Return whether a template will stay: whoever wrote it won, or would have taken it back by now."""
    won = identity is not None and template["mark"] in identity["marks"]
    return won or now - float(template["created"]) > TAKEN_BACK_S


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
    mark: str,
    now: float,
    expires: float | None,
    identity_expires: float | None,
) -> Point:
    """Return the record of a template.

    ``digest`` is keyed and tells a retry from a reused request id; ``mark`` names the call that wrote it.
    """
    payload = {
        "kind": TEMPLATE,
        "gallery": uid,
        "identity": identity,
        "contract": contract_key,
        "source": provenance.source,
        "quality": dict(provenance.quality),
        "note": provenance.note,
        # A copy of the identity's, so that a search can filter by them.
        "labels": dict(labels),
        "digest": digest,
        "mark": mark,
        "created": now,
        "own_expires": expires,
    }
    if (effective := earlier(expires, identity_expires)) is not None:
        payload["expires"] = effective
    return Point(point, payload, vector)


def check_to_come(moment: datetime | None, now: datetime) -> None:
    """Raise InvalidArgument where an expiry is in no time zone, or not after ``now``."""
    if moment is None:
        return
    if moment.tzinfo is None:
        raise InvalidArgument(
            f"expire_time is {moment}, in no time zone; give it one", metadata={"field": "expire_time"}
        )
    if moment <= now:
        raise InvalidArgument(
            f"expire_time is {moment:%Y-%m-%d %H:%M:%S%z}, which is past; expected a time to come",
            metadata={"field": "expire_time"},
        )


def earlier(one: float | None, other: float | None) -> float | None:
    """Return the earlier of two moments; None is never."""
    return min((moment for moment in (one, other) if moment is not None), default=None)


def in_force(payload: Payload, now: float) -> bool:
    """Return whether a template has not expired."""
    return (expires := payload.get("expires")) is None or float(expires) > now


def template_of(point: Point, gallery: str) -> Template:
    """Return the template that a point holds, with its vector where it was read."""
    payload = point.payload
    return Template(
        id=point.id,
        gallery=gallery,
        identity=payload["identity"],
        contract_key=payload["contract"],
        provenance=Provenance(payload["source"], payload["quality"], payload["note"]),
        vector=point.vector,
        create_time=moment(payload["created"]),
        expire_time=moment(payload.get("expires")),
    )


def of_gallery(uid: str, kind: str, labels: Mapping[str, str] = NO_LABELS) -> Where:
    """Return the filter on all records of a kind in a gallery, with all of ``labels``."""
    return Where({"gallery": uid, "kind": kind, **{f"labels.{key}": value for key, value in labels.items()}})


def of_identity(uid: str, identity: str, kind: str, valid_at: float | None = None) -> Where:
    """Return the filter on all records of a kind under an identity, without those that have expired by a moment."""
    return Where({"gallery": uid, "identity": identity, "kind": kind}, valid_at=valid_at)


def searched(uid: str, where: TemplateFilter, now: float) -> Where:
    """Return the filter on the templates of a gallery that a search looks at."""
    check_labels(where.labels)
    equals = dict(of_gallery(uid, TEMPLATE, where.labels).equals)
    if where.source:
        equals["source"] = where.source
    return Where(
        equals,
        among={"identity": where.identities} if where.identities else {},
        outside={"identity": where.exclude_identities} if where.exclude_identities else {},
        valid_at=now,
    )
