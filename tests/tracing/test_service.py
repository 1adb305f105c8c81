"""A real service with a real Triton and Qdrant Edge: one trace from the client to Triton, in spans and in the log."""

import json
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import httpx
import pytest
from opentelemetry import trace
from opentelemetry.proto.trace.v1 import trace_pb2
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from sameface.client import AsyncClient, Client, ServiceError
from sameface.inference.cards import read_cards
from sameface.inference.local.process import Sockets
from sameface.inference.local.runtime import require_runtime
from sameface.inference.local.server import LocalTriton
from sameface.launcher import Service, served
from sameface.settings import cache_folder, model_repository_source
from tests.conftest import PORTRAITS
from tests.tracing.collector import Collected, attributes_of, collecting, collecting_over_http

pytestmark = pytest.mark.triton

GALLERY, PERSON, DISPLAY, LABEL = "ward-seven", "ada-1815", "Ada Lovelace", "bed-two"
REFERENCE, PROBE = PORTRAITS / "emmanuel_macron_2014.jpg", PORTRAITS / "emmanuel_macron_2025.jpg"


@dataclass(frozen=True, slots=True)
class Traced:
    """A service that traces its calls, its collector, and the collector of its Triton."""

    service: Service
    collected: Collected
    of_triton: Collected
    log: Path


@contextmanager
def _tracing_triton(endpoint: str) -> Iterator[None]:
    """Let a tritonserver that starts in the block send spans of its own."""
    flags = Sockets.flags
    more = ["mode=opentelemetry", "rate=1", "level=TIMESTAMPS", f"opentelemetry,url=http://{endpoint}/v1/traces"]
    # By default it sends after five seconds.
    more.append("opentelemetry,bsp_schedule_delay=100")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Sockets, "flags", lambda self: [*flags(self), *(f"--trace-config={one}" for one in more)])
        yield


@pytest.fixture(scope="module")
async def traced(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Traced]:
    folder, repository = tmp_path_factory.mktemp("traced"), model_repository_source()
    with collecting() as collected, collecting_over_http() as of_triton, pytest.MonkeyPatch.context() as patch:
        triton = LocalTriton(repository, require_runtime(cache_folder()), read_cards(repository))
        with _tracing_triton(of_triton.address):
            await triton.start()
        patch.setenv("SAMEFACE_TRACES__ENDPOINT", f"http://{collected.address}")
        patch.setenv("SAMEFACE_METRICS__LISTEN", "127.0.0.1:0")
        flags = [
            "--triton-url",
            triton.grpc_url,
            "--http",
            "127.0.0.1:0",
            "--log-format",
            "json",
            "--log-level",
            "debug",
        ]
        with served(folder / "data", folder / "log", flags) as service:
            with Client(service.address) as client:
                client.create_gallery(GALLERY)
                client.enroll(GALLERY, PERSON, REFERENCE, display_name=DISPLAY, labels={"place": LABEL})
            yield Traced(service, collected, of_triton, folder / "log")
        await triton.stop()


@pytest.fixture
def caller(monkeypatch: pytest.MonkeyPatch) -> tuple[Any, InMemorySpanExporter]:
    """A tracer of the program that calls, and where its spans go."""
    kept, provider = InMemorySpanExporter(), TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(kept))
    monkeypatch.setattr(trace, "get_tracer", provider.get_tracer)
    return provider.get_tracer("caller"), kept


def of_server(span: trace_pb2.Span) -> bool:
    return bool(span.kind == trace_pb2.Span.SPAN_KIND_SERVER)


def ended(spans: list[trace_pb2.Span]) -> bool:
    return any(map(of_server, spans))


def number(span_id: bytes) -> int:
    return int.from_bytes(span_id, "big")


