"""Reads resource names (AIP-122): ``galleries/{gallery}/identities/{identity}/templates/{template}``."""

import re

from sameface.resource_names import COLLECTIONS, make_name, unescaped
from sameface_qdrant.errors import InvalidArgument
from sameface_qdrant.values.ids import ID_PATTERN, check_identity_id


def parse_name(name: str, field: str, depth: int) -> tuple[str, ...]:
    """Split a resource name into its ``depth`` ids (1 gallery, 2 identity, 3 template).

    Raises:
        InvalidArgument: the name has another form. The message shows the expected form.
    """
    parts = name.split("/")
    collections, ids = parts[::2], parts[1::2]
    plain = [one for place, one in enumerate(ids) if place != 1]
    if tuple(collections) != COLLECTIONS[:depth] or not all(map(ID_PATTERN.fullmatch, plain)) or len(ids) != depth:
        form = "/".join(f"{collection}/{{id}}" for collection in COLLECTIONS[:depth])
        raise InvalidArgument(
            f"{field} is {name[:80]!r}; expected {form}, ids of galleries and templates matching {ID_PATTERN.pattern}",
            metadata={"field": field},
        )
    if depth == 1:
        return (ids[0],)
    try:
        identity = unescaped(ids[1])
    except ValueError as error:
        raise InvalidArgument(f"{field} names an identity wrongly: {error}", metadata={"field": field}) from None
    return ids[0], check_identity_id(identity, field), *ids[2:]


def parse_receipt_name(name: str) -> str:
    """Return the id in ``erasureReceipts/{id}``.

    Raises:
        InvalidArgument: the name has another form.
    """
    collection, _, receipt = name.partition("/")
    if collection != "erasureReceipts" or not re.fullmatch(r"[0-9a-f]{32}", receipt):
        raise InvalidArgument(
            f"name is {name[:80]!r}; expected erasureReceipts/{{id}}, as in the response to a deletion",
            metadata={"field": "name"},
        )
    return receipt


def parse_migration_name(name: str) -> tuple[str, str]:
    """Return the ids in ``galleries/{gallery}/migrations/{migration}``.

    Raises:
        InvalidArgument: the name has another form.
    """
    parts = name.split("/")
    if len(parts) != 4 or parts[::2] != ["galleries", "migrations"] or not all(map(ID_PATTERN.fullmatch, parts[1::2])):
        raise InvalidArgument(
            f"name is {name[:80]!r}; expected galleries/{{id}}/migrations/{{id}}, as ListMigrations shows it",
            metadata={"field": "name"},
        )
    return parts[1], parts[3]


def migration_name(gallery: str, migration: str) -> str:
    """Return the resource name of a migration."""
    return f"{make_name(gallery)}/migrations/{migration}"


def receipt_name(receipt: str) -> str:
    """Return the resource name of an erasure receipt."""
    return f"erasureReceipts/{receipt}"
