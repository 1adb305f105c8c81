"""What is read at a scrape: the state of the service at this moment. It reads numbers that are there, and waits for
nothing.
"""

import logging
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.metrics_core import Metric as Family
from prometheus_client.registry import Collector

from sameface import __version__
from sameface.api.admission import LIMITED, Admission
from sameface.api.system_service import ServedParts
from sameface.inference.embedders import is_default
from sameface.inference.local.server import LocalTriton
from sameface.metrics.bands import Bands
from sameface.metrics.contents import Contents
from sameface.metrics.definitions import PREFIX, READ
from sameface.metrics.files import first_end, space
from sameface.metrics.sweeps import Sweeps

log = logging.getLogger(__name__)

Sample = tuple[str, tuple[str, ...], float]
"""Name of the metric, values of its labels, value."""
FILES_S = 60.0
"""Files are looked at so often."""


@dataclass(frozen=True, slots=True)
class Sources:
    """Where the state is read."""

    admission: Admission
    expected_wait_s: Callable[[], Mapping[str, float]]
    """How long a call would wait that had its turn after all others, by lane."""
    parts: Callable[[], Mapping[str, bool]]
    """Whether each part answers."""
    served: ServedParts
    sweeps: Sweeps
    contents: Callable[[], Contents | None]
    bands: Mapping[tuple[str, str], Bands]
    local: LocalTriton | None = None
    audit_waiting: Callable[[], int] | None = None
    certificates: Mapping[str, Path] = field(default_factory=dict)
    next_key_end: Callable[[], float | None] = lambda: None
    folders: Mapping[str, Path] = field(default_factory=dict)


class State(Collector):
    """Yields the metrics of `definitions.READ`."""

    def __init__(self, sources: Sources) -> None:
        self._sources = sources
        self._files: tuple[float, tuple[Sample, ...]] = (float("-inf"), ())

    def collect(self) -> Iterator[Family]:
        """Yield every metric, those without a series too."""
        families = {
            one.name: (CounterMetricFamily if one.kind == "counter" else GaugeMetricFamily)(
                PREFIX + one.name, one.meaning, labels=list(one.labels)
            )
            for one in READ
        }
        for name, labels, value in self._samples():
            families[name].add_metric(list(labels), value)
        yield from families.values()

    def describe(self) -> Iterable[Family]:
        """Return nothing: the registry need not read the state to know the names."""
        return ()

    def _samples(self) -> Iterator[Sample]:
        yield from load_samples(self._sources.admission, self._sources.expected_wait_s())
        yield from part_samples(self._sources)
        yield from store_samples(self._sources.contents(), self._sources.sweeps)
        yield from (
            ("claims_expected_share", (*key, name), share)
            for key, bands in self._sources.bands.items()
            for name, share in zip(bands.names, bands.expected, strict=True)
        )
        read, samples = self._files
        if time.monotonic() - read > FILES_S:
            try:
                samples = tuple(file_samples(self._sources))
            except Exception:
                # What is read of files must not take the other metrics away.
                log.exception("what metrics say of files cannot be read")
                samples = ()
            self._files = time.monotonic(), samples
        yield from samples


def load_samples(admission: Admission, expected_wait_s: Mapping[str, float]) -> Iterator[Sample]:
    """Yield what the service works on, and what waits."""
    yield "requests_in_flight", (), admission.in_flight
    yield "streams_open", (), admission.open_streams
    lanes = {"photos": admission.photos, "long": admission.long, "others": admission.others}
    for name, lane in lanes.items():
        yield "queue_waiting", (name,), lane.waiting
        yield "queue_working", (name,), lane.working
        yield "queue_places", (name,), lane.at_once
    for name, wait_s in expected_wait_s.items():
        yield "queue_expected_wait_seconds", (name,), wait_s
    for limit in LIMITED:
        yield "admission_refusals", (limit.replace(" ", "_"),), admission.refused[limit]
    yield "admission_refusals", ("wait",), sum(lane.refused for lane in lanes.values())


def part_samples(sources: Sources) -> Iterator[Sample]:
    """Yield which parts there are, and whether they answer."""
    served = sources.served
    for part, up in sources.parts().items():
        yield "part_up", (part,), up
    if sources.local is not None:
        happened = sources.local.happened
        yield "triton_restarts", (), happened["restart"]
        yield "triton_reloads", (), happened["reload"]
        yield "golden_check_failures", (), happened["failed check"]
    yield "build_info", (__version__,), 1
    for card in served.cards:
        default = is_default(card, served.cards, served.default_embedder.version)
        runtime = served.model_runtime(card)
        yield "model_info", (card.model, str(card.version), runtime, str(default).lower()), 1
    yield "store_info", (served.engine.kind, served.engine.version), 1
    if sources.audit_waiting is not None:
        yield "audit_waiting_entries", (), sources.audit_waiting()


def store_samples(contents: Contents | None, sweeps: Sweeps) -> Iterator[Sample]:
    """Yield what is in the store, as it was counted last, and what became of the sweeps."""
    if contents is not None:
        yield "galleries", (), contents.galleries
        yield "identities", (), contents.identities
        yield "templates", (), contents.templates
        yield "contents_timestamp_seconds", (), contents.time
        yield "erasures_pending", (), contents.pending
        if contents.oldest_pending is not None:
            yield "oldest_pending_erasure_timestamp_seconds", (), contents.oldest_pending
        yield from (("migrations", (state.lower(),), count) for state, count in contents.migrating.states.items())
        yield "migrations_stopped", (), contents.migrating.stopped
        yield from (("migration_templates", (how,), count) for how, count in contents.migrating.templates.items())
        if contents.migrating.estimated_end is not None:
            yield "migration_estimated_end_timestamp_seconds", (), contents.migrating.estimated_end
        for gallery, identities in contents.sizes.items():
            yield "gallery_identities", (gallery,), identities
    for result, count in sweeps.results.items():
        yield "sweeps", (result,), count
    yield "sweep_erasures", (), sweeps.erased
    yield "sweep_last_success_timestamp_seconds", (), sweeps.last_success
    yield "sweep_interval_seconds", (), sweeps.interval_s


def file_samples(sources: Sources) -> Iterator[Sample]:
    """Yield when certificates and keys end, and how much space is left."""
    for use, path in sources.certificates.items():
        yield "certificate_expiry_timestamp_seconds", (use,), first_end(path)
    if (end := sources.next_key_end()) is not None:
        yield "api_key_expiry_timestamp_seconds", (), end
    for use, free, size in space(sources.folders):
        yield "disk_readable", (use,), float(free is not None)
        if free is not None and size is not None:
            yield "disk_free_bytes", (use,), free
            yield "disk_size_bytes", (use,), size
