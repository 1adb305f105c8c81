"""Translates enum values of requests to enums of the domain, which have the same names. Pure functions."""

from enum import StrEnum
from typing import TypeVar

from google.protobuf.descriptor import EnumDescriptor

from sameface.enums import short_name
from sameface_qdrant.errors import InvalidArgument

Choice = TypeVar("Choice", bound=StrEnum)


def choice_from(value: int, enum: EnumDescriptor, choices: type[Choice], field: str) -> Choice | None:
    """Return the chosen value, or None if it is unspecified.

    Raises:
        InvalidArgument: ``enum`` does not define the number.
    """
    if value == 0:
        return None
    name = short_name(enum, value)
    if name is None:
        expected = ", ".join(choices.__members__)
        raise InvalidArgument(f"{field} is {value}; expected one of {enum.name}: {expected}", metadata={"field": field})
    return choices[name]
