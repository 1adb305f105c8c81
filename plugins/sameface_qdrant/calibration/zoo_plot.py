"""Draws the biometric menagerie: the mean mated and mean non-mated score of each identity (a zoo plot).

Needs the extra ``plots`` (matplotlib), which is imported when a plot is drawn.
"""

from pathlib import Path
from typing import TYPE_CHECKING

from sameface_qdrant.calibration.report import FAINT, GRID, INK, NON_MATED, new_figure, style_axes
from sameface_qdrant.metrics.animals import Animal, Animals

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLOURS = {Animal.DOVE: "#1b7f79", Animal.CHAMELEON: "#b8860b", Animal.PHANTOM: "#26408b", Animal.WORM: NON_MATED}
SIGNIFICANCE = 0.05


def zoo_figure(found: Animals) -> "Figure":
    """Draw every identity at its mean scores, with the four corners of doves, chameleons, phantoms and worms.

    Each corner says how many identities it holds, and whether these are more than by chance. No identity is named.

    Raises:
        ImportError: matplotlib is not installed.
    """
    figure, axes = new_figure()
    others = [one for one in found.identities if one.animal is None]
    axes.scatter([one.mated for one in others], [one.non_mated for one in others], s=14, color=FAINT, linewidths=0)
    for animal, colour in COLOURS.items():
        own = found.of(animal)
        axes.scatter([one.mated for one in own], [one.non_mated for one in own], s=24, color=colour, linewidths=0)
    _frame_corners(axes, found)
    axes.set_xlabel("mean mated score of the identity (cosine)")
    axes.set_ylabel("mean non-mated score of the identity (cosine)")
    axes.set_title(f"Biometric menagerie of {len(found.identities):,} identities", loc="left", color=INK, fontsize=12)
    style_axes(axes)
    return figure


def write_zoo_png(path: Path, found: Animals) -> None:
    """Draw `zoo_figure` into a PNG file.

    Raises:
        ImportError: matplotlib is not installed.
        OSError: the file cannot be written.
    """
    zoo_figure(found).savefig(path, format="png", dpi=120)


def _frame_corners(axes: "Axes", found: Animals) -> None:
    """Shade the corners, from the quarters to the ends of the axes."""
    axes.margins(0.1)
    (left, right), (bottom, top) = axes.get_xlim(), axes.get_ylim()
    (low, high), (quiet, loud) = found.mated_quarters, found.non_mated_quarters
    for animal, (x1, x2), (y1, y2) in (
        (Animal.DOVE, (high, right), (bottom, quiet)),
        (Animal.CHAMELEON, (high, right), (loud, top)),
        (Animal.PHANTOM, (left, low), (bottom, quiet)),
        (Animal.WORM, (left, low), (loud, top)),
    ):
        axes.fill([x1, x2, x2, x1], [y1, y1, y2, y2], color=COLOURS[animal], alpha=0.09, linewidth=0, zorder=0)
        x, align = (x1 + 0.01 * (right - left), "left") if x1 == left else (x2 - 0.01 * (right - left), "right")
        y, side = (y1 + 0.01 * (top - bottom), "bottom") if y1 == bottom else (y2 - 0.01 * (top - bottom), "top")
        text = f"{animal.value}s: {len(found.of(animal)):,}\n{_chance(found.p_values[animal])}"
        axes.text(x, y, text, ha=align, va=side, color=COLOURS[animal], fontsize=9, fontweight="bold")
    for x in (low, high):
        axes.axvline(x, color=GRID, linewidth=1.2, zorder=0)
    for y in (quiet, loud):
        axes.axhline(y, color=GRID, linewidth=1.2, zorder=0)
    axes.set_xlim(left, right)
    axes.set_ylim(bottom, top)


def _chance(p_value: float) -> str:
    """Return whether there are more than by chance, as text."""
    return f"more than by chance\n(p = {p_value:.1g})" if p_value <= SIGNIFICANCE else "as by chance"
