"""FaceService with real photos, a real Triton and a real Qdrant Edge."""

import io
import math
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
from PIL import Image

from sameface.client import ServiceError
from sameface.client.connection import Connection
from sameface.v1 import decision_pb2, face_pb2, face_service_pb2, gallery_pb2, gallery_service_pb2
from tests.api.conftest import Enroll

Refused = Callable[..., ServiceError]


def photo(portraits: Path, name: str) -> face_pb2.Sample:
    return face_pb2.Sample(photo=(portraits / name).read_bytes())


def verify(connection: Connection, name: str, sample: face_pb2.Sample, **fields: Any) -> decision_pb2.Decision:
    request = face_service_pb2.VerifyFaceRequest(name=name, sample=sample, **fields)
    decision: decision_pb2.Decision = connection.faces.VerifyFace(request).decision
    return decision


def test_another_photo_of_the_enrolled_person_matches(
    connection: Connection, gallery: str, enroll: Enroll, portraits: Path
) -> None:
    enroll("macron", "emmanuel_macron_2014.jpg")
    decision = verify(connection, f"{gallery}/identities/macron", photo(portraits, "emmanuel_macron_2025.jpg"))
    assert decision.outcome == decision_pb2.OUTCOME_MATCH
    assert decision.score >= decision.threshold
    assert decision.threshold_source == decision_pb2.THRESHOLD_SOURCE_MODEL_CARD
    assert decision.scope == decision_pb2.SCOPE_CLAIM
    assert decision.gallery_size == 1


def test_a_stranger_does_not_match(connection: Connection, gallery: str, enroll: Enroll, portraits: Path) -> None:
    enroll("macron", "emmanuel_macron_2014.jpg")
    decision = verify(connection, f"{gallery}/identities/macron", photo(portraits, "rishi_sunak.jpg"))
    assert decision.outcome == decision_pb2.OUTCOME_NO_MATCH
    assert decision.score < decision.threshold


def test_identification_names_the_person_and_lists_the_others(
    connection: Connection, gallery: str, enroll: Enroll, portraits: Path
) -> None:
    enroll("macron", "emmanuel_macron_2014.jpg", display_name="Emmanuel Macron")
    enroll("obama", "barack_obama.jpg")
    answer = connection.faces.IdentifyFaces(
        face_service_pb2.IdentifyFacesRequest(gallery=gallery, sample=photo(portraits, "emmanuel_macron_2025.jpg"))
    )
    (face,) = answer.faces
    assert face.decision.outcome == decision_pb2.OUTCOME_MATCH
    assert [candidate.identity for candidate in face.decision.candidates] == [
        f"{gallery}/identities/macron",
        f"{gallery}/identities/obama",
    ]
    assert face.decision.candidates[0].display_name == "Emmanuel Macron"
    assert face.decision.lead == pytest.approx(
        face.decision.candidates[0].score - face.decision.candidates[1].score, abs=1e-6
    )


def test_an_empty_gallery_answers_no_match_with_size_zero(
    connection: Connection, gallery: str, portraits: Path
) -> None:
    answer = connection.faces.IdentifyFaces(
        face_service_pb2.IdentifyFacesRequest(gallery=gallery, sample=photo(portraits, "barack_obama.jpg"))
    )
    decision = answer.faces[0].decision
    assert decision.outcome == decision_pb2.OUTCOME_NO_MATCH
    assert decision.gallery_size == 0
    assert not decision.HasField("score")


def test_one_person_under_two_ids_is_ambiguous(
    connection: Connection, gallery: str, enroll: Enroll, portraits: Path
) -> None:
    warn = gallery_pb2.Policy(on_collision=gallery_pb2.GUARD_ACTION_WARN)
    connection.galleries.UpdateGallery(
        gallery_service_pb2.UpdateGalleryRequest(gallery=gallery_pb2.Gallery(name=gallery, policy=warn))
    )
    enroll("ardern", "jacinda_ardern_2018.jpg")
    enroll("j.ardern", "jacinda_ardern_2018.jpg")
    probe = photo(portraits, "jacinda_ardern_2022.jpg")
    ambiguous = verify(connection, f"{gallery}/identities/ardern", probe)
    assert ambiguous.outcome == decision_pb2.OUTCOME_AMBIGUOUS
    assert abs(ambiguous.lead) < ambiguous.runner_up_margin
    alone = verify(connection, f"{gallery}/identities/ardern", probe, scope=decision_pb2.SCOPE_CLAIM)
    assert alone.outcome == decision_pb2.OUTCOME_MATCH


