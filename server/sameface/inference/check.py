"""Checks of models before they are served: the digests of files, and the golden vectors."""

import asyncio
import hashlib
from collections.abc import Sequence
from pathlib import Path

from sameface.errors import ModelCheckFailed, ModelNotFound
from sameface.inference.base import FloatArray, Inference, Tensor
from sameface.inference.cards import ModelCard, check_golden, golden_input


async def check_models(inference: Inference, cards: Sequence[ModelCard]) -> dict[tuple[str, int], float]:
    """Run the golden input of every card, and return the cosine to the golden vector by model and version.

    Raises:
        ModelCheckFailed: a model does not reproduce its golden vector.
        ModelNotFound, ModelUnavailable: a model is not served, or does not answer at the moment.
    """

    async def check(card: ModelCard) -> float:
        return check_golden(card, await run_as_card_says(inference, card, golden_input(card.golden.shape)))

    cosines = await asyncio.gather(*map(check, cards))
    return {(card.model, card.version): cosine for card, cosine in zip(cards, cosines, strict=True)}


async def run_as_card_says(inference: Inference, card: ModelCard, images: Tensor) -> FloatArray:
    """Run a model version on ``images``, and return the output that its card names.

    Raises:
        ModelCheckFailed: the model has no output of that name.
        ModelNotFound, ModelUnavailable: the version is not served, or does not answer at the moment.
    """
    outputs = await inference.run(card.model, card.version, {card.input.name: images})
    if card.output.name not in outputs:
        raise ModelCheckFailed(
            f"{card.model} version {card.version} has no output {card.output.name!r}, which its card names; it has "
            f"{sorted(outputs)}; correct the card or the model",
            metadata={"model": card.model, "version": card.version},
        )
    output: FloatArray = outputs[card.output.name]
    return output


def check_digests(repository: Path, cards: Sequence[ModelCard]) -> None:
    """Check that every local weights file has the digest of its card.

    Raises:
        ModelNotFound: a file is missing.
        ModelCheckFailed: a file has another digest.
    """
    for card in cards:
        path = repository / card.model / str(card.version) / "model.onnx"
        if not path.is_file():
            raise ModelNotFound(
                f"{path} is missing; build the models with `sameface model build`",
                metadata={"model": card.model, "version": card.version},
            )
        check_digest(card, path.read_bytes())


def check_digest(card: ModelCard, content: bytes) -> None:
    """Raise ModelCheckFailed unless ``content`` is the weights file that the card describes."""
    if not card.sha256:
        raise ModelCheckFailed(
            f"the card of {card.model} version {card.version} has no digest; write it with `sameface model seal "
            f"{card.model} {card.version}`",
            metadata={"model": card.model, "version": card.version},
        )
    digest = hashlib.sha256(content).hexdigest()
    if digest != card.sha256:
        raise ModelCheckFailed(
            f"the file of {card.model} version {card.version} has sha256 {digest}; its card says {card.sha256}. Build "
            "the models again, or correct the card",
            metadata={"model": card.model, "version": card.version, "sha256": digest, "expected": card.sha256},
        )
