"""How the payload of a template tells the origin of its embedding. Pure."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from sameface_qdrant.engines.base import Where
from sameface_qdrant.values.origin import EmbeddingOrigin
from sameface_qdrant.values.scalars import of_python
from sameface_qdrant.values.template import Provenance

ORIGIN, MAP = "origin", "map"
"""The fields of a mapped template: how its embedding came to be, and the digest of the map. A native one has none."""
MAPPED = "mapped"
RESTING, AT_REST = "resting", "yes"
"""The field of a template of a protected gallery whose embedding is stored encrypted, and its value. It is not found by
searches. See `sameface_qdrant.store.migrations.resting`."""
RENEWAL = "renewal"
"""The field of a template that was mapped and is native now: when, and from what. The other fields are those of its
enrolment, which name the template."""


def mapped_from(payload: Mapping[str, Any], map_sha256: str) -> dict[str, Any]:
    """Return what the payload of a template says about its embedding if a map made that from one with ``payload``.

    The note of a renewal stays: it tells which embedding was mapped, and that it is not the one of the enrolment.
    """
    renewal = payload.get(RENEWAL)
    return {ORIGIN: MAPPED, MAP: map_sha256, **({} if renewal is None else {RENEWAL: renewal})}


def native_payload(payload: Mapping[str, Any]) -> dict[str, Any]:
    """Return a template's payload as one of a native embedding."""
    return {name: value for name, value in payload.items() if name not in (ORIGIN, MAP)}


def renewal_note(provenance: Provenance, now: float, writer: str) -> dict[str, Any]:
    """Return what is stored about the photo of a renewed embedding. ``writer`` tells it from any other renewal."""
    quality = {name: of_python(value) for name, value in provenance.quality.items()}
    return {"time": now, "source": provenance.source, "quality": quality, "note": provenance.note, "writer": writer}


def provenance_of(payload: Mapping[str, Any]) -> tuple[Provenance, float | None]:
    """Return where a template's embedding comes from, and when it was renewed; None if it never was."""
    renewal = payload.get(RENEWAL)
    told = renewal or payload
    return Provenance(told["source"], told["quality"], told["note"]), renewal["time"] if renewal else None


def origin_of(payload: Mapping[str, Any]) -> tuple[EmbeddingOrigin, str]:
    """Return the origin of a template's embedding, and the digest of its map; empty for a native one."""
    if payload.get(ORIGIN) == MAPPED:
        return EmbeddingOrigin.MAPPED, payload.get(MAP, "")
    return EmbeddingOrigin.NATIVE, ""


def of_origin(where: Where, origin: EmbeddingOrigin) -> Where:
    """Return a filter that takes only templates of an origin."""
    if origin is EmbeddingOrigin.MAPPED:
        return replace(where, equals={**where.equals, ORIGIN: MAPPED})
    return replace(where, excludes={**where.excludes, ORIGIN: MAPPED})
