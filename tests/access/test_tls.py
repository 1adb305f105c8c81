"""The port is encrypted, certificates change without a restart, and clients may need one of their own."""

import datetime
import shutil
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import grpc
import pytest

from sameface.access.tls import TlsOptions, check_encrypted, server_credentials
from sameface.addresses import is_loopback
from sameface.client import ServiceError
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
