"""Whole policies, made from the declaration of the dataclass alone: a new field is in them without a change here."""

import dataclasses
import typing
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

from hypothesis import strategies as st

from sameface_qdrant.values.gallery import POLICY_SETTINGS, Policy
from sameface_qdrant.values.settings import Setting

_HINTS = typing.get_type_hints(Policy)
_RECORDED: dict[Any, st.SearchStrategy[Any]] = {
    int: st.integers(1, 2**31 - 1),
    str: st.text(st.characters(codec="utf-8"), max_size=20),
    datetime: st.datetimes(datetime(2000, 1, 1), datetime(2100, 1, 1), timezones=st.just(UTC)),
    type(None): st.none(),
}


def values_of(setting: Setting) -> st.SearchStrategy[Any]:
    """Return values that a setting may have, among them None where it may be None."""
    if issubclass(setting.kind, StrEnum):
        return st.sampled_from(setting.kind)
    assert setting.range is not None
    values: st.SearchStrategy[Any]
    if setting.kind is int:
        values = st.integers(int(setting.range.low), int(setting.range.high))
    else:
        excluded = not setting.range.closed
        # Of 32 bits, because thresholds travel as float.
        values = st.floats(setting.range.low, setting.range.high, exclude_min=excluded, exclude_max=excluded, width=32)
    return values | st.none() if type(None) in typing.get_args(_HINTS[setting.name]) else values


def _recorded(hint: Any) -> st.SearchStrategy[Any]:
    return st.one_of([_RECORDED[kind] for kind in typing.get_args(hint) or (hint,)])


def policies() -> st.SearchStrategy[Policy]:
    """Return policies in which every field, also what the store records, may have any value."""
    settings = {setting.name: values_of(setting) for setting in POLICY_SETTINGS}
    others = {f.name: _recorded(_HINTS[f.name]) for f in dataclasses.fields(Policy) if f.name not in settings}
    return st.builds(Policy, **settings, **others)


def another_value(setting: Setting) -> Any:
    """Return a value that is not the setting's default."""
    if issubclass(setting.kind, StrEnum):
        return next(choice for choice in reversed(setting.kind) if choice != setting.default)
    assert setting.range is not None
    inside = setting.range.low + (setting.range.high - setting.range.low) / 8
    value = int(inside) if setting.kind is int else inside
    assert value != setting.default
    return value


def options_of(policy: Policy) -> dict[str, Any]:
    """Return the settings of a policy as the client takes them."""
    values = {setting.name: getattr(policy, setting.name) for setting in POLICY_SETTINGS}
    return {name: value.lower() if isinstance(value, StrEnum) else value for name, value in values.items()}
