"""SearchTemplates, UpdateIdentity and policy revisions over gRPC."""

from collections.abc import Callable
from pathlib import Path

import grpc
import pytest
from google.protobuf import field_mask_pb2

from sameface.client import ServiceError
from sameface.client.connection import Connection
from sameface.v1 import face_pb2, face_service_pb2, gallery_pb2, gallery_service_pb2
from tests.api.conftest import Enroll

Refused = Callable[..., ServiceError]
Filter = face_service_pb2.TemplateFilter


@pytest.fixture
def people(connection: Connection, gallery: str, enroll: Enroll, portraits: Path) -> str:
    """Obama and Macron enrolled by photo, Ardern by embedding. Two of them have labels."""
    enroll("obama", "barack_obama.jpg", labels={"country": "us"})
    enroll("macron", "emmanuel_macron_2014.jpg", labels={"country": "fr"}, display_name="Emmanuel Macron")
    photo = (portraits / "jacinda_ardern_2018.jpg").read_bytes()
    embedding = connection.faces.EmbedFaces(face_service_pb2.EmbedFacesRequest(photo=photo)).faces[0].embedding
    connection.faces.EnrollTemplate(
        face_service_pb2.EnrollTemplateRequest(
            parent=f"{gallery}/identities/ardern", sample=face_pb2.Sample(embedding=embedding), allow_missing=True
        )
    )
    return gallery


@pytest.fixture
def search(connection: Connection, portraits: Path) -> Callable[..., list[str]]:
    """Search with a photo of Macron and return the identities, best first."""

    def run(gallery: str, **fields: object) -> list[str]:
        request = face_service_pb2.SearchTemplatesRequest(
            gallery=gallery,
            sample=face_pb2.Sample(photo=(portraits / "emmanuel_macron_2025.jpg").read_bytes()),
            **fields,  # type: ignore[arg-type]
        )
        found = connection.faces.SearchTemplates(request).templates
        assert [one.score for one in found] == sorted((one.score for one in found), reverse=True)
        return [one.template.name.split("/")[3] for one in found]

    return run


def test_the_nearest_templates_come_first_without_any_decision(
    connection: Connection, people: str, search: Callable[..., list[str]], portraits: Path
) -> None:
    assert search(people)[0] == "macron"
    assert set(search(people)) == {"macron", "obama", "ardern"}
    assert search(people, max_results=1) == ["macron"]
    assert search(people, min_score=0.4) == ["macron"]
    answer = connection.faces.SearchTemplates(
        face_service_pb2.SearchTemplatesRequest(
            gallery=people,
            sample=face_pb2.Sample(photo=(portraits / "emmanuel_macron_2025.jpg").read_bytes()),
            max_results=1,
        )
    )
    assert answer.templates[0].display_name == "Emmanuel Macron"
    assert answer.HasField("face")


def test_a_filter_narrows_what_is_looked_at(people: str, search: Callable[..., list[str]]) -> None:
    name = f"{people}/identities/macron"
    assert search(people, filter=Filter(identities=[f"{people}/identities/obama", name])) == ["macron", "obama"]
    assert set(search(people, filter=Filter(exclude_identities=[name]))) == {"obama", "ardern"}
    assert search(people, filter=Filter(labels={"country": "us"})) == ["obama"]
    assert search(people, filter=Filter(labels={"country": "nz"})) == []
    assert search(people, filter=Filter(origin=gallery_pb2.Template.ORIGIN_EMBEDDING)) == ["ardern"]
    assert set(search(people, filter=Filter(origin=gallery_pb2.Template.ORIGIN_PHOTO))) == {"macron", "obama"}


def test_a_changed_label_is_found_at_once(
    connection: Connection, people: str, search: Callable[..., list[str]]
) -> None:
    connection.galleries.UpdateIdentity(
        gallery_service_pb2.UpdateIdentityRequest(
            identity=gallery_pb2.Identity(name=f"{people}/identities/macron", labels={"country": "us"})
        )
    )
    assert search(people, filter=Filter(labels={"country": "us"})) == ["macron", "obama"]
    assert search(people, filter=Filter(labels={"country": "fr"})) == []


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"max_results": -1}, "max_results"),
        ({"max_results": 1001}, "max_results"),
        ({"min_score": 1.5}, "min_score"),
        ({"filter": Filter(identities=["galleries/other/identities/a"])}, "filter.identities"),
        ({"filter": Filter(identities=["a"])}, "filter.identities"),
        ({"filter": Filter(exclude_identities=["galleries/g/identities/a"] * 101)}, "filter.exclude_identities"),
        ({"filter": Filter(labels={"Not A Key": "x"})}, "labels"),
        ({"filter": Filter(origin=99)}, "filter.origin"),  # type: ignore[arg-type]
    ],
)
def test_a_malformed_search_names_the_field(
    connection: Connection, people: str, refused: Refused, portraits: Path, fields: dict[str, object], field: str
) -> None:
    request = face_service_pb2.SearchTemplatesRequest(
        gallery=people,
        sample=face_pb2.Sample(photo=(portraits / "barack_obama.jpg").read_bytes()),
        **fields,  # type: ignore[arg-type]
    )
    error = refused(connection.faces.SearchTemplates, request)
    assert (error.reason, error.metadata["field"]) == ("INVALID_ARGUMENT", field)


