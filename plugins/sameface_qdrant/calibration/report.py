"""Pictures of a calibration: DET curve and histograms, as PNG or as one HTML page that needs nothing else.

Needs the extra ``plots`` (matplotlib), which is loaded when something is drawn.
"""

import html
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import NormalDist
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from sameface_qdrant.calibration.thresholds import Calibration
from sameface_qdrant.metrics.curves import Curves
from sameface_qdrant.metrics.error_rates import Scores
from sameface_qdrant.metrics.intervals import Interval

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

INK, FAINT, GRID, PAPER = "#1f2933", "#6b7785", "#dfe4ea", "#ffffff"
MATED, NON_MATED = "#1b7f79", "#c8553d"
POINTS = ("#26408b", "#8a4fbf", "#b8860b")
TICKS = (1e-6, 1e-5, 1e-4, 1e-3, 0.01, 0.05, 0.2, 0.5, 0.8, 0.95)


@dataclass(frozen=True, slots=True)
class ChosenPoint:
    """A threshold to mark."""

    label: str
    threshold: float
    fmr: float
    fmr_interval: Interval
    fnmr: float | None = None
    fnmr_interval: Interval | None = None
    note: str = ""
    """Stands below the label."""


def chosen_points(calibration: Calibration) -> tuple[ChosenPoint, ...]:
    """Return the thresholds of a calibration."""
    fpir = f"FPIR {rate_text(calibration.identify.rate)} ({interval_text(calibration.identify.interval)})"
    return tuple(
        ChosenPoint(label, one.threshold, one.fmr, one.fmr_interval, one.fnmr, one.fnmr_interval, note)
        for label, one, note in (("verify", calibration.verify, ""), ("identify", calibration.identify, fpir))
    )


def det_figure(curves: Curves, points: Sequence[ChosenPoint] = ()) -> "Figure":
    """Draw FMR against FNMR on probit axes (DET: Martin et al. 1997, Eurospeech), points with their intervals."""
    figure, axes = _figure()
    _draw_det(axes, curves, points)
    return figure


def histogram_figure(curves: Curves, points: Sequence[ChosenPoint] = ()) -> "Figure":
    """Draw how many mated and non-mated scores there are, counts on a logarithmic axis, thresholds as lines."""
    figure, axes = _figure()
    _draw_histogram(axes, curves, points)
    return figure


