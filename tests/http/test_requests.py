"""What HTTP requests are answered: JSON in and out, errors, web pages, gRPC-Web, and what is too much."""

import asyncio
import base64
import ssl
import struct
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest

from sameface.access.roles import Role
from sameface.access.tls import TlsOptions
from sameface.http.options import HttpOptions
from sameface.http.server import OPENAPI
from sameface.v1 import system_service_pb2
from tests.access.authorities import Authority
from tests.access.conftest import Guarded, guarded
from tests.http.calls import reason
from tests.http.conftest import ORIGIN

JSON = {"content-type": "application/json"}


@pytest.fixture(scope="module")
def admin(service: Guarded) -> dict[str, str]:
    """Header of a caller who may do everything."""
    return {"authorization": f"Bearer {service.key(Role.ADMIN, gallery='*')}"}


def photo(path: Path) -> dict[str, str]:
    return {"photo": base64.b64encode(path.read_bytes()).decode()}


async def raw(service: Guarded, *lines: str, body: bytes = b"") -> bytes:
    """Send a request as it stands, and return the beginning of the answer."""
    host, _, port = service.http.removeprefix("http://").partition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write("\r\n".join(lines).encode() + body)
    answer = await asyncio.wait_for(reader.read(1 << 16), 30)
    writer.close()
    return answer


async def test_people_are_enrolled_verified_changed_and_erased(
    client: httpx.AsyncClient, admin: dict[str, str], portraits: Path
) -> None:
    created = await client.post("/v1/galleries", json={"galleryId": "web"}, headers=admin)
    assert created.json()["name"] == "galleries/web"
    person = "/v1/galleries/web/identities/macron"
    first, second = (portraits / f"emmanuel_macron_{year}.jpg" for year in (2014, 2025))
    enrolled = await client.post(
        f"{person}/templates", json={"sample": photo(first), "allowMissing": True}, headers=admin
    )
    assert enrolled.json()["template"]["name"].startswith("galleries/web/identities/macron/templates/")
    verified = await client.post(f"{person}:verify", json={"sample": photo(second)}, headers=admin)
    assert verified.json()["decision"]["outcome"] == "OUTCOME_MATCH"
    found = await client.post("/v1/galleries/web:identify", json={"sample": photo(second)}, headers=admin)
    assert found.status_code == 200
    changed = await client.patch(
        person, params={"updateMask": "displayName"}, json={"displayName": "Macron"}, headers=admin
    )
    assert changed.json()["displayName"] == "Macron"
    listed = await client.get("/v1/galleries/web/identities", params={"pageSize": 5}, headers=admin)
    assert [one["name"] for one in listed.json()["identities"]] == ["galleries/web/identities/macron"]
    erased = await client.delete("/v1/galleries/web", params={"force": "true"}, headers=admin)
    receipt = erased.json()["receipt"]["name"]
    found = await client.get(f"/v1/{receipt}", headers=admin)
    assert found.json()["name"] == receipt
    assert found.headers["cache-control"] == "no-store"
    assert found.headers["cross-origin-resource-policy"] == "same-origin"
    gone = await client.get("/v1/galleries/web", headers=admin)
    assert (gone.status_code, reason(gone)) == (404, "GALLERY_NOT_FOUND")


@pytest.mark.parametrize(
    ("path", "status"),
    [("/v1/nothing", 404), ("/v1/galleries?unknown=1", 400), ("/other", 404), ("/v1/galleries/a%2Fb", 400)],
)
async def test_what_does_not_exist_is_an_error_in_json(
    path: str, status: int, client: httpx.AsyncClient, admin: dict[str, str]
) -> None:
    answer = await client.get(path, headers=admin)
    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/json"
    assert answer.json()["code"] in (3, 5)


MALFORMED = ('{"galleryId":"x', '{"galleryId":1e999}', '{"other":1}', "[" * 100_000, "\0", "{}{}")
FORMS = ("text/plain", "multipart/form-data", "application/x-www-form-urlencoded", "text/json", "")


@pytest.mark.parametrize("content", MALFORMED)
async def test_malformed_json_is_refused(content: str, client: httpx.AsyncClient, admin: dict[str, str]) -> None:
    answer = await client.post("/v1/galleries", content=content, headers={**JSON, **admin})
    assert answer.status_code == 400
    assert answer.json()["code"] == 3


@pytest.mark.parametrize("kind", FORMS)
@pytest.mark.parametrize("path", ["/v1/galleries", "/sameface.v1.GalleryService/CreateGallery"])
async def test_a_form_of_a_web_page_changes_nothing(
    kind: str, path: str, service: Guarded, client: httpx.AsyncClient, admin: dict[str, str]
) -> None:
    header = {"content-type": kind} if kind else {}
    answer = await client.post(path, content='{"galleryId":"forged"}', headers={**header, **admin})
    assert (answer.status_code, answer.json()["code"]) == (415, 3)
    assert (await client.get("/v1/galleries/forged", headers=admin)).status_code == 404


