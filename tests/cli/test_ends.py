"""`sameface doctor` names certificates and API keys that end soon, of whatever setting."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from sameface.access.api_keys import KeyFile
from sameface.access.ends import certificate_end, certificate_files
from sameface.access.tls import TlsOptions
from sameface.cli.ends import certificates_found, keys_found
from sameface.http.options import HttpOptions
from sameface.inference.triton_tls import TritonTls
from sameface.settings import Settings
from sameface_qdrant import ServerOptions
from tests.access.authorities import Authority


def test_every_section_with_certificates_is_found() -> None:
    a, b, c, d, e, f, g = (Path(f"/{name}.pem") for name in "abcdefg")
    settings = Settings(
        tls=TlsOptions(a, Path("/key.pem"), b),
        http=HttpOptions(tls=TlsOptions(c, Path("/key.pem"))),
        triton_tls=TritonTls(enabled=True, ca=d, certificate=e, private_key=Path("/key.pem")),
        triton_url="gpu:8001",
        qdrant=ServerOptions(ca_certificate=f, client_certificate=g, client_private_key=Path("/key.pem")),
    )
    assert certificate_files(settings) == {
        "SAMEFACE_TLS__CERTIFICATE": a,
        "SAMEFACE_TLS__CLIENT_CA": b,
        "SAMEFACE_HTTP__TLS__CERTIFICATE": c,
        "SAMEFACE_TRITON_TLS__CA": d,
        "SAMEFACE_TRITON_TLS__CERTIFICATE": e,
        "SAMEFACE_QDRANT__CA_CERTIFICATE": f,
        "SAMEFACE_QDRANT__CLIENT_CERTIFICATE": g,
    }
    assert certificate_files(Settings()) == {}


@pytest.mark.parametrize(("days", "good"), [(15, True), (13, False), (-1, False)])
def test_a_certificate_that_ends_within_two_weeks_is_named(days: int, good: bool, tmp_path: Path) -> None:
    now = datetime.now(UTC)
    authority, path = Authority("test", tmp_path), tmp_path / "both.pem"
    issued = [authority.issue("faces", file=str(lasts), lasts=timedelta(days=lasts)) for lasts in (900, days)]
    path.write_bytes(b"".join(one.certificate.read_bytes() for one in issued))
    ends = certificate_end(issued[1].certificate)
    assert abs(ends - now - timedelta(days=days)) < timedelta(minutes=10)
    found = certificates_found({"SAMEFACE_TLS__CERTIFICATE": path}, now)
    assert found == (good, f"SAMEFACE_TLS__CERTIFICATE end{'s' if days > 0 else 'ed'} {ends:%Y-%m-%d %H:%M} UTC")


def test_a_file_that_is_no_certificate_is_named(tmp_path: Path) -> None:
    (tmp_path / "empty").write_text("")
    good, told = certificates_found({"A": tmp_path / "empty", "B": tmp_path / "none"}, datetime.now(UTC))
    assert not good
    assert told == f"A: {tmp_path}/empty has no certificate in PEM; B: {tmp_path}/none: No such file or directory"


def test_only_valid_keys_that_end_within_a_week_are_named(tmp_path: Path) -> None:
    now = datetime.now(UTC)
    file = KeyFile(tmp_path / "keys.json")
    for name, ends in (("old", -1), ("long", 8), ("revoked", 1)):
        record, _ = file.create(name, (), (now + timedelta(days=ends)).timestamp())
    file.revoke(record.id)
    file.create("for ever", (), None)
    assert keys_found(file.path, now) == (True, f"2 valid in {file.path}")
    soon = now + timedelta(days=6)
    record, _ = file.create("soon", (), soon.timestamp())
    assert keys_found(file.path, now) == (False, f"soon ({record.id}) ends {soon:%Y-%m-%d %H:%M} UTC")
