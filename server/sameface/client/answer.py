"""Values instead of messages: an `Answer` has the fields of one message, with types of Python.

A class says which message it is read from, and its annotations say how: an enum by its short name, a time as a datetime
in UTC, a repeated field as a tuple. A field whose annotation has None is None where the message does not have it.
"""

import functools
import operator
import typing
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from datetime import UTC, datetime
from enum import StrEnum
from types import MappingProxyType, NoneType
from typing import Any, ClassVar, NoReturn, TypeVar, dataclass_transform

from google.protobuf.descriptor import EnumDescriptor
from google.protobuf.message import Message

from sameface.client.errors import ServiceError
from sameface.enums import full_name, short_name

Kind = TypeVar("Kind", bound="Answer")

_set = object.__setattr__
"""What a frozen dataclass is filled with."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """A value that a method of the clients returns or takes. It cannot be changed, and compares by its fields."""

    _message: ClassVar[type[Message]]
    _readers: ClassVar[Mapping[str, Callable[[Message], Any]]]
    """How each field is read."""
    _proto: Message | None = field(default=None, init=False, repr=False, compare=False)

    @property
    def proto(self) -> Any:
        """The message of protos/sameface/v1, as the service sent it. Do not change it."""
        if self._proto is None:
            _set(self, "_proto", _written(self))
        return self._proto

    def as_dict(self) -> dict[str, Any]:
        """Return the fields as `json.dumps` takes them: enums by short name, times in ISO 8601."""
        return {name: _plain(getattr(self, name)) for name in self._readers}

    def __reduce__(self) -> tuple[Any, ...]:
        return read, (type(self), self.proto)


class Judged(Answer):
    """An answer that says who matched, in the attribute ``_said_by``; ``if answer:`` would let everybody in."""

    __slots__ = ()
    _said_by: ClassVar[str] = "matched"

    def __bool__(self) -> NoReturn:
        raise TypeError(f"{type(self).__name__} is neither true nor false; use .{self._said_by}")


@dataclass_transform(frozen_default=True, kw_only_default=True, field_specifiers=(field,))
def reads(message: type[Message]) -> Callable[[type[Kind]], type[Kind]]:
    """Make a class the frozen dataclass that is read from a message."""

    def declare(kind: type[Kind]) -> type[Kind]:
        value = dataclass(frozen=True, slots=True, kw_only=True)(kind)
        value._message, value._readers = message, _readers_of(value, message)
        return value

    return declare


def read(kind: type[Kind], message: Message) -> Kind:
    """Return a message as a value."""
    # Without __init__, which takes twice as long.
    answer = object.__new__(kind)
    _set(answer, "_proto", message)
    for name, reader in kind._readers.items():
        _set(answer, name, reader(message))
    return answer


def _readers_of(kind: type[Answer], message: type[Message]) -> Mapping[str, Callable[[Message], Any]]:
    hints = typing.get_type_hints(kind)
    described = message.DESCRIPTOR.fields_by_name
    return {one.name: _reader(described[one.name], hints[one.name]) for one in fields(kind) if one.name != "_proto"}


def _reader(described: Any, hint: Any) -> Callable[[Message], Any]:
    get, arguments = operator.attrgetter(described.name), typing.get_args(hint)
    if typing.get_origin(hint) is Mapping:
        return lambda message: MappingProxyType(dict(get(message)))
    (kind,) = {one for one in arguments or (hint,) if one not in (NoneType, Ellipsis)}
    one = _conversion(described, kind)
    if typing.get_origin(hint) is tuple:
        return lambda message: tuple(map(one, get(message))) if one else tuple(get(message))
    value: Callable[[Message], Any] = (lambda message: one(get(message))) if one else get
    if NoneType in arguments:
        return lambda message: value(message) if message.HasField(described.name) else None
    return value


def _conversion(described: Any, kind: Any) -> Callable[[Any], Any] | None:
    """Return how one value of a field is converted; None if it stays as it is."""
    if kind is datetime:
        return lambda time: time.ToDatetime(UTC)
    if kind is ServiceError:
        return ServiceError.of_status
    if issubclass(kind, StrEnum):
        return functools.partial(_member, kind, described.enum_type)
    if issubclass(kind, Answer):
        return functools.partial(read, kind)
    return None


def _member(kind: type[StrEnum], described: EnumDescriptor, number: int) -> StrEnum:
    """Return the member for a number; UNKNOWN for 0 and for what only a newer service has."""
    return kind.__members__.get(short_name(described, number) or "", kind["UNKNOWN"])


def _written(answer: Answer) -> Message:
    """Return a value that was made here as a message."""
    described = answer._message.DESCRIPTOR.fields_by_name
    values = {name: getattr(answer, name) for name in answer._readers}
    return answer._message(
        **{name: _part(described[name], value) for name, value in values.items() if value is not None}
    )


def _part(described: Any, value: Any) -> Any:
    if isinstance(value, Answer):
        return value.proto
    if isinstance(value, ServiceError):
        return value.status()
    if described.message_type is not None and not isinstance(value, Mapping | datetime):
        return [one.proto for one in value]
    if described.enum_type is not None:
        return 0 if value == "UNKNOWN" else full_name(described.enum_type, value)
    return value


def _plain(value: Any) -> Any:
    if isinstance(value, Answer | ServiceError):
        return value.as_dict()
    if isinstance(value, tuple):
        return [_plain(one) for one in value]
    if isinstance(value, Mapping):
        return dict(value)
    if isinstance(value, datetime):
        return value.isoformat()
    return str(value) if isinstance(value, StrEnum) else value
