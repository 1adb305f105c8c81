"""What is no address is told when the client is made, with what to write instead; nothing is sent."""

import asyncio
import ipaddress
import re
import socket
from typing import Any

import grpc
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sameface.addresses import SERVICE, TRITON, check_target, host_and_port, is_here, socket_path
from sameface.client import AsyncClient, Client, NotAnAddress, ServiceError, connect
from tests.client import proxies

GOOD = [
    ("127.0.0.1:50051", True),
    ("127.8.9.1:1", True),
    ("localhost:65535", True),
    ("[::1]:50051", True),
    ("dns:///localhost:50051", True),
    ("dns:127.0.0.1:50051", True),
    ("unix:/run/sameface.sock", True),
    ("unix:///run/same%20face.sock", True),
    ("unix:relative", True),
    ("unix-abstract:sameface", True),
    ("ipv4:127.0.0.1:1,127.0.0.2:2", True),
    ("ipv6:[::1]:50051", True),
    ("ipv4:127.0.0.1:1,192.0.2.1:2", False),
    ("sameface:50051", False),
    ("sameface.example.:50051", False),
    ("my_service-1.example:50051", False),
    ("192.0.2.1:50051", False),
    ("0.0.0.0:50051", False),
    ("[2001:db8::1]:50051", False),
    ("[fe80::1%eth0]:50051", False),
    ("[::1%eth0]:50051", False),
    ("dns:///sameface:50051", False),
    ("dns://192.0.2.53/localhost:50051", False),
    ("xds:///sameface", False),
    ("vsock:2:50051", False),
    # A name may stand for any machine, whatever it looks like.
    ("127.evil.example:50051", False),
    ("127.0.0.1.evil.example:50051", False),
    ("localhost.evil.example:50051", False),
    ("127.1:50051", False),
]
BAD = [
    ("http://sameface:50052", "write sameface:50052"),
    ("http://sameface", "write sameface:50051"),
    ("http://[::1]:50052/v1?token=secret", "write [::1]:50052"),
    ("HTTP://sameface/secret", "write sameface:50051"),
    ("grpc://sameface:50052", "write sameface:50052"),
    ("https://sameface:50052", "write sameface:50052, and pass credentials=tls_credentials()"),
    ("https://reader:secret@sameface:50052", "without them"),
    ("secret@sameface:50052", "without them"),
    ("sameface", "write sameface:50051"),
    ("dns:///sameface", "write sameface:50051"),
    ("[::1]", "write [::1]:50051"),
    ("::1", "write [::1]:50051"),
    ("2001:db8::1", "write [2001:db8::1]:50051"),
    (":50052", "write 127.0.0.1:50052"),
    ("sameface:", "from 1 to 65535; write sameface:50051"),
    ("sameface:0", "from 1 to 65535; write sameface:50051"),
    ("sameface:65536", "from 1 to 65535; write sameface:50051"),
    ("sameface:99999", "from 1 to 65535; write sameface:50051"),
    ("sameface:https", "from 1 to 65535; write sameface:50051"),
    ("sameface:٣", "from 1 to 65535; write sameface:50051"),
    ("sameface:50051/v1", "from 1 to 65535; write sameface:50051"),
    ("", "it is empty; write 127.0.0.1:50051"),
    (" ", "it is empty"),
    (" sameface:50051", "spaces or line breaks"),
    ("sameface:50051\n", "spaces or line breaks"),
    ("same face:50051", "not host:port"),
    ("sämeface:50051", "in ASCII"),
    ("127.0.0.1%2eevil.example:50051", "not host:port"),
    ("a" * 254 + ":50051", "not host:port"),
    ("dns://sameface:50051", "not host:port"),
    ("dns:///", "not host:port"),
    ("unix:", "names no path"),
    ("unix://run/sameface.sock", "names no path"),
    ("xds:///", "has no name"),
    ("ipv4:sameface:50051", "not names"),
    ("ipv4:127.0.0.1", "write ipv4:127.0.0.1:50051"),
    ("ipv6:::1:50051", "brackets; write ipv6:[::1]:50051"),
    (None, "an address is text, for instance 127.0.0.1:50051; got NoneType"),
    (50051, "got int"),
    (b"sameface:50051", "got bytes"),
]


@pytest.mark.parametrize(("address", "here"), GOOD)
def test_an_address_of_grpc_is_taken_as_it_is(address: str, here: bool) -> None:
    assert check_target(address) == address
    assert is_here(address) is here


