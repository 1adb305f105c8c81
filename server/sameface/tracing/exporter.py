"""Sends spans to the collector from a thread of its own. Calls neither wait for it nor fail because of it."""

import logging
import random
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import Protocol

from sameface.tracing.spans import Span

log = logging.getLogger(__name__)

BATCH = 512
EVERY_S = 1.0
"""Spans are sent so often, or once a batch is full."""
TIMEOUT_S = 10.0
FIRST_PAUSE_S, LONGEST_PAUSE_S = 1.0, 30.0
TELL_S = 60.0
"""While spans are dropped, the log says so at most so often."""


class SendFailed(Exception):
    """A collector did not take spans. ``may_pass``: the same spans may be sent again."""

    def __init__(self, why: str, *, may_pass: bool, retry_after_s: float = 0.0) -> None:
        super().__init__(why)
        self.why, self.may_pass, self.retry_after_s = why, may_pass, retry_after_s


class Sender(Protocol):
    """A connection to a collector."""

    def send(self, request: bytes, timeout_s: float) -> str:
        """Send a serialized ExportTraceServiceRequest; return what the collector complains about, empty if nothing.

        Raises:
            SendFailed: it did not take the spans.
        """
        ...

    def close(self) -> None:
        """Close the connection. A `send` in another thread fails."""
        ...


class Exporter:
    """Keeps spans that have ended until they are sent. Implements `Sink`.

    While the collector does not answer, spans wait, and once ``most`` wait, further ones are dropped. The log says when
    that begins and when it ends, and how many spans were dropped so far.
    """

    def __init__(
        self,
        sender: Sender,
        encode: Callable[[Sequence[Span]], bytes],
        *,
        most: int,
        where: str,
        every_s: float = EVERY_S,
        first_pause_s: float = FIRST_PAUSE_S,
    ) -> None:
        self._sender, self._encode, self._most, self._where = sender, encode, most, where
        self._every_s, self._first_pause_s = every_s, first_pause_s
        self._spans: deque[Span] = deque()
        self._wake = threading.Event()
        self._deadline: float | None = None
        """When everything must have been sent (monotonic seconds), once the service stops."""
        self._thread = threading.Thread(target=self._work, name="traces", daemon=True)
        self._failing = self._told_refusal = False
        self.dropped = self._told_dropped = 0
        self._next_told = float("-inf")

    def start(self) -> None:
        """Begin to send."""
        self._thread.start()

    def add(self, span: Span) -> None:
        """See `Sink.add`."""
        waiting = len(self._spans)
        if waiting >= self._most:
            self.dropped += 1
            return
        self._spans.append(span)
        if waiting + 1 == BATCH:
            self._wake.set()

    def stop(self, within_s: float) -> None:
        """Send what waits, for ``within_s`` seconds at most, and end. Blocks."""
        self._deadline = time.monotonic() + within_s
        self._wake.set()
        if self._thread.ident is not None:
            self._thread.join(within_s)
        left = len(self._spans)
        self._sender.close()
        if left or self.dropped:
            log.warning("%d spans were not sent to %s", left + self.dropped, self._where)

    def _work(self) -> None:
        pause_s = self._first_pause_s
        while True:
            stopping = self._deadline is not None
            if not stopping and len(self._spans) < BATCH:
                self._wake.wait(self._every_s)
            self._wake.clear()
            try:
                self._send_all()
                pause_s = self._first_pause_s
            except SendFailed as failure:
                self._fail(failure)
                wait_s = max(failure.retry_after_s, pause_s * random.uniform(0.8, 1.2))  # noqa: S311  # spreads
                pause_s = min(2 * pause_s, LONGEST_PAUSE_S)
                if self._deadline is not None:
                    return
                # Longer than a full queue takes to fill: `stop` alone ends it.
                self._pause(min(wait_s, LONGEST_PAUSE_S))
            except Exception:
                # A defect of ours. The thread must live on, or spans would wait for nobody.
                log.exception("spans could not be sent to %s", self._where)
                self.dropped += len(self._spans)
                self._spans.clear()
            self._tell_dropped()
            if stopping:
                return

    def _tell_dropped(self) -> None:
        now = time.monotonic()
        if self.dropped > self._told_dropped and now >= self._next_told:
            log.warning("%d spans for the collector at %s were dropped so far", self.dropped, self._where)
            self._told_dropped, self._next_told = self.dropped, now + TELL_S

    def _pause(self, seconds: float) -> None:
        until = time.monotonic() + seconds
        while self._deadline is None and (left := until - time.monotonic()) > 0:
            self._wake.wait(left)
            self._wake.clear()

    def _send_all(self) -> None:
        """Send every span that waits. What the collector refuses for good is left out; the rest is kept."""
        while self._spans:
            some = [self._spans[index] for index in range(min(BATCH, len(self._spans)))]
            timeout_s = TIMEOUT_S if self._deadline is None else max(0.05, self._deadline - time.monotonic())
            try:
                complaint = self._sender.send(self._encode(some), min(TIMEOUT_S, timeout_s))
            except SendFailed as failure:
                if not failure.may_pass:
                    self._leave_out(len(some))
                    self.dropped += len(some)
                raise
            self._leave_out(len(some))
            if self._failing:
                self._failing = False
                log.warning("the collector at %s takes spans again; %d were dropped", self._where, self.dropped)
                self.dropped = self._told_dropped = 0
            if complaint and not self._told_refusal:
                self._told_refusal = True
                log.warning("the collector at %s refuses some spans: %s", self._where, complaint)

    def _leave_out(self, count: int) -> None:
        for _ in range(count):
            self._spans.popleft()

    def _fail(self, failure: SendFailed) -> None:
        if not self._failing:
            self._failing = True
            log.warning(
                "the collector at %s takes no spans: %s; calls go on, and up to %d spans wait for it",
                self._where,
                failure.why,
                self._most,
            )
