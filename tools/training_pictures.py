"""Trains on random drawings, and writes docs/images/training-run.png and training-map.png: two minutes of a core."""

import sys
import tempfile
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from sameface_train import recipe, train
from sameface_train.samples import Samples

FOLDER = Path(__file__).resolve().parents[1] / "docs" / "images"
STEPS, IDENTITIES, EACH, SIDE = 400, 160, 6, 28


def drawings(seed: int) -> Samples:
    """Return drawings of a few strokes; those of an identity differ a little. [IDENTITIES × EACH, 1, 28, 28]."""
    rng = np.random.default_rng(seed)
    shapes = rng.uniform(5, 23, (IDENTITIES, 3, 4, 2))
    images = np.stack([_drawn(strokes, rng) for strokes in shapes for _ in range(EACH)])
    names = tuple(f"shape{number:03}" for number in range(IDENTITIES))
    return Samples(
        images=images[:, np.newaxis],
        labels=np.repeat(np.arange(IDENTITIES), EACH),
        identities=names,
        names=tuple(f"{name}/{number}.png" for name in names for number in range(EACH)),
    )


def _drawn(strokes: NDArray[np.float64], rng: np.random.Generator) -> NDArray[np.uint8]:
    canvas = np.zeros((SIDE, SIDE), np.uint8)
    for stroke in strokes + rng.normal(0, 1.3, strokes.shape):
        cv2.polylines(canvas, [np.round(stroke * 8).astype(np.int32)], False, 255, 1, cv2.LINE_AA, 3)
    return canvas


def main() -> None:
    """Write both pictures, with few colours, so that they stay small."""
    samples = drawings(seed=0)
    with tempfile.TemporaryDirectory() as folder:
        run = train(
            recipe("triplet", steps=STEPS), samples, Path(folder) / "run", hold_out=0.25, validate_every=40, note=print
        )
        known = set(run.trained.identities)
        chosen = [name for name in samples.identities if name not in known][:10]
        run.draw_map(samples.of(np.isin(samples.identities, chosen)), Path(folder) / "map.png")
        for source, name in (("run/training.png", "training-run.png"), ("map.png", "training-map.png")):
            with Image.open(Path(folder) / source) as picture:
                picture.convert("RGB").quantize(200).save(FOLDER / name, optimize=True)
            print(FOLDER / name, (FOLDER / name).stat().st_size, "bytes")


if __name__ == "__main__":
    sys.exit(main())
