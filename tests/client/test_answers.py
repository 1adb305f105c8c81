"""The values that the clients return: the fields of the protos, with types of Python."""

import copy
import dataclasses
import json
import pickle
import typing
from collections.abc import Iterator
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

import grpc
import pytest
from google.protobuf.descriptor import FieldDescriptor
from hypothesis import given, settings
from hypothesis import strategies as st

from sameface import client
from sameface.client import (
    Answer,
    Candidate,
    Comparison,
    Decision,
    Embedding,
    Finding,
    FindingKind,
    Gallery,
    GuardAction,
    Identification,
    IdentifiedFace,
    Identity,
    Outcome,
    Policy,
    Scope,
    ServiceError,
    StreamAnswer,
    Template,
    ThresholdSource,
    Verification,
    enums,
)
from sameface.client.answer import read
from sameface.client.samples import as_sample, check_many
from sameface.enums import short_name
from sameface.v1 import decision_pb2, face_pb2, gallery_pb2
from sameface_qdrant.values import decision, erasure, finding, gallery

KINDS: list[Any] = [
    one for name in client.__all__ if isinstance(one := getattr(client, name), type) and issubclass(one, Answer)
]
KINDS = [kind for kind in KINDS if hasattr(kind, "_message")]
ENUMS = [one for one in vars(enums).values() if isinstance(one, type) and issubclass(one, StrEnum) and one != StrEnum]
EMBEDDING = face_pb2.Embedding(
    values=[0.6123, 0.8], contract=face_pb2.Contract(model="face_embedder", version=1, dimension=2)
)
DECISION = Decision(
    outcome=Outcome.MATCH,
    score=0.7756,
    threshold=0.3711,
    threshold_source=ThresholdSource.MODEL_CARD,
    lead=0.79,
    runner_up_margin=0.05,
    scope=Scope.GALLERY,
    policy_revision=3,
    gallery_size=2,
    target_attained=True,
    threshold_stale=False,
    candidates=(Candidate(identity="galleries/g/identities/ada", display_name="", score=0.7756, template=""),),
)


def kind_of(hint: Any) -> Any:
    """Return the type in ``X | None`` or ``tuple[X, ...]``."""
    return next((one for one in typing.get_args(hint) if one not in (type(None), Ellipsis)), hint)


def optional(kind: type[Answer], field: str) -> bool:
    return type(None) in typing.get_args(typing.get_type_hints(kind)[field])


@st.composite
def messages(draw: st.DrawFn, kind: Any) -> Any:
    """Draw a message as the service may send it: what the class calls never None is there."""
    hints, values = typing.get_type_hints(kind), {}
    for field in kind._message.DESCRIPTOR.fields:
        if optional(kind, field.name) and draw(st.booleans()):
            continue
        hint = hints[field.name]
        one = values_of(field, kind_of(hint))
        values[field.name] = draw(
            st.dictionaries(st.text(max_size=3), st.text(max_size=3), max_size=2)
            if typing.get_origin(hint) is not None and "Mapping" in str(hint)
            else st.lists(one, max_size=2)
            if typing.get_origin(hint) is tuple
            else one
        )
    return kind._message(**values)


def values_of(field: Any, kind: Any) -> st.SearchStrategy[Any]:
    if kind is datetime:
        return st.datetimes(datetime(1900, 1, 1), datetime(9999, 1, 1), timezones=st.just(UTC))
    if kind is ServiceError:
        codes = st.sampled_from([code for code in grpc.StatusCode if code.value[0]])
        # At most one, because the order in the bytes of several is not fixed.
        details = st.dictionaries(st.text(max_size=3), st.text(max_size=3), max_size=1)
        waits = st.none() | st.integers(0, 10**6).map(lambda ms: ms / 1000)
        return st.builds(ServiceError, codes, st.just("FACE_NOT_FOUND"), st.text(), details, waits).map(
            ServiceError.status
        )
    if issubclass(kind, Answer):
        return messages(kind)
    if field.enum_type is not None:
        return st.sampled_from([value.number for value in field.enum_type.values])
    if kind is float:
        return st.floats(allow_nan=False, width=32 if field.type == FieldDescriptor.TYPE_FLOAT else 64)
    numbers = st.integers(-(2**31), 2**31 - 1)
    return {int: numbers, bool: st.booleans(), str: st.text(max_size=8)}[kind]


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_an_answer_has_the_fields_of_its_message_and_no_other(kind: type[Answer]) -> None:
    fields = {one.name for one in dataclasses.fields(kind)} - {"_proto"}
    assert fields == {field.name for field in kind._message.DESCRIPTOR.fields}
    for field in kind._message.DESCRIPTOR.fields:
        if field.has_presence and field.message_type is None:
            assert optional(kind, field.name), f"{field.name} may be absent"


