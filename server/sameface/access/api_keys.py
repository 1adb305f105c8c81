"""API keys: 256 random bits each, stored as an HMAC, so that the file of keys does not let anybody in.

A key reads ``sameface_{id}_{secret}``. The file holds, for each key, its id and the HMAC-SHA256 of the whole key under
the pepper, which is 32 random bytes in a file of its own. A plain hash would do against guessing, as keys are random;
with the pepper nobody who can only write the file of keys can add one either. An HMAC over all of the file's records
keeps roles, ends and revocations from being changed.

The service reads the file again when it has changed. So keys are made, revoked and rotated without a restart.
"""

import base64
import fcntl
import hashlib
import hmac
import json
import os
import secrets
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from sameface.access.caller import Caller, Grant
from sameface.errors import CredentialsRefused
from sameface_qdrant.errors import InvalidArgument
from sameface_qdrant.values.schema import check_file_format

PREFIX = "sameface_"
SECRET_BYTES = 32
LONGEST_KEY = 100
FORMAT = 2
MOST_TEXT = 200


@dataclass(frozen=True, slots=True)
class ApiKey:
    """What is stored of a key. Times are seconds since the epoch."""

    id: str
    name: str
    """Says what the key is for."""
    grants: tuple[Grant, ...]
    digests: tuple[str, ...]
    """HMACs in hex: of the key, and after a rotation of the one before too, until ``rotated_until``."""
    created: float
    expires: float | None = None
    revoked: float | None = None
    rotated_until: float | None = None

    def state(self, now: float) -> str:
        """Return ``valid``, ``expired`` or ``revoked``."""
        if self.revoked is not None:
            return "revoked"
        return "expired" if self.expires is not None and self.expires <= now else "valid"

    def valid_digests(self, now: float) -> tuple[str, ...]:
        """Return the HMACs of the keys that let in now."""
        if self.state(now) != "valid":
            return ()
        return self.digests if self.rotated_until is not None and now < self.rotated_until else self.digests[:1]


class KeyFile:
    """The file of keys and its pepper. Writers lock it, and replace it whole."""

    def __init__(self, path: Path) -> None:
        """``path`` is the file of keys. The pepper is beside it, with ``.pepper`` at the end of its name."""
        self.path = path
        self.pepper_path = path.with_name(path.name + ".pepper")

    def read(self) -> dict[str, ApiKey]:
        """Return the keys by id; none if there is no file.

        Raises:
            InvalidArgument: the file has another form, or was changed by something else than `sameface key`.
            StoreTooNew: a newer release wrote it.
        """
        try:
            stored = json.loads(self.path.read_bytes())
        except FileNotFoundError:
            return {}
        except (OSError, ValueError, RecursionError) as error:
            raise self._malformed(str(error)) from None
        if isinstance(stored, dict):
            check_file_format(stored.get("format"), FORMAT, f"the file of API keys {self.path}")
        if not isinstance(stored, dict) or stored.get("format") != FORMAT:
            raise self._malformed(f"its format is not {FORMAT}")
        try:
            keys = {one["id"]: _key_of(one) for one in stored["keys"]}
            seal = str(stored["hmac"])
        except (KeyError, TypeError, AttributeError) as error:
            raise self._malformed(f"a key lacks or mistypes {error}") from None
        if keys and not hmac.compare_digest(seal.encode(errors="replace"), _seal_of(self.pepper(), keys).encode()):
            raise self._malformed("something else than `sameface key` has changed it, or its pepper is another one")
        return keys

    def pepper(self) -> bytes:
        """Return the pepper.

        Raises:
            InvalidArgument: there is none, or it has another length.
        """
        try:
            pepper = self.pepper_path.read_bytes()
        except OSError as error:
            raise InvalidArgument(
                f"the pepper of the API keys cannot be read: {error}; restore it, or make new keys with "
                "`sameface key create`",
                metadata={"field": "keys"},
            ) from None
        if len(pepper) != SECRET_BYTES:
            raise InvalidArgument(
                f"{self.pepper_path} has {len(pepper)} bytes; expected {SECRET_BYTES}", metadata={"field": "keys"}
            )
        return pepper

    def create(self, name: str, grants: tuple[Grant, ...], expires: float | None) -> tuple[ApiKey, str]:
        """Make a key, and return its record and the key itself, which is stored nowhere."""
        with self._changing() as keys:
            if not self.pepper_path.exists():
                if keys:
                    self.pepper()  # says what to do
                _write(self.pepper_path, secrets.token_bytes(SECRET_BYTES))
            while (identifier := secrets.token_hex(6)) in keys:
                pass
            key, digest = self._drawn(identifier)
            record = ApiKey(identifier, name[:MOST_TEXT], grants, (digest,), time.time(), expires)
            keys[identifier] = record
        return record, key

    def revoke(self, identifier: str) -> ApiKey:
        """Make a key invalid at once, and for good."""
        with self._changing() as keys:
            record = self._known(keys, identifier)
            keys[identifier] = record if record.revoked else replace(record, revoked=time.time())
            return keys[identifier]

    def rotate(self, identifier: str, grace_s: float) -> tuple[ApiKey, str]:
        """Give a key a new secret, and return the new key. The old one stays valid for ``grace_s`` seconds."""
        with self._changing() as keys:
            record = self._known(keys, identifier)
            if record.revoked is not None:
                raise InvalidArgument(
                    f"the key {identifier} was revoked; make a new one with `sameface key create`",
                    metadata={"field": "key"},
                )
            key, digest = self._drawn(identifier)
            keys[identifier] = replace(record, digests=(digest, record.digests[0]), rotated_until=time.time() + grace_s)
            return keys[identifier], key

    def _drawn(self, identifier: str) -> tuple[str, str]:
        secret = base64.urlsafe_b64encode(secrets.token_bytes(SECRET_BYTES)).rstrip(b"=").decode()
        key = f"{PREFIX}{identifier}_{secret}"
        return key, digest_of(self.pepper(), key)

    def _known(self, keys: Mapping[str, ApiKey], identifier: str) -> ApiKey:
        if identifier not in keys:
            raise InvalidArgument(
                f"there is no key {identifier[:40]!r} in {self.path}; `sameface key list` shows them",
                metadata={"field": "key"},
            )
        return keys[identifier]

    @contextmanager
    def _changing(self) -> Iterator[dict[str, ApiKey]]:
        """Lock the file, yield the keys, and write what they have become."""
        self.path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        with open(self.path.with_name(self.path.name + ".lock"), "wb") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            keys = self.read()
            yield keys
            stored = {
                "format": FORMAT,
                "keys": [_stored(one) for one in keys.values()],
                "hmac": _seal_of(self.pepper(), keys),
            }
            _write(self.path, json.dumps(stored, indent=1).encode())

    def _malformed(self, why: str) -> InvalidArgument:
        return InvalidArgument(
            f"the file of API keys {self.path} cannot be used: {why}; restore it from a backup, or remove it and make "
            "new keys",
            metadata={"field": "keys"},
        )


