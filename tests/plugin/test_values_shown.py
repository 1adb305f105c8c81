"""How values show themselves: short texts without vectors, pages that go on, tables for pandas."""

import builtins
import copy
import dataclasses
import inspect
import pickle
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pytest

import sameface_qdrant
from sameface_qdrant import (
    Attached,
    Candidate,
    Cohort,
    Comparisons,
    ComparisonScores,
    ComparisonSource,
    Contract,
    Decision,
    Enrolment,
    FoundTemplate,
    Gallery,
    Identity,
    IdentityScores,
    Neighbour,
    NewTemplate,
    OperatingPoint,
    Outcome,
    Page,
    Policy,
    Probe,
    Provenance,
    Quota,
    RecordedDecisions,
    Scope,
    Store,
    Template,
    TemplateFilter,
    ThresholdSource,
    attach,
    blocking,
    to_frame,
)
from sameface_qdrant.errors import InvalidArgument
from sameface_qdrant.store.galleries import Galleries
from sameface_qdrant.store.identities import Identities
from sameface_qdrant.store.templates import Templates
from tests.plugin.conftest import CONTRACT

LONG = 300 * "ä"
VECTOR = np.full(128, 0.123456789, np.float32)
WIDE = Contract("a-model-with-a-long-name-0123456789-0123456789-0123456789", 12, "ab" * 32, 128, "arcface-112-v1")
EXPERTLY = Policy(0.1, 0.2, 0.3, 0.01, 0.02, 5, collision_threshold=0.4, author=LONG, create_time=datetime.now(UTC))
DECISION = Decision(
    Outcome.MATCH,
    0.912345678,
    0.8,
    ThresholdSource.GALLERY,
    True,
    0.05,
    0.2,
    3,
    100_000,
    Scope.GALLERY,
    candidates=(Candidate("ada", 0.91, "t1", "Ada"), Candidate("bob", 0.71, "t2")),
)
TEMPLATE = Template(
    36 * "i", "gallery", LONG, WIDE.key, Provenance(quality=dict.fromkeys("abcdefg", 1.0)), VECTOR, datetime.now(UTC)
)
VALUES: list[Any] = [
    Gallery("staff", WIDE, EXPERTLY, LONG, (OperatingPoint(0.1, 0.2),) * 9, datetime.now(UTC)),
    Identity("staff", LONG, LONG, {f"label-{n}": LONG for n in range(9)}),
    TEMPLATE,
    FoundTemplate(TEMPLATE, 0.5, LONG),
    NewTemplate(VECTOR, WIDE, content=bytes(10_000)),
    Enrolment("ada", [NewTemplate(VECTOR.tolist(), WIDE)] * 9),
    Probe(VECTOR.tolist(), WIDE),
    DECISION,
    EXPERTLY,
    WIDE,
    Page((TEMPLATE,) * 100, "token"),
    Neighbour(7, "ada", 0.5, {"vector": VECTOR.tolist(), "text": LONG}),
    IdentityScores(tuple(range(1000)), np.zeros((9, 1000), np.float32), np.zeros((9, 1000), np.int64), 0),
    Cohort(np.zeros((5, 128), np.float32), ("a",) * 5),
    ComparisonScores(np.zeros(500), np.zeros(500), 3, 4, True),
    RecordedDecisions(np.zeros(500), np.zeros(500)),
]


@pytest.mark.parametrize("value", VALUES, ids=lambda value: type(value).__name__)
def test_a_value_shows_itself_in_one_short_line_without_its_vectors(value: Any) -> None:
    text = repr(value)
    assert text.startswith(f"{type(value).__name__}(")
    assert text.endswith(")")
    assert len(text) < 200
    assert "0.1234" not in text
    assert "\n" not in text


