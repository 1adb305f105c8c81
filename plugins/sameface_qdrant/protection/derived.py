"""The keys of one generation of a gallery, derived from a master key. Each purpose has a key of its own."""

import hashlib
import hmac
import uuid
from dataclasses import dataclass, field

from sameface_qdrant.protection.keys import ProtectionKeys
from sameface_qdrant.protection.sealing import Seal
from sameface_qdrant.values.protection import Generation

_CONTEXT = "sameface template protection 1"
ID_VERSION = 4
"""UUIDs of stored points look like random ones."""


def context(purpose: str, uid: str = "", number: int = 0) -> bytes:
    """Return what a key is derived for: a purpose, a gallery by its key, and a generation."""
    return "\x1f".join((_CONTEXT, purpose, uid, str(number))).encode()


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
            return keys.derive(generation.key, context(purpose, uid, generation.number))

        return cls(
            generation,
            Seal(key("seal"), generation),
            lookup=key("lookup"),
            ids=key("ids"),
            rotation=key("rotation"),
        )

    def stored_id(self, point: str) -> str:
        """Return the id that a point has in the engine. Its last digit tells the generation, see `tells`."""
        drawn = bytearray(hmac.new(self.ids, uuid.UUID(point).bytes, hashlib.sha256).digest()[:16])
        drawn[15] = drawn[15] & 0xF0 | self.generation.number & 0x0F
        return str(uuid.UUID(bytes=bytes(drawn), version=ID_VERSION))

    def tells(self, stored_id: str) -> bool:
        """Return whether a stored id may be of this generation; one of 16 earlier ones tells the same."""
        return int(stored_id[-1], 16) == self.generation.number & 0x0F


def key_check(keys: ProtectionKeys, key: str) -> str:
    """Return what tells whether a store was made with the same key of this id, and does not reveal it."""
    return keys.derive(key, context("check")).hex()
