"""The parts whose health is watched, and which of them each name of a health check depends on."""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

MODELS, STORE, WRITES, ACCESS, ISSUERS, AUDIT, HTTP = (
    "models",
    "store",
    "writes",
    "access",
    "issuers",
    "audit",
    "http",
)
PARTS: Mapping[str, str] = MappingProxyType(
    {
        MODELS: "Triton, and whether each model reproduces its golden vector",
        STORE: "reads of the store: the Qdrant server, or the folder of Qdrant Edge",
        WRITES: "writes to the store: its disk has room, and the service may write",
        ACCESS: "the files of API keys and grants",
        ISSUERS: "the keys of the issuers of tokens",
        AUDIT: "the audit log can be written",
        HTTP: "the Envoy that serves HTTP",
    }
)
"""Part → what is watched. A part that the settings do not have is not watched, and counts as well."""

AWAY = "sameface-away"
"""Trailing metadata of a health check: name of a part, seconds since the epoch, and reason, with spaces between."""
LIVE = "live"
"""Name of a health check that says only that the process answers."""
_CALLS = (STORE, ACCESS, AUDIT)
NEEDS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "": (MODELS, *_CALLS),
        "sameface.v1.FaceService": (MODELS, *_CALLS),
        "sameface.v1.GalleryService": _CALLS,
        "sameface.v1.MigrationService": _CALLS,
        "sameface.v1.SystemService": (ACCESS, AUDIT),
        LIVE: (),
        **{part: (part,) for part in PARTS},
    }
)
"""Name of a health check → the parts without which it answers NOT_SERVING."""


@dataclass(frozen=True, slots=True)
class PartHealth:
    """Whether a part answers."""

    serving: bool
    since: float
    """Seconds since the epoch."""
    reason: str = ""
    """The reason of the typed error that calls would get; empty while it serves."""


def is_serving(name: str, parts: Mapping[str, PartHealth]) -> bool:
    """Return whether every part serves that a name of a health check needs.

    Raises:
        KeyError: there is no such name.
    """
    return all(parts[part].serving for part in NEEDS[name] if part in parts)


def away(parts: Mapping[str, PartHealth]) -> dict[str, PartHealth]:
    """Return the parts that do not serve."""
    return {name: health for name, health in parts.items() if not health.serving}
