"""Maps failures of a Qdrant server to typed errors. Pure."""

from collections.abc import Sequence

from sameface_qdrant.errors import (
    InvalidArgument,
    SamefaceError,
    StoreCorrupt,
    StoreFull,
    StoreRefused,
    StoreTooOld,
    StoreUnavailable,
)

REFUSED_KEY = {"UNAUTHENTICATED", "PERMISSION_DENIED", "HTTP_401", "HTTP_403"}
REFUSED_REQUEST = {"INVALID_ARGUMENT", "OUT_OF_RANGE", "HTTP_400", "HTTP_422"}
MISSING = {"NOT_FOUND", "HTTP_404"}
UNWRITABLE = {"PydanticSerializationError", "UnicodeDecodeError", "UnicodeEncodeError"}
"""What the client raises for a value that it cannot send, in memory and over REST."""
UNWRITABLE_TEXTS = ("not supported json value", "value out of range")
"""How the text of its ValueError begins over gRPC."""
TIMED_OUT = {"DEADLINE_EXCEEDED", "ResponseHandlingException", "ReadTimeout", "ConnectTimeout"}


def typed_error(location: str, kind: str, text: str) -> SamefaceError:
    """Return the typed error for a failed call.

    Args:
        location: the server, as it was given.
        kind: the name of a gRPC status, ``HTTP_`` and a status, or of an exception.
        text: the message of the server or the client.
    """
    lower, about = text.lower(), {"url": location, "kind": kind}
    text = text[:300]
    if kind in UNWRITABLE or (kind == "ValueError" and lower.startswith(UNWRITABLE_TEXTS)):
        return InvalidArgument(
            f"a value cannot be written: {text}; expected texts in UTF-8, truth values, numbers of at most 64 bits, "
            "None, and lists and mappings of these",
            metadata=about,
        )
    if "no space left" in lower or ("disk" in lower and "full" in lower) or kind == "HTTP_507":
        return StoreFull(
            f"the disk of Qdrant at {location} is full: {text}; free some space; reads still work", metadata=about
        )
    if kind in REFUSED_KEY:
        return StoreUnavailable(
            f"Qdrant at {location} refuses this API key or its rights ({kind}): {text}; check the key and its access",
            metadata=about,
        )
    if kind in REFUSED_REQUEST:
        return StoreRefused(
            f"Qdrant at {location} refuses what the store asks for: {text}; check the collection's strict mode limits",
            metadata=about,
        )
    if kind in MISSING:
        return StoreCorrupt(
            f"Qdrant at {location} has lost a collection: {text}; restore it from a snapshot, or open the store again "
            "to begin with an empty one",
            metadata=about,
        )
    if kind == "UNIMPLEMENTED":
        return StoreTooOld(f"Qdrant at {location} does not know this call: {text}; upgrade it", metadata=about)
    if kind in TIMED_OUT:
        return StoreUnavailable(
            f"Qdrant at {location} did not answer in time: {text}; a write may have been applied; repeat the same call",
            metadata=about,
            retry_after_s=1.0,
        )
    if "handshake" in lower or "certificate" in lower:
        return StoreUnavailable(
            f"no encrypted connection to Qdrant at {location}: {text}; check the scheme of the URL and the CA "
            "certificate",
            metadata=about,
        )
    return StoreUnavailable(
        f"Qdrant at {location} does not answer ({kind}): {text}; check that it runs and that the URL names its gRPC "
        "port",
        metadata=about,
        retry_after_s=1.0,
    )


def refused(location: str, collection: str, reasons: Sequence[str]) -> StoreRefused:
    """Return the error for a collection whose strict mode does not allow what the store was set to do."""
    return StoreRefused(
        f"strict mode of {collection} at {location} refuses the store's searches: {'; '.join(reasons)}, or allow it "
        "there",
        metadata={"url": location, "collection": collection},
    )


def too_old(location: str, version: str, oldest: tuple[int, int]) -> StoreTooOld:
    """Return the error for a server of an earlier version."""
    return StoreTooOld(
        f"Qdrant at {location} is version {version[:40]!r}; {oldest[0]}.{oldest[1]} or newer is needed for conditional "
        "and insert-only writes",
        metadata={"url": location, "version": version[:40]},
    )
