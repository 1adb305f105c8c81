"""Pictures of a calibration: DET curve, histograms and expected answers. `page` puts them into one HTML page.

Needs the extra ``plots`` (matplotlib). It is imported when something is drawn, not with this module.
"""

import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import NormalDist
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from sameface_qdrant.calibration.expected import ExpectedAnswer
from sameface_qdrant.calibration.expected_plot import draw_expected
from sameface_qdrant.calibration.thresholds import Calibration
from sameface_qdrant.metrics.curves import Curves
from sameface_qdrant.metrics.error_rates import Scores
from sameface_qdrant.metrics.intervals import ConfidenceInterval

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

INK, FAINT, GRID, PAPER = "#1f2933", "#6b7785", "#dfe4ea", "#ffffff"
MATED, NON_MATED = "#1b7f79", "#c8553d"
POINTS = ("#26408b", "#8a4fbf", "#b8860b")
TICKS = (1e-6, 1e-5, 1e-4, 1e-3, 0.01, 0.05, 0.2, 0.5, 0.8, 0.95, 0.99)


@dataclass(frozen=True, slots=True)
class MarkedThreshold:
    """A threshold to mark in the plots and to list in the report."""

    label: str
    threshold: float
    fmr: float
    fmr_interval: ConfidenceInterval
    fnmr: float | None = None
    fnmr_interval: ConfidenceInterval | None = None
    note: str = ""
    """Shown below the label."""


def marked_thresholds(calibration: Calibration) -> tuple[MarkedThreshold, ...]:
    """Return the two thresholds of a calibration."""
    fpir = f"FPIR {rate_text(calibration.identify.rate)} ({interval_text(calibration.identify.interval)})"
    return tuple(
        MarkedThreshold(label, one.threshold, one.fmr, one.fmr_interval, one.fnmr, one.fnmr_interval, note)
        for label, one, note in (("verify", calibration.verify, ""), ("identify", calibration.identify, fpir))
    )


def det_figure(curves: Curves, marked: Sequence[MarkedThreshold] = ()) -> "Figure":
    """Draw the DET curve: FNMR over FMR on probit axes (Martin et al. 1997, Eurospeech).

    Marked thresholds are points with their confidence intervals.

    Raises:
        ImportError: matplotlib is not installed.
    """
    figure, axes = new_figure()
    _draw_det(axes, curves, marked)
    return figure


def histogram_figure(curves: Curves, marked: Sequence[MarkedThreshold] = ()) -> "Figure":
    """Draw histograms of mated and non-mated scores with a logarithmic count axis. Marked thresholds are lines.

    Raises:
        ImportError: matplotlib is not installed.
    """
    figure, axes = new_figure()
    _draw_histogram(axes, curves, marked)
    return figure


def expected_figure(answers: Sequence[ExpectedAnswer]) -> "Figure":
    """Draw the shares of expected answers as one bar for each kind of call.

    Raises:
        ImportError: matplotlib is not installed.
    """
    figure, (axes,) = _figure(13, 1.6 + 0.5 * len(answers))
    _draw_expected(axes, answers)
    return figure


def write_png(
    path: Path,
    curves: Curves,
    marked: Sequence[MarkedThreshold] = (),
    title: str = "",
    expected: Sequence[ExpectedAnswer] = (),
) -> None:
    """Draw histograms and DET curve side by side into a PNG file, and below them the expected answers if given.

    Raises:
        ImportError: matplotlib is not installed.
        OSError: the file cannot be written.
    """
    if not expected:
        figure, (left, right) = _figure(13, 5.2, columns=2)
    else:
        below = 1.6 + 0.5 * len(expected)
        figure, _ = _figure(13, 5.2 + below, columns=0)
        upper, lower = figure.subfigures(2, 1, squeeze=False, height_ratios=[5.2, below])[:, 0]
        left, right = upper.subplots(1, 2, squeeze=False)[0]
        _draw_expected(lower.subplots(), expected)
    _draw_histogram(left, curves, marked)
    _draw_det(right, curves, marked)
    if title:
        figure.suptitle(title, color=INK, fontsize=14, x=0.01, ha="left")
    figure.savefig(path, format="png", dpi=150)


def rate_text(rate: float | None) -> str:
    """Return a rate in percent with two significant digits; a dash for None.

    >>> rate_text(0.00123), rate_text(None)
    ('0.12 %', '–')
    """
    if rate is None:
        return "–"
    return "0 %" if rate == 0 else f"{_plain(100 * rate)} %"


def interval_text(interval: ConfidenceInterval | None) -> str:
    """Return a confidence interval in percent; an empty text for None."""
    return "" if interval is None else f"{rate_text(interval.low)} to {rate_text(interval.high)}"


def _plain(value: float) -> str:
    text = np.format_float_positional(value, precision=2, fractional=False, unique=False, trim="-")
    return text or "0"


def new_figure() -> "tuple[Figure, Axes]":
    """Return an empty figure of the report's size with its axes.

    Raises:
        ImportError: matplotlib is not installed.
    """
    figure, (axes,) = _figure(6.4, 5.0)
    return figure, axes


def _figure(width: float, height: float, columns: int = 1) -> "tuple[Figure, list[Axes]]":
    """Return a figure of a size in inches, with ``columns`` axes side by side."""
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ImportError("drawing needs matplotlib; install sameface[plots]") from error
    figure = Figure(figsize=(width, height), layout="constrained", facecolor=PAPER)
    return figure, list(figure.subplots(1, columns, squeeze=False)[0]) if columns else []


