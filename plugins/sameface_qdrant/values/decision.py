"""Probes, and the decisions about them."""

from dataclasses import dataclass
from enum import StrEnum

from sameface_qdrant.values.contract import Contract
from sameface_qdrant.values.vectors import Vector


class Outcome(StrEnum):
    """What a decision says."""

    MATCH = "MATCH"
    AMBIGUOUS = "AMBIGUOUS"
    NO_MATCH = "NO_MATCH"


class Scope(StrEnum):
    """What a verification looks at: the claimed identity alone, or its lead over the whole gallery as well."""

    CLAIM = "CLAIM"
    GALLERY = "GALLERY"


class ThresholdSource(StrEnum):
    """Where the threshold of a decision came from; the first that exists wins, in this order."""

    REQUEST = "REQUEST"
    IDENTITY = "IDENTITY"
    GALLERY = "GALLERY"
    MODEL_CARD = "MODEL_CARD"


@dataclass(frozen=True, slots=True)
class Probe:
    """The embedding being compared. ``vector`` need not be normalised."""

    vector: Vector
    contract: Contract


@dataclass(frozen=True, slots=True)
class Candidate:
    """An identity with its fused score (maximum over its templates)."""

    identity: str
    score: float
    template: str
    """Id of the template that gave the score."""
    display_name: str = ""


@dataclass(frozen=True, slots=True)
class Decision:
    """An outcome with every number it rests on. Scores are cosines, −1..1."""

    outcome: Outcome
    score: float | None
    """Score of the claim (verification) or of the best identity (identification); None in an empty gallery."""
    threshold: float
    threshold_source: ThresholdSource
    target_attained: bool | None
    """False where no operating point of the model card is strict enough for the policy's target (FMR, or FPIR at this
    gallery size): the strictest one decided, and errors will be more frequent than aimed for. None where the threshold
    was set and not looked up."""
    margin: float
    """Runner-up margin required."""
    lead: float | None
    """How far the deciding identity is ahead of the best other one; None where there is no other.
    Negative when another identity is nearer than the claim."""
    policy_revision: int
    gallery_size: int
    """Identities in the gallery when the decision was made."""
    scope: Scope
    threshold_stale: bool = False
    """Whether the gallery has doubled since the threshold was calibrated (identification): calibrate it again."""
    candidates: tuple[Candidate, ...] = ()
    """Best first. For a verification: the claim and, with scope GALLERY, the best other identity."""

    @property
    def squared_distance(self) -> float | None:
        """FaceNet's squared L2 distance between unit vectors, d² = 2 − 2·score (Schroff et al. 2015, section 3)."""
        return None if self.score is None else 2.0 - 2.0 * self.score
