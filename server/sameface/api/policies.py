"""Translates policies to protos and back. The fields have the same names on both sides. Pure functions."""

import dataclasses
from collections.abc import Iterable, Sequence
from enum import StrEnum
from typing import Any, cast

from sameface.api.choices import choice_from
from sameface.enums import full_name
from sameface.v1 import gallery_pb2
from sameface_qdrant.policy import check_policy
from sameface_qdrant.values.gallery import POLICY_SETTINGS, GuardAction, OperatingPoint, Policy, PolicyChanges

_FIELDS: Any = gallery_pb2.Policy.DESCRIPTOR.fields_by_name
DEFAULTS = Policy(on_collision=GuardAction.REJECT)
"""The defaults of the service. Those of the plugin, which knows no model card and so no threshold, only warn of a
collision."""


def policy_to(policy: Policy) -> gallery_pb2.Policy:
    """Return the proto of a policy."""
    values = {field.name: getattr(policy, field.name) for field in dataclasses.fields(policy)}
    for name, value in values.items():
        if isinstance(value, StrEnum):
            values[name] = full_name(_FIELDS[name].enum_type, value)
    return gallery_pb2.Policy(**values)


def policy_from(message: gallery_pb2.Policy) -> Policy:
    """Return a policy with the settings of a message. A setting that is absent or unspecified gets its default, see
    `DEFAULTS`.

    Raises:
        InvalidArgument: a setting is out of range, or has an enum value that this version does not define.
    """
    values: dict[str, Any] = {}
    for setting in POLICY_SETTINGS:
        value = getattr(message, setting.name)
        if issubclass(setting.kind, StrEnum):
            value = choice_from(value, _FIELDS[setting.name].enum_type, setting.kind, setting.name)
        if message.HasField(setting.name) and value is not None:
            values[setting.name] = value
    return check_policy(dataclasses.replace(DEFAULTS, **values))


def new_policy_from(message: gallery_pb2.Policy, operating_points: Sequence[OperatingPoint]) -> Policy:
    """Return the policy of a new gallery under a model card with these points.

    Raises:
        InvalidArgument: see `policy_from`.
    """
    policy = policy_from(message)
    if message.on_collision:
        return policy
    return dataclasses.replace(policy, on_collision=default_on_collision(policy, operating_points))


def default_on_collision(policy: Policy, operating_points: Sequence[OperatingPoint]) -> GuardAction:
    """Return what a gallery does with a collision unless its policy says so.

    Where no threshold is known, REJECT would refuse every enrolment. So it is WARN there.
    """
    known = operating_points or policy.collision_threshold is not None or policy.identify_threshold is not None
    return DEFAULTS.on_collision if known else GuardAction.WARN


def set_settings(message: gallery_pb2.Policy) -> PolicyChanges:
    """Return the settings that a message has.

    Raises:
        InvalidArgument: see `policy_from`.
    """
    return policy_changes(message, [setting.name for setting in POLICY_SETTINGS if message.HasField(setting.name)])


def policy_changes(message: gallery_pb2.Policy, fields: Iterable[str]) -> PolicyChanges:
    """Return the settings that ``fields`` names. A setting that is absent in the message gets its default.

    Raises:
        InvalidArgument: see `policy_from`, which also checks the settings that are not named.
    """
    policy = policy_from(message)
    return cast(PolicyChanges, {name: getattr(policy, name) for name in fields})
