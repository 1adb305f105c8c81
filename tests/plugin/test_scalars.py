"""Numbers of numpy count as those of Python everywhere, and what is no number is refused with its name."""

import dataclasses
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from qdrant_client import AsyncQdrantClient, models
from qdrant_client.conversions.conversion import json_to_value

from sameface_qdrant import Contract, NewTemplate, OperatingPoint, Policy, Provenance, WhenFull, attach, blocking
from sameface_qdrant.engines.server.calls import call
from sameface_qdrant.errors import InvalidArgument, InvalidEmbedding, SamefaceError
from sameface_qdrant.policy import check_policy
from sameface_qdrant.values.gallery import POLICY_SETTINGS
from sameface_qdrant.values.scalars import all_of_python
from sameface_qdrant.values.vectors import units
from tests.plugin.conftest import CONTRACT

NUMERIC = [setting for setting in POLICY_SETTINGS if setting.range is not None]
VECTOR = np.arange(1.0, 9.0)


@pytest.fixture(scope="module", params=["memory", "edge"])
def store(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[blocking.Store]:
    folder: Path = tmp_path_factory.mktemp("scalars")
    with blocking.Store.open(":memory:" if request.param == "memory" else f"edge://{folder}") as opened:
        yield opened


@pytest.mark.parametrize("number", [np.float32(0.5), np.float16(0.5), np.float64(0.5), np.longdouble(0.5)])
def test_numbers_of_numpy_are_stored_as_those_of_python(store: blocking.Store, number: Any) -> None:
    name = type(number).__name__
    whole = np.int64(3) if name == "float64" else np.uint8(3)
    policy = Policy(
        verify_threshold=number, identify_threshold=number, runner_up_margin=number, max_templates=whole,  # type: ignore[arg-type]
        calibrated_size=whole,  # type: ignore[arg-type]
    )  # fmt: skip
    contract = Contract("voices", np.int64(1), "0" * 64, np.int32(8), "none")  # type: ignore[arg-type]
    points = [OperatingPoint(number, number)]
    store.galleries.create(name, contract, policy=policy, operating_points=points)
    read = store.galleries.update(name, display_name="read again")
    assert dataclasses.replace(read.policy, create_time=None) == Policy(
        0.5, 0.5, 0.5, max_templates=3, calibrated_size=3
    )
    assert (read.contract.version, read.contract.dimension) == (1, 8)
    assert read.operating_points == (OperatingPoint(0.5, 0.5),)
    assert store.galleries.update(name, policy={"collision_threshold": number}).policy.collision_threshold == 0.5
    store.identities.create(name, "ada", verify_threshold=number)
    assert store.identities.update(name, "ada", {"verify_threshold": number / 2}).verify_threshold == 0.25
    new = NewTemplate(VECTOR, contract, Provenance(quality={"sharpness": number}))
    (template,) = store.enroll(name, "ada", new)
    assert template.provenance.quality == {"sharpness": 0.5}
    decision = store.verify(name, "ada", VECTOR, threshold=number, margin=number)
    assert type(decision.threshold) is type(decision.margin) is float
    assert len(store.identify(name, VECTOR, limit=np.int64(2)).candidates) == 1  # type: ignore[arg-type]


@pytest.mark.parametrize("wrong", ["0.5", True, np.True_, float("nan"), [0.5], np.array(0.5), 10**400, 2.5, b"3"])
@pytest.mark.parametrize("setting", NUMERIC, ids=lambda setting: setting.name)
def test_a_setting_of_another_type_or_size_is_refused_by_name(setting: Any, wrong: Any) -> None:
    with pytest.raises(InvalidArgument, match=rf"^{setting.name} is .*; expected ") as refused:
        check_policy(Policy(**{setting.name: wrong}))
    assert len(str(refused.value)) < 200


def test_none_is_a_setting_only_where_it_means_something() -> None:
    assert check_policy(Policy(verify_threshold=None)) == Policy()
    with pytest.raises(InvalidArgument, match=r"runner_up_margin is None .*; expected a number$"):
        check_policy(Policy(runner_up_margin=None))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "wrong",
    [
        {"policy": Policy(verify_threshold="0.5")},  # type: ignore[arg-type]
        {"policy": Policy(max_templates=2.5)},  # type: ignore[arg-type]
        {"policy": Policy(author=3)},  # type: ignore[arg-type]
        {"policy": Policy(calibrated_size=-1)},
        {"policy": Policy(calibrated_size=10**30)},
        {"policy": Policy(when_full="never")},  # type: ignore[arg-type]
        {"operating_points": [OperatingPoint(float("nan"), 0.5)]},
        {"operating_points": [OperatingPoint(0.5, 10**400)]},
        {"operating_points": [OperatingPoint(0.5, np.float32("inf"))]},  # type: ignore[arg-type]
    ],
)
async def test_create_and_attach_refuse_the_same(store: blocking.Store, wrong: dict[str, Any]) -> None:
    with pytest.raises(InvalidArgument, match="expected"):
        store.galleries.create("refused", CONTRACT, **wrong)
    with pytest.raises(InvalidArgument, match="expected"):
        await attach(AsyncQdrantClient(":memory:"), collection="a", identity_key="who", **wrong)


