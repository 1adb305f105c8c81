"""A hostile HTTP/2 client: it breaks what a gRPC library would keep to."""

import asyncio
import struct
from collections.abc import Iterable
from typing import Any

from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import DataReceived, RemoteSettingsChanged, ResponseReceived, StreamEnded, StreamReset, TrailersReceived
from h2.exceptions import ProtocolError
from h2.settings import SettingCodes, Settings

GET_GALLERY = "/sameface.v1.GalleryService/GetGallery"
LIST_IDENTITIES = "/sameface.v1.GalleryService/ListIdentities"
DETECT = "/sameface.v1.FaceService/DetectFaces"
STREAM = "/sameface.v1.FaceService/StreamIdentifyFaces"
CHECK = "/grpc.health.v1.Health/Check"
WATCH = "/grpc.health.v1.Health/Watch"


def framed(message: bytes, announced: int | None = None) -> bytes:
    """Return a gRPC message with its prefix, which may announce more bytes than there are."""
    return struct.pack(">BI", 0, len(message) if announced is None else announced) + message


class Attacker:
    """One connection. Nothing that the server sends is acknowledged unless ``reads`` is set."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, window: int, reads: bool) -> None:
        self._reader, self._writer, self._reads = reader, writer, reads
        self._http = H2Connection(
            H2Configuration(
                client_side=True,
                header_encoding="utf-8",
                validate_outbound_headers=False,
                normalize_outbound_headers=False,
            )
        )
        self._http.local_settings = Settings(
            client=True, initial_values={SettingCodes.INITIAL_WINDOW_SIZE: window, SettingCodes.ENABLE_PUSH: 0}
        )
        self._http.initiate_connection()
        self.answers: dict[int, dict[str, str]] = {}
        """Headers and trailers of each stream that was answered."""
        self.reset: set[int] = set()
        """Streams that the server ended with RST_STREAM."""
        self.ended: set[int] = set()
        self.received = 0
        """Bytes of messages."""
        self.changed = asyncio.Event()
        self.settled = asyncio.Event()
        """Set when the server has told its limits."""
        self._receiving = asyncio.create_task(self._receive())

    @classmethod
    async def connect(cls, address: str, *, window: int = 65535, reads: bool = True) -> "Attacker":
        """Connect. A ``window`` of 0 lets the server send headers only."""
        host, _, port = address.rpartition(":")
        opened = cls(*await asyncio.open_connection(host, int(port)), window, reads)
        await opened.flush()
        await opened.settled.wait()
        return opened

    @property
    def closed(self) -> bool:
        """Whether the server has closed the connection."""
        return self._receiving.done()

    @property
    def open_streams(self) -> int:
        """How many streams neither side has ended."""
        return self._http.open_outbound_streams

    @property
    def allowed_streams(self) -> int:
        """How many streams the server allows."""
        return self._http.remote_settings.max_concurrent_streams

    def begin(self, path: str | bytes, metadata: Iterable[tuple[str, str]] = ()) -> int:
        """Open a stream with the headers of a call."""
        stream = self._http.get_next_available_stream_id()
        headers: list[tuple[str, str | bytes]] = [(":method", "POST"), (":scheme", "http"), (":path", path)]
        headers += [(":authority", "localhost"), ("content-type", "application/grpc"), ("te", "trailers"), *metadata]
        self._http.send_headers(stream, headers)
        return stream

    def call(self, path: str | bytes, message: bytes = b"") -> int:
        """Begin a unary call and send its request."""
        stream = self.begin(path)
        self._http.send_data(stream, framed(message), end_stream=True)
        return stream

    def abandon(self, stream: int) -> None:
        """Reset a stream."""
        self._http.reset_stream(stream, 8)

    def send(self, stream: int, content: bytes) -> None:
        """Send a few bytes of a stream, whatever its window."""
        self._http.send_data(stream, content)

    def end(self, stream: int) -> None:
        """Send no more on a stream."""
        self._http.end_stream(stream)

    async def pour(self, stream: int, content: bytes) -> None:
        """Send many bytes, as fast as the server's windows let them in; give up when the stream has ended."""
        sent = 0
        while sent < len(content):
            try:
                room = min(self._http.local_flow_control_window(stream), self._http.max_outbound_frame_size)
            except ProtocolError:
                return
            if room <= 0:
                self.changed.clear()
                await self.changed.wait()
                continue
            self._http.send_data(stream, content[sent : sent + room])
            sent += room
            await self.flush()

    async def flush(self) -> None:
        """Put what was begun on the wire."""
        self._writer.write(self._http.data_to_send())
        await self._writer.drain()

    async def close(self) -> None:
        """Close the connection."""
        self._receiving.cancel()
        self._writer.close()

    async def _receive(self) -> None:
        try:
            while content := await self._reader.read(1 << 16):
                for event in self._http.receive_data(content):
                    self._note(event)
                self._writer.write(self._http.data_to_send())
                self.changed.set()
        finally:
            self.changed.set()

    def _note(self, event: Any) -> None:
        match event:
            case ResponseReceived() | TrailersReceived():
                self.answers.setdefault(event.stream_id, {}).update(
                    {str(name): str(value) for name, value in event.headers}
                )
            case DataReceived():
                self.received += len(event.data)
                if self._reads and event.flow_controlled_length:
                    self._http.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
            case RemoteSettingsChanged():
                self.settled.set()
            case StreamReset():
                self.reset.add(event.stream_id)
                self.ended.add(event.stream_id)
            case StreamEnded():
                self.ended.add(event.stream_id)
