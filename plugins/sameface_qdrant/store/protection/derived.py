"""The keys of one generation of a gallery, derived from a master key. Each purpose has a key of its own."""

import hmac
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeVar

from sameface_qdrant.errors import ProtectionKeyRefused, SamefaceError, StoreUnavailable
from sameface_qdrant.store.protection.keys import KEY_BYTES, ProtectionKeys
from sameface_qdrant.store.protection.sealing import Seal
from sameface_qdrant.values.protection import Generation

Result = TypeVar("Result")

_CONTEXT = "sameface template protection 1"
_VARIANT = {digit: "89ab"[int(digit, 16) & 3] for digit in "0123456789abcdef"}
"""The digit of a UUID that tells its variant (RFC 9562)."""


def context(purpose: str, uid: str = "", number: int = 0, salt: str = "") -> bytes:
    """Return what a key is derived for: a purpose, a gallery by its key, and a generation."""
    return "\x1f".join((_CONTEXT, purpose, uid, str(number), salt)).encode()


@dataclass(frozen=True, slots=True)
class GenerationKeys:
    """The keys of one generation."""

    generation: Generation
    seal: Seal
    lookup: bytes = field(repr=False)
    ids: bytes = field(repr=False)
    rotation: bytes = field(repr=False)

    @classmethod
    def derived(cls, keys: ProtectionKeys, generation: Generation, uid: str) -> "GenerationKeys":
        """Derive the keys of a gallery's generation; blocks. ``uid`` is the gallery's key, empty for the whole store.

        Raises:
            ProtectionKeyRefused: the master key is missing.
        """

        def key(purpose: str) -> bytes:
            return _derived(keys, generation.key, context(purpose, uid, generation.number, generation.salt))

        return cls(
            generation,
            Seal(key("seal"), generation),
            lookup=key("lookup"),
            ids=key("ids"),
            rotation=key("rotation"),
        )

    def stored_id(self, point: str) -> str:
        """Return the id that a point has in the engine. Its last digit tells the generation, see `tells`."""
        drawn = hmac.digest(self.ids, bytes.fromhex(point.replace("-", "")), "sha256").hex()
        # A UUID of version 4, written out: this is called for every point of a decision.
        last = f"{self.generation.number & 15:x}"
        return f"{drawn[:8]}-{drawn[8:12]}-4{drawn[13:16]}-{_VARIANT[drawn[16]]}{drawn[17:20]}-{drawn[20:31]}{last}"

    def tells(self, stored_id: str) -> bool:
        """Return whether a stored id may be of this generation; one of 16 earlier ones tells the same."""
        return int(stored_id[-1], 16) == self.generation.number & 0x0F


def derived_with_check(keys: ProtectionKeys, generation: Generation, uid: str) -> tuple[GenerationKeys, str]:
    """Return the keys of a generation, and the check value of the master key that they are of; blocks.

    Raises:
        ProtectionKeyRefused: the master key is missing, or became another one meanwhile.
    """
    before = key_check(keys, generation.key)
    derived = GenerationKeys.derived(keys, generation, uid)
    compare_checks(generation.key, key_check(keys, generation.key), before)
    return derived, before


def compare_checks(key: str, given: str, expected: str) -> None:
    """Raise ProtectionKeyRefused if the check value of a master key is not the expected one."""
    if not hmac.compare_digest(given, expected):
        raise ProtectionKeyRefused(
            f"the protection key {key!r} is another one than the store was made with; give the file of keys that the "
            "store was made with; nothing was changed",
            metadata={"key": key},
        )


def key_check(keys: ProtectionKeys, key: str) -> str:
    """Return what tells whether a store was made with the same key of this id, and does not reveal it."""
    return _derived(keys, key, context("check")).hex()


def _derived(keys: ProtectionKeys, key: str, context: bytes) -> bytes:
    """Return what a key source derives; a shorter key would weaken everything."""
    derived = asked(lambda: bytes(keys.derive(key, context)))
    if len(derived) != KEY_BYTES:
        raise StoreUnavailable(
            f"the protection keys derived {len(derived)} bytes; expected {KEY_BYTES}: correct the provider"
        )
    return derived


def asked(question: Callable[[], Result]) -> Result:
    """Return what a key source answers.

    Raises:
        StoreUnavailable: it failed. Its own words are not repeated, as they may hold secrets.
    """
    try:
        return question()
    except SamefaceError:
        raise
    except Exception as error:
        raise StoreUnavailable(
            f"the source of the protection keys failed with {type(error).__name__}; repeat the call, and look after "
            "the key management service"
        ) from None
