"""What a soak test found: slopes, a verdict for each, a table, JSON and a picture."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from sameface.evaluation.tables import Table
from sameface_qdrant.calibration.report import FAINT, INK, new_figure, svg_text
from tests.soak.load import Counts
from tests.soak.sampling import Name, Series
from tests.soak.slopes import Slope, slope_of

CONFIDENCE = 0.95
"""That all intervals together hold."""
WARM_UP = 0.25
"""This share of the time is left out: caches fill, and pools of threads and memory grow to what the load needs."""
MUST_GROW: Mapping[tuple[str, str], str] = {
    ("service", "log"): "a line for each erasure by a sweep",
    ("service", "audit log"): "a line for each call",
    ("store", "meta"): "a receipt for each erasure, kept for ever",
    (
        "client",
        "memory",
    ): "about 1 KB of each call that is given up, by gRPC: https://github.com/grpc/grpc/issues/43360",
}
"""What grows with the number of calls because it must, and why."""


@dataclass(frozen=True, slots=True)
class Found:
    """One series and what became of it."""

    name: Name
    slope: Slope
    must_grow: str = ""
    """Why it may grow; empty if it may not."""

    @property
    def verdict(self) -> str:
        """flat, constant, grows, falls, must grow, or too short to tell."""
        if self.must_grow:
            return "must grow"
        if not self.slope.range:
            return "constant"
        if math.isinf(self.slope.high):
            return "too short to tell"
        if self.slope.flat:
            return "flat"
        return "grows" if self.slope.low > 0 else "falls"

    @property
    def met(self) -> bool:
        """Whether it is as it should be."""
        return self.verdict in ("flat", "constant", "must grow")


def judged(series: Series) -> list[Found]:
    """Return the slope of each series after the warm-up. The intervals hold together, so each one is wider.

    Raises:
        ValueError: there are too few readings; measure longer.
    """
    from_s = WARM_UP * float(series.at_s[series.count - 1])
    each = 1 - (1 - CONFIDENCE) / len(series.values)
    return [
        Found(name, slope_of(*series.of(name, from_s), each), MUST_GROW.get((name.part, name.quantity), ""))
        for name in series.values
    ]


def slopes_table(found: list[Found], seconds: float) -> Table:
    """Return the slopes and verdicts."""
    rows = tuple(
        (
            one.name.part,
            f"{one.name.quantity}{f', {one.name.unit}' if one.name.unit else ''}",
            f"{_number(one.slope.first)} → {_number(one.slope.last)}",
            f"{one.slope.per_hour:+.3g} ({one.slope.low:+.3g} to {one.slope.high:+.3g})",
            f"{one.slope.visible:.2g}",
            f"must grow: {one.must_grow}" if one.must_grow else one.verdict,
        )
        for one in found
    )
    notes = (
        f"After a warm-up of {WARM_UP:.0%} of {seconds:g} s. The intervals hold together with {CONFIDENCE:.0%} "
        "confidence, and allow for the correlation of values that follow each other. Seen would have been a growth of "
        "half the interval's width.",
        "Constant is what has the same median in every batch. What grows by little grows too.",
        "Memory is what is not backed by files, with swap; what processes share is divided among them.",
    )
    headings = ("part", "what", "first → last", "slope per hour (interval)", "seen from, per hour", "")
    return Table("Slopes", headings, rows, notes)


def calls_table(counts: Counts) -> Table:
    """Return how many calls there were, by kind, and how long they took."""
    rows = tuple(
        (
            kind,
            f"{count:,}",
            f"{counts.busy[kind]:,}",
            f"{1e3 * float(np.median(counts.latencies_s[kind])):,.0f}",
            f"{1e3 * max(counts.latencies_s[kind]):,.0f}",
        )
        for kind, count in sorted(counts.calls.items())
    )
    notes = [f"NOT EXPECTED, {count:,} times: {told}" for told, count in counts.unexpected.items()]
    notes += [f"{counts.not_begun:,} calls were not begun, because too many were open"] if counts.not_begun else []
    return Table("Calls", ("kind", "as expected", "SERVER_BUSY", "median, ms", "longest, ms"), rows, tuple(notes))


def cores_table(cores: Mapping[str, float]) -> Table:
    """Return how many cores each part has used."""
    rows = tuple((part, f"{used:.3f}") for part, used in cores.items())
    return Table("Processor", ("part", "cores, on average"), rows)


def figures(found: list[Found]) -> list[dict[str, Any]]:
    """Return the slopes as plain values; a bound that is infinite is None."""
    return [
        {
            "part": one.name.part,
            "quantity": one.name.quantity,
            "unit": one.name.unit,
            "verdict": one.verdict,
            "first": round(one.slope.first, 6),
            "last": round(one.slope.last, 6),
            "per_hour": round(one.slope.per_hour, 6),
            "low": round(one.slope.low, 6) if math.isfinite(one.slope.low) else None,
            "high": round(one.slope.high, 6) if math.isfinite(one.slope.high) else None,
        }
        for one in found
    ]


def picture(series: Series, found: list[Found]) -> str:
    """Draw each series over time as SVG: the readings, what is left out as warm-up, and the line of the slope."""
    figure, axes = new_figure()
    axes.remove()
    columns = 4
    rows = math.ceil(len(found) / columns)
    figure.set_size_inches(3.0 * columns, 1.75 * rows)
    for place, one in enumerate(found):
        at_s, values = series.of(one.name, 0.0)
        cut = WARM_UP * float(series.at_s[series.count - 1])
        panel = figure.add_subplot(rows, columns, place + 1)
        panel.axvspan(0, cut / 60, color="#eceef1", linewidth=0)
        panel.plot(at_s / 60, values, color=COLOURS[one.verdict], linewidth=0.9)
        panel.plot(
            [cut / 60, float(at_s[-1]) / 60],
            [one.slope.first, one.slope.first + one.slope.per_hour * (float(at_s[-1]) - cut) / 3600],
            color=INK,
            linewidth=0.9,
            linestyle="--",
        )
        panel.set_ylim(*_limits(float(values.min()), float(values.max())))
        unit = f", {one.name.unit}" if one.name.unit else ""
        panel.set_title(f"{one.name.part}: {one.name.quantity}{unit}", fontsize=8, color=INK, loc="left")
        panel.tick_params(labelsize=7, colors=FAINT)
        panel.ticklabel_format(useOffset=False)
        for side in ("top", "right"):
            panel.spines[side].set_visible(False)
        if place >= len(found) - columns:
            panel.set_xlabel("minutes", fontsize=7, color=INK)
    return svg_text(figure)


COLOURS = {
    "flat": "#1b7f79",
    "constant": "#1b7f79",
    "must grow": "#6b7785",
    "grows": "#c8553d",
    "falls": "#b8860b",
    "too short to tell": "#8a4fbf",
}


def _limits(least: float, most: float) -> tuple[float, float]:
    """Return limits of an axis that show at least a tenth of the size, so that small noise does not look large."""
    room = max(0.1 * max(abs(most), abs(least)), 1.3 * (most - least), 1e-3)
    middle = (least + most) / 2
    return middle - room / 2, middle + room / 2


def _number(value: float) -> str:
    return f"{value:,.0f}" if float(value).is_integer() else f"{value:,.1f}" if value >= 10 else f"{value:.3f}"
