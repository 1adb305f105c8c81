"""The port is encrypted, certificates change without a restart, and clients may need one of their own."""

import asyncio
import datetime
import shutil
import time
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import grpc
import pytest

from sameface.access.tls import TlsOptions, check_encrypted, server_credentials
from sameface.addresses import is_loopback
from sameface.client import AsyncClient, Client, ServiceError, tls_credentials
from sameface.errors import ModelUnavailable
from sameface.inference.triton import TritonInference
from sameface.inference.triton_tls import TritonTls
from sameface.service import until_available
from sameface.settings import Settings
from sameface_qdrant.errors import InvalidArgument
from tests.access.authorities import Authority
from tests.access.conftest import Guarded, guarded
from tests.access.test_roles import reason_of, request_for

GRANTS = '[[grant]]\ncaller = "certificate:door"\ngallery = "staff"\nroles = ["reader"]\n'


async def connects(service: Guarded, credentials: grpc.ChannelCredentials | None) -> bool:
    """Whether a connection can be made, and answers a call."""
    options = [("grpc.enable_retries", 0), ("grpc.use_local_subchannel_pool", 1)]
    channel = (
        grpc.aio.secure_channel(service.address, credentials, options)
        if credentials
        else grpc.aio.insecure_channel(service.address, options)
    )
    async with channel:
        return await reason_of(channel, "GetServerInfo", request_for("GetServerInfo", "")) == "CREDENTIALS_MISSING"


async def test_only_encrypted_connections_are_served(service: Guarded, tmp_path: Path) -> None:
    assert await connects(service, service.channel_credentials())
    assert not await connects(service, None)
    assert not await connects(service, grpc.ssl_channel_credentials(Authority("other", tmp_path).path.read_bytes()))


async def test_a_new_certificate_is_used_without_a_restart(tmp_path: Path) -> None:
    async with guarded(tmp_path) as service:
        other = Authority("other", tmp_path)
        assert not await connects(service, grpc.ssl_channel_credentials(other.path.read_bytes()))
        fresh = other.issue("localhost", file="fresh")
        # One after the other, as a program may write them. In between the old ones are used.
        shutil.copy(fresh.certificate, service.server.certificate)
        assert await connects(service, service.channel_credentials())
        shutil.copy(fresh.key, service.server.key)
        assert await connects(service, grpc.ssl_channel_credentials(other.path.read_bytes()))
        assert not await connects(service, service.channel_credentials())


async def test_with_mutual_tls_a_certificate_names_its_caller(tmp_path: Path) -> None:
    grants = tmp_path / "grants.toml"
    grants.write_text(GRANTS)
    async with guarded(tmp_path, mutual=True, grants=grants) as service:
        door, desk = service.authority.issue("door"), service.authority.issue("desk")
        stranger = Authority("other", tmp_path).issue("door", file="stranger")
        expired = service.authority.issue("door", file="expired", lasts=-datetime.timedelta(hours=1))

        async def reason(certificate: Any, key: str = "") -> str:
            credentials = service.channel_credentials(certificate)
            async with grpc.aio.secure_channel(service.address, credentials) as channel:
                return await reason_of(channel, "ListIdentities", request_for("ListIdentities", "staff"), key)

        assert await reason(door) == ""
        assert await reason(desk) == "PERMISSION_DENIED"
        for refused in (None, stranger, expired):
            assert not await connects(service, service.channel_credentials(refused))
        # A key counts before the certificate.
        assert await reason(door, "sameface_wrong_key") == "CREDENTIALS_REFUSED"
        grants.write_text(GRANTS.replace("door", "desk"))
        assert [await reason(door), await reason(desk)] == ["PERMISSION_DENIED", ""]