@pytest.mark.parametrize(("address", "told"), BAD)
def test_what_is_no_address_is_refused_with_what_to_write(address: Any, told: str) -> None:
    for use in (Client, AsyncClient, lambda text: connect(text).__enter__()):
        with pytest.raises(NotAnAddress, match=re.escape(told)) as refused:
            use(address)
        assert refused.value.reason == "INVALID_ARGUMENT"
        assert "secret" not in refused.value.message
        assert len(refused.value.message) < 300


def test_the_advice_fits_the_server() -> None:
    with pytest.raises(ValueError, match=r"write gpu:8001, and set SAMEFACE_TRITON_TLS__ENABLED=true$"):
        check_target("https://gpu", TRITON)
    for server in (SERVICE, TRITON):
        assert check_target(server.example) == server.example


HOSTS = st.one_of(
    st.from_regex(r"[a-z0-9]([a-z0-9-]{0,20}[a-z0-9])?(\.[a-z]{2,5})?", fullmatch=True),
    st.ip_addresses(v=4).map(str),
    st.ip_addresses(v=6).map(lambda ip: f"[{ip}]"),
)


@settings(max_examples=100)
@given(HOSTS, st.integers(-10, 100_000), st.sampled_from(["", "dns:///", "dns://192.0.2.53/", "http://", "https://"]))
def test_every_host_and_port_is_taken_and_every_refusal_says_what_is_taken(host: str, port: int, before: str) -> None:
    address = f"{before}{host}:{port}"
    if 1 <= port <= 65535 and not before.startswith("http"):
        assert check_target(address) == address
        assert host_and_port(address) == (host.strip("[]"), port)
        return
    with pytest.raises(ValueError, match="; write ") as refused:
        check_target(address)
    advice = str(refused.value).rpartition("; write ")[2].partition(", and ")[0]
    assert check_target(advice) == advice
    assert host in advice


@settings(max_examples=100)
@given(st.text(max_size=30))
def test_no_text_but_an_address_of_this_machine_is_taken_for_one(text: str) -> None:
    try:
        check_target(text)
    except ValueError:
        return
    if is_here(text) and not text.startswith("unix"):
        found = host_and_port(text)
        assert found is not None
        assert found[0].lower() == "localhost" or ipaddress.ip_address(found[0]).is_loopback


def test_the_path_of_a_socket_is_decoded() -> None:
    assert socket_path("unix:///run/same%20face.sock") == "/run/same face.sock"
    assert socket_path("unix:run/sameface.sock") == "run/sameface.sock"


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def failure(address: str) -> ServiceError:
    with Client(address, timeout_s=10, unreachable_s=0.3) as client, pytest.raises(ServiceError) as failed:
        client.server_info()
    assert (failed.value.code, failed.value.reason) == (grpc.StatusCode.UNAVAILABLE, "")
    return failed.value


@pytest.mark.parametrize("address", ["127.0.0.1:{port}", "unix:/run/no-such-sameface.sock"])
def test_where_nothing_listens_the_command_that_starts_a_service_is_told(address: str) -> None:
    filled = address.format(port=free_port())
    told = "no service listens there: start one with `sameface serve`, or give its address"
    assert failure(filled).message.endswith(told)

    async def asynchronously() -> None:
        async with AsyncClient(filled, timeout_s=10, unreachable_s=0.3) as client:
            with pytest.raises(ServiceError, match="sameface serve"):
                await client.server_info()
            with pytest.raises(ServiceError, match="sameface serve"):
                await anext(client.identify_stream("g", [b"photo"]))

    asyncio.run(asynchronously())


@pytest.mark.parametrize(
    ("variables", "asked"), [(("grpc_proxy",), True), (("https_proxy",), True), (("http_proxy",), True), ((), False)]
)
def test_other_machines_are_reached_through_the_proxy_of_the_environment(
    monkeypatch: pytest.MonkeyPatch, variables: tuple[str, ...], asked: bool
) -> None:
    with proxies.listening() as (url, lines):
        proxies.use(monkeypatch, url.replace("//", "//reader:secret@"), *variables)
        error = failure("sameface.invalid:50051")
        assert ("CONNECT sameface.invalid:50051 HTTP/1.1" in lines) is asked
        assert (f"{variables[0]} is set" in error.message) if asked else ("is set" not in error.message)
        assert "secret" not in error.message
        monkeypatch.setenv("no_grpc_proxy", "sameface.invalid")
        del lines[:]
        failure("sameface.invalid:50051")
        assert lines == []
