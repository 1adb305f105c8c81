"""The port on which Prometheus reads the metrics. It has threads of its own, so that the event loop never waits for it.

Callers are not trusted with more than a question: one path, no parameters, few connections, short times. Whoever asks
within `MetricsOptions.reuse_s` gets the answer that was made for the one before.
"""

import contextlib
import logging
import socket
import ssl
import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

from prometheus_client import CollectorRegistry
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest
from prometheus_client.openmetrics import exposition as openmetrics

from sameface.access.changing_file import ChangingFiles
from sameface.access.tls import TlsOptions, require_usable
from sameface.listening import unavailable
from sameface.metrics.options import MetricsOptions

log = logging.getLogger(__name__)

PATH = "/metrics"
REQUEST_S = 10.0
"""Seconds that a request may take to arrive, and its answer to be read."""
OPENMETRICS = "application/openmetrics-text"


class Page:
    """The metrics as text, made again at most every ``reuse_s`` seconds."""

    def __init__(self, registry: CollectorRegistry, reuse_s: float, *, exemplars: bool) -> None:
        """With ``exemplars``, also offer the format that has them."""
        self._registry, self._reuse_s, self._exemplars = registry, reuse_s, exemplars
        self._made: dict[str, tuple[float, bytes]] = {}
        self._lock = threading.Lock()

    def for_caller(self, accept: str) -> tuple[str, bytes]:
        """Return the content type and the text, by the header ``Accept``."""
        if self._exemplars and OPENMETRICS in accept:
            return self._text(openmetrics.CONTENT_TYPE_LATEST, openmetrics.generate_latest)
        return self._text(CONTENT_TYPE_LATEST, generate_latest)

    def _text(self, kind: str, make: Callable[[CollectorRegistry], bytes]) -> tuple[str, bytes]:
        with self._lock:
            made, text = self._made.get(kind, (float("-inf"), b""))
            if time.monotonic() - made >= self._reuse_s:
                text = make(self._registry)
                self._made[kind] = time.monotonic(), text
            return kind, text


class MetricsServer:
    """Listens, and answers in threads."""

    def __init__(self, options: MetricsOptions, registry: CollectorRegistry, *, exemplars: bool = False) -> None:
        """Listen on the address of ``options``; answer once `start` is called.

        Raises:
            AddressUnavailable: the address cannot be listened on.
            InvalidArgument: the certificate or its key cannot be used.
        """
        context = _Context(options.tls) if options.tls.certificate is not None else None
        page = Page(registry, options.reuse_s, exemplars=exemplars)
        host, _, port = options.listen.rpartition(":")
        self._server = _Server(host.strip("[]"), int(port), page, context, options.max_connections)
        self._thread = threading.Thread(target=self._server.serve_forever, name="metrics", daemon=True)
        self.address = f"{host}:{self._server.server_address[1]}"
        """Host, and the port that was chosen."""

    def start(self) -> None:
        """Answer from now on."""
        self._thread.start()

    def stop(self) -> None:
        """Close the port. Answers that are being given end with their connections."""
        if self._thread.is_alive():
            self._server.shutdown()
            self._thread.join()
        self._server.server_close()


class _Server(HTTPServer):
    """One thread accepts connections, and each has a thread of its own, of which there are few."""

    allow_reuse_address = True
    request_queue_size = 16

    def __init__(self, host: str, port: int, page: Page, context: "_Context | None", most: int) -> None:
        self.page, self._context = page, context
        self._places = threading.BoundedSemaphore(most)
        try:
            family, *_, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
            self.address_family = family
            super().__init__((str(address[0]), port), _Handler)
        except (OSError, UnicodeError) as error:
            reason = f"it cannot be listened on ({error}); choose another one"
            raise unavailable(f"{host}:{port}", reason, "metrics.listen") from None

    def server_bind(self) -> None:
        """Bind without a look-up of the host's name, which HTTPServer would do."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.socket.bind(self.server_address)
        self.server_address = self.socket.getsockname()
        self.server_name, self.server_port = str(self.server_address[0]), int(self.server_address[1])

    def process_request(self, request: Any, client_address: Any) -> None:
        """Give a connection a thread, or close it."""
        if not self._places.acquire(blocking=False):
            self.shutdown_request(request)
            return
        threading.Thread(target=self._answer, args=(request, client_address), name="metrics", daemon=True).start()

    def _answer(self, request: socket.socket, client_address: Any) -> None:
        connection = request
        try:
            request.settimeout(REQUEST_S)
            if self._context is not None:
                connection = self._context.wrapped(request)
            # Closes the connection at the end of its time, however slowly each byte comes.
            closing = threading.Timer(REQUEST_S, _close, [connection])
            closing.daemon = True
            closing.start()
            try:
                if isinstance(connection, ssl.SSLSocket):
                    connection.do_handshake()
                self.finish_request(connection, client_address)
            finally:
                closing.cancel()
        except (OSError, ValueError) as error:
            log.debug("a scrape has failed: %s", error)
        except Exception as error:
            # A thread that ends by an exception would print a traceback at each scrape.
            log.error("a scrape has failed: %r", error)
        finally:
            self.shutdown_request(connection)
            self._places.release()


def _close(connection: socket.socket) -> None:
    with contextlib.suppress(OSError):
        connection.shutdown(socket.SHUT_RDWR)


class _Handler(BaseHTTPRequestHandler):
    """Answers one request."""

    server: _Server
    server_version = "sameface"
    sys_version = ""
    protocol_version = "HTTP/1.0"

    def do_GET(self) -> None:
        """Answer with the metrics."""
        if self.path != PATH:
            self.send_error(404, f"only {PATH} is here")
            return
        try:
            kind, text = self.server.page.for_caller(self.headers.get("Accept", ""))
        except Exception as error:
            log.error("metrics cannot be read: %r", error)
            self.send_error(500, "the log of the service says why")
            return
        self.send_response(200)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def log_message(self, format: str, *args: object) -> None:  # named so by the base class
        """Log nothing: a request comes every few seconds, and its text is the caller's."""


class _Context:
    """TLS of the port, with the certificate as it is on the disk."""

    def __init__(self, tls: TlsOptions) -> None:
        paths = [path for path in (tls.certificate, tls.private_key, tls.client_ca) if path is not None]
        self._files = ChangingFiles(paths, lambda: _made(tls), keep=True)

    def wrapped(self, connection: socket.socket) -> ssl.SSLSocket:
        """Return the connection, before the handshake."""
        return self._files.content.wrap_socket(connection, server_side=True, do_handshake_on_connect=False)


def _made(tls: TlsOptions) -> ssl.SSLContext:
    require_usable(tls)
    assert tls.certificate is not None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tls.certificate, tls.private_key)
    if tls.client_ca is not None:
        context.verify_mode = ssl.CERT_REQUIRED
        context.load_verify_locations(tls.client_ca)
    return context
