"""Computes the centre of an embedder: its mean embedding over aligned faces. The served graph subtracts it."""

from pathlib import Path

import numpy as np

from sameface.errors import ModelNotFound
from sameface.inference.base import Tensor
from sameface.inference.cards import FACE_EMBEDDERS, Centre, read_card
from sameface.inference.onnx import open_model
from sameface.models.build import build_trunk
from sameface.models.quantised_version import read_faces
from sameface.models.seal import rounded, write_card
from sameface.models.views import with_views
from sameface_qdrant.errors import InvalidArgument

AT_ONCE = 8
"""Faces in one call, a bound of memory."""


def mean_embedding(model: str, content: bytes, faces: Tensor) -> tuple[float, ...]:
    """Return the mean embedding of faces uint8 [N, 3, 112, 112] by an ONNX file of a model. Each face counts the same.

    Raises:
        RuntimeMissing: the model runs in OpenVINO, which is not installed.
    """
    session = open_model(model, content)
    sums = np.zeros(1)
    for start in range(0, len(faces), AT_ONCE):
        (embeddings,) = session.run(["embedding"], {"images": faces[start : start + AT_ONCE]})
        sums = sums + embeddings.astype(np.float64).sum(axis=0)
    return rounded((sums / len(faces)).astype(np.float32))


def write_centre(
    repository: Path, cache: Path, *, model: str, version: int, faces: Path, most: int, measured_on: str
) -> Centre:
    """Write the centre of a version into its card: the mean of what its graph gives before the centre is subtracted.

    Args:
        repository: the model repository.
        cache: the folder for downloads.
        model: `face_embedder` or `face_embedder_openvino`.
        version: the version, whose card says if it is mirror averaged.
        faces: folder of aligned faces, see `sameface.models.quantised_version.read_faces`.
        most: of them are used.
        measured_on: what the faces are, for the card.

    Raises:
        InvalidArgument: the model embeds no faces; ``measured_on`` is blank; the version is sealed and has operating
            points, so galleries may be bound to it; there are no faces.
        ModelNotFound: there is no card, or the version has no source.
        ModelCheckFailed: see `sameface.models.build.build_version`.
        RuntimeMissing: the model runs in OpenVINO, which is not installed.
    """
    if model not in FACE_EMBEDDERS:
        raise InvalidArgument(
            f"{model} has no centre; expected {' or '.join(FACE_EMBEDDERS)}",
            metadata={"field": "model", "model": model},
        )
    if not measured_on.strip():
        raise InvalidArgument(
            'measured_on is blank; say what the faces are, for example "our staff, 2026"',
            metadata={"field": "measured_on"},
        )
    path = repository / model / str(version) / "card.json"
    if not path.is_file():
        raise ModelNotFound(
            f"{path} does not exist; write a card first, for example from a copy of another version's card",
            metadata={"path": path},
        )
    card = read_card(path)
    if card.sha256 and card.operating_points:
        raise InvalidArgument(
            f"{path} is sealed and has operating points; galleries may be bound to it, and another centre makes it "
            "another model. Choose another version, or if no gallery is bound to it, remove operating_points from the "
            "card first",
            metadata={"field": "version", "path": path},
        )
    images = read_faces(faces, most)
    trunk = build_trunk(repository, model, version, cache)
    content = with_views(trunk, mirror_averaged=card.mirror_averaged, centre=None)
    centre = Centre(vector=mean_embedding(model, content, images), photos=len(images), measured_on=measured_on.strip())
    write_card(path, card.model_copy(update={"centre": centre}))
    return centre
