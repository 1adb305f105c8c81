"""Seals a model version: writes the digest and the golden vector of its weights file into its card."""

import hashlib
import json
import re
from pathlib import Path

import numpy as np

from sameface.errors import ModelNotFound
from sameface.inference.cards import Golden, ModelCard, golden_input, read_card
from sameface.inference.onnx import open_session

# Six digits reproduce a unit vector to a cosine of 1 − 1e-12, far within the check's 0.9999.
SIGNIFICANT_DIGITS = 6


def seal(card_path: Path, weights: bytes) -> ModelCard:
    """Write digest and golden vector of ``weights`` into the card and return it. Run by whoever makes a model version.

    Raises:
        ModelNotFound: there is no card to seal.
        ModelCheckFailed: the file is not a card.
    """
    if not card_path.is_file():
        raise ModelNotFound(
            f"{card_path} does not exist; write a card first, another version's is a good start",
            metadata={"path": card_path},
        )
    card = read_card(card_path)
    session = open_session(weights, threads=1)
    (output,) = session.run([card.output.name], {card.input.name: golden_input(card.golden.shape)})
    golden = Golden(
        shape=card.golden.shape, output=tuple(float(f"{v:.{SIGNIFICANT_DIGITS}g}") for v in np.ravel(output))
    )
    sealed = card.model_copy(update={"sha256": hashlib.sha256(weights).hexdigest(), "golden": golden})
    write_card(card_path, sealed)
    return sealed


def write_card(path: Path, card: ModelCard) -> None:
    """Write a card as JSON that people can read and compare: every list of numbers on one line."""
    text = json.dumps(card.model_dump(mode="json", exclude_defaults=True), indent=2, ensure_ascii=False)
    one_line = re.sub(r"\[[^\[\]{}]*\]", lambda match: " ".join(match[0].split()), text)
    path.write_text(one_line.replace("[ ", "[").replace(" ]", "]") + "\n", encoding="utf-8")
