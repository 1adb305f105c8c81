"""The key of an export: a passphrase or the content of a key file."""

import secrets
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from sameface_qdrant.errors import InvalidArgument
from sameface_qdrant.transfer.errors import ExportCorrupt, ExportKeyRefused

LEAST_PASSPHRASE, LEAST_KEY, MOST_KEY = 12, 32, 4096
KEY_BYTES = 32
_SALT_BYTES = 16
_SCRYPT = {"n": 2**17, "r": 8, "p": 1}
"""RFC 7914; 128 MiB of memory and less than a second."""
_MOST = {"n": 2**20, "r": 16, "p": 16}
"""The file names its parameters; a hostile one must not exhaust the memory."""

Kind = Literal["passphrase", "key-file"]
_NAMES: Mapping[str, str] = {"passphrase": "passphrase", "key-file": "key file"}


@dataclass(frozen=True, slots=True)
class ExportKey:
    """What opens an export. Make it with `of_passphrase` or `of_file`."""

    kind: Kind
    secret: bytes = field(repr=False)

    @classmethod
    def of_passphrase(cls, text: str) -> "ExportKey":
        """Return the key of a passphrase.

        Raises:
            InvalidArgument: it has fewer than 12 characters.
        """
        if len(text) < LEAST_PASSPHRASE:
            raise InvalidArgument(
                f"the passphrase has {len(text)} characters; expected {LEAST_PASSPHRASE} or more",
                metadata={"field": "passphrase"},
            )
        # The same characters may be typed as other code points elsewhere.
        return cls("passphrase", unicodedata.normalize("NFC", text).encode())

    @classmethod
    def of_file(cls, path: Path) -> "ExportKey":
        """Return the key of a file of 32 to 4096 random bytes.

        Raises:
            InvalidArgument: the file has another size.
            OSError: it cannot be read.
        """
        with path.open("rb") as file:
            content = file.read(MOST_KEY + 1)
        if not LEAST_KEY <= len(content) <= MOST_KEY:
            size = len(content) if len(content) <= MOST_KEY else f"more than {MOST_KEY}"
            raise InvalidArgument(
                f"the key file {path} has {size} bytes; expected {LEAST_KEY} to {MOST_KEY} random bytes, for instance "
                f"of: head -c {LEAST_KEY} /dev/urandom",
                metadata={"field": "key_file"},
            )
        return cls("key-file", content)


def new_parameters(key: ExportKey) -> dict[str, Any]:
    """Return the parameters of the derivation for a new file, with a random salt; they stand in its header."""
    salt = secrets.token_hex(_SALT_BYTES)
    if key.kind == "passphrase":
        return {"kind": key.kind, "derivation": "scrypt", **_SCRYPT, "salt": salt}
    return {"kind": key.kind, "derivation": "hkdf-sha256", "salt": salt}


def derived(key: ExportKey, parameters: Mapping[str, Any]) -> bytes:
    """Return the 32 bytes that a key gives under the parameters of a file's header.

    Raises:
        ExportKeyRefused: the file was made with the other kind of key.
        ExportCorrupt: the parameters are malformed or out of range.
        InvalidArgument: the package ``cryptography`` is not installed.
    """
    try:
        from cryptography.hazmat.primitives.hashes import SHA256
        from cryptography.hazmat.primitives.kdf.hkdf import HKDF
        from cryptography.hazmat.primitives.kdf.scrypt import Scrypt
    except ImportError as error:
        raise InvalidArgument(
            "an export is encrypted with the package cryptography, which is not installed; "
            "pip install 'sameface[backup]'"
        ) from error
    try:
        kind, derivation = parameters["kind"], parameters["derivation"]
        salt = bytes.fromhex(parameters["salt"])
        cost = {name: int(parameters[name]) for name in _SCRYPT} if derivation == "scrypt" else {}
    except (KeyError, TypeError, ValueError) as error:
        raise _malformed() from error
    expected = {"passphrase": "scrypt", "key-file": "hkdf-sha256"}
    if expected.get(kind) != derivation or len(salt) != _SALT_BYTES:
        raise _malformed()
    if any(not 0 < value <= _MOST[name] for name, value in cost.items()):
        raise _malformed()
    if kind != key.kind:
        raise ExportKeyRefused(
            f"the file was made with a {_NAMES[kind]}, and a {_NAMES[key.kind]} was given; give the {_NAMES[kind]}",
            metadata={"field": "key"},
        )
    if cost:
        try:
            return Scrypt(salt=salt, length=KEY_BYTES, **cost).derive(key.secret)
        except ValueError as error:
            raise _malformed() from error
    return HKDF(SHA256(), KEY_BYTES, salt, b"sameface export").derive(key.secret)


def _malformed() -> ExportCorrupt:
    return ExportCorrupt(
        "the file's header names a key derivation that is malformed or out of range; it was changed, so take another "
        "copy of the export"
    )
