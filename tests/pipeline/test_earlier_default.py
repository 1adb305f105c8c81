"""A gallery that was made under an earlier default keeps its contract, thresholds and scores."""

from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from sameface.inference.cards import read_cards
from sameface.inference.defaults import read_default
from sameface.inference.onnx import OnnxInference
from sameface.pipeline.operations import FaceOperations
from sameface.pipeline.photos import PhotoPipeline
from sameface.pipeline.samples import PhotoSample
from sameface.settings import model_repository_source
from sameface_qdrant import Policy, Store

PERSON = "macron"


async def enrolled(operations: FaceOperations, gallery: str, photo: PhotoSample) -> None:
    options: dict[str, Any] = {"display_name": "", "request_id": ""}
    await operations.create_gallery(gallery, embedder_version=None, policy=Policy(), **options)
    await operations.enroll(
        gallery,
        PERSON,
        photo,
        allow_missing=True,
        selection=None,
        expire_time=None,
        validate_only=False,
        **options,
    )


async def answer(operations: FaceOperations, gallery: str, photo: PhotoSample) -> tuple[Any, ...]:
    """Return what a gallery is bound to and what it decides."""
    decision, _ = await operations.verify(
        gallery, PERSON, photo, scope=None, threshold=None, margin=None, selection=None
    )
    contract = (await operations.store.galleries.get(gallery)).contract
    return contract, decision.outcome, decision.score, decision.threshold


async def test_galleries_of_every_earlier_default_go_on_as_before(portraits: Path, tmp_path: Path) -> None:
    repository = model_repository_source()
    default, _ = read_default(repository, repository)
    versions = sorted({change.replaced for change in default.history} | {default.version})
    assert 2 in versions
    first, probe = (PhotoSample((portraits / f"emmanuel_macron_{year}.jpg").read_bytes()) for year in (2014, 2025))
    inference, cards = OnnxInference(repository), read_cards(repository)
    before = {}
    for version in versions:
        store = await Store.open(f"edge://{tmp_path}")
        operations = FaceOperations(PhotoPipeline(inference), store, cards, default_embedder=version)
        await enrolled(operations, f"of-{version}", first)
        before[version] = await answer(operations, f"of-{version}", probe)
        await store.aclose()
    store = await Store.open(f"edge://{tmp_path}")
    now = FaceOperations(PhotoPipeline(inference), store, cards, default_embedder=default.version)
    after = {version: await answer(now, f"of-{version}", probe) for version in versions}
    await store.aclose()
    await inference.aclose()
    assert after == before
    assert [contract.version for contract, *_ in after.values()] == versions
    scores = [score for _, _, score, _ in after.values()]
    assert all(one != pytest.approx(other, abs=1e-3) for one, other in pairwise(scores))
