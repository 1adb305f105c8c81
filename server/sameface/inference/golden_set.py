"""The golden set: six aligned faces. The card of each version holds the expected embeddings.

The golden vector shows that the right weights run. The golden set shows that they still tell people apart. Its pixels
are stored, so that changes of decoding, detection or alignment do not affect them. ``golden_set_credits.md`` beside the
file lists the portraits.
"""

import hashlib
import zipfile
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path

import numpy as np

from sameface.errors import ModelCheckFailed, ModelNotFound
from sameface.inference.base import FloatArray, Inference, Tensor
from sameface.inference.cards import SMALLEST_COSINE, ModelCard, cosine_between
from sameface.inference.check import run_as_card_says

FILE_NAME = "golden_set.npz"


@dataclass(frozen=True, slots=True)
class GoldenFaces:
    """Aligned faces UINT8 [N,3,112,112] RGB, and the name of each person."""

    identities: tuple[str, ...]
    images: Tensor

    @property
    def sha256(self) -> str:
        """Digest of the pixels."""
        return hashlib.sha256(self.images.tobytes()).hexdigest()


@dataclass(frozen=True, slots=True)
class GoldenSetReport:
    """Results of a version on the golden set."""

    smallest_cosine: float
    """Smallest cosine between an embedding and the expected one of the card."""
    mated: tuple[float, ...]
    """Scores between two photos of one person, ascending."""
    non_mated: tuple[float, ...]
    """Scores between photos of two people, ascending."""


def read_golden_faces(path: Path) -> GoldenFaces:
    """Read the golden set of a model, ``<model>/golden_set.npz``.

    Raises:
        ModelNotFound: the file is missing.
        ModelCheckFailed: the file is damaged.
    """
    if not path.is_file():
        raise ModelNotFound(f"{path} is missing; run `sameface model build`", metadata={"path": path})
    try:
        with np.load(path, allow_pickle=False) as stored:
            faces = GoldenFaces(tuple(map(str, stored["identities"])), stored["images"])
    except (OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
        raise ModelCheckFailed(
            f"{path} is not a golden set: {error}; run `sameface model build`", metadata={"path": path}
        ) from error
    expected = (len(faces.identities), 3, 112, 112)
    if faces.images.shape != expected or faces.images.dtype != np.uint8:
        raise ModelCheckFailed(
            f"{path} holds images {faces.images.dtype} {faces.images.shape}; expected uint8 {expected}",
            metadata={"path": path},
        )
    return faces


async def check_golden_set(inference: Inference, card: ModelCard, faces: GoldenFaces) -> GoldenSetReport:
    """Run the golden set and compare the embeddings with the card's.

    Raises:
        ModelCheckFailed: the cosine to an embedding of the card is below 0.9999, or the card has none for these pixels.
        ModelNotFound, ModelUnavailable: the version is not served, or does not answer at the moment.
    """
    return compare_golden_set(card, faces, await run_as_card_says(inference, card, faces.images))


def compare_golden_set(card: ModelCard, faces: GoldenFaces, embeddings: FloatArray) -> GoldenSetReport:
    """Compare embeddings [N,D] of the golden set with the card's.

    Raises:
        ModelCheckFailed: see `check_golden_set`.
    """
    name = f"{card.model} version {card.version}"
    about = {"model": card.model, "version": card.version}
    expected = card.golden_set
    if expected is None or expected.sha256 != faces.sha256:
        what = "no golden set" if expected is None else "a golden set for other pixels"
        raise ModelCheckFailed(
            f"the card of {name} has {what}; write it with `sameface model seal {card.model} {card.version}`",
            metadata=about,
        )
    if len(embeddings) != len(expected.outputs) or len(embeddings) != len(faces.identities):
        raise ModelCheckFailed(
            f"{name} returned {len(embeddings)} embeddings for {len(faces.identities)} faces, and its card has "
            f"{len(expected.outputs)}; expected the same number",
            metadata=about,
        )
    cosines = [cosine_between(wanted, given) for wanted, given in zip(expected.outputs, embeddings, strict=True)]
    for identity, cosine in zip(faces.identities, cosines, strict=True):
        if not cosine >= SMALLEST_COSINE:
            raise ModelCheckFailed(
                f"{name} does not reproduce its golden set: cosine {cosine:.6f} for a photo of {identity}, expected at "
                f"least {SMALLEST_COSINE}; the weights are not those of the card, or the runtime is broken",
                metadata={**about, "cosine": f"{cosine:.6f}"},
            )
    scores: dict[bool, list[float]] = {True: [], False: []}
    for one, other in combinations(range(len(embeddings)), 2):
        score = cosine_between(embeddings[one], embeddings[other])
        scores[faces.identities[one] == faces.identities[other]].append(score)
    return GoldenSetReport(min(cosines), tuple(sorted(scores[True])), tuple(sorted(scores[False])))
