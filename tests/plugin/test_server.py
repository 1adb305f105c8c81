"""What the server engine does about faults of the connection, and what it requests from a server.

The other side is the double of `tests.plugin.wire`, which is no evidence of a Qdrant server's behaviour. The contract
suite (`test_store`, `test_services`, `test_stateful`, `test_attach`) tests that if ``QDRANT_URL`` is set.
"""

import asyncio
import warnings
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from grpc import StatusCode
from hypothesis import given
from hypothesis import strategies as st
from qdrant_client import grpc as messages

from sameface.api.status import rich_status
from sameface_qdrant import NewTemplate, Policy, Probe, Scope, Store, TemplateFilter
from sameface_qdrant.engines.server.error_mapping import typed_error
from sameface_qdrant.engines.server.options import ServerOptions
from sameface_qdrant.errors import (
    IdentityNotFound,
    InvalidArgument,
    SamefaceError,
    StoreCorrupt,
    StoreFull,
    StoreRefused,
    StoreTooOld,
    StoreUnavailable,
)
from tests.plugin.conftest import CONTRACT
from tests.plugin.wire import Double, Fault

VECTOR = np.random.default_rng(3).normal(size=8).astype(np.float32)
POLICY = Policy(verify_threshold=0.5, identify_threshold=0.5)
PATIENCE_S = 120.0
"""Nothing may hang. This is far above every deadline in these tests."""


@pytest.fixture
async def double() -> AsyncIterator[Double]:
    started = await Double().start()
    yield started
    await started.stop()


@pytest.fixture
async def people(double: Double) -> AsyncIterator[Store]:
    """A store on the double, with one identity in one gallery."""
    store = await Store.open(double.url)
    await store.galleries.create("people", CONTRACT, policy=POLICY)
    await store.enroll("people", "ada", [NewTemplate(VECTOR, CONTRACT)], labels={"team": "red"})
    double.log.clear()
    yield store
    await store.aclose()


async def test_nobody_listens(double: Double) -> None:
    await double.stop()
    async with asyncio.timeout(PATIENCE_S):
        with pytest.raises(StoreUnavailable, match="does not answer") as refused:
            await Store.open(double.url)
    assert refused.value.retry_after_s


async def test_an_answer_that_comes_too_late_is_not_waited_for(double: Double) -> None:
    store = await Store.open(double.url, options=ServerOptions(timeout_s=4))
    double.faults["Points/Get"].append(Fault(delay_s=2 * PATIENCE_S))
    async with asyncio.timeout(PATIENCE_S):
        with pytest.raises(StoreUnavailable, match="in time") as late:
            await store.galleries.get("people")
        assert late.value.retry_after_s
        await store.aclose()


async def test_a_wrong_key_is_named_and_waiting_does_not_help() -> None:
    double = await Double(api_key="right").start()
    with pytest.warns(UserWarning, match="insecure"), pytest.raises(StoreUnavailable, match="API key") as refused:
        await Store.open(double.url, api_key="wrong")
    assert refused.value.retry_after_s is None
    assert "wrong" not in str(refused.value)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        store = await Store.open(double.url, api_key="right")
    await store.aclose()
    await double.stop()


@pytest.mark.parametrize("version", ["1.16.9", "0.11.0", "nonsense"])
async def test_a_server_that_is_too_old_is_refused(version: str) -> None:
    double = await Double(version=version).start()
    with pytest.raises(StoreTooOld, match=version):
        await Store.open(double.url)
    await double.stop()


async def test_a_server_without_encryption_is_no_https_server(double: Double) -> None:
    async with asyncio.timeout(PATIENCE_S):
        with pytest.raises(StoreUnavailable):
            await Store.open(double.url.replace("http:", "https:"))


async def test_an_enrolment_whose_answer_was_lost_is_stored_once(double: Double, people: Store) -> None:
    double.faults["Points/UpdateBatch"].append(Fault(applied=True))
    (stored,) = await people.enroll("people", "bob", [NewTemplate(VECTOR, CONTRACT)], request_id="r1")
    assert double.log.count("Points/UpdateBatch") == 2
    assert [one.id for one in (await people.templates.list("people", "bob")).items] == [stored.id]
    assert (await people.verify("people", "bob", Probe(VECTOR, CONTRACT))).gallery_size == 2


async def test_a_second_template_whose_answer_was_lost_is_stored_once(double: Double, people: Store) -> None:
    """The identity's record exists. The write depends on its revision, which the first attempt has increased."""
    double.faults["Points/UpdateBatch"].extend([Fault(applied=True), Fault(applied=True)])
    await people.enroll("people", "ada", [NewTemplate(VECTOR + 1, CONTRACT)])
    assert (await people.identities.get("people", "ada")).template_count == 2


