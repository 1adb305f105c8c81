"""Measures a network in training on held-out identities, to choose the best step by."""

from pathlib import Path

import numpy as np
from torch import nn

from sameface.evaluation.cross_comparison import compare_all_samples
from sameface.evaluation.samples import Samples as Embedded
from sameface_qdrant.metrics.error_rates import fnmr, threshold_at_fmr
from sameface_train.embedding import embed, unit
from sameface_train.errors import UnusableData
from sameface_train.samples import Samples

VALIDATION_FMR = 1e-3
HEADINGS = "step,fmr,threshold,fnmr_by_identity"


def check_held_out(held_out: Samples) -> None:
    """Check that there are enough held-out images to measure on.

    Raises:
        UnusableData: there are fewer than two identities, or none of them has two images.
    """
    counts = np.bincount(held_out.labels)
    if len(counts) < 2 or counts.max() < 2:
        raise UnusableData(
            f"{len(counts)} identities with {len(held_out)} images are held out; expected two identities or more, one "
            "of them with two images: raise --hold-out",
            metadata={"field": "hold_out"},
        )


def validate(
    network: nn.Sequential, held_out: Samples, side: tuple[int, int], device: str, step: int, path: Path
) -> str:
    """Measure FNMR at `VALIDATION_FMR` by cosine over every pair of images; every identity counts the same.

    With fewer than a thousand non-mated comparisons, the FMR is that of one false match. The result is appended to the
    CSV file ``path``, after lines from this step on are removed. Returns a line of text.
    """
    vectors = unit(embed(network, held_out.images, side, device))
    owners = tuple(held_out.identities[label] for label in held_out.labels)
    comparison = compare_all_samples(Embedded(vectors, owners, held_out.names))
    scores, weights = comparison.weighted_tail()
    rate = max(VALIDATION_FMR, 1.0 / comparison.non_mated)
    threshold = threshold_at_fmr(scores, rate, weights)
    measured_fnmr = fnmr(comparison.mated, threshold, comparison.identity_weights)
    cut_after(path, step - 1)
    if not path.is_file():
        path.write_text(f"{HEADINGS}\n", encoding="utf-8")
    with path.open("a", encoding="utf-8") as file:
        file.write(f"{step},{rate:.6g},{threshold:.4f},{measured_fnmr:.5f}\n")
    return f"held-out identities at step {step}: FNMR {measured_fnmr:.2%} at FMR {rate:.2g}"


def cut_after(path: Path, step: int) -> None:
    """Remove the lines after ``step`` from a validation file: a continued run measures them again."""
    if path.is_file():
        lines = path.read_text(encoding="utf-8").splitlines()[1:]
        kept = [line for line in lines if int(line.split(",")[0]) <= step]
        path.write_text("\n".join([HEADINGS, *kept, ""]), encoding="utf-8")
