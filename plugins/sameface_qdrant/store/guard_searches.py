"""What the searches of guards ask for, and what a removal takes from the vectors that are in memory. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from sameface_qdrant.engines.base import TENANT_FIELD, Where
from sameface_qdrant.store.payloads import TEMPLATE
from sameface_qdrant.store.vector_table import VectorTable
from sameface_qdrant.values.vectors import Vector

Search = tuple[Vector, Where]


@dataclass(slots=True)
class Asked:
    """What searches of one call have in common, and where they differ."""

    tenant: str
    now: float
    own: bool
    """Whether each is among the templates of one identity, instead of among all others."""
    identities: list[str] = field(default_factory=list)


def guards_ask(searches: Sequence[Search], limit: int) -> Asked | None:
    """Return what the searches of guards ask for, None for other searches.

    A guard looks for the nearest template of all identities but one, or for some of one identity, in one gallery.
    """
    asked: Asked | None = None
    for _, where in searches:
        if where.among or where.outside or where.ids or where.expired_at is not None or where.valid_at is None:
            return None
        tenant, own = where.equals.get(TENANT_FIELD), "identity" in where.equals
        fields = where.equals if own else where.excludes
        if len(where.equals) != 1 + own or len(where.excludes) != 1 - own or "identity" not in fields:
            return None
        if asked is None:
            asked = Asked(str(tenant), where.valid_at, own)
        if (asked.tenant, asked.now, asked.own) != (tenant, where.valid_at, own) or (limit != 1 and not own):
            return None
        asked.identities.append(str(fields["identity"]))
    return asked


def removed_by(table: VectorTable, tenant: str, where: Where | Sequence[str]) -> Sequence[str] | None:
    """Return the templates of a table that a removal takes, None if the table does not know."""
    if not isinstance(where, Where):
        return where
    if where.equals.get(TENANT_FIELD, tenant) != tenant or where.equals.get("kind", TEMPLATE) != TEMPLATE:
        return ()
    others = where.equals.keys() - {TENANT_FIELD, "kind", "identity"}
    if others or where.excludes or where.among or where.outside or where.valid_at is not None:
        return None
    chosen: set[str] | None = None
    for condition in (
        set(where.ids) if where.ids else None,
        set(table.templates_of(str(where.equals["identity"]))) if "identity" in where.equals else None,
        None if where.expired_at is None else set(table.expired(where.expired_at)),
    ):
        if condition is not None:
            chosen = condition if chosen is None else chosen & condition
    return None if chosen is None else list(chosen)