@pytest.mark.parametrize("part", ["certificate", "private_key", "client_ca"])
@pytest.mark.parametrize(
    "content", [None, b"", b"no PEM", b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"]
)
def test_files_that_are_no_certificates_are_refused_at_the_start(
    tmp_path: Path, part: str, content: bytes | None
) -> None:
    authority = Authority("authority", tmp_path)
    issued = authority.issue("localhost")
    files = {"certificate": issued.certificate, "private_key": issued.key, "client_ca": authority.path}
    if content is None:
        files[part].unlink()
    else:
        files[part].write_bytes(content)
    with pytest.raises(InvalidArgument, match="TLS cannot be used"):
        server_credentials(TlsOptions(**files))


def test_a_key_of_another_certificate_is_refused_at_the_start(tmp_path: Path) -> None:
    authority = Authority("authority", tmp_path)
    one, other = authority.issue("one"), authority.issue("other")
    with pytest.raises(InvalidArgument, match="does not belong"):
        server_credentials(TlsOptions(one.certificate, other.key))


@pytest.mark.parametrize(
    ("host", "loopback"),
    [
        ("127.0.0.1", True),
        ("127.3.2.1", True),
        ("[::1]", True),
        ("localhost", True),
        ("0.0.0.0", False),
        ("[::]", False),
        ("10.0.0.1", False),
        ("example.org", False),
        ("127.0.0.1.example.org", False),
    ],
)
def test_listening_without_tls_is_refused_where_others_can_connect(host: str, loopback: bool, tmp_path: Path) -> None:
    assert is_loopback(host) is loopback
    with nullcontext() if loopback else pytest.raises(InvalidArgument, match="SAMEFACE_TLS__CERTIFICATE"):
        check_encrypted(f"{host}:1", TlsOptions(), False)
    check_encrypted(f"{host}:1", TlsOptions(), True)
    check_encrypted(f"{host}:1", TlsOptions(tmp_path / "a", tmp_path / "b"), False)


async def why(address: str, **options: Any) -> list[str]:
    """The messages of both clients when nothing connects."""

    async def asynchronously() -> str:
        async with AsyncClient(address, unreachable_s=0.2, **options) as client:
            with pytest.raises(ServiceError) as failed:
                await client.server_info()
        assert (failed.value.code, failed.value.reason) == (grpc.StatusCode.UNAVAILABLE, "")
        return failed.value.message

    def synchronously() -> str:
        with Client(address, unreachable_s=0.2, **options) as client, pytest.raises(ServiceError) as failed:
            client.server_info()
        return failed.value.message

    return [await asynchronously(), await asyncio.to_thread(synchronously)]


async def test_clients_say_what_to_change_where_no_encrypted_connection_can_be_made(
    service: Guarded, tmp_path: Path
) -> None:
    trusting, other = service.channel_credentials(), Authority("other", tmp_path).path
    plain, stale = grpc.aio.server(), grpc.aio.server()
    old = service.authority.issue("localhost", file="stale", lasts=-datetime.timedelta(hours=1))
    pair = (old.key.read_bytes(), old.certificate.read_bytes())
    ports = (
        plain.add_insecure_port("127.0.0.1:0"),
        stale.add_secure_port("127.0.0.1:0", grpc.ssl_server_credentials([pair])),
    )
    await plain.start()
    await stale.start()
    # A name may have several addresses, of which gRPC tells of one alone; a number has one.
    number = service.address.replace("localhost", "127.0.0.1")
    for told, address, options in (
        ("the service speaks TLS: give credentials=tls_credentials(ca=…)", service.address, {}),
        ("the service speaks TLS: give credentials=tls_credentials(ca=…)", number, {}),
        ("does not speak TLS: leave out credentials", f"localhost:{ports[0]}", {"credentials": trusting}),
        ("does not speak TLS: leave out credentials", f"127.0.0.1:{ports[0]}", {"credentials": trusting}),
        ("credentials=tls_credentials(ca=…)|check ca=…", service.address, {"credentials": tls_credentials(str(other))}),
        ("of another authority: give its PEM file", number, {"credentials": tls_credentials(str(other))}),
        ("for another name", number, {"credentials": trusting, "server_name": "other.test"}),
        ("has expired: renew it", f"127.0.0.1:{ports[1]}", {"credentials": trusting}),
    ):
        for message in await why(address, **options):
            assert any(one in message for one in told.split("|"))
    await plain.stop(None)
    await stale.stop(None)


async def test_a_client_without_the_certificate_that_is_asked_for_is_told(tmp_path: Path) -> None:
    async with guarded(tmp_path, mutual=True) as service:
        for message in await why(service.address, credentials=service.channel_credentials()):
            assert "may ask for a client certificate, tls_credentials(certificate=…" in message


async def test_the_start_ends_at_once_where_only_one_side_uses_tls(service: Guarded, tmp_path: Path) -> None:
    plain = grpc.aio.server()
    port = plain.add_insecure_port("127.0.0.1:0")
    await plain.start()
    other = TritonTls(enabled=True, ca=Authority("other", tmp_path).path)
    own = TritonTls(enabled=True, ca=service.authority.path, server_name="other.test")
    number = service.address.replace("localhost", "127.0.0.1")
    for url, tls, told in (
        (service.address, TritonTls(), "set SAMEFACE_TRITON_TLS__ENABLED=true"),
        (f"localhost:{port}", other, "does not speak TLS"),
        (number, other, "set SAMEFACE_TRITON_TLS__CA"),
        (number, own, "set SAMEFACE_TRITON_TLS__SERVER_NAME"),
    ):
        asked = 0
        triton = TritonInference(url, tls=tls, recovery_s=600)

        async def ask(triton: TritonInference = triton) -> None:
            nonlocal asked
            asked += 1
            await triton.run("face_detector", 1, {})

        with pytest.raises(ModelUnavailable, match=told) as failed:
            await until_available("Triton", ask, time.monotonic() + 600)
        assert (asked, failed.value.retry_after_s) == (1, None)
        await triton.aclose()
    await plain.stop(None)


@pytest.mark.parametrize("given", [{"certificate": "a"}, {"private_key": "a"}, {"client_ca": "a"}])
def test_parts_of_tls_go_together(given: dict[str, str]) -> None:
    with pytest.raises(ValueError, match=r"go together|needs certificate"):
        Settings.model_validate({"tls": given})


async def test_an_error_tells_nothing_of_the_key(service: Guarded, caplog: pytest.LogCaptureFixture) -> None:
    _, key = service.keys.create("test", (), None)
    wrong = key[:-1] + ("A" if key[-1] != "A" else "B")
    async with service.client(wrong) as client:
        with pytest.raises(ServiceError) as refused:
            await client.server_info()
    assert refused.value.reason == "CREDENTIALS_REFUSED"
    secret = key.split("_", 2)[2][:-1]
    assert secret not in str(refused.value) + caplog.text
