"""The copy of a point under another contract, and the errors of calls that come while contracts are exchanged. Pure."""

from collections.abc import Mapping
from typing import Any

from sameface_qdrant.errors import ConcurrentUpdate, StoreUnavailable
from sameface_qdrant.store.payloads import TEMPLATE
from sameface_qdrant.store.template_origin import AT_REST, MAP, ORIGIN, RENEWAL, RESTING
from sameface_qdrant.values.contract import Contract
from sameface_qdrant.values.ids import is_protected_uid

OWNED = ("contract", ORIGIN, MAP, RENEWAL, RESTING)
"""Fields of a template that belong to one contract. All others are the same in both collections."""
OWNED_BY_IDENTITY = ("verify_threshold",)
"""The same for the record of an identity: a threshold is measured under one contract."""
ERASING = "erasing"
"""The field of a point that is being erased while no map leads to its other contract: the id of the migration. If the
erasure is cut off between its two contracts, the point would look like one that never had the other form."""
RETRY_S = 2.0


def under_contract(
    payload: Mapping[str, Any], contract: Contract, owned: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """Return the payload of a point for its copy in the secondary collection, under another contract.

    ``owned`` has the fields that belong to that contract; without it a template is a native one.
    """
    if payload["kind"] != TEMPLATE:
        kept = {} if owned is None else {name: owned[name] for name in OWNED_BY_IDENTITY if name in owned}
        return {**payload, **dict.fromkeys(OWNED_BY_IDENTITY), **kept}
    fields = {name: value for name, value in payload.items() if name not in OWNED}
    kept = {} if owned is None else {name: owned[name] for name in OWNED if name in owned}
    rest = {RESTING: AT_REST} if is_protected_uid(payload["gallery"]) else {}
    return {**fields, **kept, "contract": contract.key, **rest}


def exchanging(gallery: str) -> StoreUnavailable:
    """Return the error for a write while the contract of a gallery is exchanged."""
    return StoreUnavailable(
        f"the contract of the gallery {gallery!r} is being exchanged, and writes wait for that; repeat the call",
        metadata={"gallery": gallery},
        retry_after_s=RETRY_S,
    )


def exchanged(gallery: str) -> ConcurrentUpdate:
    """Return the error for a call that began under a contract that the gallery no longer has."""
    return ConcurrentUpdate(
        f"the contract of the gallery {gallery!r} was exchanged meanwhile; read the gallery again, and repeat the call "
        "with embeddings under its contract",
        metadata={"gallery": gallery},
    )