class ApiKeys:
    """Answers which caller a key belongs to, from one reading of the file."""

    def __init__(self, keys: Mapping[str, ApiKey], pepper: bytes) -> None:
        self._keys = keys
        self._pepper = pepper

    @classmethod
    def of(cls, file: KeyFile) -> "ApiKeys":
        """Read the file; without one no key is valid."""
        keys = file.read()
        return cls(keys, file.pepper() if keys else b"")

    def caller(self, key: str, now: float) -> Caller:
        """Return whose key it is.

        Raises:
            CredentialsRefused: the key is unknown, expired or revoked. The cause tells the log which.
        """
        identifier, _, secret = key.removeprefix(PREFIX).partition("_")
        record = self._keys.get(identifier)
        # Unknown ids take as long as known ones.
        given = digest_of(self._pepper or bytes(SECRET_BYTES), key[:LONGEST_KEY])
        known = record.valid_digests(now) if record is not None else ()
        matches = [hmac.compare_digest(given, one) for one in known or ("0" * 64,)]
        if record is None or not known or not any(matches) or not secret or len(key) > LONGEST_KEY:
            state = "unknown" if record is None else record.state(now)
            raise CredentialsRefused("the API key is not valid") from ValueError(f"the API key is {state}, or wrong")
        return Caller(f"key:{record.id}", record.grants)


def digest_of(pepper: bytes, key: str) -> str:
    """Return the HMAC-SHA256 of a key, in hex."""
    # In one step: an object for it takes three times as long, and each call needs one.
    return hmac.digest(pepper, key.encode(), "sha256").hex()


def _seal_of(pepper: bytes, keys: Mapping[str, ApiKey]) -> str:
    """Return the HMAC-SHA256 of all records, in hex."""
    content = json.dumps([_stored(one) for one in keys.values()], sort_keys=True).encode()
    return hmac.new(pepper, b"records:" + content, hashlib.sha256).hexdigest()


def _key_of(stored: Mapping[str, Any]) -> ApiKey:
    texts = [stored["id"], stored["name"], *stored["digests"]]
    times = [stored["created"], *(stored[name] for name in ("expires", "revoked", "rotated_until") if stored[name])]
    if not all(isinstance(one, str) for one in texts) or not all(isinstance(one, int | float) for one in times):
        raise TypeError("a text or a time")
    grants = tuple(Grant.of(one["gallery"], one["roles"]) for one in stored["grants"])
    return ApiKey(**{**stored, "grants": grants, "digests": tuple(stored["digests"])})


def _stored(key: ApiKey) -> dict[str, Any]:
    grants = [{"gallery": one.gallery, "roles": sorted(one.roles)} for one in key.grants]
    return {**asdict(key), "grants": grants, "digests": list(key.digests)}


def _write(path: Path, content: bytes) -> None:
    """Replace a file whole, readable by its owner alone: that of the file before, or else of the folder."""
    owner = path.stat() if path.exists() else path.parent.stat()
    fresh = path.with_name(f"{path.name}.{secrets.token_hex(6)}.new")
    try:
        with open(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as written:
            if os.geteuid() == 0:
                os.fchown(written.fileno(), owner.st_uid, owner.st_gid)
            written.write(content)
            written.flush()
            os.fsync(written.fileno())
        fresh.replace(path)
    except OSError:
        fresh.unlink(missing_ok=True)
        raise
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)  # the name of the file
    finally:
        os.close(folder)
