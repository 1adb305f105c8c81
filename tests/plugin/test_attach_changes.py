"""Attached collections whose name leads elsewhere later, and keys that may do little."""

import asyncio
import base64
import hashlib
import hmac
import json
import os
import uuid
import warnings
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import grpc
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from qdrant_client import AsyncQdrantClient, models
from qdrant_client.models import Distance

from sameface_qdrant import Attached, Policy, attach
from sameface_qdrant.errors import ContractMismatch, InvalidArgument, InvalidEmbedding, StoreUnavailable
from tests.plugin import oracle
from tests.plugin.conftest import QDRANT_API_KEY, QDRANT_URL, cleared_server, needs_server
from tests.plugin.wire import Double, Fault

POLICY = Policy(verify_threshold=0.6, identify_threshold=0.6, runner_up_margin=0.1)
READ_ONLY_KEY = os.environ.get("QDRANT_READ_ONLY_API_KEY", "")
needs_read_only = pytest.mark.skipif(
    not (QDRANT_URL and READ_ONLY_KEY), reason="QDRANT_URL and QDRANT_READ_ONLY_API_KEY name no server and key"
)
needs_jwt = pytest.mark.skipif(
    not (QDRANT_URL and QDRANT_API_KEY and os.environ.get("QDRANT_JWT")),
    reason="QDRANT_URL, QDRANT_API_KEY and QDRANT_JWT=1 name no server that takes tokens",
)
ENGINES = ["memory", pytest.param("server", marks=needs_server)]
DISTANCES = [Distance.COSINE, Distance.DOT, Distance.EUCLID]


def directions(size: int, seed: int = 7) -> Any:
    found = np.random.default_rng(seed).normal(size=(12, size))
    return found / np.linalg.norm(found, axis=1, keepdims=True)


@asynccontextmanager
async def place(engine: str) -> AsyncIterator[tuple[AsyncQdrantClient, str]]:
    """A client and the start of the names that a test may use."""
    if engine == "server":
        async with cleared_server() as (client, options):
            yield client, options.collection_prefix
        return
    client = AsyncQdrantClient(":memory:")
    yield client, f"test-{uuid.uuid4().hex[:8]}-"
    await client.close()


async def make(
    client: AsyncQdrantClient, name: str, vectors: Any, distance: Distance, *, named: bool = True, **layout: Any
) -> None:
    """Make a collection of one point per person: p0, p1 and so on."""
    params = models.VectorParams(size=vectors.shape[1], distance=distance)
    await client.create_collection(name, {"face": params} if named else params, **layout)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the client warns that an index has no effect in memory
        await client.create_payload_index(name, "who", models.PayloadSchemaType.KEYWORD)
    points = [
        models.PointStruct(
            id=number, vector={"face": vector.tolist()} if named else vector.tolist(), payload={"who": f"p{number}"}
        )
        for number, vector in enumerate(vectors)
    ]
    await client.upsert(name, points, wait=True)


async def move_alias(client: AsyncQdrantClient, alias: str, name: str, *, new: bool = False) -> None:
    create = models.CreateAliasOperation(create_alias=models.CreateAlias(collection_name=name, alias_name=alias))
    delete = models.DeleteAliasOperation(delete_alias=models.DeleteAlias(alias_name=alias))
    await client.update_collection_aliases([create] if new else [delete, create])


async def attached(client: AsyncQdrantClient, name: str, **changes: Any) -> Attached:
    given = {"collection": name, "vector_name": "face", "identity_key": "who", "policy": POLICY, "writable": True}
    return await attach(client, **{**given, **changes})


CALLS: dict[str, Callable[[Attached, Any], Any]] = {
    "verify": lambda people, probe: people.verify("p1", probe),
    "identify": lambda people, probe: people.identify(probe),
    "search": lambda people, probe: people.search(probe, min_score=0.1),
    "count": lambda people, probe: people.count(),
    "scores": lambda people, probe: people.scores(),
    "calibrate": lambda people, probe: people.calibrate(),
    "enroll": lambda people, probe: people.enroll("new", [probe]),
    "delete": lambda people, probe: people.delete("p1"),
}


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("size", [4, 6])
async def test_an_alias_that_was_moved_to_another_layout_is_noticed(engine: str, call: str, size: int) -> None:
    async with place(engine) as (client, prefix):
        alias, first, second = prefix + "alias", prefix + "first", prefix + "second"
        vectors = directions(4)
        await make(client, first, vectors, Distance.COSINE)
        await make(client, second, 2 * directions(size), Distance.EUCLID)
        await move_alias(client, alias, first, new=True)
        people = await attached(client, alias)
        assert (await people.verify("p1", vectors[1])).score == pytest.approx(1.0, abs=oracle.CLOSE)
        await move_alias(client, alias, second)
        held = await client.count(second)
        with pytest.raises(ContractMismatch, match="attach again"):
            await CALLS[call](people, vectors[1])
        assert await client.count(second) == held
        await move_alias(client, alias, first)
        assert (await people.verify("p1", vectors[1])).score == pytest.approx(1.0, abs=oracle.CLOSE)


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("call", CALLS)
async def test_a_collection_that_is_gone_or_made_again_is_noticed(engine: str, call: str) -> None:
    async with place(engine) as (client, prefix):
        name, vectors = prefix + "people", directions(4)
        await make(client, name, vectors, Distance.COSINE)
        people = await attached(client, name)
        await client.delete_collection(name)
        with pytest.raises(ContractMismatch, match="does not exist any more"):
            await CALLS[call](people, vectors[1])
        await make(client, name, directions(6), Distance.COSINE)
        with pytest.raises(ContractMismatch, match="6 numbers"):
            await CALLS[call](people, vectors[1])
        await client.delete_collection(name)
        await make(client, name, vectors, Distance.COSINE, named=False)
        with pytest.raises(ContractMismatch, match="no vector 'face' any more"):
            await CALLS[call](people, vectors[1])
        await client.delete_collection(name)


