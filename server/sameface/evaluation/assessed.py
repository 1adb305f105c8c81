"""Photos with their embeddings and quality, as a running service measures them; and degraded copies of the photos."""

import io
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from zlib import crc32

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from sameface.client import Client, EmbeddedFace, EmbeddedFaces
from sameface.evaluation.degradations import Landmarks, Pixels, degrade
from sameface.evaluation.embedding import IN_FLIGHT, faces_in, most_central
from sameface.evaluation.samples import FACE_NOT_FOUND, Failure, Samples
from sameface_qdrant.metrics.discard import Qualities

LARGEST_SIDE = 1600
"""Longest side of a photo that is degraded, in pixels; larger ones are reduced first."""
MOST_MOVED = 1.5
"""A face of a copy that is further away from its place, in distances between the eyes, is another face."""


@dataclass(frozen=True, slots=True)
class AssessedPhotos:
    """Embeddings with quality. Order and number are those of ``samples``."""

    samples: Samples
    quality: Mapping[str, Qualities]
    """The values of each component, 0 to 100, [samples]."""
    refused: NDArray[np.bool_]
    """Whether the service's quality gate refuses the face, [samples]."""
    landmarks: tuple[Landmarks, ...]
    """Each [5, 2], in pixels of the photo."""
    kinds: tuple[str, ...]
    """How each copy was degraded; empty text for a photo as it is."""


def assess_photos(
    client: Client, root: Path, photos: Mapping[Path, str], version: int, advance: Callable[[], None]
) -> AssessedPhotos:
    """Assess the most central face of every photo. The arguments are those of `embed_photos`.

    Raises:
        ServiceError: the service did not answer, or refused a photo for another reason than that it is none.
    """

    def ask(path: Path) -> EmbeddedFace | str:
        answer = faces_in(client, path, version)
        advance()
        return answer if isinstance(answer, str) else most_central(answer)

    with ThreadPoolExecutor(IN_FLIGHT) as threads:
        answers = list(threads.map(ask, photos))
    names = [path.relative_to(root).as_posix() for path in photos]
    return _collected(names, list(photos.values()), answers, [""] * len(names))


def assess_copies(
    client: Client,
    root: Path,
    photos: AssessedPhotos,
    kinds: Sequence[str],
    version: int,
    seed: int,
    advance: Callable[[], None],
) -> AssessedPhotos:
    """Assess a degraded copy of every photo. Kind and strength are drawn for each one from its name and the seed.

    Args:
        client: of the service.
        root: the data folder.
        photos: as they are.
        kinds: of `DEGRADATIONS`.
        version: of the embedder; 0 is the default version.
        seed: of the drawing.
        advance: called after each photo.

    Raises:
        InvalidArgument: a kind is unknown.
        ServiceError: the service did not answer, or refused a photo for another reason than that it is none.
    """
    names = photos.samples.sample
    seeds = [crc32(f"{seed}/{name}".encode()) for name in names]
    drawn = [kinds[int(np.random.default_rng(each).integers(len(kinds)))] for each in seeds]

    def ask(place: int) -> EmbeddedFace | str:
        pixels, shrink = _pixels(root / names[place])
        strength = float(np.random.default_rng(seeds[place] + 1).random())
        copy = degrade(drawn[place], pixels, photos.landmarks[place] * shrink, strength, seeds[place])
        answer = faces_in(client, copy.pixels, version)
        advance()
        return answer if isinstance(answer, str) else _nearest(answer, copy.landmarks)

    with ThreadPoolExecutor(IN_FLIGHT) as threads:
        answers = list(threads.map(ask, range(len(names))))
    return _collected(names, photos.samples.identity, answers, drawn)


def _collected(
    names: Sequence[str],
    identities: Sequence[str],
    answers: Sequence[EmbeddedFace | str],
    kinds: Sequence[str],
) -> AssessedPhotos:
    found = [(place, answer) for place, answer in enumerate(answers) if not isinstance(answer, str)]
    contract = found[0][1].embedding.contract if found else None
    samples = Samples(
        vectors=np.array([face.embedding.values for _, face in found], np.float32).reshape(
            len(found), contract.dimension if contract else 0
        ),
        identity=tuple(identities[place] for place, _ in found),
        sample=tuple(names[place] for place, _ in found),
        failures=tuple(
            Failure(names[place], identities[place], answer)
            for place, answer in enumerate(answers)
            if isinstance(answer, str)
        ),
        model=f"{contract.model} version {contract.version}, sha256 {contract.sha256}" if contract else "",
        preprocessed="detected, aligned and cropped by the service",
        refusals=_reasons([face for _, face in found]),
    )
    components = [part.name for part in found[0][1].face.quality] if found else []
    values = [{part.name: part.value for part in face.face.quality} for _, face in found]
    return AssessedPhotos(
        samples,
        {name: np.array([each[name] for each in values], np.float64) for name in components},
        np.array([bool(face.face.issues) for _, face in found], np.bool_),
        tuple(_landmarks(face) for _, face in found),
        tuple(kinds[place] for place, _ in found),
    )


def _reasons(faces: Sequence[EmbeddedFace]) -> dict[str, int]:
    reasons = [face.face.issues[0].reason for face in faces if face.face.issues]
    return {reason: reasons.count(reason) for reason in dict.fromkeys(reasons)}


def _landmarks(face: EmbeddedFace) -> Landmarks:
    named = face.face.landmarks
    points = (named.right_eye, named.left_eye, named.nose_tip, named.mouth_right, named.mouth_left)
    return np.array([[point.x, point.y] for point in points])


def _nearest(answer: EmbeddedFaces, expected: Landmarks) -> EmbeddedFace | str:
    """Return the face at the expected place, or that there is none."""
    middle = expected.mean(axis=0)

    def distance(face: EmbeddedFace) -> float:
        return float(np.linalg.norm(_landmarks(face).mean(axis=0) - middle))

    face = min(answer.faces, key=distance)
    unit = max(20.0, float(np.linalg.norm(expected[1] - expected[0])))
    return face if distance(face) <= MOST_MOVED * unit else FACE_NOT_FOUND


def _pixels(path: Path) -> tuple[Pixels, float]:
    """Return the pixels of a photo, upright, and their size relative to the file."""
    with Image.open(io.BytesIO(path.read_bytes())) as opened:
        image = ImageOps.exif_transpose(opened).convert("RGB")
    longest = max(image.size)
    image.thumbnail((LARGEST_SIDE, LARGEST_SIDE))
    return np.asarray(image), max(image.size) / longest
