"""Writes a version folder of `face_embedder`: weights, card, digest and golden vector."""

import hashlib
from pathlib import Path

from sameface.errors import ModelNotFound
from sameface.inference.cards import EMBEDDER, Licence, read_card, read_cards
from sameface.models.seal import seal, write_card
from sameface.models.weights import FILE_NAME, build_from_weights
from sameface_qdrant.errors import InvalidArgument


def publish(
    content: bytes,
    repository: Path,
    version: int,
    *,
    title: str,
    licence: str,
    training_data: str,
    restriction: str,
    source: str,
) -> Path:
    """Write ``weights.onnx``, ``model.onnx`` and ``card.json`` of a version and return its folder.

    The card starts as a copy of the newest other version's, without its figures. A version that has operating points
    may be in use and is not overwritten.

    Raises:
        InvalidArgument: the version exists and has operating points.
        ModelCheckFailed: the weights are outside the tensor contract.
    """
    cards = [card for card in read_cards(repository) if card.model == EMBEDDER and card.version != version]
    if not cards:
        raise ModelNotFound(f"{repository} holds no other version of {EMBEDDER} to start the card from")
    folder = repository / EMBEDDER / str(version)
    path = folder / "card.json"
    if path.is_file() and read_card(path).operating_points:
        raise InvalidArgument(
            f"{folder} exists and has operating points; galleries may be bound to it. Choose another version",
            metadata={"field": "version"},
        )
    served = build_from_weights(content)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / FILE_NAME).write_bytes(content)
    (folder / "model.onnx").write_bytes(served)
    card = cards[-1].model_copy(
        update={
            "version": version,
            "title": title,
            "licence": Licence(weights=licence, training_data=training_data, restriction=restriction),
            "source": cards[-1].source.model_copy(
                update={"package": source, "file": FILE_NAME, "sha256": hashlib.sha256(content).hexdigest(), "url": ""}
            ),
            "equivalent_to": {},
            "figures": {},
            "operating_points": (),
        }
    )
    write_card(path, card)
    seal(path, served)
    return folder
