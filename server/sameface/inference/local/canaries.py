"""Finds a local Triton that hangs, and models that hang or give wrong outputs."""

import asyncio
from collections.abc import Callable, Sequence
from pathlib import Path

from sameface.errors import ModelCheckFailed, ModelUnavailable
from sameface.inference.base import Inference
from sameface.inference.cards import ModelCard
from sameface.inference.check import check_models
from sameface.inference.local.metrics import read_inference_counts
from sameface.inference.triton import TritonInference, TritonTimedOut

ANSWER_S, QUESTIONS = 2.0, 2
"""A server hangs if so many questions in a row, which need no model, get no answer within these seconds, nor do calls
of models meanwhile."""


async def hangs(client: TritonInference, answered: Callable[[], int]) -> bool:
    """Return whether the server itself answers nothing.

    A server that refuses the questions does not hang: its processes and the canaries say what is wrong with it.

    Args:
        client: one that waits `ANSWER_S` seconds and does not retry.
        answered: counts the answers to calls of models.
    """
    silent = 0
    for _ in range(QUESTIONS + 1):
        before = answered()
        try:
            await client.server_version()
        except TritonTimedOut:
            silent = silent + 1 if answered() == before else 0
        except ModelUnavailable:
            return False
        else:
            return False
        if silent == QUESTIONS:
            return True
    return False


async def failed_canaries(client: Inference, cards: Sequence[ModelCard], metrics: Path) -> dict[str, str]:
    """Return the models that do not reproduce their golden vectors, each with the reason of its error.

    The reason is that of `ModelCheckFailed` for wrong outputs, and that of `ModelUnavailable` for a model that fails or
    hangs. A model that is only busy is none of them.

    Args:
        client: one that does not retry.
        cards: every served version.
        metrics: the socket of the server's metrics.
    """

    async def failure(card: ModelCard) -> str:
        try:
            await check_models(client, [card])
        except TritonTimedOut as error:
            version = card.model, card.version
            return error.reason if before.get(version) == (await _counts(metrics)).get(version) else ""
        except (ModelCheckFailed, ModelUnavailable) as error:
            return error.reason
        return ""

    # Under load the canary may time out in the queue. A model that answered other calls meanwhile is busy. A model
    # that did not hangs.
    before = await _counts(metrics)
    found = list(zip((card.model for card in cards), await asyncio.gather(*map(failure, cards)), strict=True))
    failed = {model: reason for model, reason in sorted(found) if reason}
    # Of two versions of a model, the one with wrong outputs is told.
    return failed | {model: reason for model, reason in found if reason == ModelCheckFailed.reason}


async def _counts(metrics: Path) -> dict[tuple[str, int], int]:
    try:
        return await asyncio.to_thread(read_inference_counts, metrics)
    except OSError:
        return {}
