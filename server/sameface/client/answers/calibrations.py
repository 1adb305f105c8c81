"""Measured thresholds."""

from dataclasses import field

from sameface.client.answer import Answer, reads
from sameface.client.answers.galleries import Gallery
from sameface.client.enums import Method, Operation, Scope, Source
from sameface.v1 import calibration_pb2, gallery_service_pb2


@reads(calibration_pb2.ConfidenceInterval)
class ConfidenceInterval(Answer):
    """A confidence interval of a rate."""

    low: float
    """0 to 1."""
    high: float
    """0 to 1."""


@reads(calibration_pb2.MeasuredThreshold)
class MeasuredThreshold(Answer):
    """A threshold for a target rate, with its error rates on the comparisons that it was measured on."""

    target: float
    """Target FMR for verification, target FPIR for identification."""
    supported: float
    """The lowest rate that the comparisons support. If it is above ``target``, the threshold is for this rate
    instead."""
    threshold: float
    """Lowest score that accepts."""
    rate: float
    """The measured FMR or FPIR at the threshold."""
    interval: ConfidenceInterval
    """Interval of ``rate``, from resampling people (not comparisons)."""
    method: Method
    """How the threshold was measured."""
    reason: str
    """Why this method was chosen, in words."""
    fmr: float
    """False match rate of a single comparison at the threshold."""
    fmr_interval: ConfidenceInterval
    """Interval of ``fmr``."""
    fnmr: float | None
    """False non-match rate at the threshold. None if there is no mated comparison."""
    fnmr_interval: ConfidenceInterval | None
    """Interval of ``fnmr``."""
    other_threshold: float | None
    """For identification: the threshold that the other method gives."""


@reads(calibration_pb2.Calibration.Curves)
class Curves(Answer):
    """Error rates over thresholds, and histograms of scores. Single scores are not included."""

    thresholds: tuple[float, ...] = field(repr=False)
    """Ascending, at most 512. Empty if there is no mated comparison."""
    fmr: tuple[float, ...] = field(repr=False)
    """FMR at each threshold."""
    fnmr: tuple[float, ...] = field(repr=False)
    """FNMR at each threshold."""
    edges: tuple[float, ...] = field(repr=False)
    """Edges of the histograms' 80 bins."""
    mated: tuple[int, ...] = field(repr=False)
    """Mated scores in each bin."""
    non_mated: tuple[int, ...] = field(repr=False)
    """Non-mated scores in each bin."""


@reads(calibration_pb2.ExpectedAnswer.Share)
class ExpectedShare(Answer):
    """A share of answers."""

    share: float
    """As measured, 0 to 1."""
    interval: ConfidenceInterval
    """Prediction interval, for another sample of ``Calibration.expected_probes`` probes of different people, or
    more."""


@reads(calibration_pb2.ExpectedAnswer)
class ExpectedAnswer(Answer):
    """How often one kind of call gives each outcome, under the thresholds and the margin of the calibration."""

    operation: Operation
    """Claims or searches."""
    scope: Scope
    """Scope of the claims; GALLERY for searches."""
    mated: bool
    """Claims: whether the probe is of the claimed identity. Searches: whether its person is enrolled. The person of a
    non-mated probe is not enrolled."""
    match: ExpectedShare
    """MATCH; for mated searches, MATCH of the right identity."""
    ambiguous: ExpectedShare
    """AMBIGUOUS."""
    no_match: ExpectedShare
    """NO_MATCH."""
    wrong_match: ExpectedShare | None
    """MATCH of another identity. Only for mated searches."""
    probes: int
    """How many calls it was measured on."""
    identities: int
    """How many people these were of."""


@reads(calibration_pb2.Calibration)
class Calibration(Answer):
    """Thresholds measured for a gallery, and the comparisons behind them."""

    verification: MeasuredThreshold
    """For the policy's ``target_fmr``."""
    identification: MeasuredThreshold
    """For the policy's ``target_fpir`` at the gallery's size."""
    gallery_size: int
    """Identities that a search compares with."""
    confidence: float
    """Confidence level of every interval and of ``supported``: 0.95."""
    source: Source
    """What was compared."""
    identities: int
    """People in the comparisons."""
    comparisons: int
    """Non-mated comparisons that were made."""
    possible_comparisons: int
    """Non-mated comparisons that are possible. If there are more than ``comparisons``, a random sample was compared."""
    effective_comparisons: float
    """How many independent comparisons would give the same precision."""
    mated_comparisons: int
    """Mated comparisons that were made."""
    mated_identities: int
    """People with at least one mated comparison."""
    searches: int
    """Searches for people who are not enrolled."""
    findings: tuple[str, ...]
    """Caveats about these numbers, in sentences."""
    curves: Curves
    """Curves and histograms to draw."""
    runner_up_margin: float | None
    """The runner-up margin for the policy's ``target_ambiguous``. None if no mated probe has a lead; the policy's
    margin then stays as it is."""
    ambiguous: float | None
    """Share of mated probes that are AMBIGUOUS with that margin, of claims or of searches, whichever is greater. If it
    is above ``target_ambiguous``, another identity is nearer too often for any margin. An upper limit if only a sample
    of the gallery was compared. None without ``runner_up_margin``."""
    expected_answers: tuple[ExpectedAnswer, ...]
    """What calls will answer once thresholds and margin are written. Kinds of calls that cannot be measured are left
    out."""
    expected_probes: int
    """Intervals of ``expected_answers`` are for another sample of this many probes of different people, or more."""


@reads(calibration_pb2.IdentityThresholds.Proposal)
class Proposal(Answer):
    """A threshold for one identity."""

    identity: str
    """``galleries/{gallery}/identities/{identity}``; for scores from the request, the caller's number."""
    verify_threshold: float
    """Lowest score that accepts a claim of this identity."""
    p_value: float
    """Probability of this many high impostor scores by chance, corrected for the number of identities tested."""
    impostors: int
    """People who were compared with it."""
    impostors_in_tail: int
    """How many of them have a score in the highest 1 % of the gallery's impostor scores."""


@reads(calibration_pb2.IdentityThresholds.ErrorRates)
class ErrorRates(Answer):
    """Error rates of a choice of thresholds."""

    fmr: float
    """False match rate of claims."""
    fmr_interval: ConfidenceInterval | None
    """Interval of ``fmr``."""
    fnmr: float | None
    """False non-match rate. None if there is no mated comparison."""


@reads(calibration_pb2.IdentityThresholds)
class IdentityThresholds(Answer):
    """Proposed thresholds for identities that impostors easily match ("lambs", Doddington et al. 1998). They are
    not applied: set them with UpdateIdentity."""

    proposals: tuple[Proposal, ...]
    """Lowest p-value first."""
    before: ErrorRates
    """With one threshold for all, on impostors who were not used to choose the proposals."""
    after: ErrorRates
    """With the proposals, on the same impostors."""
    raised: ErrorRates | None
    """With one threshold for all, raised until its FNMR is that of ``after``. None if there is no mated comparison."""


@reads(gallery_service_pb2.CalibrateGalleryResponse)
class CalibrationResult(Answer):
    """A calibration, and the gallery after it."""

    gallery: Gallery
    """The gallery, with its new policy unless ``validate_only`` is set."""
    calibration: Calibration
    """The measured thresholds and error rates."""
    identity_thresholds: IdentityThresholds | None
    """Proposed thresholds for single identities, if the request asks for them."""
