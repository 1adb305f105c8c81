"""Model cards: what a model version is, where it came from, what was measured, and its golden vector.

A card lies beside the weights, ``model_repository/<model>/<version>/card.json``. It holds no code.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from sameface.errors import ModelCheckFailed, ModelNotFound
from sameface.inference.base import FloatArray, Tensor
from sameface_qdrant.values.contract import Contract
from sameface_qdrant.values.gallery import OperatingPoint

EMBEDDER = "face_embedder"
SMALLEST_COSINE = 0.9999
"""Between what a version gives and what its card says that it gives."""


class _Record(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class TensorSpec(_Record):
    """Name, Triton data type and shape of a tensor; −1 marks a free dimension."""

    name: str
    datatype: Literal["UINT8", "FP32"]
    shape: tuple[int, ...]
    layout: str = ""


class Source(_Record):
    """Where the weights come from."""

    package: str
    file: str
    sha256: str
    url: str = ""


class Licence(_Record):
    """What the weights and the data behind them may be used for."""

    weights: str
    training_data: str
    restriction: str = ""
    """One or two sentences for whoever makes a gallery: what the licence forbids, and what to choose instead; empty
    where it restricts nothing."""


class MeasuredPoint(_Record):
    """A threshold with what stands behind it. Rates are over ``mated`` and ``non_mated`` comparisons."""

    fmr: float = Field(gt=0, lt=1)
    threshold: float = Field(ge=-1, le=1)
    fnmr: float = Field(ge=0, le=1)
    """Over comparisons."""
    fnmr_by_identity: float = Field(ge=0, le=1)
    """Every identity counts the same."""
    non_mated: int
    mated: int
    identities: int
    measured_on: str


class Golden(_Record):
    """The fixed input's shape (see `golden_input`) and the flattened output it must give (cosine ≥ 0.9999)."""

    shape: tuple[int, ...]
    output: tuple[float, ...]


class GoldenSet(_Record):
    """What the version gives for each face of the golden set whose pixels have this digest (cosine ≥ 0.9999)."""

    sha256: str
    outputs: tuple[tuple[float, ...], ...]


class ModelCard(_Record):
    """The card of one model version."""

    model: str
    version: int
    title: str
    input: TensorSpec
    output: TensorSpec
    sha256: str
    preprocessing: str
    source: Source
    licence: Licence
    equivalent_to: dict[str, float] = {}
    """Digest of other weights → smallest cosine measured between the two."""
    figures: dict[str, str] = {}
    operating_points: tuple[MeasuredPoint, ...] = ()
    golden: Golden
    golden_set: GoldenSet | None = None

    @property
    def is_embedder(self) -> bool:
        """Whether this version turns aligned faces into embeddings (and so has a contract)."""
        return self.output.name == "embedding"

    @property
    def contract(self) -> Contract:
        """The embedding contract that this version gives to galleries."""
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
        """Operating points as the plugin takes them."""
        return tuple(OperatingPoint(fmr=point.fmr, threshold=point.threshold) for point in self.operating_points)


def golden_input(shape: tuple[int, ...]) -> Tensor:
    """Return the fixed UINT8 input of a golden vector, shape [1, 3, H, W].

    Plain integer arithmetic, (7x + 13y + 31c + x·y) mod 256, so that any language and any library version
    makes the same bytes.
    """
    _, channels, height, width = shape
    c, y, x = np.ogrid[:channels, :height, :width]
    images: Tensor = ((7 * x + 13 * y + 31 * c + x * y) % 256).astype(np.uint8)[np.newaxis]
    return images


def cosine_between(expected: Sequence[float] | NDArray[np.floating], actual: FloatArray) -> float:
    """Return the cosine between two outputs, NaN where sizes differ or one is zero or not finite."""
    one = np.asarray(expected, dtype=np.float64).ravel()
    other = np.asarray(actual, dtype=np.float64).ravel()
    norm = float(np.linalg.norm(one) * np.linalg.norm(other)) if one.size == other.size else 0.0
    return float(one @ other / norm) if np.isfinite(norm) and norm > 0 else float("nan")


def check_golden(card: ModelCard, output: FloatArray) -> float:
    """Compare an output for the golden input with the card and return the cosine.

    Raises:
        ModelCheckFailed: the cosine is below 0.9999, the size differs, or a value is not finite.
    """
    cosine = cosine_between(card.golden.output, output)
    if not cosine >= SMALLEST_COSINE:
        raise ModelCheckFailed(
            f"{card.model} version {card.version} does not reproduce its golden vector: cosine {cosine:.6f}, at least "
            f"{SMALLEST_COSINE} expected; other weights or a broken runtime are being served",
            metadata={"model": card.model, "version": card.version, "cosine": f"{cosine:.6f}"},
        )
    return cosine


def read_card(path: Path) -> ModelCard:
    """Read one card file.

    Raises:
        ModelCheckFailed: the file is not a card; the message says which field is wrong.
    """
    try:
        return ModelCard.model_validate(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, ValidationError) as error:
        raise ModelCheckFailed(f"{path} is not a model card: {error}", metadata={"path": path}) from error


def read_cards(repository: Path) -> tuple[ModelCard, ...]:
    """Read every card of a model repository, ordered by model and version.

    Raises:
        ModelNotFound: the folder holds no card.
        ModelCheckFailed: a card is malformed.
    """
    cards = [read_card(path) for path in repository.glob("*/*/card.json")]
    if not cards:
        raise ModelNotFound(
            f"no model card under {repository}: expected <model>/<version>/card.json",
            metadata={"path": repository},
        )
    return tuple(sorted(cards, key=lambda card: (card.model, card.version)))
