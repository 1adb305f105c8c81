"""Draws the rates of groups with their intervals. Drawing imports matplotlib."""

from collections.abc import Sequence

from sameface.evaluation.det_plot import legend_label
from sameface.evaluation.group_tables import group_name
from sameface.evaluation.groups import Group
from sameface.evaluation.resampling import Estimate
from sameface_qdrant.calibration.report import INK, MATED, NON_MATED, PAPER, new_figure, style_axes, svg_text

RATES = {
    "fmr": ("false match rate (FMR), %\ncomparisons within the group", NON_MATED),
    "fnmr": ("false non-match rate (FNMR), %\nevery identity counts the same", MATED),
}


def groups_svg(groups: Sequence[Group], rate: str, place: int = 0) -> str:
    """Draw one rate of every group as a point with its interval; return SVG.

    Groups of few people have hollow points. A group without such a comparison has its name and no point.

    Args:
        groups: of one column or several; the order is kept, the first one is on top.
        rate: ``fmr`` or ``fnmr``.
        place: which of the groups' thresholds.
    """
    label, colour = RATES[rate]
    figure, axes = new_figure()
    figure.set_size_inches(6.4, 1.4 + 0.34 * len(groups))
    for row, group in enumerate(groups):
        found: Estimate | None = getattr(group.rates[place], rate)
        if found is None:
            continue
        value, low, high = (100 * one for one in (found.value, found.interval.low, found.interval.high))
        axes.errorbar(
            [value],
            [row],
            xerr=[[max(0.0, value - low)], [max(0.0, high - value)]],
            fmt="o",
            markersize=5,
            capsize=3,
            color=colour,
            clip_on=False,
            markerfacecolor=PAPER if group.is_small else colour,
        )
    axes.set_yticks(
        range(len(groups)), [f"{legend_label(group_name(group))}: {group.identities:,}" for group in groups]
    )
    axes.set_ylim(len(groups) - 0.5, -0.5)
    axes.set_xlim(left=0.0)
    axes.set_xlabel(label)
    axes.set_title(f"By {', '.join(dict.fromkeys(group.column for group in groups))}", loc="left", color=INK)
    style_axes(axes)
    return svg_text(figure)
