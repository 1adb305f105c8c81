"""Seals a model version: writes the digest, golden vector and golden set of its weights file into its card."""

import hashlib
import json
import re
from pathlib import Path

import numpy as np

from sameface.errors import ModelNotFound
from sameface.inference.base import FloatArray
from sameface.inference.cards import Golden, GoldenSet, ModelCard, golden_input, read_card
from sameface.inference.golden_set import FILE_NAME as GOLDEN_SET_FILE
from sameface.inference.golden_set import read_golden_faces
from sameface.inference.onnx import open_session
from sameface.models.contract import check_tensor_contract

# Six digits reproduce a unit vector to a cosine of 1 − 1e-12. The check needs 0.9999.
SIGNIFICANT_DIGITS = 6


def seal(card_path: Path, weights: bytes) -> ModelCard:
    """Write digest, golden vector and golden set of the served file ``weights`` into the card, and return the card.

    Authors of a model version run this. A detector has no golden set.

    Raises:
        ModelNotFound: there is no card, or no golden set beside the version's folder.
        ModelCheckFailed: the file is not a card, or an embedder's weights do not keep the tensor contract.
    """
    if not card_path.is_file():
        raise ModelNotFound(
            f"{card_path} does not exist; write a card first, for example from a copy of another version's card",
            metadata={"path": card_path},
        )
    card = read_card(card_path)
    if card.is_embedder:
        check_tensor_contract(weights)
    session = open_session(weights, threads=1)
    (output,) = session.run([card.output.name], {card.input.name: golden_input(card.golden.shape)})
    golden = Golden(shape=card.golden.shape, output=rounded(output))
    golden_set = None
    if card.is_embedder:
        faces = read_golden_faces(card_path.parent.parent / GOLDEN_SET_FILE)
        (embeddings,) = session.run([card.output.name], {card.input.name: faces.images})
        golden_set = GoldenSet(sha256=faces.sha256, outputs=tuple(map(rounded, embeddings)))
    digest = hashlib.sha256(weights).hexdigest()
    sealed = card.model_copy(update={"sha256": digest, "golden": golden, "golden_set": golden_set})
    write_card(card_path, sealed)
    return sealed


def rounded(output: FloatArray) -> tuple[float, ...]:
    """Return an output for a card: flat, with six significant digits."""
    return tuple(float(f"{value:.{SIGNIFICANT_DIGITS}g}") for value in np.ravel(output))


def write_card(path: Path, card: ModelCard) -> None:
    """Write a card as readable JSON, with every list of numbers on one line."""
    text = json.dumps(card.model_dump(mode="json", exclude_defaults=True), indent=2, ensure_ascii=False)
    one_line = re.sub(r"\[([^\[\]{}]*)\]", lambda match: f"[{' '.join(match[1].split())}]", text)
    path.write_text(one_line + "\n", encoding="utf-8")
