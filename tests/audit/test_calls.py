"""Every call has an entry with who, what, on whom and the outcome, and nothing that identifies a face."""

import itertools
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest

from sameface.access.caller import Caller
from sameface.access.roles import RULES, Role
from sameface.audit.files import lines_of
from sameface.audit.log import AuditLog, AuditOptions
from sameface.audit.recorder import Recorder, resource_of
from sameface.client import ServiceError
from sameface.resource_names import escaped
from sameface.v1 import face_pb2, face_service_pb2, gallery_pb2, gallery_service_pb2
from sameface_qdrant import NewTemplate
from tests.access.conftest import Guarded, guarded
from tests.access.test_roles import embedding, error_of, reason_of, request_for
from tests.audit.test_log import until


class Watched:
    """A service with an audit log."""

    def __init__(self, service: Guarded, folder: Path, log: AuditLog) -> None:
        self.service, self._folder, self.log, self._seen = service, folder, log, 0

    def new(self, count: int = 1) -> list[dict[str, Any]]:
        """The next entries, which must be so many."""
        until(lambda: len(self._all()) >= self._seen + count)
        found = self._all()[self._seen :]
        assert len(found) == count
        self._seen += count
        return found

    def _all(self) -> list[dict[str, Any]]:
        return [one for _, line in lines_of(self._folder) if (one := json.loads(line))["rpc"] != "seal"]


@pytest.fixture
async def watched(tmp_path: Path) -> AsyncIterator[Watched]:
    log = AuditLog(tmp_path / "audit", AuditOptions(durable_within_s=0.02))
    async with guarded(tmp_path, recorder=Recorder(log)) as service:
        yield Watched(service, tmp_path / "audit", log)
    log.close()


async def test_calls_and_refusals_have_entries(watched: Watched) -> None:
    service = watched.service
    async with grpc.aio.secure_channel(service.address, service.channel_credentials()) as channel:
        await reason_of(channel, "GetGallery", request_for("GetGallery", "staff"))
        await reason_of(channel, "GetGallery", request_for("GetGallery", "staff"), service.key())
        await reason_of(channel, "GetIdentity", request_for("GetIdentity", "staff"), service.key(Role.READER))
    missing, denied, unknown = watched.new(3)
    assert (missing["outcome"], missing["caller"], missing["rpc"]) == ("CREDENTIALS_MISSING", "", "GetGallery")
    assert denied["outcome"] == "PERMISSION_DENIED"
    assert denied["caller"].startswith("key:")
    assert (unknown["outcome"], unknown["identity"], unknown["gallery"]) == ("IDENTITY_NOT_FOUND", "unknown", "staff")


async def test_a_person_is_followed_by_a_pseudonym_until_the_erasure(watched: Watched) -> None:
    service = watched.service
    rng = np.random.default_rng(1)
    vector = rng.normal(size=service.contract.dimension).astype(np.float32)
    await service.store.enroll("staff", "ada-lovelace", [NewTemplate(vector, service.contract)])
    async with service.client(service.key(Role.ADMIN)) as client:
        values = embedding(service, vector).embedding
        assert (await client.verify("staff", "ada-lovelace", values)).matched
        await client.identify("staff", values)
        await client.move_identity("staff", "ada-lovelace", "countess")
        await client.verify("staff", "countess", values)
        await client.delete_identity("staff", "countess", force=True)
        with pytest.raises(ServiceError):
            await client.verify("staff", "countess", values)
    verified, identified, moved, again, erased, after = watched.new(6)
    assert verified["decision"] == identified["decision"] == "MATCH"
    assert verified["policy_revision"] == 1
    assert identified["matched"] == verified["identity"] == moved["identity"]
    assert moved["target"] == again["identity"] == erased["identity"] != moved["identity"]
    assert after["identity"] == "unknown"
    text = json.dumps([verified, identified, moved, again, erased, after])
    assert "lovelace" not in text
    assert "countess" not in text
    assert "score" not in text
    assert not any(str(round(float(value), 3)) in text for value in vector[:5])


