"""Good, unusual and broken photos, through the whole service."""

import io
import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import cv2
import grpc
import numpy as np
import pytest
from PIL import Image

from sameface.client import ServiceError
from sameface.client.connection import Connection
from sameface.v1 import decision_pb2, face_pb2, face_service_pb2, gallery_service_pb2
from tests.api.conftest import Enroll

Refused = Callable[..., ServiceError]


def jpeg(image: Image.Image, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.convert("RGB").save(buffer, format="JPEG", quality=92, **options)
    return buffer.getvalue()


def portrait(portraits: Path, name: str = "barack_obama.jpg") -> Image.Image:
    with Image.open(portraits / name) as opened:
        return opened.convert("RGB")


@pytest.fixture
def refused_everywhere(connection: Connection, gallery: str, enroll: Enroll, refused: Refused) -> Callable[..., None]:
    """Send a photo to every rpc that needs a face of good quality. All must give the same error and store nothing."""
    enroll("obama", "barack_obama.jpg")

    def run(photo: bytes, reason: str, *metadata: str) -> None:
        sample = face_pb2.Sample(photo=photo)
        calls = (
            (
                connection.faces.EnrollTemplate,
                face_service_pb2.EnrollTemplateRequest(
                    parent=f"{gallery}/identities/new", sample=sample, allow_missing=True
                ),
            ),
            (
                connection.faces.VerifyFace,
                face_service_pb2.VerifyFaceRequest(name=f"{gallery}/identities/obama", sample=sample),
            ),
            (
                connection.faces.IdentifyFaces,
                face_service_pb2.IdentifyFacesRequest(gallery=gallery, sample=sample),
            ),
            (connection.faces.CompareFaces, face_service_pb2.CompareFacesRequest(first=sample, second=sample)),
        )
        for rpc, request in calls:
            error = refused(rpc, request)
            assert (error.code, error.reason) == (grpc.StatusCode.INVALID_ARGUMENT, reason)
            assert set(metadata) <= error.metadata.keys()
        listed = connection.galleries.ListIdentities(gallery_service_pb2.ListIdentitiesRequest(parent=gallery))
        assert [identity.name for identity in listed.identities] == [f"{gallery}/identities/obama"]

    return run


def test_a_photo_without_a_face_is_refused(refused_everywhere: Callable[..., None]) -> None:
    refused_everywhere(jpeg(Image.new("RGB", (400, 300), "white")), "FACE_NOT_FOUND", "count")


def test_a_face_that_is_too_small_is_refused_with_its_size(
    refused_everywhere: Callable[..., None], portraits: Path
) -> None:
    picture = Image.new("RGB", (600, 600), "grey")
    small = portrait(portraits)
    picture.paste(small.resize((60, small.height * 60 // small.width)), (270, 250))
    refused_everywhere(jpeg(picture), "FACE_TOO_SMALL", "InterEyeDistance", "min_inter_eye_distance")


def test_a_blurred_face_is_refused_with_its_sharpness(refused_everywhere: Callable[..., None], portraits: Path) -> None:
    blurred = Image.fromarray(cv2.GaussianBlur(np.asarray(portrait(portraits)), (0, 0), 9))
    refused_everywhere(jpeg(blurred), "QUALITY_TOO_LOW", "Sharpness", "min_sharpness")


@pytest.mark.dataset
def test_a_profile_is_refused_with_its_angle(refused_everywhere: Callable[..., None], shared_data: Path) -> None:
    profile = shared_data / "london" / "001" / "neutral_left_profile.jpg"
    refused_everywhere(profile.read_bytes(), "EXTREME_POSE", "HeadPoseYaw", "max_yaw")


def test_a_header_of_gigapixels_is_refused(refused_everywhere: Callable[..., None]) -> None:
    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", 50_000, 50_000, 8, 2, 0, 0, 0))
    content = b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(bytes(1000))) + chunk(b"IEND", b"")
    refused_everywhere(content, "IMAGE_TOO_LARGE", "width", "height", "limit")


def test_too_many_bytes_are_refused(refused_everywhere: Callable[..., None]) -> None:
    refused_everywhere(bytes((16 << 20) + 1), "IMAGE_TOO_LARGE", "bytes", "limit")


@pytest.mark.parametrize("content", [b"", b"GIF89a", b"not an image"], ids=["empty", "head", "text"])
def test_what_is_no_image_is_refused(refused_everywhere: Callable[..., None], content: bytes) -> None:
    refused_everywhere(content, "IMAGE_UNDECODABLE")


def test_a_truncated_photo_is_refused(refused_everywhere: Callable[..., None], portraits: Path) -> None:
    content = (portraits / "barack_obama.jpg").read_bytes()
    refused_everywhere(content[: len(content) // 2], "IMAGE_UNDECODABLE")


def identify(connection: Connection, gallery: str, photo: bytes) -> face_service_pb2.IdentifyFacesResponse:
    request = face_service_pb2.IdentifyFacesRequest(gallery=gallery, sample=face_pb2.Sample(photo=photo))
    answer: face_service_pb2.IdentifyFacesResponse = connection.faces.IdentifyFaces(request)
    return answer


@pytest.mark.parametrize("mode", ["CMYK", "L", "RGBA", "P"])
def test_a_photo_in_another_colour_model_is_recognised(
    connection: Connection, gallery: str, enroll: Enroll, portraits: Path, mode: str
) -> None:
    enroll("obama", "barack_obama.jpg")
    buffer = io.BytesIO()
    portrait(portraits).convert(mode).save(buffer, format="TIFF")
    (face,) = identify(connection, gallery, buffer.getvalue()).faces
    assert face.decision.outcome == decision_pb2.OUTCOME_MATCH
    assert face.decision.score > 0.8


def test_a_phone_photo_of_twelve_megapixels_lying_on_its_side_is_recognised(
    connection: Connection, gallery: str, enroll: Enroll, portraits: Path
) -> None:
    enroll("obama", "barack_obama.jpg")
    scene = Image.new("RGB", (3024, 4032), (90, 120, 150))
    person = portrait(portraits)
    person = person.resize((1500, person.height * 1500 // person.width), Image.Resampling.LANCZOS)
    scene.paste(person, (900, 1400))
    exif = Image.Exif()
    exif[0x0112] = 6  # stored rotated; to be turned right by 90°
    content = jpeg(scene.transpose(Image.Transpose.ROTATE_90), exif=exif.tobytes())
    (face,) = identify(connection, gallery, content).faces
    assert face.decision.outcome == decision_pb2.OUTCOME_MATCH
    assert face.decision.score > 0.9
    box = face.face.bounding_box
    # In pixels of the upright photo as sent: inside the pasted person.
    assert 900 < box.x < box.x + box.width < 2400
    assert 1400 < box.y < box.y + box.height < 4032


@pytest.mark.parametrize("angle", [-50, -25, 25, 50, 72, 180, 270])
def test_a_turned_head_is_recognised(
    connection: Connection, gallery: str, enroll: Enroll, portraits: Path, angle: int
) -> None:
    enroll("sunak", "rishi_sunak.jpg")
    tilted = portrait(portraits, "rishi_sunak.jpg").rotate(angle, expand=True, fillcolor="grey")
    (face,) = identify(connection, gallery, jpeg(tilted)).faces
    assert face.decision.outcome == decision_pb2.OUTCOME_MATCH
    assert face.decision.score > 0.9
    roll = {part.name: part.measurement for part in face.face.quality}["HeadPoseRoll"]
    assert abs((roll + angle + 180) % 360 - 180) < 10


def test_a_portrait_of_200_by_240_is_recognised(
    connection: Connection, gallery: str, enroll: Enroll, portraits: Path
) -> None:
    enroll("obama", "barack_obama.jpg")
    small = portrait(portraits).resize((200, 240), Image.Resampling.LANCZOS)
    (face,) = identify(connection, gallery, jpeg(small)).faces
    assert face.decision.outcome == decision_pb2.OUTCOME_MATCH


def test_a_face_that_fills_the_photo_is_found(
    connection: Connection, gallery: str, enroll: Enroll, portraits: Path
) -> None:
    enroll("obama", "barack_obama.jpg")
    found = connection.faces.DetectFaces(
        face_service_pb2.DetectFacesRequest(photo=(portraits / "barack_obama.jpg").read_bytes())
    ).faces[0]
    box = found.bounding_box
    close_up = portrait(portraits).crop((int(box.x), int(box.y), int(box.x + box.width), int(box.y + box.height)))
    (face,) = identify(
        connection, gallery, jpeg(close_up.resize((1400, 1400 * close_up.height // close_up.width)))
    ).faces
    assert face.decision.outcome == decision_pb2.OUTCOME_MATCH


def test_of_two_people_each_selection_takes_its_own(
    connection: Connection, gallery: str, enroll: Enroll, portraits: Path
) -> None:
    enroll("obama", "barack_obama.jpg")
    enroll("sunak", "rishi_sunak.jpg")
    scene = Image.new("RGB", (1600, 1200), "grey")
    big, small = portrait(portraits), portrait(portraits, "rishi_sunak.jpg")
    scene.paste(big.resize((500, big.height * 500 // big.width)), (0, 0))
    scene.paste(small.resize((280, small.height * 280 // small.width)), (660, 440))

    def best(**fields: object) -> list[str]:
        request = face_service_pb2.IdentifyFacesRequest(
            gallery=gallery,
            sample=face_pb2.Sample(photo=jpeg(scene)),
            **fields,  # type: ignore[arg-type]
        )
        return [
            face.decision.candidates[0].identity.rpartition("/")[2]
            for face in connection.faces.IdentifyFaces(request).faces
        ]

    assert best() == ["obama"]
    assert best(face_selection=face_pb2.FACE_SELECTION_LARGEST) == ["obama"]
    assert best(face_selection=face_pb2.FACE_SELECTION_MOST_CENTRAL) == ["sunak"]
    assert best(all_faces=True) == ["obama", "sunak"]


def test_with_all_faces_a_poor_face_is_listed_without_decision(
    connection: Connection, gallery: str, enroll: Enroll, portraits: Path
) -> None:
    enroll("obama", "barack_obama.jpg")
    scene = Image.new("RGB", (900, 700), "grey")
    big, small = portrait(portraits), portrait(portraits, "rishi_sunak.jpg")
    scene.paste(big.resize((500, big.height * 500 // big.width)), (0, 0))
    scene.paste(small.resize((70, small.height * 70 // small.width)), (700, 300))
    request = face_service_pb2.IdentifyFacesRequest(
        gallery=gallery, sample=face_pb2.Sample(photo=jpeg(scene)), all_faces=True
    )
    answer = connection.faces.IdentifyFaces(request)
    good, poor = answer.faces
    assert answer.faces_found == 2
    assert connection.faces.DetectFaces(face_service_pb2.DetectFacesRequest(photo=jpeg(scene))).faces_found == 2
    assert connection.faces.EmbedFaces(face_service_pb2.EmbedFacesRequest(photo=jpeg(scene))).faces_found == 2
    stream = face_service_pb2.StreamIdentifyFacesRequest(
        settings=face_service_pb2.StreamIdentifyFacesRequest.Settings(gallery=gallery, all_faces=True),
        sample=request.sample,
    )
    assert [one.faces_found for one in connection.faces.StreamIdentifyFaces(iter([stream]))] == [2]
    assert good.decision.outcome == decision_pb2.OUTCOME_MATCH
    assert not poor.HasField("decision")
    assert poor.face.issues[0].reason == "FACE_TOO_SMALL"


def test_detecting_in_an_empty_photo_is_an_answer(connection: Connection) -> None:
    answer = connection.faces.DetectFaces(face_service_pb2.DetectFacesRequest(photo=jpeg(Image.new("RGB", (320, 200)))))
    assert (len(answer.faces), answer.width, answer.height) == (0, 320, 200)
    embedded = connection.faces.EmbedFaces(face_service_pb2.EmbedFacesRequest(photo=jpeg(Image.new("RGB", (320, 200)))))
    assert (len(embedded.faces), embedded.width, embedded.height) == (0, 320, 200)
