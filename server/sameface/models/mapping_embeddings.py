"""Embeds the pictures of a fit by a version. A trunk is run once for all versions that have it, if results are kept."""

import hashlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from sameface.errors import ModelNotFound
from sameface.inference.cards import ModelCard, read_card
from sameface.inference.onnx import open_model
from sameface.models.build import build_trunk
from sameface.models.mapping_faces import Amounts, PeoplesFaces
from sameface_qdrant.errors import InvalidArgument

Both = NDArray[np.float64]
"""[M, 2, dimension] Unit embeddings of each picture and of its mirror image."""
AT_ONCE = 8
"""Faces in one call, a bound of memory."""


def card_of_version(repository: Path, model: str, version: int) -> ModelCard:
    """Return the card of a version of an embedder of faces.

    Raises:
        ModelNotFound: there is no such version.
        InvalidArgument: it embeds no faces.
    """
    path = repository / model / str(version) / "card.json"
    if not path.is_file():
        raise ModelNotFound(
            f"{path} does not exist; expected a version that `sameface model list` shows", metadata={"path": path}
        )
    card = read_card(path)
    if not card.embeds_faces:
        raise InvalidArgument(f"{model} embeds no faces; maps are for embedders of faces", metadata={"field": "model"})
    return card


def embed_pictures(
    repository: Path,
    cache: Path,
    card: ModelCard,
    faces: PeoplesFaces,
    amounts: Amounts,
    kept: Path | None,
    progress: Callable[[int, int], None],
) -> Both:
    """Return what a version gives for every picture and for its mirror image.

    Args:
        repository: the model repository.
        cache: the folder for downloads.
        card: of the version.
        faces: the photos.
        amounts: what is made of them.
        kept: folder where the outputs of trunks are kept, by digest; None keeps nothing.
        progress: called with the pictures done, and all of them.

    Raises:
        ModelNotFound: the version has no file; build it with `sameface model build`.
        RuntimeMissing, ModelCheckFailed: see `sameface.models.build.build_version`.
    """
    has_views = card.mirror_averaged or card.centre is not None
    if has_views:
        content = build_trunk(repository, card.model, card.version, cache)
    else:
        path = repository / card.model / str(card.version) / "model.onnx"
        if not path.is_file():
            raise ModelNotFound(f"{path} does not exist; run `sameface model build`", metadata={"path": path})
        content = path.read_bytes()
    digest = hashlib.sha256(content).hexdigest()
    file = None if kept is None else kept / f"{digest[:16]}-{faces.digest(amounts)[:16]}.npy"
    if file is not None and file.is_file():
        return viewed(card, np.load(file, allow_pickle=False))
    outputs = _run(card.model, content, faces, amounts, progress)
    if file is not None:
        file.parent.mkdir(parents=True, exist_ok=True)
        np.save(file, outputs.astype(np.float32))
    return viewed(card, outputs)


def viewed(card: ModelCard, outputs: NDArray[np.floating]) -> Both:
    """Return a version's embeddings from the outputs of its trunk [M, 2, D], as the graph around the trunk computes.

    The second of each two outputs is that of the mirror image. See `sameface.models.views`.
    """
    found = _unit(outputs.astype(np.float64))
    if card.mirror_averaged:
        average = _unit(found.sum(axis=1))
        found = np.stack([average, average], axis=1)
    if card.centre is not None:
        found = _unit(found - np.array(card.centre.vector))
    return found


def _run(
    model: str, content: bytes, faces: PeoplesFaces, amounts: Amounts, progress: Callable[[int, int], None]
) -> NDArray[np.float32]:
    session = open_model(model, content)
    total, outputs = len(faces.owners(amounts)), list[NDArray[np.float32]]()
    batch: list[NDArray[np.uint8]] = []
    for number, picture in enumerate(faces.pictures(amounts), 1):
        batch += [picture, picture[:, :, ::-1]]
        if len(batch) >= AT_ONCE or number == total:
            outputs += session.run(["embedding"], {"images": np.ascontiguousarray(np.stack(batch))})
            batch = []
            progress(number, total)
    found = np.concatenate(outputs)
    return found.reshape(total, 2, found.shape[1])


def _unit(rows: NDArray[np.float64]) -> NDArray[np.float64]:
    found: NDArray[np.float64] = rows / np.linalg.norm(rows, axis=-1, keepdims=True)
    return found
