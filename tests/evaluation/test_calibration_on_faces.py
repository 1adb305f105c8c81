"""Thresholds chosen on real faces hold for other people. The rates here are counted without the product's code."""

import asyncio
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from sameface.inference.onnx import OnnxInference
from sameface.pipeline.photos import PhotoPipeline
from sameface.settings import model_repository_source
from sameface_qdrant.calibration.thresholds import calibrate
from sameface_qdrant.metrics.cross_comparison import compare_gallery

PEOPLE = 200


@pytest.fixture(scope="module")
def faces(shared_data: Path) -> NDArray[np.float32]:
    """One embedding each of two hundred people, [people, 128]."""
    photos = [sorted(folder.glob("*.jpg"))[0] for folder in sorted((shared_data / "lfw_devtest").iterdir())[:PEOPLE]]
    pipeline = PhotoPipeline(OnnxInference(model_repository_source()))

    async def embedded() -> list[NDArray[np.float32]]:
        found: list[NDArray[np.float32]] = []
        for photo in photos:
            # LFW's photos are centred on the person; the largest face is nearly always the right one.
            faces = (await pipeline.find_faces(photo.read_bytes(), 1)).faces
            if faces:
                found += await pipeline.embed([faces[0].crop], 1)
        return found

    return np.stack(asyncio.run(embedded()))


@pytest.mark.dataset
def test_rates_on_other_people_are_near_the_targets(faces: NDArray[np.float32]) -> None:
    rates, searches, covered = [], [], 0
    for seed in range(6):
        order = np.random.default_rng(seed).permutation(len(faces))
        chosen, judged = faces[order[: len(faces) // 2]], faces[order[len(faces) // 2 :]]
        names = [f"p{number:03}" for number in range(len(chosen))]
        found = calibrate(
            compare_gallery(chosen, names),
            target_fmr=1e-2,
            target_fpir=0.2,
            gallery_size=len(chosen),
            replicates=200,
        )
        assert found.verify.is_supported
        assert found.identify.is_supported
        scores = judged @ judged.T
        rate = float((scores[np.triu_indices(len(judged), 1)] >= found.verify.threshold).mean())
        np.fill_diagonal(scores, -1.0)
        rates.append(rate)
        searches.append(float((scores.max(axis=1) >= found.identify.threshold).mean()))
        covered += found.verify.interval.low <= rate <= found.verify.interval.high
    # With two hundred people, the mean over splits is not known better than this.
    assert 0.005 <= np.mean(rates) <= 0.02
    assert 0.1 <= np.mean(searches) <= 0.4
    assert covered >= 4
