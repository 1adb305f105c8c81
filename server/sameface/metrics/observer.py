"""Counts calls, stages and decisions as they happen. Every label has a fixed set of values, see `definitions`."""

import time
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Any, TypeAlias

from prometheus_client import CollectorRegistry, Counter, Histogram, disable_created_metrics

from sameface.access.roles import RULES
from sameface.api.status import ERRORS, FAULTS_OF_SERVICE
from sameface.inference.cards import ModelCard
from sameface.metrics.bands import BELOW, Bands, bands_of
from sameface.metrics.definitions import OBSERVED, OTHER, PREFIX, Metric
from sameface.observation.calls import CANCELLED
from sameface.observation.observers import STAGE_NAMES, Details, End, Metadata, StageName
from sameface.observation.parts import OPERATIONS
from sameface_qdrant.errors import SamefaceError
from sameface_qdrant.values.contract import Contract
from sameface_qdrant.values.decision import Decision, Outcome

Exemplar: TypeAlias = Callable[[], Mapping[str, str] | None]

OK = "OK"
REASONS = (OK, CANCELLED, *ERRORS)
ALERTING = (OK, "SERVER_BUSY", *FAULTS_OF_SERVICE)
"""Reasons on which alerts depend. Their series begin with 0, because a rate does not see what a series begins with."""
NOT_ACQUIRED = (
    "IMAGE_UNDECODABLE",
    "IMAGE_TOO_LARGE",
    "FACE_NOT_FOUND",
    "MULTIPLE_FACES",
    "FACE_TOO_SMALL",
    "QUALITY_TOO_LOW",
    "EXTREME_POSE",
    "PRESENTATION_ATTACK_SUSPECTED",
)
"""Reasons with which a photo is refused. Other errors say nothing about it."""
STREAMS = ("StreamIdentifyFaces",)
CLAIM = "VerifyFace"


def no_exemplar() -> None:
    """Return no exemplar: there are no traces."""


class Series:
    """The series of one metric. There are never more than the combinations of values that it was made with, and one."""

    def __init__(
        self,
        metric: Metric,
        registry: CollectorRegistry,
        values: Iterable[tuple[str, ...]],
        later: Iterable[tuple[str, ...]] = (),
    ) -> None:
        """Make the series of ``values`` at once, so that they begin with 0, and those of ``later`` when they come.

        Both are combinations of the values of the metric's labels, in their order.
        """
        name, labels = PREFIX + metric.name, list(metric.labels)
        self._made: Any = (
            Histogram(name, metric.meaning, labels, buckets=metric.buckets, registry=registry)
            if metric.kind == "histogram"
            else Counter(name, metric.meaning, labels, registry=registry)
        )
        self._of = {one: self._made.labels(*one) for one in values}
        self._later = frozenset(later)
        self._other = tuple(OTHER for _ in labels)

    def __getitem__(self, values: tuple[str, ...]) -> Any:
        if (found := self._of.get(values)) is None:
            known = values if values in self._later else self._other
            found = self._of[known] = self._made.labels(*known)
        return found