def test_parents_lead_from_the_model_in_triton_to_the_program_that_calls(
    traced: Traced, caller: tuple[Any, InMemorySpanExporter]
) -> None:
    tracer, kept = caller
    with tracer.start_as_current_span("check in") as outer, Client(traced.service.address) as client:
        assert client.verify(GALLERY, PERSON, PROBE).matched
    of_client, _ = kept.get_finished_spans()
    spans = traced.collected.of_trace(outer.get_span_context().trace_id, ended)
    (root,) = filter(of_server, spans)
    assert (root.name, root.status.code) == ("sameface.v1.FaceService/VerifyFace", 0)
    assert attributes_of(root)["rpc.response.status_code"] == "OK"
    assert of_client.name == root.name
    assert of_client.kind is trace.SpanKind.CLIENT
    assert number(root.parent_span_id) == of_client.context.span_id
    assert of_client.parent is not None
    assert of_client.parent.span_id == outer.get_span_context().span_id

    above = {span.span_id: span for span in spans}
    roads = set()
    for span in spans:
        road = [span.name]
        while span is not root:
            span = above[span.parent_span_id]
            road.insert(0, span.name)
        roads.add("/".join(road[1:]))
    assert roads >= {
        "queue",
        "acquire/decode",
        "acquire/detect/infer face_detector",
        "acquire/quality",
        "acquire/embed/infer face_embedder",
        "decide/qdrant nearest_each",
    }
    runs = {span.span_id: span.name for span in spans if span.kind == trace_pb2.Span.SPAN_KIND_CLIENT}
    assert set(runs.values()) == {"infer face_detector", "infer face_embedder"}
    for span in spans:
        assert root.start_time_unix_nano <= span.start_time_unix_nano <= span.end_time_unix_nano


def test_spans_of_triton_are_below_the_runs_of_models(traced: Traced) -> None:
    # Several calls, because this Triton loses some of its own spans.
    with Client(traced.service.address, metadata={"traceparent": f"00-{0xB1:032x}-{0xB7:016x}-01"}) as client:
        for _ in range(3):
            assert client.verify(GALLERY, PERSON, PROBE).matched
    spans = traced.collected.of_trace(0xB1, lambda found: sum(map(of_server, found)) == 3)
    runs = {span.span_id for span in spans if span.kind == trace_pb2.Span.SPAN_KIND_CLIENT}
    in_triton = traced.of_triton.of_trace(0xB1, lambda found: any(span.parent_span_id in runs for span in found))
    own = {span.span_id for span in in_triton}
    assert {span.parent_span_id for span in in_triton} <= own | runs


async def test_a_refused_call_has_its_status_and_reason_on_both_sides(
    traced: Traced, caller: tuple[Any, InMemorySpanExporter]
) -> None:
    tracer, kept = caller
    async with AsyncClient(traced.service.address) as client:
        with tracer.start_as_current_span("check in") as outer, pytest.raises(ServiceError):
            await client.verify(GALLERY, "nobody-1816", PROBE)
    of_client, _ = kept.get_finished_spans()
    spans = traced.collected.of_trace(outer.get_span_context().trace_id, ended)
    (root,) = filter(of_server, spans)
    for said in (attributes_of(root), dict(of_client.attributes or {})):
        assert (said["rpc.response.status_code"], said["error.type"]) == ("NOT_FOUND", "IDENTITY_NOT_FOUND")
    # On the server's side the caller's mistake is no error.
    assert (root.status.code, of_client.status.status_code) == (0, trace.StatusCode.ERROR)
    assert not of_client.events