def test_a_choice_may_still_be_given_by_its_name(store: blocking.Store) -> None:
    made = store.galleries.create("named", CONTRACT, policy=Policy(when_full="replace_oldest"))  # type: ignore[arg-type]
    assert made.policy.when_full is WhenFull.REPLACE_OLDEST


async def test_a_payload_may_hold_numbers_of_numpy_and_what_json_cannot_express_is_refused() -> None:
    client = AsyncQdrantClient(":memory:")
    await client.create_collection("faces", models.VectorParams(size=8, distance=models.Distance.COSINE))
    point = models.PointStruct(id=1, vector=VECTOR.tolist(), payload={"who": "eve", "active": True, "size": 3})
    await client.upsert("faces", [point])
    for where in ({"active": True}, {"active": np.True_, "size": np.int64(3)}):
        chosen: Any = where
        people = await attach(client, collection="faces", identity_key="who", where=chosen, writable=True)
        assert (await people.count()).identities == 1
    given = {"n": np.int64(3), "box": np.zeros(2, np.float32), "inner": {"list": [np.float32(0.5), (np.True_,)]}}
    await people.enroll("ada", -VECTOR, payload=given)
    (found,) = await people.search(-VECTOR, limit=1)
    expected = {"n": 3, "box": [0.0, 0.0], "inner": {"list": [0.5, [True]]}}
    assert found.payload == {**expected, "who": "ada", "active": True, "size": 3}
    assert all_of_python(given) == expected
    for wrong in (object(), {"a": [object()]}, b"\xff"):
        with pytest.raises(InvalidArgument, match="cannot be written"):
            await people.enroll("bob", VECTOR, payload={"wrong": wrong})
    await client.close()


@pytest.mark.parametrize("wrong", [object(), 2**70, "\ud800"])
async def test_what_cannot_be_sent_to_a_server_is_no_outage(wrong: Any) -> None:
    async def send() -> Any:
        return json_to_value(wrong)

    with pytest.raises(InvalidArgument, match="cannot be written"):
        await call("the server", send())


@pytest.mark.parametrize("empty", [{}, set(), frozenset(), "", b"", bytearray()])
def test_what_holds_no_embeddings_in_an_order_is_refused_even_if_it_is_empty(empty: Any) -> None:
    with pytest.raises(InvalidArgument, match=r"embeddings is an? .*; expected a sequence of embeddings"):
        units(empty, 4)
    assert units([], 4) == units(np.empty((0, 4)), 4) == []


def test_an_array_of_three_axes_is_named_with_its_whole_shape() -> None:
    with pytest.raises(InvalidArgument, match=r"embeddings has shape \[2, 9, 4\]; .*shape \[n, 4\]"):
        units(np.ones((2, 9, 4)), 4)


MASKED: list[Callable[[], Any]] = [
    lambda: np.ma.array([1.0, 2.0, 3.0, 999.0], mask=np.arange(4) == 3),
    lambda: np.ma.array(np.ones((3, 4)), mask=np.eye(3, 4) > 0),
    lambda: [np.ones(4), np.ma.array(np.ones(4), mask=np.arange(4) == 0)],
]


@pytest.mark.parametrize("masked", MASKED)
def test_a_masked_number_is_not_taken_for_one(masked: Callable[[], Any]) -> None:
    with pytest.raises(InvalidEmbedding, match="1 masked numbers of 4"):
        units(masked(), 4)
    assert len(units(np.ma.array(np.ones((3, 4))), 4)) == 3


def test_an_error_names_a_class_with_its_article(store: blocking.Store) -> None:
    wrong: list[tuple[Any, str]] = [(VECTOR, "an ndarray"), (Policy(), "a Policy"), (object(), "an object")]
    for value, expected in wrong:
        with pytest.raises(SamefaceError, match=rf"gallery is {expected};"):
            store.galleries.get(value)
