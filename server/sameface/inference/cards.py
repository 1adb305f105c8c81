"""Model cards: tensors, source, licence, measurements and golden vector of a model version.

The card is beside the weights: ``model_repository/<model>/<version>/card.json``. It holds no code.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from sameface.errors import ModelCheckFailed, ModelNotFound
from sameface.inference.base import FloatArray, Tensor
from sameface.inference.card_figures import Evaluation, GroupFigures
from sameface.inference.whole_image import WholeImage
from sameface_qdrant.values.contract import Contract
from sameface_qdrant.values.gallery import OperatingPoint

EMBEDDER = "face_embedder"
OPENVINO_EMBEDDER = "face_embedder_openvino"
"""The same embedder for OpenVINO; see `sameface.inference.embedders`."""
FACE_EMBEDDERS = (EMBEDDER, OPENVINO_EMBEDDER)
PAD = "face_pad"
"""The optional model of presentation attack detection."""
SMALLEST_COSINE = 0.9999
"""Lowest cosine between an output and the output in the card."""
LARGEST_STRETCH = 0.01
"""Largest relative difference between the norms of both. Without it, two models whose logits have one direction would
be the same."""


class _Record(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class TensorSpec(_Record):
    """Name, Triton data type and shape of a tensor. −1 is a free dimension."""

    name: str
    datatype: Literal["UINT8", "FP32"]
    shape: tuple[int, ...]
    layout: str = ""


class Source(_Record):
    """Origin of the weights."""

    package: str
    file: str
    sha256: str
    url: str = ""


class Licence(_Record):
    """Licences of the weights and of the training data."""

    weights: str
    training_data: str
    restriction: str = ""
    """What the licence forbids, and what to use instead, in one or two sentences for people who create a gallery. Empty
    if it forbids nothing."""


class MeasuredPoint(_Record):
    """A threshold with its measured error rates over ``mated`` and ``non_mated`` comparisons."""

    fmr: float = Field(gt=0, lt=1)
    threshold: float = Field(ge=-1, le=1)
    fnmr: float = Field(ge=0, le=1)
    """Every comparison counts the same."""
    fnmr_by_identity: float = Field(ge=0, le=1)
    """Every identity counts the same."""
    non_mated: int
    mated: int
    identities: int
    measured_on: str
    false_matches: int | None = None
    """Non-mated comparisons at or above the threshold; None in cards from before release 0.3."""
    independent: int | None = None
    """How many independent comparisons would give the same certainty as ``non_mated``; None in older cards."""
    supported: bool = True
    """False if the comparisons are too few for this FMR and the point was accepted nevertheless."""


class Golden(_Record):
    """The golden vector: shape of the fixed input (see `golden_input`), and expected output (cosine ≥ 0.9999), flat."""

    shape: tuple[int, ...]
    output: tuple[float, ...]


class GoldenSet(_Record):
    """Expected output for each face of the golden set (cosine ≥ 0.9999), and the digest of the set's pixels."""

    sha256: str
    outputs: tuple[tuple[float, ...], ...]


class Centre(_Record):
    """The mean embedding that the served graph subtracts; see `sameface.models.views`."""

    vector: tuple[float, ...]
    photos: int = Field(ge=1)
    """How many photos it is the mean of. Each counts the same."""
    measured_on: str


class ModelCard(_Record):
    """The card of one model version."""

    model: str
    version: int
    title: str
    input: TensorSpec
    output: TensorSpec
    sha256: str
    preprocessing: str
    whole_image: WholeImage | None = None
    """How an embedder of other things than faces takes an image; None for models of faces. ``preprocessing`` is its
    name."""
    source: Source
    trunk_of: int | None = None
    """The lower version of this model whose trunk this version has. None if it has a source of its own."""
    mirror_averaged: bool = False
    """Whether the served graph averages the embeddings of a photo and its mirror image."""
    centre: Centre | None = None
    licence: Licence
    equivalent_to: dict[str, float] = {}
    """SHA-256 of other weights → smallest cosine measured between outputs of both."""
    figures: dict[str, str] = {}
    operating_points: tuple[MeasuredPoint, ...] = ()
    evaluation: Evaluation | None = None
    groups: tuple[GroupFigures, ...] = ()
    golden: Golden
    golden_set: GoldenSet | None = None

    @model_validator(mode="after")
    def _checked(self) -> "ModelCard":
        self._check_views()
        if not self.is_embedder:
            if self.whole_image is not None:
                raise ValueError(f"whole_image is set, and the output is {self.output.name}; expected embedding")
            return self
        if (self.model in FACE_EMBEDDERS) != (self.whole_image is None):
            raise ValueError(
                f"the embedder {self.model} has {'no' if self.whole_image is None else 'a'} whole_image; expected none "
                f"in cards of {' and '.join(FACE_EMBEDDERS)}, and one in the card of any other embedder"
            )
        image = self.whole_image
        if image is not None and (self.input.shape, self.preprocessing) != ((-1, *image.shape), image.preprocessing):
            raise ValueError(
                f"the input {self.input.shape} and the preprocessing {self.preprocessing!r} are not those of "
                f"whole_image; expected {(-1, *image.shape)} and {image.preprocessing!r}"
            )
        return self

    def _check_views(self) -> None:
        if (self.mirror_averaged or self.centre or self.trunk_of) and self.model not in FACE_EMBEDDERS:
            raise ValueError(
                f"the card of {self.model} has mirror_averaged, centre or trunk_of; expected them only in cards of "
                f"{' and '.join(FACE_EMBEDDERS)}"
            )
        if self.centre is not None and len(self.centre.vector) != self.output.shape[-1]:
            raise ValueError(
                f"centre has {len(self.centre.vector)} numbers; expected {self.output.shape[-1]}, as the output has"
            )
        if self.trunk_of is not None and not 0 < self.trunk_of < self.version:
            raise ValueError(f"trunk_of is {self.trunk_of}; expected a version below {self.version}")

    @property
    def passes(self) -> int:
        """How often the trunk computes one photo."""
        return 2 if self.mirror_averaged else 1

    @property
    def is_embedder(self) -> bool:
        """Whether this version makes embeddings, and so has an embedding contract."""
        return self.output.name == "embedding"

    @property
    def embeds_faces(self) -> bool:
        """Whether this is a version of the embedder of faces."""
        return self.output.name == "embedding" and self.whole_image is None

    @property
    def contract(self) -> Contract:
        """The embedding contract of galleries under this version."""
        return Contract(
            model=self.model,
            version=self.version,
            sha256=self.sha256,
            dimension=self.output.shape[-1],
            preprocessing=self.preprocessing,
            equivalent_to=frozenset(self.equivalent_to),
        )

    @property
    def points(self) -> tuple[OperatingPoint, ...]:
        """The operating points in the plugin's form."""
        return tuple(OperatingPoint(fmr=point.fmr, threshold=point.threshold) for point in self.operating_points)


