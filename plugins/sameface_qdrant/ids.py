"""Ids: what callers may choose, and the point ids derived from them (RFC 9562 UUID version 5)."""

import re
import uuid

from sameface_qdrant.errors import InvalidArgument

ID_PATTERN = re.compile(r"[a-z0-9]([a-z0-9\-_.]{0,62}[a-z0-9])?")
_NAMESPACE = uuid.uuid5(uuid.NAMESPACE_URL, "https://github.com/sameface")


def check_id(value: str, field: str) -> str:
    """Return an id of a gallery or identity after checking its form.

    Raises:
        InvalidArgument: it does not match ``[a-z0-9]([a-z0-9-_.]{0,62}[a-z0-9])?``.
    """
    if not ID_PATTERN.fullmatch(value):
        raise InvalidArgument(
            f"{field} is {value[:80]!r}; expected 1 to 64 characters of a-z, 0-9, '-', '_', '.', with a letter or "
            "digit at both ends",
            metadata={"field": field},
        )
    return value


def point_id(*parts: str) -> str:
    """Return the point id of a record that is named by ``parts`` (kind first); the same parts give the same id."""
    return str(uuid.uuid5(_NAMESPACE, "\x1f".join(parts)))
