"""How a network in training does on identities that are kept out of it, to choose by."""

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

    With fewer than a thousand non-mated pairs it is at the rate of one of them. Appends a line to the CSV file ``path``
    in place of what it has from this step on, and returns one for people.
    """
    vectors = unit(embed(network, held_out.images, side, device))
    owners = tuple(held_out.identities[label] for label in held_out.labels)
    compared = compare_all_samples(Embedded(vectors, owners, held_out.names))
    scores, weights = compared.weighted_tail()
    rate = max(VALIDATION_FMR, 1.0 / compared.non_mated)
    threshold = threshold_at_fmr(scores, rate, weights)
    missed = fnmr(compared.mated, threshold, compared.identity_weights)
    cut_after(path, step - 1)
    if not path.is_file():
        path.write_text(f"{HEADINGS}\n", encoding="utf-8")
    with path.open("a", encoding="utf-8") as file:
        file.write(f"{step},{rate:.6g},{threshold:.4f},{missed:.5f}\n")
    return f"held-out identities at step {step}: FNMR {missed:.2%} at FMR {rate:.2g}"


def cut_after(path: Path, step: int) -> None:
    """Take off a validation file what lies after the step that a run goes on from, to be measured again."""
    if path.is_file():
        lines = path.read_text(encoding="utf-8").splitlines()[1:]
        kept = [line for line in lines if int(line.split(",")[0]) <= step]
        path.write_text("\n".join([HEADINGS, *kept, ""]), encoding="utf-8")
