"""A separate gallery for every test, on the shared real service."""

import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest

from sameface.client import ServiceError
from sameface.client.connection import Connection
from sameface.v1 import face_pb2, face_service_pb2, gallery_service_pb2

Enroll = Callable[..., face_service_pb2.EnrollTemplateResponse]


@pytest.fixture
def gallery(connection: Connection) -> Iterator[str]:
    """Name of an empty gallery, erased afterwards."""
    gallery_id = f"test-{uuid.uuid4().hex[:12]}"
    name: str = connection.galleries.CreateGallery(gallery_service_pb2.CreateGalleryRequest(gallery_id=gallery_id)).name
    yield name
    connection.galleries.DeleteGallery(gallery_service_pb2.DeleteGalleryRequest(name=name, force=True))


@pytest.fixture
def enroll(connection: Connection, gallery: str, portraits: Path) -> Enroll:
    """Enrol a portrait, by file name, under an identity of the gallery."""

    def run(identity: str, portrait: str, **fields: Any) -> face_service_pb2.EnrollTemplateResponse:
        request = face_service_pb2.EnrollTemplateRequest(
            parent=f"{gallery}/identities/{identity}",
            sample=face_pb2.Sample(photo=(portraits / portrait).read_bytes()),
            allow_missing=True,
            **fields,
        )
        answer: face_service_pb2.EnrollTemplateResponse = connection.faces.EnrollTemplate(request)
        return answer

    return run


@pytest.fixture
def refused() -> Callable[..., ServiceError]:
    """Make a call that must fail, and return the machine-readable error."""

    def run(rpc: Callable[[object], object], request: object) -> ServiceError:
        with pytest.raises(grpc.RpcError) as failure:
            rpc(request)
        return ServiceError.of(failure.value)

    return run
