"""Attached collections without asyncio, as a person explores them: wrong names, ids, moved aliases."""

import asyncio
import threading
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
from qdrant_client import AsyncQdrantClient, QdrantClient, models

from sameface_qdrant import Neighbour, Outcome, Policy, Scope, blocking
from sameface_qdrant.attached import sameness
from sameface_qdrant.attached.misnamed import NAMED, field_names, named
from sameface_qdrant.errors import ContractMismatch, IdentityNotFound, InvalidArgument
from tests.plugin.wire import Double

POLICY = Policy(verify_threshold=0.9, identify_threshold=0.9)
VECTORS = np.random.default_rng(1).normal(size=(8, 4))


def filled(client: QdrantClient, name: str = "faces", vectors: Any = VECTORS, **payload: Any) -> None:
    client.create_collection(name, {"face": models.VectorParams(size=4, distance=models.Distance.COSINE)})
    points = [
        models.PointStruct(id=k, vector={"face": vector.tolist()}, payload={"who": k, "name": f"p{k}", **payload})
        for k, vector in enumerate(vectors)
    ]
    client.upsert(name, points)


@pytest.fixture
def client() -> Iterator[QdrantClient]:
    opened = QdrantClient(":memory:")
    filled(opened)
    yield opened
    opened.close()


def attach(client: Any, **changes: Any) -> blocking.Attached:
    given = {"collection": "faces", "vector_name": "face", "identity_key": "who", "policy": POLICY, **changes}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the key is sent unencrypted, or has no index
        return blocking.attach(client, **given)


@pytest.mark.parametrize("key", ["who", "name"])
def test_an_identity_keeps_its_type_from_identification_to_deletion(client: QdrantClient, key: str) -> None:
    with attach(client, identity_key=key, writable=True) as people:
        best = people.identify(VECTORS[3]).candidates[0].identity
        assert best == (3 if key == "who" else "p3")
        assert people.verify(best, VECTORS[3]).outcome is Outcome.MATCH
        if isinstance(best, int):
            # As pandas and numpy hold it.
            assert people.verify(cast(int, np.int64(best)), VECTORS[3], scope=Scope.CLAIM).outcome is Outcome.MATCH
            with pytest.raises(IdentityNotFound):
                people.verify(str(best), VECTORS[3])
        assert people.score_many(VECTORS[3], limit=1).best(0)[0] == best
        assert people.delete(best) == 1
        with pytest.raises(IdentityNotFound):
            people.verify(best, VECTORS[3])


@pytest.mark.parametrize(
    "nobody", ["", True, False, None, 1.5, b"ada", ["ada"], 2**63, "\ud800", np.float64(3), object()]
)
def test_what_names_nobody_is_refused(client: QdrantClient, nobody: Any) -> None:
    with attach(client, writable=True) as people:
        for call in (lambda: people.verify(nobody, VECTORS[0]), lambda: people.enroll(nobody, VECTORS[0])):
            with pytest.raises(InvalidArgument, match="identity is"):
                call()
        with pytest.raises(InvalidArgument, match="identity is"):
            people.delete(nobody)
    assert client.count("faces").count == len(VECTORS)


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        (
            {"identity_key": "whom"},
            r"none of the 8 points .* 'whom' is in none of them; did you mean 'who'\? Its fields: ",
        ),
        ({"identity_key": "meta"}, "'meta' holds neither a text nor a whole number"),
        ({"identity_key": "meta.nam"}, r"did you mean 'meta.name' or"),
        ({"vector_name": "fase"}, r"no dense vector 'fase'; did you mean 'face'\?"),
        ({"vector_name": ""}, "it has the dense vectors: 'face'"),
        ({"collection": "face"}, r"no collection 'face'; did you mean 'faces'\?"),
        ({"collection": ""}, "collection is '' .*not empty"),
        ({"identity_key": 3}, r"identity_key is 3 \(int\); expected a text"),
        ({"where": {"who": 1.5}}, "where"),
    ],
)
def test_a_name_that_is_not_there_is_answered_with_those_that_are(changes: dict[str, Any], expected: str) -> None:
    client, before = QdrantClient(":memory:"), threading.active_count()
    filled(client, meta={"name": "secret value"})
    with pytest.raises(InvalidArgument, match=expected) as refused:
        attach(client, **changes)
    assert "secret value" not in str(refused.value)
    assert refused.value.metadata["field"] in changes
    assert threading.active_count() == before


def test_a_field_of_where_that_no_point_has_is_warned_of(client: QdrantClient) -> None:
    given: dict[str, Any] = {"collection": "faces", "vector_name": "face", "identity_key": "who", "policy": POLICY}
    with pytest.warns(UserWarning, match="has the field 'tenan' of where"):
        blocking.attach(client, where={"tenan": "red"}, **given).close()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        blocking.attach(client, where={"name": "nobody"}, **given).close()