@pytest.mark.parametrize("engine", ENGINES)
@settings(max_examples=60, deadline=None)
@given(
    before=st.sampled_from(DISTANCES),
    after=st.sampled_from(DISTANCES),
    seed=st.integers(0, 1000),
    lengths=st.lists(st.sampled_from([0.5, 1.0, 1.0, 3.0]), min_size=12, max_size=12),
    limit=st.integers(1, 5),
)
def test_no_score_is_misread_after_a_change_of_the_distance(
    engine: str, before: Distance, after: Distance, seed: int, lengths: list[float], limit: int
) -> None:
    async def compare() -> None:
        async with place(engine) as (client, prefix):
            name = prefix + uuid.uuid4().hex[:8]
            await make(client, name, directions(4), before)
            people = await attached(client, name)
            await client.delete_collection(name)
            vectors = directions(4, seed)
            if before is not after:
                vectors = vectors * np.asarray(lengths)[:, None]
            await make(client, name, vectors, after)
            probe = directions(4, seed + 1)[0]
            cosines = [oracle.cosine(vector, probe) for vector in vectors]
            try:
                decision = await people.identify(probe, limit=limit)
                found = await people.search(probe, limit=limit, min_score=0.3)
                claim = await people.verify("p3", probe)
            except (ContractMismatch, InvalidArgument):
                assert before is not after
                return
            finally:
                await client.delete_collection(name)
            close = 0.02
            assert decision.score == pytest.approx(max(cosines), abs=close)
            assert claim.score == pytest.approx(cosines[3], abs=close)
            ranked = sorted(cosines, reverse=True)[:limit]
            assert [one.score for one in found] == pytest.approx([one for one in ranked if one >= 0.3], abs=close)

    asyncio.run(compare())


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("named", [True, False], ids=["named", "unnamed"])
@pytest.mark.parametrize("distance", DISTANCES)
async def test_scores_of_a_quantized_collection_are_those_of_the_originals(
    engine: str, named: bool, distance: Distance
) -> None:
    async with place(engine) as (client, prefix):
        rng = np.random.default_rng(3)
        vectors = rng.normal(size=(300, 32))
        vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
        int8 = models.ScalarQuantization(
            scalar=models.ScalarQuantizationConfig(type=models.ScalarType.INT8, always_ram=True)
        )
        # On a server, so small segments are quantized only if it may index them.
        index_all = models.OptimizersConfigDiff(indexing_threshold=1)
        layout = {"quantization_config": int8, "optimizers_config": index_all} if engine == "server" else {}
        await make(client, prefix + "people", vectors, distance, named=named, **layout)
        people = await attached(client, prefix + "people", vector_name="face" if named else "")
        for _ in range(10):
            probe = rng.normal(size=32).astype(np.float32)
            ranked = sorted((oracle.cosine(vector, probe.astype(np.float64)) for vector in vectors), reverse=True)
            decision = await people.identify(probe, limit=5)
            assert [one.score for one in decision.candidates] == pytest.approx(ranked[:5], abs=1e-5)


TARGET: dict[str, Any] = {"collection": "faces", "vector_name": "face", "identity_key": "who", "policy": POLICY}


@pytest.fixture
async def double() -> AsyncIterator[Double]:
    started = await Double().start()
    await make(started.client, "faces", directions(4), Distance.COSINE)
    started.indexes["faces"]["who"] = None
    yield started
    await started.stop()


