"""The composition root: opens every part that the settings name, serves, and closes everything at the end."""

import asyncio
import functools
import logging
import os
import signal
import threading
import time
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import TypeVar

from sameface import __version__
from sameface.access.access import Access
from sameface.access.tls import check_encrypted
from sameface.api.admission import Limits
from sameface.api.server import METHODS, SERVICES, ApiServer, start_server, warn_if_open
from sameface.api.status import code_of
from sameface.api.system_service import ServedParts
from sameface.audit.log import AuditLog
from sameface.audit.recorder import Recorder
from sameface.errors import ModelUnavailable
from sameface.health.parts import HTTP
from sameface.health.watch import Watched
from sameface.http.config import Bounds
from sameface.http.server import HttpServer
from sameface.inference.base import Inference
from sameface.inference.cards import EMBEDDER, ModelCard, read_all_cards
from sameface.inference.check import check_digests, check_models
from sameface.inference.defaults import check_served, chosen_version, restricted_default
from sameface.inference.embedders import is_default, served_models
from sameface.inference.local.runtime import require_runtime
from sameface.inference.local.server import LocalTriton
from sameface.inference.map_cards import maps_of
from sameface.inference.onnx import OnnxInference
from sameface.inference.triton import RESOLVE_AGAIN_S, TritonInference
from sameface.listening import check_free
from sameface.malloc_arenas import keep_giving_back
from sameface.measured import metrics_of, start_metrics
from sameface.metrics.sweeps import Sweeps
from sameface.observation.parts import observed_engine, observed_inference, observed_threads
from sameface.observation.stages import observing
from sameface.pipeline.detector import DetectorSettings
from sameface.pipeline.operations import FaceOperations
from sameface.pipeline.photos import PhotoPipeline
from sameface.settings import Settings, available_cpus, model_repository_source
from sameface.stopping import still_working, unless_stopped
from sameface.tracing.spans import outgoing
from sameface.tracing.start import start_tracing
from sameface.watched_parts import watched_parts
from sameface_qdrant.errors import StoreUnavailable
from sameface_qdrant.store.store import Store

log = logging.getLogger(__name__)

Result = TypeVar("Result")

PAUSE_S = 1.0
REMOTE_AT_ONCE = 16
"""Requests that are worked on at a time at least where the models run on other machines."""
END_S = 10.0
"""Seconds after a second signal in which the parts may close."""


@dataclass(frozen=True, slots=True)
class Started:
    """Description of a ready service."""

    address: str
    parts: ServedParts
    store_location: str
    triton_url: str
    seconds: float
    http: str = ""
    """Address of HTTP; empty without."""
    metrics: str = ""
    """Address of the metrics; empty without."""

    def line(self) -> str:
        """Return the start-up line: what is served where."""
        where = f"{self.parts.runtime} {self.parts.runtime_version}"
        if self.triton_url:
            where += f" at {self.triton_url}"
        models = ", ".join(
            f"{card.model} v{card.version}"
            + (" in OpenVINO" if self.parts.model_runtime(card) == "openvino" else "")
            + (" (default)" if is_default(card, self.parts.cards, self.parts.default_embedder.version) else "")
            for card in self.parts.cards
        )
        engine = self.parts.engine
        address = f"{self.address} and HTTP on {self.http}" if self.http else self.address
        address += f", metrics on {self.metrics}," if self.metrics else ""
        return (
            f"sameface {__version__} serves on {address} after {self.seconds:.1f} s | models: {models} on {where} "
            f"| templates: Qdrant {engine.kind} {engine.version} in {self.store_location}"
        )


