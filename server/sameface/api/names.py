"""Resource names (AIP-122): ``galleries/{gallery}/identities/{identity}/templates/{template}``."""

import re

from sameface_qdrant.errors import InvalidArgument

_ID = "[a-z0-9](?:[a-z0-9-_.]{0,62}[a-z0-9])?"
_COLLECTIONS = ("galleries", "identities", "templates")


def parse_name(name: str, field: str, depth: int) -> tuple[str, ...]:
    """Split a resource name into its ``depth`` ids (1 gallery, 2 identity, 3 template).

    Raises:
        InvalidArgument: the name does not have that form; the message shows the form.
    """
    pattern = "/".join(f"{collection}/({_ID})" for collection in _COLLECTIONS[:depth])
    match = re.fullmatch(pattern, name)
    if match is None:
        form = "/".join(f"{collection}/{{id}}" for collection in _COLLECTIONS[:depth])
        raise InvalidArgument(
            f"{field} is {name[:80]!r}; expected {form} with ids matching {_ID.replace('?:', '')}",
            metadata={"field": field},
        )
    return match.groups()


def make_name(*ids: str) -> str:
    """Join one to three ids into a resource name."""
    return "/".join(f"{collection}/{part}" for collection, part in zip(_COLLECTIONS, ids, strict=False))
