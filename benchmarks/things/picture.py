"""Draws the scores of the claims. It needs matplotlib."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from benchmarks.things.attempts import FORGERY, GENUINE, IMPOSTOR, Attempt
from sameface_qdrant.calibration.report import INK, style_axes

COLOURS = {GENUINE: "#1b7f79", IMPOSTOR: "#c8553d", FORGERY: "#8a4fbf"}
BINS = np.linspace(-0.7, 1.0, 35)


def scores_png(found: Mapping[str, Sequence[Attempt]], target: Path) -> None:
    """Draw a panel for each thing: histograms of genuine claims, impostors and forgeries, with the threshold."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(5.2 * len(found), 3.4), layout="constrained")
    for axes, (name, attempts) in zip(figure.subplots(1, len(found), squeeze=False)[0], found.items(), strict=True):
        for kind, colour in COLOURS.items():
            if scores := [one.score for one in attempts if one.kind == kind]:
                counts, _ = np.histogram(np.clip(scores, BINS[0], BINS[-1]), BINS)
                label = f"{kind} ({len(scores):,})"
                axes.stairs(100.0 * counts / len(scores), BINS, color=colour, linewidth=1.8, label=label)
        threshold = next(one.threshold for one in attempts if one.kind == GENUINE)
        axes.axvline(threshold, color=INK, linewidth=1.3, linestyle="--", label=f"accepted ≥ {threshold:.3f}")
        axes.set_title(name, loc="left", color=INK, fontsize=12)
        axes.set_xlabel("score (cosine similarity)")
        axes.set_ylabel("% of the claims in a bin")
        style_axes(axes, "upper left")
    figure.savefig(target, dpi=110)
