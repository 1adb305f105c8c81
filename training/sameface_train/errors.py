"""The errors of training. Each says what was given, what was expected and what to do."""

from sameface_qdrant.errors import InvalidArgument, SamefaceError


class TrainingError(SamefaceError):
    """Base of the errors of training."""

    reason = "TRAINING_REFUSED"


class UnusableData(TrainingError):
    """The data cannot be trained on: no identity with two samples, unreadable files, no face."""

    reason = "UNUSABLE_DATA"


class UnreadablePhoto(InvalidArgument):
    """A photo cannot be read. It is left out and listed."""

    reason = "UNREADABLE"


class LeakedData(TrainingError):
    """Training data and test data share images or identities."""

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
    """A network cannot be exported within the tensor contract, or the export differs from the trained network."""

    reason = "WRONG_EXPORT"
