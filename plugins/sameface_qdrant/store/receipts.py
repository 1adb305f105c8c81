"""Converts receipts of erasures to stored records and back. Pure."""

import dataclasses
from collections.abc import Mapping, Sequence
from types import MappingProxyType

from sameface_qdrant.engines.base import Point
from sameface_qdrant.store.payloads import RECEIPT, Payload, moment, seconds
from sameface_qdrant.values.erasure import ByteEvidence, ErasedResource, ErasureReceipt, ErasureState
from sameface_qdrant.values.ids import point_id
from sameface_qdrant.values.schema import known_fields, stamped

NO_ROUNDS: Mapping[str, int] = MappingProxyType({})


def receipt_point_id(receipt: str) -> str:
    """Return the id of a receipt's record in the meta collection."""
    return point_id(RECEIPT, receipt)


ROUNDS = "rounds"
"""A stored field: by collection, the round of `rewriting` that an erasure on a server waits for."""


TWINS = "twins"
"""A stored field: other collections that points of the same ids were removed from, each with its dimension."""
Twins = Sequence[tuple[str, int]]


def twins_of(payload: Payload) -> Twins:
    """Return the other collections that the points of a receipt's record were removed from."""
    return [(str(collection), int(dimension)) for collection, dimension in payload.get(TWINS) or ()]


def receipt_point(
    receipt: ErasureReceipt,
    collection: str,
    dimension: int,
    now: float,
    rounds: Mapping[str, int] = NO_ROUNDS,
    twins: Twins = (),
) -> Point:
    """Return a receipt's record, with the collections of its points, and the rounds that it waits for."""
    payload = {
        **dataclasses.asdict(receipt),
        "kind": RECEIPT,
        # Under no gallery, so that the receipt stays when its gallery is deleted.
        "gallery": "",
        "identity": "",
        "of_gallery": receipt.gallery,
        "of_identity": receipt.identity,
        "erase_time": seconds(receipt.erase_time),
        "done_time": seconds(receipt.done_time),
        "collection": collection,
        "dimension": dimension,
        ROUNDS: dict(rounds),
        **({TWINS: [list(twin) for twin in twins]} if twins else {}),
        "kept": now,
    }
    return Point(receipt_point_id(receipt.id), stamped(payload))


def receipt_of(payload: Payload) -> ErasureReceipt:
    """Return the receipt that a payload holds."""
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
        evidence=tuple(ByteEvidence(**known_fields(ByteEvidence, one)) for one in payload["evidence"]),
        not_covered=tuple(payload["not_covered"]),
        failure=payload["failure"],
    )
