"""Every rpc with every role: who may call it, who may not, and what the answer then tells."""

import asyncio
import uuid
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
from google.protobuf import descriptor_pool, message_factory
from google.protobuf.descriptor import MethodDescriptor

from sameface.access.caller import EVERYBODY, Caller, Grant
from sameface.access.roles import KNOWING, RULES, Role
from sameface.api.server import SERVICES
from sameface.client import ServiceError
from sameface.v1 import face_pb2, face_service_pb2, gallery_service_pb2
from sameface_qdrant import Provenance
from tests.access.conftest import Guarded, guarded

METHODS: Mapping[str, MethodDescriptor] = {
    method.name: method
    for service in SERVICES
    for method in descriptor_pool.Default().FindServiceByName(service).methods
}
NAMES = {
    1: "galleries/{}",
    2: "galleries/{}/identities/ada",
    3: f"galleries/{{}}/identities/ada/templates/{uuid.UUID(int=1)}",
    4: f"galleries/{{}}/migrations/{uuid.UUID(int=1)}",
}
DEPTHS = {"parent": (2, 1), "name": (2, 1, 3)}
NOT_ALLOWED = ("PERMISSION_DENIED", "CREDENTIALS_MISSING", "CREDENTIALS_REFUSED")


def request_for(rpc: str, gallery: str) -> Any:
    """A request of an rpc that names a gallery, and has nothing else."""
    request = message_factory.GetMessageClass(METHODS[rpc].input_type)()
    field = RULES[rpc].gallery
    if not field:
        return request
    *path, last = field.split(".")
    holder = request
    for name in path:
        holder = getattr(holder, name)
    deep = {"identity.name": 2, "template.name": 3, "gallery.name": 1, "settings.gallery": 1, "gallery": 1}
    depth = deep.get(field) or (
        (3 if "Template" in rpc and last == "name" else 2 if needs_identity(rpc) else 1)
        if "Migration" not in rpc or last != "name"
        else 4
    )
    setattr(holder, last, gallery if field == "gallery_id" else NAMES[depth].format(gallery))
    return request


def needs_identity(rpc: str) -> bool:
    return rpc in ("EnrollTemplate", "VerifyFace", "GetIdentity", "MoveIdentity", "DeleteIdentity", "ListTemplates")


async def reason_of(channel: grpc.aio.Channel, rpc: str, request: Any, credentials: str = "") -> str:
    """Make a call, and return the reason of its error; empty for success."""
    error = await error_of(channel, rpc, request, credentials)
    return "" if error is None else ServiceError.of(error).reason


async def error_of(
    channel: grpc.aio.Channel, rpc: str, request: Any, credentials: str = ""
) -> grpc.aio.AioRpcError | None:
    """Make a call, and return its error; None for success."""
    method = METHODS[rpc]
    path = f"/{method.containing_service.full_name}/{rpc}"
    answer = message_factory.GetMessageClass(method.output_type)
    metadata = [("authorization", f"Bearer {credentials}")] if credentials else []
    try:
        if method.client_streaming:
            streamed = channel.stream_stream(path, type(request).SerializeToString, answer.FromString)
            async for _ in streamed(iter([request]), metadata=metadata, timeout=30):
                pass
        else:
            unary = channel.unary_unary(path, type(request).SerializeToString, answer.FromString)
            await unary(request, metadata=metadata, timeout=30)
    except grpc.aio.AioRpcError as error:
        return error
    return None


@pytest.fixture
async def channel(service: Guarded) -> AsyncIterator[grpc.aio.Channel]:
    async with grpc.aio.secure_channel(service.address, service.channel_credentials()) as opened:
        yield opened


def test_every_rpc_has_a_rule() -> None:
    assert set(RULES) == set(METHODS)


def test_every_role_may_do_something_and_the_administrator_everything() -> None:
    for role in Role:
        assert any(role in rule.roles for rule in RULES.values())
    assert all(Role.ADMIN in rule.roles for rule in RULES.values())


@pytest.mark.parametrize("rpc", RULES)
async def test_each_role_may_make_the_calls_of_the_table_and_no_other(
    rpc: str, service: Guarded, channel: grpc.aio.Channel
) -> None:
    scope = "*" if RULES[rpc].gallery == "" else "cells"
    for role in Role:
        reason = await reason_of(channel, rpc, request_for(rpc, "cells"), service.key(role, gallery=scope))
        allowed = role in RULES[rpc].roles
        assert (reason not in NOT_ALLOWED) is allowed, f"{role}: {reason or 'done'}"
        if not allowed:
            assert reason == "PERMISSION_DENIED"