async def run_service(settings: Settings, on_ready: Callable[[Started], None]) -> None:
    """Serve until SIGTERM or SIGINT, then drain and close.

    A second signal ends the wait. If work goes on in a thread, which nobody can end, the process ends without it, with
    128 and the signal's number; also if the parts do not close within `END_S`. Whatever was acknowledged is stored.

    Raises:
        SamefaceError: a part cannot be started, or gRPC's server has ended unasked. Nothing is left running.
    """
    began = time.monotonic()
    stopping, aborting, status = asyncio.Event(), asyncio.Event(), 0

    def stop(number: int) -> None:
        nonlocal status
        if stopping.is_set() and not aborting.is_set():
            status = 128 + number
            aborting.set()
            ending = threading.Timer(END_S, os._exit, [status])
            ending.daemon = True
            ending.start()
        stopping.set()

    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop, number)

    async with AsyncExitStack() as parts:
        opened = await unless_stopped(stopping, _open(settings, parts, began, aborting))
        if opened is not None:
            api, started = opened
            on_ready(started)
            await unless_stopped(stopping, api.until_ended())
            log.info("stopping: no new requests")
            await api.drain(settings.drain_s, aborting)
    if aborting.is_set() and await still_working():
        log.warning("ended without waiting for photos that are still decoded")
        logging.shutdown()
        os._exit(status)  # otherwise the interpreter waits for the threads
    log.info("stopped")


