"""Passes connections to a TCP port on to a unix socket: a Triton of this machine, as one on another machine.

`python -m tests.faults.forward HOST PORT SOCKET` does so until it is ended.
"""

import asyncio
import sys
from contextlib import suppress


class Forward:
    """Listens on a port. `target` may change; a connection that stands stays with its socket."""

    def __init__(self, target: str) -> None:
        self.target = target
        self.port = 0
        self._tasks: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None

    async def start(self, host: str = "127.0.0.1", port: int = 0) -> "Forward":
        """Listen."""
        self._server = await asyncio.start_server(self._serve, host, port)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def stop(self) -> None:
        """Close every connection."""
        if self._server is not None:
            self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            to_reader, to_writer = await asyncio.open_unix_connection(self.target)
        except OSError:
            writer.close()
            return
        for source, sink in ((reader, to_writer), (to_reader, writer)):
            task = asyncio.create_task(_pass(source, sink))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)


async def _pass(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
    with suppress(OSError):
        while chunk := await source.read(1 << 18):
            sink.write(chunk)
            await sink.drain()
    sink.close()


async def _main(host: str, port: int, target: str) -> None:
    await Forward(target).start(host, port)
    print("ready", flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(_main(sys.argv[1], int(sys.argv[2]), sys.argv[3]))
