"""Calls go to a node that answers, and only what is safe to repeat is repeated."""

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import grpc
import numpy as np
import pytest
from grpc import StatusCode

from sameface.cli.doctor import _store
from sameface.settings import Settings
from sameface_qdrant import NewTemplate, Policy, Probe, Store
from sameface_qdrant.engines.server import nodes as nodes_module
from sameface_qdrant.engines.server.client import addresses
from sameface_qdrant.engines.server.options import ServerOptions
from sameface_qdrant.errors import IdentityNotFound, InvalidArgument, StoreCorrupt, StoreUnavailable
from tests.plugin.conftest import CONTRACT
from tests.plugin.wire import Double, Fault
from tests.relay import Relay

VECTOR = np.random.default_rng(3).normal(size=8).astype(np.float32)
TLS = Path(__file__).parents[1] / "data" / "tls"
PATIENCE_S = 120.0
"""Nothing may hang. This is far above every deadline in these tests."""


@pytest.fixture
async def nodes() -> AsyncIterator[tuple[Double, Double, Double]]:
    first = await Double().start()
    others = [await Double(beside=first).start() for _ in range(2)]
    yield first, others[0], others[1]
    for node in (first, *others):
        await node.stop()


async def people_on(url: str, **options: object) -> Store:
    """A store with one identity in one gallery."""
    store = await Store.open(url, options=ServerOptions(**options))  # type: ignore[arg-type]
    await store.galleries.create("people", CONTRACT, policy=Policy(verify_threshold=0.5, identify_threshold=0.5))
    await store.enroll("people", "ada", [NewTemplate(VECTOR, CONTRACT)])
    return store


def joined(*nodes: Double | Relay) -> str:
    return ",".join(node.url for node in nodes)


async def test_the_first_node_that_answers_gets_every_call(nodes: tuple[Double, Double, Double]) -> None:
    store = await people_on(joined(*nodes))
    assert len(nodes[0].log) > 5
    assert not nodes[1].log
    assert not nodes[2].log
    await store.aclose()


async def test_a_node_that_is_away_at_the_start_is_left_out(nodes: tuple[Double, Double, Double]) -> None:
    await nodes[0].stop()
    store = await people_on(joined(*nodes))
    assert (await store.verify("people", "ada", Probe(VECTOR, CONTRACT))).gallery_size == 1
    await store.aclose()


@pytest.mark.parametrize("last", [0, 1, 2])
async def test_calls_go_on_while_one_node_is_left(nodes: tuple[Double, Double, Double], last: int) -> None:
    store = await people_on(joined(*nodes))
    for number, node in enumerate(nodes):
        if number != last:
            await node.stop()
    await store.enroll("people", "bob", [NewTemplate(VECTOR + 1, CONTRACT)])
    assert (await store.verify("people", "bob", Probe(VECTOR + 1, CONTRACT))).gallery_size == 2
    await store.identities.delete("people", "bob", force=True)
    await store.aclose()


async def test_without_any_node_the_store_is_unavailable(nodes: tuple[Double, Double, Double]) -> None:
    store = await people_on(joined(*nodes))
    for node in nodes:
        await node.stop()
    async with asyncio.timeout(PATIENCE_S):
        with pytest.raises(StoreUnavailable) as away:
            await store.identities.get("people", "ada")
    assert away.value.retry_after_s
    await nodes[2].start()
    async with asyncio.timeout(PATIENCE_S):
        while True:
            try:
                assert (await store.identities.get("people", "ada")).template_count == 1
                break
            except StoreUnavailable as down:
                await asyncio.sleep(down.retry_after_s or 0)
    await store.aclose()


async def test_a_paused_node_is_noticed_and_its_reads_and_enrolments_go_on(
    nodes: tuple[Double, Double, Double],
) -> None:
    relay = await Relay(nodes[0].port).start()
    store = await people_on(joined(relay, nodes[1]))
    relay.pause()
    async with asyncio.timeout(PATIENCE_S):
        (stored,) = await store.enroll("people", "bob", [NewTemplate(VECTOR + 1, CONTRACT)])
    assert [one.id for one in (await store.templates.list("people", "bob")).items] == [stored.id]
    assert nodes[1].log
    await store.aclose()
    await relay.stop()


