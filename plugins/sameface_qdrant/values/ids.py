"""Ids: what callers may choose, and the point ids derived from them (RFC 9562 UUID version 5)."""

import functools
import hashlib
import re
import unicodedata
import uuid
from collections.abc import Mapping
from types import MappingProxyType

from sameface_qdrant.errors import InvalidArgument

ID_PATTERN = re.compile(r"[a-z0-9]([a-z0-9\-_.]{0,62}[a-z0-9])?")
MAX_IDENTITY_BYTES = 200
# Control characters, line and paragraph separators, and halves of characters, which UTF-8 cannot express.
_NO_TEXT = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")
# No dots: a key is part of the path of a payload field.
LABEL_PATTERN = re.compile(r"[a-z0-9]([a-z0-9\-_]{0,61}[a-z0-9])?")
NO_LABELS: Mapping[str, str] = MappingProxyType({})
ALL = "*"
MAX_LABELS, MAX_LABEL_VALUE = 32, 256
_NAMESPACE = uuid.uuid5(uuid.NAMESPACE_URL, "https://github.com/sameface")
_NAMESPACE_BYTES = _NAMESPACE.bytes
_VARIANT = {digit: "89ab"[number % 4] for number, digit in enumerate("0123456789abcdef")}
"""The digit of a UUID that holds its variant, by the digit of the hash."""


def check_id(value: str, field: str) -> str:
    """Return an id of a gallery after checking its form.

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


def check_identity_id(value: str, field: str) -> str:
    """Return an id of an identity after checking it. It may be any text, and is compared byte for byte.

    Raises:
        InvalidArgument: it has not 1 to 200 bytes of UTF-8, holds a control character or a line separator, is not in
            Unicode form NFC (two forms of one text look the same), or is "." or "..", which paths give a meaning.
    """
    expected = (
        f"expected 1 to {MAX_IDENTITY_BYTES} bytes of UTF-8 without control characters and line separators, other "
        "than one dot or two"
    )
    if not isinstance(value, str) or value in ("", ".", "..") or _NO_TEXT.search(value):
        pass
    elif len(value.encode()) > MAX_IDENTITY_BYTES:
        expected += f"; it has {len(value.encode())}"
    elif not unicodedata.is_normalized("NFC", value):
        expected = "expected Unicode form NFC: normalise the text"
    else:
        return value
    shown = repr(value[:80]) if isinstance(value, str) else type(value).__name__
    raise InvalidArgument(f"{field} is {shown}; {expected}", metadata={"field": field})


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


PROTECTED_UID = "p"
"""The first character of the key of a protected gallery. Other keys are hexadecimal."""
_TAG_BYTES = 6


def member_id(kind: str, uid: str, *parts: str) -> str:
    """Return the point id of a record in a gallery, which is named by its kind, the gallery's key and ``parts``.

    In a protected gallery it is a UUID of version 8 that begins with the gallery's tag. So an engine that protects
    points knows the gallery of an id.
    """
    plain = point_id(kind, uid, *parts)
    if not is_protected_uid(uid):
        return plain
    # Written out, as this is called for every point of a decision: the tag, the version, and the rest of the hash.
    tag = gallery_tag(uid).hex()
    return f"{tag[:8]}-{tag[8:]}-8{plain[15:]}"


def is_protected_uid(uid: str) -> bool:
    """Return whether a gallery's key is that of a protected gallery."""
    return uid.startswith(PROTECTED_UID) and len(uid) == len(PROTECTED_UID) + 32


@functools.lru_cache(4096)
def gallery_tag(uid: str) -> bytes:
    """Return the first bytes of the ids of all records in a protected gallery."""
    return hashlib.sha256(uid.encode()).digest()[:_TAG_BYTES]


def tag_of(point: str) -> bytes | None:
    """Return the gallery's tag that an id begins with; None for an id outside of protected galleries."""
    return bytes.fromhex(point[:8] + point[9:13]) if point[14:15] == "8" else None


def point_id(*parts: str) -> str:
    """Return the point id of a record that is named by ``parts`` (kind first); the same parts give the same id."""
    # `str(uuid.uuid5(…))`, written out, as this is called for every decision.
    name = hashlib.sha1(_NAMESPACE_BYTES + "\x1f".join(parts).encode(), usedforsecurity=False).hexdigest()
    return f"{name[:8]}-{name[8:12]}-5{name[13:16]}-{_VARIANT[name[16]]}{name[17:20]}-{name[20:32]}"
