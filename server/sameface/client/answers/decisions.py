"""Decisions, and the answers that hold them."""

from typing import ClassVar

from sameface.client.answer import Answer, Judged, reads
from sameface.client.answers.faces import Face
from sameface.client.enums import EmbeddingOrigin, Outcome, RenewalState, Scope, ThresholdSource
from sameface.client.errors import ServiceError
from sameface.resource_names import last_part
from sameface.v1 import decision_pb2, face_service_pb2


@reads(decision_pb2.Candidate)
class Candidate(Answer):
    """An identity with its score, the highest score of its templates."""

    identity: str
    """``galleries/{gallery}/identities/{identity}``"""
    display_name: str
    """The identity's display name, if it has one."""
    score: float
    """Cosine similarity, -1 to 1; greater means more alike. It is not a probability."""
    template: str
    """The template with this score."""
    embedding_origin: EmbeddingOrigin = EmbeddingOrigin.NATIVE
    """Origin of the template's embedding. Scores of different origins have different distributions; the order accounts
    for that."""

    @property
    def identity_id(self) -> str:
        """The id of the identity."""
        return last_part(self.identity)


@reads(decision_pb2.Renewal)
class Renewal(Answer):
    """A mapped template that a probe may replace after a match, see ``Policy.renew_on_match``."""

    template: str
    """The mapped template, ``galleries/{gallery}/identities/{identity}/templates/{template}``. It keeps its name."""
    state: RenewalState
    """What became of it."""
    score: float | None
    """Score of the probe with this template. None for callers who may not know scores."""
    required_score: float
    """Lowest score that allows a renewal: the threshold of mapped templates and ``Policy.renewal_margin``."""
    reason: str
    """Why it was refused: the reason of an error, such as IDENTITY_COLLISION. Empty otherwise."""


@reads(decision_pb2.Decision)
class Decision(Judged):
    """An outcome with every number behind it."""

    outcome: Outcome
    """The outcome."""
    score: float | None
    """Cosine similarity of the claim (verification) or of the best identity (identification), -1 to 1. None in an
    empty gallery, and for callers who may not know scores (docs/roles.md). FaceNet's squared L2 distance between
    the same unit vectors is 2 - 2 * score."""
    threshold: float
    """The lowest score that accepts."""
    threshold_source: ThresholdSource
    """Where the threshold came from."""
    lead: float | None
    """Score of the claim (or of the best identity) minus the score of the best other identity. Negative if the
    other one is nearer. None if there is no other identity, if the scope is CLAIM, or if the caller may not know
    scores."""
    runner_up_margin: float
    """The required lead."""
    scope: Scope
    """The scope that was applied in a verification."""
    policy_revision: int
    """Revision of the gallery's policy that was applied."""
    gallery_size: int
    """Number of identities in the gallery at that moment."""
    target_attained: bool | None
    """Only for a threshold of the model card: whether an operating point reaches the policy's target (its FMR, or
    its FPIR at this gallery size). If false, the strictest operating point was used, and false matches will be more
    frequent than the target. None for every other threshold."""
    threshold_stale: bool
    """Whether the gallery has at least doubled since its identification threshold was calibrated. If so, calibrate
    again."""
    candidates: tuple[Candidate, ...]
    """Best first. A verification lists the claim and, with scope GALLERY, the best other identity. Empty for
    callers who may not know scores."""
    embedding_origin: EmbeddingOrigin = EmbeddingOrigin.NATIVE
    """Origin of the template that gave ``score``. ``threshold`` is one for this origin. If the two best identities have
    templates of different origins, ``lead`` is the difference of their distances to their thresholds."""
    renewal: Renewal | None = None
    """The mapped template that the probe may replace, or has replaced. None if there is none, or the policy's
    ``renew_on_match`` is off. Callers who may not know scores are told of a replaced one alone."""

    @property
    def matched(self) -> bool:
        """Whether the outcome is MATCH: the one outcome that lets somebody in."""
        return self.outcome == Outcome.MATCH

    def __str__(self) -> str:
        score = "" if self.score is None else f"score {self.score:.3f}, "
        lead = "" if self.lead is None else f", lead {self.lead:.3f}"
        return f"{self.outcome}: {score}threshold {self.threshold:.3f} ({self.threshold_source}){lead}"


@reads(face_service_pb2.VerifyFaceResponse)
class Verification(Judged):
    """The answer to a claim (1:1)."""

    decision: Decision
    """The decision."""
    face: Face | None
    """The face that was compared; None for an embedding."""

    @property
    def matched(self) -> bool:
        """Whether the outcome is MATCH."""
        return self.decision.matched


@reads(face_service_pb2.CompareFacesResponse)
class Comparison(Judged):
    """The answer to a comparison of two samples."""

    decision: Decision
    """The decision, with scope CLAIM and no candidates."""
    first_face: Face | None
    """The face of the first photo; None for an embedding."""
    second_face: Face | None
    """The face of the second photo; None for an embedding."""

    @property
    def matched(self) -> bool:
        """Whether the outcome is MATCH."""
        return self.decision.matched


@reads(face_service_pb2.IdentifyFacesResponse.IdentifiedFace)
class IdentifiedFace(Judged):
    """A face with its decision."""

    decision: Decision | None
    """The decision; None if the quality gate rejected the face (only with ``all_faces``)."""
    face: Face | None
    """The face; None for an embedding."""

    @property
    def matched(self) -> bool:
        """Whether there is a decision, and its outcome is MATCH."""
        return self.decision is not None and self.decision.matched


@reads(face_service_pb2.IdentifyFacesResponse)
class Identification(Judged):
    """The answer to a search for the identity of a sample (1:N)."""

    _said_by: ClassVar[str] = "faces[0].matched"

    faces: tuple[IdentifiedFace, ...]
    """One entry for the selected face; with ``all_faces``, one for each face."""
    faces_found: int
    """With ``all_faces``: how many faces were found in the photo. More than the length of ``faces`` if the list was
    cut."""


@reads(face_service_pb2.StreamIdentifyFacesResponse)
class StreamAnswer(Judged):
    """The answer to one sample of a stream."""

    _said_by: ClassVar[str] = "faces[0].matched"

    tag: str
    """The sample's tag."""
    index: int
    """Number of the sample in the stream, from 0."""
    faces: tuple[IdentifiedFace, ...]
    """As in Identification; empty if ``error`` is set."""
    error: ServiceError | None
    """Why this sample was not identified: any error of IdentifyFaces, with the same details."""
    faces_found: int
    """As in Identification."""
