"""Short names of the protos' enum values: ``WARN`` means ``GUARD_ACTION_WARN``. Pure functions."""

from google.protobuf.descriptor import EnumDescriptor


def full_name(enum: EnumDescriptor, short: str) -> str:
    """Return the proto's name of a value. The case of ``short`` does not matter."""
    return _prefix(enum) + short.upper()


def short_name(enum: EnumDescriptor, number: int) -> str | None:
    """Return the name of a value without the prefix of its enum, or None if the enum does not define ``number``."""
    value = enum.values_by_number.get(number)
    return None if value is None else value.name.removeprefix(_prefix(enum))


def _prefix(enum: EnumDescriptor) -> str:
    # buf lint requires that value 0 of every enum is PREFIX_UNSPECIFIED.
    return enum.values_by_number[0].name.removesuffix("UNSPECIFIED")
