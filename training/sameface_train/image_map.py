"""A map of images: each at the place where a network puts it."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import IO

import numpy as np
from numpy.typing import NDArray

from sameface.evaluation.pictures import principal_components
from sameface_train.errors import UnusableData
from sameface_train.samples import Images

INCHES = (9.0, 7.0)
DPI = 110
THUMBNAIL_INCHES = 0.46
"""The side of a square thumbnail: 50 pixels of the file, some 45 where a page shows it 880 pixels wide. Others have the
same area."""
MOST_THUMBNAILS = 150
NAMED = 20
"""Identities with a line in the legend."""


def draw_map(
    vectors: NDArray[np.float32],
    images: Images,
    labels: Sequence[int],
    target: Path | IO[bytes],
    title: str,
    names: Sequence[str] = (),
) -> None:
    """Draw a dot in the colour of its identity for every embedding [N, D], and images [N, C, H, W] where there is room.

    Two dimensions are drawn as they are, as in Hadsell et al. 2006 (figure 5). More are reduced to two by PCA.
    ``names`` are those of the identities, for the legend; ``labels`` [N] are their indices.

    Raises:
        UnusableData: there are fewer than two images.
    """
    from matplotlib import colormaps
    from matplotlib.figure import Figure
    from matplotlib.offsetbox import AnnotationBbox, OffsetImage

    if len(vectors) < 2:
        raise UnusableData(f"a map needs two images or more, and there are {len(vectors)}")
    places, share = (vectors, 1.0) if vectors.shape[1] == 2 else principal_components(vectors)
    figure = Figure(figsize=INCHES, layout="constrained", facecolor="white")
    axes = figure.subplots()
    middle = (places.max(axis=0) + places.min(axis=0)) / 2
    reach = 0.57 * (float(np.ptp(places, axis=0).max()) or 1.0)
    axes.set_xlim(middle[0] - reach, middle[0] + reach)
    axes.set_ylim(middle[1] - reach, middle[1] + reach)
    axes.set_aspect("equal")
    owners = np.asarray(labels)
    colours = colormaps["tab20" if len(np.unique(owners)) > 10 else "tab10"]
    for number, owner in enumerate(np.unique(owners)):
        own = owners == owner
        label = _short(names[owner]) if names and number < NAMED else None
        colour = colours(number % colours.N)
        axes.plot(
            places[own, 0], places[own, 1], "os^D"[number // colours.N % 4], color=colour, markersize=4, label=label
        )
    numbers = {owner: number for number, owner in enumerate(np.unique(owners))}
    height, width = images.shape[2:]
    side = math.sqrt(height * width)
    zoom = THUMBNAIL_INCHES * 72.0 / side
    # The axes are about as high as the figure.
    per_inch = 2 * reach / (INCHES[1] - 0.9)
    size = per_inch * (THUMBNAIL_INCHES / side * np.array([width, height]) + 0.08)
    for place in with_room(np.asarray(places, dtype=np.float64), size, MOST_THUMBNAILS):
        framed = AnnotationBbox(
            OffsetImage(_shown(images[place]), zoom=zoom, cmap="gray_r"),
            (float(places[place, 0]), float(places[place, 1])),
            pad=0.08,
            bboxprops={"edgecolor": colours(numbers[owners[place]] % colours.N), "linewidth": 1.6},
        )
        axes.add_artist(framed)
    axes.set_title(title, loc="left", fontsize=11)
    if vectors.shape[1] != 2:
        axes.set_xlabel(f"first two principal components: {share:.0%} of the variance", loc="left", fontsize=9)
    if names:
        left = len(numbers) - NAMED
        heading = f"identity (and {left} more)" if left > 0 else "identity"
        axes.legend(
            title=heading, loc="upper left", bbox_to_anchor=(1.01, 1.0), fontsize=9, frameon=False, alignment="left"
        )
    axes.grid(True, color="#e6eaef")
    axes.tick_params(labelsize=8)
    for edge in ("top", "right"):
        axes.spines[edge].set_visible(False)
    figure.savefig(target, dpi=DPI, format="png")


def with_room(places: NDArray[np.float64], size: NDArray[np.float64], most: int) -> list[int]:
    """Return which of ``places`` [N, 2] can have a picture of ``size`` (width, height) without an overlap.

    They are tried in an order that takes every part of the list early, so that each identity gets pictures.

    >>> with_room(np.array([[0.0, 0.0], [0.5, 0.0], [2.0, 0.0]]), np.array([1.0, 1.0]), 10)
    [0, 2]
    """
    chosen: list[int] = []
    stride = next(
        step for step in range(max(1, round(len(places) * 0.618)), len(places) + 2) if np.gcd(step, len(places)) == 1
    )
    for place in (number * stride % len(places) for number in range(len(places))):
        if len(chosen) == most:
            break
        apart = np.abs(places[chosen] - places[place]) >= size
        if apart.any(axis=1).all():
            chosen.append(place)
    return chosen


def _short(name: str) -> str:
    # A leading underscore would hide the line, and dollars would begin a formula.
    return "\u200b" + (name if len(name) <= 22 else f"…{name[-21:]}").replace("$", r"\$")


def _shown(image: Images) -> Images:
    return image[0] if len(image) == 1 else np.ascontiguousarray(image.transpose(1, 2, 0))
