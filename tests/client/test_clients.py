"""Both clients against the real service: every method, every kind of photo."""

import asyncio
import inspect
import io
import pydoc
import uuid
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from google.protobuf import message_factory
from PIL import Image

from sameface.cli.health import ask_health
from sameface.client import AsyncClient, Client, NotAPhoto, Outcome, Scope, ServiceError, connect
from sameface.client.calls import Calls
from sameface.client.connection import MAX_PHOTO_BYTES
from sameface.client.fields import identity_name
from sameface.client.rpc import Call
from sameface.client.samples import photo_bytes
from sameface.launcher import Service
from sameface.resource_names import ids_in, last_part
from sameface.v1 import (
    calibration_pb2,
    face_pb2,
    face_service_pb2,
    gallery_service_pb2,
    migration_service_pb2,
    system_service_pb2,
)
from tests.client import proxies


class Blocking:
    """The asynchronous client with the methods of the synchronous one, so that one test runs with both."""

    def __init__(self, address: str) -> None:
        self._runner = asyncio.Runner()
        self._client = self._runner.run(self._open(address))

    @staticmethod
    async def _open(address: str) -> AsyncClient:
        return AsyncClient(address)

    def __getattr__(self, name: str) -> Any:
        attribute = getattr(self._client, name)

        def call(*arguments: Any, **options: Any) -> Any:
            result = attribute(*arguments, **options)
            return self._runner.run(_all(result) if inspect.isasyncgen(result) else result)

        return call

    def close(self) -> None:
        self._runner.run(self._client.aclose())
        self._runner.close()


async def _all(items: AsyncIterator[Any]) -> list[Any]:
    return [item async for item in items]


@pytest.fixture(params=[Client, Blocking], ids=["sync", "async"])
def client(request: pytest.FixtureRequest, service: Service) -> Any:
    opened = request.param(service.address)
    yield opened
    opened.close()


@pytest.fixture
def gallery(client: Any) -> Any:
    name = f"client-{uuid.uuid4().hex[:12]}"
    client.create_gallery(name, display_name="People", runner_up_margin=0.1)
    yield name
    client.delete_gallery(name, force=True)


def test_both_clients_have_the_methods_that_are_declared_once() -> None:
    declared = {name for name in dir(Calls) if not name.startswith("_")}
    assert {"enroll", "galleries", "delete_template", "server_info"} < declared
    assert {name for name in dir(Client) if not name.startswith("_")} == declared | {"identify_stream", "close"}
    assert {name for name in dir(AsyncClient) if not name.startswith("_")} == declared | {"identify_stream", "aclose"}


@pytest.mark.parametrize("kind", [Client, AsyncClient])
def test_a_method_shows_its_parameters_and_what_it_does(kind: type[Client | AsyncClient]) -> None:
    opened = kind.__new__(kind)
    assert [*inspect.signature(opened.verify).parameters] == ["gallery", "identity", "sample", "options"]
    assert [*inspect.signature(opened.identities).parameters] == ["gallery", "labels"]
    assert "1:1" in pydoc.render_doc(kind)
    assert all(inspect.getdoc(getattr(kind, name)) for name in dir(kind) if not name.startswith("_"))


@pytest.mark.parametrize("proto", [face_service_pb2, gallery_service_pb2, migration_service_pb2, system_service_pb2])
def test_every_rpc_is_found_by_its_request(proto: Any) -> None:
    (service,) = proto.DESCRIPTOR.services_by_name.values()
    for method in service.methods:
        call: Call[Any] = Call(message_factory.GetMessageClass(method.input_type)())
        assert call.path == f"/{service.full_name}/{method.name}"
        assert call.answer.DESCRIPTOR is method.output_type