async def test_each_sample_of_a_stream_has_an_entry(watched: Watched) -> None:
    service = watched.service
    rng = np.random.default_rng(1)
    vector = rng.normal(size=service.contract.dimension).astype(np.float32)
    await service.store.enroll("staff", "ada", [NewTemplate(vector, service.contract)])
    sample = embedding(service, vector).embedding
    async with service.client(service.key(Role.IDENTIFIER)) as client:
        async for _ in client.identify_stream("staff", [sample, b"no photo", sample]):
            pass
    assert [(one["rpc"], one["outcome"]) for one in watched.new(3)] == [
        ("StreamIdentifyFaces", "OK"),
        ("StreamIdentifyFaces", "IMAGE_UNDECODABLE"),
        ("StreamIdentifyFaces", "OK"),
    ]


@pytest.mark.parametrize("rpc", RULES)
def test_every_request_names_its_resource(rpc: str) -> None:
    gallery, identity = resource_of(rpc, request_for(rpc, "staff"))
    assert gallery == ("staff" if RULES[rpc].gallery else "")
    of_one = {"EnrollTemplate", "VerifyFace", "GetIdentity", "UpdateIdentity", "MoveIdentity", "DeleteIdentity"}
    of_one |= {"GetTemplate", "ListTemplates", "DeleteTemplate", "UpdateTemplate"}
    assert identity == ("ada" if rpc in of_one else "")


async def test_no_error_names_a_person(watched: Watched) -> None:
    service = watched.service
    key = service.key(Role.ADMIN, gallery="*")
    texts = []
    async with grpc.aio.secure_channel(service.address, service.channel_credentials()) as channel:
        for rpc in [rpc for rpc in RULES if resource_of(rpc, request_for(rpc, "staff"))[1]]:
            for gallery, identity in itertools.product(("staff", "elsewhere"), ("dorothea", "casaubon", "No-Id ")):
                await service.store.enroll("staff", "dorothea", [NewTemplate(random_vector(service), service.contract)])
                request = renamed(rpc, request_for(rpc, gallery), identity)
                if error := await error_of(channel, rpc, request, key):
                    texts.append(f"{rpc} {error.details()} {error.trailing_metadata()}")
    assert len(texts) > 40
    for text in texts:
        for name in ("dorothea", "casaubon", "ladislaw", "No-Id"):
            assert name not in text
    async with grpc.aio.secure_channel(service.address, service.channel_credentials()) as channel:
        for rpc, request in misplaced("dorothea"):
            error = await error_of(channel, rpc, request, key)
            assert error is not None, rpc
            texts.append(f"{rpc} {error.details()} {error.trailing_metadata()}")
            assert "dorothea" not in texts[-1], texts[-1]
    async with service.client(key) as client:
        await client.create_identity("staff", "emma")
        watched.log.settle()
        with pytest.raises(ServiceError, match=r"identity 'p[0-9a-f]+' exists") as refused:
            await client.create_identity("staff", "emma")
    assert refused.value.metadata["identity"] in str(refused.value)


@pytest.mark.parametrize(
    "identity", ['D\'Orothea "B" \\ 1@example.org', "6f9619ff-8b86-d011-b42d-00c04fc964ff", "田" * 66]
)
async def test_a_person_with_an_unusual_id_has_one_pseudonym(watched: Watched, identity: str) -> None:
    service = watched.service
    async with service.client(service.key(Role.ADMIN)) as client:
        await client.create_identity("staff", identity)
        watched.log.settle()
        with pytest.raises(ServiceError) as exists:
            await client.create_identity("staff", identity)
        await client.get_identity("staff", identity)
        await client.move_identity("staff", identity, "Z")
        with pytest.raises(ServiceError) as gone:
            await client.get_identity("staff", identity)
        with pytest.raises(ServiceError) as unknown:
            await client.get_identity("staff", identity + "0")
    made, again, got, moved, *_ = watched.new(6)
    assert made["identity"][0] == "p"
    assert made["identity"] == again["identity"] == got["identity"] == moved["identity"] != moved["target"]
    assert exists.value.metadata["identity"] == made["identity"]
    assert f"'{made['identity']}'" in exists.value.message
    for error in (exists.value, gone.value, unknown.value):
        for text in (identity, repr(identity)[1:-1], escaped(identity)):
            assert text not in f"{error.message} {error.metadata}"


