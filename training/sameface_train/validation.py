"""How a network in training does on identities that are kept out of it, to choose by."""

from pathlib import Path

import numpy as np
from torch import nn

from sameface.evaluation.cross import cross_scores
from sameface.evaluation.samples import Samples as Embedded
from sameface_qdrant.metrics import fnmr, threshold_at_fmr
from sameface_train.embedding import embed, unit
from sameface_train.errors import UnusableData
from sameface_train.samples import Samples

VALIDATION_FMR = 1e-3


def check_held_out(held_out: Samples) -> None:
    """Refuse too few.

    Raises:
        UnusableData: there is one identity, or none has two images.
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
    """Measure FNMR (each identity counting the same) at `VALIDATION_FMR`, by cosine over all pairs.

    Appends a line to the CSV file ``path`` and returns one for people.
    """
    vectors = unit(embed(network, held_out.images, side, device))
    owners = tuple(held_out.identities[label] for label in held_out.labels)
    crossed = cross_scores(Embedded(vectors, owners, held_out.names))
    scores, weights = crossed.weighted_tail()
    threshold = threshold_at_fmr(scores, VALIDATION_FMR, weights)
    missed = fnmr(crossed.mated, threshold, crossed.by_identity)
    if not path.is_file():
        path.write_text("step,fmr,threshold,fnmr_by_identity\n", encoding="utf-8")
    with path.open("a", encoding="utf-8") as file:
        file.write(f"{step},{VALIDATION_FMR},{threshold:.4f},{missed:.5f}\n")
    return f"held-out identities at step {step}: FNMR {missed:.2%} at FMR {VALIDATION_FMR:g}"
