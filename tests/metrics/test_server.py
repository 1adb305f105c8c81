"""The port gives its answer and nothing else: to few at a time, in short time, encrypted where that is asked for."""

import asyncio
import contextlib
import shutil
import socket
import ssl
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily
from prometheus_client.registry import Collector
from pydantic import ValidationError

from sameface.access.tls import TlsOptions
from sameface.errors import AddressUnavailable
from sameface.measured import metrics_of
from sameface.metrics import server as metrics_server
from sameface.metrics.options import MetricsOptions
from sameface.metrics.server import MetricsServer
from sameface.metrics.serving import on_loop
from sameface.settings import Settings
from sameface_qdrant.errors import InvalidArgument, StoreTooNew
from tests.access.authorities import Authority

CLOSED = "closed|reset|alert|certificate|EOF|aborted|pipe"


class Times(Collector):
    """Counts how often it is read, and in which threads."""

    def __init__(self) -> None:
        self.threads: list[str] = []

    def collect(self) -> Iterator[CounterMetricFamily]:
        self.threads.append(threading.current_thread().name)
        yield CounterMetricFamily("reads", "how often this was read", value=len(self.threads))


@contextlib.contextmanager
def listening(**options: Any) -> Iterator[tuple[str, Times]]:
    registry, times = CollectorRegistry(auto_describe=False), Times()
    registry.register(times)
    times.threads.clear()
    server = MetricsServer(MetricsOptions(listen="127.0.0.1:0", **options), registry)
    server.start()
    try:
        yield server.address, times
    finally:
        server.stop()


def read(url: str, context: ssl.SSLContext | None = None) -> str:
    with urllib.request.urlopen(url, timeout=20, context=context) as answer:
        text: str = answer.read().decode()
    return text


def test_frequent_scrapes_get_the_same_answer() -> None:
    with listening(reuse_s=60.0) as (address, times):
        texts = {read(f"http://{address}/metrics") for _ in range(5)}
    assert len(texts) == 1
    assert times.threads == ["metrics"]


def test_openmetrics_is_offered_only_with_exemplars() -> None:
    with listening() as (address, _):
        request = urllib.request.Request(
            f"http://{address}/metrics", headers={"Accept": "application/openmetrics-text; version=1.0.0"}
        )
        with urllib.request.urlopen(request, timeout=20) as answer:
            assert answer.headers["Content-Type"].startswith("text/plain")


def test_metrics_that_cannot_be_read_are_answered_with_500_and_one_line(caplog: pytest.LogCaptureFixture) -> None:
    class Broken(Collector):
        def collect(self) -> Iterator[CounterMetricFamily]:
            raise StoreTooNew("the file is too new")

    registry = CollectorRegistry(auto_describe=False)
    registry.register(Broken())
    server = MetricsServer(MetricsOptions(listen="127.0.0.1:0"), registry)
    server.start()
    try:
        with pytest.raises(urllib.error.HTTPError, match="500"):
            read(f"http://{server.address}/metrics")
    finally:
        server.stop()
    (line,) = [one for one in caplog.records if one.levelname == "ERROR"]
    assert "the file is too new" in line.getMessage()
    assert line.exc_info is None


def silent(address: str) -> socket.socket:
    """Return a connection that has sent a part of a request."""
    host, _, port = address.rpartition(":")
    connection = socket.create_connection((host, int(port)), timeout=20)
    connection.sendall(b"GET /me")
    return connection


def answers(address: str) -> bool:
    try:
        return "reads_total" in read(f"http://{address}/metrics")
    except OSError:
        return False


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_further_connections_are_closed() -> None:
    with listening(max_connections=2) as (address, _):
        with silent(address), silent(address):
            until(lambda: not answers(address))
        until(lambda: answers(address))


def test_silent_connections_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metrics_server, "REQUEST_S", 0.2)
    with listening(max_connections=1) as (address, _), silent(address) as connection:
        assert connection.recv(1) == b""
        until(lambda: answers(address))


