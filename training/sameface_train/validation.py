"""Measures a network in training on held-out identities, and chooses the best step by these figures.

The best step has the lowest FNMR. Of equal ones it is the latest, because later steps have the smaller learning rate
and the longer average of the weights.
"""

import csv
import io
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import compress
from pathlib import Path

import numpy as np
from torch import nn

from sameface.evaluation.cross_comparison import compare_all_samples
from sameface.evaluation.forgery_names import signer
from sameface.evaluation.samples import Samples as Embedded
from sameface_qdrant.metrics.error_rates import fnmr, threshold_at_fmr
from sameface_train.embedding import embed, unit
from sameface_train.errors import UnusableData
from sameface_train.lines import complete_lines, damaged_line, write_whole
from sameface_train.samples import Samples
from sameface_train.signers import GENUINE, is_forged

VALIDATION_FMR = 1e-3
HEADINGS = ("step", "fmr", "threshold", "fnmr_by_identity", "forgery_fmr", "best")
CRITERION = "lowest FNMR of held-out identities; of equal ones the latest step"


@dataclass(frozen=True, slots=True)
class Measured:
    """Figures on held-out identities at one step, by cosine over every pair of images."""

    step: int
    fmr: float
    """The rate at which the FNMR is measured, 0..1."""
    threshold: float
    """The lowest score that accepts at this rate, −1..1."""
    fnmr: float
    """0..1; every identity counts the same."""
    forgery_fmr: float | None = None
    """Share of the skilled forgeries accepted at this threshold, 0..1; every signer counts the same. None without."""

    @property
    def text(self) -> str:
        """One line for a person."""
        forged = "" if self.forgery_fmr is None else f", FMR of skilled forgeries {self.forgery_fmr:.2%}"
        return f"held-out identities at step {self.step}: FNMR {self.fnmr:.2%} at FMR {self.fmr:.2g}{forged}"

    def is_as_good_as(self, other: "Measured | None") -> bool:
        """Return whether this step is chosen over ``other``, an earlier one (`CRITERION`).

        >>> early, late = Measured(10, 1e-3, 0.5, 0.2), Measured(20, 1e-3, 0.5, 0.2)
        >>> late.is_as_good_as(early), Measured(30, 1e-3, 0.4, 0.3).is_as_good_as(late)
        (True, False)
        """
        return other is None or self.fnmr <= other.fnmr


def check_held_out(held_out: Samples) -> None:
    """Check that there are enough held-out images to measure on.

    Raises:
        UnusableData: there are fewer than two identities, or none of them has two images.
    """
    genuine = without_forgeries(held_out)
    counts = np.bincount(genuine.labels, minlength=1)
    if len(counts) < 2 or counts.max() < 2:
        kind = "images" if len(genuine) == len(held_out) else "genuine images"
        raise UnusableData(
            f"{len(genuine.identities)} identities with {len(genuine)} {kind} are held out; expected two "
            "identities or more, one of them with two images: raise --hold-out",
            metadata={"field": "hold_out"},
        )


def embedded(network: nn.Sequential, held_out: Samples, side: tuple[int, int], device: str) -> Embedded:
    """Return held-out images as labelled unit vectors [N, D], for `sameface.evaluation`."""
    vectors = unit(embed(network, held_out.images, side, device))
    owners = tuple(held_out.identities[label] for label in held_out.labels)
    return Embedded(vectors, owners, held_out.names)


def without_forgeries(held_out: Samples) -> Samples:
    """Return the samples without forgeries of signatures, which are never mated with anything."""
    return held_out.of(np.array([not is_forged(identity) for identity in held_out.identities]))


def forgery_fmr(vectors: Embedded, threshold: float) -> float | None:
    """Return how many pairs of a forgery and a genuine image of the signer it imitates score ``threshold`` or more.

    It is a share, 0..1; every signer counts the same. None if no signer has both.
    """
    owners = np.asarray(vectors.identity)
    shares = []
    for forged in sorted({owner for owner in vectors.identity if is_forged(owner)}):
        genuine = vectors.vectors[owners == signer(forged) + GENUINE]
        if len(genuine):
            shares.append(float((vectors.vectors[owners == forged] @ genuine.T >= threshold).mean()))
    return float(np.mean(shares)) if shares else None


def measure(vectors: Embedded, step: int) -> Measured:
    """Measure FNMR at `VALIDATION_FMR` over every pair without forgeries; every identity counts the same.

    With fewer than a thousand non-mated comparisons, the FMR is that of one false match. Forgeries are compared with
    the genuine images of their signers, at the same threshold.

    Raises:
        NotEnoughData: there is no mated or no non-mated comparison.
    """
    genuine = np.array([not is_forged(owner) for owner in vectors.identity])
    comparison = compare_all_samples(
        replace(
            vectors,
            vectors=vectors.vectors[genuine],
            identity=tuple(compress(vectors.identity, genuine)),
            sample=tuple(compress(vectors.sample, genuine)),
        )
    )
    scores, weights = comparison.weighted_tail()
    rate = max(VALIDATION_FMR, 1.0 / comparison.non_mated)
    threshold = threshold_at_fmr(scores, rate, weights)
    found = fnmr(comparison.mated, threshold, comparison.identity_weights)
    # Plain numbers: a checkpoint takes no others.
    return Measured(step, float(rate), float(threshold), float(found), forgery_fmr(vectors, threshold))


def validate(network: nn.Sequential, held_out: Samples, side: tuple[int, int], device: str, step: int) -> Measured:
    """Measure a network by cosine over every pair of images; see `measure`."""
    return measure(embedded(network, held_out, side, device), step)


def write_measured(path: Path, rows: Sequence[Measured], best: int | None) -> None:
    """Write ``validation.csv``: one line for each step, and ``best`` in the last column of the best one."""
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(HEADINGS)
    for row in rows:
        forged = "" if row.forgery_fmr is None else f"{row.forgery_fmr:.5f}"
        mark = "best" if row.step == best else ""
        writer.writerow((row.step, f"{row.fmr:.6g}", f"{row.threshold:.4f}", f"{row.fnmr:.5f}", forged, mark))
    write_whole(path, text.getvalue())


def read_measured(path: Path) -> list[Measured]:
    """Return the lines of ``validation.csv``, in order; none if there is no such file.

    Half a line at the end is left out.

    Raises:
        WrongCheckpoint: another line is damaged.
    """
    measured = []
    rows = csv.DictReader(complete_lines(path))
    for row in rows:
        try:
            fmr, threshold, missed = (float(row[name]) for name in ("fmr", "threshold", "fnmr_by_identity"))
            forged = row.get("forgery_fmr")
            measured.append(Measured(int(row["step"]), fmr, threshold, missed, float(forged) if forged else None))
        except (KeyError, TypeError, ValueError):
            raise damaged_line(path, rows.line_num) from None
    return measured


def until(rows: Iterable[Measured], step: int) -> list[Measured]:
    """Return the figures up to a step: a continued run measures later ones again."""
    return [row for row in rows if row.step <= step]


def stated_figures(path: Path, step: int) -> str:
    """Return what a model card says of the figures of a step in ``validation.csv``.

    >>> stated_figures(Path("a run without held-out identities/validation.csv"), 10)
    'not measured: the run held no identities out'
    """
    rows = read_measured(path)
    found = [row.text for row in rows if row.step == step]
    if found:
        return f"{found[-1]}; the step was chosen by them"
    return f"not measured at step {step}" if rows else "not measured: the run held no identities out"