def _draw_histogram(axes: "Axes", curves: Curves, marked: Sequence[MarkedThreshold]) -> None:
    widths = np.diff(curves.edges)
    for counts, colour, label in (
        (curves.non_mated, NON_MATED, "non-mated"),
        (curves.mated, MATED, "mated"),
    ):
        if counts.sum():
            name = f"{label} ({counts.sum():,})"
            axes.bar(curves.edges[:-1], counts, widths, align="edge", color=colour, alpha=0.55, label=name, linewidth=0)
    axes.set_yscale("log")
    axes.set_ylim(0.7, 60.0 * max(1, curves.mated.max(), curves.non_mated.max()))
    for point, colour in zip(marked, POINTS, strict=False):
        axes.axvline(point.threshold, color=colour, linewidth=1.8, label=f"{point.label} ≥ {point.threshold:.3f}")
    axes.set_xlabel("score (cosine similarity)")
    axes.set_ylabel("comparisons per bin (log)")
    axes.set_title("Histograms of the scores", loc="left", color=INK, fontsize=12)
    style_axes(axes, "upper left", columns=2)


def _draw_det(axes: "Axes", curves: Curves, marked: Sequence[MarkedThreshold]) -> None:
    axes.set_title("Detection error trade-off", loc="left", color=INK, fontsize=12)
    axes.set_xlabel("false match rate (FMR)")
    axes.set_ylabel("false non-match rate (FNMR)")
    if not curves.thresholds.size:
        message = "There is no FNMR without\nmated comparisons."
        axes.text(0.5, 0.5, message, ha="center", transform=axes.transAxes, color=FAINT)
        axes.set_xticks([])
        axes.set_yticks([])
        return
    fmr_floor, fnmr_floor = _floor(curves.non_mated), _floor(curves.mated)
    axes.plot(_probit(curves.fmr, fmr_floor), _probit(curves.fnmr, fnmr_floor), color=INK, linewidth=2, zorder=3)
    for point, colour in zip(marked, POINTS, strict=False):
        if point.fnmr is None or point.fnmr_interval is None:
            continue
        x, y = float(_probit(point.fmr, fmr_floor)), float(_probit(point.fnmr, fnmr_floor))
        axes.errorbar(
            [x],
            [y],
            xerr=_error_bars(x, point.fmr_interval, fmr_floor),
            yerr=_error_bars(y, point.fnmr_interval, fnmr_floor),
            fmt="o",
            markersize=8,
            markeredgecolor=PAPER,
            color=colour,
            capsize=4,
            linewidth=1.6,
            zorder=4,
            label=f"{point.label} at {point.threshold:.3f}",
        )
    for setter, limits, floor, top in (
        (axes.set_xticks, axes.set_xlim, fmr_floor, _top([one.fmr_interval for one in marked])),
        (axes.set_yticks, axes.set_ylim, fnmr_floor, _top([one.fnmr_interval for one in marked])),
    ):
        shown = [tick for tick in TICKS if tick >= floor]
        setter([float(_probit(tick, floor)) for tick in shown], [f"{_plain(100 * tick)} %" for tick in shown])
        limits(float(_probit(floor, floor)) - 0.1, float(_probit(top, floor)) + 0.1)
    axes.tick_params(axis="x", labelrotation=35)
    style_axes(axes, "upper right")


def _draw_expected(axes: "Axes", answers: Sequence[ExpectedAnswer]) -> None:
    draw_expected(axes, answers)
    style_axes(axes)
    axes.grid(False, axis="y")
    # Beside the bars, which fill the axes.
    handles, labels = axes.get_legend_handles_labels()
    axes.legend(handles, labels, loc="upper left", bbox_to_anchor=(1.0, 1.0), frameon=False, fontsize=9)


def style_axes(axes: "Axes", legend: Literal["best", "upper left", "upper right"] = "best", columns: int = 1) -> None:
    """Give axes the report's colours and grid, and a legend if something is labelled."""
    axes.grid(True, color=GRID, linewidth=0.8)
    axes.set_axisbelow(True)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    for side in ("left", "bottom"):
        axes.spines[side].set_color(FAINT)
    axes.tick_params(colors=FAINT, labelsize=9, which="both")
    axes.xaxis.label.set_color(INK)
    axes.yaxis.label.set_color(INK)
    if axes.get_legend_handles_labels()[0]:
        axes.legend(loc=legend, ncols=columns, facecolor=PAPER, edgecolor=GRID, fontsize=9, labelcolor=INK)


def _top(intervals: Sequence[ConfidenceInterval | None]) -> float:
    """Return the highest rate of an axis: 90 %, or more so that every marked point is inside with its interval."""
    return max([0.9, *(one.high for one in intervals if one is not None)])


def _floor(counts: Any) -> float:
    """Return the rate that stands for zero on a probit axis: half of one error among all comparisons."""
    return min(0.25, 0.5 / max(1, int(counts.sum())))


def _probit(rates: Any, floor: float) -> Scores:
    """Return the standard normal deviates of rates; rates below ``floor`` get that of ``floor``."""
    clipped = np.clip(np.asarray(rates, dtype=np.float64), floor, 1.0 - 1e-3)
    deviates: Scores = np.vectorize(NormalDist().inv_cdf, otypes=[np.float64])(clipped)
    return deviates


def _error_bars(value: float, interval: ConfidenceInterval, floor: float) -> list[list[float]]:
    low, high = float(_probit(interval.low, floor)), float(_probit(interval.high, floor))
    return [[max(0.0, value - low)], [max(0.0, high - value)]]


def svg_text(figure: "Figure") -> str:
    """Return a figure as an SVG element for an HTML page."""
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None})
    text = buffer.getvalue()
    return text[text.index("<svg") :]