class MetricsObserver:
    """Implements `sameface.observation.observers.Observer`."""

    def __init__(
        self, registry: CollectorRegistry, cards: Iterable[ModelCard], exemplar: Exemplar = no_exemplar
    ) -> None:
        """Count in ``registry``. ``exemplar`` returns the labels of the present trace; None without one."""
        disable_created_metrics()  # type: ignore[no-untyped-call]  # a series more for each one, which nobody reads
        cards = tuple(cards)
        self.bands: dict[tuple[str, str], Bands] = {}
        for card in cards:
            if card.is_embedder and (bands := bands_of(card)) is not None:
                self.bands[card.model, str(card.version)] = bands
        models: list[tuple[str, ...]] = [(card.model, str(card.version)) for card in cards]
        values: dict[str, list[tuple[str, ...]]] = {
            "requests": [(rpc, reason) for rpc in RULES for reason in ALERTING],
            "request_seconds": [],
            "stream_answers": [(rpc, reason) for rpc in STREAMS for reason in ALERTING],
            "stage_seconds": [(name,) for name in STAGE_NAMES if name not in ("inference", "store")],
            "inference_seconds": models,
            "inference_failures": models,
            "store_request_seconds": [(name,) for name in OPERATIONS],
            "store_request_failures": [(name,) for name in OPERATIONS],
            "decisions": [(rpc, outcome.value) for rpc in (CLAIM, "IdentifyFaces", *STREAMS) for outcome in Outcome],
            "acquisitions": [(reason,) for reason in (OK, *NOT_ACQUIRED)],
            "claims": [(*key, band) for key, bands in self.bands.items() for band in (BELOW, *bands.names)],
            "others_compared": list(self.bands),
            "others_above_threshold": list(self.bands),
            "others_expected_above_threshold": list(self.bands),
        }
        # These have a series from their first time on: most services use few of them, and each has to be read.
        later: dict[str, set[tuple[str, ...]]] = {
            "requests": {(rpc, reason) for rpc in RULES for reason in REASONS},
            "request_seconds": {(rpc,) for rpc in RULES},
            "stream_answers": {(rpc, reason) for rpc in STREAMS for reason in REASONS},
            "decisions": {(rpc, outcome.value) for rpc in RULES for outcome in Outcome},
        }
        self._series = {
            metric.name: Series(metric, registry, values[metric.name], later.get(metric.name, ()))
            for metric in OBSERVED
        }
        self._exemplar = exemplar

    def begin_call(self, rpc: str, metadata: Metadata) -> "_Call":
        """See `Observer.begin_call`."""
        return _Call(self, rpc)

    def begin_stage(self, name: StageName, details: Details) -> End:
        """See `Observer.begin_stage`."""
        return partial(self._end_stage, name, details, time.perf_counter())

    def _end_stage(self, name: StageName, details: Details, began: float, error: BaseException | None) -> None:
        took = time.perf_counter() - began
        if name == "inference":
            self._part("inference", (str(details["model"]), str(details["version"])), took, error)
            return
        if name == "store":
            self._part("store_request", (str(details["operation"]),), took, error)
            return
        self._series["stage_seconds"][(name,)].observe(took, self._exemplar())
        if name == "acquire":
            reason = OK if error is None else getattr(error, "reason", OTHER)
            if reason == OK or reason in NOT_ACQUIRED:
                self._series["acquisitions"][(reason,)].inc()

    def _part(self, name: str, labels: tuple[str, ...], took: float, error: BaseException | None) -> None:
        self._series[f"{name}_seconds"][labels].observe(took, self._exemplar())
        if isinstance(error, SamefaceError):
            self._series[f"{name}_failures"][labels].inc()

    def end_call(self, rpc: str, reason: str, took: float) -> None:
        """Count a call that has ended."""
        self._series["requests"][rpc, reason].inc()
        self._series["request_seconds"][(rpc,)].observe(took, self._exemplar())

    def count_answer(self, rpc: str, reason: str) -> None:
        """Count an answer of a stream."""
        self._series["stream_answers"][rpc, reason or OK].inc()

    def count_decision(self, rpc: str, decision: Decision, contract: Contract) -> None:
        """Count a decision, and the bands of its scores."""
        self._series["decisions"][rpc, decision.outcome.value].inc()
        key = contract.model, str(contract.version)
        if (bands := self.bands.get(key)) is None or decision.score is None:
            return
        if rpc == CLAIM:
            self._series["claims"][(*key, bands.name_of(decision.score))].inc()
        # The nearest other identity: of a claim always, of a search once it is known who it is.
        if decision.lead is None or not (rpc == CLAIM or decision.outcome is Outcome.MATCH):
            return
        self._series["others_compared"][key].inc()
        self._series["others_expected_above_threshold"][key].inc(bands.expected_above(decision.gallery_size - 1))
        if decision.score - decision.lead >= bands.thresholds[0]:
            self._series["others_above_threshold"][key].inc()


class _Call:
    """Implements `sameface.observation.observers.ObservedCall`."""

    __slots__ = ("_began", "_observer", "_rpc")

    def __init__(self, observer: MetricsObserver, rpc: str) -> None:
        self._observer, self._rpc, self._began = observer, rpc, time.perf_counter()

    def answered(self, reason: str, answer: Any) -> None:
        if self._rpc in STREAMS:
            self._observer.count_answer(self._rpc, reason)

    def decided(self, decision: Decision, contract: Contract) -> None:
        self._observer.count_decision(self._rpc, decision, contract)

    def ended(self, reason: str) -> None:
        self._observer.end_call(self._rpc, reason or OK, time.perf_counter() - self._began)
