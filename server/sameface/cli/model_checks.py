"""Checks models for `sameface model`: those that a service with the present settings would run."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sameface.inference.cards import ModelCard
    from sameface.inference.embedders import ServedModels
    from sameface.inference.golden_set import GoldenSetReport
    from sameface.settings import Settings


def configured_models(settings: "Settings") -> "ServedModels":
    """Return what a service with these settings serves, and what runs for it."""
    from sameface.inference.cards import read_all_cards
    from sameface.inference.embedders import served_models

    return served_models(
        read_all_cards(settings.model_repository), settings.embedder_runtime, settings.embedder_versions
    )


@dataclass(frozen=True, slots=True)
class CheckedModel:
    """A model version that reproduced what its card expects."""

    card: "ModelCard"
    cosine: float
    faces: "GoldenSetReport | None"

    def record(self) -> dict[str, Any]:
        """Return the result as plain values, for JSON."""
        faces = self.faces
        golden_set = faces and {
            "smallest_cosine": faces.smallest_cosine,
            "mated": faces.mated,
            "non_mated": faces.non_mated,
        }
        return {
            "model": self.card.model,
            "version": self.card.version,
            "cosine": self.cosine,
            "golden_set": golden_set,
        }


def checked_models(settings: "Settings", cards: Sequence["ModelCard"], triton_url: str) -> list[CheckedModel]:
    """Run golden inputs and golden sets on Triton, or without its URL in this process."""
    from sameface.inference.cards import EMBEDDER
    from sameface.inference.check import check_digests, check_models
    from sameface.inference.golden_set import FILE_NAME, check_golden_set, read_golden_faces
    from sameface.inference.onnx import OnnxInference
    from sameface.inference.triton import TritonInference

    url = triton_url or settings.triton_url
    if not url:
        check_digests(settings.model_repository, cards)

    async def run() -> list[CheckedModel]:
        inference = (
            TritonInference(url, timeout_s=settings.triton_timeout_s, recovery_s=0.0, tls=settings.triton_tls)
            if url
            else OnnxInference(settings.model_repository)
        )
        try:
            cosines = await check_models(inference, cards)
            checked = []
            for card in cards:
                faces = None
                if card.golden_set is not None:
                    stored = read_golden_faces(settings.model_repository / EMBEDDER / FILE_NAME)
                    faces = await check_golden_set(inference, card, stored)
                checked.append(CheckedModel(card, cosines[card.model, card.version], faces))
            return checked
        finally:
            await inference.aclose()

    return asyncio.run(run())
