"""Pictures: the curves of a run, the results of a comparison, and a map of images by their embeddings."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sameface.evaluation.pictures import principal_components
from sameface_train.errors import UnusableData
from sameface_train.monitor import Reading
from sameface_train.samples import Images

MAP_INCHES = 9.0
PICTURE_INCHES = 0.3


def draw_log(readings: list[Reading], target: Path, title: str) -> None:
    """Write the run's curves as a picture."""
    from matplotlib.figure import Figure

    # A fixed layout: a constrained one draws everything twice, and a short run spends most of its time here.
    figure = Figure(figsize=(10, 6), facecolor="white")
    figure.subplots_adjust(left=0.06, right=0.985, bottom=0.08, top=0.88, wspace=0.14, hspace=0.34)
    steps = [reading.step for reading in readings]
    for axes, (name, label) in zip(
        figure.subplots(2, 2).ravel(),
        (
            ("loss", "loss"),
            ("active", "active share (still causes a loss)"),
            ("norm", "norm of the embeddings before normalisation"),
            ("spread", "spread (0: collapsed to a point)"),
        ),
        strict=True,
    ):
        values = [getattr(reading, name) for reading in readings]
        axes.plot(steps, values, color="#c9d3e0", linewidth=0.8)
        axes.plot(steps, _smoothed(values), color="#22577a", linewidth=1.8)
        axes.set_title(label, loc="left", fontsize=10)
        axes.set_xlabel("step")
        axes.grid(True, color="#e6eaef")
        for side in ("top", "right"):
            axes.spines[side].set_visible(False)
        axes.set_ylim(bottom=0.0)
    figure.suptitle(title, x=0.01, ha="left")
    figure.savefig(target, dpi=130, pil_kwargs={"compress_level": 1})


def _smoothed(values: list[float], decay: float = 0.95) -> list[float]:
    smoothed: list[float] = []
    for value in values:
        smoothed.append(value if not smoothed else decay * smoothed[-1] + (1.0 - decay) * value)
    return smoothed


def draw_map(vectors: NDArray[np.float32], images: Images, labels: Sequence[int], target: Path, title: str) -> None:
    """Draw images [N, C, H, W] at the places of their embeddings [N, D], with a frame in the colour of the identity.

    Two dimensions are drawn as they are, as in Hadsell et al. 2006 (figure 5). More are reduced to two by PCA.

    Raises:
        UnusableData: there are fewer than two images.
    """
    from matplotlib import colormaps
    from matplotlib.figure import Figure
    from matplotlib.offsetbox import AnnotationBbox, OffsetImage

    if len(vectors) < 2:
        raise UnusableData(f"a map needs two images or more, and there are {len(vectors)}")
    places = vectors if vectors.shape[1] == 2 else principal_components(vectors)[0]
    figure = Figure(figsize=(MAP_INCHES, MAP_INCHES), layout="constrained", facecolor="white")
    axes = figure.subplots()
    middle = (places.max(axis=0) + places.min(axis=0)) / 2
    reach = 0.55 * (float(np.ptp(places, axis=0).max()) or 1.0)
    axes.set_xlim(middle[0] - reach, middle[0] + reach)
    axes.set_ylim(middle[1] - reach, middle[1] + reach)
    axes.set_aspect("equal")
    zoom = PICTURE_INCHES * 72.0 / images.shape[3]
    colours = colormaps["tab10"]
    for place, image, label in zip(places, images, labels, strict=True):
        framed = AnnotationBbox(
            OffsetImage(_shown(image), zoom=zoom, cmap="gray_r"),
            (float(place[0]), float(place[1])),
            pad=0.1,
            bboxprops={"edgecolor": colours(label % 10), "linewidth": 1.4},
        )
        axes.add_artist(framed)
    axes.set_title(title, loc="left")
    axes.grid(True, color="#e6eaef")
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    figure.savefig(target, dpi=110)


def _shown(image: Images) -> Images:
    return image[0] if len(image) == 1 else np.ascontiguousarray(image.transpose(1, 2, 0))


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
