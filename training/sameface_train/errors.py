"""What training refuses, and why. Each error says what was given, what was expected and what to do."""

from sameface_qdrant.errors import InvalidArgument, SamefaceError


class TrainingError(SamefaceError):
    """Base of everything that training refuses."""

    reason = "TRAINING_REFUSED"


class UnusableData(TrainingError):
    """The data cannot be trained on: no identity with two samples, unreadable files, no face."""

    reason = "UNUSABLE_DATA"


class UnreadablePhoto(InvalidArgument):
    """The system does not let a photo be read; it is left out, and named."""

    reason = "UNREADABLE"


class LeakedData(TrainingError):
    """Training data holds what a later evaluation is judged on."""

    reason = "LEAKED_DATA"


class CollapsedRun(TrainingError):
    """The embeddings have shrunk to a point, or are no longer finite."""

    reason = "COLLAPSED_RUN"


class BusyRun(TrainingError):
    """Another process trains in the folder."""

    reason = "BUSY_RUN"


class WrongCheckpoint(TrainingError):
    """A checkpoint is damaged, or of another architecture, recipe or data than this run."""

    reason = "WRONG_CHECKPOINT"


class WrongExport(TrainingError):
    """A network cannot be written within the tensor contract, or does not equal what was trained."""

    reason = "WRONG_EXPORT"
