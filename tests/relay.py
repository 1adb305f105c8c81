"""Passes connections to a TCP port on to a unix socket, or to another port: a server as one that is elsewhere.

`python -m tests.relay HOST PORT SOCKET` does so until it is ended.
"""

import asyncio
import sys
from contextlib import suppress


class Relay:
    """Listens on a port. `target` is the path of a unix socket, or a port of the loopback interface.

    `target` may change; a connection that stands stays with its own. Paused, the relay still accepts connections, but
    nothing passes: as with a paused process.
    """

    def __init__(self, target: str | int) -> None:
        self.target = target
        self.port = 0
        self._open = asyncio.Event()
        self._open.set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def start(self, host: str = "127.0.0.1", port: int = 0) -> "Relay":
        """Listen."""
        self._server = await asyncio.start_server(self._serve, host, port)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    def pause(self) -> None:
        """Pass nothing on until `resume`."""
        self._open.clear()

    def resume(self) -> None:
        """Pass on what waits."""
        self._open.set()

    async def stop(self) -> None:
        """Close every connection."""
        if self._server is not None:
            self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await self._open.wait()
        try:
            to_reader, to_writer = await _connect(self.target)
        except OSError:
            writer.close()
            return
        for source, sink in ((reader, to_writer), (to_reader, writer)):
            task = asyncio.create_task(self._pass(source, sink))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _pass(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            while chunk := await source.read(1 << 18):
                await self._open.wait()
                sink.write(chunk)
                await sink.drain()
        sink.close()


async def _connect(target: str | int) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    if isinstance(target, str):
        return await asyncio.open_unix_connection(target)
    return await asyncio.open_connection("127.0.0.1", target)


async def _main(host: str, port: int, target: str) -> None:
    await Relay(target).start(host, port)
    print("ready", flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(_main(sys.argv[1], int(sys.argv[2]), sys.argv[3]))