@pytest.mark.parametrize("rpc", RULES)
async def test_without_a_role_or_credentials_nothing_is_done(
    rpc: str, service: Guarded, channel: grpc.aio.Channel
) -> None:
    request = request_for(rpc, "staff")
    assert await reason_of(channel, rpc, request) == "CREDENTIALS_MISSING"
    assert await reason_of(channel, rpc, request, "sameface_wrong_key") == "CREDENTIALS_REFUSED"
    assert await reason_of(channel, rpc, request, service.key()) == "PERMISSION_DENIED"
    if RULES[rpc].gallery is not None:
        elsewhere = service.key(*Role, gallery="elsewhere")
        assert await reason_of(channel, rpc, request, elsewhere) == "PERMISSION_DENIED"


async def status_of(channel: grpc.aio.Channel, rpc: str, request: Any, key: str) -> tuple[Any, ...]:
    """All that a caller learns of a failed call."""
    method = METHODS[rpc]
    call = channel.unary_unary(
        f"/{method.containing_service.full_name}/{rpc}",
        type(request).SerializeToString,
        message_factory.GetMessageClass(method.output_type).FromString,
    )
    with pytest.raises(grpc.aio.AioRpcError) as failed:
        await call(request, metadata=[("authorization", f"Bearer {key}")])
    return failed.value.code(), failed.value.details(), tuple(failed.value.trailing_metadata() or ())


@pytest.mark.parametrize("rpc", [name for name, rule in RULES.items() if rule.gallery and "Stream" not in name])
async def test_what_exists_is_refused_as_what_does_not(rpc: str, service: Guarded, channel: grpc.aio.Channel) -> None:
    key = service.key(*Role, gallery="elsewhere")
    there = await status_of(channel, rpc, request_for(rpc, "staff"), key)
    assert there == await status_of(channel, rpc, request_for(rpc, "no-such-gallery"), key)
    assert there[0] is grpc.StatusCode.PERMISSION_DENIED


async def test_a_list_has_only_the_galleries_that_the_caller_may_get(service: Guarded) -> None:
    for name in ("team-a", "team-b", "other"):
        await service.store.galleries.create(name, service.contract)
    expected = {
        service.key(Role.READER, gallery="team-*"): {"team-a", "team-b"},
        service.key(Role.AUDITOR, gallery="other"): {"other"},
        service.key(Role.VERIFIER, gallery="*"): set(),
        service.key(Role.ADMIN, gallery="*"): {"team-a", "team-b", "other", "staff"},
    }
    for key, names in expected.items():
        async with service.client(key) as client:
            assert {one.name.removeprefix("galleries/") async for one in client.galleries()} == names


async def test_who_may_create_galleries_may_do_so_only_under_the_granted_names(
    service: Guarded, channel: grpc.aio.Channel
) -> None:
    key = service.key(Role.ADMIN, gallery="new-*")
    assert await reason_of(channel, "CreateGallery", request_for("CreateGallery", "new-one"), key) == ""
    for name in ("newer", "staff2", ""):
        request = request_for("CreateGallery", name)
        assert await reason_of(channel, "CreateGallery", request, key) == "PERMISSION_DENIED"


@pytest.fixture(scope="module")
async def enrolled(service: Guarded) -> np.ndarray[Any, Any]:
    """The embedding under which ``ada`` is enrolled; that of ``bob`` is close to it."""
    from sameface_qdrant import NewTemplate

    rng = np.random.default_rng(7)
    ada = rng.normal(size=service.contract.dimension).astype(np.float32)
    for name, vector in (("ada", ada), ("bob", ada + 0.3 * rng.normal(size=ada.shape).astype(np.float32))):
        await service.store.enroll(
            "staff", name, [NewTemplate(vector, service.contract, Provenance("embedding"))], display_name=name.title()
        )
    return ada


def embedding(service: Guarded, vector: np.ndarray[Any, Any]) -> face_pb2.Sample:
    contract = service.contract
    return face_pb2.Sample(
        embedding=face_pb2.Embedding(
            values=vector.tolist(),
            contract=face_pb2.Contract(
                model=contract.model,
                version=contract.version,
                sha256=contract.sha256,
                dimension=contract.dimension,
                preprocessing=contract.preprocessing,
            ),
        )
    )


