"""A gallery's policy on the command line: its options, and how it is shown."""

from enum import StrEnum
from typing import Annotated, Any

import typer

from sameface.client.options import GuardActionName, WhenFullName
from sameface.v1 import gallery_pb2

VerifyThreshold = Annotated[float | None, typer.Option(help="lowest score that accepts a claim", show_default=False)]
IdentifyThreshold = Annotated[float | None, typer.Option(help="lowest score that identifies", show_default=False)]
RunnerUpMargin = Annotated[float | None, typer.Option(help="required lead over the runner-up", show_default=False)]
TargetFmr = Annotated[float | None, typer.Option(help="false match rate to aim for", show_default=False)]
TargetFpir = Annotated[
    float | None, typer.Option(help="false positive identification rate to aim for", show_default=False)
]
MaxTemplates = Annotated[int | None, typer.Option(help="most templates per identity, 1 to 64", show_default=False)]
WhenFull = Annotated[
    WhenFullName | None, typer.Option(help="which template gives way to one too many", show_default=False)
]
OnCollision = Annotated[
    GuardActionName | None, typer.Option(help="a template that another identity is like", show_default=False)
]
CollisionThreshold = Annotated[
    float | None, typer.Option(help="lowest score against another identity that counts", show_default=False)
]
OnDuplicate = Annotated[
    GuardActionName | None, typer.Option(help="a photo that is enrolled already", show_default=False)
]
OnOutlier = Annotated[
    GuardActionName | None, typer.Option(help="a template unlike its identity's others", show_default=False)
]
OutlierThreshold = Annotated[
    float | None, typer.Option(help="lowest score against its own identity that is near enough", show_default=False)
]


class PolicyField(StrEnum):
    """A field of a gallery's policy, as its option is called."""

    VERIFY_THRESHOLD = "verify-threshold"
    IDENTIFY_THRESHOLD = "identify-threshold"
    RUNNER_UP_MARGIN = "runner-up-margin"
    TARGET_FMR = "target-fmr"
    TARGET_FPIR = "target-fpir"
    MAX_TEMPLATES = "max-templates"
    WHEN_FULL = "when-full"
    ON_COLLISION = "on-collision"
    COLLISION_THRESHOLD = "collision-threshold"
    ON_DUPLICATE = "on-duplicate"
    ON_OUTLIER = "on-outlier"
    OUTLIER_THRESHOLD = "outlier-threshold"


POLICY_FIELDS = tuple(field.replace("-", "_") for field in PolicyField)
ABSENT = dict.fromkeys(POLICY_FIELDS, "default") | {
    "verify_threshold": "from the model card",
    "identify_threshold": "from the model card",
    "collision_threshold": "the identification threshold",
    "outlier_threshold": "the verification threshold",
}
_ENUMS = {
    "when_full": ("WHEN_FULL_", gallery_pb2.WhenFull),
    **dict.fromkeys(("on_collision", "on_duplicate", "on_outlier"), ("GUARD_ACTION_", gallery_pb2.GuardAction)),
}


def policy_options(*values: float | int | str | None) -> dict[str, Any]:
    """Return the options that were given, in the order of `POLICY_FIELDS`, as the client takes them."""
    return {field: value for field, value in zip(POLICY_FIELDS, values, strict=True) if value is not None}


def policy_text(policy: gallery_pb2.Policy, field: str, absent: str = "–") -> str:
    """Return a field of a policy for people."""
    if not policy.HasField(field):
        return absent
    value = getattr(policy, field)
    if field in _ENUMS:
        prefix, enum = _ENUMS[field]
        return str(enum.Name(value).removeprefix(prefix).lower())
    return f"{value:g}"
