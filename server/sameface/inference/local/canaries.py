"""Finds a local Triton that hangs, and models that hang or give wrong outputs."""

import asyncio
from collections.abc import Sequence
from pathlib import Path

from sameface.errors import ModelCheckFailed, ModelUnavailable
from sameface.inference.cards import ModelCard
from sameface.inference.check import check_models
from sameface.inference.local.metrics import read_inference_counts
from sameface.inference.triton import TritonInference, TritonTimedOut

ANSWER_S, QUESTIONS = 2.0, 2
"""A server that answers none of so many questions in a row within these seconds hangs. They need no model."""


async def hangs(client: TritonInference) -> bool:
    """Return whether the server itself answers nothing. ``client`` waits `ANSWER_S` seconds and does not retry."""
    for _ in range(QUESTIONS):
        try:
            await client.server_version()
        except ModelUnavailable:
            continue
        return False
    return True


async def failed_canaries(client: TritonInference, cards: Sequence[ModelCard], metrics: Path) -> list[str]:
    """Return the models that do not reproduce their golden vectors. A model that is only busy is none of them.

    Args:
        client: one that does not retry.
        cards: every served version.
        metrics: the socket of the server's metrics.
    """

    async def broken(card: ModelCard) -> bool:
        try:
            await check_models(client, [card])
        except TritonTimedOut:
            return before.get((card.model, card.version)) == (await _counts(metrics)).get((card.model, card.version))
        except (ModelCheckFailed, ModelUnavailable):
            return True
        return False

    # Under load the canary may time out in the queue. A model that answered other calls meanwhile is busy. A model
    # that did not hangs.
    before = await _counts(metrics)
    results = await asyncio.gather(*map(broken, cards))
    return sorted({card.model for card, failed in zip(cards, results, strict=True) if failed})


async def _counts(metrics: Path) -> dict[tuple[str, int], int]:
    try:
        return await asyncio.to_thread(read_inference_counts, metrics)
    except OSError:
        return {}
