"""Draws the DET curves of one or several models, and what their samples do not support. Drawing imports matplotlib."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from sameface.evaluation.resampling import Estimate
from sameface_qdrant.calibration.report import INK, PAPER, new_figure, style_axes, svg_text
from sameface_qdrant.metrics.error_rates import DetCurve

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MODELS = ("#26408b", "#c8553d", "#1b7f79", "#8a4fbf")
LEAST_RATE = 1e-5
"""The lowest vertical rate that is drawn."""
NO_RATE = 1e-12
"""Rates below this are rounding in sums of weights."""
PERCENT_TICKS = (*(digit * power for power in (1e-5, 1e-4, 1e-3, 1e-2, 1e-1) for digit in (1, 2, 3, 5, 7)), 1.0)


@dataclass(frozen=True, slots=True)
class Mark:
    """A point of a DET curve with its interval."""

    rate: float
    """FMR or FPIR."""
    found: Estimate
    """FNMR or FNIR."""
    is_supported: bool = True
    """Whether the target rate is supported; if not, the point is drawn hollow."""


@dataclass(frozen=True, slots=True)
class MarkedCurve:
    """A DET curve with points that have intervals."""

    curve: DetCurve
    marks: Sequence[Mark] = ()
    supported: float | None = None
    """The lowest horizontal rate that the samples support; None if it is not known."""


RATES = ("false match rate (FMR)", "false non-match rate (FNMR)")
BY_IDENTITY = "every identity counts the same"


def det_svg(curves: Mapping[str, MarkedCurve], names: tuple[str, str] = RATES, counting: str = BY_IDENTITY) -> str:
    """Draw one or several DET curves as `det_figure` does; return SVG."""
    return svg_text(det_figure(curves, names, counting))


def det_figure(
    curves: Mapping[str, MarkedCurve], names: tuple[str, str] = RATES, counting: str = BY_IDENTITY
) -> "Figure":
    """Draw one or several DET curves on logarithmic axes. ``counting`` explains the vertical rate.

    The horizontal axis ends one decade below the lowest supported rate. What is not supported is dotted. A vertical
    rate of 0 is drawn at the foot of the axis.
    """
    figure, axes = new_figure()
    left, foot = _left_end(curves.values()), _foot(curves.values())
    shift = 1.0
    for (name, marked), colour in zip(curves.items(), MODELS, strict=False):
        _draw_curve(axes, marked, (left, foot), colour, legend_label(name))
        for mark in marked.marks:
            if mark.rate >= left:
                # The points of two models are shifted, so that their intervals do not overlap.
                _draw_mark(axes, mark.rate * shift, mark, foot, colour)
        shift *= 1.06 if marked.marks else 1.0
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_xlim(left, 1.0)
    axes.set_ylim(foot, 1.0)
    _label_in_percent(axes, has_zero=any((marked.curve.fnmr < foot).any() for marked in curves.values()))
    axes.set_xlabel(names[0])
    axes.set_ylabel(f"{names[1]}\n{counting}")
    axes.set_title("Detection error trade-off", loc="left", color=INK, fontsize=12)
    style_axes(axes, "upper right")
    return figure


def _draw_curve(axes: "Axes", marked: MarkedCurve, corner: tuple[float, float], colour: str, label: str) -> None:
    """Draw a curve from the corner on, where it is supported as a line, elsewhere dotted."""
    left, foot = corner
    rates, fnmr = marked.curve.fmr, np.maximum(marked.curve.fnmr, foot)
    is_supported = rates >= (marked.supported or 0.0)
    # The dotted part begins where the line ends.
    first = max(0, int(np.count_nonzero(is_supported)) - 1)
    for places, style, name in ((is_supported, "-", label), (np.arange(rates.size) >= first, ":", "")):
        shown = places & (rates >= left)
        # Thresholds ascend, so the rates run from right to left. Between two thresholds the stricter one's rates hold.
        axes.step(rates[shown], fnmr[shown], style, where="pre", color=colour, linewidth=2, label=name or None)
        if marked.supported is None:
            break


def _draw_mark(axes: "Axes", x: float, mark: Mark, foot: float, colour: str) -> None:
    value, low, high = (
        max(rate, foot) for rate in (mark.found.value, mark.found.interval.low, mark.found.interval.high)
    )
    reach = [[max(0.0, value - low)], [max(0.0, high - value)]]
    fill = colour if mark.is_supported else PAPER
    axes.errorbar(
        [x], [value], yerr=reach, color=colour, fmt="o", markersize=5, markerfacecolor=fill, capsize=3, alpha=0.75
    )


def _left_end(curves: Iterable[MarkedCurve]) -> float:
    """Return where the horizontal axis begins: a decade below the lowest supported rate, or where the curves end."""
    ends = []
    for marked in curves:
        rates = marked.curve.fmr[marked.curve.fmr > NO_RATE]
        lowest = float(rates.min()) if rates.size else 0.1
        ends.append(lowest if marked.supported is None else max(lowest, marked.supported / 10))
    # A little to the left of the last point.
    return min(0.5, 0.9 * min(ends))


def _foot(curves: Iterable[MarkedCurve]) -> float:
    """Return where the vertical axis begins: at a 1, 2 or 5 below every rate that is not 0."""
    rates = [
        rate
        for marked in curves
        for rate in (*marked.curve.fnmr, *(mark.found.value for mark in marked.marks))
        if rate > NO_RATE
    ]
    below = [tick for tick in PERCENT_TICKS if tick < 0.7 * min(rates, default=1.0) and f"{tick:e}"[0] in "125"]
    return max(below, default=LEAST_RATE)


def _label_in_percent(axes: "Axes", has_zero: bool) -> None:
    """Label both axes in percent; ``has_zero`` says that a vertical rate of 0 is drawn at the foot."""
    low, high = axes.get_ylim()
    ticks = [tick for tick in PERCENT_TICKS if low <= tick <= high and (high / low < 300 or f"{tick:e}"[0] in "125")]
    labels = [f"{100 * tick:g} %" for tick in ticks]
    if has_zero and ticks:
        labels[0] = "0 %"
    axes.set_yticks(ticks, labels)
    low, high = axes.get_xlim()
    ticks = [tick for tick in (10.0**power for power in range(-8, 1)) if low <= tick <= high]
    if len(ticks) < 3:
        ticks = [tick for tick in PERCENT_TICKS if low <= tick <= high and f"{tick:e}"[0] in "125"]
    axes.set_xticks(ticks, [f"{100 * tick:g} %" for tick in ticks])
    axes.minorticks_off()


def legend_label(name: str) -> str:
    """Return a name for a legend: shortened, without formulas, and not hidden because of a leading underscore."""
    short = name if len(name) <= 40 else f"{name[:39]}…"
    return "\u200b" + short.replace("$", r"\$")
