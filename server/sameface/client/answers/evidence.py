"""What a calibration or a what-if can be given."""

from dataclasses import field

from sameface.client.answer import Answer, reads
from sameface.client.answers.faces import Contract
from sameface.v1 import calibration_pb2


@reads(calibration_pb2.LabelledScores)
class LabelledScores(Answer):
    """Scores that are known to be mated or non-mated, as columns of the same length."""

    scores: tuple[float, ...] = field(repr=False)
    """Cosines, -1 to 1. At most 1,000,000."""
    first: tuple[int, ...] = field(repr=False)
    """The person on one side of each comparison. The caller chooses the numbers; the same number means the same
    person."""
    second: tuple[int, ...] = field(repr=False)
    """The person on the other side. A comparison is mated if both numbers are equal."""
    leads: tuple[float, ...] = field(default=(), repr=False)
    """The score of each claim minus the score of the best other identity; NaN if there was no other identity. With
    leads the runner-up margin can be measured. Empty if they are not known."""


@reads(calibration_pb2.Cohort.Member)
class CohortMember(Answer):
    """One embedding."""

    identity: str
    """The person: any text that is not an id of the gallery. Two embeddings of one person give a mated comparison."""
    values: tuple[float, ...] = field(repr=False)
    """As many numbers as the contract's dimension. They need not be normalised."""


@reads(calibration_pb2.Cohort)
class Cohort(Answer):
    """Embeddings of people who are not in the gallery. The server compares them and does not store them."""

    contract: Contract
    """The contract of the embeddings. It must be the gallery's."""
    members: tuple[CohortMember, ...]
    """At most 10,000."""


@reads(calibration_pb2.RecordedDecisions)
class RecordedDecisions(Answer):
    """Past decisions, as columns of the same length. Optional columns may be empty."""

    scores: tuple[float, ...] = field(repr=False)
    """Score of the claim or of the best identity, -1 to 1. At most 1,000,000."""
    leads: tuple[float, ...] = field(default=(), repr=False)
    """Lead over the next identity; NaN if there was none."""
    mated: tuple[bool, ...] = field(default=(), repr=False)
    """Whether the probe shows the claimed or best identity. Without this column only outcomes are counted."""
    first: tuple[int, ...] = field(default=(), repr=False)
    """The person of the probe, as a number that the caller chooses. With ``second``, error rates get intervals."""
    second: tuple[int, ...] = field(default=(), repr=False)
    """The person of the template."""
