"""Tables, record and plots of how well quality predicts errors."""

from typing import Any

import numpy as np

from sameface.evaluation.quality import GATE, LIMITS, WORST, QualityFigures, QualityOfSet
from sameface.evaluation.records import estimate_record
from sameface.evaluation.report import Picture
from sameface.evaluation.resampling import Estimate
from sameface.evaluation.support import marked, power_text, support_notes, support_record
from sameface.evaluation.tables import Table
from sameface_qdrant.calibration.report import GRID, INK, interval_text, new_figure, rate_text, style_axes, svg_text

ROUNDING = 1e-9
SHOWN_TO = 0.3
"""The plots end at this share of discarded comparisons."""
COLOURS = (
    *("#26408b", "#c8553d", "#1b7f79", "#8a4fbf", "#b8860b", "#4682b4", "#d16ba5", "#6b8e23", "#7f5539"),
    *("#5f6c7b", "#e08e45", "#00a0e0", "#9b2226"),
)


def quality_tables(found: QualityFigures) -> list[Table]:
    """Return one table for each set of comparisons."""
    return [_table(one, found) for one in found.sets]


def quality_record(found: QualityFigures) -> dict[str, Any]:
    """Return the figures as plain values."""
    return {
        "threshold": found.threshold,
        "fmr": found.fmr,
        "supported": found.support.holds(found.fmr),
        "supported_fmr": support_record(found.support),
        "sets": [
            {
                "name": one.name,
                "comparisons": one.comparisons,
                "identities": one.identities,
                "fnmr": estimate_record(one.fnmr),
                "refused": one.refused,
                "fnmr_passing": one.fnmr_passing,
                "ideal_fnmr_after_worst_5_percent": one.ideal.fnmr(WORST),
                "components": [
                    {
                        "name": part.name,
                        "fnmr_after_worst_5_percent": estimate_record(part.fnmr_after),
                        "relative_area": {
                            f"{limit:g}": estimate_record(area) for limit, area in zip(LIMITS, part.areas, strict=True)
                        },
                    }
                    for part in one.components
                ],
            }
            for one in found.sets
        ],
    }


def quality_pictures(found: QualityFigures) -> list[Picture]:
    """Draw the error-versus-discard curves of each set."""
    return [
        Picture(
            f"FNMR while the comparisons of the lowest quality are discarded: {one.name}. The faster a curve falls, "
            "the better its component predicts errors. Dotted: as if it were known which comparisons fail.",
            svg=_curves_svg(one),
        )
        for one in found.sets
    ]


def _table(one: QualityOfSet, found: QualityFigures) -> Table:
    rows = [
        (
            part.name,
            f"{100 * part.fnmr_after.value:.2f} %",
            interval_text(part.fnmr_after.interval),
            *(f"{area.value:.2f}" for area in part.areas),
            f"{part.areas[-1].interval.low:.2f} to {part.areas[-1].interval.high:.2f}",
            _verdict(part.areas[-1]),
        )
        for part in one.components
    ]
    fmr = marked(power_text(found.fmr), found.fmr, found.support)
    passing = "no comparison is left" if one.fnmr_passing is None else f"FNMR {100 * one.fnmr_passing:.2f} %"
    notes = (
        f"{one.comparisons:,} mated comparisons of {one.identities:,} identities, each of which counts the same. FNMR "
        f"{100 * one.fnmr.value:.2f} % ({interval_text(one.fnmr.interval)}) with nothing discarded, at threshold "
        f"{found.threshold:.4f} (FMR {fmr} over the photos as they are). After the worst 5 % at best "
        f"{100 * one.ideal.fnmr(WORST):.2f} %.",
        f"The gate refuses {rate_text(one.refused)} of these photos. Without them: {passing}.",
        "Area: mean FNMR while 0 to 5 % or 0 to 20 % are discarded, divided by FNMR with nothing discarded. 1 is "
        "useless; lower is better. The gate discards refused photos first, and then the others, each by "
        "UnifiedQualityScore.",
        *support_notes("FMR", [found.fmr], found.support, "independent comparisons"),
    )
    headings = (
        "component",
        "FNMR without the worst 5 %",
        "95 % interval",
        "area to 5 %",
        "area to 20 %",
        "95 % interval",
        "predicts errors",
    )
    return Table(f"Quality: {one.name}", headings, tuple(rows), notes)


def _verdict(area: Estimate) -> str:
    # Rounding must not decide.
    if area.interval.high < 1.0 - ROUNDING:
        return "yes"
    return "wrongly" if area.interval.low > 1.0 + ROUNDING else "not shown"


def _curves_svg(one: QualityOfSet) -> str:
    figure, axes = new_figure()
    shares = np.linspace(0.0, SHOWN_TO, 200)
    axes.plot(
        100 * shares, [100 * one.ideal.fnmr(float(each)) for each in shares], color=INK, linestyle=":", label="ideal"
    )
    axes.axvline(100 * WORST, color=GRID, linewidth=1.5)
    for place, part in enumerate(one.components):
        is_gate = part.name == GATE
        axes.plot(
            100 * shares,
            [100 * part.curve.fnmr(float(each)) for each in shares],
            color=INK if is_gate else COLOURS[place % len(COLOURS)],
            linewidth=2.6 if is_gate else 1.2,
            label=part.name,
            zorder=3 if is_gate else 2,
        )
    axes.set_ylim(bottom=0)
    axes.set_xlabel("discarded comparisons, %")
    axes.set_ylabel("FNMR of the others, % (every identity counts the same)")
    axes.set_title(f"Error versus discard, {one.name}", loc="left", color=INK, fontsize=12)
    style_axes(axes)
    axes.legend(fontsize=9, loc="center left", bbox_to_anchor=(1.0, 0.5), frameon=False, labelcolor=INK)
    return svg_text(figure)