async def test_a_delete_is_not_repeated_behind_the_callers_back(double: Double, people: Store) -> None:
    double.faults["Points/Delete"].append(Fault(applied=True))
    with pytest.raises(StoreUnavailable) as lost:
        await people.identities.delete("people", "ada", force=True)
    assert lost.value.retry_after_s
    assert double.log.count("Points/Delete") == 1
    with pytest.raises(IdentityNotFound):
        await people.identities.get("people", "ada")


async def enroll(store: Store) -> Any:
    return await store.enroll("people", "bob", [NewTemplate(VECTOR + 2, CONTRACT)], request_id="r7")


async def create_identity(store: Store) -> Any:
    return await store.identities.create("people", "cy", request_id="r8")


async def update_labels(store: Store) -> Any:
    return await store.identities.update("people", "ada", {"labels": {"team": "blue"}})


async def update_policy(store: Store) -> Any:
    return await store.galleries.update("people", policy={"verify_threshold": 0.7})


async def delete_gallery(store: Store) -> Any:
    return await store.galleries.delete("people", force=True)


async def seen(store: Store) -> Any:
    """The galleries, identities and labels that a caller sees."""
    found = {}
    for gallery in (await store.galleries.list()).items:
        identities = (await store.identities.list(gallery.id)).items
        found[gallery.id] = (
            gallery.policy.verify_threshold,
            len(await store.galleries.revisions(gallery.id)),
            sorted((one.id, one.template_count, tuple(one.labels.items())) for one in identities),
            len(await store.search(gallery.id, Probe(VECTOR, CONTRACT), where=TemplateFilter(labels={"team": "blue"}))),
        )
    return found


async def reason_of(call: Awaitable[Any]) -> str:
    """The reason of a call's error; empty if it succeeds."""
    try:
        await call
    except SamefaceError as error:
        return error.reason
    return ""


