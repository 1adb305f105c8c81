"""The golden set: six aligned faces, stored as pixels, with the embedding that each version must give for them.

The golden vector's pattern shows whether the right weights run; faces show that what runs still tells people apart.
The pixels are stored, so that no change of decoding, detection or alignment moves them. They are of the portraits that
``golden_set_credits.md`` beside the file names.
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
    """Aligned faces UINT8 [N,3,112,112] RGB and whose they are."""

    identities: tuple[str, ...]
    images: Tensor

    @property
    def sha256(self) -> str:
        """Digest of the pixels."""
        return hashlib.sha256(self.images.tobytes()).hexdigest()


@dataclass(frozen=True, slots=True)
class GoldenSetReport:
    """How a version did on the golden set."""

    smallest_cosine: float
    """Between an embedding and the one that the card expects."""
    mated: tuple[float, ...]
    """Scores between two photos of one person, ascending."""
    non_mated: tuple[float, ...]
    """Scores between photos of two people, ascending."""


def read_golden_faces(path: Path) -> GoldenFaces:
    """Read the golden set of a model, ``<model>/golden_set.npz``.

    Raises:
        ModelNotFound: the file is missing.
        ModelCheckFailed: it is damaged.
    """
    if not path.is_file():
        raise ModelNotFound(f"{path} is missing; `sameface model build` puts it there", metadata={"path": path})
    try:
        with np.load(path, allow_pickle=False) as stored:
            faces = GoldenFaces(tuple(map(str, stored["identities"])), stored["images"])
    except (OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
        raise ModelCheckFailed(f"{path} is no golden set: {error}", metadata={"path": path}) from error
    expected = (len(faces.identities), 3, 112, 112)
    if faces.images.shape != expected or faces.images.dtype != np.uint8:
        raise ModelCheckFailed(
            f"{path} holds {faces.images.dtype} {faces.images.shape}; uint8 {expected} was expected",
            metadata={"path": path},
        )
    return faces


async def check_golden_set(inference: Inference, card: ModelCard, faces: GoldenFaces) -> GoldenSetReport:
    """Run the golden set and compare with the card.

    Raises:
        ModelCheckFailed: an embedding is further than a cosine of 0.9999 from the card's, or the card has none for
            these pixels.
        ModelNotFound, ModelUnavailable: the version is not served, or does not answer just now.
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
        what = "no golden set" if expected is None else "a golden set of other pixels"
        raise ModelCheckFailed(
            f"the card of {name} has {what}; write it with `sameface model seal {card.model} {card.version}`",
            metadata=about,
        )
    if len(embeddings) != len(expected.outputs) or len(embeddings) != len(faces.identities):
        raise ModelCheckFailed(
            f"{name} gave {len(embeddings)} embeddings for {len(faces.identities)} faces, its card has "
            f"{len(expected.outputs)}",
            metadata=about,
        )
    cosines = [cosine_between(wanted, given) for wanted, given in zip(expected.outputs, embeddings, strict=True)]
    for identity, cosine in zip(faces.identities, cosines, strict=True):
        if not cosine >= SMALLEST_COSINE:
            raise ModelCheckFailed(
                f"{name} does not reproduce its golden set: cosine {cosine:.6f} for a photo of {identity}, at least "
                f"{SMALLEST_COSINE} expected; other weights or a broken runtime are being served",
                metadata={**about, "cosine": f"{cosine:.6f}"},
            )
    scores: dict[bool, list[float]] = {True: [], False: []}
    for one, other in combinations(range(len(embeddings)), 2):
        score = cosine_between(embeddings[one], embeddings[other])
        scores[faces.identities[one] == faces.identities[other]].append(score)
    return GoldenSetReport(min(cosines), tuple(sorted(scores[True])), tuple(sorted(scores[False])))
