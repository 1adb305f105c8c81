"""Probes of the parts: cheap calls that answer, or fail, as those of callers do."""

import time
from collections.abc import Awaitable, Callable, Sequence

from sameface.inference.cards import ModelCard
from sameface.inference.check import check_models
from sameface.inference.triton import TritonInference, TritonTimedOut

CANARY_S, CANARY_TIMEOUT_S = 5.0, 5.0
"""Every so often each model of a remote Triton must reproduce its golden vector, in so many seconds."""


class RemoteTriton:
    """Asks a remote Triton whether it is ready, and now and then runs the golden input of every model.

    Triton reports that it is ready even if a model's process has died, so that the golden vectors decide.
    """

    def __init__(
        self,
        cards: Sequence[ModelCard],
        client: TritonInference,
        answered: Callable[[], int],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """``client`` must not repeat calls. ``answered`` counts the answers to calls of the service."""
        self._cards, self._client, self._answered, self._clock = cards, client, answered, clock
        self._next_canary = clock() + CANARY_S

    async def probe(self) -> None:
        """Raise ModelUnavailable or ModelCheckFailed if the models cannot be used."""
        before = self._answered()
        try:
            await self._client.check_ready()
            if self._clock() >= self._next_canary:
                await check_models(self._client, self._cards)
                self._next_canary = self._clock() + CANARY_S
        except TritonTimedOut:
            # Under load a probe may time out in a queue. A Triton that answered other calls meanwhile is busy.
            if self._answered() == before:
                self._next_canary = self._clock()
                raise
        except BaseException:
            # Only golden vectors tell that it is well again.
            self._next_canary = self._clock()
            raise


def told_by(check: Callable[[], None]) -> Callable[[], Awaitable[None]]:
    """Return a probe of a check that does not wait for anything."""

    async def probe() -> None:
        check()

    return probe
