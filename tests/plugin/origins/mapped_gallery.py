"""A gallery some of whose templates are mapped, and its decisions by brute force."""

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from sameface_qdrant import Gallery, MappedTemplates, NewTemplate, OperatingPoint, Policy, Store
from sameface_qdrant.engines.base import Where
from sameface_qdrant.store.template_origin import mapped_from
from sameface_qdrant.values.decision import Outcome
from sameface_qdrant.values.vectors import Vector
from tests.plugin.conftest import CONTRACT

MAP = "b" * 64
POINTS = (OperatingPoint(1e-2, 0.45), OperatingPoint(1e-4, 0.6))
"""Measured with native templates, and the next ones with mapped templates."""
MAPPED_POINTS = (OperatingPoint(1e-2, 0.35), OperatingPoint(1e-4, 0.4))


@dataclass(frozen=True, slots=True)
class Kept:
    """A stored template."""

    identity: str
    vector: Vector
    mapped: bool


async def make_mapped(store: Store, gallery: str, templates: Sequence[str]) -> None:
    """Mark stored templates as mapped, as a migration writes them."""
    tenant = await store.galleries.tenant(gallery)
    where = Where({"gallery": tenant.uid}, ids=tuple(templates))
    await store._checked.set_payload(tenant.collection, where, mapped_from({}, MAP))


async def filled(store: Store, kept: Sequence[Kept], policy: Policy = Policy()) -> Gallery:  # noqa: B008  # frozen
    """Make a gallery ``people`` of these templates, and return it as one that may hold mapped templates."""
    gallery = await store.galleries.create("people", CONTRACT, policy=policy, operating_points=POINTS)
    mapped = []
    for one in kept:
        (stored,) = await store.enroll("people", one.identity, [NewTemplate(one.vector, CONTRACT)])
        mapped += [stored.id] * one.mapped
    await make_mapped(store, "people", mapped)
    return dataclasses.replace(gallery, mapped=MappedTemplates(MAP, MAPPED_POINTS))


def fused(kept: Sequence[Kept], probe: Vector, native: float, mapped: float) -> Mapping[str, tuple[float, bool]]:
    """Return of each identity how far its best template is above the threshold of its origin, and whether it is mapped.

    By brute force: every template is compared.
    """
    best: dict[str, tuple[float, bool]] = {}
    for one in kept:
        excess = float(one.vector.astype(np.float64) @ probe.astype(np.float64)) - (mapped if one.mapped else native)
        if one.identity not in best or excess > best[one.identity][0]:
            best[one.identity] = excess, one.mapped
    return best


def outcome_of(excess: float, lead: float | None, margin: float) -> Outcome:
    """Return the outcome by the table of docs/decisions.md."""
    if excess < 0:
        return Outcome.NO_MATCH
    return Outcome.MATCH if lead is None or lead >= margin else Outcome.AMBIGUOUS
