"""Encrypts the values of fields, and derives the digests that fields are looked up by.

A sealed value is the text ``<key id>:<generation>:<base64 of nonce, ciphertext and tag>``. It is encrypted with
AES-256-GCM-SIV (RFC 8452) under a random nonce of 12 bytes. Its associated data names the key, the generation, the
point and the field. So a value that is taken to another point or field does not open.
"""

import base64
import hmac
import json
import os
from typing import Any

from sameface_qdrant.errors import StoreCorrupt
from sameface_qdrant.store.protection.keys import missing_package
from sameface_qdrant.values.protection import Generation

_NONCE = 12
_DIGEST_BYTES = 20
"""160 bits: two values have the same digest with a chance of 2**-80 once there are 2**40 of them."""


class Seal:
    """Encrypts and decrypts the fields of points under one key."""

    def __init__(self, key: bytes, generation: Generation) -> None:
        try:
            from cryptography.hazmat.primitives.ciphers.aead import AESGCMSIV
        except ImportError as error:
            raise missing_package() from error
        self._cipher: AESGCMSIV = AESGCMSIV(key)
        self._prefix = f"{generation.key}:{generation.number}:"

    def sealed(self, point: str, name: str, value: Any) -> str:
        """Return a JSON value encrypted for a field of a point."""
        nonce = os.urandom(_NONCE)
        text = json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()
        content = nonce + self._cipher.encrypt(nonce, text, self._bound_to(point, name))
        return self._prefix + base64.b64encode(content).decode()

    def opened(self, point: str, name: str, text: Any) -> Any:
        """Return the value that was encrypted for a field of a point.

        Raises:
            StoreCorrupt: it was encrypted for another field or point, or under another key, or it was changed.
        """
        from cryptography.exceptions import InvalidTag

        try:
            content = base64.b64decode(str(text).removeprefix(self._prefix), validate=True)
            opened = self._cipher.decrypt(content[:_NONCE], content[_NONCE:], self._bound_to(point, name))
        except (InvalidTag, ValueError):
            raise StoreCorrupt(
                f"the encrypted field {name} of the point {point} does not open; it was changed, or moved there from "
                "another point or store: restore a backup",
                metadata={"field": name},
            ) from None
        return json.loads(opened.decode())

    def _bound_to(self, point: str, name: str) -> bytes:
        return f"{self._prefix}{point}:{name}".encode()


def generation_of(text: Any) -> Generation:
    """Return the generation that a sealed value of the meta collection was encrypted in.

    Raises:
        StoreCorrupt: it is no sealed value.
    """
    key, _, rest = str(text).partition(":")
    number, _, content = rest.partition(":")
    if not content or not number.isdecimal():
        raise StoreCorrupt("an encrypted field has another form; it was changed: restore a backup")
    return Generation(key, int(number), salt="")


def digest(key: bytes, *parts: str) -> str:
    """Return the keyed digest of texts, in hexadecimal; the parts cannot be confused with each other."""
    content = b"".join(len(one).to_bytes(4, "big") + one for one in (part.encode() for part in parts))
    return hmac.digest(key, content, "sha256")[:_DIGEST_BYTES].hex()