def test_an_embedding_decides_as_its_photo_does(
    connection: Connection, gallery: str, enroll: Enroll, portraits: Path
) -> None:
    enroll("macron", "emmanuel_macron_2014.jpg")
    sample = photo(portraits, "emmanuel_macron_2025.jpg")
    (embedded,) = connection.faces.EmbedFaces(face_service_pb2.EmbedFacesRequest(photo=sample.photo)).faces
    assert np.linalg.norm(embedded.embedding.values) == pytest.approx(1.0, abs=1e-5)
    name = f"{gallery}/identities/macron"
    by_photo = verify(connection, name, sample)
    by_embedding = verify(connection, name, face_pb2.Sample(embedding=embedded.embedding))
    assert by_embedding.score == pytest.approx(by_photo.score, abs=1e-5)
    assert by_embedding.outcome == by_photo.outcome


def test_the_same_enrolment_sent_twice_gives_one_template(connection: Connection, gallery: str, enroll: Enroll) -> None:
    request_id = str(uuid.uuid4())
    first = enroll("obama", "barack_obama.jpg", request_id=request_id)
    again = enroll("obama", "barack_obama.jpg", request_id=request_id)
    without_id = enroll("sunak", "rishi_sunak.jpg"), enroll("sunak", "rishi_sunak.jpg")
    assert first.template == again.template
    assert without_id[0].template == without_id[1].template
    for identity in ("obama", "sunak"):
        listed = connection.galleries.ListTemplates(
            gallery_service_pb2.ListTemplatesRequest(parent=f"{gallery}/identities/{identity}")
        )
        assert len(listed.templates) == 1


def test_a_request_id_is_not_reused_for_another_photo(
    connection: Connection, gallery: str, enroll: Enroll, portraits: Path, refused: Refused
) -> None:
    request_id = str(uuid.uuid4())
    enroll("obama", "barack_obama.jpg", request_id=request_id)
    error = refused(
        connection.faces.EnrollTemplate,
        face_service_pb2.EnrollTemplateRequest(
            parent=f"{gallery}/identities/obama",
            sample=photo(portraits, "rishi_sunak.jpg"),
            request_id=request_id,
        ),
    )
    assert error.reason == "REQUEST_ID_REUSED"


def test_validate_only_reports_the_face_and_stores_nothing(
    connection: Connection, gallery: str, enroll: Enroll, refused: Refused
) -> None:
    answer = enroll("obama", "barack_obama.jpg", validate_only=True)
    assert answer.template.name == ""
    assert answer.face.quality
    error = refused(
        connection.galleries.GetIdentity,
        gallery_service_pb2.GetIdentityRequest(name=f"{gallery}/identities/obama"),
    )
    assert error.reason == "IDENTITY_NOT_FOUND"


def test_comparing_two_photos_stores_nothing_and_says_the_same(connection: Connection, portraits: Path) -> None:
    same = connection.faces.CompareFaces(
        face_service_pb2.CompareFacesRequest(
            first=photo(portraits, "emmanuel_macron_2014.jpg"), second=photo(portraits, "emmanuel_macron_2025.jpg")
        )
    )
    other = connection.faces.CompareFaces(
        face_service_pb2.CompareFacesRequest(
            first=photo(portraits, "emmanuel_macron_2014.jpg"), second=photo(portraits, "barack_obama.jpg")
        )
    )
    assert same.decision.outcome == decision_pb2.OUTCOME_MATCH
    assert other.decision.outcome == decision_pb2.OUTCOME_NO_MATCH


