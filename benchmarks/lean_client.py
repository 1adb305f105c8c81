"""A gRPC client that takes little of the processor, so that a benchmark measures the service and not its callers.

One connection (HTTP/2, RFC 9113; no TLS) with unary calls of one method. What is sent is prepared: all calls have the
same headers and the same request. Of an answer only the status is read, and of a refusal the pause that it names. It
asks the server for headers that need no table (RFC 7541), and for binary metadata as it is.
"""

import asyncio
from collections import deque
from collections.abc import Callable
from typing import cast

from google.rpc import error_details_pb2, status_pb2

DATA, HEADERS, RESET, SETTINGS, PING, GOAWAY, WINDOW_UPDATE = 0x0, 0x1, 0x3, 0x4, 0x6, 0x7, 0x8
END_STREAM, END_HEADERS, ACK = 0x1, 0x4, 0x1
TABLE_SIZE, ENABLE_PUSH, MOST_STREAMS, WINDOW, FRAME, TRUE_BINARY = 0x1, 0x2, 0x3, 0x4, 0x5, 0xFE03
"""Settings. The last one is gRPC's own: binary metadata is not encoded in base64."""
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
LARGEST_WINDOW, FIRST_WINDOW, FIRST_FRAME = (1 << 31) - 1, 65535, 16384
ROOM = 1 << 30
"""Bytes of answers after which the window of the connection is opened again."""
REFUSED_STREAM, AGAIN_S = 0x7, 0.002
"""A call that the server has not begun is sent again after so many seconds."""
UNKNOWN, UNAVAILABLE = 2, 14
"""Codes of gRPC for calls that ended without one, and whose connection is lost."""

Ended = Callable[[int, float], None]
"""Is told the code of a call, and after how many seconds to repeat it (0: the answer names no time)."""


