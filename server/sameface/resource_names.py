"""Resource names, and the escape of an identity's id in them. Pure functions.

A name is ``galleries/{gallery}/identities/{identity}/templates/{template}``. The id of an identity may be any text. In
a name, every byte of its UTF-8 that is not in ``[a-z0-9-_.]`` is ``~`` and two lower-case hexadecimal digits. So an id
has one spelling, which holds neither a slash nor anything that a URL changes.
"""

import re

COLLECTIONS = ("galleries", "identities", "templates")
_PLAIN = re.compile(rb"[a-z0-9\-_.]")
_SPELLING = tuple(chr(byte) if _PLAIN.match(bytes([byte])) else f"~{byte:02x}" for byte in range(256))
_PLAIN_ID = re.compile(r"[a-z0-9\-_.]+")
_ESCAPE = re.compile(rb"~([0-9A-Fa-f]{2})")


def escaped(identity: str) -> str:
    """Return the id of an identity as it stands in a name.

    >>> escaped("ada"), escaped("Ada@x.org"), escaped("李")
    ('ada', '~41da~40x.org', '~e6~9d~8e')

    Raises:
        ValueError: it has a surrogate, which UTF-8 cannot express.
    """
    return "".join([_SPELLING[byte] for byte in identity.encode()])


def unescaped(part: str) -> str:
    """Return the id of an identity from its part of a name, the inverse of `escaped`.

    >>> unescaped("~41da~40x.org")
    'Ada@x.org'

    Raises:
        ValueError: it is not the one spelling of an id. The message says what to write.
    """
    if _PLAIN_ID.fullmatch(part):
        return part
    written = _ESCAPE.sub(lambda found: bytes.fromhex(found[1].decode()), part.encode())
    try:
        text = written.decode()
    except UnicodeDecodeError:
        raise ValueError(
            f"{part!r} holds escaped bytes that are no UTF-8; escape the bytes of the id's UTF-8"
        ) from None
    if (spelling := escaped(text)) != part:
        raise ValueError(
            f"{part!r} is not how an id is written in a name: every byte of its UTF-8 but a-z, 0-9, '-', '_', '.' is "
            f"'~' and two lower-case hexadecimal digits; write {spelling!r} for the id {text!r}"
        )
    return text


def make_name(*ids: str) -> str:
    """Return the name of a gallery, an identity or a template by its one to three ids.

    Raises:
        ValueError: see `escaped`.
    """
    parts = [escaped(one) if place == 1 else one for place, one in enumerate(ids)]
    return "/".join([f"{collection}/{part}" for collection, part in zip(COLLECTIONS, parts, strict=False)])


def ids_in(name: str) -> tuple[str, ...]:
    """Return the ids in a name that the service has sent.

    >>> ids_in("galleries/staff/identities/~41da"), ids_in("erasureReceipts/0f")
    (('staff', 'Ada'), ('0f',))
    """
    return tuple(unescaped(one) if place == 1 else one for place, one in enumerate(name.split("/")[1::2]))


def last_part(name: str) -> str:
    """Return the id at the end of a name that the service has sent, that of an identity as it was chosen.

    An empty name, as of a template that was only checked, gives "".

    >>> last_part("galleries/staff/identities/~41da~40x.org")
    'Ada@x.org'
    """
    return ids_in(name)[-1] if name else ""
