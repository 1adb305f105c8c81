"""What is asked of an enrolment, and what became of it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from sameface_qdrant.errors import SamefaceError
from sameface_qdrant.values.display import brief
from sameface_qdrant.values.template import NewTemplate, Template


@dataclass(frozen=True, slots=True)
class Enrolment:
    """Templates to add to one identity, all or none."""

    __repr__ = brief

    identity: str
    templates: Sequence[NewTemplate]
    request_id: str = ""
    """A repeat with the same request id returns what the first one stored; without one, a repeat of the content does.
    """
    create_identity: bool = True
    """Whether the identity is made if it does not exist."""
    display_name: str = ""
    """This and the following fields are stored only if the identity is new."""
    labels: Mapping[str, str] = field(default_factory=dict)
    consent_reference: str = ""
    purpose: str = ""


@dataclass(frozen=True, slots=True)
class EnrolmentResult:
    """What became of one enrolment of many."""

    __repr__ = brief

    identity: str
    templates: tuple[Template, ...] = ()
    """The stored templates, in the order of the enrolment; empty if it failed."""
    error: SamefaceError | None = None
    """Why it failed. Nothing of it is stored then."""
