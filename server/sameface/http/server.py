"""HTTP beside gRPC: starts Envoy, watches it, and stops it.

Envoy passes each request on as a gRPC call, over a socket that no other user can reach. So a call over HTTP meets the
same credentials, roles, limits and audit log as any other.
"""

import asyncio
import json
import logging
import os
import time
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

from sameface.access.tls import TlsOptions
from sameface.errors import RuntimeMissing
from sameface.http.certificates import Certificates
from sameface.http.config import Bounds, Places, envoy_config
from sameface.http.envoy import EnvoyProcess, find_envoy
from sameface.http.options import HttpOptions
from sameface.listening import check_free

log = logging.getLogger(__name__)

START_S = 20.0
LOOK_S = 1.0
"""Seconds between looks at the certificate and at Envoy's memory."""
MOST_RESIDENT_BYTES = 1 << 30
"""Beyond this memory Envoy is ended and started again. Requests that arrive at the same time may need as much."""
LAST_ANSWERS_S = 1.0
"""Seconds that the last answers may take to leave."""
FIRST_BACKOFF_S, LONGEST_BACKOFF_S, STABLE_S = 0.5, 30.0, 60.0
MOST_THREADS = 4
LONGEST_SOCKET_PATH = 107  # bytes; unix(7)

_HERE = Path(__file__).resolve().parent
DESCRIPTOR, OPENAPI = _HERE / "descriptor.binpb", _HERE / "openapi.yaml"