# The double of the wire is no evidence of a server's behaviour: these show what is asked of one.
async def test_a_collection_sharded_by_key_is_read_as_a_whole_and_written_under_a_key(double: Double) -> None:
    double.sharded_by_key = True
    with pytest.raises(InvalidArgument, match="give a shard_key"):
        await attach(double.url, writable=True, **TARGET)
    async with await attach(double.url, **TARGET) as people:
        assert (await people.verify("p1", directions(4)[1])).score == pytest.approx(1.0, abs=oracle.CLOSE)
    for method in ("Points/Query", "Points/Facet", "Points/Count"):
        assert not double.requests[method].HasField("shard_key_selector")
    async with await attach(double.url, writable=True, shard_key="eu", **TARGET) as people:
        await people.enroll("new", [directions(4)[2]])
        (key,) = double.requests["Points/Upsert"].shard_key_selector.shard_keys
        assert key.keyword == "eu"
        await people.identify(directions(4)[2])
        assert not double.requests["Points/Query"].HasField("shard_key_selector")
        assert await people.delete("new") == 1


async def test_only_what_a_token_for_one_collection_may_do_is_asked(double: Double) -> None:
    async with await attach(double.url, **TARGET) as people:
        await use(people, directions(4))
    # Not the health check, the list of collections, or anything that changes something.
    reading = {"CollectionExists", "Get", "Query", "Scroll", "Count", "Facet"}
    assert {method.split("/")[1] for method in double.log} <= reading
    assert all(getattr(request, "collection_name", "") == "faces" for request in double.requests.values())


async def test_a_write_that_the_key_does_not_allow_is_refused_with_the_reason(double: Double) -> None:
    async with await attach(double.url, writable=True, **TARGET) as people:
        for method in ("Points/Upsert", "Points/Delete"):
            denied = Fault(grpc.StatusCode.PERMISSION_DENIED, "Global manage access is required")
            double.faults[method].append(denied)
        with pytest.raises(StoreUnavailable, match="rights"):
            await people.enroll("new", [directions(4)[2]])
        with pytest.raises(StoreUnavailable, match="rights"):
            await people.delete("p1")
        await use(people, directions(4))


async def use(people: Attached, vectors: Any) -> None:
    """Do everything that reads."""
    assert (await people.verify("p1", vectors[1])).score == pytest.approx(1.0, abs=oracle.CLOSE)
    assert (await people.identify(vectors[2])).gallery_size == 12
    assert len(await people.search(vectors[2], limit=3)) == 3
    assert (await people.calibrate()).calibration.evidence.comparisons == 12 * 11
    with pytest.raises(InvalidEmbedding):
        await people.verify("p1", vectors[1][:3])


async def read_but_not_write(key: str, name: str, vectors: Any) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the key is sent unencrypted
        people = await attach(QDRANT_URL, api_key=key, writable=True, **{**TARGET, "collection": name})
    async with people:
        await use(people, vectors)
        with pytest.raises(StoreUnavailable, match="rights"):
            await people.enroll("new", [vectors[2]])
        with pytest.raises(StoreUnavailable, match="rights"):
            await people.delete("p1")
        await use(people, vectors)


@needs_read_only
async def test_on_a_server_a_read_only_key_will_do() -> None:
    async with cleared_server() as (client, options):
        name = options.collection_prefix + "people"
        await make(client, name, directions(4), Distance.COSINE)
        await read_but_not_write(READ_ONLY_KEY, name, directions(4))


def token(secret: str, claims: dict[str, Any]) -> str:
    """Return a JSON web token, signed with HS256."""

    def encoded(part: bytes) -> str:
        return base64.urlsafe_b64encode(part).rstrip(b"=").decode()

    signed = ".".join(encoded(json.dumps(part).encode()) for part in ({"alg": "HS256", "typ": "JWT"}, claims))
    return f"{signed}.{encoded(hmac.new(secret.encode(), signed.encode(), hashlib.sha256).digest())}"


@needs_jwt
@pytest.mark.parametrize("alias", [False, True], ids=["name", "alias"])
async def test_on_a_server_a_token_for_one_collection_will_do(alias: bool) -> None:
    assert QDRANT_API_KEY is not None
    async with cleared_server() as (client, options):
        name, other = options.collection_prefix + "people", options.collection_prefix + "others"
        await make(client, name, directions(4), Distance.COSINE)
        await make(client, other, directions(4), Distance.COSINE)
        target = name
        if alias:
            target = options.collection_prefix + "alias"
            await move_alias(client, target, name, new=True)
        reader = token(QDRANT_API_KEY, {"access": [{"collection": target, "access": "r"}]})
        await read_but_not_write(reader, target, directions(4))
        with pytest.raises(StoreUnavailable, match="rights"):
            await attach(QDRANT_URL, api_key=reader, **{**TARGET, "collection": other})
        writer = token(QDRANT_API_KEY, {"access": [{"collection": target, "access": "rw"}]})
        async with await attach(
            QDRANT_URL, api_key=writer, writable=True, **{**TARGET, "collection": target}
        ) as people:
            await people.enroll("new", [directions(4)[3]])
            assert await people.delete("new") == 1
