"""Why no connection can be made, however often it is tried: out of gRPC's texts, and of one look at the port."""

import socket
import ssl
from enum import Enum

from sameface.addresses import host_and_port, socket_path

PATIENCE_S = 1.0


class Fault(Enum):
    """What stands in the way of a connection until somebody changes a setting; the value is in gRPC's text."""

    NOT_TLS = "WRONG_VERSION_NUMBER"
    """This side encrypts, the other does not."""
    EXPIRED = "certificate has expired"
    AUTHORITY = "CERTIFICATE_VERIFY_FAILED"
    NAME = "Hostname Verification Check failed"
    PEM = "Failed to create security handshaker"
    """This side's own PEM files cannot be used."""
    NOT_GRPC = "http1.x server"


ENDED = ("Socket closed", "reset by peer", "Broken pipe", "End of TCP stream", "Connection closed")
"""gRPC's texts when the other side ends a new connection without a word, as TLS does with what is not encrypted."""
REFUSED = ("Connection refused", "No such file")
"""Nothing listens. Of a name with several addresses, as localhost is, gRPC tells of one alone."""


def fault_of(text: str) -> Fault | None:
    """Return the fault that gRPC tells of; None if a later attempt may connect.

    A server or a proxy may tell of its own failed connections in the same words, but not that none of its addresses
    could be reached.
    """
    if "last error:" not in text:
        return None
    return next((fault for fault in Fault if fault.value in text), None)


def unclear(text: str) -> bool:
    """Return whether gRPC's text leaves open what listens at an address."""
    return "last error:" in text and any(words in text for words in (*ENDED, *REFUSED))


def refused(text: str) -> bool:
    """Return whether nothing listens at an address, or at one of several behind a name."""
    return any(words in text for words in REFUSED)


def speaks_tls(address: str, patience_s: float = PATIENCE_S) -> bool | None:
    """Return whether the server at an address answers a TLS handshake; None if nothing answers at all.

    Blocks for some ``patience_s`` seconds.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    # Nothing is sent, so it does not matter to whom.
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.set_alpn_protocols(["h2"])
    where = host_and_port(address)
    try:
        with _connected(address, where, patience_s / 2) as opened:
            context.wrap_socket(opened, server_hostname=where[0] if where else None).close()
    except (ssl.SSLEOFError, ssl.SSLZeroReturnError):
        return None
    except ssl.SSLError as error:
        # An alert is TLS too: this server wants something else, for instance another version.
        return "ALERT" in (error.reason or "")
    except (OSError, ValueError):
        return None
    return True


def _connected(address: str, where: tuple[str, int] | None, patience_s: float) -> socket.socket:
    if where is not None:
        return socket.create_connection(where, timeout=patience_s)
    if not address.startswith("unix:"):
        raise ValueError("only gRPC knows how to reach it")
    opened = socket.socket(socket.AF_UNIX)
    opened.settimeout(patience_s)
    try:
        opened.connect(socket_path(address))
    except OSError:
        opened.close()
        raise
    return opened