class HttpServer:
    """An Envoy that serves HTTP on one address."""

    def __init__(
        self, options: HttpOptions, *, grpc_tls: TlsOptions, bounds: Bounds, services: tuple[str, ...], threads: int
    ) -> None:
        """Prepare an Envoy for calls of ``services``. Nothing is started yet.

        Raises:
            RuntimeMissing: the program envoy is not installed, the address is in use, or the path of the folder of
                temporary files is too long.
            InvalidArgument: the certificate or its key cannot be used.
        """
        tls = options.tls_beside(grpc_tls)
        self._options = replace(options, tls=tls)
        self._bounds, self._services, self._threads = bounds, services, min(threads, MOST_THREADS)
        self._program = find_envoy()
        self._port = _free_port(options)
        self._folder = _private_folder()
        folder = Path(self._folder.name)
        self._certificates = Certificates(tls, folder) if tls.certificate is not None else None
        secrets = folder if self._certificates is not None else None
        self._places = Places(folder / "grpc", folder / "admin", DESCRIPTOR, OPENAPI, secrets)
        self._config = folder / "envoy.json"
        self._process: EnvoyProcess | None = None
        self._watcher: asyncio.Task[None] | None = None

    @property
    def socket(self) -> Path:
        """Where the gRPC service has to listen for the calls."""
        return self._places.grpc

    @property
    def address(self) -> str:
        """``host:port`` that it serves on, once it has started."""
        return f"{self._options.listen.rpartition(':')[0]}:{self._port}"

    async def start(self) -> None:
        """Start Envoy and wait until it serves.

        Raises:
            RuntimeMissing: it ended, or was not ready in time. The message ends with its log.
        """
        await self._launch()
        self._watcher = asyncio.create_task(self._watch())

    async def check(self) -> None:
        """Raise RuntimeMissing if Envoy does not answer at the moment."""
        if self._process is None or await self._process.port() is None:
            raise RuntimeMissing("envoy does not answer; it is started again", metadata={"listen": self.address})

    async def stop(self) -> None:
        """Let the last answers leave, then stop Envoy and remove its folder. Safe to call twice."""
        try:
            if self._watcher is not None:
                self._watcher.cancel()
                await asyncio.wait([self._watcher])
                self._watcher = None
            if self._process is not None:
                await self._last_answers(self._process)
        finally:
            process, self._process = self._process, None
            try:
                if process is not None:
                    await process.stop()
            finally:
                self._folder.cleanup()

    async def _last_answers(self, process: EnvoyProcess) -> None:
        deadline = time.monotonic() + LAST_ANSWERS_S
        while await process.requests() and time.monotonic() < deadline:  # noqa: ASYNC110  # only asking tells
            await asyncio.sleep(0.05)

    async def _launch(self) -> None:
        self._update_certificates()
        config = envoy_config(self._options, self._port, self._places, self._bounds, self._services)
        await asyncio.to_thread(self._config.write_text, json.dumps(config))
        self._places.admin.unlink(missing_ok=True)
        process = await EnvoyProcess.start(self._program, self._config, self._places.admin, self._threads)
        try:
            port = await _port_once_ready(process)
        except BaseException:
            await process.stop()
            raise
        if port is None:
            await process.stop()
            raise RuntimeMissing(
                f"envoy did not become ready; the end of its log:\n{process.last_lines()}",
                metadata={"listen": self._options.listen},
            )
        self._process, self._port = process, port

    def _update_certificates(self) -> None:
        if self._certificates is not None:
            self._certificates.write()

    async def _watch(self) -> None:
        quick_ends = 0
        while True:
            began, for_memory = time.monotonic(), False
            assert self._process is not None
            ended = asyncio.ensure_future(self._process.ended())
            try:
                while not ended.done():
                    await asyncio.wait([ended], timeout=LOOK_S)
                    self._take_over_certificates()
                    if self._process.resident_bytes() > MOST_RESIDENT_BYTES:
                        log.error("envoy uses more than %d MiB; ending it", MOST_RESIDENT_BYTES >> 20)
                        self._process.kill()
                        for_memory = True
                log.error("envoy ended with %d; restarting it", ended.result())
            finally:
                ended.cancel()
            process, self._process = self._process, None
            await process.stop()
            # No pause after an end for memory: whoever can cause it could keep HTTP away by that.
            stable = for_memory or time.monotonic() - began > STABLE_S
            quick_ends = 0 if stable else quick_ends + 1
            quick_ends = await self._launch_again(quick_ends)

    def _take_over_certificates(self) -> None:
        try:
            self._update_certificates()
        except Exception as error:
            # As in _launch_again: the watcher must not end.
            log.error("new certificates of HTTP are not used: %s", error)

    async def _launch_again(self, quick_ends: int) -> int:
        """Start Envoy until it serves. Return how often it ended in short order."""
        while True:
            if quick_ends > 1:
                await asyncio.sleep(min(FIRST_BACKOFF_S * 2.0 ** (quick_ends - 2), LONGEST_BACKOFF_S))
            try:
                await self._launch()
            except Exception as error:
                # The watcher must not end, whatever the error is. gRPC goes on meanwhile.
                log.error("envoy did not restart: %s", error)
                quick_ends += 1
            else:
                return quick_ends


async def _port_once_ready(process: EnvoyProcess) -> int | None:
    """Wait until Envoy serves, and return its port; None if it ends before, or takes too long."""
    deadline = time.monotonic() + START_S
    while (port := await process.port()) is None:
        if not process.alive or time.monotonic() > deadline:
            return None
        await asyncio.sleep(0.05)
    return port


def _free_port(options: HttpOptions) -> int:
    """Return the port of the address, once it is sure that it is free.

    Raises:
        AddressUnavailable: it is not. The message says why.
    """
    check_free(options.listen, "--http")
    return int(options.address[1])


def _private_folder() -> TemporaryDirectory[str]:
    """Create a folder for sockets that only its owner can enter (mode 0700)."""
    folder = TemporaryDirectory(prefix="sameface-http-")
    if len(os.fsencode(folder.name)) + len("/admin") > LONGEST_SOCKET_PATH:
        folder.cleanup()
        raise RuntimeMissing(
            f"the path of the sockets in {folder.name} is too long; at most {LONGEST_SOCKET_PATH} bytes are allowed; "
            "set TMPDIR to a folder with a shorter path",
            metadata={"path": folder.name},
        )
    return folder
