"""Master keys: the protocol that a key management service implements, and keys in a file or in the environment.

The content of a file, or of a variable, is JSON:

    {"format": 1, "current": "k1", "keys": [{"id": "k1", "key": "<64 hexadecimal digits>", "created": 1767225600}]}
"""

import hashlib
import json
import logging
import os
import re
import secrets
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from sameface_qdrant.errors import InvalidArgument, ProtectionKeyRefused, StoreTooNew
from sameface_qdrant.store.protection.private_file import check_private, sync_folder, write_new
from sameface_qdrant.values.display import brief
from sameface_qdrant.values.schema import check_file_format

log = logging.getLogger(__name__)

KEY_BYTES = 32
FORMAT = 1
KEY_ID = re.compile(r"[a-z0-9]([a-z0-9\-]{0,30}[a-z0-9])?")
MOST_BYTES = 1 << 20
SECRET = re.compile(r"[0-9a-f]{64}")
FEWEST_BYTES = 8
"""A key must have so many different bytes. A random one has fewer with a chance of 10**-37."""


class ProtectionKeys(Protocol):
    """The master keys. An implementation may leave them in an HSM or a key management service.

    `derive` is called once for each purpose of each gallery, in a thread, and its results stay in memory.
    """

    @property
    def current(self) -> str:
        """Id of the key for new galleries and for re-keying."""
        ...

    def derive(self, key: str, context: bytes) -> bytes:
        """Return 32 bytes that depend on the master key of an id and on ``context``: always the same, and without the
        master key indistinguishable from random ones. HKDF-SHA256 and HMAC-SHA256 are such functions.

        Raises:
            ProtectionKeyRefused: there is no key of this id.
        """
        ...


@dataclass(frozen=True, slots=True)
class MasterKey:
    """A key with its id."""

    id: str
    secret: bytes = field(repr=False)
    created: float = 0.0
    """Seconds since the epoch."""


@dataclass(frozen=True, slots=True)
class KeyRing:
    """Several master keys, of which one is the current one."""

    __repr__ = brief

    keys: Mapping[str, MasterKey]
    current: str

    @classmethod
    def parsed(cls, content: bytes | str, where: str) -> "KeyRing":
        """Return the keys of a file's content.

        Raises:
            InvalidArgument: it has another form. The message does not contain it.
        """
        try:
            stored = json.loads(content)
            if isinstance(stored, dict):
                check_file_format(stored.get("format"), FORMAT, f"the protection keys of {where}")
            if not isinstance(stored, dict) or stored.get("format") != FORMAT:
                raise _malformed(where, f"its format is not {FORMAT}")
            keys = [_key_of(one, where) for one in stored["keys"]]
            current = str(stored["current"])
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
            raise _malformed(where, "it is no JSON object with format, current and keys") from None
        by_id = {key.id: key for key in keys}
        if len(by_id) < len(keys):
            raise _malformed(where, "two keys have the same id")
        if len({key.secret for key in keys}) < len(keys):
            raise _malformed(where, "two ids have the same key")
        if current not in by_id:
            raise _malformed(where, "current names none of its keys")
        return cls(by_id, current)

    def serialised(self) -> str:
        """Return what `parsed` reads."""
        keys = [{"id": one.id, "key": one.secret.hex(), "created": one.created} for one in self.keys.values()]
        return json.dumps({"format": FORMAT, "current": self.current, "keys": keys}, indent=1) + "\n"

    def derive(self, key: str, context: bytes) -> bytes:
        """See `ProtectionKeys.derive`: HKDF-SHA256 (RFC 5869)."""
        if key not in self.keys:
            raise ProtectionKeyRefused(
                f"the protection keys have no key {key[:40]!r}; add it to the file of keys again",
                metadata={"key": key[:40]},
            )
        try:
            from cryptography.hazmat.primitives.hashes import SHA256
            from cryptography.hazmat.primitives.kdf.hkdf import HKDF
        except ImportError as error:
            raise missing_package() from error
        return HKDF(SHA256(), KEY_BYTES, salt=None, info=context).derive(self.keys[key].secret)


def missing_package() -> InvalidArgument:
    """Return the error for an installation without cryptography."""
    return InvalidArgument(
        "protected galleries need the package cryptography, which is not installed; pip install 'sameface[protection]'"
    )


def new_key(known: Mapping[str, MasterKey]) -> MasterKey:
    """Return a new random key, with an id that no known one has."""
    while (identifier := f"k{secrets.token_hex(4)}") in known:
        pass
    return MasterKey(identifier, secrets.token_bytes(KEY_BYTES), float(int(time.time())))