def test_every_answer_and_enum_is_exported() -> None:
    assert {kind.__name__ for kind in subclasses(Answer)} <= set(client.__all__) | {"Judged"}
    assert {enum.__name__ for enum in ENUMS} <= set(client.__all__)
    assert sorted(client.__all__) == client.__all__


def subclasses(kind: type[Answer]) -> Iterator[type[Answer]]:
    for one in kind.__subclasses__():
        # With slots a dataclass is made twice; the first one is not exported and has no readers.
        if "_readers" in vars(one):
            yield one
        yield from subclasses(one)


def enum_fields() -> Iterator[tuple[Any, Any]]:
    for kind in KINDS:
        for field in kind._message.DESCRIPTOR.fields:
            if field.enum_type is not None:
                yield field.enum_type, kind_of(typing.get_type_hints(kind)[field.name])


def test_every_enum_has_the_words_of_its_proto_and_of_the_plugin() -> None:
    read_from = dict(enum_fields())
    assert set(read_from.values()) == set(ENUMS)
    for described, enum in read_from.items():
        words = [short_name(described, number) for number in described.values_by_number if number]
        assert list(enum) == ["UNKNOWN", *words]
    for ours, theirs in (
        (enums.Outcome, decision.Outcome),
        (enums.Scope, decision.Scope),
        (enums.ThresholdSource, decision.ThresholdSource),
        (enums.FindingKind, finding.FindingKind),
        (enums.ErasureState, erasure.ErasureState),
        (enums.GuardAction, gallery.GuardAction),
        (enums.WhenFull, gallery.WhenFull),
        (enums.PresentationAttackAction, gallery.PresentationAttackAction),
    ):
        assert set(ours) == {"UNKNOWN", *theirs}


@settings(max_examples=8, deadline=None)
@given(drawn=st.data())
@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_a_value_says_what_its_message_says(kind: type[Answer], drawn: st.DataObject) -> None:
    message = drawn.draw(messages(kind))
    value = read(kind, message)
    assert value.proto is message
    # A copy has no message yet, and makes it from its fields.
    assert dataclasses.replace(value).proto == message
    for field in message.DESCRIPTOR.fields:
        if field.has_presence and optional(kind, field.name):
            assert (getattr(value, field.name) is None) == (not message.HasField(field.name))
    assert list(json.loads(json.dumps(value.as_dict()))) == [field.name for field in message.DESCRIPTOR.fields]
    if kind is not StreamAnswer:  # errors compare by identity
        assert read(kind, kind._message.FromString(message.SerializeToString())) == value
        assert pickle.loads(pickle.dumps(value)) == copy.deepcopy(value) == value
        assert hash(copy.copy(value)) == hash(value)
    with pytest.raises(dataclasses.FrozenInstanceError):
        setattr(value, message.DESCRIPTOR.fields[0].name, None)


def test_what_only_a_newer_service_says_is_unknown() -> None:
    later = read(Decision, decision_pb2.Decision.FromString(bytes([1 << 3, 99, 4 << 3, 98])))
    assert (later.outcome, later.threshold_source, later.matched) == (Outcome.UNKNOWN, ThresholdSource.UNKNOWN, False)
    assert later.proto.outcome == 99
    assert read(Decision, decision_pb2.Decision()).outcome is Outcome.UNKNOWN