def test_every_public_value_that_may_hold_an_array_or_a_value_with_one_is_short() -> None:
    plain = []
    for name in sameface_qdrant.__all__:
        kind = getattr(sameface_qdrant, name)
        if isinstance(kind, type) and dataclasses.is_dataclass(kind):
            types = " ".join(str(field.type) for field in dataclasses.fields(kind))
            held = (
                "ndarray",
                "ArrayLike",
                "NDArray",
                "Mapping",
                "Template",
                "Contract",
                "Policy",
                "Comparisons",
                "Scores",
            )
            if any(one in types for one in held) and kind.__repr__.__name__ != "brief":
                plain.append(name)
    assert plain == []


def test_what_matters_is_shown_first() -> None:
    assert repr(Policy(verify_threshold=0.8)) == "Policy(verify_threshold=0.8)"
    assert repr(Probe(VECTOR, CONTRACT)).startswith("Probe(vector=<float32 [128]>, contract=Contract(model='voices'")
    assert repr(DECISION).startswith("Decision(outcome=MATCH, score=0.912346, threshold=0.8, threshold_source=GALLERY")


def test_numbers_of_numpy_and_tuples_are_shown_as_they_are_written() -> None:
    assert repr(Candidate("ada", np.float32(0.5), "t")) == "Candidate(identity='ada', score=0.5, template='t')"  # type: ignore[arg-type]
    assert repr(OperatingPoint(0.1, 0.2)) in repr(Gallery("g", CONTRACT, Policy(), "", (OperatingPoint(0.1, 0.2),)))
    assert repr(Page((1, 2))) == "Page(items=(1, 2))"
    assert repr(Page(("a",))) == "Page(items=('a',))"
    assert repr(Page(())) == "Page(items=())"
    assert repr(Neighbour(np.int64(7), "ada", 0.5, {"of": [1, (2,)]})).endswith("payload={'of': [1, (2,)]})")  # type: ignore[arg-type]
    assert "frozenset" not in repr(Contract("m", 1, "0" * 64, 8, "p", frozenset({"a"})))


@pytest.mark.parametrize(
    "value", [*VALUES, TemplateFilter(), Identity("g", "ada"), Quota("*")], ids=lambda value: type(value).__name__
)
def test_a_value_goes_to_another_process_and_back(value: Any) -> None:
    back = pickle.loads(pickle.dumps(value))
    assert type(back) is type(value)
    assert repr(back) == repr(value) == repr(copy.deepcopy(value)) == repr(copy.copy(value))


@pytest.mark.parametrize("kind", [Store, Attached, Galleries, Identities, Templates])
def test_a_coroutine_method_is_a_coroutine_function_for_frameworks_too(kind: Any) -> None:
    coroutines = [
        name
        for name, method in inspect.getmembers(kind, inspect.isfunction)
        if inspect.iscoroutinefunction(inspect.unwrap(method)) and not name.startswith("_")
    ]
    assert len(coroutines) > 4
    assert [name for name in coroutines if not inspect.iscoroutinefunction(getattr(kind, name))] == []
    assert inspect.iscoroutinefunction(attach)


@pytest.fixture(scope="module")
def store() -> Iterator[blocking.Store]:
    with blocking.Store.open(":memory:") as opened:
        for number in range(7):
            opened.galleries.create(f"g{number}", CONTRACT, policy=Policy(verify_threshold=0.5, identify_threshold=0.6))
            vector = np.eye(8)[number]
            templates = [NewTemplate(vector, CONTRACT), NewTemplate(vector + 0.1, CONTRACT)]
            opened.enroll("g0", f"id-{number}", templates, labels={"team": "red"})
        opened.templates.delete("g0", "id-6", opened.templates.list("g0", "id-6").items[0].id)
        yield opened


