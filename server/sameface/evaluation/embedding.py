"""Embeds labelled photos through a running service."""

from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from sameface.client.connection import Connection
from sameface.v1 import face_pb2, face_service_pb2

IN_FLIGHT = 4


@dataclass(frozen=True, slots=True)
class EmbeddedPhotos:
    """One embedding per photo, of the face nearest to its centre. The quality gate is counted, not enforced."""

    contract: face_pb2.Contract
    vectors: dict[Path, NDArray[np.float64]]
    """Unit norm, shape [dimension]."""
    without_face: tuple[Path, ...]
    """Failures to acquire."""
    refusals: Counter[str]
    """How many photos the quality gate would refuse, by reason."""


def embed_photos(
    connection: Connection, photos: Sequence[Path], version: int, advance: Callable[[], None]
) -> EmbeddedPhotos:
    """Embed photos with one version of the embedder; ``advance`` is called after each.

    Raises:
        grpc.RpcError: the service refused a photo or did not answer.
    """

    def embed(path: Path) -> face_service_pb2.EmbedFacesResponse:
        request = face_service_pb2.EmbedFacesRequest(photo=path.read_bytes(), embedder_version=version)
        answer: face_service_pb2.EmbedFacesResponse = connection.faces.EmbedFaces(request)
        advance()
        return answer

    with ThreadPoolExecutor(IN_FLIGHT) as threads:
        answers = dict(zip(photos, threads.map(embed, photos), strict=True))
    chosen = {path: _most_central(answer) for path, answer in answers.items() if answer.faces}
    return EmbeddedPhotos(
        contract=next(iter(chosen.values())).embedding.contract if chosen else face_pb2.Contract(),
        vectors={path: np.array(face.embedding.values, dtype=np.float64) for path, face in chosen.items()},
        without_face=tuple(path for path in photos if path not in chosen),
        refusals=Counter(face.face.issues[0].reason for face in chosen.values() if face.face.issues),
    )


def _most_central(answer: face_service_pb2.EmbedFacesResponse) -> face_service_pb2.EmbedFacesResponse.EmbeddedFace:
    def distance(face: face_service_pb2.EmbedFacesResponse.EmbeddedFace) -> float:
        box = face.face.bounding_box
        return float(
            (box.x + box.width / 2 - answer.width / 2) ** 2 + (box.y + box.height / 2 - answer.height / 2) ** 2
        )

    return min(answer.faces, key=distance)
