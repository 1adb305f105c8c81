"""Shows what a change of the model does to stored templates: tables, plain values, and curves of all combinations."""

from typing import TYPE_CHECKING, Any

from sameface.evaluation.compatibility import Combination, Compatibility
from sameface.evaluation.det_plot import Mark, MarkedCurve, det_figure
from sameface.evaluation.model_comparison import Endpoint
from sameface.evaluation.model_figures import FPIR, Figure, ModelFigures, further_figures
from sameface.evaluation.operating_points import measure_operating_points
from sameface.evaluation.records import estimate_record, points_record
from sameface.evaluation.report import READING, Picture
from sameface.evaluation.support import MARK, power_text, support_notes
from sameface.evaluation.tables import COMPARISONS, Table, points_table
from sameface.evaluation.verification import sampled_det_curve
from sameface_qdrant.calibration.report import interval_text, rate_text, svg_text

if TYPE_CHECKING:
    from matplotlib.figure import Figure as Drawing


def compatibility_tables(found: Compatibility, versions: tuple[int, int]) -> list[Table]:
    """Return the figures of every combination, the differences from the old version, and thresholds of mapped ones."""
    names = [one.name for one in _figures(found.figures[Combination.OLD])]
    rows = tuple((str(name), *(_shown(one) for one in _figures(figures))) for name, figures in found.figures.items())
    verified = found.figures[Combination.NEW].verification
    notes = [
        f"Templates of version {versions[0]}, probes of version {versions[1]}. The first sample of each pair is the "
        "template. In brackets: 95 % intervals of resampled identities. In FNMR and FNIR every identity counts the "
        "same; *by comparison*, every comparison does.",
        *support_notes("FMR", [one.target for one in verified.points], verified.support, COMPARISONS),
    ]
    if found.cosine is not None:
        notes.append(
            f"Mean cosine of mapped and native templates: {found.cosine.value:.4f} "
            f"({found.cosine.interval.low:.4f} to {found.cosine.interval.high:.4f})."
        )
    tables = [Table("Templates and probes", ("", *names), rows, tuple(notes)), _differences(found)]
    if mapped := found.figures.get(Combination.MAPPED):
        points = measure_operating_points(mapped.verification.comparison)
        table = points_table(points, mapped.verification.comparison, mapped.verification.support)
        tables.append(Table("Operating points of mapped templates", table.headings, table.rows, table.notes[:-1]))
    return tables


def compatibility_record(found: Compatibility) -> dict[str, Any]:
    """Return all figures as plain values."""
    mapped = found.figures.get(Combination.MAPPED)
    points: list[dict[str, Any]] = []
    if mapped is not None:
        verified = mapped.verification
        measured = measure_operating_points(verified.comparison)
        points = points_record(measured, verified.comparison, verified.support, "")
    return {
        "combinations": {
            name.name.lower(): {
                one.name: {**(estimate_record(one.value) or {}), "supported": one.is_supported}
                for one in _figures(figures)
            }
            for name, figures in found.figures.items()
        },
        "against_old": {
            name.name.lower(): {
                one.name: {**(estimate_record(one.difference) or {}), "verdict": str(one.verdict)} for one in endpoints
            }
            for name, endpoints in found.against_old.items()
        },
        "cosine": estimate_record(found.cosine),
        "mapped_operating_points": points,
        "worse": [one.name for one in found.worse],
    }


def compatibility_det(found: Compatibility) -> "Drawing":
    """Draw the DET curves of all combinations in one figure."""
    return det_figure(
        {
            str(name): MarkedCurve(
                sampled_det_curve(one.verification.comparison),
                [
                    Mark(point.fmr, point.fnmr_by_identity, one.verification.support.holds(point.target))
                    for point in one.verification.points
                ],
                one.verification.support.lowest,
            )
            for name, one in found.figures.items()
        }
    )


def compatibility_pictures(found: Compatibility) -> list[Picture]:
    """Draw the DET curves of all combinations."""
    return [
        Picture(
            f"Verification over every pair of samples. {READING} The intervals are of each combination alone; those of "
            "the differences are narrower.",
            svg=svg_text(compatibility_det(found)),
            wide=True,
        )
    ]


def _figures(found: ModelFigures) -> tuple[Figure, ...]:
    return (*found.figures, *further_figures(found))


def _shown(one: Figure) -> str:
    low, high = one.value.interval.low, one.value.interval.high
    if one.lower_is_better:
        return f"{rate_text(one.value.value)} ({interval_text(one.value.interval)})"
    return f"{100 * one.value.value:.2f} % ({100 * low:.2f} % to {100 * high:.2f} %)"


def _differences(found: Compatibility) -> Table:
    names = [one.name for one in next(iter(found.against_old.values()))]
    rows = tuple((str(name), *(_difference(one) for one in endpoints)) for name, endpoints in found.against_old.items())
    notes = (
        "In percentage points, minus the old version alone, with 95 % intervals over the same resampled identities.",
        f"A map is no default if an interval shows it worse in FNMR at 1e-4 or 1e-5, or in FNIR at FPIR "
        f"{power_text(FPIR)}.",
    )
    return Table("Differences from the old version alone", ("", *names), rows, notes)


def _difference(one: Endpoint) -> str:
    low, high = one.difference.interval.low, one.difference.interval.high
    mark = "" if one.is_supported else f" ({MARK})"
    return f"{100 * one.difference.value:+.2f} ({100 * low:+.2f} to {100 * high:+.2f}), {one.verdict}{mark}"
