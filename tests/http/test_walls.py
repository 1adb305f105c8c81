"""A call over HTTP meets the same walls as one over gRPC."""

import asyncio
import base64
import functools
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import grpc
import httpx
import pytest

from sameface.access.rates import RateOptions
from sameface.access.roles import RULES, Role
from sameface.api.connections import PEER_HEADER
from sameface.audit.files import lines_of
from sameface.audit.log import AuditLog, AuditOptions
from sameface.audit.recorder import Recorder
from sameface.http.options import HttpOptions
from sameface.v1 import gallery_service_pb2
from tests.access.conftest import Guarded, guarded
from tests.access.test_roles import NOT_ALLOWED, reason_of, request_for
from tests.http.calls import REST, call, reason

STATUS = {"PERMISSION_DENIED": 403, "CREDENTIALS_MISSING": 401, "CREDENTIALS_REFUSED": 401}


@pytest.fixture(scope="module")
def key(service: Guarded) -> Callable[..., str]:
    """Makes an API key with roles in a gallery, or returns the one that it made before."""
    return functools.cache(lambda *roles, gallery: service.key(*roles, gallery=gallery))


def test_every_rpc_but_the_stream_has_a_path() -> None:
    assert set(RULES) - set(REST) == {"StreamIdentifyFaces"}


@pytest.mark.parametrize("rpc", REST)
async def test_no_credentials_wrong_ones_and_a_wrong_role_are_refused(
    rpc: str, key: Callable[..., str], client: httpx.AsyncClient
) -> None:
    request = request_for(rpc, "cells")
    scope = "*" if RULES[rpc].gallery == "" else "cells"
    keys = {"": "CREDENTIALS_MISSING", "sameface_wrong_key": "CREDENTIALS_REFUSED"}
    keys |= {key(role, gallery=scope): "PERMISSION_DENIED" for role in Role if role not in RULES[rpc].roles}
    if RULES[rpc].gallery is not None:
        keys[key(*Role, gallery="elsewhere")] = "PERMISSION_DENIED"
    for credentials, expected in keys.items():
        answer = await call(client, rpc, request, credentials)
        assert (answer.status_code, reason(answer)) == (STATUS[expected], expected)
        assert set(answer.json()) == {"code", "message", "details"}


@pytest.mark.parametrize("rpc", REST)
async def test_each_role_may_make_the_calls_of_the_table(
    rpc: str, key: Callable[..., str], client: httpx.AsyncClient
) -> None:
    scope = "*" if RULES[rpc].gallery == "" else "cells"
    for role in RULES[rpc].roles:
        answer = await call(client, rpc, request_for(rpc, "cells"), key(role, gallery=scope))
        assert reason(answer) not in NOT_ALLOWED


async def test_no_photo_is_read_of_a_caller_without_credentials(service: Guarded) -> None:
    host, _, port = service.http.removeprefix("http://").partition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    announced = 30 << 20
    writer.write(
        b"POST /v1/faces:detect HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        + f"Content-Length: {announced}\r\n\r\n".encode()
        + b'{"photo":"'
    )
    # Nothing more is sent: the answer does not wait for it.
    head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 30)
    assert head.startswith(b"HTTP/1.1 401 ")
    writer.close()


async def test_whoever_says_that_it_is_another_connection_is_not_believed(tmp_path: Path) -> None:
    seen = await peers_of(tmp_path, {PEER_HEADER: "10.0.0.1:1"}, {PEER_HEADER: "10.0.0.2:2"})
    assert len(seen) == 1
    (peer,) = seen
    assert peer.startswith("http:127.0.0.1:")


async def test_two_connections_without_names_are_two_callers(tmp_path: Path) -> None:
    assert len(await peers_of(tmp_path, {}, {}, connections=2)) == 2


async def peers_of(folder: Path, *headers: dict[str, str], connections: int = 1) -> set[str]:
    """The shares under which requests with these headers were counted."""
    from sameface.api import interceptor

    seen: set[str] = set()
    original = interceptor.share_of

    def noting(caller: Any, context: Any) -> str:
        share = original(caller, context)
        seen.add(share)
        return share

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(interceptor, "share_of", noting)
        async with guarded(folder, http=HttpOptions("127.0.0.1:0"), required=False) as service:
            for _ in range(connections):
                async with httpx.AsyncClient(base_url=service.http, trust_env=False) as client:
                    for header in headers:
                        assert (await client.get("/v1/serverInfo", headers=header)).status_code == 200
    return seen


async def test_who_calls_too_often_is_told_when_to_come_again(tmp_path: Path) -> None:
    async with guarded(tmp_path, rates=RateOptions(requests_per_s=0.1), http=HttpOptions("127.0.0.1:0")) as service:
        key = service.key(Role.READER)
        async with httpx.AsyncClient(base_url=service.http, trust_env=False) as client:
            request = gallery_service_pb2.ListGalleriesRequest()
            for _ in range(3):
                answer = await call(client, "ListGalleries", request, key)
        assert (answer.status_code, reason(answer)) == (429, "RATE_LIMITED")
        (delay,) = (one["retryDelay"] for one in answer.json()["details"] if one["@type"].endswith("RetryInfo"))
        assert float(delay.removesuffix("s")) > 0


async def test_the_audit_log_has_the_same_of_a_call_over_http(tmp_path: Path) -> None:
    log = AuditLog(tmp_path / "audit", AuditOptions(enabled=True))
    recorder = Recorder(log)
    async with guarded(tmp_path, recorder=recorder, http=HttpOptions("127.0.0.1:0")) as service:
        key = service.key(Role.ADMIN)
        request = gallery_service_pb2.GetGalleryRequest(name="galleries/staff")
        missing = gallery_service_pb2.GetIdentityRequest(name="galleries/staff/identities/ada")
        calls = {"GetGallery": request, "GetIdentity": missing}
        async with httpx.AsyncClient(base_url=service.http, trust_env=False) as client:
            by_http = [reason(await call(client, rpc, message, key)) for rpc, message in calls.items()]
        async with grpc.aio.secure_channel(service.address, service.channel_credentials()) as channel:
            by_grpc = [await reason_of(channel, rpc, message, key) for rpc, message in calls.items()]
        assert by_http == by_grpc == ["", "IDENTITY_NOT_FOUND"]
    await asyncio.to_thread(recorder.close)
    lines = [one for _, line in lines_of(tmp_path / "audit") if (one := json.loads(line))["rpc"] != "seal"]
    entries = [{key: value for key, value in one.items() if key not in VARYING} for one in lines]
    assert len(entries) == 4
    assert entries[:2] == entries[2:]


VARYING = ("time", "before", "hash", "number")


async def test_no_log_has_a_credential_or_a_body(
    service: Guarded, client: httpx.AsyncClient, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("DEBUG")
    secret, body = "sameface_secret_of_a_caller", base64.b64encode(b"a photo of somebody").decode()
    for content in (f'{{"photo":"{body}"}}', f'{{"photo":"{body}'):
        headers = {"authorization": f"Bearer {secret}", "content-type": "application/json"}
        answer = await client.post("/v1/faces:detect", content=content, headers=headers)
        assert answer.status_code in (400, 401)
    own = "\n".join(one.getMessage() for one in caplog.records if one.name.startswith("sameface"))
    assert secret not in own
    assert body not in own
