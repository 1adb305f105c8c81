"""Between domain values and stored payloads: what each kind of point holds. Pure."""

import hashlib
from collections.abc import Mapping
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

from sameface_qdrant.engines.base import Point
from sameface_qdrant.errors import ConcurrentUpdate, InvalidArgument
from sameface_qdrant.values.contract import Contract
from sameface_qdrant.values.erasure import ByteEvidence, ErasedResource, ErasureReceipt, ErasureState
from sameface_qdrant.values.gallery import Gallery, GuardAction, OperatingPoint, Policy, WhenFull
from sameface_qdrant.values.identity import Identity, IdentityChanges
from sameface_qdrant.values.ids import point_id
from sameface_qdrant.values.schema import check_readable, schema_of, stamped
from sameface_qdrant.values.template import Provenance, Template
from sameface_qdrant.values.vectors import Vector

META = "meta"
"""The collection of galleries, their policies, and receipts of erasures."""
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
    return Point(point_id(POLICY, uid, str(policy.revision)), stamped(payload))


def policy_payload(policy: Policy) -> dict[str, Any]:
    """Return a policy as plain values."""
    return {
        "verify_threshold": policy.verify_threshold,
        "identify_threshold": policy.identify_threshold,
        "runner_up_margin": policy.runner_up_margin,
        "target_fmr": policy.target_fmr,
        "target_fpir": policy.target_fpir,
        "max_templates": policy.max_templates,
        "when_full": policy.when_full.value,
        "on_collision": policy.on_collision.value,
        "collision_threshold": policy.collision_threshold,
        "on_duplicate": policy.on_duplicate.value,
        "on_outlier": policy.on_outlier.value,
        "outlier_threshold": policy.outlier_threshold,
        "calibrated_size": policy.calibrated_size,
        "revision": policy.revision,
        "author": policy.author,
        "created": seconds(policy.create_time),
    }


def policy_of(payload: Payload) -> Policy:
    """Return the policy that a payload holds."""
    return Policy(
        verify_threshold=payload["verify_threshold"],
        identify_threshold=payload["identify_threshold"],
        runner_up_margin=payload["runner_up_margin"],
        target_fmr=payload["target_fmr"],
        target_fpir=payload["target_fpir"],
        max_templates=payload["max_templates"],
        when_full=WhenFull(payload["when_full"]),
        on_collision=GuardAction(payload["on_collision"]),
        collision_threshold=payload["collision_threshold"],
        on_duplicate=GuardAction(payload["on_duplicate"]),
        on_outlier=GuardAction(payload["on_outlier"]),
        outlier_threshold=payload["outlier_threshold"],
        calibrated_size=payload.get("calibrated_size"),
        revision=payload["revision"],
        author=payload["author"],
        create_time=moment(payload["created"]),
    )


def gallery_payload(gallery: Gallery, uid: str) -> dict[str, Any]:
    """Return what a gallery's record holds, but for what a change adds (see `conditional_write`).

    ``uid`` is new with every gallery, so that an id used again inherits nothing.
    """
    contract = gallery.contract
    return {
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
        "created": seconds(gallery.create_time),
        "updated": seconds(gallery.update_time),
    }


def gallery_of(payload: Payload) -> Gallery:
    """Return the gallery that a payload holds."""
    check_readable(schema_of(payload), f"the gallery {payload['id']!r}")
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
        uid=payload["gallery"],
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
    now: float,
    request_id: str,
    consent_reference: str = "",
    purpose: str = "",
    expires: float | None = None,
) -> dict[str, Any]:
    """Return what a new identity's record holds, but for what a change adds (see `conditional_write`)."""
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
        "created": now,
        "updated": now,
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


def identity_of(payload: Payload, gallery: str, template_count: int) -> Identity:
    """Return the identity that a payload holds."""
    check_readable(schema_of(payload), f"the identity {payload['identity']!r}")
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
        "quality": dict(provenance.quality),
        "note": provenance.note,
        # A copy of the identity's, so that a search can filter by them.
        "labels": dict(labels),
        "digest": digest,
        "created": now,
        "own_expires": expires,
    }
    if (effective := earliest(expires, identity_expires)) is not None:
        payload["expires"] = effective
    return Point(point, stamped(payload), vector)


def check_future(moment: datetime | None, now: datetime) -> None:
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


def earliest(one: float | None, other: float | None) -> float | None:
    """Return the earlier of two moments; None is never."""
    return min((moment for moment in (one, other) if moment is not None), default=None)


def in_force(payload: Payload, now: float) -> bool:
    """Return whether a template has not expired."""
    return (expires := payload.get("expires")) is None or float(expires) > now


def template_of(point: Point, gallery: str) -> Template:
    """Return the template that a point holds, with its vector where it was read."""
    payload = point.payload
    check_readable(schema_of(payload), f"the template {point.id}")
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


def receipt_point_id(receipt: str) -> str:
    """Return the id of a receipt's record in the meta collection."""
    return point_id(RECEIPT, receipt)


def receipt_point(receipt: ErasureReceipt, collection: str, dimension: int, now: float) -> Point:
    """Return a receipt's record, with the collection that its points lay in."""
    payload = {
        **asdict(receipt),
        "kind": RECEIPT,
        # Of no gallery: the receipt stays when its gallery goes.
        "gallery": "",
        "identity": "",
        "of_gallery": receipt.gallery,
        "of_identity": receipt.identity,
        "erase_time": seconds(receipt.erase_time),
        "done_time": seconds(receipt.done_time),
        "collection": collection,
        "dimension": dimension,
        "kept": now,
    }
    return Point(receipt_point_id(receipt.id), stamped(payload))


def receipt_of(payload: Payload) -> ErasureReceipt:
    """Return the receipt that a payload holds."""
    check_readable(schema_of(payload), f"the receipt {payload['id']}")
    erase_time = moment(payload["erase_time"])
    assert erase_time is not None
    return ErasureReceipt(
        id=payload["id"],
        state=ErasureState(payload["state"]),
        resource=ErasedResource(payload["resource"]),
        gallery=payload["of_gallery"],
        identity=payload["of_identity"],
        template=payload["template"],
        templates=payload["templates"],
        records=payload["records"],
        erase_time=erase_time,
        done_time=moment(payload["done_time"]),
        engine=payload["engine"],
        unreadable=payload["unreadable"],
        compacted=payload["compacted"],
        sampled=payload["sampled"],
        evidence=tuple(ByteEvidence(**one) for one in payload["evidence"]),
        not_covered=tuple(payload["not_covered"]),
        failure=payload["failure"],
    )
