"""Plots of the measurements, as SVG. Drawing imports matplotlib."""

from collections.abc import Mapping, Sequence
from typing import Any

from benchmarks.in_turns import Loads, middle
from benchmarks.operations import CALLERS
from benchmarks.serving import goals
from sameface.evaluation.report import Picture
from sameface_qdrant.calibration.report import INK, new_figure, style_axes, svg_text

COLOURS = ("#26408b", "#c8553d", "#1b7f79", "#8a4fbf", "#b8860b", "#6b7785", "#d46a9f", "#4f9d3a")
LONGEST_NAME = 42
RATIO_TICKS = (0.5, 0.7, 1, 1.5, 2, 3, 5, 7, 10, 15)


def serving_pictures(found: dict[str, Any]) -> list[Picture]:
    """Draw throughput of every contender, and the processor time of one verification by process."""
    loads: Loads = found["loads"]
    rates = {name: middle(loads, name, "per_s") for name in loads}
    cpu = {name: rounds[-1]["cpu_ms"] for name, rounds in loads.items()}
    return [
        Picture(
            "Runs or verifications a second. More is better.",
            svg=bars({name: {"": rate} for name, rate in rates.items()}, "a second"),
        ),
        Picture(
            "Processor time of one verification, in all threads. Less is better.",
            svg=bars(cpu, "milliseconds of processor time"),
        ),
        Picture("The ratios that have a goal. Each bar is the 95 % interval over the rounds.", svg=_intervals(found)),
    ]


def operations_pictures(found: dict[str, Any]) -> list[Picture]:
    """Draw throughput and latency over the number of callers, for each operation and size."""
    loads: Loads = found["loads"]
    kinds = list(dict.fromkeys(name.rpartition(", ")[0] for name in loads))
    pictures = []
    for figure, label, caption in (
        ("per_s", "calls a second", "Throughput by the number of callers."),
        ("median_ms", "median, ms", "Median latency by the number of callers."),
    ):
        curves = {
            kind: [
                (count, middle(loads, f"{kind}, {count}", figure)) for count in CALLERS if f"{kind}, {count}" in loads
            ]
            for kind in kinds
        }
        pictures.append(Picture(caption, svg=lines(curves, "callers", label)))
    return pictures


def bars(values: Mapping[str, Mapping[str, float]], label: str) -> str:
    """Draw one horizontal bar for each name, made of named parts."""
    figure, axes = new_figure()
    figure.set_size_inches(9.0, 1.2 + 0.34 * len(values))
    parts = list(dict.fromkeys(part for one in values.values() for part in one))
    names, left = list(values), [0.0] * len(values)
    for part, colour in zip(parts, COLOURS * (len(parts) // len(COLOURS) + 1), strict=False):
        widths = [values[name].get(part, 0.0) for name in names]
        axes.barh(range(len(names)), widths, left=left, color=colour, label=part or None, height=0.66)
        left = [before + width for before, width in zip(left, widths, strict=True)]
    for place, total in enumerate(left):
        axes.text(total, place, f" {total:.1f}", va="center", fontsize=8, color=INK)
    axes.set_yticks(range(len(names)), [shortened(name) for name in names])
    axes.invert_yaxis()
    axes.set_xlim(0, max(left) * 1.12)
    axes.set_xlabel(label)
    style_axes(axes)
    return svg_text(figure)


def lines(curves: Mapping[str, Sequence[tuple[float, float]]], across: str, up: str) -> str:
    """Draw curves on logarithmic axes, with a mark at each measured point."""
    from matplotlib.ticker import LogLocator

    figure, axes = new_figure()
    marks, styles = "os^D", ("-", "--", ":")
    for place, (name, points) in enumerate(curves.items()):
        colour = COLOURS[place % len(COLOURS)]
        axes.plot(
            *zip(*points, strict=True),
            styles[place // 3 % 3],
            marker=marks[place % 4],
            color=colour,
            label=name,
            markersize=5,
        )
    axes.set_xscale("log")
    axes.set_yscale("log")
    ticks = sorted({x for points in curves.values() for x, _ in points})
    axes.set_xticks(ticks, [f"{tick:,.10g}" for tick in ticks])
    axes.set_xlabel(across)
    axes.set_ylabel(up)
    axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.yaxis.set_major_formatter("{x:g}")
    axes.minorticks_off()
    style_axes(axes)
    return svg_text(figure)


def _intervals(found: dict[str, Any]) -> str:
    measured = [one for one in goals(found["loads"]) if "÷" in one.name]
    figure, axes = new_figure()
    figure.set_size_inches(9.0, 1.2 + 0.36 * len(measured))
    for place, one in enumerate(measured):
        colour = COLOURS[2] if one.met else COLOURS[1]
        axes.plot([one.found.low, one.found.high], [place, place], color=colour, linewidth=5, alpha=0.45)
        axes.plot([one.found.median], [place], "o", color=colour)
        wanted = float(one.wanted[2:])
        axes.plot([wanted, wanted], [place - 0.35, place + 0.35], color=INK, linewidth=1.5)
        axes.annotate(one.wanted, (wanted, place - 0.36), fontsize=7.5, color=INK, ha="center", va="bottom")
    axes.set_yticks(range(len(measured)), [shortened(one.name, 62) for one in measured])
    axes.invert_yaxis()
    axes.set_xscale("log")
    axes.set_xticks(RATIO_TICKS, [f"{tick:g}" for tick in RATIO_TICKS])
    axes.minorticks_off()
    axes.set_xlabel("ratio; the black mark is the goal, green reaches it")
    style_axes(axes)
    return svg_text(figure)


def shortened(name: str, longest: int = LONGEST_NAME) -> str:
    """Return a name on two lines if it is long."""
    if len(name) <= longest:
        return name
    cut = name.rfind(" ", 0, longest)
    return f"{name[:cut]}\n{name[cut + 1 :]}"
