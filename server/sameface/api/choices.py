"""Enum values of requests as the enums of the domain; names are the same on both sides. Pure."""

from enum import StrEnum
from typing import TypeVar

from google.protobuf.descriptor import EnumDescriptor

from sameface.enums import short_name
from sameface_qdrant.errors import InvalidArgument

Choice = TypeVar("Choice", bound=StrEnum)


def choice_from(value: int, enum: EnumDescriptor, choices: type[Choice], field: str) -> Choice | None:
    """Return the choice that was sent, None where it is unspecified.

    Raises:
        InvalidArgument: this version does not define the number.
    """
    if value == 0:
        return None
    name = short_name(enum, value)
    if name is None:
        raise InvalidArgument(f"{field} is {value}, which is no {enum.name} of this version", metadata={"field": field})
    return choices[name]