@pytest.mark.parametrize("role", [Role.VERIFIER, Role.IDENTIFIER, Role.ADMIN])
async def test_only_some_roles_learn_scores_and_whom_a_face_is_like(
    role: Role, service: Guarded, channel: grpc.aio.Channel, enrolled: np.ndarray[Any, Any]
) -> None:
    sample = embedding(service, enrolled)
    verify = face_service_pb2.VerifyFaceRequest(
        name="galleries/staff/identities/ada", sample=sample, scope="SCOPE_GALLERY"
    )
    compare = face_service_pb2.CompareFacesRequest(first=sample, second=sample)
    for rpc, request in (("VerifyFace", verify), ("CompareFaces", compare)):
        method = METHODS[rpc]
        call = channel.unary_unary(
            f"/{method.containing_service.full_name}/{rpc}",
            type(request).SerializeToString,
            message_factory.GetMessageClass(method.output_type).FromString,
        )
        answer: Any = await call(request, metadata=[("authorization", f"Bearer {service.key(role)}")])
        decision = answer.decision
        told = (decision.HasField("score"), decision.HasField("lead"), len(decision.candidates))
        assert decision.outcome
        if role in KNOWING:
            assert told[0]
        else:
            assert told == (False, False, 0)
            assert b"bob" not in answer.SerializeToString()


@pytest.mark.parametrize("field", ["verify_threshold", "runner_up_margin", "target_fmr"])
async def test_who_may_not_know_scores_may_not_find_them_out_by_trying_thresholds(
    field: str, service: Guarded, channel: grpc.aio.Channel, enrolled: np.ndarray[Any, Any]
) -> None:
    sample = embedding(service, enrolled)
    requests = {
        "VerifyFace": face_service_pb2.VerifyFaceRequest(name="galleries/staff/identities/ada", sample=sample),
        "CompareFaces": face_service_pb2.CompareFacesRequest(first=sample, second=sample),
    }
    for rpc, request in requests.items():
        if field in RULES[rpc].tuning:
            for value in (0.0, 0.5):
                setattr(request, field, value)
                refused = await reason_of(channel, rpc, request, service.key(Role.VERIFIER))
                assert refused == "PERMISSION_DENIED"
            assert await reason_of(channel, rpc, request, service.key(Role.IDENTIFIER)) != "PERMISSION_DENIED"


TELLING = {
    "verify_threshold",
    "runner_up_margin",
    "target_fmr",
    "identify_threshold",
    "min_score",
    "outlier_threshold",
    "collision_threshold",
}


def telling_fields(message: Any, prefix: str = "") -> set[str]:
    """Paths of the fields of a request, at any depth, with which a caller could find out a score by trying."""
    found = {prefix + field.name for field in message.fields if field.name in TELLING}
    for field in message.fields:
        if field.message_type is not None and field.message_type.file.package == "sameface.v1" and not prefix:
            found |= telling_fields(field.message_type, f"{field.name}.")
    return found


def test_every_field_that_sets_a_threshold_is_known_to_the_table() -> None:
    for rpc, rule in RULES.items():
        expected = set() if rule.roles <= KNOWING else telling_fields(METHODS[rpc].input_type)
        if rpc == "EnrollTemplate":
            expected.add("validate_only")
        assert set(rule.tuning) == expected, rpc


@pytest.mark.parametrize("mask", [[], ["verify_threshold"], ["*"], ["display_name", "verify_threshold"]])
async def test_an_enroller_sets_no_threshold_of_an_identity(
    mask: list[str], service: Guarded, channel: grpc.aio.Channel, enrolled: np.ndarray[Any, Any]
) -> None:
    update = gallery_service_pb2.UpdateIdentityRequest(
        identity={"name": "galleries/staff/identities/ada", "display_name": "Ada", "verify_threshold": 0.5},
        update_mask={"paths": mask},
    )
    key = service.key(Role.ENROLLER)
    assert await reason_of(channel, "UpdateIdentity", update, key) == "PERMISSION_DENIED"
    update.identity.ClearField("verify_threshold")
    allowed = not {"verify_threshold", "*"} & set(mask)
    assert (await reason_of(channel, "UpdateIdentity", update, key) == "") is allowed
    create = gallery_service_pb2.CreateIdentityRequest(
        parent="galleries/staff", identity_id=f"new-{len(mask)}", identity={"verify_threshold": 0.5}
    )
    assert await reason_of(channel, "CreateIdentity", create, key) == "PERMISSION_DENIED"
    create.identity.ClearField("verify_threshold")
    assert await reason_of(channel, "CreateIdentity", create, key) in ("", "IDENTITY_ALREADY_EXISTS")


async def test_pages_tell_nothing_of_hidden_galleries(service: Guarded) -> None:
    for number in range(6):
        await service.store.galleries.create(f"hidden-{number}", service.contract)
        await service.store.galleries.create(f"shown-{number}", service.contract)
    key = service.key(Role.READER, gallery="shown-*")
    async with grpc.aio.secure_channel(service.address, service.channel_credentials()) as opened:
        call = opened.unary_unary(
            "/sameface.v1.GalleryService/ListGalleries",
            gallery_service_pb2.ListGalleriesRequest.SerializeToString,
            gallery_service_pb2.ListGalleriesResponse.FromString,
        )
        names, token, sizes = [], "", []
        while True:
            request = gallery_service_pb2.ListGalleriesRequest(page_size=4, page_token=token)
            page: Any = await call(request, metadata=[("authorization", f"Bearer {key}")])
            names += [one.name for one in page.galleries]
            sizes.append(len(page.galleries))
            token = page.next_page_token
            if not token:
                break
    assert sorted(names) == [f"galleries/shown-{number}" for number in range(6)]
    assert sizes == [4, 2]


