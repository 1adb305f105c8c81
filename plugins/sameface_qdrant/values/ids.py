"""Ids: what callers may choose, and the point ids derived from them (RFC 9562 UUID version 5)."""

import re
import uuid
from collections.abc import Mapping
from types import MappingProxyType

from sameface_qdrant.errors import InvalidArgument

ID_PATTERN = re.compile(r"[a-z0-9]([a-z0-9\-_.]{0,62}[a-z0-9])?")
# No dots: a key is part of the path of a payload field.
LABEL_PATTERN = re.compile(r"[a-z0-9]([a-z0-9\-_]{0,61}[a-z0-9])?")
NO_LABELS: Mapping[str, str] = MappingProxyType({})
ALL = "*"
MAX_LABELS, MAX_LABEL_VALUE = 32, 256
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


def check_gallery_pattern(pattern: str, what: str) -> str:
    """Return what names galleries, after checking its form: an id, the start of ids with ``*`` behind it, or ``*``.

    ``what`` begins the message.

    Raises:
        InvalidArgument: it has another form.
    """
    # The start of an id need not end like an id.
    example = pattern[:-1] + "0" if isinstance(pattern, str) and pattern.endswith(ALL) else pattern
    if pattern == ALL or (isinstance(pattern, str) and pattern != "" and ID_PATTERN.fullmatch(example)):
        return pattern
    raise InvalidArgument(
        f"{what} is {pattern!r}; expected an id, the start of ids such as team-*, or *",
        metadata={"field": "gallery"},
    )


def covers_gallery(pattern: str, gallery: str) -> bool:
    """Return whether a pattern, see `check_gallery_pattern`, is for a gallery."""
    return gallery.startswith(pattern[:-1]) if pattern.endswith(ALL) else gallery == pattern


def check_labels(labels: Mapping[str, str]) -> Mapping[str, str]:
    """Return an identity's labels after checking their form.

    Raises:
        InvalidArgument: there are more than 32, a key does not match ``[a-z0-9]([a-z0-9-_]{0,61}[a-z0-9])?``, or a
            value has more than 256 characters.
    """
    if len(labels) > MAX_LABELS:
        raise InvalidArgument(
            f"labels has {len(labels)} entries; at most {MAX_LABELS} are allowed", metadata={"field": "labels"}
        )
    for key, value in labels.items():
        if not LABEL_PATTERN.fullmatch(key) or len(value) > MAX_LABEL_VALUE:
            raise InvalidArgument(
                f"labels holds {key[:80]!r} with {len(value)} characters; expected a key of 1 to 63 characters of a-z, "
                f"0-9, '-', '_', with a letter or digit at both ends, and a value of at most {MAX_LABEL_VALUE}",
                metadata={"field": "labels", "key": key[:80]},
            )
    return labels


def point_id(*parts: str) -> str:
    """Return the point id of a record that is named by ``parts`` (kind first); the same parts give the same id."""
    return str(uuid.uuid5(_NAMESPACE, "\x1f".join(parts)))
