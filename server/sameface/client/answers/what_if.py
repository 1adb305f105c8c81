"""What another threshold or margin would change."""

from sameface.client.answer import Answer, reads
from sameface.client.answers.calibrations import ConfidenceInterval
from sameface.client.enums import Outcome
from sameface.v1 import calibration_pb2, gallery_service_pb2


@reads(calibration_pb2.SettingOutcomes.ErrorRate)
class ErrorRate(Answer):
    """An error rate."""

    errors: int
    """Number of errors."""
    trials: int
    """Number of decisions that could be errors."""
    interval: ConfidenceInterval | None
    """Interval of errors / trials. None if it is not known who was compared."""


@reads(calibration_pb2.SettingOutcomes)
class SettingOutcomes(Answer):
    """Outcomes under one threshold and margin."""

    threshold: float
    """Lowest score that accepts."""
    runner_up_margin: float
    """Required lead."""
    matches: int
    """Decisions that are MATCH."""
    ambiguous: int
    """Decisions that are AMBIGUOUS. Nobody is accepted."""
    no_matches: int
    """Decisions that are NO_MATCH."""
    false_matches: ErrorRate | None
    """Share of non-mated decisions that are MATCH: the FMR, or for searches the FPIR. None if no decision is
    labelled non-mated."""
    false_non_matches: ErrorRate | None
    """Share of mated decisions that are not MATCH: the FNMR, or for searches the FNIR. None if no decision is
    labelled mated."""


@reads(calibration_pb2.OutcomeTransition)
class OutcomeTransition(Answer):
    """How many decisions change from one outcome to another."""

    before: Outcome
    """Outcome under the present policy."""
    after: Outcome
    """Outcome under the other setting."""
    count: int
    """Number of decisions."""


@reads(gallery_service_pb2.WhatIfGalleryResponse)
class WhatIf(Answer):
    """What another threshold or margin would change."""

    before: SettingOutcomes
    """Outcomes under the present policy."""
    after: SettingOutcomes
    """Outcomes under the other threshold or margin."""
    transitions: tuple[OutcomeTransition, ...]
    """Transitions that occur at least once."""
