"""Spans reach the collector, and a collector that is away, slow or refuses costs calls nothing."""

import logging
import threading
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf import any_pb2, duration_pb2
from google.rpc import error_details_pb2, status_pb2
from grpc_status import rpc_status
from opentelemetry.proto.trace.v1 import trace_pb2
from pydantic import SecretStr

from sameface import __version__
from sameface.api.status import code_of
from sameface.tracing.context import TraceContext
from sameface.tracing.encoding import encoded, resource_of
from sameface.tracing.exporter import BATCH, Exporter
from sameface.tracing.options import TracesOptions
from sameface.tracing.senders import sender_of
from sameface.tracing.spans import CallSpans, Span
from sameface_qdrant.errors import InvalidArgument
from tests.access.authorities import Authority
from tests.tracing.collector import Collected, Response, attributes_of, collecting, collecting_over_http

SOON_S = 0.01


class Nobody:
    """Takes spans and keeps none."""

    def add(self, span: Span) -> None:
        """See `Sink.add`."""


def span(number: int = 1) -> Span:
    """A span that has ended; its number is its id."""
    made = Span("decode", "internal", TraceContext(5, 3, True, "a=1"), None, CallSpans(Nobody(), code_of))
    made.id, made.attributes = number, {"n": number}
    made.end_ns = made.start_ns + 7
    return made


def exporter(options: TracesOptions, most: int = 1000, pause_s: float = SOON_S) -> Exporter:
    resource = resource_of(options.attributes)
    made = Exporter(
        sender_of(options),
        lambda spans: encoded(spans, resource),
        most=most,
        where=options.endpoint,
        every_s=SOON_S,
        first_pause_s=pause_s,
    )
    made.start()
    return made


