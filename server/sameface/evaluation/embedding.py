"""Embeds labelled photos through a running service."""

from collections import Counter
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from sameface.client import Client, Contract, EmbeddedFace, EmbeddedFaces, NotAPhoto, ServiceError
from sameface.client.samples import Photo
from sameface.evaluation.samples import FACE_NOT_FOUND, Failure, Samples

IN_FLIGHT = 4
NO_PHOTO = {"IMAGE_UNDECODABLE", "IMAGE_TOO_LARGE"}


@dataclass(frozen=True, slots=True)
class EmbeddedPhotos:
    """One embedding per photo, of its most central face. What the quality gate would refuse is counted, not refused."""

    contract: Contract | None
    """None if no photo has a face."""
    samples: Samples


def embed_photos(
    client: Client, root: Path, photos: Mapping[Path, str], version: int, advance: Callable[[], None], model: str = ""
) -> EmbeddedPhotos:
    """Embed photos with one version of the embedder, or of another ``model``, which may take whole images.

    Photos without a face and files that are not photos become failures of the samples.

    Args:
        client: of the service.
        root: the data folder; samples are named by their paths below it.
        photos: each photo's identity.
        version: of the embedder; 0 is the default version.
        advance: called after each photo.

    Raises:
        ServiceError: the service did not answer, or refused a photo for another reason.
    """

    def embed(path: Path) -> EmbeddedFaces | str:
        try:
            return faces_in(client, path, version, model)
        finally:
            advance()

    with ThreadPoolExecutor(IN_FLIGHT) as threads:
        answers = dict(zip(photos, threads.map(embed, photos), strict=True))
    chosen = {path: most_central(answer) for path, answer in answers.items() if not isinstance(answer, str)}
    contract = next(iter(chosen.values())).embedding.contract if chosen else None
    names = {path: path.relative_to(root).as_posix() for path in photos}
    samples = Samples(
        vectors=np.array([face.embedding.values for face in chosen.values()], np.float32).reshape(
            len(chosen), contract.dimension if contract else 0
        ),
        identity=tuple(photos[path] for path in chosen),
        sample=tuple(names[path] for path in chosen),
        failures=tuple(
            Failure(names[path], photos[path], answer) for path, answer in answers.items() if isinstance(answer, str)
        ),
        model=f"{contract.model} version {contract.version}, sha256 {contract.sha256}" if contract else "",
        preprocessed=_preprocessed(contract),
        refusals=dict(
            Counter(face.face.issues[0].reason for face in chosen.values() if face.face.issues).most_common()
        ),
    )
    return EmbeddedPhotos(contract, samples)


def faces_in(client: Client, photo: Photo, version: int, model: str = "") -> EmbeddedFaces | str:
    """Return the service's answer for a photo, or the reason why there is no face to embed.

    Raises:
        ServiceError: the service did not answer, or refused the photo for another reason.
    """
    try:
        answer = client.embed(photo, embedder_version=version, embedder_model=model)
    except OSError as error:
        return type(error).__name__
    except NotAPhoto as error:
        return error.reason
    except ServiceError as error:
        if error.reason not in NO_PHOTO:
            raise
        return error.reason
    return answer if answer.faces else FACE_NOT_FOUND


def _preprocessed(contract: Contract | None) -> str:
    if contract is not None and contract.preprocessing.startswith("whole-"):
        return f"whole images, fitted by the service ({contract.preprocessing})"
    return "detected, aligned and cropped by the service"


def most_central(answer: EmbeddedFaces) -> EmbeddedFace:
    """Return the face nearest to the middle of the photo."""

    def distance(face: EmbeddedFace) -> float:
        box = face.face.bounding_box
        return float(
            (box.x + box.width / 2 - answer.width / 2) ** 2 + (box.y + box.height / 2 - answer.height / 2) ** 2
        )

    return min(answer.faces, key=distance)