def test_box_and_landmarks_are_in_pixels_of_the_photo_as_sent(connection: Connection, portraits: Path) -> None:
    with Image.open(portraits / "barack_obama.jpg") as image:
        large = image.convert("RGB").resize((image.width * 3, image.height * 3))
        size = image.size
    buffer = io.BytesIO()
    large.save(buffer, format="JPEG", quality=95)
    original = connection.faces.DetectFaces(
        face_service_pb2.DetectFacesRequest(photo=(portraits / "barack_obama.jpg").read_bytes())
    )
    enlarged = connection.faces.DetectFaces(face_service_pb2.DetectFacesRequest(photo=buffer.getvalue()))
    assert (original.width, original.height) == size
    assert (enlarged.width, enlarged.height) == large.size
    expected, actual = original.faces[0].bounding_box, enlarged.faces[0].bounding_box
    tolerance = 0.05 * 3 * expected.width
    assert actual.x == pytest.approx(3 * expected.x, abs=tolerance)
    assert actual.width == pytest.approx(3 * expected.width, abs=tolerance)


def test_several_faces_are_refused_where_one_is_required(
    connection: Connection, gallery: str, portraits: Path, refused: Refused
) -> None:
    with Image.open(portraits / "barack_obama.jpg") as one, Image.open(portraits / "rishi_sunak.jpg") as other:
        height = 600
        parts = [part.convert("RGB").resize((part.width * height // part.height, height)) for part in (one, other)]
    both = Image.new("RGB", (sum(part.width for part in parts), height))
    both.paste(parts[0], (0, 0))
    both.paste(parts[1], (parts[0].width, 0))
    buffer = io.BytesIO()
    both.save(buffer, format="JPEG")
    sample = face_pb2.Sample(photo=buffer.getvalue())
    error = refused(
        connection.faces.EnrollTemplate,
        face_service_pb2.EnrollTemplateRequest(
            parent=f"{gallery}/identities/both",
            sample=sample,
            allow_missing=True,
            face_selection=face_pb2.FACE_SELECTION_ERROR,
        ),
    )
    assert (error.code, error.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "MULTIPLE_FACES")
    assert error.metadata["count"] == "2"
    answer = connection.faces.IdentifyFaces(
        face_service_pb2.IdentifyFacesRequest(gallery=gallery, sample=sample, all_faces=True)
    )
    assert len(answer.faces) == 2


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "INVALID_ARGUMENT"),
        (b"not an image", "IMAGE_UNDECODABLE"),
        (b"\xff\xd8\xff\xe0" + bytes(200), "IMAGE_UNDECODABLE"),
    ],
)
def test_what_is_no_image_is_refused_with_its_reason(
    connection: Connection, gallery: str, refused: Refused, content: bytes, reason: str
) -> None:
    error = refused(
        connection.faces.IdentifyFaces,
        face_service_pb2.IdentifyFacesRequest(gallery=gallery, sample=face_pb2.Sample(photo=content)),
    )
    assert error.code == grpc.StatusCode.INVALID_ARGUMENT
    assert error.reason in {reason, "IMAGE_UNDECODABLE"}


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ("short", "INVALID_EMBEDDING"),
        ("nan", "INVALID_EMBEDDING"),
        ("zero", "INVALID_EMBEDDING"),
        ("contract", "CONTRACT_MISMATCH"),
    ],
)
def test_a_bad_embedding_is_refused_and_nothing_is_stored(
    connection: Connection, gallery: str, portraits: Path, refused: Refused, change: str, reason: str
) -> None:
    content = (portraits / "barack_obama.jpg").read_bytes()
    embedding = connection.faces.EmbedFaces(face_service_pb2.EmbedFacesRequest(photo=content)).faces[0].embedding
    match change:
        case "short":
            del embedding.values[100:]
        case "nan":
            embedding.values[3] = math.nan
        case "zero":
            embedding.values[:] = [0.0] * 128
        case _:
            embedding.contract.sha256 = "0" * 64
    error = refused(
        connection.faces.EnrollTemplate,
        face_service_pb2.EnrollTemplateRequest(
            parent=f"{gallery}/identities/obama", sample=face_pb2.Sample(embedding=embedding), allow_missing=True
        ),
    )
    assert error.reason == reason
    listed = connection.galleries.ListIdentities(gallery_service_pb2.ListIdentitiesRequest(parent=gallery))
    assert not listed.identities