@pytest.mark.parametrize("role", [Role.ENROLLER, Role.ADMIN])
async def test_only_some_roles_learn_with_whom_an_enrolment_collides(
    role: Role, service: Guarded, enrolled: np.ndarray[Any, Any]
) -> None:
    request = face_service_pb2.EnrollTemplateRequest(
        parent=f"galleries/staff/identities/new-{role}", sample=embedding(service, enrolled), allow_missing=True
    )
    async with grpc.aio.secure_channel(service.address, service.channel_credentials()) as channel:
        call = channel.unary_unary(
            "/sameface.v1.FaceService/EnrollTemplate",
            face_service_pb2.EnrollTemplateRequest.SerializeToString,
            face_service_pb2.EnrollTemplateResponse.FromString,
        )
        answer: Any = await call(request, metadata=[("authorization", f"Bearer {service.key(role)}")])
    (finding, *_) = answer.findings
    assert bool(finding.identity) is (role in KNOWING)
    assert finding.HasField("score") is (role in KNOWING)


async def test_health_is_open_and_reflection_says_which_services_there_are(service: Guarded) -> None:
    from grpc_health.v1 import health_pb2, health_pb2_grpc

    async with grpc.aio.secure_channel(service.address, service.channel_credentials()) as channel:
        health: Any = health_pb2_grpc.HealthStub(channel)
        answer = await health.Check(health_pb2.HealthCheckRequest())
        assert answer.status == health_pb2.HealthCheckResponse.SERVING


def test_grants_cover_ids_and_their_starts() -> None:
    grants = {name: Grant(name, frozenset({Role.READER})) for name in ("staff", "team-*", "*")}
    for gallery, covering in {
        "staff": {"staff", "*"},
        "staff2": {"*"},
        "team-a": {"team-*", "*"},
        "team-": {"team-*", "*"},
        "team": {"*"},
        "": {"*"},
    }.items():
        assert {name for name, grant in grants.items() if grant.covers(gallery)} == covering
    assert Caller("x", ()).roles_in(None) == frozenset()
    assert EVERYBODY.roles_in("") == frozenset(Role)


def test_names_of_another_form_are_in_no_gallery() -> None:
    caller = Caller("x", (Grant("staff", frozenset(Role)),))
    from sameface.errors import PermissionDenied

    for name in ("", "staff", "galleries", "galleries/", "gallery/staff", "/galleries/staff", "galleries//staff"):
        with pytest.raises(PermissionDenied):
            caller.check("GetGallery", gallery_service_pb2.GetGalleryRequest(name=name))
    caller.check("GetGallery", gallery_service_pb2.GetGalleryRequest(name="galleries/staff"))


async def test_health_watches_of_strangers_leave_room_for_calls(service: Guarded, channel: grpc.aio.Channel) -> None:
    from grpc_health.v1 import health_pb2, health_pb2_grpc

    key = service.key(Role.ADMIN)
    async with grpc.aio.secure_channel(service.address, service.channel_credentials()) as other:
        stub: Any = health_pb2_grpc.HealthStub(other)
        watches = [stub.Watch(health_pb2.HealthCheckRequest()) for _ in range(90)]
        first = await asyncio.gather(*(anext(aiter(one)) for one in watches), return_exceptions=True)
        served = [one for one in first if isinstance(one, health_pb2.HealthCheckResponse)]
        assert 0 < len(served) < 90
        assert all(one.status == health_pb2.HealthCheckResponse.SERVING for one in served)
        assert await reason_of(channel, "GetGallery", request_for("GetGallery", "staff"), key) == ""
        for one in watches:
            one.cancel()


async def test_server_info_may_be_for_admins_of_all_galleries_alone(tmp_path: Path) -> None:
    async with guarded(tmp_path, server_info=False) as closed:
        for role, gallery, allowed in (
            (Role.READER, "*", False),
            (Role.ADMIN, "staff", False),
            (Role.ADMIN, "*", True),
        ):
            async with closed.client(closed.key(role, gallery=gallery)) as client:
                if allowed:
                    assert (await client.server_info()).version
                else:
                    with pytest.raises(ServiceError, match="PERMISSION_DENIED"):
                        await client.server_info()
