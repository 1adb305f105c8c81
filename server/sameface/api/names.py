"""Resource names (AIP-122): ``galleries/{gallery}/identities/{identity}/templates/{template}``."""

import re

from sameface_qdrant.errors import InvalidArgument
from sameface_qdrant.values.ids import ID_PATTERN

_COLLECTIONS = ("galleries", "identities", "templates")


def parse_name(name: str, field: str, depth: int) -> tuple[str, ...]:
    """Split a resource name into its ``depth`` ids (1 gallery, 2 identity, 3 template).

    Raises:
        InvalidArgument: the name has another form. The message shows the expected form.
    """
    parts = name.split("/")
    collections, ids = parts[::2], parts[1::2]
    if tuple(collections) != _COLLECTIONS[:depth] or not all(map(ID_PATTERN.fullmatch, ids)) or len(ids) != depth:
        form = "/".join(f"{collection}/{{id}}" for collection in _COLLECTIONS[:depth])
        raise InvalidArgument(
            f"{field} is {name[:80]!r}; expected {form} with ids matching {ID_PATTERN.pattern}",
            metadata={"field": field},
        )
    return tuple(ids)


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


def receipt_name(receipt: str) -> str:
    """Return the resource name of an erasure receipt."""
    return f"erasureReceipts/{receipt}"


def make_name(*ids: str) -> str:
    """Join one to three ids into a resource name."""
    return "/".join([f"{collection}/{part}" for collection, part in zip(_COLLECTIONS, ids, strict=False)])