def misplaced(name: str) -> list[tuple[str, Any]]:
    """Requests with a name where it does not belong, or in a form that no id has."""
    forms = (
        name,
        f"staff/{name}",
        f"identities/{name}",
        f"galleries/staff/{name}",
        f"galleries/staff/{name}/templates/x",
        f"galleries/{name} /identities/x",
        f"galleries/staff/identities/{name}/templates/{name}",
        f"galleries/staff/identities/{name}'s\\ \u200b\"",
        f"galleries/staff/identities/{name * 20}",
    )
    asked = [
        *(("GetIdentity", gallery_service_pb2.GetIdentityRequest(name=form)) for form in forms),
        *(("GetTemplate", gallery_service_pb2.GetTemplateRequest(name=form)) for form in forms),
        *(("EnrollTemplate", face_service_pb2.EnrollTemplateRequest(parent=form)) for form in forms),
        *(("VerifyFace", face_service_pb2.VerifyFaceRequest(name=form)) for form in forms),
        *(("CreateGallery", gallery_service_pb2.CreateGalleryRequest(gallery_id=form)) for form in forms[1:]),
        *(("GetErasureReceipt", gallery_service_pb2.GetErasureReceiptRequest(name=form)) for form in forms),
        *(
            (
                "CreateIdentity",
                gallery_service_pb2.CreateIdentityRequest(parent="galleries/staff", identity_id=f"{form}\n"),
            )
            for form in forms
        ),
        ("ListIdentities", gallery_service_pb2.ListIdentitiesRequest(parent="galleries/staff", page_token=name)),
        (
            "ListIdentities",
            gallery_service_pb2.ListIdentitiesRequest(parent="galleries/staff", labels={f"{name} ": name}),
        ),
    ]
    for filtered in (f"galleries/other/identities/{name}", name):
        where = face_service_pb2.TemplateFilter(identities=[filtered])
        request = face_service_pb2.SearchTemplatesRequest(
            gallery="galleries/staff", filter=where, sample=face_pb2.Sample(embedding=face_pb2.Embedding(values=[1.0]))
        )
        asked.append(("SearchTemplates", request))
    return asked


async def test_who_may_have_been_enrolled_by_a_call_that_ended_has_a_pseudonym(tmp_path: Path) -> None:
    log = AuditLog(tmp_path / "audit", AuditOptions(durable_within_s=0.02))
    recorder, caller = Recorder(log), Caller("key:x", ())
    create = gallery_service_pb2.CreateIdentityRequest(parent="galleries/staff", identity_id="ada")
    recorder.record(caller, "CreateIdentity", create, "CANCELLED")
    recorder.record(caller, "CreateIdentity", create, "IDENTITY_ALREADY_EXISTS")
    # Somebody who does not exist is asked for, and then enrolled by another service.
    get = gallery_service_pb2.GetIdentityRequest(name="galleries/staff/identities/bob")
    recorder.record(caller, "GetIdentity", get, "IDENTITY_NOT_FOUND")
    recorder.record(caller, "GetIdentity", get, "", gallery_pb2.Identity())
    recorder.close()
    found = [one for _, line in lines_of(tmp_path / "audit") if (one := json.loads(line))["rpc"] != "seal"]
    ada, again, missing, bob = (one["identity"] for one in found)
    assert ada == again
    assert missing == "unknown"
    assert ada[0] == bob[0] == "p"


def random_vector(service: Guarded) -> Any:
    return np.random.default_rng(1).normal(size=service.contract.dimension).astype(np.float32)


def renamed(rpc: str, request: Any, identity: str) -> Any:
    """The request about another identity."""
    *holders, last = str(RULES[rpc].gallery).split(".")
    holder = request
    for one in holders:
        holder = getattr(holder, one)
    setattr(holder, last, getattr(holder, last).replace("/ada", f"/{identity}"))
    if rpc == "MoveIdentity":
        request.identity_id = "ladislaw"
    return request


async def test_without_room_in_the_log_no_call_is_made(watched: Watched, monkeypatch: pytest.MonkeyPatch) -> None:
    from sameface.errors import AuditUnavailable

    def full(self: AuditLog) -> None:
        raise AuditUnavailable("full", retry_after_s=1.0)

    monkeypatch.setattr(AuditLog, "check", full)
    service = watched.service
    async with grpc.aio.secure_channel(service.address, service.channel_credentials()) as channel:
        request = face_service_pb2.EnrollTemplateRequest(parent="galleries/staff/identities/ada")
        assert await reason_of(channel, "EnrollTemplate", request, service.key(Role.ADMIN)) == "AUDIT_UNAVAILABLE"
        stream = request_for("StreamIdentifyFaces", "staff")
        assert await reason_of(channel, "StreamIdentifyFaces", stream, service.key(Role.ADMIN)) == "AUDIT_UNAVAILABLE"
