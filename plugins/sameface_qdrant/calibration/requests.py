"""What a calibration, or a what-if, is asked for, and the templates that it compares."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sameface_qdrant.calibration.inputs import Cohort
from sameface_qdrant.calibration.what_if import RecordedDecisions
from sameface_qdrant.errors import InvalidArgument
from sameface_qdrant.metrics.comparisons import Comparisons
from sameface_qdrant.metrics.cross_comparison import MAX_COMPARISONS
from sameface_qdrant.values.columns import check_least
from sameface_qdrant.values.decision import Operation, Scope
from sameface_qdrant.values.display import brief
from sameface_qdrant.values.origin import EmbeddingOrigin

MAX_TEMPLATES = 10_000
"""The most templates that are read. A larger gallery is calibrated on a sample of its identities."""
MAX_TEMPLATES_OF_ONE = 1_000
"""The most templates of one identity that are read."""


@dataclass(frozen=True, slots=True)
class CalibrationOptions:
    """What `sameface_qdrant.Store.calibrate` and `sameface_qdrant.Attached.calibrate` were asked for."""

    apply: bool = False
    accept_supported: bool = False
    operation: Operation | None = None
    comparisons: Comparisons | None = None
    cohort: Cohort | None = None
    author: str = ""
    max_comparisons: int = MAX_COMPARISONS
    seed: int = 0
    origin: EmbeddingOrigin = EmbeddingOrigin.NATIVE
    """The templates whose thresholds are measured."""

    def __post_init__(self) -> None:
        """Check them.

        Raises:
            InvalidArgument: both scores and a cohort are given, ``max_comparisons`` is below 1, or ``seed`` below 0.
        """
        if self.comparisons is not None and self.cohort is not None:
            raise InvalidArgument("scores and a cohort were given; give one of them", metadata={"field": "cohort"})
        check_least(self.max_comparisons, 1, "max_comparisons")
        check_least(self.seed, 0, "seed")


@dataclass(frozen=True, slots=True)
class SettingChanges:
    """The setting that a what-if tries. None keeps the policy's value."""

    threshold: float | None = None
    margin: float | None = None
    scope: Scope | None = None
    """Of verifications; None is GALLERY."""
    decisions: RecordedDecisions | None = None
    """Decisions to decide again, from `recorded_decisions`; None compares the gallery's templates."""


@dataclass(frozen=True, slots=True)
class GalleryTemplates:
    """Templates of a gallery, read to be compared."""

    __repr__ = brief

    vectors: NDArray[np.float32]
    """[templates, dimension], unit L2 norm."""
    identities: Sequence[str]
    """[templates] The identity of each."""
    in_use: int
    """How many templates the gallery has. More than were read, if a limit left some out; the others are a sample of
    identities."""
    growth_within: float = 1.0
    """How many times more templates an identity that was read has than were read of it, at most; 1 if each identity has
    all of its templates."""
    unusable: int = 0
    """How many were left out, because their embedding is not finite or has zero norm."""
    mapped: NDArray[np.bool_] | None = None
    """[templates] Which of them a template map made; None if none."""

    @property
    def growth(self) -> float:
        """How many times more templates the gallery has than were read; 1 if all were."""
        return max(1.0, self.in_use / max(1, len(self.identities)))