@pytest.mark.parametrize("lost", range(6))
@pytest.mark.parametrize("write", [enroll, create_identity, update_labels, update_policy, delete_gallery])
async def test_a_write_that_lost_an_answer_ends_where_one_write_would(
    double: Double, people: Store, write: Callable[[Store], Awaitable[Any]], lost: int
) -> None:
    """The ``lost``-th writing call is applied and its answers are lost, more often than gRPC repeats it."""
    twin = await Double().start()
    undisturbed = await Store.open(twin.url)
    await undisturbed.galleries.create("people", CONTRACT, policy=POLICY)
    await undisturbed.enroll("people", "ada", [NewTemplate(VECTOR, CONTRACT)], labels={"team": "red"})
    await write(undisturbed)
    method = ["Points/UpdateBatch", "Points/SetPayload", "Points/Delete"][lost % 3]
    double.faults[method].extend([Fault(applied=bool(lost // 3))] * 3)
    first = await reason_of(write(people))
    assert first in ("", "STORE_UNAVAILABLE")
    if first:
        double.faults.clear()
        again = await reason_of(write(people))
        # If the first attempt was applied completely, nothing is left to delete.
        assert again == "" or (write is delete_gallery and again == "GALLERY_NOT_FOUND")
    assert await seen(people) == await seen(undisturbed)
    await undisturbed.aclose()
    await twin.stop()


async def test_a_server_that_restarts_is_found_again(double: Double, people: Store) -> None:
    await double.stop()
    async with asyncio.timeout(PATIENCE_S):
        with pytest.raises(StoreUnavailable):
            await people.identities.get("people", "ada")
        await double.start()
        while True:
            try:
                decision = await people.verify("people", "ada", Probe(VECTOR, CONTRACT))
                break
            except StoreUnavailable as down:
                await asyncio.sleep(down.retry_after_s or 0)
    assert decision.score == pytest.approx(1.0, abs=1e-6)


async def test_a_collection_that_vanished_is_not_taken_for_an_empty_one(double: Double, people: Store) -> None:
    await double.client.delete_collection(f"sameface-{CONTRACT.key}")
    with pytest.raises(StoreCorrupt, match="snapshot"):
        await people.identify("people", Probe(VECTOR, CONTRACT))


async def test_a_full_disk_is_told(double: Double, people: Store) -> None:
    words = "Service internal error: No space left on device: WAL buffer size exceeds available disk space"
    double.faults["Points/UpdateBatch"].append(Fault(StatusCode.INTERNAL, words))
    with pytest.raises(StoreFull):
        await people.enroll("people", "bob", [NewTemplate(VECTOR, CONTRACT)])


async def test_a_rate_limit_says_how_long_to_wait(double: Double, people: Store) -> None:
    limit = Fault(StatusCode.RESOURCE_EXHAUSTED, "Rate limiting exceeded", trailers=(("retry-after", "7"),))
    double.faults["Points/Query"].extend([limit] * 2)
    with pytest.raises(StoreUnavailable, match="7 s") as limited:
        await people.identify("people", Probe(VECTOR, CONTRACT))
    assert limited.value.retry_after_s == 7.0


async def test_a_refusal_of_strict_mode_is_no_fault_of_the_caller(double: Double, people: Store) -> None:
    words = 'Index required but not found for "labels.team" of one of the following types: [keyword]'
    double.faults["Points/Query"].append(Fault(StatusCode.INVALID_ARGUMENT, words))
    with pytest.raises(StoreRefused, match="strict mode") as told:
        await people.search("people", Probe(VECTOR, CONTRACT), where=TemplateFilter(labels={"team": "red"}))
    assert told.value.retry_after_s is None


async def test_a_call_that_the_server_does_not_know_has_a_status_of_its_own(double: Double, people: Store) -> None:
    double.faults["Points/Query"].append(Fault(StatusCode.UNIMPLEMENTED, "unknown method"))
    with pytest.raises(StoreTooOld, match="upgrade") as told:
        await people.identify("people", Probe(VECTOR, CONTRACT))
    assert rich_status(told.value).code is StatusCode.FAILED_PRECONDITION


async def test_a_read_waits_for_a_rate_limit_within_its_time_out(double: Double, people: Store) -> None:
    limit = Fault(StatusCode.RESOURCE_EXHAUSTED, "Rate limiting exceeded", trailers=(("retry-after", "1"),))
    double.faults["Points/Query"].append(limit)
    assert (await people.identify("people", Probe(VECTOR, CONTRACT))).candidates[0].identity == "ada"


async def test_a_deletion_that_is_rate_limited_is_the_callers_to_repeat(double: Double, people: Store) -> None:
    """It may have been refused on one of several shards alone."""
    limit = Fault(StatusCode.RESOURCE_EXHAUSTED, "Rate limiting exceeded", trailers=(("retry-after", "1"),))
    double.faults["Points/Delete"].append(limit)
    with pytest.raises(StoreUnavailable) as limited:
        await people.identities.delete("people", "ada", force=True)
    assert limited.value.retry_after_s == 1.0
    assert double.log.count("Points/Delete") == 1


@given(kind=st.text() | st.sampled_from([code.name for code in StatusCode]), text=st.text())
def test_every_failure_has_a_type_that_says_whether_to_wait(kind: str, text: str) -> None:
    error = typed_error("http://somewhere", kind, text)
    assert "http://somewhere" in error.message
    assert error.retry_after_s is None or isinstance(error, StoreUnavailable)


async def test_indexes_are_made_before_the_first_point(double: Double) -> None:
    store = await Store.open(double.url)
    await store.galleries.create("people", CONTRACT, policy=POLICY)
    double.log.clear()
    await store.enroll("people", "ada", [NewTemplate(VECTOR, CONTRACT)], labels={"team": "red", "site": "x"})
    assert double.log.index("Points/CreateFieldIndex") < double.log.index("Points/UpdateBatch")
    made = double.indexes[f"sameface-{CONTRACT.key}"]
    kinds = {name: params.WhichOneof("index_params").removesuffix("_index_params") for name, params in made.items()}
    # All fields in the store's filters, because strict mode refuses others.
    assert kinds == {
        **dict.fromkeys(["gallery", "identity", "kind", "digest", "mark", "origin", "source", "state"], "keyword"),
        **dict.fromkeys(["labels.team", "labels.site"], "keyword"),
        "expires": "float",
        "revision": "integer",
    }
    assert made["gallery"].keyword_index_params.is_tenant
    parameters = {name: getattr(one, one.WhichOneof("index_params")) for name, one in made.items()}
    with_graphs = {name for name, one in parameters.items() if not one.HasField("enable_hnsw") or one.enable_hnsw}
    assert with_graphs == {"gallery"}
    double.log.clear()
    await store.enroll("people", "bob", [NewTemplate(VECTOR, CONTRACT)], labels={"team": "red"})
    assert "Points/CreateFieldIndex" not in double.log
    again = await Store.open(double.url)
    await again.identify("people", Probe(VECTOR, CONTRACT))
    assert "Points/CreateFieldIndex" not in double.log
    await store.aclose()
    await again.aclose()


async def test_options_reach_the_server(double: Double) -> None:
    options = ServerOptions(
        shard_number=6,
        replication_factor=3,
        write_consistency_factor=2,
        quantization="int8",
        oversampling=3.0,
        on_disk=True,
        strict_mode={"unindexed_filtering_retrieve": False, "max_query_limit": 1000},
        exact=False,
        hnsw_ef=256,
        payload_m=24,
        ef_construct=200,
        collection_prefix="mine-",
    )
    store = await Store.open(double.url, options=options)
    assert not store.description.exact
    await store.galleries.create("people", CONTRACT, policy=POLICY)
    made = double.requests["Collections/Create"]
    assert made.collection_name == f"mine-{CONTRACT.key}"
    assert (made.shard_number, made.replication_factor, made.write_consistency_factor) == (6, 3, 2)
    assert made.quantization_config.scalar.type == messages.QuantizationType.Int8
    assert made.vectors_config.params_map.map["embedding"].on_disk
    assert double.requests["Collections/Update"].params.read_fan_out_delay_ms > 0
    graph = made.hnsw_config
    assert (graph.HasField("m"), graph.m, graph.payload_m, graph.ef_construct) == (True, 0, 24, 200)
    limits = made.strict_mode_config
    assert (limits.enabled, limits.unindexed_filtering_retrieve, limits.max_query_limit) == (True, False, 1000)
    await store.enroll("people", "ada", [NewTemplate(VECTOR, CONTRACT)])
    write = double.requests["Points/UpdateBatch"]
    assert (write.wait, write.ordering.type) == (True, messages.WriteOrderingType.Medium)
    await store.identify("people", Probe(VECTOR, CONTRACT))
    asked = double.requests["Points/Query"]
    assert (asked.params.exact, asked.params.hnsw_ef) == (False, 256)
    assert (asked.params.quantization.rescore, asked.params.quantization.oversampling) == (True, 3.0)
    # One replica finds, and a majority confirms.
    assert not asked.HasField("read_consistency")
    for method in ("Points/Scroll", "Points/Get", "Points/Count"):
        assert double.requests[method].read_consistency.type == messages.ReadConsistencyType.Quorum
    await store.search("people", Probe(VECTOR, CONTRACT))
    assert not double.requests["Points/Query"].params.exact
    await store.galleries.delete("people", force=True)
    assert double.requests["Points/Query"].params.exact  # looks for what is left in all galleries
    await store.galleries.create("people", CONTRACT, policy=POLICY)
    await store.enroll("people", "ada", [NewTemplate(VECTOR, CONTRACT)])
    await store.verify("people", "ada", Probe(VECTOR, CONTRACT), scope=Scope.CLAIM)
    claim = double.requests["Points/Query"]
    assert (claim.params.exact, claim.params.quantization.ignore) == (True, True)
    await store.aclose()


async def test_a_claim_is_exact_where_the_others_are_searched_by_the_graph(double: Double) -> None:
    store = await Store.open(double.url, options=ServerOptions(exact=False, hnsw_ef=256))
    await store.galleries.create("people", CONTRACT, policy=POLICY)
    await store.enroll("people", "ada", [NewTemplate(VECTOR, CONTRACT)])
    await store.verify("people", "ada", Probe(VECTOR, CONTRACT))
    own, others = (one.params for one in double.requests["Points/QueryBatch"].query_points)
    assert (own.exact, others.exact, others.hnsw_ef) == (True, False, 256)
    await store.aclose()


async def test_a_search_is_exact_unless_asked_otherwise(double: Double, people: Store) -> None:
    assert people.description.exact
    await people.identify("people", Probe(VECTOR, CONTRACT))
    asked = double.requests["Points/Query"]
    assert (asked.params.exact, asked.params.quantization.ignore) == (True, True)
    assert not asked.HasField("read_consistency")


@pytest.mark.parametrize(
    "given_options",
    [
        {"retries": 5},
        {"pool_size": 0},
        {"timeout_s": 0},
        {"timeout_s": float("nan")},
        {"oversampling": 0.5},
        {"gallery_max_age_s": -1},
        {"size_max_age_s": float("nan")},
        {"payload_m": 0},
        {"ef_construct": 1},
        {"replication_factor": 0},
        {"quantization": "int4"},
    ],
)
def test_options_out_of_range_name_their_field(given_options: dict[str, Any]) -> None:
    with pytest.raises(InvalidArgument) as refused:
        ServerOptions(**given_options)
    assert {refused.value.metadata["field"]} == given_options.keys()


async def test_an_unknown_limit_or_certificate_is_named(double: Double, tmp_path: Path) -> None:
    with pytest.raises(InvalidArgument, match="no_such_limit"):
        await Store.open(double.url, options=ServerOptions(strict_mode={"no_such_limit": 1}))
    with pytest.raises(InvalidArgument, match="certificate"):
        await Store.open(double.url, options=ServerOptions(ca_certificate=tmp_path / "none.pem"))
    with pytest.raises(InvalidArgument, match="port"):
        await Store.open("http://somewhere:70000")
