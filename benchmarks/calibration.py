"""Checks calibrated thresholds on other people: chooses on half of a labelled folder, and tests on the other half.

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
from sameface_qdrant.metrics import error_rates
from sameface_qdrant.metrics.comparisons import Comparisons, Vectors
from sameface_qdrant.metrics.cross_comparison import compare_gallery
from sameface_qdrant.metrics.error_rates import Mask
from sameface_qdrant.metrics.menagerie import ErrorRates, propose_identity_thresholds

SPLITS = 10
TARGETS = ((1e-3, 0.05), (1e-4, 0.02))


def main(folder: Path) -> None:
    """Print the rates on the test halves by method, and the error rates with thresholds per identity."""
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
            chosen, test = (_compared(vectors, owners, np.isin(owners, half, invert=other)) for other in (False, True))
            found = calibrate(
                chosen, target_fmr=target_fmr, target_fpir=target_fpir, gallery_size=half.size, replicates=50
            )
            assert test.non_mated_searches is not None
            assert found.identify.other_threshold is not None
            fmrs.append(error_rates.fmr(test.non_mated, found.verify.threshold))
            fpirs.append(error_rates.fpir(test.non_mated_searches.scores, found.identify.threshold))
            by_formula.append(error_rates.fpir(test.non_mated_searches.scores, found.identify.other_threshold))
        print(f"target FMR {target_fmr:g}: {_spread(fmrs)} on the other half")
        print(f"target FPIR {target_fpir:g}: {_spread(fpirs)} by searches, {_spread(by_formula)} by the formula")
    everybody = _compared(vectors, owners, np.ones(len(owners), np.bool_))
    for target_fmr, target_fpir in TARGETS:
        found = calibrate(
            everybody, target_fmr=target_fmr, target_fpir=target_fpir, gallery_size=people.size, replicates=50
        )
        proposed = propose_identity_thresholds(everybody, found.verify.threshold, target_fmr)
        raised = "" if proposed.raised is None else f"; one threshold, raised: {_rates_text(proposed.raised)}"
        print(
            f"target FMR {target_fmr:g}: {len(proposed.lambs)} lambs; one threshold for all: "
            f"{_rates_text(proposed.before)}; with their own thresholds: {_rates_text(proposed.after)}{raised}"
        )


def _compared(vectors: Vectors, owners: NDArray[np.str_], rows: Mask) -> Comparisons:
    return compare_gallery(vectors[rows], owners[rows].tolist())


def _spread(rates: list[float]) -> str:
    return f"{np.mean(rates):.2g} ({min(rates):.2g} to {max(rates):.2g})"


def _rates_text(errors: ErrorRates) -> str:
    return f"FMR {errors.fmr:.2g}, FNMR {errors.fnmr:.2g}" if errors.fnmr is not None else f"FMR {errors.fmr:.2g}"


if __name__ == "__main__":
    main(Path(sys.argv[1]))
