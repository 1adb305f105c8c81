"""Which parts of a service are watched, and how."""

from collections.abc import Sequence
from contextlib import AsyncExitStack

from sameface.access.access import Access
from sameface.audit.recorder import Recorder
from sameface.health.parts import ACCESS, AUDIT, ISSUERS, MODELS, STORE, WRITES
from sameface.health.probes import CANARY_TIMEOUT_S, RemoteTriton, told_by
from sameface.health.watch import PartsWatch, Watched
from sameface.inference.base import Inference
from sameface.inference.cards import ModelCard
from sameface.inference.local.server import LocalTriton
from sameface.inference.triton import READY_S, RESOLVE_AGAIN_S, TritonInference
from sameface.observation.parts import unobserved
from sameface.settings import Settings
from sameface_qdrant.store.store import Store

LOOK_S, WRITES_S, ISSUERS_S = 1.0, 5.0, 10.0
"""Seconds between probes; writes and issuers are asked less often."""
DISK_S = 5.0
"""A look at a folder takes no longer, unless its disk hangs."""
MORE_S = 1.0


def watched_parts(
    settings: Settings,
    local: LocalTriton | None,
    inference: Inference,
    cards: Sequence[ModelCard],
    store: Store,
    access: Access,
    recorder: Recorder | None,
    parts: AsyncExitStack,
) -> PartsWatch:
    """Start to watch the parts of a service; ``parts`` ends it. All of them serve at the moment."""
    watch = PartsWatch()
    if local is not None:
        told = watch.follow(MODELS)
        local.on_state_change = lambda serving: told(serving, "MODEL_UNAVAILABLE")
    elif isinstance(inference, TritonInference):
        # A client of its own, which repeats nothing, so that failures are noticed at once.
        client = TritonInference(
            settings.triton_url,
            timeout_s=CANARY_TIMEOUT_S,
            recovery_s=0.0,
            resolve_again_s=RESOLVE_AGAIN_S,
            tls=settings.triton_tls,
        )
        parts.push_async_callback(client.aclose)
        remote = RemoteTriton(cards, client, lambda: inference.answered)
        watch.add(Watched(MODELS, remote.probe, LOOK_S, READY_S + CANARY_TIMEOUT_S + MORE_S))
    # The client of a server repeats a call itself, so one failure is enough.
    answer_s, needed = (settings.qdrant.timeout_s + MORE_S, 1) if settings.qdrant_url else (DISK_S, 2)
    watch.add(Watched(STORE, unobserved(store.check_reads), LOOK_S, answer_s, needed))
    watch.add(Watched(WRITES, unobserved(store.check_writes), WRITES_S, answer_s, needed))
    if access.required:
        watch.add(Watched(ACCESS, told_by(access.check_files), LOOK_S, DISK_S))
        if settings.access.issuers:
            watch.add(Watched(ISSUERS, access.check_issuers, ISSUERS_S, DISK_S + MORE_S))
    if recorder is not None:
        watch.add(Watched(AUDIT, told_by(recorder.check), LOOK_S, DISK_S, failures_needed=1))
    parts.push_async_callback(watch.aclose)
    return watch