@pytest.mark.parametrize("kind", [Client, Blocking])
def test_calls_to_this_machine_never_go_through_a_proxy(
    kind: Any, service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    with proxies.listening() as (url, asked):
        proxies.use(monkeypatch, url, *proxies.VARIABLES)
        opened = kind(service.address)
        assert opened.server_info().version
        opened.close()
        with connect(service.address) as connection:
            assert connection.system.GetServerInfo(system_service_pb2.GetServerInfoRequest()).version
        assert ask_health(service.address, 10) == "SERVING"
        assert asked == []


def test_a_person_is_enrolled_verified_identified_and_found(client: Any, gallery: str, portraits: Path) -> None:
    enrolled = client.enroll(
        gallery, "macron", portraits / "emmanuel_macron_2014.jpg", display_name="Macron", labels={"country": "fr"}
    )
    assert enrolled.template.name.startswith(f"galleries/{gallery}/identities/macron/templates/")
    client.enroll(gallery, "obama", str(portraits / "barack_obama.jpg"))
    probe = (portraits / "emmanuel_macron_2025.jpg").read_bytes()
    verified = client.verify(gallery, "macron", probe, scope=Scope.GALLERY, face_selection="largest")
    assert verified.decision.outcome is Outcome.MATCH
    assert verified.decision.scope is Scope.GALLERY
    strict = client.verify(gallery, "macron", probe, verify_threshold=0.99, scope="claim")
    assert strict.decision.outcome is Outcome.NO_MATCH
    identified = client.identify(gallery, probe, max_candidates=1)
    assert identified.faces[0].decision.candidates[0].display_name == "Macron"
    found = client.search(gallery, probe, labels={"country": "fr"}, origin="photo", exclude_identities=["obama"])
    assert [one.display_name for one in found.templates] == ["Macron"]


@pytest.mark.parametrize("identity", ["Jacinda@example.org", "6F9619FF-8B86-D011-B42D-00C04FC964FF", "田中 花子/7"])
def test_any_text_is_the_id_of_an_identity(client: Any, gallery: str, portraits: Path, identity: str) -> None:
    photos = ("jacinda_ardern_2018.jpg", "jacinda_ardern_2022.jpg")
    # Embeddings, so that each photo is examined once.
    sample, probe = (client.embed(portraits / name).faces[0].embedding for name in photos)
    template = client.enroll(gallery, identity, sample).template
    assert template.name.startswith(identity_name(gallery, identity) + "/templates/")
    decision = client.verify(gallery, identity, probe).decision
    assert decision.outcome is Outcome.MATCH
    assert last_part(decision.candidates[0].identity) == identity
    assert [last_part(one.name) for one in client.identities(gallery)] == [identity]
    found = client.search(gallery, sample, identities=[identity])
    assert [ids_in(one.template.name) for one in found.templates] == [(gallery, identity, last_part(template.name))]
    assert client.search(gallery, sample, exclude_identities=[identity]).templates == ()
    assert client.update_identity(gallery, identity, display_name="J").display_name == "J"
    moved = client.move_identity(gallery, identity, f"{identity} 2")
    assert last_part(moved.name) == f"{identity} 2"
    assert client.get_identity(gallery, f"{identity} 2").template_count == 1
    receipt = client.delete_identity(gallery, f"{identity} 2", force=True)
    assert receipt.erased == identity_name(gallery, f"{identity} 2")
    assert [one.erased for one in client.erasure_receipts(gallery)] == [receipt.erased]


def test_a_stream_of_photos_is_identified_in_order(client: Any, gallery: str, portraits: Path) -> None:
    client.enroll(gallery, "obama", portraits / "barack_obama.jpg")
    photos = [portraits / "barack_obama.jpg", b"no photo", portraits / "rishi_sunak.jpg"]
    first, bad, last = client.identify_stream(gallery, photos)
    assert first.faces[0].decision.outcome is Outcome.MATCH
    assert bad.error.reason == "IMAGE_UNDECODABLE"
    assert last.faces[0].decision.outcome is Outcome.NO_MATCH
    with pytest.raises(ServiceError) as refused:
        list(client.identify_stream("nobody-knows-it", photos))
    assert refused.value.reason == "GALLERY_NOT_FOUND"


def test_frames_that_come_too_fast_are_dropped_and_answers_name_the_others(
    client: Any, gallery: str, portraits: Path
) -> None:
    client.enroll(gallery, "obama", portraits / "barack_obama.jpg")
    frames = [(portraits / "barack_obama.jpg").read_bytes()] * 60
    answers = list(client.identify_stream(gallery, frames, drop_late=True))
    numbers = [int(answer.tag) for answer in answers]
    assert numbers == sorted(set(numbers))
    assert numbers[-1] == 59
    assert len(numbers) < 60
    assert all(answer.faces[0].decision.outcome is Outcome.MATCH for answer in answers)
    with pytest.raises(ServiceError, match="GALLERY_NOT_FOUND"):
        list(client.identify_stream("nobody-knows-it", frames, drop_late=True))


def test_a_stream_whose_source_fails_gives_its_answers_and_then_that_failure(
    client: Any, gallery: str, portraits: Path
) -> None:
    client.enroll(gallery, "obama", portraits / "barack_obama.jpg")
    answers: list[Any] = []

    def photos() -> Any:
        yield from [portraits / "barack_obama.jpg"] * 3
        yield portraits / "nowhere.jpg"

    if isinstance(client, Client):
        with pytest.raises(FileNotFoundError):
            answers.extend(client.identify_stream(gallery, photos()))
    else:
        with pytest.raises(FileNotFoundError):
            client.identify_stream(gallery, photos())
    with pytest.raises(TypeError, match="no option"):
        list(client.identify_stream(gallery, [], threshold=0.5))
    if isinstance(client, Client):
        stream = client.identify_stream(gallery, photos())
        assert [next(stream).index for _ in range(3)] == [0, 1, 2]


def test_a_sample_of_a_stream_that_is_too_large_is_named(client: Any, gallery: str) -> None:
    size = MAX_PHOTO_BYTES + 1
    for huge in (bytes(size), face_pb2.Sample(photo=bytes(size))):
        with pytest.raises(NotAPhoto, match=f"a photo may have at most {MAX_PHOTO_BYTES}") as error:
            list(client.identify_stream(gallery, [huge]))
        assert error.value.reason == "IMAGE_TOO_LARGE"


def test_photos_come_from_paths_bytes_arrays_and_open_files(client: Any, portraits: Path) -> None:
    path = portraits / "barack_obama.jpg"
    with Image.open(path) as image:
        pixels = np.asarray(image.convert("RGB"))
    expected = client.detect(path).faces[0].bounding_box
    with path.open("rb") as file:
        for photo in (str(path), path.read_bytes(), pixels, file, io.BytesIO(path.read_bytes())):
            box = client.detect(photo).faces[0].bounding_box
            assert (box.x, box.width) == pytest.approx((expected.x, expected.width), abs=2)
    assert client.detect(pixels.mean(axis=2).astype(np.uint8)).faces


def test_an_embedding_takes_the_place_of_its_photo(client: Any, gallery: str, portraits: Path) -> None:
    photo = portraits / "jacinda_ardern_2018.jpg"
    version = client.get_gallery(gallery).contract.version
    embedding = client.embed(photo, embedder_version=version).faces[0].embedding
    client.enroll(gallery, "ardern", embedding)
    assert client.verify(gallery, "ardern", photo).decision.score == pytest.approx(1.0, abs=1e-5)
    same = client.compare(embedding, photo, target_fmr=1e-3)
    assert same.decision.outcome is Outcome.MATCH


def test_resources_are_made_changed_listed_and_erased(client: Any, gallery: str, portraits: Path) -> None:
    assert client.get_gallery(gallery).policy.runner_up_margin == pytest.approx(0.1)
    changed = client.update_gallery(gallery, verify_threshold=0.5, runner_up_margin=None, display_name="Others")
    assert changed.display_name == "Others"
    assert changed.policy.verify_threshold == pytest.approx(0.5)
    assert changed.policy.runner_up_margin == pytest.approx(0.05)
    assert [policy.revision for policy in client.policy_revisions(gallery)] == [2, 1]
    assert gallery in {one.name.removeprefix("galleries/") for one in client.galleries()}

    client.create_identity(gallery, "ada", display_name="Ada", labels={"team": "one"})
    assert client.get_identity(gallery, "ada").display_name == "Ada"
    renamed = client.update_identity(gallery, "ada", labels={"team": "two"}, verify_threshold=0.7)
    assert (renamed.display_name, dict(renamed.labels)) == ("Ada", {"team": "two"})
    assert client.update_identity(gallery, "ada", verify_threshold=None).verify_threshold is None
    for number in range(3):
        client.create_identity(gallery, f"more-{number}")
    assert len(list(client.identities(gallery))) == 4

    client.enroll(gallery, "ada", portraits / "barack_obama.jpg", expire_time=datetime.now(UTC) + timedelta(days=1))
    (template,) = client.templates(gallery, "ada")
    identifier = template.name.rpartition("/")[2]
    assert client.get_template(gallery, "ada", identifier) == template
    client.delete_template(gallery, "ada", identifier)
    client.delete_identity(gallery, "ada")
    with pytest.raises(ServiceError) as refused:
        client.get_identity(gallery, "ada")
    assert refused.value.reason == "IDENTITY_NOT_FOUND"
    assert client.server_info().inference_runtime == "triton"


def test_a_gallery_is_calibrated_and_asked_what_if(client: Any, gallery: str, portraits: Path) -> None:
    client.enroll(gallery, "obama", portraits / "barack_obama.jpg")
    client.enroll(gallery, "sunak", portraits / "rishi_sunak.jpg")
    measured = client.calibrate_gallery(gallery, validate_only=True, operation="verification")
    assert measured.calibration.comparisons == 2
    with pytest.raises(ServiceError) as refused:
        client.calibrate_gallery(gallery, accept_supported=True)
    assert refused.value.reason == "CALIBRATION_NOT_SUPPORTED"
    scores = calibration_pb2.LabelledScores(scores=[0.1] * 50, first=range(50), second=range(50, 100))
    assert client.calibrate_gallery(gallery, validate_only=True, scores=scores).calibration.comparisons == 50
    answer = client.what_if_gallery(gallery, "verification", threshold=-1.0)
    assert (answer.before.no_matches, answer.after.matches) == (2, 2)
    with pytest.raises(TypeError, match="no option"):
        client.what_if_gallery(gallery, "verification", limit=0.5)


def test_a_photo_that_is_enrolled_again_in_any_form_is_one_template(client: Any, gallery: str, portraits: Path) -> None:
    path = portraits / "barack_obama.jpg"
    forms = [path, str(path), path.read_bytes(), path.read_bytes()]
    assert len({client.enroll(gallery, "obama", form).template.name for form in forms}) == 1
    assert len(list(client.templates(gallery, "obama"))) == 1
    again = client.enroll(gallery, "obama", path, request_id=str(uuid.uuid4()))
    assert {again.template.name} < {one.name for one in client.templates(gallery, "obama")}


def test_what_exists_is_returned_unchanged_if_that_is_wanted(client: Any, gallery: str) -> None:
    with pytest.raises(ServiceError, match="GALLERY_ALREADY_EXISTS"):
        client.create_gallery(gallery)
    there = client.create_gallery(gallery, exist_ok=True, display_name="New", runner_up_margin=0.2)
    assert there == client.get_gallery(gallery)
    assert (there.display_name, there.policy.revision) == ("People", 1)
    made = client.create_identity(gallery, "ada", exist_ok=True, display_name="Ada")
    assert made.display_name == "Ada"
    with pytest.raises(ServiceError, match="IDENTITY_ALREADY_EXISTS"):
        client.create_identity(gallery, "ada")
    assert client.create_identity(gallery, "ada", exist_ok=True, display_name="Bob") == made


def test_a_refusal_carries_what_a_program_needs(client: Any, gallery: str, portraits: Path) -> None:
    with pytest.raises(ServiceError, match="FACE_NOT_FOUND") as refused:
        client.identify(gallery, np.zeros((200, 300, 3), np.uint8))
    assert refused.value.metadata == {"count": "0"}
    with pytest.raises(ServiceError) as missing:
        client.enroll(gallery, "nobody", portraits / "barack_obama.jpg", create_identity=False)
    assert missing.value.reason == "IDENTITY_NOT_FOUND"


@pytest.mark.parametrize(
    ("photo", "error"),
    [
        (np.zeros((4, 4, 5), np.uint8), ValueError),
        (np.zeros((4, 4, 3), np.float32), ValueError),
        (np.zeros((0, 4, 3), np.uint8), ValueError),
        (7, TypeError),
        ("/nowhere.jpg", FileNotFoundError),
    ],
)
def test_what_is_no_photo_is_refused_before_it_is_sent(photo: Any, error: type[Exception]) -> None:
    with pytest.raises(error):
        photo_bytes(photo)


@pytest.mark.parametrize("identity", [None, b"ada", 1.5, True, ["ada"]])
def test_what_is_no_text_is_the_id_of_nobody(client: Any, gallery: str, portraits: Path, identity: Any) -> None:
    photo = portraits / "jacinda_ardern_2018.jpg"
    calls: tuple[Callable[[], Any], ...] = (
        lambda: client.enroll(gallery, identity, photo),
        lambda: client.verify(gallery, identity, photo),
        lambda: client.create_identity(gallery, identity),
        lambda: client.move_identity(gallery, "ada", identity),
    )
    for call in calls:
        with pytest.raises(TypeError, match="the id of an identity is text"):
            call()
    assert list(client.identities(gallery)) == []


def test_numbers_and_uuids_are_ids_by_their_text(client: Any, gallery: str) -> None:
    number = uuid.UUID("6f9619ff-8b86-d011-b42d-00c04fc964ff")
    assert client.create_identity(gallery, 7).id == "7"
    assert client.create_identity(gallery, number).id == str(number)
    assert client.get_identity(gallery, number).id == str(number)