def golden_input(shape: tuple[int, ...]) -> Tensor:
    """Return the fixed UINT8 input of a golden vector, shape [1, 3, H, W].

    Each value is (7x + 13y + 31c + x·y) mod 256. Integer arithmetic gives the same bytes in every language and library
    version.
    """
    _, channels, height, width = shape
    c, y, x = np.ogrid[:channels, :height, :width]
    images: Tensor = ((7 * x + 13 * y + 31 * c + x * y) % 256).astype(np.uint8)[np.newaxis]
    return images


def cosine_between(expected: Sequence[float] | NDArray[np.floating], actual: FloatArray) -> float:
    """Return the cosine between two outputs, or NaN if the sizes differ, or an output is zero or not finite."""
    one = np.asarray(expected, dtype=np.float64).ravel()
    other = np.asarray(actual, dtype=np.float64).ravel()
    norm = float(np.linalg.norm(one) * np.linalg.norm(other)) if one.size == other.size else 0.0
    return float(one @ other / norm) if np.isfinite(norm) and norm > 0 else float("nan")


def check_golden(card: ModelCard, output: FloatArray) -> float:
    """Compare an output for the golden input with the card and return the cosine.

    Raises:
        ModelCheckFailed: the cosine is below 0.9999, the norm differs by more than 1 %, the size differs, or a value is
            not finite.
    """
    cosine = cosine_between(card.golden.output, output)
    norms = [float(np.linalg.norm(np.asarray(one, dtype=np.float64))) for one in (card.golden.output, np.ravel(output))]
    if not (cosine >= SMALLEST_COSINE and abs(norms[1] - norms[0]) <= LARGEST_STRETCH * norms[0]):
        raise ModelCheckFailed(
            f"{card.model} version {card.version} does not reproduce its golden vector: cosine {cosine:.6f}, expected "
            f"at least {SMALLEST_COSINE}; norm {norms[1]:.6g}, expected {norms[0]:.6g}; the weights are not those of "
            "the card, or the runtime is broken",
            metadata={"model": card.model, "version": card.version, "cosine": f"{cosine:.6f}"},
        )
    return cosine


def read_card(path: Path) -> ModelCard:
    """Read one card file.

    Raises:
        ModelCheckFailed: the file is not a card. The message names the wrong field.
    """
    try:
        return ModelCard.model_validate(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, ValidationError) as error:
        raise ModelCheckFailed(f"{path} is not a model card: {error}", metadata={"path": path}) from error


def read_card_in_place(path: Path) -> ModelCard:
    """Read the card file ``<model>/<version>/card.json``.

    Raises:
        ModelCheckFailed: the file is not a card, or names another model or version than its folder.
    """
    card = read_card(path)
    model, version = path.parts[-3:-1]
    if (card.model, str(card.version)) != (model, version):
        raise ModelCheckFailed(
            f"{path} is the card of {card.model} version {card.version}; expected {model} version {version}, as the "
            "folder says. A copied version needs a card of its own: add the weights with `sameface model add`",
            metadata={"path": path, "model": card.model, "version": card.version},
        )
    return card


def read_cards(repository: Path) -> tuple[ModelCard, ...]:
    """Return the cards of what a service serves unless its settings name another runtime: all but those for OpenVINO.

    Raises:
        ModelNotFound: the folder has no card.
        ModelCheckFailed: a card is malformed.
    """
    return tuple(card for card in read_all_cards(repository) if card.model != OPENVINO_EMBEDDER)


def read_all_cards(repository: Path) -> tuple[ModelCard, ...]:
    """Return every card of a model repository, sorted by model and version.

    Raises:
        ModelNotFound: the folder has no card.
        ModelCheckFailed: a card is malformed, or is that of another folder.
    """
    cards = [read_card_in_place(path) for path in repository.glob("*/*/card.json")]
    if not cards:
        raise ModelNotFound(
            f"{repository} has no model card; expected <model>/<version>/card.json in it",
            metadata={"path": repository},
        )
    return tuple(sorted(cards, key=lambda card: (card.model, card.version)))