class Connection(asyncio.Protocol):
    """Makes calls of one method with one request."""

    def __init__(self, authority: str, path: str, request: bytes, deadline_s: float, *, pauses: bool = False) -> None:
        """Prepare what is sent. With ``pauses``, read from refusals when to repeat the call."""
        self._headers = header_block(authority, path, deadline_s)
        self._message = b"\0" + len(request).to_bytes(4, "big") + request
        self._pauses = pauses
        self._waiting: deque[Ended] = deque()
        self._open: dict[int, Ended] = {}
        self._next, self._received = 1, b""
        self._room, self._of_stream, self._frame, self._most = FIRST_WINDOW, FIRST_WINDOW, FIRST_FRAME, 1
        self._read_since = 0
        self.ready = asyncio.get_running_loop().create_future()
        """Done when the server has told its settings."""

    @classmethod
    async def open(
        cls, address: str, path: str, request: bytes, deadline_s: float, *, pauses: bool = False
    ) -> "Connection":
        """Connect to ``host:port``, and wait for the settings of the server."""
        host, _, port = address.rpartition(":")
        _, opened = await asyncio.get_running_loop().create_connection(
            lambda: cls(address, path, request, deadline_s, pauses=pauses), host, int(port)
        )
        await opened.ready
        return opened

    def call(self, ended: Ended) -> None:
        """Begin a call, or let it wait until the server has room. ``ended`` is told how it ends."""
        if self._transport.is_closing():
            ended(UNAVAILABLE, 0.0)
            return
        self._waiting.append(ended)
        self._send()

    def close(self) -> None:
        """Close the connection. Calls that are open are forgotten."""
        self._open.clear()
        self._waiting.clear()
        self._transport.close()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See `asyncio.Protocol`."""
        self._transport = cast(asyncio.Transport, transport)
        settings = ((TABLE_SIZE, 0), (ENABLE_PUSH, 0), (WINDOW, LARGEST_WINDOW), (TRUE_BINARY, 1))
        content = b"".join(key.to_bytes(2, "big") + value.to_bytes(4, "big") for key, value in settings)
        window = (LARGEST_WINDOW - FIRST_WINDOW).to_bytes(4, "big")
        self._transport.write(PREFACE + frame(SETTINGS, 0, 0, content) + frame(WINDOW_UPDATE, 0, 0, window))

    def connection_lost(self, error: Exception | None) -> None:
        """See `asyncio.Protocol`."""
        for ended in (*self._open.values(), *self._waiting):
            ended(UNAVAILABLE, 0.0)
        self._open.clear()
        self._waiting.clear()
        if not self.ready.done():
            self.ready.set_exception(ConnectionError(f"the server has closed the connection: {error}"))

    def data_received(self, content: bytes) -> None:
        """See `asyncio.Protocol`."""
        content, at = self._received + content if self._received else content, 0
        while len(content) - at >= 9:
            end = at + 9 + int.from_bytes(content[at : at + 3], "big")
            if end > len(content):
                break
            stream = int.from_bytes(content[at + 5 : at + 9], "big") & LARGEST_WINDOW
            self._receive(content[at + 3], content[at + 4], stream, content[at + 9 : end])
            at = end
        self._received = content[at:]
        self._send()

    def _receive(self, kind: int, flags: int, stream: int, content: bytes) -> None:
        if kind == DATA:
            self._read_since += len(content)
            if self._read_since > ROOM:
                self._transport.write(frame(WINDOW_UPDATE, 0, 0, self._read_since.to_bytes(4, "big")))
                self._read_since = 0
        elif kind == HEADERS:
            if not flags & END_HEADERS:
                raise ValueError("the headers of an answer go on in another frame, which is not read here")
            if flags & END_STREAM and (ended := self._open.pop(stream, None)) is not None:
                fields = literal_fields(content)
                code = int(fields.get(b"grpc-status", b"%d" % UNKNOWN))
                ended(code, pause_in(fields) if code and self._pauses else 0.0)
        elif kind == RESET:
            if (ended := self._open.pop(stream, None)) is None:
                return  # a refusal has come before, and the server reads no more of the request
            if int.from_bytes(content, "big") == REFUSED_STREAM:
                # The server still counts one that has ended. It has not looked at this one.
                asyncio.get_running_loop().call_later(AGAIN_S, self.call, ended)
            else:
                ended(UNKNOWN, 0.0)
        elif kind == WINDOW_UPDATE:
            # A request fits in the window of its stream, so only that of the connection counts.
            self._room += int.from_bytes(content, "big") if not stream else 0
        elif kind == SETTINGS and not flags & ACK:
            for start in range(0, len(content), 6):
                self._set(int.from_bytes(content[start : start + 2], "big"), content[start + 2 : start + 6])
            self._transport.write(frame(SETTINGS, ACK, 0, b""))
            if not self.ready.done():
                self.ready.set_result(None)
        elif kind == PING and not flags & ACK:
            self._transport.write(frame(PING, ACK, 0, content))

    def _set(self, key: int, value: bytes) -> None:
        number = int.from_bytes(value, "big")
        if key == WINDOW:
            self._of_stream = number
            if number < len(self._message):
                raise ValueError(
                    f"the server lets {number} bytes of a request in; {len(self._message)} are sent at once"
                )
        elif key == FRAME:
            self._frame = number
        elif key == MOST_STREAMS:
            self._most = number

    def _send(self) -> None:
        """Begin calls that wait, as many as the server has room for."""
        size, parts = len(self._message), list[bytes]()
        while self._waiting and len(self._open) < self._most and self._room >= size:
            stream, self._next = self._next, self._next + 2
            self._open[stream] = self._waiting.popleft()
            self._room -= size
            parts.append(frame(HEADERS, END_HEADERS, stream, self._headers))
            for start in range(0, size, self._frame):
                part = self._message[start : start + self._frame]
                last = END_STREAM if start + self._frame >= size else 0
                parts.append(frame(DATA, last, stream, part))
        if parts:
            self._transport.write(b"".join(parts))


def frame(kind: int, flags: int, stream: int, content: bytes) -> bytes:
    """Return an HTTP/2 frame."""
    return len(content).to_bytes(3, "big") + bytes((kind, flags)) + stream.to_bytes(4, "big") + content


def header_block(authority: str, path: str, deadline_s: float) -> bytes:
    """Return the headers of a gRPC call, without a table and without Huffman codes."""

    def text(value: str) -> bytes:
        return bytes((len(value),)) + value.encode()  # below 127 bytes, a length is one byte

    def field(name: bytes, value: str) -> bytes:
        return name + text(value)

    fields = (
        b"\x83\x86",  # :method POST, :scheme http
        field(b"\x04", path),
        field(b"\x01", authority),
        field(b"\x0f\x10", "application/grpc"),  # content-type
        field(b"\0" + text("te"), "trailers"),
        field(b"\0" + text("grpc-timeout"), f"{round(deadline_s * 1000)}m"),
    )
    return b"".join(fields)


def literal_fields(block: bytes) -> dict[bytes, bytes]:
    """Return the headers of a block whose names are spelled out.

    Raises:
        ValueError: it uses a table or Huffman codes, which the client did not allow or does not read.
    """
    fields, at = dict[bytes, bytes](), 0

    def number(bits: int) -> int:
        nonlocal at
        most, shift, more = (1 << bits) - 1, 0, True
        value, at = block[at] & most, at + 1
        if value < most:
            return value
        while more:
            more = block[at] >= 0x80
            value, at, shift = value + ((block[at] & 0x7F) << shift), at + 1, shift + 7
        return value

    def text() -> bytes:
        nonlocal at
        if block[at] & 0x80:
            raise ValueError("a header of an answer has a Huffman code, which is not read here")
        size = number(7)
        at += size
        return block[at - size : at]

    while at < len(block):
        first = block[at]
        if first & 0x80:
            if number(7) > 61:
                raise ValueError("a header of an answer is in a table, which was not allowed")
        elif first & 0xE0 == 0x20:
            number(5)
        else:
            index = number(6 if first & 0x40 else 4)
            name = b"" if index else text()
            value = text()
            if name:
                fields[name] = value
    return fields


def pause_in(fields: dict[bytes, bytes]) -> float:
    """Return after how many seconds a refusal says to repeat the call; 0 if it does not."""
    status, retry = status_pb2.Status(), error_details_pb2.RetryInfo()
    status.MergeFromString(fields.get(b"grpc-status-details-bin", b"\0")[1:])
    for detail in status.details:
        if detail.Unpack(retry):
            return float(retry.retry_delay.ToNanoseconds()) / 1e9
    return 0.0
