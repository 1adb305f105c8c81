"""Do calibrated thresholds hold on other people? Halves of a labelled folder: one to choose from, one to judge by.

python -m benchmarks.calibration FOLDER          # one sub-folder of photos per identity, for instance LFW's
"""

import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from numpy.typing import NDArray

from sameface.client import Client
from sameface.evaluation.dataset import read_photos
from sameface.evaluation.embedding import embed_photos
from sameface.launcher import served
from sameface_qdrant.calibration.thresholds import calibrate
from sameface_qdrant.metrics import error_rates as metrics
from sameface_qdrant.metrics.comparisons import Comparisons
from sameface_qdrant.metrics.cross_comparison import Vectors, compare_templates
from sameface_qdrant.metrics.error_rates import Hits
from sameface_qdrant.metrics.menagerie import Errors, find_lambs

SPLITS = 10
TARGETS = ((1e-3, 0.05), (1e-4, 0.02))


def main(folder: Path) -> None:
    """Print the rates on the judging halves, by method, and what thresholds per identity gain."""
    photos = read_photos(folder)
    with TemporaryDirectory(prefix="sameface-bench-") as name:
        place = Path(name)
        with (
            served(place / "data", place / "log", ["--inference", "onnx"]) as service,
            Client(service.address) as client,
        ):
            samples = embed_photos(client, folder, photos, 0, lambda: None).samples
    vectors, owners = samples.vectors, np.array(samples.identity)
    people = np.unique(owners)
    print(f"{folder.name}: {len(people)} identities, {len(owners)} photos with a face; {SPLITS} splits by identity")
    for target_fmr, target_fpir in TARGETS:
        fmrs, fpirs, by_formula = [], [], []
        for seed in range(SPLITS):
            half = np.random.default_rng(seed).permutation(people)[: len(people) // 2]
            chosen, judged = (
                _compared(vectors, owners, np.isin(owners, half, invert=other)) for other in (False, True)
            )
            found = calibrate(
                chosen, target_fmr=target_fmr, target_fpir=target_fpir, gallery_size=half.size, replicates=50
            )
            assert judged.strangers is not None
            assert found.identify.other is not None
            fmrs.append(metrics.fmr(judged.non_mated, found.verify.threshold))
            fpirs.append(metrics.fpir(judged.strangers.scores, found.identify.threshold))
            by_formula.append(metrics.fpir(judged.strangers.scores, found.identify.other))
        print(f"FMR aimed for {target_fmr:g}: {_spread(fmrs)} on the other half")
        print(f"FPIR aimed for {target_fpir:g}: {_spread(fpirs)} by searches, {_spread(by_formula)} by the formula")
    everybody = _compared(vectors, owners, np.ones(len(owners), np.bool_))
    for target_fmr, target_fpir in TARGETS:
        found = calibrate(
            everybody, target_fmr=target_fmr, target_fpir=target_fpir, gallery_size=people.size, replicates=50
        )
        flock = find_lambs(everybody, found.verify.threshold, target_fmr)
        raised = "" if flock.raised is None else f"; raised for all: {_errors(flock.raised)}"
        print(
            f"FMR aimed for {target_fmr:g}: {len(flock.lambs)} lambs; one threshold: {_errors(flock.before)}; "
            f"theirs: {_errors(flock.after)}{raised}"
        )


def _compared(vectors: Vectors, owners: NDArray[np.str_], rows: Hits) -> Comparisons:
    return compare_templates(vectors[rows], owners[rows].tolist())


def _spread(rates: list[float]) -> str:
    return f"{np.mean(rates):.2g} ({min(rates):.2g} to {max(rates):.2g})"


def _errors(errors: Errors) -> str:
    return f"FMR {errors.fmr:.2g}, FNMR {errors.fnmr:.2g}" if errors.fnmr is not None else f"FMR {errors.fmr:.2g}"


if __name__ == "__main__":
    main(Path(sys.argv[1]))