def update(connection: Connection, name: str, paths: list[str], **fields: object) -> gallery_pb2.Identity:
    request = gallery_service_pb2.UpdateIdentityRequest(
        identity=gallery_pb2.Identity(name=name, **fields),  # type: ignore[arg-type]
        update_mask=field_mask_pb2.FieldMask(paths=paths),
    )
    answer: gallery_pb2.Identity = connection.galleries.UpdateIdentity(request)
    return answer


def test_an_update_changes_what_it_names_and_leaves_the_rest(
    connection: Connection, gallery: str, enroll: Enroll
) -> None:
    enroll("obama", "barack_obama.jpg", display_name="Barack Obama", labels={"country": "us"})
    name = f"{gallery}/identities/obama"
    renamed = update(connection, name, [], display_name="Mr Obama")
    assert (renamed.display_name, dict(renamed.labels)) == ("Mr Obama", {"country": "us"})
    limited = update(connection, name, ["verify_threshold"], verify_threshold=0.7, display_name="ignored")
    assert limited.display_name == "Mr Obama"
    assert limited.verify_threshold == pytest.approx(0.7)
    cleared = update(connection, name, ["verify_threshold", "labels"])
    assert not cleared.HasField("verify_threshold")
    assert dict(cleared.labels) == {}
    assert cleared.display_name == "Mr Obama"
    assert cleared.template_count == 1
    assert len({renamed.etag, limited.etag, cleared.etag}) == 3
    assert connection.galleries.GetIdentity(gallery_service_pb2.GetIdentityRequest(name=name)) == cleared


def test_a_stale_identity_etag_changes_nothing(connection: Connection, gallery: str, enroll: Enroll) -> None:
    enroll("obama", "barack_obama.jpg")
    name = f"{gallery}/identities/obama"
    etag = update(connection, name, [], display_name="One").etag
    update(connection, name, [], display_name="Two", etag=etag)
    with pytest.raises(grpc.RpcError) as failed:
        update(connection, name, [], display_name="Three", etag=etag)
    assert ServiceError.of(failed.value).reason == "CONCURRENT_UPDATE"


@pytest.mark.parametrize(
    ("identity", "paths", "field"),
    [
        (gallery_pb2.Identity(), [], "update_mask"),
        (gallery_pb2.Identity(display_name="x"), ["create_time"], "update_mask"),
        (gallery_pb2.Identity(display_name="x" * 257), [], "identity.display_name"),
        (gallery_pb2.Identity(labels={"a.b": "c"}), [], "labels"),
        (gallery_pb2.Identity(labels={f"key-{n}": "" for n in range(33)}), [], "labels"),
        (gallery_pb2.Identity(verify_threshold=2), [], "verify_threshold"),
    ],
)
def test_a_malformed_update_names_the_field(
    connection: Connection,
    gallery: str,
    enroll: Enroll,
    refused: Refused,
    identity: gallery_pb2.Identity,
    paths: list[str],
    field: str,
) -> None:
    enroll("obama", "barack_obama.jpg")
    request = gallery_service_pb2.UpdateIdentityRequest(
        identity=identity, update_mask=field_mask_pb2.FieldMask(paths=paths)
    )
    request.identity.name = f"{gallery}/identities/obama"
    error = refused(connection.galleries.UpdateIdentity, request)
    assert (error.reason, error.metadata["field"]) == ("INVALID_ARGUMENT", field)


def test_every_policy_revision_is_listed_newest_first(connection: Connection, gallery: str) -> None:
    for number in range(1, 6):
        connection.galleries.UpdateGallery(
            gallery_service_pb2.UpdateGalleryRequest(
                gallery=gallery_pb2.Gallery(name=gallery, policy=gallery_pb2.Policy(verify_threshold=number / 10))
            )
        )
    seen, token = [], ""
    while True:
        page = connection.galleries.ListPolicyRevisions(
            gallery_service_pb2.ListPolicyRevisionsRequest(parent=gallery, page_size=2, page_token=token)
        )
        seen += [(policy.revision, round(policy.verify_threshold, 3)) for policy in page.policies]
        token = page.next_page_token
        if not token:
            break
    assert seen == [(6, 0.5), (5, 0.4), (4, 0.3), (3, 0.2), (2, 0.1), (1, 0.0)]


def test_an_update_of_a_gallery_without_mask_changes_what_is_set(connection: Connection, gallery: str) -> None:
    def change(**fields: object) -> gallery_pb2.Gallery:
        answer: gallery_pb2.Gallery = connection.galleries.UpdateGallery(
            gallery_service_pb2.UpdateGalleryRequest(gallery=gallery_pb2.Gallery(name=gallery, **fields))  # type: ignore[arg-type]
        )
        return answer

    change(policy=gallery_pb2.Policy(verify_threshold=0.5, runner_up_margin=0.2))
    renamed = change(display_name="People")
    assert (renamed.display_name, renamed.policy.revision) == ("People", 2)
    assert renamed.policy.verify_threshold == pytest.approx(0.5)
    changed = change(policy=gallery_pb2.Policy(verify_threshold=0.6))
    assert changed.display_name == "People"
    assert changed.policy.runner_up_margin == pytest.approx(0.2)