@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1.evil.example", "localhost.evil.example:80", "10.0.0.1"])
async def test_another_host_is_refused(host: str, client: httpx.AsyncClient, admin: dict[str, str]) -> None:
    assert (await client.get("/v1/galleries", headers={"host": host, **admin})).status_code == 404
    assert (await client.get("/v1/galleries", headers={"host": "localhost:8080", **admin})).status_code == 200


@pytest.mark.parametrize(("origin", "allowed"), [(ORIGIN, True), (f"{ORIGIN}.evil.org", False), ("null", False)])
async def test_only_named_origins_may_call(
    origin: str, allowed: bool, client: httpx.AsyncClient, admin: dict[str, str]
) -> None:
    asking = {"origin": origin, "access-control-request-method": "POST"}
    asking["access-control-request-headers"] = "authorization,content-type"
    preflight = await client.options("/v1/galleries", headers=asking)
    assert (preflight.headers.get("access-control-allow-origin") == origin) is allowed
    answer = await client.get("/v1/galleries", headers={"origin": origin, **admin})
    assert (answer.headers.get("access-control-allow-origin") == origin) is allowed
    assert "*" not in answer.headers.get("access-control-allow-origin", "")
    if allowed:
        assert "authorization" in preflight.headers["access-control-allow-headers"]


@pytest.mark.parametrize("header", [{"origin": ORIGIN}, {"access-control-request-method": "POST"}])
async def test_options_are_for_web_pages_that_ask(header: dict[str, str], client: httpx.AsyncClient) -> None:
    assert (await client.options("/v1/galleries", headers=header)).status_code == 404


async def test_grpc_web_answers_too(client: httpx.AsyncClient, admin: dict[str, str]) -> None:
    path = "/sameface.v1.SystemService/GetServerInfo"
    header = {"content-type": "application/grpc-web+proto", **admin}
    answer = await client.post(path, content=struct.pack(">BI", 0, 0), headers=header)
    kind, length = struct.unpack_from(">BI", answer.content)
    assert kind == 0
    info = system_service_pb2.GetServerInfoResponse.FromString(answer.content[5 : 5 + length])
    assert info.models
    assert b"grpc-status:0" in answer.content[5 + length :]
    del header["authorization"]
    refused = await client.post(path, content=struct.pack(">BI", 0, 0), headers=header)
    assert b"grpc-status:16" in refused.content or refused.headers.get("grpc-status") == "16"


@pytest.mark.parametrize(
    "path",
    [
        "/grpc.health.v1.Health/Watch",
        "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo",
        "/sameface.v1.FaceService/StreamIdentifyFaces",
    ],
)
async def test_grpc_web_reaches_no_stream(path: str, client: httpx.AsyncClient, admin: dict[str, str]) -> None:
    for kind in ("application/grpc-web+proto", "application/grpc-web-text"):
        header = {"content-type": kind, **admin}
        answer = await client.post(path, content=struct.pack(">BI", 0, 0), headers=header)
        assert answer.headers["grpc-status"] == "12", (answer.headers, answer.content)  # UNIMPLEMENTED


async def test_a_body_and_the_path_may_not_differ(client: httpx.AsyncClient, admin: dict[str, str]) -> None:
    await client.post("/v1/galleries", json={"galleryId": "both"}, headers=admin)
    sent = {"name": "galleries/both", "displayName": "Both"}
    query = {"updateMask": "displayName"}
    same = await client.patch("/v1/galleries/both", params=query, json=sent, headers=admin)
    assert same.json()["displayName"] == "Both"
    other = await client.patch(
        "/v1/galleries/both", params=query, json={**sent, "name": "galleries/staff"}, headers=admin
    )
    assert (other.status_code, other.json()["code"]) == (400, 3)


@pytest.mark.parametrize("verb", ["GET", "DELETE"])
@pytest.mark.parametrize("http2", [False, True])
async def test_what_has_no_body_may_send_none(verb: str, http2: bool, service: Guarded, admin: dict[str, str]) -> None:
    async def pieces() -> AsyncIterator[bytes]:
        yield b"{}"

    async with httpx.AsyncClient(
        base_url=service.http, trust_env=False, http1=not http2, http2=http2, timeout=30
    ) as client:
        for content in (b"{}", pieces()):
            answer = await client.request(verb, "/v1/galleries/staff", content=content, headers=admin | JSON)
            assert (answer.status_code, answer.json()["code"]) == (413, 8)
        answer = await client.get("/v1/galleries/staff", headers={"content-length": "0", **admin})
        assert answer.status_code == 200