@pytest.mark.parametrize("over", ["metadata", "rest", "grpc-web"])
def test_a_trace_is_continued_however_the_call_comes(traced: Traced, over: str) -> None:
    trace_id, parent = {"metadata": 0xA1, "rest": 0xA2, "grpc-web": 0xA3}[over], 0xB7
    headers = {"traceparent": f"00-{trace_id:032x}-{parent:016x}-01", "tracestate": "vendor=1"}
    if over == "metadata":
        with Client(traced.service.address, metadata=headers) as client:
            client.get_gallery(GALLERY)
    elif over == "rest":
        httpx.get(f"http://{traced.service.http}/v1/galleries/{GALLERY}", headers=headers, trust_env=False)
    else:
        headers |= {"content-type": "application/grpc-web+proto", "x-grpc-web": "1"}
        url = f"http://{traced.service.http}/sameface.v1.GalleryService/GetGallery"
        httpx.post(url, content=bytes(5), headers=headers, trust_env=False)
    spans = traced.collected.of_trace(trace_id, ended)
    (root,) = filter(of_server, spans)
    assert (root.name, number(root.parent_span_id)) == ("sameface.v1.GalleryService/GetGallery", parent)
    assert root.trace_state == "vendor=1"


def test_a_stream_continues_the_active_span(traced: Traced, caller: tuple[Any, InMemorySpanExporter]) -> None:
    tracer, _ = caller
    with Client(traced.service.address) as client, tracer.start_as_current_span("camera") as outer:
        assert len(list(client.identify_stream(GALLERY, [PROBE, REFERENCE]))) == 2
    spans = traced.collected.of_trace(outer.get_span_context().trace_id, ended)
    (root,) = filter(of_server, spans)
    assert number(root.parent_span_id) == outer.get_span_context().span_id
    assert attributes_of(root)["sameface.answers"] == 2
    assert sum(span.name == "decide" and span.parent_span_id == root.span_id for span in spans) == 2


def test_a_metric_names_the_trace_of_a_call_as_an_example(traced: Traced) -> None:
    metadata = {"traceparent": f"00-{0xE1:032x}-{0xB7:016x}-01"}
    with Client(traced.service.address, metadata=metadata) as client:
        client.identify(GALLERY, PROBE)
    accept = {"accept": "application/openmetrics-text; version=1.0.0"}
    scraped = httpx.get(f"http://{traced.service.metrics}/metrics", headers=accept, trust_env=False).text
    examples = [line for line in scraped.splitlines() if f'trace_id="{0xE1:032x}"' in line]
    assert any(line.startswith("sameface_request_seconds_bucket") for line in examples)
    assert any('stage="decode"' in line for line in examples)


def test_each_line_of_the_log_is_an_object(traced: Traced) -> None:
    lines = [json.loads(line) for line in traced.log.read_text().splitlines()]
    assert lines
    assert {"time", "level", "logger", "message"} <= set.intersection(*(set(line) for line in lines))
    assert {line["level"] for line in lines} <= {"debug", "info", "warning", "error"}


def test_spans_and_the_log_name_nobody(traced: Traced) -> None:
    with Client(traced.service.address) as client:
        for identity in (PERSON, "nobody-1816"):
            with pytest.raises(ServiceError):
                client.verify(GALLERY, identity, b"no photo at all")
        client.identify(GALLERY, PROBE)
        client.search(GALLERY, PROBE)
        client.update_identity(GALLERY, PERSON, display_name=DISPLAY)
        with pytest.raises(ServiceError) as refused:
            client.create_gallery(GALLERY)
        assert refused.value.code is grpc.StatusCode.ALREADY_EXISTS
    seen = len(traced.collected.spans)
    with Client(traced.service.address, metadata={"traceparent": f"00-{0xD1:032x}-{0xB7:016x}-01"}) as client:
        client.get_gallery(GALLERY)
    traced.collected.of_trace(0xD1, ended)
    assert len(traced.collected.spans) > seen
    said = b"".join(request.SerializeToString() for request in traced.collected.requests)
    said += b"".join(request.SerializeToString() for request in traced.of_triton.requests)
    said += traced.log.read_bytes()
    for name in (GALLERY, PERSON, DISPLAY, LABEL, "nobody-1816", str(REFERENCE.name)):
        assert name.encode() not in said
    # No attribute is long enough for an embedding or a photo.
    longest = max(len(str(value)) for span in traced.collected.spans for value in attributes_of(span).values())
    assert longest < 80
