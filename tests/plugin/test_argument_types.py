"""Arguments of a wrong type are typed errors that say what was given, what is expected and what to write."""

import inspect
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from qdrant_client import QdrantClient, models

from sameface_qdrant import Contract, Enrolment, NewTemplate, Operation, Policy, Probe, Scope, blocking
from sameface_qdrant.errors import InvalidArgument, InvalidEmbedding, SamefaceError
from tests.plugin.conftest import CONTRACT

ONE = np.ones(8)
POLICY = Policy(verify_threshold=0.5, identify_threshold=0.6)
WRONG: list[Any] = [
    None,
    3,
    2.5,
    float("nan"),
    True,
    "text",
    b"bytes",
    object(),
    [object()],
    [None, "text"],
    {"key": object()},
    {3: 4},
    ONE,
    np.ones((2, 2)),
    np.array(["a"]),
    Policy(),
    lambda: None,
]
VALID: dict[str, Any] = {
    "gallery": "people",
    "identity": "ada",
    "templates": [NewTemplate(ONE, CONTRACT)],
    "probe": Probe(ONE, CONTRACT),
    "contract": CONTRACT,
    "changes": {},
    "source": "ada",
    "target": "bob",
    "template": "00000000-0000-5000-8000-000000000000",
    "receipt": "none",
    "expire_time": datetime.now(UTC) + timedelta(days=1),
    "embedding": ONE,
    "embeddings": [ONE],
    "enrolments": [],
    "quotas": [],
    "operation": Operation.VERIFICATION,
}


@pytest.fixture(scope="module")
def store() -> Iterator[blocking.Store]:
    with blocking.Store.open(":memory:") as opened:
        opened.galleries.create("people", CONTRACT, policy=POLICY)
        opened.enroll("people", "ada", VALID["templates"])
        opened.enroll("people", "bob", NewTemplate(-ONE, CONTRACT))
        yield opened


@pytest.fixture(scope="module")
def people() -> Iterator[blocking.Attached]:
    client = QdrantClient(":memory:")
    client.create_collection("faces", models.VectorParams(size=8, distance=models.Distance.COSINE))
    points = [models.PointStruct(id=k, vector=(ONE + np.eye(8)[k]).tolist(), payload={"who": k}) for k in range(2)]
    client.upsert("faces", points)
    with blocking.attach(client, collection="faces", identity_key="who", policy=POLICY, writable=True) as opened:
        yield opened


def parameters(method: Callable[..., Any]) -> list[inspect.Parameter]:
    return [one for one in inspect.signature(method).parameters.values() if one.name != "self"]


def public(target: object) -> list[str]:
    kind = type(target)
    routines = [name for name, _ in inspect.getmembers(kind, inspect.isfunction) if not name.startswith("_")]
    return [name for name in routines if name not in ("close", "sweep", "rekey")]


def call(method: Callable[..., Any], *args: Any, **kwargs: Any) -> None:
    found = method(*args, **kwargs)
    if inspect.isgenerator(found):
        list(found)


@pytest.mark.parametrize("resource", ["", "galleries", "identities", "templates", "erasures", "attached"])
def test_no_wrong_type_escapes_as_an_error_of_python(
    resource: str, store: blocking.Store, people: blocking.Attached
) -> None:
    target: Any = people if resource == "attached" else getattr(store, resource) if resource else store
    tried = 0
    for name in public(target):
        method = getattr(target, name)
        needed = {one.name: VALID.get(one.name) for one in parameters(method) if one.default is one.empty}
        for one in parameters(method):
            if one.name == "options" or one.kind is one.VAR_KEYWORD:
                continue
            for wrong in WRONG:
                given = {**needed, one.name: wrong}
                if name in ("delete", "create", "move", "enroll", "update") and one.name not in needed:
                    # So that nothing of the valid ones is changed.
                    given = {**given, **({"gallery": "none"} if "gallery" in needed else {"identity": "none"})}
                try:
                    call(method, **given)
                except SamefaceError:
                    tried += 1
                except Exception as error:
                    raise AssertionError(f"{name}({one.name}={wrong!r}): {type(error).__name__}: {error}") from error
    assert tried > 20


