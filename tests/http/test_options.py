"""Settings of the HTTP listener."""

from pathlib import Path
from typing import Any

import pytest

from sameface.access.tls import TlsOptions
from sameface.http.options import HttpOptions


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"listen": "0.0.0.0:8080"}, "hosts is empty"),
        ({"listen": "example.org:8080"}, "IP address"),
        ({"listen": "127.0.0.1:99999"}, "port"),
        ({"listen": "127.0.0.1"}, "IP address"),
        ({"listen": "127.0.0.1:0", "origins": ("*",)}, "origins"),
        ({"listen": "127.0.0.1:0", "origins": ("https://a.example/path",)}, "origins"),
        ({"listen": "127.0.0.1:0", "hosts": ("*",)}, "hosts"),
        ({"listen": "127.0.0.1:0", "hosts": ("a.example:80",)}, "hosts"),
        ({"listen": "127.0.0.1:0", "max_connections": 0}, "max_connections"),
    ],
)
def test_wrong_options_are_told(options: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        HttpOptions(**options)


def test_what_tls_of_its_own_leaves_out_is_that_of_the_grpc_port() -> None:
    certificate, key, own_ca, grpc_ca = (Path(name) for name in ("own.pem", "own.key", "own.ca", "grpc.ca"))
    grpc = TlsOptions(Path("grpc.pem"), Path("grpc.key"), grpc_ca)
    expected = {
        None: grpc,
        TlsOptions(): grpc,
        TlsOptions(certificate, key): TlsOptions(certificate, key, grpc_ca),
        TlsOptions(certificate, key, own_ca): TlsOptions(certificate, key, own_ca),
    }
    for tls, used in expected.items():
        assert HttpOptions("127.0.0.1:0", tls=tls).tls_beside(grpc) == used
    assert HttpOptions("127.0.0.1:0").tls_beside(TlsOptions()) == TlsOptions()
