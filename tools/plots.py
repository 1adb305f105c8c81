"""Draws the plots of docs/images: calibration.png, menagerie.png and evaluation-det.png; `make plots` runs it.

The menagerie is that of tests/plugin/data/omniglot.npz: 150 handwritten characters, drawn by twelve people each. The
others show the made-up samples of docs/calibration.md and docs/evaluation.md. Unlike `tools/pictures.py` there is no
check, because other versions of matplotlib draw other bytes.
"""

from pathlib import Path

import numpy as np

from sameface.evaluation.det_plot import Mark, MarkedCurve, det_figure
from sameface.evaluation.samples import Samples
from sameface.evaluation.verification import sampled_det_curve, verify
from sameface_qdrant.calibration.report import marked_thresholds, write_png
from sameface_qdrant.calibration.thresholds import calibrate
from sameface_qdrant.calibration.zoo_plot import write_zoo_png
from sameface_qdrant.metrics.animals import group_identities
from sameface_qdrant.metrics.comparisons import Comparisons
from sameface_qdrant.metrics.cross_comparison import compare_gallery
from sameface_qdrant.metrics.curves import curves

ROOT = Path(__file__).resolve().parents[1]
IMAGES = ROOT / "docs" / "images"
CHARACTERS = ROOT / "tests" / "plugin" / "data" / "omniglot.npz"


def characters() -> Comparisons:
    """Return every comparison of the characters."""
    with np.load(CHARACTERS) as arrays:
        vectors = arrays["vector"].astype(np.float32)
        names = [f"{one}/{other}" for one, other in zip(arrays["alphabet"], arrays["character"], strict=True)]
    return compare_gallery(vectors / np.linalg.norm(vectors, axis=1, keepdims=True), names)


def voices() -> Comparisons:
    """Return every comparison of the gallery of docs/calibration.md."""
    rng = np.random.default_rng(1)
    vectors, names = [], []
    for number in range(100):
        centre = rng.normal(size=32)
        vectors += [centre + 0.6 * rng.normal(size=32) for _ in range(2)]
        names += [f"person-{number}"] * 2
    every = np.array(vectors, np.float32)
    return compare_gallery(every / np.linalg.norm(every, axis=1, keepdims=True), names)


def made_up(noise: float) -> MarkedCurve:
    """Return the DET curve of the samples of docs/evaluation.md."""
    rng = np.random.default_rng(0)
    identity = [f"person-{number:03}" for number in range(120) for _ in range(3)]
    centres = {name: rng.normal(size=32) for name in identity}
    rng = np.random.default_rng(1)
    vectors = np.stack([centres[name] + noise * rng.normal(size=32) for name in identity])
    unit = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)
    found = verify(Samples(unit, tuple(identity), tuple(f"{name}/{row}" for row, name in enumerate(identity))))
    marks = [Mark(point.fmr, point.fnmr_by_identity, found.support.holds(point.target)) for point in found.points]
    return MarkedCurve(sampled_det_curve(found.comparison), marks, found.support.lowest)


def main() -> None:
    """Draw the plots."""
    gallery = voices()
    found = calibrate(gallery, target_fmr=1e-3, target_fpir=0.05, gallery_size=len(gallery.names))
    write_png(IMAGES / "calibration.png", curves(gallery), marked_thresholds(found))
    write_zoo_png(IMAGES / "menagerie.png", group_identities(characters()))
    det = det_figure({"before.npz": made_up(0.75), "after.npz": made_up(0.6)})
    det.savefig(IMAGES / "evaluation-det.png", format="png", dpi=120)


if __name__ == "__main__":
    main()