def test_the_port_is_encrypted_and_asks_for_a_certificate_and_takes_a_new_one(tmp_path: Path) -> None:
    authority = Authority("metrics", tmp_path)
    mine, scraper = authority.issue("localhost", file="mine"), authority.issue("prometheus")
    trusting = ssl.create_default_context(cafile=authority.path)
    with listening(tls=TlsOptions(mine.certificate, mine.key, authority.path)) as (address, _):
        with pytest.raises(OSError, match=CLOSED):
            read(f"http://{address}/metrics")
        with pytest.raises(OSError, match=CLOSED):
            read(f"https://{address}/metrics", trusting)
        trusting.load_cert_chain(scraper.certificate, scraper.key)
        assert "reads_total" in read(f"https://{address}/metrics", trusting)
        fresh = authority.issue("localhost", file="fresh")
        shutil.copy(fresh.certificate, mine.certificate)
        shutil.copy(fresh.key, mine.key)
        host, _, port = address.rpartition(":")
        with (
            socket.create_connection((host, int(port)), timeout=20) as plain,
            trusting.wrap_socket(plain, server_hostname="localhost") as connection,
        ):
            assert connection.getpeercert(binary_form=True) == ssl.PEM_cert_to_DER_cert(fresh.certificate.read_text())


def test_an_address_in_use_is_refused_with_the_name_of_the_setting() -> None:
    with (
        listening() as (address, _),
        pytest.raises(AddressUnavailable, match=r"metrics\.listen"),
    ):
        MetricsServer(MetricsOptions(listen=address), CollectorRegistry())


@pytest.mark.parametrize(
    ("value", "told"),
    [
        ({"listen": "9464"}, "0.0.0.0:9464"),
        ({"listen": "0.0.0.0:70000"}, "0.0.0.0:9464"),
        ({"listen": "127.0.0.1:0", "galleries": ["a b"]}, "galleries"),
        ({"listen": "127.0.0.1:0", "galleries": [f"g{number}" for number in range(101)]}, "at most 100"),
        ({"listen": "127.0.0.1:0", "count_every_s": 0}, "greater than 0"),
        ({"listen": "127.0.0.1:0", "count_every_s": 1e-9}, r"count_every_s is 1e-09; expected 0\.1 or more seconds"),
        ({"listen": "127.0.0.1:0", "count_every_s": float("inf")}, "less than or equal to 86400"),
        ({"listen": "127.0.0.1:0", "count_every_s": float("nan")}, "count_every_s"),
        ({"listen": "127.0.0.1:0", "reuse_s": float("inf")}, "less than or equal to 60"),
        ({"listen": "127.0.0.1:0", "reuse_s": float("nan")}, "reuse_s"),
        ({"listen": "127.0.0.1:0", "max_connections": 0}, "greater than or equal to 1"),
    ],
)
def test_settings_that_cannot_be_are_refused(value: dict[str, Any], told: str) -> None:
    with pytest.raises(ValidationError, match=told):
        Settings(metrics=value)


def test_the_environment_names_the_port_and_galleries(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SAMEFACE_METRICS__LISTEN", "[::1]:9464")
    monkeypatch.setenv("SAMEFACE_METRICS__GALLERIES", '["staff", "guests"]')
    monkeypatch.setenv("SAMEFACE_HTTP__LISTEN", "[::1]:8080")
    found = Settings()
    assert (found.metrics.listen, found.metrics.galleries) == ("[::1]:9464", ("staff", "guests"))
    assert found.http.listen == "[::1]:8080"


@pytest.mark.skipif(not socket.has_ipv6, reason="this Python has no IPv6")
def test_an_address_of_ipv6_is_listened_on() -> None:
    try:
        server = MetricsServer(MetricsOptions(listen="[::1]:0"), CollectorRegistry())
    except AddressUnavailable:
        pytest.skip("this machine has no address of IPv6")
    server.start()
    try:
        assert server.address.startswith("[::1]:")
        assert read(f"http://{server.address}/metrics") == ""
    finally:
        server.stop()


def test_plain_text_for_other_machines_has_to_be_asked_for() -> None:
    settings = Settings(metrics=MetricsOptions(listen="0.0.0.0:0"))
    with pytest.raises(InvalidArgument, match=r"metrics\.listen.*SAMEFACE_METRICS__TLS__CERTIFICATE"):
        metrics_of(settings, (), contextlib.AsyncExitStack())


async def test_what_only_the_loop_can_read_is_read_there_and_missing_if_it_has_no_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from sameface.metrics import serving

    loop = asyncio.get_running_loop()
    assert await asyncio.to_thread(on_loop, loop, lambda: asyncio.get_running_loop() is loop)
    monkeypatch.setattr(serving, "LOOP_S", 0.01)
    held = threading.Thread(target=lambda: found.append(on_loop(loop, lambda: True)))
    found: list[bool | None] = []
    held.start()
    held.join()  # the loop waits here
    assert found == [None]
