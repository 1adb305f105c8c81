"""What the guards of a policy find about a template at enrolment."""

from dataclasses import dataclass
from enum import StrEnum


class FindingKind(StrEnum):
    """What a guard found about a template."""

    COLLISION = "COLLISION"
    """Its score with another identity reaches the threshold: one person under two ids, or two similar people."""
    DUPLICATE = "DUPLICATE"
    """The same photo or embedding is enrolled already, under this identity or another one."""
    OUTLIER = "OUTLIER"
    """Its best score with the identity's other templates is below the threshold: another person's photo, or a bad one.
    """
    REPLACED = "REPLACED"
    """The identity was full, so this template of it was removed."""
    NOT_CHECKED = "NOT_CHECKED"
    """The guard could not check, because no threshold is known."""


@dataclass(frozen=True, slots=True)
class Finding:
    """What a guard found. It is not stored. It may name another identity, so do not show it to everybody."""

    kind: FindingKind
    identity: str
    template: str
    """Empty for an outlier, which concerns all templates of the identity."""
    score: float | None = None
    threshold: float | None = None
