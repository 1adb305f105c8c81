"""Puts the metrics of a service together: the observer, the state that is read at a scrape, and the port."""

import asyncio
import logging
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import Future
from contextlib import AsyncExitStack
from typing import TypeVar

from prometheus_client import CollectorRegistry, GCCollector, ProcessCollector

from sameface.api.admission import Admission
from sameface.inference.cards import ModelCard
from sameface.metrics.contents import Counting
from sameface.metrics.observer import Exemplar, MetricsObserver, no_exemplar
from sameface.metrics.options import MetricsOptions
from sameface.metrics.server import MetricsServer
from sameface.metrics.state import Sources, State
from sameface.observation.stages import observing
from sameface_qdrant.store.store import Store

log = logging.getLogger(__name__)

Answer = TypeVar("Answer")

LOOP_S = 1.0
"""A scrape waits at most so long for what only the event loop can read."""


class Metrics:
    """The metrics of one service."""

    def __init__(
        self,
        options: MetricsOptions,
        cards: Iterable[ModelCard],
        parts: AsyncExitStack,
        exemplar: Exemplar = no_exemplar,
    ) -> None:
        """Listen and count from now on, until ``parts`` close. Create it before what is observed.

        Raises:
            AddressUnavailable, InvalidArgument: see `MetricsServer`.
        """
        self._options = options
        self._registry = CollectorRegistry()
        ProcessCollector(registry=self._registry)
        GCCollector(registry=self._registry)
        self.observer = MetricsObserver(self._registry, cards, exemplar)
        self._server = MetricsServer(options, self._registry, exemplars=exemplar is not no_exemplar)
        parts.callback(self._server.stop)
        parts.enter_context(observing(self.observer))
        self._parts = parts
        self._counting: Counting | None = None

    @property
    def address(self) -> str:
        """Host and port."""
        return self._server.address

    def count(self, store: Store) -> Counting:
        """Count what is in the store, in the background."""
        counting = Counting(store, self._options.galleries, self._options.count_every_s)
        task = asyncio.create_task(counting.run())
        self._parts.callback(task.cancel)
        return counting

    def start(self, sources: Sources) -> None:
        """Answer from now on, also with the state of the service."""
        self._registry.register(State(sources))
        self._server.start()
        log.info("metrics are on http%s://%s/metrics", "s" if self._options.tls.certificate else "", self.address)


def expected_waits(admission: Admission) -> Callable[[], Mapping[str, float]]:
    """Return what tells, in any thread, how long the last in the line would wait, by lane. Call it on the loop."""
    loop = asyncio.get_running_loop()
    lanes = {"photos": admission.photos, "long": admission.long, "others": admission.others}

    def waits() -> Mapping[str, float]:
        return {name: lane.longest_expected_s() for name, lane in lanes.items()}

    return lambda: on_loop(loop, waits) or {}


def on_loop(loop: asyncio.AbstractEventLoop, call: Callable[[], Answer]) -> Answer | None:
    """Return what a function returns on the event loop; None if the loop has no time for it within `LOOP_S`."""
    future: Future[Answer] = Future()

    def run() -> None:
        if future.set_running_or_notify_cancel():
            future.set_result(call())

    try:
        loop.call_soon_threadsafe(run)
        return future.result(LOOP_S)
    except (RuntimeError, TimeoutError):  # the loop is closed, or held up
        future.cancel()
        return None
