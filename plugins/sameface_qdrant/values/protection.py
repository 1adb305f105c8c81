"""The protection of a gallery's templates: under which key and in which generation they are stored."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

KEY, GENERATION, NEXT = "key", "generation", "next"


@dataclass(frozen=True, slots=True)
class Generation:
    """One form of a gallery's templates. A new generation is not comparable with an earlier one."""

    key: str
    """Id of the master key that its keys derive from."""
    number: int
    """1 for a new gallery; each re-key adds one."""


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
        KEY: protection.current.key,
        GENERATION: protection.current.number,
        NEXT: None if following is None else {KEY: following.key, GENERATION: following.number},
    }


def protection_of(stored: Mapping[str, Any] | None) -> Protection | None:
    """Return the protection that a gallery's record names; None if the gallery is not protected."""
    if stored is None:
        return None
    following = stored[NEXT]
    return Protection(
        Generation(stored[KEY], stored[GENERATION]),
        None if following is None else Generation(following[KEY], following[GENERATION]),
    )