def write_png(path: Path, curves: Curves, points: Sequence[ChosenPoint] = (), title: str = "") -> None:
    """Draw both beside each other into a PNG file."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(13, 5.2), layout="constrained", facecolor=PAPER)
    left, right = figure.subplots(1, 2)
    _draw_histogram(left, curves, points)
    _draw_det(right, curves, points)
    if title:
        figure.suptitle(title, color=INK, fontsize=14, x=0.01, ha="left")
    figure.savefig(path, format="png", dpi=150)


def write_html(
    path: Path,
    curves: Curves,
    points: Sequence[ChosenPoint] = (),
    *,
    title: str = "Calibration",
    sentences: Sequence[str] = (),
) -> None:
    """Write one HTML page with both pictures, a table of the thresholds, and what to know about them."""
    rows = "".join(
        f"<tr><th>{html.escape(point.label)}<small>{html.escape(point.note)}</small></th><td>{point.threshold:.4f}</td>"
        f"<td>{rate_text(point.fmr)}<small>{interval_text(point.fmr_interval)}</small></td>"
        f"<td>{rate_text(point.fnmr)}<small>{interval_text(point.fnmr_interval)}</small></td></tr>"
        for point in points
    )
    pictures = "".join(
        f"<figure>{_svg(draw(curves, points))}<figcaption>{caption}</figcaption></figure>"
        for draw, caption in (
            (histogram_figure, "Every score that was compared. The further apart the hills, the better."),
            (det_figure, "What a threshold costs: lower left is better. Bars are 95 % intervals."),
        )
    )
    said = "".join(f"<li>{html.escape(sentence)}</li>" for sentence in sentences)
    page = _PAGE.format(title=html.escape(title), rows=rows, pictures=pictures, said=said)
    path.write_text(page, encoding="utf-8")


def rate_text(rate: float | None) -> str:
    """Return a rate for people: in percent, two digits that count."""
    if rate is None:
        return "–"
    return "0 %" if rate == 0 else f"{_plain(100 * rate)} %"


def interval_text(interval: Interval | None) -> str:
    """Return an interval for people."""
    return "" if interval is None else f"{rate_text(interval.low)} to {rate_text(interval.high)}"


def _plain(value: float) -> str:
    text = np.format_float_positional(value, precision=2, fractional=False, unique=False, trim="-")
    return text or "0"


def _figure() -> "tuple[Figure, Axes]":
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ImportError("drawing needs matplotlib; install sameface[plots]") from error
    figure = Figure(figsize=(6.4, 5.0), layout="constrained", facecolor=PAPER)
    return figure, figure.subplots()


def _draw_histogram(axes: "Axes", curves: Curves, points: Sequence[ChosenPoint]) -> None:
    widths = np.diff(curves.edges)
    for counts, colour, label in (
        (curves.non_mated, NON_MATED, "different people"),
        (curves.mated, MATED, "same person"),
    ):
        if counts.sum():
            name = f"{label} ({counts.sum():,})"
            axes.bar(curves.edges[:-1], counts, widths, align="edge", color=colour, alpha=0.55, label=name, linewidth=0)
    axes.set_yscale("log")
    axes.set_ylim(0.7, 60.0 * max(1, curves.mated.max(), curves.non_mated.max()))
    for point, colour in zip(points, POINTS, strict=False):
        axes.axvline(point.threshold, color=colour, linewidth=1.8, label=f"{point.label} ≥ {point.threshold:.3f}")
    axes.set_xlabel("score (cosine similarity)")
    axes.set_ylabel("comparisons per bin (log)")
    axes.set_title("Scores", loc="left", color=INK, fontsize=12)
    _dress(axes, "upper left", columns=2)


def _draw_det(axes: "Axes", curves: Curves, points: Sequence[ChosenPoint]) -> None:
    axes.set_title("Detection error trade-off", loc="left", color=INK, fontsize=12)
    axes.set_xlabel("false match rate (FMR)")
    axes.set_ylabel("false non-match rate (FNMR)")
    if not curves.thresholds.size:
        axes.text(0.5, 0.5, "no mated comparison,\nso no FNMR", ha="center", transform=axes.transAxes, color=FAINT)
        axes.set_xticks([])
        axes.set_yticks([])
        return
    fmr_floor, fnmr_floor = _floor(curves.non_mated), _floor(curves.mated)
    axes.plot(_probit(curves.fmr, fmr_floor), _probit(curves.fnmr, fnmr_floor), color=INK, linewidth=2, zorder=3)
    for point, colour in zip(points, POINTS, strict=False):
        if point.fnmr is None or point.fnmr_interval is None:
            continue
        x, y = float(_probit(point.fmr, fmr_floor)), float(_probit(point.fnmr, fnmr_floor))
        axes.errorbar(
            [x],
            [y],
            xerr=_reach(x, point.fmr_interval, fmr_floor),
            yerr=_reach(y, point.fnmr_interval, fnmr_floor),
            fmt="o",
            markersize=8,
            markeredgecolor=PAPER,
            color=colour,
            capsize=4,
            linewidth=1.6,
            zorder=4,
            label=f"{point.label} at {point.threshold:.3f}",
        )
    for setter, limits, floor in (
        (axes.set_xticks, axes.set_xlim, fmr_floor),
        (axes.set_yticks, axes.set_ylim, fnmr_floor),
    ):
        shown = [tick for tick in TICKS if tick >= floor]
        setter([float(_probit(tick, floor)) for tick in shown], [f"{_plain(100 * tick)} %" for tick in shown])
        limits(float(_probit(floor, floor)) - 0.1, float(_probit(0.9, floor)))
    axes.tick_params(axis="x", labelrotation=35)
    _dress(axes, "upper right")


def _dress(axes: "Axes", where: Literal["upper left", "upper right"], columns: int = 1) -> None:
    axes.grid(True, color=GRID, linewidth=0.8)
    axes.set_axisbelow(True)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    for side in ("left", "bottom"):
        axes.spines[side].set_color(FAINT)
    axes.tick_params(colors=FAINT, labelsize=9)
    axes.xaxis.label.set_color(INK)
    axes.yaxis.label.set_color(INK)
    if axes.get_legend_handles_labels()[0]:
        axes.legend(loc=where, ncols=columns, facecolor=PAPER, edgecolor=GRID, fontsize=9, labelcolor=INK)


def _floor(counts: Any) -> float:
    """Return what stands for zero on a probit axis: half of the least rate that can be counted."""
    return min(0.25, 0.5 / max(1, int(counts.sum())))


def _probit(rates: Any, floor: float) -> Scores:
    """Return the standard normal deviates of rates, those beyond ``floor`` at it."""
    clipped = np.clip(np.asarray(rates, dtype=np.float64), floor, 1.0 - 1e-3)
    deviates: Scores = np.vectorize(NormalDist().inv_cdf, otypes=[np.float64])(clipped)
    return deviates


def _reach(value: float, interval: Interval, floor: float) -> list[list[float]]:
    low, high = float(_probit(interval.low, floor)), float(_probit(interval.high, floor))
    return [[max(0.0, value - low)], [max(0.0, high - value)]]


def _svg(figure: "Figure") -> str:
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None})
    text = buffer.getvalue()
    return text[text.index("<svg") :]


_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<style>
body {{ margin: 0; background: #f4f6f8; color: #1f2933; font: 16px/1.55 system-ui, sans-serif; }}
main {{ max-width: 1160px; margin: 0 auto; padding: 2.5rem 1.5rem 4rem; }}
h1 {{ font-size: 1.7rem; margin: 0 0 1.2rem; }}
section {{ display: grid; grid-template-columns: repeat(auto-fit, minmax(430px, 1fr)); gap: 1.2rem; }}
figure, .card {{ background: #fff; border-radius: 12px; box-shadow: 0 1px 4px #1f293318; margin: 0; padding: 1rem; }}
figure svg {{ width: 100%; height: auto; }}
figcaption {{ color: #6b7785; font-size: .9rem; padding: .4rem .3rem 0; }}
.card {{ margin-bottom: 1.2rem; padding: .6rem 1.2rem 1rem; overflow-x: auto; }}
table {{ border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; }}
th, td {{ text-align: left; padding: .55rem .8rem .55rem 0; border-bottom: 1px solid #dfe4ea; vertical-align: top; }}
tr:last-child > * {{ border-bottom: 0; }}
thead th {{ color: #6b7785; font-weight: 500; font-size: .9rem; }}
small {{ display: block; color: #6b7785; font-weight: 400; }}
ul {{ margin: 0; padding: 1rem 1.2rem 0; }} li {{ margin-bottom: .45rem; }}
</style></head><body><main>
<h1>{title}</h1>
<div class="card"><table><thead><tr><th></th><th>threshold</th>
<th>false match rate</th><th>false non-match rate</th></tr></thead><tbody>{rows}</tbody></table></div>
<section>{pictures}</section>
<ul>{said}</ul>
</main></body></html>
"""
