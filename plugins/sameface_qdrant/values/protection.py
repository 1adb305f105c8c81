"""The protection of a gallery's templates: under which key and in which generation they are stored."""

import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

KEY, GENERATION, SALT, NEXT = "key", "generation", "salt", "next"
SALT_BYTES = 16


@dataclass(frozen=True, slots=True)
class Generation:
    """One form of a gallery's templates. A new generation is not comparable with an earlier one."""

    key: str
    """Id of the master key that its keys derive from."""
    number: int
    """1 for a new gallery; each re-key adds one. Not unique: a restored copy of a store counts on from its own."""
    salt: str
    """Random hexadecimal digits, of which its keys derive too; so no two generations are alike. Empty for the keys of
    the meta collection."""

    @classmethod
    def new(cls, key: str, number: int) -> "Generation":
        """Return a generation like no other one."""
        return cls(key, number, secrets.token_hex(SALT_BYTES))


@dataclass(frozen=True, slots=True)
class Protection:
    """How a protected gallery is stored."""

    current: Generation
    following: Generation | None = None
    """While the gallery is being re-keyed: the generation that its points are written under from now on."""

    @property
    def latest(self) -> Generation:
        """The generation that new points get."""
        return self.following or self.current

    @property
    def keys(self) -> tuple[str, ...]:
        """Ids of the master keys that the gallery needs."""
        return tuple(dict.fromkeys((self.current.key, self.latest.key)))


def protection_payload(protection: Protection) -> dict[str, Any]:
    """Return a protection as plain values."""
    following = protection.following
    return {
        **_payload(protection.current),
        NEXT: None if following is None else _payload(following),
    }


def protection_of(stored: Mapping[str, Any] | None) -> Protection | None:
    """Return the protection that a gallery's record names; None if the gallery is not protected."""
    if stored is None:
        return None
    following = stored[NEXT]
    return Protection(_generation(stored), None if following is None else _generation(following))


def _payload(generation: Generation) -> dict[str, Any]:
    return {KEY: generation.key, GENERATION: generation.number, SALT: generation.salt}


def _generation(stored: Mapping[str, Any]) -> Generation:
    return Generation(stored[KEY], stored[GENERATION], stored[SALT])