async def test_a_deletion_sent_to_a_paused_node_is_the_callers_to_repeat(nodes: tuple[Double, Double, Double]) -> None:
    relay = await Relay(nodes[0].port).start()
    store = await people_on(joined(relay, nodes[1]), timeout_s=10)
    engine = store._engine
    relay.pause()
    async with asyncio.timeout(PATIENCE_S):
        with pytest.raises(StoreUnavailable) as lost:
            await engine.delete(CONTRACT.key, ["00000000-0000-0000-0000-000000000001"])
        assert lost.value.retry_after_s
        assert "Points/Delete" not in nodes[1].log
        await store.identities.delete("people", "ada", force=True)
    with pytest.raises(IdentityNotFound):
        await store.identities.get("people", "ada")
    await store.aclose()
    await relay.stop()


async def test_a_deletion_whose_answer_was_lost_is_sent_to_no_other_node(nodes: tuple[Double, Double, Double]) -> None:
    store = await people_on(joined(*nodes))
    nodes[0].faults["Points/Delete"].append(Fault(applied=True))
    with pytest.raises(StoreUnavailable):
        await store.identities.delete("people", "ada", force=True)
    assert [node.log.count("Points/Delete") for node in nodes] == [1, 0, 0]
    await store.aclose()


@pytest.mark.parametrize("count", [1, 2])
async def test_a_read_whose_answer_was_damaged_is_repeated(count: int) -> None:
    asked = 0

    class Damaged:
        """gRPC gives None for an answer that it cannot read."""

        async def scroll(self) -> str:
            nonlocal asked
            asked += 1
            answer = None if asked == 1 else "whole"
            return str(answer.upper())  # type: ignore[union-attr]

        delete = scroll

        async def count(self) -> str:
            return str(self.no_such_thing)  # type: ignore[attr-defined]

    opened = nodes_module.Nodes({str(number): Damaged() for number in range(count)}, ServerOptions())  # type: ignore[misc]
    assert await opened.scroll() == "WHOLE"
    asked = 0
    with pytest.raises(AttributeError, match="NoneType"):  # it may have been applied
        await opened.delete()
    assert asked == 1
    with pytest.raises(AttributeError, match="no_such_thing"):
        await opened.count()


async def test_an_enrolment_whose_answer_was_lost_is_stored_once(nodes: tuple[Double, Double, Double]) -> None:
    store = await people_on(joined(*nodes))
    nodes[0].faults["Points/UpdateBatch"].append(Fault(applied=True))
    await store.enroll("people", "bob", [NewTemplate(VECTOR + 1, CONTRACT)])
    assert (await store.identities.get("people", "bob")).template_count == 1
    await store.aclose()


@pytest.mark.parametrize("code", [StatusCode.NOT_FOUND, StatusCode.INTERNAL, StatusCode.RESOURCE_EXHAUSTED])
async def test_what_one_node_cannot_answer_another_is_asked(
    nodes: tuple[Double, Double, Double], code: StatusCode
) -> None:
    """A node that was just started again does not know every collection, or has no replica yet."""
    store = await people_on(joined(*nodes))
    nodes[0].faults["Points/Query"].extend([Fault(code, "not here")] * 2)
    assert (await store.identify("people", Probe(VECTOR, CONTRACT))).candidates[0].identity == "ada"
    await store.aclose()


async def test_a_collection_that_no_node_knows_is_lost(nodes: tuple[Double, Double, Double]) -> None:
    store = await people_on(joined(*nodes))
    await nodes[0].client.delete_collection(f"sameface-{CONTRACT.key}")
    with pytest.raises(StoreCorrupt, match="snapshot"):
        await store.identify("people", Probe(VECTOR, CONTRACT))
    await store.aclose()


