"""The addresses of the nodes of a Qdrant server or cluster. Pure, and light to import."""

import ipaddress
from urllib.parse import urlsplit

from sameface_qdrant.errors import InvalidArgument

DEFAULT_GRPC_PORT = 6334


def addresses(url: str) -> tuple[str, ...]:
    """Return the address of every node in ``http(s)://host:port,http(s)://host:port``.

    Raises:
        InvalidArgument: an address has another form or occurs twice, or their schemes differ. The message quotes no
            password.
    """
    found = tuple(one.strip() for one in url.split(","))
    for one in found:
        _check(one)
    if len({urlsplit(one).scheme for one in found}) > 1:
        raise InvalidArgument(f"{url!r} mixes http and https; use one of them", metadata={"field": "url"})
    if len({one.rstrip("/") for one in found}) < len(found):
        raise InvalidArgument(f"{url!r} names a node twice", metadata={"field": "url"})
    return found


def port_of(url: str) -> int:
    """Return the gRPC port of an address.

    Raises:
        InvalidArgument: it is no port.
    """
    try:
        port = urlsplit(url).port
        if port == 0:
            raise ValueError("Port out of range 1-65535")
    except ValueError as error:
        raise InvalidArgument(
            f"{url!r} has no valid port: {error}; expected http(s)://host:port", metadata={"field": "url"}
        ) from None
    return port or DEFAULT_GRPC_PORT


def is_here(url: str) -> bool:
    """Return whether an address leads to this machine by itself."""
    host = urlsplit(url).hostname or ""
    try:
        return "%" not in host and ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _check(one: str) -> None:
    if not _is_node(one):
        # What stands before an @ may be a password, and a query may hold a key.
        shown = "what is given" if "@" in one else repr(one.partition("?")[0])
        raise InvalidArgument(
            f"{shown} is not a URL of a Qdrant node; expected http(s)://host:port without user, path or query, several "
            "with commas between them; an API key is an option of its own",
            metadata={"field": "url"},
        )
    port_of(one)


def _is_node(one: str) -> bool:
    try:
        parts = urlsplit(one)
    except ValueError:  # brackets that hold no IPv6 address
        return False
    bare = one.removeprefix(f"{parts.scheme}://").rstrip("/")
    named = parts.scheme in ("http", "https") and bool(parts.hostname)
    return named and bare.isprintable() and not any(char in bare for char in "@/?# \\")
