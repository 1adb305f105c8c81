"""The rule that names the default version of the embedder."""

from collections.abc import Iterable

from sameface.inference.card_figures import Evaluation
from sameface.inference.cards import EMBEDDER, ModelCard

FMRS = (1e-4, 1e-5)


def default_version(cards: Iterable[ModelCard]) -> int:
    """Return the version that is the default of new galleries.

    It is one of `face_embedder`, which runs everywhere, whose licence restricts nothing and that was evaluated. Among
    them it has the lowest sum of FNIR at FPIR 1 % and FNMR at FMR 1e-4 and 1e-5, where every identity counts the same.

    Raises:
        ValueError: no version may be the default.
    """
    allowed = {
        card.version: errors(card.evaluation)
        for card in cards
        if card.model == EMBEDDER and not card.licence.restriction and card.evaluation is not None
    }
    if not allowed:
        raise ValueError(
            f"no version of {EMBEDDER} has a licence without a restriction and an evaluation; measure them with "
            "python -m benchmarks versions --write"
        )
    return min(allowed, key=lambda version: (allowed[version], version))


def errors(found: Evaluation) -> float:
    """Return the sum of the error rates that the rule compares."""
    by_fmr = {one.fmr: one.fnmr_by_identity.value for one in found.fnmr}
    return found.fnir.value + sum(by_fmr[fmr] for fmr in FMRS)
