"""Pictures: the curves of a run, and the results of a comparison."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from sameface_train.monitor import Reading
from sameface_train.validation import Measured

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

LONG_RUN = 400
"""From this many steps on, single steps are too dense to read, and a moving average is drawn over them."""
RAW, LINE, GRID, INK, BEST = "#9db4c8", "#22577a", "#e6eaef", "#1f2933", "#c8553d"
PANELS = (
    ("loss", "loss"),
    ("active", "active share (still causes a loss)"),
    ("norm", "norm before normalisation"),
    ("spread", "spread (0: one point)"),
    ("learning_rate", "learning rate, thousandths"),
)


def draw_log(
    readings: Sequence[Reading], measured: Sequence[Measured], best: Measured | None, target: Path, title: str
) -> None:
    """Write the run's curves as a picture, see `log_figure`."""
    log_figure(readings, measured, best, title).savefig(target, dpi=130, pil_kwargs={"compress_level": 1})


def log_figure(
    readings: Sequence[Reading], measured: Sequence[Measured], best: Measured | None, title: str
) -> "Figure":
    """Draw the run's curves: a panel for each reading, and one for the held-out figures.

    Every step is drawn as it was. Runs of `LONG_RUN` steps and more also get a centred moving average.
    """
    from matplotlib.figure import Figure

    # A fixed layout: a constrained one draws everything twice, and a short run spends most of its time here.
    figure = Figure(figsize=(9, 5.2), facecolor="white")
    figure.subplots_adjust(left=0.055, right=0.985, bottom=0.09, top=0.86, wspace=0.2, hspace=0.42)
    panels = list(figure.subplots(2, 3).ravel())
    held_out = panels.pop(2)
    steps = np.array([reading.step for reading in readings])
    for axes, (name, label) in zip(panels, PANELS, strict=True):
        values = np.array([getattr(reading, name) for reading in readings], dtype=np.float64)
        _draw_reading(axes, steps, 1000.0 * values if name == "learning_rate" else values)
        _style(axes, label)
    if len(steps) >= LONG_RUN:
        panels[0].legend(loc="upper right", fontsize=8, frameon=False, labelcolor=INK)
        # Room for the legend above the lines.
        panels[0].set_ylim(0.0, 1.35 * panels[0].get_ylim()[1])
    _draw_held_out(held_out, measured, best)
    figure.suptitle(title, x=0.01, ha="left", fontsize=11, color=INK)
    return figure


def moving_average(values: NDArray[np.float64], window: int) -> NDArray[np.float64]:
    """Return the mean of the ``window`` (odd) values around each; near the ends of those that there are.

    >>> moving_average(np.array([0.0, 3.0, 6.0, 0.0]), 3).tolist()
    [1.5, 3.0, 3.0, 3.0]
    """
    kernel = np.ones(window)
    counted: NDArray[np.float64] = np.convolve(np.isfinite(values), kernel, "same")
    sums: NDArray[np.float64] = np.convolve(np.where(np.isfinite(values), values, 0.0), kernel, "same")
    return np.asarray(sums / np.maximum(counted, 1.0), dtype=np.float64)


def _draw_reading(axes: "Axes", steps: NDArray[np.int64], values: NDArray[np.float64]) -> None:
    if len(steps) < LONG_RUN:
        axes.plot(steps, values, color=RAW, linewidth=0.8)
        axes.plot(steps, values, ".", color=LINE, markersize=3.5)
    else:
        window = len(steps) // 50 | 1
        axes.plot(steps, values, color=RAW, linewidth=0.6, label="each step")
        axes.plot(steps, moving_average(values, window), color=LINE, linewidth=1.6, label=f"mean of {window} steps")
    axes.set_ylim(0.0, 1.06 * axes.get_ylim()[1])


def _draw_held_out(axes: "Axes", measured: Sequence[Measured], best: Measured | None) -> None:
    _style(axes, f"held-out FNMR at FMR {100.0 * measured[-1].fmr:.2g} %, %" if measured else "held-out identities")
    if not measured:
        axes.text(0.5, 0.5, "none: see --hold-out", ha="center", transform=axes.transAxes, color="#6b7785", fontsize=9)
        axes.set_xticks([])
        axes.set_yticks([])
        return
    axes.plot([one.step for one in measured], [100.0 * one.fnmr for one in measured], ".-", color=LINE, linewidth=1.2)
    if best is not None:
        label = f"best: step {best.step}, {100.0 * best.fnmr:.3g} %"
        axes.plot(
            [best.step],
            [100.0 * best.fnmr],
            "o",
            markersize=9,
            markeredgewidth=2,
            fillstyle="none",
            color=BEST,
            label=label,
        )
        axes.legend(loc="upper right", fontsize=8, frameon=False, labelcolor=INK)
    axes.margins(x=0.08)
    # Here too.
    axes.set_ylim(0.0, 1.3 * max(1e-3, *(100.0 * one.fnmr for one in measured)))


def _style(axes: "Axes", title: str) -> None:
    axes.set_title(title, loc="left", fontsize=9, color=INK)
    axes.set_xlabel("step", fontsize=8)
    axes.locator_params(axis="x", integer=True)
    axes.tick_params(labelsize=8)
    axes.grid(True, color=GRID)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)


def draw_results(results: Sequence[Mapping[str, Any]], measures: Sequence[str], target: Path, title: str) -> None:
    """Draw the results of a comparison: a panel for each measure, a line for each recipe, a dot for each seed."""
    from matplotlib.figure import Figure

    done = [row for row in results if "collapsed" not in row]
    recipes = list(dict.fromkeys(row["recipe"] for row in done))[::-1]
    figure = Figure(figsize=(2.2 + 2.2 * len(measures), 1.2 + 0.34 * len(recipes)), layout="constrained")
    for axes, measure in zip(figure.subplots(1, len(measures), sharey=True, squeeze=False)[0], measures, strict=True):
        for place, recipe in enumerate(recipes):
            values = [100.0 * row[measure] for row in done if row["recipe"] == recipe]
            axes.plot(values, [place] * len(values), "o", color="#7ba3c4", markersize=5)
            axes.plot([float(np.mean(values))], [place], "|", color="#22577a", markersize=14, markeredgewidth=2)
        axes.set_title(f"{measure}, %", loc="left", fontsize=10)
        axes.set_yticks(range(len(recipes)), recipes)
        axes.grid(True, color="#e6eaef")
        for side in ("top", "right"):
            axes.spines[side].set_visible(False)
    figure.suptitle(title, x=0.01, ha="left")
    figure.savefig(target, dpi=130)
