"""Errors for a collection, vector or payload field that is not there: they name what is there. Never values."""

import difflib
import warnings
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from qdrant_client import models

from sameface_qdrant.attached.queries import AttachedCollection
from sameface_qdrant.attached.target import Counts
from sameface_qdrant.errors import InvalidArgument

READ, NAMED, LONGEST = 64, 20, 64
"""Points whose fields are read; most names in a message; longest name in characters."""


def named(given: str, present: Iterable[str], what: str) -> str:
    """Return what a message says about names: those that are close to the one given, and some of those that are there.

    >>> named("persn", ["person", "note"], "fields")
    "did you mean 'person'? Its fields: 'note', 'person'"
    """
    every = sorted(set(present))
    close = difflib.get_close_matches(given, every, n=3, cutoff=0.6)
    shown = [repr(name[:LONGEST]) for name in every[:NAMED]]
    left = f" and {len(every) - NAMED} more" if len(every) > NAMED else ""
    listed = f"{what}: {', '.join(shown)}{left}" if every else f"{what}: none"
    meant = " or ".join(repr(name[:LONGEST]) for name in close)
    return f"did you mean {meant}? Its {listed}" if close else f"it has the {listed}"


def no_collection(location: str, name: str, present: Sequence[str]) -> InvalidArgument:
    """Return the error for a collection that does not exist. ``present`` may be empty, if a key may not list them."""
    message = f"Qdrant at {location} has no collection {name!r}; "
    known = named(name, present, "collections and aliases") if present else "list them with client.get_collections()"
    return InvalidArgument(message + known, metadata={"field": "collection"})


def no_vector(collection: str, name: str, present: Sequence[str]) -> InvalidArgument:
    """Return the error for a vector that does not exist."""
    return InvalidArgument(
        f"the collection {collection!r} has no dense vector {name!r}; {named(name, present, 'dense vectors')} ('' is "
        "the unnamed one)",
        metadata={"field": "vector_name"},
    )


async def check_fields(collection: AttachedCollection, counts: Counts) -> None:
    """Refuse an identity key that no point has, and warn of a field of ``where`` that no point has.

    Raises:
        InvalidArgument: there are points under ``where``, and none of them names an identity.
    """
    target = collection.target
    if counts.templates or counts.unusable:
        return
    if counts.ignored:
        fields = field_names(await collection.payloads(READ))
        key = target.identity_key
        if key in fields:
            reason = "holds neither a text nor a whole number in any of them; give a field that names one identity"
        else:
            reason = f"is in none of them; {named(key, fields, 'fields')}"
        raise InvalidArgument(
            f"none of the {counts.ignored} points of {target.collection!r} names an identity: the field {key!r} "
            f"{reason}",
            metadata={"field": "identity_key"},
        )
    for key in target.where:
        has_field = models.Filter(must_not=[models.IsEmptyCondition(is_empty=models.PayloadField(key=key))])
        if await collection.count(None) and not await collection.count(has_field):
            warnings.warn(
                f"no point of {target.collection!r} has the field {key!r} of where, so no point is found; check its "
                "name",
                stacklevel=4,
            )


def field_names(payloads: Iterable[Mapping[str, Any]]) -> set[str]:
    """Return the names of the fields of payloads, with a dot those in a nested one."""
    found: set[str] = set()
    for payload in payloads:
        for name, value in payload.items():
            found.add(name)
            if isinstance(value, Mapping):
                found |= {f"{name}.{inner}" for inner in value}
    return found