async def test_a_node_that_is_back_is_used_again_once_it_has_settled(
    nodes: tuple[Double, Double, Double], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(nodes_module, "PROBE_EVERY_S", 0.05)
    monkeypatch.setattr(nodes_module, "SETTLED_AFTER_S", 0.2)
    store = await people_on(joined(*nodes))
    await nodes[0].stop()
    await store.identities.get("people", "ada")
    await nodes[0].start()
    nodes[0].log.clear()
    async with asyncio.timeout(PATIENCE_S):
        while set(nodes[0].log) <= {"Qdrant/HealthCheck"}:
            await store.identities.get("people", "ada")
            await asyncio.sleep(0.05)
    # It was asked at least so often whether it answers, before it was used: for the identity, or to count the gallery.
    used = next(number for number, name in enumerate(nodes[0].log) if name != "Qdrant/HealthCheck")
    assert used >= 4
    assert nodes[0].log[used] in ("Points/Get", "Points/Count")
    await store.aclose()


async def test_encrypted_nodes_are_checked_each_by_its_own_name() -> None:
    credentials = grpc.ssl_server_credentials(
        [((TLS / "key.pem").read_bytes(), (TLS / "certificate.pem").read_bytes())]
    )
    first = await Double().start(credentials)
    second = await Double(beside=first).start(credentials)
    url = f"https://127.0.0.1:{first.port},https://localhost:{second.port}"
    store = await people_on(url, ca_certificate=TLS / "certificate.pem")
    await first.stop()
    assert (await store.verify("people", "ada", Probe(VECTOR, CONTRACT))).gallery_size == 1
    assert "Points/QueryBatch" in second.log
    await store.aclose()
    with pytest.raises(StoreUnavailable, match="certificate refused"):
        await Store.open(f"https://localhost:{second.port}", options=ServerOptions(retries=0))
    await second.stop()


def _has_two_addresses(name: str) -> bool:
    try:
        found = {one[4][0] for one in socket.getaddrinfo(name, 0, type=socket.SOCK_STREAM)}
        with socket.socket(socket.AF_INET6) as tried:
            tried.bind(("::1", 0))
    except OSError:
        return False
    return {"::1", "127.0.0.1"} <= found


@pytest.mark.skipif(not _has_two_addresses("localhost"), reason="localhost has only one address here")
async def test_a_name_with_several_addresses_stands_for_all_of_them() -> None:
    async with AsyncExitStack() as parts:
        first = await Double().start(host="[::1]")
        second = Double(beside=first)
        second.port = first.port
        await second.start()
        parts.push_async_callback(first.stop)
        parts.push_async_callback(second.stop)
        store = await people_on(f"http://localhost:{first.port}")
        parts.push_async_callback(store.aclose)
        used, other = (first, second) if "Points/UpdateBatch" in first.log else (second, first)
        await used.stop()
        other.log.clear()
        assert (await store.identities.get("people", "ada")).template_count == 1
        assert "Points/Get" in other.log


@pytest.mark.parametrize(
    "url",
    [
        "http://a:6334,https://b:6334",
        "http://a:6334,",
        "http://a:6334,b:6334",
        "http://a:6334/db",
        "http://a:6334,http://a:6334",
        "http://a:99999",
    ],
)
def test_malformed_addresses_are_refused(url: str) -> None:
    with pytest.raises(InvalidArgument) as refused:
        addresses(url)
    assert refused.value.metadata["field"] == "url"


def test_addresses_are_separated_by_commas() -> None:
    assert addresses("http://a:1, http://b") == ("http://a:1", "http://b")


async def test_one_node_that_answers_is_enough_for_the_doctor(nodes: tuple[Double, Double, Double]) -> None:
    await nodes[0].stop()
    found = await asyncio.to_thread(_store, Settings(qdrant_url=joined(*nodes)))
    assert found.good
    assert "does not answer" in found.found
    for node in nodes[1:]:
        await node.stop()
    found = await asyncio.to_thread(_store, Settings(qdrant_url=joined(*nodes)))
    assert not found.good
    assert found.remedy


def test_a_setting_that_is_no_list_of_urls_is_refused() -> None:
    with pytest.raises(ValueError, match="is not a URL"):
        Settings(qdrant_url="http://a:6334,b:6334")
