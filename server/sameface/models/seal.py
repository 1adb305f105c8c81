"""Seals a model version: writes the digest, golden vector and golden set of its weights file into its card."""

import hashlib
import json
import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from sameface.errors import ModelCheckFailed, ModelNotFound
from sameface.inference.base import FloatArray
from sameface.inference.cards import (
    EMBEDDER,
    OPENVINO_EMBEDDER,
    SMALLEST_COSINE,
    Golden,
    GoldenSet,
    MeasuredPoint,
    ModelCard,
    cosine_between,
    golden_input,
    read_card,
)
from sameface.inference.golden_set import FILE_NAME as GOLDEN_SET_FILE
from sameface.inference.golden_set import read_golden_faces
from sameface.inference.onnx import open_model
from sameface.models.build import weights_file
from sameface.models.contract import check_tensor_contract, contract_of
from sameface.models.statement import check_card_states

# Six digits reproduce a unit vector to a cosine of 1 − 1e-12. The check needs 0.9999.
SIGNIFICANT_DIGITS = 6


def seal(card_path: Path, weights: bytes) -> ModelCard:
    """Write digest, golden vector and golden set of the served file ``weights`` into the card, and return the card.

    ``operating_points``, ``evaluation`` and ``groups`` go if the digest is not the one before: they were measured with
    other weights. So do ``figures``, unless there was no digest before, as in a card that its author has just written.
    Authors of a model version run this. Only an embedder of faces has a golden set. If `face_embedder` has the number
    of a version of `face_embedder_openvino`, the card says with which smallest cosine the outputs of both are equal,
    and a new digest gets the operating points of `face_embedder`.

    Raises:
        ModelNotFound: there is no card, or no golden set of `face_embedder`.
        ModelCheckFailed: the file is not a card, or has no licence or source; its source is not the ``weights.onnx``
            that the version is built from; an embedder's weights do not keep the tensor contract; the outputs of both
            are not equal.
        RuntimeMissing: the version runs in OpenVINO, which is not installed.
    """
    if not card_path.is_file():
        raise ModelNotFound(
            f"{card_path} does not exist; write a card first, for example from a copy of another version's card",
            metadata={"path": card_path},
        )
    card = read_card(card_path)
    check_card_states(card, figures=False)  # operating points are measured with the sealed version
    repository = card_path.parents[2]
    _check_source(repository, card)
    if card.is_embedder:
        check_tensor_contract(weights, contract_of(card))
    session = open_model(card.model, weights)
    (output,) = session.run([card.output.name], {card.input.name: golden_input(card.golden.shape)})
    golden = Golden(shape=card.golden.shape, output=rounded(output))
    golden_set = None
    if card.embeds_faces:
        faces = read_golden_faces(repository / EMBEDDER / GOLDEN_SET_FILE)
        (embeddings,) = session.run([card.output.name], {card.input.name: faces.images})
        golden_set = GoldenSet(sha256=faces.sha256, outputs=tuple(map(rounded, embeddings)))
    digest = hashlib.sha256(weights).hexdigest()
    sealed = card.model_copy(update={"sha256": digest, "golden": golden, "golden_set": golden_set})
    if digest != card.sha256:
        # They were measured with other weights.
        sealed = sealed.model_copy(update={"operating_points": (), "evaluation": None, "groups": ()})
        if card.sha256:
            sealed = sealed.model_copy(update={"figures": {}})
    other = repository / EMBEDDER / str(card.version) / "card.json"
    if card.model == OPENVINO_EMBEDDER and other.is_file():
        equal = read_card(other)
        sealed = sealed.model_copy(update={"equivalent_to": _equal_to(sealed, equal)})
        if digest != card.sha256:
            sealed = sealed.model_copy(update={"operating_points": equal.operating_points})
    write_card(card_path, sealed)
    return sealed


def _check_source(repository: Path, card: ModelCard) -> None:
    """Check that the source is the file beside the card: licence and source of a copied card are another version's."""
    weights = weights_file(repository, card.model, card.version)
    if weights is None:
        return
    digest = hashlib.sha256(weights.read_bytes()).hexdigest()
    if digest != card.source.sha256:
        raise ModelCheckFailed(
            f"the card of {card.model} version {card.version} says that its source has sha256 {card.source.sha256}, "
            f"and {weights} has {digest}; write source and licence of these weights into the card, with this sha256 "
            "as source.sha256",
            metadata={"path": weights, "sha256": digest, "expected": card.source.sha256},
        )


def _equal_to(sealed: ModelCard, other: ModelCard) -> dict[str, float]:
    """Return ``equivalent_to`` of a version with the number of ``other``, from both golden vectors and golden sets."""
    mine = [sealed.golden.output, *(sealed.golden_set.outputs if sealed.golden_set else ())]
    theirs = [other.golden.output, *(other.golden_set.outputs if other.golden_set else ())]
    smallest = min(cosine_between(one, np.array(two, np.float32)) for one, two in zip(mine, theirs, strict=True))
    if not smallest >= SMALLEST_COSINE:
        raise ModelCheckFailed(
            f"{sealed.model} version {sealed.version} gives other answers than {other.model} version {other.version}: "
            f"cosine {smallest:.6f}, expected at least {SMALLEST_COSINE}; give it a version number that {other.model} "
            "does not have",
            metadata={"model": sealed.model, "version": sealed.version, "cosine": f"{smallest:.6f}"},
        )
    return {other.sha256: float(f"{smallest:.7f}")}


def rounded(output: FloatArray) -> tuple[float, ...]:
    """Return an output for a card: flat, with six significant digits."""
    return tuple(float(f"{value:.{SIGNIFICANT_DIGITS}g}") for value in np.ravel(output))


def with_new_points(
    stored: Sequence[MeasuredPoint], measured: Sequence[MeasuredPoint]
) -> tuple[tuple[MeasuredPoint, ...], tuple[MeasuredPoint, ...]]:
    """Return a card's points after a measurement, highest FMR first, and those that it contradicts, which go.

    A stored point stays if its FMR was not measured again. It goes if a lower FMR would then have a lower threshold.
    """
    new = {point.fmr for point in measured}
    kept, gone = list[MeasuredPoint](), list[MeasuredPoint]()
    for point in (one for one in stored if one.fmr not in new):
        fits = all((point.threshold - other.threshold) * (other.fmr - point.fmr) >= 0 for other in measured)
        (kept if fits else gone).append(point)
    return tuple(sorted([*measured, *kept], key=lambda point: -point.fmr)), tuple(gone)


def write_card(path: Path, card: ModelCard) -> None:
    """Write a card as readable JSON, with every list of numbers on one line."""
    text = json.dumps(card.model_dump(mode="json", exclude_defaults=True), indent=2, ensure_ascii=False)
    one_line = re.sub(r"\[([^\[\]{}]*)\]", lambda match: f"[{' '.join(match[1].split())}]", text)
    path.write_text(one_line + "\n", encoding="utf-8")
