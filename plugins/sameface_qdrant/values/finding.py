"""What the guards of a policy find about a template at enrolment."""

from dataclasses import dataclass
from enum import StrEnum


class FindingKind(StrEnum):
    """What a guard found about a template."""

    COLLISION = "COLLISION"
    """Another identity is at least as like it as the threshold: one person under two ids, or two people alike."""
    DUPLICATE = "DUPLICATE"
    """The same photo or embedding is enrolled already, under this identity or another one."""
    OUTLIER = "OUTLIER"
    """The identity's other templates are less like it than the threshold: another person's photo, or a bad one."""
    REPLACED = "REPLACED"
    """The identity was full; this template of it gave way."""
    NOT_CHECKED = "NOT_CHECKED"
    """No threshold is known to check against."""


@dataclass(frozen=True, slots=True)
class Finding:
    """What a guard found. Not stored. Of another identity's: not for everybody to see."""

    kind: FindingKind
    identity: str
    template: str
    """Empty for an outlier: it is about all of them."""
    score: float | None = None
    threshold: float | None = None
