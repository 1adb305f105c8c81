"""GalleryService over gRPC: resources, paging, preconditions and idempotency."""

import uuid
from collections.abc import Callable

import grpc
import pytest
from google.protobuf import field_mask_pb2

from sameface.client import ServiceError
from sameface.client.connection import Connection
from sameface.v1 import gallery_pb2, gallery_service_pb2
from tests.api.conftest import Enroll
from tests.conftest import SINGLE_PASS

Refused = Callable[..., ServiceError]


def test_a_gallery_is_bound_to_the_version_that_the_setting_names(connection: Connection, gallery: str) -> None:
    found = connection.galleries.GetGallery(gallery_service_pb2.GetGalleryRequest(name=gallery))
    contract = found.contract
    assert (contract.model, contract.version, contract.dimension) == ("face_embedder", SINGLE_PASS, 128)
    assert found.policy.revision == 1
    assert found.HasField("create_time")


def test_identities_are_paged_without_gap_or_repeat(connection: Connection, gallery: str) -> None:
    wanted = [f"person-{number:02d}" for number in range(8)]
    for identity_id in reversed(wanted):
        connection.galleries.CreateIdentity(
            gallery_service_pb2.CreateIdentityRequest(parent=gallery, identity_id=identity_id)
        )
    seen, token = [], ""
    while True:
        page = connection.galleries.ListIdentities(
            gallery_service_pb2.ListIdentitiesRequest(parent=gallery, page_size=3, page_token=token)
        )
        seen += [identity.name.rpartition("/")[2] for identity in page.identities]
        token = page.next_page_token
        if not token:
            break
    assert sorted(seen) == wanted


def test_a_gallery_made_twice_with_one_request_id_is_one_gallery(connection: Connection, refused: Refused) -> None:
    gallery_id = f"test-{uuid.uuid4().hex[:12]}"
    request = gallery_service_pb2.CreateGalleryRequest(gallery_id=gallery_id, request_id=str(uuid.uuid4()))
    first = connection.galleries.CreateGallery(request)
    assert connection.galleries.CreateGallery(request) == first
    request.request_id = str(uuid.uuid4())
    error = refused(connection.galleries.CreateGallery, request)
    assert (error.code, error.reason) == (grpc.StatusCode.ALREADY_EXISTS, "GALLERY_ALREADY_EXISTS")
    connection.galleries.DeleteGallery(gallery_service_pb2.DeleteGalleryRequest(name=first.name))


def test_what_has_children_is_deleted_only_by_force(
    connection: Connection, gallery: str, enroll: Enroll, refused: Refused
) -> None:
    enroll("obama", "barack_obama.jpg")
    name = f"{gallery}/identities/obama"
    error = refused(connection.galleries.DeleteGallery, gallery_service_pb2.DeleteGalleryRequest(name=gallery))
    assert (error.code, error.reason) == (grpc.StatusCode.FAILED_PRECONDITION, "GALLERY_NOT_EMPTY")
    error = refused(connection.galleries.DeleteIdentity, gallery_service_pb2.DeleteIdentityRequest(name=name))
    assert (error.code, error.reason) == (grpc.StatusCode.FAILED_PRECONDITION, "IDENTITY_NOT_EMPTY")
    connection.galleries.DeleteIdentity(gallery_service_pb2.DeleteIdentityRequest(name=name, force=True))
    error = refused(connection.galleries.GetIdentity, gallery_service_pb2.GetIdentityRequest(name=name))
    assert (error.code, error.reason) == (grpc.StatusCode.NOT_FOUND, "IDENTITY_NOT_FOUND")


def test_a_template_is_listed_fetched_and_erased(
    connection: Connection, gallery: str, enroll: Enroll, refused: Refused
) -> None:
    stored = enroll("obama", "barack_obama.jpg").template
    assert stored.origin == gallery_pb2.Template.ORIGIN_PHOTO
    assert connection.galleries.GetTemplate(gallery_service_pb2.GetTemplateRequest(name=stored.name)) == stored
    identity = connection.galleries.GetIdentity(
        gallery_service_pb2.GetIdentityRequest(name=f"{gallery}/identities/obama")
    )
    assert identity.template_count == 1
    connection.galleries.DeleteTemplate(gallery_service_pb2.DeleteTemplateRequest(name=stored.name))
    error = refused(connection.galleries.GetTemplate, gallery_service_pb2.GetTemplateRequest(name=stored.name))
    assert error.reason == "TEMPLATE_NOT_FOUND"


def test_updating_one_field_of_the_policy_makes_a_new_revision(
    connection: Connection, gallery: str, refused: Refused
) -> None:
    before = connection.galleries.GetGallery(gallery_service_pb2.GetGalleryRequest(name=gallery))
    request = gallery_service_pb2.UpdateGalleryRequest(
        gallery=gallery_pb2.Gallery(name=gallery, policy=gallery_pb2.Policy(verify_threshold=0.5), etag=before.etag),
        update_mask=field_mask_pb2.FieldMask(paths=["policy.verify_threshold"]),
    )
    after = connection.galleries.UpdateGallery(request)
    assert after.policy.verify_threshold == pytest.approx(0.5)
    assert after.policy.runner_up_margin == before.policy.runner_up_margin
    assert after.policy.revision == before.policy.revision + 1
    error = refused(connection.galleries.UpdateGallery, request)
    assert (error.code, error.reason) == (grpc.StatusCode.ABORTED, "CONCURRENT_UPDATE")


@pytest.mark.parametrize(
    ("rpc", "request_message", "field"),
    [
        ("GetGallery", gallery_service_pb2.GetGalleryRequest(name="galleries/Über"), "name"),
        ("GetGallery", gallery_service_pb2.GetGalleryRequest(name="galleries/a/identities/b"), "name"),
        ("GetIdentity", gallery_service_pb2.GetIdentityRequest(name=""), "name"),
        ("CreateGallery", gallery_service_pb2.CreateGalleryRequest(gallery_id="-a"), "gallery_id"),
        ("CreateGallery", gallery_service_pb2.CreateGalleryRequest(gallery_id="a" * 65), "gallery_id"),
        ("CreateGallery", gallery_service_pb2.CreateGalleryRequest(gallery_id="a", request_id="x"), "request_id"),
        ("ListGalleries", gallery_service_pb2.ListGalleriesRequest(page_size=-1), "page_size"),
        ("ListGalleries", gallery_service_pb2.ListGalleriesRequest(page_token="\x00"), "page_token"),
        (
            "CreateGallery",
            gallery_service_pb2.CreateGalleryRequest(
                gallery_id="a", gallery=gallery_pb2.Gallery(policy=gallery_pb2.Policy(verify_threshold=1.5))
            ),
            "verify_threshold",
        ),
    ],
)
def test_a_malformed_argument_is_named(
    connection: Connection, refused: Refused, rpc: str, request_message: object, field: str
) -> None:
    error = refused(getattr(connection.galleries, rpc), request_message)
    assert (error.code, error.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "INVALID_ARGUMENT")
    assert error.metadata["field"] == field
