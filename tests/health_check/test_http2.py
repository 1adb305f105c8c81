"""The frames of a health check, held against the libraries h2 and gRPC."""

import asyncio
import itertools
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc
import h2.config
import h2.connection
import h2.events
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_health.v1.health import HealthServicer
from hypothesis import given, settings
from hypothesis import strategies as st

from sameface.api import health as api
from sameface.cli.health import ask_parts
from sameface.health.parts import AWAY as AWAY_KEY
from sameface.health.parts import PARTS, PartHealth
from sameface.health_check.check import check
from sameface.health_check.http2 import (
    AWAY,
    DATA,
    END_HEADERS,
    END_STREAM,
    HEADERS,
    STATUSES,
    Answer,
    NoMessage,
    frame,
    request,
)

Status = health_pb2.HealthCheckResponse.ServingStatus


def served(asked: bytes) -> tuple[h2.connection.H2Connection, list[Any]]:
    server = h2.connection.H2Connection(h2.config.H2Configuration(client_side=False, header_encoding="utf-8"))
    server.initiate_connection()
    return server, server.receive_data(asked)


def answer_with(body: bytes) -> bytes:
    """What a server of another library sends: its settings, a ping, and the message in two frames."""
    server, _ = served(request("127.0.0.1:50051", 3000, encrypted=False))
    server.ping(b"sameface")
    server.send_headers(1, [(":status", "200"), ("content-type", "application/grpc")])
    message = b"\0" + len(body).to_bytes(4, "big") + body
    server.send_data(1, message[:3])
    server.send_data(1, message[3:], pad_length=7)
    server.send_headers(1, [("grpc-status", "0")], end_stream=True)
    return server.data_to_send()


@pytest.mark.parametrize("authority", ["127.0.0.1:50051", f"{'long.' * 60}example:1"])
def test_another_library_reads_the_request(authority: str) -> None:
    _, events = served(request(authority, 2500, encrypted=True))
    (headers,) = (event.headers for event in events if isinstance(event, h2.events.RequestReceived))
    (data,) = (event.data for event in events if isinstance(event, h2.events.DataReceived))
    assert {str(name): str(value) for name, value in headers} == {
        ":method": "POST",
        ":scheme": "https",
        ":path": "/grpc.health.v1.Health/Check",
        ":authority": authority,
        "te": "trailers",
        "content-type": "application/grpc",
        "user-agent": "sameface-health",
        "grpc-timeout": "2500m",
    }
    assert data == bytes(5)
    assert any(isinstance(event, h2.events.StreamEnded) for event in events)


@settings(max_examples=25, deadline=None)
@given(status=st.sampled_from(STATUSES), cuts=st.lists(st.integers(0, 140), max_size=6))
def test_an_answer_in_any_pieces_is_read(status: str, cuts: list[int]) -> None:
    body = health_pb2.HealthCheckResponse(status=Status.Value(status)).SerializeToString()
    whole = answer_with(body)
    edges = [0, *sorted(min(cut, len(whole)) for cut in cuts), len(whole)]
    answer, reply = Answer(), b""
    for begin, end in itertools.pairwise(edges):
        found, more = answer.read(whole[begin:end])
        reply += more
        if found:
            break
    assert found == status
    # Settings and pings are acknowledged where they came in an earlier piece than the message.
    assert reply in (b"", frame(4, 1, 0), frame(4, 1, 0) + frame(6, 1, 0, b"sameface"))


def test_the_numbers_of_the_statuses_are_those_of_the_contract() -> None:
    assert {name: number for number, name in enumerate(STATUSES)} == dict(Status.items())


@pytest.mark.parametrize(
    "received",
    [
        b"HTTP/1.1 400 Bad Request\r\n\r\n",
        frame(7, 0, 0, bytes(8)),
        frame(3, 0, 1, bytes(4)),
        frame(1, 5, 1, b""),
        frame(0, 1, 1, b""),
        frame(0, 0, 1, b"\1\0\0\0\2\x08\1"),
        frame(0, 0, 1, b"\0\0\1\0\0"),
        frame(0, 0, 1, b"\0\0\0\0\2\x08\x09"),
        frame(0, 0, 1, b"\0\0\0\0\3abc"),
    ],
)
def test_what_is_no_health_check_is_left_to_the_command(received: bytes) -> None:
    with pytest.raises(NoMessage):
        Answer().read(received)


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=60))
def test_bytes_of_any_kind_end_in_no_other_way(received: bytes) -> None:
    try:
        status, _ = Answer().read(received)
    except NoMessage:
        return
    assert status is None or status in STATUSES


@pytest.mark.parametrize("status", STATUSES[:3])
def test_a_real_server_is_asked(status: str, capsys: pytest.CaptureFixture[str]) -> None:
    server = grpc.server(ThreadPoolExecutor(1))
    answers = HealthServicer()
    answers.set("", Status.Value(status))
    health_pb2_grpc.add_HealthServicer_to_server(answers, server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    code = check(["--address", f"127.0.0.1:{port}"], {})
    server.stop(None).wait()
    assert (code, capsys.readouterr().out) == (0 if status == "SERVING" else 3, f"{status}\n")


SINCE = 1796076304.76
KNOWN: list[dict[str, PartHealth]] = [
    {},
    {"writes": PartHealth(True, SINCE)},
    {"writes": PartHealth(False, SINCE, "STORE_FULL")},
    {"http": PartHealth(False, SINCE, "RUNTIME_MISSING"), "writes": PartHealth(False, SINCE, "STORE_FULL")},
    {"models": PartHealth(False, SINCE, "MODEL_UNAVAILABLE"), "audit": PartHealth(True, SINCE)},
    {name: PartHealth(False, SINCE, "NO_ANSWER") for name in PARTS},
]
"""What a service knows of its parts."""


async def test_it_prints_what_the_command_itself_prints_or_leaves_it_to_it(capsys: pytest.CaptureFixture[str]) -> None:
    assert AWAY_KEY.encode() == AWAY
    parts: dict[str, PartHealth] = {}
    servicer = api.HealthServicer(lambda: parts)
    server = grpc.aio.server()
    health_pb2_grpc.add_HealthServicer_to_server(servicer, server)
    address = f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
    await server.start()

    async def compared() -> tuple[str, list[str]]:
        status, missing = await asyncio.to_thread(ask_parts, address, 3.0)
        code = await asyncio.to_thread(check, ["--address", address], {})
        printed = capsys.readouterr().out
        if missing:
            # A line for each of these is due: only the command itself reads them.
            assert (code, printed) == (None, "")
        else:
            assert (code, printed) == (0 if status == "SERVING" else 3, f"{status}\n")
        return status, [one.partition(" ")[0] for one in missing]

    seen = []
    for known in KNOWN:
        parts.clear()
        parts.update(known)
        seen.append(await compared())
        assert sorted(seen[-1][1]) == sorted(name for name, part in known.items() if not part.serving)
    assert {status for status, missing in seen if missing} == {"SERVING", "NOT_SERVING"}
    parts.clear()
    servicer.stop_serving()
    assert await compared() == ("NOT_SERVING", [])
    await server.stop(None)


def test_trailers_that_continue_in_another_frame_are_left_to_the_command() -> None:
    message = frame(DATA, 0, 1, b"\0\0\0\0\2\x08\1")
    assert Answer().read(message + frame(HEADERS, END_STREAM | END_HEADERS, 1))[0] == "SERVING"
    with pytest.raises(NoMessage):
        Answer().read(message + frame(HEADERS, END_STREAM, 1))
