"""One call of grpc.health.v1 in the frames of HTTP/2 (RFC 9113): what is sent, and what comes back. Pure.

Of the answer only the message is read. Headers stay packed (HPACK, RFC 7541): without a message they say why there is
none, and then the caller asks with gRPC itself. It does so too if the trailers name parts that are away: gRPC does not
pack the key of such a field.
"""

AWAY = b"sameface-away"
"""`sameface.health.parts.AWAY`, without its imports."""

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, RST_STREAM, SETTINGS, PING, GOAWAY = 0x0, 0x1, 0x3, 0x4, 0x6, 0x7
ACK, END_STREAM, END_HEADERS, PADDED = 0x1, 0x1, 0x4, 0x8
FRAME_HEAD = 9
LARGEST_FRAME = 1 << 14
"""The largest frame that a peer may send to one that has not said otherwise."""
MESSAGE_HEAD = 5
"""A byte that says whether the message is compressed, and four of its length."""
PATH = "/grpc.health.v1.Health/Check"
STATUSES = ("UNKNOWN", "SERVING", "NOT_SERVING", "SERVICE_UNKNOWN")
"""The names of grpc.health.v1.HealthCheckResponse.ServingStatus, in the order of their numbers."""


class NoMessage(Exception):
    """The peer answers, but not with the message of a health check."""


def request(authority: str, timeout_ms: int, *, encrypted: bool) -> bytes:
    """Return what a client sends to ask for the health of a whole server.

    Args:
        authority: the host and port asked.
        timeout_ms: how long the server may take, from 1 to 99,999,999.
        encrypted: whether the connection uses TLS.
    """
    headers = {
        ":method": "POST",
        ":scheme": "https" if encrypted else "http",
        ":path": PATH,
        ":authority": authority,
        "te": "trailers",
        "content-type": "application/grpc",
        "user-agent": "sameface-health",
        "grpc-timeout": f"{timeout_ms}m",
    }
    packed = b"".join(_literal(name) + _literal(value, first=b"") for name, value in headers.items())
    # The message is empty: the health of the whole server.
    return (
        PREFACE
        + frame(SETTINGS, 0, 0)
        + frame(HEADERS, END_HEADERS, 1, packed)
        + frame(DATA, END_STREAM, 1, bytes(MESSAGE_HEAD))
    )


def frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    """Return a frame of HTTP/2."""
    return len(payload).to_bytes(3, "big") + bytes((kind, flags)) + stream.to_bytes(4, "big") + payload


def _literal(text: str, first: bytes = b"\x10") -> bytes:
    """Return a text as HPACK has it without its tables: the length, then the bytes.

    ``first`` begins a header field that no table keeps (section 6.2.3). A length from 127 on continues in further
    bytes (section 5.1).
    """
    octets = text.encode("ascii")
    length, packed = len(octets), bytearray(first)
    if length < 127:
        packed.append(length)
    else:
        packed.append(127)
        length -= 127
        while length >= 128:
            packed.append(length % 128 + 128)
            length //= 128
        packed.append(length)
    return bytes(packed) + octets


class Answer:
    """Reads what a server sends, in pieces of any size."""

    def __init__(self) -> None:
        self._unread = bytearray()
        self._message = bytearray()

    def read(self, received: bytes) -> tuple[str | None, bytes]:
        """Return the status once the call has ended, and what to send now.

        Raises:
            NoMessage: the call has ended without a status, its trailers tell more, or this is not HTTP/2.
        """
        self._unread += received
        reply = bytearray()
        while len(self._unread) >= FRAME_HEAD:
            length, kind, flags = int.from_bytes(self._unread[:3], "big"), self._unread[3], self._unread[4]
            if length > LARGEST_FRAME:
                raise NoMessage("this is not HTTP/2")
            if len(self._unread) < FRAME_HEAD + length:
                break
            payload = bytes(self._unread[FRAME_HEAD : FRAME_HEAD + length])
            del self._unread[: FRAME_HEAD + length]
            if kind in (SETTINGS, PING) and not flags & ACK:
                reply += frame(kind, ACK, 0, payload if kind == PING else b"")
            elif kind == DATA:
                self._message += payload[1 : len(payload) - payload[0]] if flags & PADDED and payload else payload
            status = _status(self._message)
            if (
                kind == HEADERS
                and flags & END_STREAM
                and flags & END_HEADERS  # otherwise frames with more trailers follow
                and status is not None
                and AWAY not in payload
            ):
                return status, b""
            if kind in (RST_STREAM, GOAWAY) or (kind in (DATA, HEADERS) and flags & END_STREAM):
                raise NoMessage("the call ended without a status")
        return None, bytes(reply)


def _status(message: bytearray) -> str | None:
    """Return the status of a HealthCheckResponse behind the head of gRPC; None while it is not complete.

    Raises:
        NoMessage: the message is compressed, or is another one.
    """
    if len(message) < MESSAGE_HEAD:
        return None
    length = int.from_bytes(message[1:MESSAGE_HEAD], "big")
    if message[0] != 0 or length > 64:
        raise NoMessage("this is no health check")
    body = bytes(message[MESSAGE_HEAD : MESSAGE_HEAD + length])
    if len(body) < length:
        return None
    # Field 1, a varint: 08, then the number. The number 0 is left out.
    if not body:
        return STATUSES[0]
    if len(body) == 2 and body[0] == 0x08 and body[1] < len(STATUSES):
        return STATUSES[body[1]]
    raise NoMessage("this is no health check")