class KeyFile:
    """Master keys in a file, which is read again when it has changed. Writers replace it whole.

    Once it was read, a file that cannot be used any more is not: the keys stay as they were, and a warning is logged.
    A file in which an id has another key than before is refused.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._read: tuple[tuple[int, ...], KeyRing] | None = None
        self._seen: dict[str, bytes] = {}
        """Digests of the keys that were read, by id."""
        self._warned = ""

    @property
    def current(self) -> str:
        """See `ProtectionKeys`."""
        return self.ring.current

    def derive(self, key: str, context: bytes) -> bytes:
        """See `ProtectionKeys`."""
        return self.ring.derive(key, context)

    @property
    def ring(self) -> KeyRing:
        """The keys as they are in the file now, or were when it could be used.

        Raises:
            InvalidArgument: it was never read; it cannot be read, others may read it, or it has another form.
            ProtectionKeyRefused: a key has other digits than before.
        """
        try:
            return self.fresh_ring()
        except (InvalidArgument, StoreTooNew) as error:
            if self._read is None:
                raise
            if self._warned != error.message:
                log.warning("the protection keys stay as they were: %s", error.message)
                self._warned = error.message
            return self._read[1]

    def fresh_ring(self) -> KeyRing:
        """Return the keys as they are in the file now.

        Raises:
            InvalidArgument: it cannot be read, others may read it, or it has another form.
            ProtectionKeyRefused: a key has other digits than before.
        """
        try:
            with self.path.open("rb") as file:
                status = os.fstat(file.fileno())
                stamp = (status.st_mtime_ns, status.st_ctime_ns, status.st_size, status.st_ino)
                if self._read is not None and self._read[0] == stamp:
                    return self._read[1]
                check_private(self.path, status)
                ring = KeyRing.parsed(file.read(MOST_BYTES), str(self.path))
        except OSError as error:
            raise InvalidArgument(
                f"the protection keys cannot be read from {self.path}: {error.strerror}; restore the file, or make one "
                "with `sameface protection create`",
                metadata={"field": "protection.keys_file"},
            ) from None
        digests = {key.id: hashlib.sha256(key.secret).digest() for key in ring.keys.values()}
        for key, digest in digests.items():
            if self._seen.get(key, digest) != digest:
                raise ProtectionKeyRefused(
                    f"the protection key {key!r} was exchanged for another one of the same id; restore the file of "
                    "keys; nothing was changed",
                    metadata={"key": key},
                )
        self._seen |= digests
        self._read, self._warned = (stamp, ring), ""
        return ring

    def create(self) -> MasterKey:
        """Make the file with one key, and return the key.

        Raises:
            InvalidArgument: the file exists.
        """
        key = new_key({})
        self.path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        try:
            write_new(self.path, KeyRing({key.id: key}, key.id).serialised())
        except FileExistsError:
            raise InvalidArgument(
                f"{self.path} exists already; it was not changed; `sameface protection rotate` adds a key to it",
                metadata={"field": "file"},
            ) from None
        return key

    def rotate(self, *, use: bool = True) -> MasterKey:
        """Add a key, and return it; with ``use``, make it the current one. The others stay, as galleries may need them.

        Where several services share a store, give the key to all of them before it becomes the current one.
        """

        def change(ring: KeyRing) -> tuple[KeyRing, MasterKey]:
            key = new_key(ring.keys)
            return KeyRing({**ring.keys, key.id: key}, key.id if use else ring.current), key

        return self._change(change)

    def use(self, key: str) -> MasterKey:
        """Make a key the current one, and return it.

        Raises:
            InvalidArgument: there is no such key.
        """
        return self._change(lambda ring: (KeyRing(ring.keys, key), self._known(ring, key)))

    def remove(self, key: str) -> MasterKey:
        """Remove a key for good. What was written under it cannot be read any more.

        Raises:
            InvalidArgument: there is no such key, or it is the current one.
        """

        def change(ring: KeyRing) -> tuple[KeyRing, MasterKey]:
            removed = self._known(ring, key)
            if key == ring.current:
                raise InvalidArgument(
                    f"{key} is the current key; `sameface protection rotate` or `use KEY` first",
                    metadata={"field": "key"},
                )
            left = {identifier: one for identifier, one in ring.keys.items() if identifier != key}
            return KeyRing(left, ring.current), removed

        return self._change(change)

    def _known(self, ring: KeyRing, key: str) -> MasterKey:
        if key not in ring.keys:
            raise InvalidArgument(
                f"there is no key {key[:40]!r} in {self.path}; `sameface protection list` shows them",
                metadata={"field": "key"},
            )
        return ring.keys[key]

    def _change(self, change: Callable[[KeyRing], tuple[KeyRing, MasterKey]]) -> MasterKey:
        import fcntl

        self.fresh_ring()  # no lock file is made beside a file that cannot be used
        owner = self.path.stat()
        with open(self.path.with_name(self.path.name + ".lock"), "wb") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            changed, key = change(self.fresh_ring())
            fresh = self.path.with_name(f"{self.path.name}.{secrets.token_hex(6)}.new")
            try:
                write_new(fresh, changed.serialised(), owner=owner)
                fresh.replace(self.path)
            finally:
                fresh.unlink(missing_ok=True)
        sync_folder(self.path.parent)
        return key


def _key_of(stored: Mapping[str, Any], where: str) -> MasterKey:
    identifier, digits = stored["id"], stored["key"]
    if not isinstance(identifier, str) or not KEY_ID.fullmatch(identifier):
        raise _malformed(where, "the id of a key is not 1 to 32 characters of a-z, 0-9 and '-'")
    if not isinstance(digits, str) or not SECRET.fullmatch(digits):
        raise _malformed(where, f"the key {identifier} is not 64 hexadecimal digits in lower case")
    secret = bytes.fromhex(digits)
    if len(set(secret)) < FEWEST_BYTES:
        raise _malformed(where, f"the key {identifier} is not random")
    return MasterKey(identifier, secret, float(stored.get("created", 0.0)))


def _malformed(where: str, why: str) -> InvalidArgument:
    return InvalidArgument(
        f"the protection keys in {where} cannot be used: {why}; restore them from a backup",
        metadata={"field": "protection"},
    )
