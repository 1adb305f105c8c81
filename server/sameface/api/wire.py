"""Counts the fields of a serialized message before it is parsed.

A parser makes an object of every element, and holds the interpreter meanwhile: two bytes on the wire may become a
hundred in memory. The walk reads tags and skips what they announce. It reads everything that the parser accepts, and
more: an end that is too early or a tag that does not exist is left to the parser to refuse.
"""

from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
from google.protobuf.descriptor import FieldDescriptor

MOST_FIELDS = 50_000
"""A cohort of 10,000 members has 30,000 fields."""
MOST_PACKED = 5_000_000
"""Recorded decisions have up to five lists of a million."""
_DEEPEST = 200
"""Parsers refuse messages that are nested deeper than 100."""
_VARINT, _FIXED64, _LENGTH, _GROUP, _END, _FIXED32 = range(6)
_PACKED_VARINTS = frozenset(
    {
        FieldDescriptor.TYPE_INT32,
        FieldDescriptor.TYPE_INT64,
        FieldDescriptor.TYPE_UINT32,
        FieldDescriptor.TYPE_UINT64,
        FieldDescriptor.TYPE_SINT32,
        FieldDescriptor.TYPE_SINT64,
        FieldDescriptor.TYPE_BOOL,
        FieldDescriptor.TYPE_ENUM,
    }
)


@dataclass(frozen=True, slots=True)
class _Known:
    """The fields of a message that are not merely skipped, by number. Descriptors have two types, by implementation."""

    messages: dict[int, Any]
    packed: frozenset[int]


_UNKNOWN = _Known({}, frozenset())


@dataclass(frozen=True, slots=True)
class Counts:
    """What a serialized message has."""

    fields: int
    """Fields at every depth, unknown ones too. Each element of a list or map is one."""
    packed: int
    """Elements of packed lists whose elements may take fewer bytes on the wire than in memory."""
    whole: bool
    """Whether it was read to its end: neither malformed nor above a limit."""


def count_fields(
    descriptor: Any, content: bytes, most_fields: int = MOST_FIELDS, most_packed: int = MOST_PACKED
) -> Counts:
    """Count the fields of a message of a type until the end, a limit or the first malformed byte."""
    fields = packed = at = 0
    end, known = len(content), _known(descriptor)
    outer: list[tuple[int, _Known, bool]] = []
    in_group = False
    try:
        while fields <= most_fields and packed <= most_packed:
            if at == end:
                if in_group:
                    break
                if not outer:
                    return Counts(fields, packed, whole=True)
                end, known, in_group = outer.pop()
                continue
            tag, at = content[at], at + 1
            if tag > 127:
                tag, at = _varint(content, at - 1)
            wire = tag & 7
            if wire == _END:
                if not in_group:
                    break
                end, known, in_group = outer.pop()
                continue
            fields += 1
            if wire == _LENGTH:
                length, at = content[at], at + 1
                if length > 127:
                    length, at = _varint(content, at - 1)
                if at + length > end:
                    break
                number = tag >> 3
                if number in known.messages and len(outer) < _DEEPEST:
                    outer.append((end, known, in_group))
                    end, known, in_group = at + length, _known(known.messages[number]), False
                    continue
                if number in known.packed:
                    packed += _varints(content, at, length)
                at += length
            elif wire == _VARINT:
                _, at = _varint(content, at)
            elif wire == _GROUP:
                # No message of the API has groups, so all of its fields are unknown.
                outer.append((end, known, in_group))
                known, in_group = _UNKNOWN, True
            elif wire == _FIXED32:
                at += 4
            elif wire == _FIXED64:
                at += 8
            else:
                break
            if at > end or len(outer) > _DEEPEST:
                break
    except IndexError:
        pass
    return Counts(fields, packed, whole=False)


@cache
def _known(descriptor: Any) -> _Known:
    fields = descriptor.fields
    return _Known(
        {field.number: field.message_type for field in fields if field.message_type is not None},
        frozenset(field.number for field in fields if field.is_repeated and field.type in _PACKED_VARINTS),
    )


def _varint(content: bytes, at: int) -> tuple[int, int]:
    """Return a number, and where the next byte is. A number that does not end raises IndexError."""
    byte = content[at]
    if byte < 128:
        return byte, at + 1
    value, shift = byte & 127, 7
    while True:
        at += 1
        byte = content[at]
        value |= (byte & 127) << shift
        if byte < 128:
            return value, at + 1
        shift += 7
        if shift > 63:
            raise IndexError


def _varints(content: bytes, at: int, length: int) -> int:
    """Return how many numbers end in a part of the message."""
    return int(np.count_nonzero(np.frombuffer(content, np.uint8, length, at) < 128)) if length else 0