@pytest.mark.parametrize(
    ("write", "expected"),
    [
        (
            lambda store: store.enroll("people", "eve", iter([ONE])),
            r"templates\[0\] is an ndarray; expected NewTemplate\(vector, contract\)",
        ),
        (
            lambda store: store.enroll("people", "eve", [ONE]),
            r"templates\[0\] is an ndarray; expected NewTemplate\(vector, co",
        ),
        (
            lambda store: store.enroll("people", "eve", ONE),
            r"templates is an ndarray; .*NewTemplate\(vector, contract\)",
        ),
        (
            lambda store: list(store.enroll_many("people", [("eve", ONE)])),
            r"enrolments\[0\] is a tuple; expected Enrolment\(identity, \[NewTemplate\(vector, contract\)\]\)",
        ),
        (
            lambda store: list(store.enroll_many("people", [Enrolment("eve", ONE)])),  # type: ignore[arg-type]
            r"enrolments\[0\] is an Enrolment whose templates is an ndarray; expected a sequence of NewTemplate",
        ),
        (lambda store: store.verify("people", "ada", ONE, scope="CLAIM"), r"scope is 'CLAIM' \(str\).*Scope\.CLAIM or"),
        (lambda store: store.verify("people", 7, ONE), r"identity is 7 \(int\); expected a text"),
        (lambda store: store.galleries.create("new", "voices"), r"contract is 'voices' \(str\); expected a Contract"),
        (
            lambda store: store.galleries.create("new", Contract("voices", "1", "0" * 64, 8, "none")),  # type: ignore[arg-type]
            r"contract is a Contract whose version is '1' \(str\); expected a whole number",
        ),
        (
            lambda store: store.galleries.update("people", policy={"target_fpr": 0.1}),
            r"a policy has no field 'target_fpr'; .*; did you mean 'target_fpir'\?",
        ),
        (
            lambda store: store.galleries.update("people", policy={"target_fmr": "0.1"}),
            r"policy\['target_fmr'\] is '0.1' \(str\); expected a number or None",
        ),
        (
            lambda store: store.identities.update("people", "ada", {"name": "Ada"}),
            "an identity has no field 'name'; expected one of consent_reference, display_name, ",
        ),
        (
            lambda store: store.what_if("people", "verification"),
            r"operation is 'verification' .*Operation\.VERIFICATION",
        ),
        (lambda store: store.galleries.list(page_size="9"), r"page_size is '9' \(str\); expected a whole number"),
    ],
)
def test_the_message_says_what_to_write(store: blocking.Store, write: Any, expected: str) -> None:
    with pytest.raises(InvalidArgument, match=expected):
        write(store)


def test_a_misspelt_option_stays_an_error_of_python(store: blocking.Store) -> None:
    with pytest.raises(TypeError, match="treshold"):
        store.verify("people", "ada", ONE, treshold=0.5)  # type: ignore[call-arg]


class Tensor:
    """What numpy reads of a tensor."""

    def __init__(self, numbers: Any) -> None:
        self._numbers = np.asarray(numbers)

    def __array__(self, dtype: Any = None, copy: Any = None) -> Any:
        return self._numbers.astype(dtype or self._numbers.dtype)


class OnDevice:
    def __array__(self, dtype: Any = None, copy: Any = None) -> Any:
        raise TypeError("can't convert cuda:0 device type tensor to numpy")


NUMBERS = [1.0, 2.0, 0.5, -1.0, 0.0, 3.0, 1.0, 1.0]
SAME: list[Any] = [
    np.asarray(NUMBERS, np.float32),
    np.asarray(NUMBERS, np.float64),
    np.asarray(NUMBERS, np.float16),
    NUMBERS,
    tuple(NUMBERS),
    Tensor(NUMBERS),
    2 * np.asarray(NUMBERS)[::1],
]


@pytest.mark.parametrize("vector", SAME, ids=lambda vector: type(vector).__name__)
def test_every_form_of_the_same_numbers_is_the_same_embedding(
    vector: Any, store: blocking.Store, people: blocking.Attached
) -> None:
    expected = store.verify("people", "ada", Probe(np.asarray(NUMBERS), CONTRACT), scope=Scope.CLAIM).score
    assert store.verify("people", "ada", vector, scope=Scope.CLAIM).score == expected
    assert store.verify("people", "ada", Probe(vector, CONTRACT), scope=Scope.CLAIM).score == expected
    assert people.identify(vector).score == people.identify(np.asarray(NUMBERS)).score
    (stored,) = store.enroll("people", "forms", NewTemplate(vector, CONTRACT))
    assert store.enroll("people", "forms", [NewTemplate(np.asarray(NUMBERS), CONTRACT)])[0].id == stored.id


@pytest.mark.parametrize(
    ("vector", "expected"),
    [
        (np.ones((1, 8)), r"shape \[1, 8\]; expected \[8\]; pass the embeddings one by one"),
        (np.ones(3), r"shape \[3\]; expected \[8\]"),
        (np.array(["1"] * 8), r"dtype <U1, shape \[8\]; expected real numbers"),
        (np.ones(8, np.complex64), r"dtype complex64, shape \[8\]; expected real"),
        (np.array([None] * 8), r"dtype object, shape \[8\]; expected real"),
        ([[1.0], [1.0, 2.0]], "list that numpy cannot read"),
        (OnDevice(), r"OnDevice that numpy cannot read: can't convert cuda.*detach\(\).cpu\(\)"),
        (Probe(np.ones(8), CONTRACT), "is a Probe, shape .*; pass its vector"),
    ],
)
def test_what_is_no_embedding_is_named(vector: Any, expected: str, people: blocking.Attached) -> None:
    with pytest.raises(InvalidEmbedding, match=expected):
        people.identify(vector)
    with pytest.raises(InvalidEmbedding):
        people.score_many([NUMBERS, vector])


def test_a_folder_that_depends_on_where_the_program_starts_is_refused() -> None:
    for wrong in ("edge://rel", "edge://./rel", "rel", "./rel", "/abs", "edge://"):
        with pytest.raises(InvalidArgument, match="edge:///") as refused:
            blocking.Store.open(wrong)
        if "rel" in wrong and wrong != "rel":
            assert f"edge://{Path.cwd()}/rel" in str(refused.value)
    with pytest.raises(InvalidArgument, match=r"write edge:///abs"):
        blocking.Store.open("/abs")