def until(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def ids(collected: Collected) -> list[int]:
    return [int.from_bytes(one.span_id, "big") for one in collected.spans]


@pytest.mark.parametrize("protocol", ["grpc", "http"])
def test_a_span_arrives_as_it_was(protocol: Any) -> None:
    serve = collecting if protocol == "grpc" else collecting_over_http
    sent = span(9)
    with serve() as collected:
        options = TracesOptions(
            f"http://{collected.address}",
            protocol,
            headers={"x-key": SecretStr("secret")},
            attributes={"deployment.environment.name": "staging", "service.name": "faces"},
        )
        exporting = exporter(options)
        exporting.add(sent)
        until(lambda: collected.spans)
        exporting.stop(5.0)
    (got,) = collected.spans
    assert (got.trace_id.hex(), got.span_id.hex(), got.parent_span_id.hex()) == (
        f"{5:032x}",
        f"{9:016x}",
        f"{3:016x}",
    )
    assert (got.name, got.kind, got.trace_state) == ("decode", trace_pb2.Span.SPAN_KIND_INTERNAL, "a=1")
    assert (got.start_time_unix_nano, got.end_time_unix_nano) == (sent.start_ns, sent.start_ns + 7)
    assert attributes_of(got) == {"n": 9}
    assert collected.metadata[0]["x-key"] == "secret"
    resource = collected.requests[0].resource_spans[0].resource
    said = {one.key: one.value.string_value for one in resource.attributes}
    assert (said["service.name"], said["service.version"]) == ("faces", __version__)
    assert said["deployment.environment.name"] == "staging"
    assert said["service.instance.id"]


def test_spans_that_wait_are_sent_once_a_collector_is_there_and_the_log_says_both_once(
    caplog: pytest.LogCaptureFixture, unused_port: int
) -> None:
    exporting = exporter(TracesOptions(f"http://127.0.0.1:{unused_port}"), most=BATCH + 100, pause_s=0.05)
    for number in range(1, BATCH + 151):
        exporting.add(span(number))
    until(lambda: "takes no spans" in caplog.text)
    time.sleep(0.2)
    assert exporting.dropped == 50
    with collecting(port=unused_port) as collected:
        until(lambda: len(collected.spans) == BATCH + 100)
        exporting.stop(5.0)
    assert ids(collected) == list(range(1, BATCH + 101))
    assert caplog.text.count("takes no spans") == 1
    assert caplog.text.count("takes spans again; 50 were dropped") == 1


def test_an_export_is_repeated_when_it_may_pass_and_left_out_when_not(caplog: pytest.LogCaptureFixture) -> None:
    retry = any_pb2.Any()
    retry.Pack(error_details_pb2.RetryInfo(retry_delay=duration_pb2.Duration(nanos=1_000_000)))
    faults = [
        status_pb2.Status(code=grpc.StatusCode.UNAVAILABLE.value[0]),
        status_pb2.Status(code=grpc.StatusCode.RESOURCE_EXHAUSTED.value[0], details=[retry]),
        status_pb2.Status(code=grpc.StatusCode.UNAUTHENTICATED.value[0], message="no key"),
    ]

    def answer(context: Any) -> Response:
        if faults:
            context.abort_with_status(rpc_status.to_status(faults.pop(0)))
        return Response()

    with collecting(answer) as collected:
        exporting = exporter(TracesOptions(f"http://{collected.address}"))
        exporting.add(span(1))
        until(lambda: not faults)
        until(lambda: exporting.dropped == 1)
        exporting.add(span(2))
        until(lambda: collected.spans)
        exporting.stop(5.0)
    assert ids(collected) == [2]
    assert caplog.text.count("takes no spans") == 1


def test_over_http_an_export_is_repeated_when_it_may_pass_and_left_out_when_not() -> None:
    statuses = [503, 429, 400]
    with collecting_over_http(lambda: statuses.pop(0) if statuses else 200) as collected:
        exporting = exporter(TracesOptions(f"http://{collected.address}", "http"))
        exporting.add(span(1))
        until(lambda: exporting.dropped == 1)
        exporting.add(span(2))
        until(lambda: collected.spans)
        exporting.stop(5.0)
    assert (ids(collected), statuses) == ([2], [])


def test_dropped_spans_are_told_once_in_a_while_though_the_collector_answers(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING)
    options = TracesOptions("http://127.0.0.1:1")
    sending = Exporter(sender_of(options), lambda spans: b"", most=2, where="collector:1")
    for dropped in (0, 3, 5):
        sending.dropped = dropped
        sending._tell_dropped()
    assert [record.getMessage() for record in caplog.records] == [
        "3 spans for the collector at collector:1 were dropped so far"
    ]
    sending._next_told = 0.0
    for _ in range(2):
        sending._tell_dropped()
    assert [record.args for record in caplog.records] == [(3, "collector:1"), (5, "collector:1")]


def test_what_a_collector_complains_of_is_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    def answer(context: Any) -> Response:
        complaint = Response()
        complaint.partial_success.rejected_spans = 1
        complaint.partial_success.error_message = "too old"
        return complaint

    with collecting(answer) as collected:
        exporting = exporter(TracesOptions(f"http://{collected.address}"))
        for number in (1, 2):
            exporting.add(span(number))
            until(partial(lambda expected: len(collected.spans) == expected, number))
        exporting.stop(5.0)
    assert caplog.text.count("1 spans rejected, too old") == 1


def test_the_last_spans_leave_at_the_stop_and_a_collector_that_hangs_does_not_delay_it(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with collecting() as collected:
        last = exporter(TracesOptions(f"http://{collected.address}"))
        for number in range(1, 4):
            last.add(span(number))
        last.stop(10.0)
        assert ids(collected) == [1, 2, 3]
    hanging, asked = threading.Event(), threading.Event()

    def answer(context: Any) -> Response:
        asked.set()
        hanging.wait(30)
        return Response()

    with collecting(answer) as collected:
        stuck = exporter(TracesOptions(f"http://{collected.address}"))
        stuck.add(span(1))
        assert asked.wait(20)
        caplog.set_level(logging.WARNING)
        stuck.stop(0.1)
        hanging.set()
    assert "1 spans were not sent" in caplog.text


def test_over_tls_each_side_shows_its_certificate(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    authority, other = Authority("ours", tmp_path), Authority("other", tmp_path)
    server, client = authority.issue("collector"), authority.issue("service")
    credentials = grpc.ssl_server_credentials(
        [(server.key.read_bytes(), server.certificate.read_bytes())], authority.path.read_bytes(), True
    )
    with collecting(credentials=credentials) as collected:
        url = f"https://{collected.address}"
        stranger = exporter(TracesOptions(url, ca=other.path, certificate=client.certificate, private_key=client.key))
        stranger.add(span(1))
        until(lambda: "takes no spans" in caplog.text)
        stranger.stop(0.0)
        known = exporter(TracesOptions(url, ca=authority.path, certificate=client.certificate, private_key=client.key))
        known.add(span(2))
        until(lambda: collected.spans)
        known.stop(5.0)
    assert ids(collected) == [2]


@pytest.mark.parametrize("protocol", ["grpc", "http"])
def test_a_file_that_cannot_be_used_is_refused(protocol: Any, tmp_path: Path) -> None:
    with pytest.raises(InvalidArgument, match="expected PEM files"):
        sender_of(TracesOptions("https://localhost", protocol, ca=tmp_path / "absent.pem"))
