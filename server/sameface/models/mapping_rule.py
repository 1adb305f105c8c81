"""The rule by which a template map is a default: one that migrations take, and that may come with the package. Pure."""

from sameface.evaluation.compatibility import JUDGED
from sameface.evaluation.model_comparison import Verdict
from sameface.inference.map_cards import CombinationFigures, MapCard, MapEvaluation


def wins(evaluation: MapEvaluation) -> bool:
    """Return whether the figures of a map are good enough for a default.

    In no figure of `JUDGED` it is shown to be worse than the old version alone, and most of them are lower.
    """
    return not _worse(evaluation) and 2 * figures_lower(evaluation) > len(JUDGED)


def doubts(evaluation: MapEvaluation) -> tuple[str, ...]:
    """Return why a map is no default, in sentences; empty if it `wins`, by judges who support every figure of `JUDGED`.

    Few judges show nothing: by them a useless map is not shown to be worse, and its figures are lower by chance.
    """
    told = []
    if worse := _worse(evaluation):
        places = [JUDGED.index(name) for name in worse]
        old, mapped = _judged(evaluation.old), _judged(evaluation.mapped)
        rates = (f"{JUDGED[at]} {100 * mapped[at]:.2f} % instead of {100 * old[at]:.2f} %" for at in places)
        told.append(f"decisions are worse than by the old version alone: {', '.join(rates)}")
    if (lower := figures_lower(evaluation)) * 2 <= len(JUDGED):
        told.append(
            f"only {lower} of {len(JUDGED)} figures that decide are lower than by the old version alone; "
            f"{len(JUDGED) // 2 + 1} are needed"
        )
    if lacking := [name for name in JUDGED if name in evaluation.unsupported]:
        told.append(
            f"{evaluation.samples} photos of {evaluation.identities} people are too few to support "
            f"{', '.join(lacking)}; judge it by more people"
        )
    return tuple(told)


def ruled(card: MapCard, *, accept_worse: bool = False) -> MapCard:
    """Return a card that says what the rule makes of its figures.

    A map with doubts is no default, unless ``accept_worse`` is given.
    """
    told = doubts(card.evaluation)
    return card.model_copy(update={"doubts": told, "is_default": accept_worse or not told})


def figures_lower(evaluation: MapEvaluation) -> int:
    """Return how many figures of `JUDGED` are lower for mapped templates than for the old version alone."""
    both = zip(_judged(evaluation.old), _judged(evaluation.mapped), strict=True)
    return sum(mapped < old for old, mapped in both)


def _worse(evaluation: MapEvaluation) -> list[str]:
    return [name for name in JUDGED if evaluation.against_old[name] == Verdict.WORSE]


def _judged(figures: CombinationFigures) -> tuple[float, ...]:
    """Return the figures of `JUDGED`, in their order."""
    fnmr = {point.fmr: point.fnmr_by_identity.value for point in figures.fnmr}
    return fnmr[1e-4], fnmr[1e-5], figures.fnir.value
