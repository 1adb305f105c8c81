"""A model that hangs is told, whatever other models of the same Triton answer."""

from collections.abc import Callable
from itertools import count

import pytest

from sameface.health.probes import RemoteTriton
from sameface.inference.cards import read_cards
from sameface.inference.triton import TritonInference, TritonTimedOut
from sameface.settings import model_repository_source
from tests.inference.silent_triton import SilentTriton, listening

EMBEDDER, DETECTOR = ("face_embedder", 1), ("face_detector", 1)
CARDS = tuple(card for card in read_cards(model_repository_source()) if (card.model, card.version) == EMBEDDER)


def answers_of(version: tuple[str, int]) -> Callable[[], dict[tuple[str, int], int]]:
    """Return counts that say that one version answers all the time."""
    numbers = count()
    return lambda: {version: next(numbers)}


async def test_answers_of_another_model_do_not_excuse_one_that_hangs() -> None:
    async with listening(SilentTriton()) as address:
        client = TritonInference(address, timeout_s=0.2, recovery_s=0.0)
        minutes = count(0.0, 60.0)  # so that each probe runs the golden vectors
        for answered in (answers_of(DETECTOR), dict[tuple[str, int], int]):
            with pytest.raises(TritonTimedOut):
                await RemoteTriton(CARDS, client, answered, lambda: next(minutes)).probe()
        # It is busy if it answers others itself. Its golden vector is asked for again at the next probe.
        busy = RemoteTriton(CARDS, client, answers_of(EMBEDDER), lambda: next(minutes))
        due = busy._next_canary
        await busy.probe()
        assert busy._next_canary == due
        await client.aclose()