def test_very_many_names_are_cut() -> None:
    text = named("x", [f"field-{number:03}" + 100 * "y" for number in range(200)], "fields")
    assert text.count("'") == 2 * NAMED
    assert text.endswith(f"and {200 - NAMED} more")
    assert len(text) < 2_000
    assert field_names([{"a": 1, "b": {"c": 2}}, {"d": None}]) == {"a", "b", "b.c", "d"}


async def test_it_works_where_a_loop_is_running_and_over_the_wire() -> None:
    """A server is asked in the same way with a synchronous client and with a URL."""
    double = await Double().start()
    local = double.client
    await local.create_collection("faces", {"face": models.VectorParams(size=4, distance=models.Distance.COSINE)})
    points = [models.PointStruct(id=k, vector={"face": v.tolist()}, payload={"who": k}) for k, v in enumerate(VECTORS)]
    await local.upsert("faces", points)

    def use(source: Any) -> list[Any]:
        with attach(source, writable=True) as people:
            people.enroll(99, [-VECTORS[0]])
            found = people.identify(VECTORS[2])
            assert people.delete(99) == 1
            return [found.outcome, found.candidates[0].identity, people.score_many(VECTORS).scores.shape]

    remote = QdrantClient("127.0.0.1", grpc_port=double.port, prefer_grpc=True, check_compatibility=False, timeout=10)
    for source in (double.url, remote, local):
        assert await asyncio.to_thread(use, source) == [Outcome.MATCH, 2, (8, 8)]
    belongs_elsewhere = AsyncQdrantClient("127.0.0.1", grpc_port=double.port, check_compatibility=False)
    with pytest.raises(InvalidArgument, match="belongs to the event loop"):
        attach(belongs_elsewhere)
    await double.stop()
    with blocking.attach(client_in_memory(), collection="faces", identity_key="who", vector_name="face") as people:
        assert asyncio.get_running_loop().is_running()
        assert people.count().identities == 8


def client_in_memory() -> QdrantClient:
    client = QdrantClient(":memory:")
    filled(client)
    return client


def test_a_local_folder_of_qdrant_is_read(tmp_path: Path) -> None:
    client = QdrantClient(path=str(tmp_path / "qdrant"))
    filled(client)
    with attach(client) as people:
        assert people.verify(1, VECTORS[1]).outcome is Outcome.MATCH
    client.close()


def point_alias(client: QdrantClient, name: str) -> None:
    client.update_collection_aliases(
        [models.CreateAliasOperation(create_alias=models.CreateAlias(collection_name=name, alias_name="alias"))]
    )


def test_an_alias_that_leads_to_other_embeddings_of_the_same_layout_is_noticed(
    client: QdrantClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sameness, "EVERY_S", 0.0)
    filled(client, "copied", VECTORS)
    filled(client, "other", -VECTORS)
    point_alias(client, "faces")
    with attach(client, collection="alias", writable=True) as people:
        point_alias(client, "copied")  # the same points, in another place
        assert people.identify(VECTORS[1]).outcome is Outcome.MATCH
        point_alias(client, "other")
        calls: list[Callable[[], object]] = [
            lambda: people.identify(VECTORS[1]),
            lambda: people.verify(1, VECTORS[1]),
            lambda: people.search(VECTORS[1]),
            lambda: people.score_many(VECTORS[1]),
            lambda: people.enroll(99, VECTORS[1]),
            lambda: people.delete(1),
            lambda: people.count(),
            lambda: people.calibrate(),
        ]
        for call in calls:
            with pytest.raises(ContractMismatch, match=r"same layout, and none of 8 points.*attach again"):
                call()
        assert client.count("other").count == 8
        point_alias(client, "faces")
        assert people.identify(VECTORS[1]).outcome is Outcome.MATCH


def test_what_others_change_little_by_little_is_the_same_collection(
    client: QdrantClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sameness, "EVERY_S", 0.0)
    new = np.random.default_rng(2).normal(size=(8, 4))
    with attach(client, writable=True) as people:
        for number in range(8):
            payload = {"who": number + 100}
            point = models.PointStruct(id=number + 100, vector={"face": new[number].tolist()}, payload=payload)
            client.upsert("faces", [point])
            client.delete("faces", [number])
            assert people.identify(new[number]).candidates[0].identity == number + 100
        for number in range(8):
            assert people.delete(number + 100) == 1  # also when nothing is left
        assert people.identify(new[0]).outcome is Outcome.NO_MATCH


def test_a_check_is_not_made_for_every_decision(client: QdrantClient, monkeypatch: pytest.MonkeyPatch) -> None:
    with attach(client) as people:
        asked: list[int] = []
        retrieve = client.retrieve

        def counted(*args: Any, **kwargs: Any) -> Any:
            asked.append(1)
            return retrieve(*args, **kwargs)

        monkeypatch.setattr(client, "retrieve", counted)
        for _ in range(5):
            assert isinstance(people.search(VECTORS[1])[0], Neighbour)
        assert len(asked) <= 1