async def _open(
    settings: Settings, parts: AsyncExitStack, began: float, aborting: asyncio.Event
) -> tuple[ApiServer, Started]:
    # First, because all that follows takes seconds. Somebody else may still be faster.
    await asyncio.to_thread(check_free, settings.listen)
    models = served_models(
        read_all_cards(settings.model_repository), settings.embedder_runtime, settings.embedder_versions
    )
    default = chosen_version(settings.embedder_version, settings.model_repository, model_repository_source())
    default_card = check_served(default, models.cards)
    maps = maps_of(settings.model_repository, models.cards)
    await _trace(settings, parts)
    http = _http(settings, parts)
    # Before the parts that it observes.
    metrics = metrics_of(settings, models.cards, parts)
    # Before the store, so that it is closed after the last write to the store has its entry.
    entries = recorder = None
    if settings.audit.enabled:
        entries = AuditLog(settings.audit_folder, settings.audit)
        recorder = Recorder(entries)
        parts.push_async_callback(asyncio.to_thread, recorder.close)
    # One deadline for both: they usually start together with this service.
    deadline = began + settings.startup_s
    store = await open_store(settings, deadline)
    parts.push_async_callback(store.aclose)
    store.use_quotas(settings.quotas)
    if recorder is not None:
        store.migrations.observe(recorder.migrated)
    inference, local = await _open_inference(settings, models.run, parts)
    if local is None:  # the start of a local Triton includes the check of its models
        if settings.triton_url:
            await until_available("Triton", lambda: check_models(inference, models.run), deadline)
        else:
            await check_models(inference, models.run)
    threads = observed_threads(settings.vision_threads, "vision")
    parts.callback(lambda: threads.shutdown(wait=not aborting.is_set(), cancel_futures=True))

    operations = FaceOperations(
        photos=PhotoPipeline(
            inference=observed_inference(inference),
            image_limits=settings.image,
            quality_limits=settings.quality,
            detector=DetectorSettings(settings.detector_side, settings.detector_threshold),
            threads=threads,
            embedders=models.folders,
            large_photos=asyncio.Semaphore(max(1, settings.vision_threads // 2)),
        ),
        store=store,
        cards=models.cards,
        default_embedder=default.version,
        default_selection=settings.face_selection,
        max_faces=settings.max_faces,
        max_faces_detected=settings.max_faces_detected,
        maps=maps,
    )
    operations.attack_detection.detector()  # raises if it could not be used
    log.info("new galleries are bound to %s version %d, by %s", EMBEDDER, default.version, default.where)
    if warning := restricted_default(default, default_card):
        log.warning("%s", warning)
    served = ServedParts(
        runtime="triton" if settings.inference == "triton" else "onnxruntime",
        runtime_version=await inference.server_version(),
        metrics_url=f"unix:{local.metrics}" if local else "",
        engine=store.description,
        cards=models.cards,
        default_embedder=default,
        embedders=models.folders,
        maps=maps,
    )
    sweeps = Sweeps(settings.sweep_s)
    sweeping = asyncio.create_task(_sweep(store, sweeps, recorder))
    parts.callback(sweeping.cancel)
    parts.callback(asyncio.create_task(keep_giving_back()).cancel)
    access = Access(settings.access, settings.keys_file)
    await access.start()
    parts.push_async_callback(access.aclose)
    check_encrypted(settings.listen, settings.tls, settings.allow_plaintext)
    watch = watched_parts(settings, local, inference, models.run, store, access, recorder, parts)
    api = await start_server(
        settings.listen,
        parts_health=watch.health,
        access=access,
        recorder=recorder,
        rates=settings.rates,
        tls=settings.tls,
        reflect=settings.reflection,
        server_info=settings.server_info,
        operations=operations,
        parts=served,
        limits=_limits(settings),
        max_message_bytes=settings.max_message_bytes,
        http_socket=http.socket if http else None,
    )
    parts.push_async_callback(api.drain, 0.0)
    if http:
        await http.start()
        watch.add(Watched(HTTP, http.check, every_s=1.0, timeout_s=3.0))
    if metrics:
        start_metrics(metrics, settings, api.admission, watch.health, served, store, sweeps, local, entries)
    if local:
        local.photos_in_work = lambda: api.admission.photos.working
    host = settings.listen.rpartition(":")[0]
    return api, Started(
        address=f"{host}:{api.port}",
        parts=served,
        store_location=store.description.location,
        triton_url=local.grpc_url if local else settings.triton_url,
        seconds=time.monotonic() - began,
        http=http.address if http else "",
        metrics=metrics.address if metrics else "",
    )


async def _trace(settings: Settings, parts: AsyncExitStack) -> None:
    """Observe the calls, if the settings want traces. The last spans leave once everything else has ended."""
    if not settings.traces.endpoint:
        return
    tracer, exporter = start_tracing(
        settings.traces, methods=METHODS, code_of=code_of, on_triton=settings.inference == "triton"
    )
    parts.push_async_callback(asyncio.to_thread, exporter.stop, settings.traces.flush_s)
    parts.enter_context(observing(tracer))


def _http(settings: Settings, parts: AsyncExitStack) -> HttpServer | None:
    """Prepare HTTP; None if the settings want none. It ends after gRPC, when no more answers come."""
    options = settings.http
    if not options.listen:
        return None
    tls = options.tls_beside(settings.tls)
    check_encrypted(options.listen, tls, settings.allow_plaintext, setting="http.listen")
    http = HttpServer(
        options,
        grpc_tls=settings.tls,
        bounds=Bounds(settings.arrive_s, settings.max_calls_per_connection),
        services=SERVICES,
        threads=available_cpus(),
    )
    parts.push_async_callback(http.stop)
    warn_if_open(options.listen, settings.access.required)
    return http


def _limits(settings: Settings) -> Limits:
    return Limits(
        requests=settings.max_requests,
        request_bytes=settings.max_request_bytes,
        streams=settings.max_streams,
        stream_idle_s=settings.stream_idle_s,
        streams_per_caller=settings.max_streams_per_caller,
        calls_per_connection=settings.max_calls_per_connection,
        arriving_bytes=settings.max_arriving_bytes,
        arrive_s=settings.arrive_s,
        unread_bytes=settings.max_unread_bytes,
        unread_s=settings.unread_s,
        at_once=_working_at_once(settings),
        wait_s=settings.max_wait_s,
    )


def _working_at_once(settings: Settings) -> int:
    """Return how many requests are worked on at a time: more would only take the processor from each other."""
    if settings.max_working is not None:
        return settings.max_working
    at_once = max(2, 2 * available_cpus())
    return max(at_once, REMOTE_AT_ONCE) if settings.triton_url else at_once


async def _sweep(store: Store, sweeps: Sweeps, recorder: Recorder | None) -> None:
    every_s = sweeps.interval_s
    while True:
        if recorder is not None:
            try:
                if gone := await recorder.forget_the_gone(store):
                    log.info("the audit log forgot %d people who are gone from the store", gone)
            except Exception:
                log.exception("people who are gone could not be forgotten; the next attempt is in %g s", every_s)
        await asyncio.sleep(every_s)
        try:
            receipts = await store.sweep()
            sweeps.succeeded(len(receipts))
            if receipts:
                if recorder is not None:
                    recorder.erased(receipts)
                log.info("a sweep erased what had expired; receipts: %d", len(receipts))
        except Exception:
            sweeps.failed()
            # Not urgent: comparisons ignore expired templates anyway.
            log.exception("the sweep of expired templates failed; the next one is in %g s", every_s)


async def _open_inference(
    settings: Settings, cards: tuple[ModelCard, ...], parts: AsyncExitStack
) -> tuple[Inference, LocalTriton | None]:
    if settings.inference == "onnx":
        check_digests(settings.model_repository, cards)
        in_process = OnnxInference(settings.model_repository)
        parts.push_async_callback(in_process.aclose)
        return in_process, None
    local = None
    if not settings.triton_url:
        check_digests(settings.model_repository, cards)
        local = LocalTriton(settings.model_repository, require_runtime(settings.cache_dir), cards, available_cpus())
        parts.push_async_callback(local.stop)
        await local.start()
    timeout_s, recovery_s = settings.triton_timeout_s, settings.triton_recovery_s
    metadata = outgoing if settings.traces.endpoint else None
    inference = (
        local.client(timeout_s=timeout_s, recovery_s=recovery_s, metadata=metadata)
        if local
        else TritonInference(
            settings.triton_url,
            timeout_s=timeout_s,
            recovery_s=recovery_s,
            resolve_again_s=RESOLVE_AGAIN_S,
            tls=settings.triton_tls,
            metadata=metadata,
        )
    )
    parts.push_async_callback(inference.aclose)
    return inference, local


async def open_store(settings: Settings, deadline: float) -> Store:
    """Open the store. Ask a Qdrant server that does not answer yet again until ``deadline`` (monotonic seconds).

    Raises:
        StoreUnavailable: the server did not answer in time, or the folder of the embedded store is not writable.
        ProtectionKeyRefused: a key of a protected gallery is missing, or is another one.
    """
    api_key = settings.qdrant_api_key.get_secret_value() or None
    keys = settings.protection.opened()
    opening = functools.partial(
        Store.open,
        settings.store_url,
        api_key=api_key,
        options=settings.qdrant,
        edge=settings.edge,
        keys=keys,
        protects_new=keys is not None and settings.protection.new_galleries,
        around=observed_engine,
    )
    if not settings.qdrant_url:
        return await opening()
    return await until_available("Qdrant", opening, deadline)


async def until_available(what: str, ask: Callable[[], Awaitable[Result]], deadline: float) -> Result:
    """Call ``ask`` until a remote part is available, or until ``deadline`` (monotonic seconds).

    A part whose error names no time to wait is not asked again: it refuses a key or a certificate, or only one side
    uses TLS.

    Raises:
        ModelUnavailable, StoreUnavailable: the last error, if the part is not available in time.
    """
    while True:
        try:
            return await ask()
        except (ModelUnavailable, StoreUnavailable) as error:
            if error.retry_after_s is None:
                raise
            left = deadline - time.monotonic()
            if left <= 0:
                late = f"{error.message}; gave up after the time that SAMEFACE_STARTUP_S allows for a start"
                raise type(error)(late, metadata=error.metadata) from error
            log.warning("waiting for %s: %s", what, error.message)
            await asyncio.sleep(min(error.retry_after_s or PAUSE_S, left))
