"""The count of a message before it is parsed agrees with what a real parser finds in it."""

from collections.abc import Sequence
from typing import Any

import pytest
from google.protobuf import field_mask_pb2
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.internal.encoder import _VarintBytes  # type: ignore[attr-defined]  # not in the stubs
from google.protobuf.message import DecodeError, Message
from google.protobuf.unknown_fields import UnknownFieldSet
from hypothesis import example, given, settings
from hypothesis import strategies as st

from sameface.api.wire import count_fields
from sameface.v1 import calibration_pb2, face_service_pb2, gallery_service_pb2

Calibrate = gallery_service_pb2.CalibrateGalleryRequest
TYPES = (
    Calibrate,
    gallery_service_pb2.WhatIfGalleryRequest,
    gallery_service_pb2.UpdateIdentityRequest,
    face_service_pb2.SearchTemplatesRequest,
    face_service_pb2.StreamIdentifyFacesRequest,
)


def tag(number: int, wire: int) -> bytes:
    return bytes(_VarintBytes(number << 3 | wire))


def nested(number: int, content: bytes) -> bytes:
    return tag(number, 2) + bytes(_VarintBytes(len(content))) + content


def group(number: int, content: bytes) -> bytes:
    return tag(number, 3) + content + tag(number, 4)


NUMBERS = st.one_of(st.integers(1, 12), st.sampled_from([15, 16, 2047, (1 << 29) - 1]))
VARINTS = st.one_of(
    st.integers(0, 300).map(lambda value: bytes(_VarintBytes(value))),
    st.sampled_from([b"\xff" * 9 + b"\x01", b"\x80\x00", b"\x80" * 9 + b"\x00"]),
)
FIELDS = st.recursive(
    st.one_of(
        st.builds(lambda number, value: tag(number, 0) + value, NUMBERS, VARINTS),
        st.builds(lambda number, value: tag(number, 5) + value, NUMBERS, st.binary(min_size=4, max_size=4)),
        st.builds(lambda number, value: tag(number, 1) + value, NUMBERS, st.binary(min_size=8, max_size=8)),
        st.builds(nested, NUMBERS, st.lists(VARINTS, max_size=5).map(b"".join)),
        st.builds(nested, NUMBERS, st.text(max_size=3).map(str.encode)),
    ),
    lambda inner: st.builds(
        lambda wrap, number, parts: wrap(number, b"".join(parts)),
        st.sampled_from([nested, group]),
        NUMBERS,
        st.lists(inner, max_size=4),
    ),
    max_leaves=12,
)
MESSAGES = st.one_of(
    st.lists(FIELDS, max_size=6).map(b"".join),
    st.builds(lambda parts, tail: b"".join(parts) + tail, st.lists(FIELDS, max_size=3), st.binary(max_size=6)),
)


def unknown(fields: Any) -> int:
    return sum(1 + (unknown(field.data) if field.wire_type == 3 else 0) for field in fields)


def found(message: Message) -> int:
    """Elements and unknown fields at every depth of a parsed message. Packed lists are no elements."""
    count = unknown(UnknownFieldSet(message))
    for field, value in message.ListFields():
        if field.message_type is not None and field.message_type.GetOptions().map_entry:
            count += len(value)
        elif field.is_repeated and field.type in (FieldDescriptor.TYPE_MESSAGE, FieldDescriptor.TYPE_STRING):
            count += len(value) + sum(found(one) for one in value if isinstance(one, Message))
        elif not field.is_repeated:
            count += 1 + (found(value) if isinstance(value, Message) else 0)
    return count


@pytest.mark.parametrize("kind", TYPES, ids=lambda kind: kind.__name__)
def test_whatever_the_parser_accepts_is_read_to_its_end(kind: type[Message]) -> None:
    accepted = 0

    @settings(max_examples=80, derandomize=True)
    @given(content=MESSAGES)
    @example(content=group(7, nested(5, b"\x00") + group(7, b"")))
    @example(content=nested(5, nested(2, b"\x01\x02\x80\x01")))
    def check(content: bytes) -> None:
        nonlocal accepted
        try:
            message = kind.FromString(content)
        except DecodeError:
            return
        accepted += 1
        counts = count_fields(kind.DESCRIPTOR, content)
        assert counts.whole
        assert counts.fields >= found(message)

    check()
    assert accepted > 30


def test_each_kind_of_element_is_counted() -> None:
    def fields(message: Message) -> int:
        counts = count_fields(message.DESCRIPTOR, message.SerializeToString())
        assert counts.whole
        assert counts.fields == found(message) + sum(counts_of_packed(message))
        return counts.fields

    paths = gallery_service_pb2.UpdateIdentityRequest(update_mask=field_mask_pb2.FieldMask(paths=[""] * 500))
    assert fields(paths) == 501
    members = [calibration_pb2.Cohort.Member(identity="a", values=[1.0, 2.0])] * 300
    assert fields(Calibrate(cohort=calibration_pb2.Cohort(members=members))) == 901
    labels = gallery_service_pb2.ListIdentitiesRequest(labels={f"key-{n}": "value" for n in range(200)})
    assert count_fields(labels.DESCRIPTOR, labels.SerializeToString()).fields == 600


def counts_of_packed(message: Message) -> Sequence[int]:
    """One for each packed list that is not empty, at every depth."""
    counts: list[int] = []
    for field, value in message.ListFields():
        if field.is_repeated and field.type == FieldDescriptor.TYPE_FLOAT:
            counts.append(1)
        elif field.is_repeated and field.type == FieldDescriptor.TYPE_MESSAGE:
            counts += [one for inner in value for one in counts_of_packed(inner)]
        elif isinstance(value, Message):
            counts += counts_of_packed(value)
    return counts


@given(numbers=st.lists(st.integers(-(2**31), 2**31 - 1), max_size=50), signs=st.lists(st.booleans(), max_size=50))
@settings(max_examples=50, derandomize=True)
def test_packed_numbers_are_counted_by_their_ends(numbers: list[int], signs: list[bool]) -> None:
    message = gallery_service_pb2.WhatIfGalleryRequest(
        decisions=calibration_pb2.RecordedDecisions(scores=[0.5] * 9, first=numbers, mated=signs)
    )
    assert count_fields(message.DESCRIPTOR, message.SerializeToString()).packed == len(numbers) + len(signs)


def test_counting_stops_at_a_limit() -> None:
    descriptor = Calibrate.DESCRIPTOR
    paths = nested(6, b"\x12\x00" * 2_000_000)
    counts = count_fields(descriptor, paths, most_fields=1000)
    assert (counts.fields, counts.whole) == (1001, False)
    counts = count_fields(descriptor, nested(5, nested(2, b"\x01" * 2000)), most_packed=1000)
    assert (counts.packed, counts.whole) == (2000, False)
    # Neither do unknown fields, groups or depth escape.
    assert not count_fields(descriptor, group(99, b"\x98\x06\x00" * 2000), most_fields=1000).whole
    assert not count_fields(descriptor, b"\x2b" * 2000 + b"\x2c" * 2000, most_fields=10_000).whole
