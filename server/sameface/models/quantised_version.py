"""Makes a quantised version of the embedder: reads calibration faces, and writes weights and a card to complete."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from sameface.errors import ModelCheckFailed
from sameface.inference.base import Tensor
from sameface.inference.cards import EMBEDDER, OPENVINO_EMBEDDER, Source, read_card
from sameface.models.add import check_absent
from sameface.models.build import read_version_source
from sameface.models.folding import fold
from sameface.models.layers import read_layers
from sameface.models.quantise import quantise
from sameface.models.seal import write_card
from sameface.models.weights import FILE_NAME
from sameface.vision import ImageLimits, decode_image
from sameface_qdrant.errors import InvalidArgument

SIDE = 112
SUFFIXES = (".jpg", ".jpeg", ".png")


@dataclass(frozen=True, slots=True)
class QuantisedVersion:
    """A new version: the folder with its weights and its card, which is not sealed."""

    folder: Path
    faces: int
    weights_bytes: int


def make_quantised_version(
    repository: Path, cache: Path, *, of: int, version: int, faces: Path, most: int
) -> QuantisedVersion:
    """Quantise version ``of`` of `face_embedder` as ``version`` of `face_embedder_openvino`.

    Its trunk is quantised. The mirror average and the centre of its card stay; `sameface model centre` fits the centre
    to the quantised trunk.

    Args:
        repository: the model repository.
        cache: the folder for downloads.
        of: the version to quantise.
        version: the new number. It must be new in both folders, because its answers are others.
        faces: folder of calibration faces, see `read_faces`.
        most: of them are used.

    Raises:
        InvalidArgument: the version exists, or there are no faces.
        ModelNotFound: version ``of`` has no source.
        ModelCheckFailed: it is no chain of convolutions.
    """
    folder = repository / OPENVINO_EMBEDDER / str(version)
    check_absent(folder)
    check_absent(repository / EMBEDDER / str(version))
    card = read_card(repository / EMBEDDER / str(of) / "card.json")
    layers = read_layers(fold(read_version_source(repository, EMBEDDER, of, cache)))
    if layers is None:
        raise ModelCheckFailed(
            f"{EMBEDDER} version {of} is no chain of convolutions; only chains can be quantised here",
            metadata={"model": EMBEDDER, "version": of},
        )
    images = read_faces(faces, most)
    weights = quantise(layers, images)
    digest = hashlib.sha256(weights).hexdigest()
    changed = {
        "model": OPENVINO_EMBEDDER,
        "version": version,
        "title": f"{card.title}, quantised",
        "sha256": "",
        "trunk_of": None,
        "source": Source(
            package=f"{EMBEDDER} version {of} after `sameface model quantise`", file=FILE_NAME, sha256=digest
        ),
        "equivalent_to": {},
        "figures": {},
        "operating_points": (),
        "evaluation": None,
        "groups": (),
        "golden_set": None,
    }
    folder.mkdir(parents=True)
    (folder / FILE_NAME).write_bytes(weights)
    write_card(folder / "card.json", card.model_copy(update=changed))
    return QuantisedVersion(folder, len(images), len(weights))


def read_faces(folder: Path, most: int) -> Tensor:
    """Return aligned faces uint8 [N, 3, 112, 112] RGB: the centre of up to ``most`` images, spread over all files.

    Raises:
        InvalidArgument: there is no image in the folder or below it, or one is smaller than 112×112.
        ImageUndecodable, ImageTooLarge: a file is no image.
    """
    files = sorted(path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES)
    if not files:
        raise InvalidArgument(f"{folder} has no {', '.join(SUFFIXES)} files", metadata={"field": "faces"})
    return np.stack([_centre(files[index]) for index in _spread(len(files), most)])


def _spread(count: int, most: int) -> Sequence[int]:
    return range(count) if count <= most else [index * count // most for index in range(most)]


def _centre(path: Path) -> Tensor:
    pixels = decode_image(path.read_bytes(), ImageLimits()).pixels
    height, width = pixels.shape[:2]
    if min(height, width) < SIDE:
        raise InvalidArgument(
            f"{path} has {width}×{height} pixels; expected an aligned face of at least {SIDE}×{SIDE}",
            metadata={"field": "faces", "path": path},
        )
    top, left = (height - SIDE) // 2, (width - SIDE) // 2
    return np.ascontiguousarray(pixels[top : top + SIDE, left : left + SIDE].transpose(2, 0, 1))
