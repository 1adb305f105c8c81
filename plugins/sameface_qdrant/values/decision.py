"""Probes, and the decisions about them."""

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Generic

from numpy.typing import ArrayLike

from sameface_qdrant.values.contract import Contract
from sameface_qdrant.values.display import brief
from sameface_qdrant.values.frames import to_frame
from sameface_qdrant.values.origin import EmbeddingOrigin

if TYPE_CHECKING:
    import pandas

    # A type variable has a default from Python 3.13 on.
    from typing_extensions import TypeVar

    Id = TypeVar("Id", bound=str | int, default=str)
else:
    from typing import TypeVar

    Id = TypeVar("Id", bound=str | int)


class Outcome(StrEnum):
    """What a decision says."""

    MATCH = "MATCH"
    AMBIGUOUS = "AMBIGUOUS"
    NO_MATCH = "NO_MATCH"


class Operation(StrEnum):
    """What a threshold is for."""

    VERIFICATION = "VERIFICATION"
    """1:1, a claim."""
    IDENTIFICATION = "IDENTIFICATION"
    """1:N, a search."""


class Scope(StrEnum):
    """CLAIM compares with the claimed identity alone. GALLERY also requires its lead over all other identities."""

    CLAIM = "CLAIM"
    GALLERY = "GALLERY"


class ThresholdSource(StrEnum):
    """Where the threshold of a decision came from. The first source that has one is used, in this order."""

    REQUEST = "REQUEST"
    IDENTITY = "IDENTITY"
    GALLERY = "GALLERY"
    MODEL_CARD = "MODEL_CARD"
    TEMPLATE_MAP = "TEMPLATE_MAP"
    """In place of the model card, for a mapped template."""


@dataclass(frozen=True, slots=True)
class Probe:
    """The embedding being compared. ``vector`` need not be normalised."""

    __repr__ = brief

    vector: ArrayLike
    """Shape [dimension]: an array of any type of real numbers, a list, a tuple, or a tensor that numpy can read."""
    contract: Contract


class RenewalState(StrEnum):
    """What became of the renewal of a mapped template after a match."""

    PROPOSED = "PROPOSED"
    """Nothing was written. The probe may replace the template, if the guards allow it."""
    RENEWED = "RENEWED"
    """The probe's embedding has replaced the mapped one."""
    REFUSED = "REFUSED"
    """The mapped template stays; ``reason`` says why."""


@dataclass(frozen=True, slots=True)
class Renewal:
    """A mapped template that a probe may replace, or has replaced."""

    __repr__ = brief

    identity: str
    template: str
    """Id of the mapped template. A renewed one keeps it."""
    score: float
    """The probe's score with this very template."""
    required: float
    """The lowest score that allows a renewal: the mapped threshold and the policy's ``renewal_margin``."""
    state: RenewalState = RenewalState.PROPOSED
    reason: str = ""
    """Why it was refused; else empty."""


@dataclass(frozen=True, slots=True)
class Candidate(Generic[Id]):
    """An identity with its fused score (maximum over its templates)."""

    __repr__ = brief

    identity: Id
    """In a collection that another program made it may be a whole number."""
    score: float
    template: str
    """Id of the template that gave the score."""
    display_name: str = ""
    embedding_origin: EmbeddingOrigin = EmbeddingOrigin.NATIVE
    """That of the template. Scores of different origins are not comparable; the order accounts for it."""


@dataclass(frozen=True, slots=True)
class Decision(Generic[Id]):
    """An outcome with the numbers that it was made from. Scores are cosines, −1..1."""

    __repr__ = brief

    outcome: Outcome
    score: float | None
    """Score of the claim (verification) or of the best identity (identification); None in an empty gallery."""
    threshold: float
    threshold_source: ThresholdSource
    target_attained: bool | None
    """False if no operating point of the model card is strict enough for the policy's target (FMR, or FPIR at this
    gallery size). The strictest point was used then, and errors are more frequent than the target. None if no operating
    point was used."""
    margin: float
    """Runner-up margin required."""
    lead: float | None
    """The score minus that of the best other identity; None if no other identity was compared. Negative if another
    identity is nearer than the claim."""
    policy_revision: int
    gallery_size: int
    """Identities in the gallery when the decision was made."""
    scope: Scope
    threshold_stale: bool = False
    """True if the gallery has doubled since its identification threshold was calibrated: calibrate it again."""
    candidates: tuple[Candidate[Id], ...] = ()
    """Best first. For a verification: the claim and, with scope GALLERY, the best other identity."""
    embedding_origin: EmbeddingOrigin = EmbeddingOrigin.NATIVE
    """The origin of the template that gave ``score``. ``threshold`` is one for this origin. If the two best identities
    have templates of different origins, ``lead`` is the difference of their distances to their thresholds."""
    renewal: Renewal | None = None
    """The mapped template that this probe may replace by the policy's ``renew_on_match``; None if there is none."""

    def to_frame(self) -> "pandas.DataFrame":
        """Return a table with a row for each candidate, best first. For many decisions see `to_frame`.

        Raises:
            ImportError: pandas is not installed.
        """
        return to_frame(self.candidates)

    @property
    def matched(self) -> bool:
        """Whether the outcome is MATCH. AMBIGUOUS and NO_MATCH both match nobody."""
        return self.outcome is Outcome.MATCH

    @property
    def squared_distance(self) -> float | None:
        """FaceNet's squared L2 distance between unit vectors, d² = 2 − 2·score (Schroff et al. 2015, section 3)."""
        return None if self.score is None else 2.0 - 2.0 * self.score
