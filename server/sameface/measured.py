"""The metrics of a service, from its settings and its parts."""

from collections.abc import Callable, Mapping
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING

from sameface.access.tls import check_encrypted
from sameface.api.admission import Admission
from sameface.api.system_service import ServedParts
from sameface.audit.log import AuditLog
from sameface.health.parts import PartHealth
from sameface.inference.cards import ModelCard
from sameface.inference.local.server import LocalTriton
from sameface.metrics.sweeps import Sweeps
from sameface.settings import Settings
from sameface.tracing.spans import exemplar
from sameface_qdrant.store.store import Store

if TYPE_CHECKING:
    from sameface.metrics.serving import Metrics


def metrics_of(settings: Settings, cards: tuple[ModelCard, ...], parts: AsyncExitStack) -> "Metrics | None":
    """Begin to count; None if the settings want no metrics."""
    options = settings.metrics
    if not options.listen:
        return None
    # Only here, so that a service without metrics does not load what they need.
    from sameface.metrics.observer import no_exemplar
    from sameface.metrics.serving import Metrics

    check_encrypted(options.listen, options.tls, settings.allow_plaintext, setting="metrics.listen", tls="METRICS__TLS")
    return Metrics(options, cards, parts, exemplar if settings.traces.endpoint else no_exemplar)


def start_metrics(
    metrics: "Metrics",
    settings: Settings,
    admission: Admission,
    health: Callable[[], Mapping[str, PartHealth]],
    served: ServedParts,
    store: Store,
    sweeps: Sweeps,
    local: LocalTriton | None,
    entries: AuditLog | None,
) -> None:
    """Answer scrapes from now on."""
    from sameface.access.ends import certificate_files
    from sameface.metrics.files import next_key_end
    from sameface.metrics.serving import expected_waits
    from sameface.metrics.state import Sources

    counting = metrics.count(store)
    metrics.start(
        Sources(
            admission=admission,
            expected_wait_s=expected_waits(admission),
            parts=lambda: {name: one.serving for name, one in health().items()},
            served=served,
            sweeps=sweeps,
            contents=lambda: counting.contents,
            bands=metrics.observer.bands,
            local=local,
            audit_waiting=None if entries is None else lambda: entries.waiting,
            certificates=certificate_files(settings),
            next_key_end=lambda: next_key_end(settings.keys_file),
            folders={
                **({} if settings.qdrant_url else {"data": settings.data_dir}),
                **({} if entries is None else {"audit": settings.audit_folder}),
            },
        )
    )
