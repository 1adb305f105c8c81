"""Probes of the parts: cheap calls that answer, or fail, as those of callers do."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence

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
        answered: Callable[[], Mapping[tuple[str, int], int]],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """``client`` must not repeat calls. ``answered`` counts the answers to calls of the service, by version."""
        self._cards, self._client, self._answered, self._clock = cards, client, answered, clock
        self._next_canary = clock() + CANARY_S

    async def probe(self) -> None:
        """Raise ModelUnavailable or ModelCheckFailed if the models cannot be used."""
        before = dict(self._answered())
        try:
            if await self._answers(before) and self._clock() >= self._next_canary:
                reproduced = await asyncio.gather(*(self._reproduces(card, before) for card in self._cards))
                if all(reproduced):
                    self._next_canary = self._clock() + CANARY_S
        except BaseException:
            # Only golden vectors tell that it is well again.
            self._next_canary = self._clock()
            raise

    # Under load a probe may time out in a queue. What answered other calls meanwhile is busy. The answers of one model
    # say nothing about another one: each has a process of its own, which may hang alone.

    async def _answers(self, before: Mapping[tuple[str, int], int]) -> bool:
        """Return whether Triton says that it is ready; False if it is busy."""
        try:
            await self._client.check_ready()
        except TritonTimedOut:
            if dict(self._answered()) == before:
                raise
            return False
        return True

    async def _reproduces(self, card: ModelCard, before: Mapping[tuple[str, int], int]) -> bool:
        """Return whether a model reproduces its golden vector; False if it is busy."""
        version = card.model, card.version
        try:
            await check_models(self._client, [card])
        except TritonTimedOut:
            if self._answered().get(version, 0) == before.get(version, 0):
                raise
            return False
        return True


def told_by(check: Callable[[], None]) -> Callable[[], Awaitable[None]]:
    """Return a probe of a check that does not wait for anything."""

    async def probe() -> None:
        check()

    return probe
