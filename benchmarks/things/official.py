"""The 20 official one-shot runs of Omniglot, answered by the service: 20 characters enrolled, 20 searches, each run."""

from pathlib import Path

import numpy as np

from benchmarks.things.attempts import Progress
from sameface.client import Client
from sameface.evaluation.few_shot import mean_accuracy, read_runs
from sameface.evaluation.tables import Table
from sameface_qdrant.calibration.report import interval_text, rate_text


def official_runs(client: Client, model: str, folder: Path, progress: Progress) -> Table:
    """Return how often the nearest of 20 enrolled drawings, of 105×105 pixels, is of the searched character."""
    runs = read_runs(folder)
    accuracies = []
    for run in runs:
        progress(f"official {run.name}")
        gallery = f"official-{run.name}"
        client.create_gallery(gallery, embedder_model=model, identify_threshold=1.0)
        for number, name in enumerate(run.training):
            client.enroll(gallery, f"class-{number:02d}", folder / name)
        right = []
        for name, answer in zip(run.tests, run.answers, strict=True):
            (face,) = client.identify(gallery, folder / name).faces
            assert face.decision is not None
            right.append(face.decision.candidates[0].identity_id == f"class-{answer:02d}")
        accuracies.append(np.mean(right))
    found = mean_accuracy(np.array(accuracies))
    trials = sum(len(run.tests) for run in runs)
    row = (f"{len(runs)}", f"{trials}", f"{rate_text(found.value)} ({interval_text(found.interval)})")
    return Table("Official one-shot runs", ("runs", "trials", "nearest is right"), (row,))
