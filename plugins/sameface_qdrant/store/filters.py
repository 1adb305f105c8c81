"""Filters on stored records. Pure."""

from collections.abc import Mapping

from sameface_qdrant.engines.base import Where
from sameface_qdrant.store.payloads import TEMPLATE
from sameface_qdrant.values.ids import NO_LABELS, check_labels
from sameface_qdrant.values.template import TemplateFilter


def gallery_filter(uid: str, kind: str, labels: Mapping[str, str] = NO_LABELS) -> Where:
    """Return the filter on all records of a kind in a gallery, with all of ``labels``."""
    return Where({"gallery": uid, "kind": kind, **{f"labels.{key}": value for key, value in labels.items()}})


def identity_filter(uid: str, identity: str, kind: str, valid_at: float | None = None) -> Where:
    """Return the filter on all records of a kind under an identity; ``valid_at`` leaves out those expired by then."""
    return Where({"gallery": uid, "identity": identity, "kind": kind}, valid_at=valid_at)


def search_filter(uid: str, where: TemplateFilter, now: float) -> Where:
    """Return the filter on the templates of a gallery that a search compares."""
    check_labels(where.labels)
    equals = dict(gallery_filter(uid, TEMPLATE, where.labels).equals)
    if where.source:
        equals["source"] = where.source
    return Where(
        equals,
        among={"identity": where.identities} if where.identities else {},
        outside={"identity": where.exclude_identities} if where.exclude_identities else {},
        valid_at=now,
    )
