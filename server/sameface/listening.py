"""Whether this machine can listen on an address, asked before anything that takes long."""

import errno
import socket
from typing import Any

from sameface.errors import AddressUnavailable

REASONS = {
    errno.EADDRINUSE: "another program listens there, perhaps sameface; stop it, or choose another port",
    errno.EADDRNOTAVAIL: "the address does not belong to this machine; choose one of its own, or 0.0.0.0 for all",
    errno.EACCES: "this user may not use the port; choose one above 1023",
}


def check_free(listen: str, option: str = "--listen") -> None:
    """Check that a server could listen on ``host:port``. Port 0, which chooses a free port, is free.

    ``option`` is what the user sets the address with.

    Raises:
        AddressUnavailable: it could not. The message says whether the address is in use, is not of this machine, is not
            allowed, or cannot be found.
    """
    try:
        failures, known = bind_failures(listen)
    except (OSError, UnicodeError) as error:
        raise unavailable(listen, f"the host cannot be found ({error}); correct it", option) from None
    # A name may have several addresses (localhost). A server listens on those that this machine has.
    in_use = next((failure for failure in failures if failure.errno == errno.EADDRINUSE), None)
    # Where a machine has no IPv6, gRPC takes every address of IPv4 for [::].
    everywhere = listen.rpartition(":")[0] == "[::]"
    if failure := in_use or (failures[0] if len(failures) == known and not everywhere else None):
        why = REASONS.get(failure.errno or 0, f"{failure.strerror}; choose another address")
        raise unavailable(listen, why, option)


def bind_failures(listen: str) -> tuple[list[OSError], int]:
    """Try to bind to every address of ``host:port``; return the errors, and how many addresses there are.

    Raises:
        OSError, UnicodeError: the host cannot be found.
    """
    host, _, port = listen.rpartition(":")
    addresses = socket.getaddrinfo(host.strip("[]"), int(port), type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    tried = [_cannot_bind(family, address) for family, _, _, _, address in addresses]
    return [failure for failure in tried if failure], len(addresses)


def unavailable(listen: str, why: str, option: str = "--listen") -> AddressUnavailable:
    """Return the error for an address that cannot be listened on."""
    return AddressUnavailable(f"cannot listen on {listen}: {why} ({option})", metadata={"listen": listen})


def _cannot_bind(family: int, address: Any) -> OSError | None:
    try:
        with socket.socket(family) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
    except OSError as error:
        return error
    return None
