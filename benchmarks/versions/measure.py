"""Measures every version on the same photos, and compares each with the base and with version 2. Plain values."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from sameface.evaluation.dataset import Pair
from sameface.evaluation.model_comparison import check_same_samples, compare_figures
from sameface.evaluation.model_figures import FPIR, Figure, ModelFigures, further_figures, measure_model
from sameface.evaluation.operating_points import measure_operating_points
from sameface.evaluation.records import estimate_record, points_record, rounded_record
from sameface.evaluation.samples import Samples

FMRS = (1e-2, 1e-3, 1e-4, 1e-5)
OF_CARDS = 1e-3
"""The highest FMR of a card's evaluation."""
REFERENCES = (1, 2)
"""The base, and what was the default before."""
Record = dict[str, Any]


def measure_versions(
    samples: Mapping[int, Samples],
    pairs: Sequence[Pair],
    measured_on: str,
    progress: Callable[[str], None],
    *,
    replicates: int = 1000,
    references: Sequence[int] = REFERENCES,
) -> dict[int, Record]:
    """Return the figures of every version, and their differences from those of ``references``.

    All versions have the same splits and resampled identities.

    Raises:
        InvalidArgument: two versions have other samples.
        NotEnoughData: the samples are too few.
    """
    first, *others = samples.values()
    for other in others:
        check_same_samples(first, other)
    found: dict[int, tuple[Figure, ...]] = {}
    cards: dict[int, Record] = {}
    verifications: dict[int, Record] = {}
    points: dict[int, list[Record]] = {}
    for number, one in samples.items():
        progress(f"version {number}: error rates")
        model = measure_model(one, pairs, fmrs=FMRS, replicates=replicates)
        found[number] = (*model.figures, *further_figures(model))
        cards[number] = evaluation(model, one, measured_on)
        verifications[number] = _verification(model)
        points[number] = _points(model, measured_on)
    return {
        number: {
            "evaluation": cards[number],
            "verification": verifications[number],
            "operating_points": points[number],
            "figures": {figure.name: _figure(figure) for figure in figures},
            "against": {
                str(reference): {
                    endpoint.name: {**_rounded(estimate_record(endpoint.difference)), "verdict": str(endpoint.verdict)}
                    for endpoint in compare_figures(found[reference], figures)
                }
                for reference in references
                if reference in found and reference != number
            },
        }
        for number, figures in found.items()
    }


def evaluation(model: ModelFigures, samples: Samples, measured_on: str) -> Record:
    """Return what the card of a version says, in the form of `sameface.inference.card_figures.Evaluation`."""
    verified, identified = model.verification, model.identification
    accuracy = next((one.value for one in model.figures if one.name == "accuracy over pairs"), None)
    return {
        "measured_on": measured_on,
        "identities": len(verified.comparison.identities),
        "samples": len(samples.sample) + len(samples.not_acquired),
        "fnmr": [
            {
                "fmr": point.target,
                "fnmr": rounded_record(point.fnmr),
                "fnmr_by_identity": rounded_record(point.fnmr_by_identity),
            }
            for point in verified.points
            if point.target <= OF_CARDS
        ],
        "fpir": FPIR,
        "fnir": rounded_record(identified.points[0].fnir),
        "rank_one": rounded_record(identified.rank_one),
        "pairs": rounded_record(accuracy),
    }


def _verification(model: ModelFigures) -> Record:
    """Return what the page on evaluation shows of one version."""
    found, searches = model.verification, model.identification.searches
    return {
        "independent": round(found.support.trials),
        "supported_fmr": found.support.lowest,
        "enrolled": searches.gallery_size,
        "points": [
            {
                "fmr": point.target,
                "threshold": round(point.threshold, 4),
                "fnmr": rounded_record(point.fnmr),
                "fnmr_by_identity": rounded_record(point.fnmr_by_identity),
            }
            for point in found.points
        ],
        "eer": rounded_record(found.eer),
        "eer_by_identity": rounded_record(found.eer_by_identity),
    }


def _points(model: ModelFigures, measured_on: str) -> list[Record]:
    """Return the operating points that the samples support, as a card holds them; none if they support none."""
    found = model.verification
    measured = measure_operating_points(found.comparison)
    kept = [one for one in measured if found.support.holds(one.target_fmr)]
    return points_record(kept, found.comparison, found.support, measured_on, for_card=True)


def _figure(figure: Figure) -> Record:
    return {**_rounded(estimate_record(figure.value)), "supported": figure.is_supported}


def _rounded(found: dict[str, float] | None) -> Record:
    return {name: round(value, 6) for name, value in (found or {}).items()}