def test_a_word_is_text_a_time_has_a_zone_and_nothing_is_none() -> None:
    warn: Any = gallery_pb2.GUARD_ACTION_WARN
    policy = read(Policy, gallery_pb2.Policy(on_collision=warn, max_templates=0))
    assert policy.on_collision is GuardAction.WARN
    assert policy.on_collision == "WARN" == gallery.GuardAction.WARN
    assert (policy.on_outlier, policy.max_templates, policy.verify_threshold) == (None, 0, None)
    identity = read(Identity, gallery_pb2.Identity(labels={"team": "a"}, create_time=datetime(2026, 5, 1, tzinfo=UTC)))
    assert identity.as_dict()["create_time"] == "2026-05-01T00:00:00+00:00"
    assert identity.create_time == datetime(2026, 5, 1, tzinfo=UTC)
    assert (identity.expire_time, identity.labels) == (None, {"team": "a"})
    with pytest.raises(TypeError):
        identity.labels["team"] = "b"  # type: ignore[index]
    found = read(Finding, gallery_pb2.Finding(kind=gallery_pb2.Finding.KIND_COLLISION))
    assert (found.kind, found.as_dict()["kind"]) == (FindingKind.COLLISION, "COLLISION")


def test_a_repr_shows_neither_an_embedding_nor_a_message() -> None:
    value = read(Embedding, EMBEDDING)
    assert repr(value) == (
        "Embedding(contract=Contract(model='face_embedder', version=1, sha256='', dimension=2, preprocessing=''))"
    )
    assert "proto" not in repr(read(Verification, Verification._message(decision=DECISION.proto)))


def test_a_decision_is_one_line() -> None:
    assert str(DECISION) == "MATCH: score 0.776, threshold 0.371 (MODEL_CARD), lead 0.790"
    hidden = dataclasses.replace(DECISION, outcome=Outcome.NO_MATCH, score=None, lead=None)
    assert str(hidden) == "NO_MATCH: threshold 0.371 (MODEL_CARD)"


@pytest.mark.parametrize("outcome", Outcome)
def test_only_a_match_matched_and_no_answer_is_true_or_false(outcome: Outcome) -> None:
    decided = dataclasses.replace(DECISION, outcome=outcome)
    face = IdentifiedFace(decision=decided, face=None)
    answers: list[Any] = [
        decided,
        Verification(decision=decided, face=None),
        Comparison(decision=decided, first_face=None, second_face=None),
        face,
    ]
    assert [one.matched for one in answers] == [outcome is Outcome.MATCH] * 4
    assert not IdentifiedFace(decision=None, face=None).matched
    for answer in (
        *answers,
        Identification(faces=(face,), faces_found=1),
        StreamAnswer(tag="", index=0, faces=(face,), error=None, faces_found=1),
    ):
        with pytest.raises(TypeError, match=r"use \.(faces\[0\]\.)?matched"):
            bool(answer)


def test_the_id_is_the_end_of_the_name() -> None:
    assert read(Gallery, gallery_pb2.Gallery(name="galleries/staff")).id == "staff"
    assert read(Identity, gallery_pb2.Identity(name="galleries/staff/identities/ada")).id == "ada"
    assert read(Template, gallery_pb2.Template(name="galleries/staff/identities/ada/templates/1")).id == "1"
    assert DECISION.candidates[0].identity_id == "ada"


def test_an_embedding_is_a_sample_as_it_was_returned_or_made_again() -> None:
    returned = read(Embedding, EMBEDDING)
    kept = json.loads(json.dumps(returned.as_dict()))
    again = Embedding(values=tuple(kept["values"]), contract=client.Contract(**kept["contract"]))
    assert as_sample(returned).embedding == as_sample(again).embedding == EMBEDDING
    with pytest.raises(client.NotAPhoto, match="is one photo"):
        check_many(returned, asynchronous=False)
