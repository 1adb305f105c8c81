"""An address that cannot be listened on is named, with what is wrong."""

import errno
import socket

import pytest

from sameface import listening
from sameface.errors import AddressUnavailable
from sameface.listening import check_free


def test_a_port_is_in_use_while_somebody_listens_and_free_again_afterwards() -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        listen = f"127.0.0.1:{other.getsockname()[1]}"
        for host in ("127.0.0.1", "localhost", "0.0.0.0"):
            with pytest.raises(AddressUnavailable, match="another program listens there"):
                check_free(f"{host}:{other.getsockname()[1]}")
    check_free(listen)


def test_connections_that_have_just_ended_do_not_keep_a_port() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        listen = f"127.0.0.1:{server.getsockname()[1]}"
        with socket.create_connection(server.getsockname()):
            server.accept()[0].close()
    check_free(listen)


@pytest.mark.parametrize(
    ("listen", "why"),
    [
        ("192.0.2.1:50051", "does not belong to this machine"),
        ("[2001:db8::1]:50051", "does not belong to this machine"),
        ("a..b:50051", "the host cannot be found"),
    ],
)
def test_what_is_wrong_with_an_address_is_told(listen: str, why: str) -> None:
    with pytest.raises(AddressUnavailable) as caught:
        check_free(listen)
    assert why in caught.value.message
    assert listen in caught.value.message
    assert caught.value.metadata["listen"] == listen


@pytest.mark.parametrize("listen", ["127.0.0.1:0", "[::]:0", "localhost:0"])
def test_port_0_is_free(listen: str) -> None:
    check_free(listen)


def test_every_address_is_left_to_the_server_where_a_machine_has_no_ipv6(monkeypatch: pytest.MonkeyPatch) -> None:
    missing = OSError(errno.EAFNOSUPPORT, "Address family not supported by protocol")
    monkeypatch.setattr(listening, "bind_failures", lambda listen: ([missing], 1))
    check_free("[::]:50051")
    with pytest.raises(AddressUnavailable, match="Address family not supported"):
        check_free("[::1]:50051")
