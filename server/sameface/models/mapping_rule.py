"""The rule by which template maps come with the package. Pure."""

from sameface.evaluation.compatibility import JUDGED
from sameface.evaluation.model_comparison import Verdict
from sameface.inference.map_cards import CombinationFigures, MapEvaluation


def wins(evaluation: MapEvaluation) -> bool:
    """Return whether a map is good enough to come with the package.

    In no figure of `JUDGED` it is shown to be worse than the old version alone, and most of them are lower.
    """
    worse = any(evaluation.against_old[name] == Verdict.WORSE for name in JUDGED)
    return not worse and 2 * figures_lower(evaluation) > len(JUDGED)


def figures_lower(evaluation: MapEvaluation) -> int:
    """Return how many figures of `JUDGED` are lower for mapped templates than for the old version alone."""
    both = zip(_judged(evaluation.old), _judged(evaluation.mapped), strict=True)
    return sum(mapped < old for old, mapped in both)


def _judged(figures: CombinationFigures) -> tuple[float, ...]:
    """Return the figures of `JUDGED`, in their order."""
    fnmr = {point.fmr: point.fnmr_by_identity.value for point in figures.fnmr}
    return fnmr[1e-4], fnmr[1e-5], figures.fnir.value
