"""Enum values of the protos by their short names: ``WARN`` stands for ``GUARD_ACTION_WARN``. Pure."""

from google.protobuf.descriptor import EnumDescriptor


def full_name(enum: EnumDescriptor, short: str) -> str:
    """Return the name of a value in the proto; case does not matter in ``short``."""
    return _prefix(enum) + short.upper()


def short_name(enum: EnumDescriptor, number: int) -> str | None:
    """Return the name of a value without the prefix of its enum, None for a number that the enum does not define."""
    value = enum.values_by_number.get(number)
    return None if value is None else value.name.removeprefix(_prefix(enum))


def _prefix(enum: EnumDescriptor) -> str:
    # buf lint keeps value 0 of every enum at PREFIX_UNSPECIFIED.
    return enum.values_by_number[0].name.removesuffix("UNSPECIFIED")
