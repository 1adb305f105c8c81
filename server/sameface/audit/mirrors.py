"""Copies of the audit log's entries for a log collector: on the standard output, and to a syslog.

A mirror never stops the audit log: what cannot be sent is in the files all the same.
"""

import logging
import sys
from collections.abc import Iterable
from contextlib import suppress
from logging.handlers import SysLogHandler
from typing import Protocol

from sameface_qdrant.errors import InvalidArgument

log = logging.getLogger(__name__)

IDENT = "sameface-audit: "


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


class Syslog(SysLogHandler):
    """Sends every line as a message of the facility authpriv, level info."""

    ident = IDENT

    def __init__(self, address: str) -> None:
        """``address`` is the path of a socket, such as /dev/log, or ``host:port`` (UDP).

        Raises:
            InvalidArgument: it has another form, or the host has no address.
        """
        host, _, port = address.rpartition(":")
        wrong = InvalidArgument(
            f"audit.syslog is {address!r}; expected the path of a socket such as /dev/log, or host:port",
            metadata={"field": "audit.syslog"},
        )
        if not address.startswith("/") and not (host and port.isdecimal() and int(port) < 1 << 16):
            raise wrong
        try:
            super().__init__(
                address if address.startswith("/") else (host.strip("[]"), int(port)),
                facility=SysLogHandler.LOG_AUTHPRIV,
            )
        except OSError:
            raise wrong from None
        self._address = address
        self._works = True
        self._failed: BaseException | None = None

    def send(self, lines: Iterable[str]) -> None:
        """See `Mirror.send`."""
        self._failed = None
        for line in lines:
            self.emit(logging.LogRecord("", logging.INFO, "", 0, line, None, None))
            if self._failed is not None:
                break
        if self._works and self._failed is not None:
            log.warning("entries of the audit log do not reach the syslog at %s: %s", self._address, self._failed)
        self._works = self._failed is None

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802  # a name of the library
        """Note the failure, instead of printing it with the line."""
        self._failed = sys.exc_info()[1]
