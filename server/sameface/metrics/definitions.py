"""Every metric that a service exports: name, meaning, labels and where their values come from.

docs/monitoring.md has this table, see tools/reference.py. No label says who: no caller, identity, template, address,
file or text of a request. The values of each label are known before the first call, so that no caller can make series.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

from sameface.health.parts import PARTS

Kind: TypeAlias = Literal["counter", "gauge", "histogram"]

OTHER = "other"
"""Takes the place of a value that is not among those of a label. There should be none."""
PREFIX = "sameface_"

RPC = "a method of the API"
REASON = "`OK`, `CANCELLED`, or a reason of [errors](errors.md)"
STAGE = "`queue`, `acquire`, `decode`, `detect`, `quality`, `embed`, `decide`, `enroll`, `audit`"
MODEL = "a model that is served"
VERSION = "its version"
LANE = "`photos`, `long` (calibrations, rekeying, migrations, deletions of galleries) or `others`"
PART = "a part that the service has: " + ", ".join(f"`{part}`" for part in PARTS)

CALLS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
STEPS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0)


@dataclass(frozen=True, slots=True)
class Metric:
    """One metric. ``name`` is without `PREFIX` and, for a counter, without ``_total``."""

    name: str
    kind: Kind
    meaning: str
    labels: Mapping[str, str] = field(default_factory=dict)
    """Label → what its values are."""
    buckets: tuple[float, ...] = ()
    """Upper bounds of a histogram, in the unit of the name."""

    @property
    def exported(self) -> str:
        """The name in queries; that of a histogram goes on with ``_bucket``, ``_sum`` or ``_count``."""
        return PREFIX + self.name + ("_total" if self.kind == "counter" else "")


OBSERVED = (
    Metric("requests", "counter", "Calls that have ended", {"rpc": RPC, "reason": REASON}),
    Metric("request_seconds", "histogram", "Time of a call, from its begin to its answer", {"rpc": RPC}, CALLS),
    Metric("stream_answers", "counter", "Answers of streams, each for one sample", {"rpc": RPC, "reason": REASON}),
    Metric("stage_seconds", "histogram", "Time of a part of a call", {"stage": STAGE}, STEPS),
    Metric(
        "inference_seconds",
        "histogram",
        "Time of one run of a model, with the wait for Triton to recover",
        {"model": MODEL, "version": VERSION},
        STEPS,
    ),
    Metric("inference_failures", "counter", "Runs of a model that failed", {"model": MODEL, "version": VERSION}),
    Metric(
        "store_request_seconds",
        "histogram",
        "Time of one request to Qdrant, embedded or server; without the probes of the service's own health checks",
        {"operation": "a request of the store's engine"},
        STEPS,
    ),
    Metric(
        "store_request_failures",
        "counter",
        "Requests to Qdrant that failed, without those probes",
        {"operation": "a request of the store's engine"},
    ),
    Metric(
        "decisions",
        "counter",
        "Decisions about samples",
        {"rpc": RPC, "outcome": "`MATCH`, `AMBIGUOUS`, `NO_MATCH`"},
    ),
    Metric(
        "acquisitions",
        "counter",
        "Photos from which one face was to be taken. All but `OK` are failures to acquire (FTA)",
        {"reason": "`OK`, or why the photo was refused: a reason of [errors](errors.md)"},
    ),
    Metric(
        "claims",
        "counter",
        "Verifications by the band of their score: `below` the lowest operating point of the model card, or from the "
        "threshold that the band is called by to the next",
        {"model": MODEL, "version": VERSION, "band": "`below`, or a threshold of the model card"},
    ),
    Metric(
        "others_compared",
        "counter",
        "Decisions in which the nearest other identity was compared too",
        {"model": MODEL, "version": VERSION},
    ),
    Metric(
        "others_above_threshold",
        "counter",
        "Of these, those in which it reached the lowest operating point of the model card",
        {"model": MODEL, "version": VERSION},
    ),
    Metric(
        "others_expected_above_threshold",
        "counter",
        "How many of these were to be expected, by the model card and the sizes of the galleries",
        {"model": MODEL, "version": VERSION},
    ),
)
"""What is counted as it happens."""

READ = (
    Metric("requests_in_flight", "gauge", "Calls and streams that have not ended"),
    Metric("streams_open", "gauge", "Open streams"),
    Metric("queue_waiting", "gauge", "Calls that wait for a turn", {"lane": LANE}),
    Metric("queue_working", "gauge", "Calls that are worked on", {"lane": LANE}),
    Metric("queue_places", "gauge", "Calls that may be worked on at a time", {"lane": LANE}),
    Metric(
        "queue_expected_wait_seconds",
        "gauge",
        "How long a call would wait that had its turn after all that wait now",
        {"lane": LANE},
    ),
    Metric(
        "admission_refusals",
        "counter",
        "Calls that were refused because the service is full",
        {"limit": "`requests`, `bytes_of_requests`, `streams`, `streams_of_this_caller`, `wait`"},
    ),
    Metric("part_up", "gauge", "1 if a part answers, else 0; see health checks", {"part": PART}),
    Metric("triton_restarts", "counter", "Restarts of the local Triton"),
    Metric("triton_reloads", "counter", "Models that the local Triton loaded again after a failure"),
    Metric("golden_check_failures", "counter", "Golden vectors that the local Triton's models did not reproduce"),
    Metric("build_info", "gauge", "1", {"version": "version of sameface"}),
    Metric(
        "model_info",
        "gauge",
        "1 for each model version that is served",
        {"model": MODEL, "version": VERSION, "runtime": "what runs it", "default": "`true` for new galleries"},
    ),
    Metric("store_info", "gauge", "1", {"engine": "`edge` or `server`", "version": "version of the engine"}),
    Metric("galleries", "gauge", "Galleries in the store"),
    Metric("identities", "gauge", "Identities in the store"),
    Metric("templates", "gauge", "Templates in the store"),
    Metric(
        "gallery_identities",
        "gauge",
        "Identities of a gallery that `metrics.galleries` names",
        {"gallery": "its id"},
    ),
    Metric(
        "migrations",
        "gauge",
        "Migrations of galleries to another model version that have not ended, by their state",
        {"state": "`mapping`, `paused`, `mapped` or `promoted`"},
    ),
    Metric("migrations_stopped", "gauge", "Migrations that are paused because something failed, such as a full disk"),
    Metric(
        "migration_templates",
        "gauge",
        "Templates of these migrations under the new contract, and those that have no form there yet",
        {"progress": "`mapped`, `native` or `left`"},
    ),
    Metric(
        "migration_estimated_end_timestamp_seconds",
        "gauge",
        "When all templates will be mapped, at the present rates; no series while nothing is being mapped",
    ),
    Metric("contents_timestamp_seconds", "gauge", "When galleries, identities and templates were counted last"),
    Metric("erasures_pending", "gauge", "Erasures whose bytes are not known to be gone yet"),
    Metric(
        "oldest_pending_erasure_timestamp_seconds", "gauge", "When the oldest of them was asked for; no series without"
    ),
    Metric("sweeps", "counter", "Sweeps of expired identities and templates", {"result": "`ok` or `failed`"}),
    Metric("sweep_erasures", "counter", "Identities and templates that sweeps have erased"),
    Metric(
        "sweep_last_success_timestamp_seconds", "gauge", "When the last sweep succeeded; the start until the first one"
    ),
    Metric("sweep_interval_seconds", "gauge", "Time between two sweeps (`sweep_s`)"),
    Metric("audit_waiting_entries", "gauge", "Entries of the audit log that are not on the disk yet"),
    Metric(
        "claims_expected_share",
        "gauge",
        "Share of each band among claims that reach the lowest operating point, by the model card",
        {"model": MODEL, "version": VERSION, "band": "a threshold of the model card"},
    ),
    Metric(
        "certificate_expiry_timestamp_seconds",
        "gauge",
        "When a certificate ends; of a file with several, the first end; 0 if it cannot be read",
        {"use": "the variable of the setting that names the file, such as `SAMEFACE_TLS__CERTIFICATE`"},
    ),
    Metric(
        "api_key_expiry_timestamp_seconds",
        "gauge",
        "When the next API key ends, or ended within 7 days and is not revoked; no series without one",
    ),
    Metric(
        "disk_readable",
        "gauge",
        "Whether the folder where files are written can be asked for its space: 1 or 0",
        {"use": "`data`, `audit`"},
    ),
    Metric(
        "disk_free_bytes", "gauge", "Free space there; no series while it cannot be asked", {"use": "`data`, `audit`"}
    ),
    Metric("disk_size_bytes", "gauge", "Size of that file system; as with the free space", {"use": "`data`, `audit`"}),
)
"""What is read at a scrape."""

METRICS = (*OBSERVED, *READ)