@pytest.mark.parametrize("size", [1, 3, 100])
def test_a_loop_over_a_page_goes_over_all_of_them(store: blocking.Store, size: int) -> None:
    first = store.galleries.list(page_size=size)
    assert len(first.items) == min(size, 7)
    assert sorted(gallery.id for gallery in first) == [f"g{number}" for number in range(7)]
    assert sorted(one.id for one in store.identities.list("g0", labels={"team": "red"}, page_size=size)) == [
        f"id-{number}" for number in range(7)
    ]
    assert list(store.identities.list("g0", labels={"team": "blue"}, page_size=size)) == []
    assert len(set(store.identities.ids("g0", page_size=size))) == 7
    assert len(list(store.templates.list("g0", "id-1", page_size=size))) == 2
    assert [receipt.identity for receipt in store.erasures.list(page_size=size)] == ["id-6"]
    if first.next_token:
        rest = [gallery.id for gallery in store.galleries.list(page_size=size, page_token=first.next_token)]
        assert [gallery.id for gallery in first.items] + rest == [gallery.id for gallery in first]


async def test_with_asyncio_the_loop_is_an_async_one() -> None:
    store = await Store.open(":memory:")
    for number in range(5):
        await store.galleries.create(f"g{number}", CONTRACT)
    page = await store.galleries.list(page_size=2)
    assert sorted([gallery.id async for gallery in page]) == [f"g{number}" for number in range(5)]
    with pytest.raises(InvalidArgument, match="use `async for`"):
        list(page)
    assert len(list(await store.galleries.list())) == 5
    assert len([one async for one in copy.deepcopy(page)]) == 5
    kept = pickle.loads(pickle.dumps(page))
    assert (kept.items, kept.next_token) == (page.items, page.next_token)
    with pytest.raises(InvalidArgument, match=r"not read from an open store.*page\.items"):
        [one async for one in kept]
    with pytest.raises(InvalidArgument, match=r"page\.items"):
        [one async for one in Page((1,), "token")]
    await store.aclose()


def test_tables_have_a_row_for_each_value_and_a_column_for_each_field(store: blocking.Store) -> None:
    table = store.galleries.list(page_size=2).to_frame()
    assert (len(table), table["policy.verify_threshold"].tolist()) == (7, [0.5] * 7)
    assert set(store.identities.list("g0").to_frame()["labels.team"]) == {"red"}
    decisions = [store.identify("g0", np.eye(8)[number]) for number in range(3)]
    table = to_frame(decisions)
    assert table["outcome"].tolist() == [str(one.outcome) for one in decisions]
    assert table["candidates.0.identity"].tolist() == ["id-0", "id-1", "id-2"]
    assert decisions[0].to_frame()["identity"].tolist() == [one.identity for one in decisions[0].candidates]
    assert to_frame(store.search("g0", np.eye(8)[1]))["template.identity"].tolist()[0] == "id-1"
    assert to_frame(["ada", 7])["id"].tolist() == ["ada", 7]
    found = IdentityScores((7, "ada"), np.array([[0.1, 0.2]], np.float32), np.array([[1, 0]]), 0).to_frame()
    assert found["identity"].tolist() == ["ada", 7]
    compared = Comparisons(
        ComparisonSource.SCORES,
        ("a", "b"),
        np.array([0.9]),
        np.array([1]),
        np.array([0.1]),
        np.array([0]),
        np.array([1]),
        1,
    ).to_frame()
    assert compared.to_dict("list") == {
        "score": [0.9, 0.1],
        "mated": [True, False],
        "first": ["b", "a"],
        "second": ["b", "b"],
    }
    assert ComparisonScores(np.ones(2), np.zeros(3), 2, 5, True).to_frame()["mated"].sum() == 2
    for wrong in (7, "text", [object()], [Policy]):
        with pytest.raises(InvalidArgument, match="values"):
            to_frame(wrong)  # type: ignore[arg-type]


def test_without_pandas_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    known = builtins.__import__

    def without(name: str, *args: Any, **kwargs: Any) -> Any:
        if name == "pandas":
            raise ImportError(name)
        return known(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(ImportError, match="pip install pandas"):
        DECISION.to_frame()


def test_nothing_of_the_plugin_imports_pandas_before_a_table_is_made() -> None:
    program = "import sys, sameface_qdrant.blocking; from sameface_qdrant import *; print('pandas' in sys.modules)"
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert ended.stdout == "False\n"
