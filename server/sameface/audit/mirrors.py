"""Copies of the audit log's entries for a log collector: on the standard output, and to a syslog.

A mirror never stops the audit log: what cannot be sent is in the files all the same.
"""

import logging
import math
import socket
import sys
import time
from collections.abc import Iterable
from contextlib import suppress
from typing import Any, Protocol

from sameface_qdrant.errors import InvalidArgument

log = logging.getLogger(__name__)

IDENT = "sameface-audit: "
AUTHPRIV_INFO = 10 * 8 + 6
PATIENCE_S = 0.2
"""How long a syslog may take to accept a message."""
WARN_EVERY_S = 60.0


class Mirror(Protocol):
    """Receives lines of the log that are on the disk."""

    def send(self, lines: Iterable[str]) -> None:
        """Send lines, without their line ends."""
        ...

    def close(self) -> None:
        """Release everything."""
        ...


class StandardOutput:
    """Prints every line."""

    def send(self, lines: Iterable[str]) -> None:
        """See `Mirror.send`."""
        with suppress(OSError, ValueError):  # nobody reads it
            sys.stdout.write("".join(f"{line}\n" for line in lines))
            sys.stdout.flush()

    def close(self) -> None:
        """See `Mirror.close`."""


class Syslog:
    """Sends every line as a message of the facility authpriv, level info (RFC 3164).

    Not the handler of the standard library, which waits as long as the syslog does not read.
    """

    def __init__(self, address: str) -> None:
        """``address`` is the path of a socket, such as /dev/log, or ``host:port`` (UDP).

        Raises:
            InvalidArgument: it has another form.
        """
        host, _, port = address.rpartition(":")
        if not address.startswith("/") and not (host and port.isdecimal() and int(port) < 1 << 16):
            raise InvalidArgument(
                f"audit.syslog is {address!r}; expected the path of a socket such as /dev/log, or host:port",
                metadata={"field": "audit.syslog"},
            )
        self._address = address
        self._host_and_port = None if address.startswith("/") else (host.strip("[]"), int(port))
        self._socket: socket.socket | None = None
        self._warned = -math.inf

    def send(self, lines: Iterable[str]) -> None:
        """See `Mirror.send`. After a failure the other lines are left out: the files have them."""
        try:
            for line in lines:
                if self._socket is None:
                    self._socket = self._connected()
                self._socket.send(f"<{AUTHPRIV_INFO}>{IDENT}{line}".encode())
        except OSError as error:
            self.close()
            if time.monotonic() - self._warned > WARN_EVERY_S:
                log.warning("entries of the audit log do not reach the syslog at %s: %s", self._address, error)
                self._warned = time.monotonic()

    def close(self) -> None:
        """See `Mirror.close`."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def _connected(self) -> socket.socket:
        where: Any
        if self._host_and_port is None:
            family, where = socket.AF_UNIX, self._address
        else:
            family, _, _, _, where = socket.getaddrinfo(*self._host_and_port, type=socket.SOCK_DGRAM)[0]
        opened = socket.socket(family, socket.SOCK_DGRAM)
        opened.settimeout(PATIENCE_S)
        try:
            opened.connect(where)
        except OSError:
            opened.close()
            raise
        return opened