async def test_the_openapi_document_is_served(client: httpx.AsyncClient) -> None:
    answer = await client.get("/openapi.yaml")
    assert answer.headers["content-type"] == "application/yaml"
    assert answer.content == OPENAPI.read_bytes()


async def test_a_header_that_does_not_end_is_not_waited_for(service: Guarded) -> None:
    answer = await raw(service, "GET /v1/serverInfo HTTP/1.1", "Host: localhost", "X-Slow: ")
    assert answer.startswith(b"HTTP/1.1 408 ")


@pytest.mark.parametrize(
    ("lines", "status"),
    [
        (("Transfer-Encoding: chunked", "Content-Length: 4", "", "0", "", ""), b"400"),
        (("Content-Length: 4", "Content-Length: 5", "", "abcd"), b"400"),
        ((f"X-Long: {'x' * 20_000}", "", ""), b"431"),
        (("X_Sameface_Peer: a", "", ""), b"400"),
    ],
)
async def test_odd_requests_are_refused(lines: tuple[str, ...], status: bytes, service: Guarded) -> None:
    answer = await raw(
        service, "POST /v1/galleries HTTP/1.1", "Host: localhost", "Content-Type: application/json", *lines
    )
    assert answer.startswith(b"HTTP/1.1 " + status)


async def test_bodies_and_connections_have_limits(tmp_path: Path) -> None:
    options = HttpOptions("127.0.0.1:0", max_body_bytes=1 << 20, max_connections=2)
    async with guarded(tmp_path, http=options) as service:
        header = {"authorization": f"Bearer {service.key(Role.ADMIN, gallery='*')}"}
        host, _, port = service.http.removeprefix("http://").partition(":")
        announced = ("Content-Type: application/json", f"Content-Length: {(1 << 20) + 1}", "", "")
        answer = await raw(service, "POST /v1/faces:detect HTTP/1.1", "Host: localhost", *announced)
        assert answer.startswith(b"HTTP/1.1 413 ")
        assert b'"code":8' in answer

        async def pieces() -> AsyncIterator[bytes]:
            yield b'{"photo":"AAAA"}'

        for version in (False, True):
            async with httpx.AsyncClient(
                base_url=service.http, trust_env=False, http1=not version, http2=version
            ) as client:
                without = await client.post("/v1/faces:detect", content=pieces(), headers=header | JSON)
                assert (without.status_code, without.json()["code"]) == (411, 3)
        lying = header | JSON | {"content-length": "9"}
        async with httpx.AsyncClient(base_url=service.http, trust_env=False, http1=False, http2=True) as client:
            with pytest.raises(httpx.RemoteProtocolError):
                await client.post("/v1/faces:detect", content=pieces(), headers=lying)
        async with httpx.AsyncClient(base_url=service.http, trust_env=False) as client:
            _, second = await asyncio.open_connection(host, int(port))
            assert (await client.get("/v1/galleries", headers=header)).status_code == 200
            third, writer = await asyncio.open_connection(host, int(port))
            assert await asyncio.wait_for(third.read(), 30) == b""
            second.close()
            writer.close()


async def test_a_new_certificate_is_used_without_a_restart(tmp_path: Path) -> None:
    authority = Authority("web", tmp_path)
    issued = authority.issue("localhost", file="first")
    tls = TlsOptions(tmp_path / "used.pem", tmp_path / "used.key.pem", authority.path)
    assert tls.certificate is not None
    assert tls.private_key is not None
    tls.certificate.write_bytes(issued.certificate.read_bytes())
    tls.private_key.write_bytes(issued.key.read_bytes())
    trusting = ssl.create_default_context(cafile=str(authority.path))
    stranger = ssl.create_default_context(cafile=str(authority.path))
    trusting.load_cert_chain(issued.certificate, issued.key)
    async with guarded(tmp_path, http=HttpOptions("127.0.0.1:0", tls=tls), required=False) as service:
        url = service.http.replace("http://", "https://")

        async def serial() -> str:
            host, _, port = url.removeprefix("https://").partition(":")
            _, writer = await asyncio.open_connection(host, int(port), ssl=trusting, server_hostname="localhost")
            found = writer.get_extra_info("peercert")["serialNumber"]
            writer.close()
            return str(found)

        before = await serial()
        async with httpx.AsyncClient(base_url=url, trust_env=False, verify=trusting) as client:
            assert (await client.get("/v1/serverInfo")).status_code == 200
        async with httpx.AsyncClient(base_url=url, trust_env=False, verify=stranger) as client:
            with pytest.raises((httpx.TransportError, ssl.SSLError)):
                await client.get("/v1/serverInfo")
        later = authority.issue("localhost", file="second")
        tls.private_key.write_bytes(later.key.read_bytes())
        tls.certificate.write_bytes(later.certificate.read_bytes())
        for _ in range(600):
            if await serial() != before:
                return
            await asyncio.sleep(0.05)
        pytest.fail("the new certificate was not used")
