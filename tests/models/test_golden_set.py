"""The golden set: every version must give the embeddings of its card for the stored faces."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sameface.errors import ModelCheckFailed, ModelNotFound
from sameface.inference.cards import ModelCard, read_card, read_cards
from sameface.inference.golden_set import (
    GoldenFaces,
    check_golden_set,
    compare_golden_set,
    read_golden_faces,
)
from sameface.inference.onnx import OnnxInference
from sameface.settings import model_repository_source
from tests.models.test_build import crops

REPOSITORY = model_repository_source()
PATH = REPOSITORY / "face_embedder" / "golden_set.npz"
EMBEDDERS = [card for card in read_cards(REPOSITORY) if card.is_embedder]


@pytest.fixture(scope="module")
def faces() -> GoldenFaces:
    return read_golden_faces(PATH)


@pytest.fixture
def card() -> ModelCard:
    return read_card(REPOSITORY / "face_embedder" / "1" / "card.json")


def expected(card: ModelCard) -> np.ndarray[Any, Any]:
    assert card.golden_set is not None
    return np.array(card.golden_set.outputs, np.float32)


def test_it_shows_the_portraits_and_is_small(faces: GoldenFaces, portraits: Path) -> None:
    assert PATH.stat().st_size < 300_000
    assert (PATH.parent / "golden_set_credits.md").is_file()
    found = {path.stem: crop for path, crop in zip(sorted(portraits.glob("*.jpg")), crops(portraits), strict=True)}
    for identity, image in zip(faces.identities, faces.images, strict=True):
        difference = [np.abs(found[name].astype(float) - image).mean() for name in found if name.startswith(identity)]
        # A later detector may move a crop a little. The stored pixels stay the same.
        assert min(difference) < 8


@pytest.mark.parametrize("version", EMBEDDERS, ids=lambda card: str(card.version))
async def test_every_version_reproduces_it_and_tells_the_people_apart(version: ModelCard, faces: GoldenFaces) -> None:
    inference = OnnxInference(REPOSITORY)
    report = await check_golden_set(inference, version, faces)
    await inference.aclose()
    assert report.smallest_cosine > 0.999999
    assert (len(report.mated), len(report.non_mated)) == (2, 13)
    threshold = {point.fmr: point.threshold for point in version.points}[1e-4]
    assert report.non_mated[-1] < threshold < report.mated[0]


def test_scores_are_those_between_the_embeddings(card: ModelCard, faces: GoldenFaces) -> None:
    vectors = expected(card).astype(np.float64)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    scores = vectors @ vectors.T
    same = np.equal.outer(faces.identities, faces.identities)
    above = np.triu(np.ones_like(same), 1)
    report = compare_golden_set(card, faces, expected(card))
    np.testing.assert_allclose(report.mated, np.sort(scores[same & above]), atol=1e-7)
    np.testing.assert_allclose(report.non_mated, np.sort(scores[~same & above]), atol=1e-7)


def test_what_does_not_reproduce_it_is_refused(card: ModelCard, faces: GoldenFaces) -> None:
    right = expected(card)
    swapped = right[[1, 0, 2, 3, 4, 5]]
    for wrong in (swapped, np.zeros_like(right), np.full_like(right, np.nan), right[:, :-1]):
        with pytest.raises(ModelCheckFailed, match=r"golden set: cosine .* for a photo of emmanuel_macron"):
            compare_golden_set(card, faces, wrong)
    with pytest.raises(ModelCheckFailed, match="5 embeddings for 6 faces"):
        compare_golden_set(card, faces, right[:-1])


def test_the_last_face_counts_as_well(card: ModelCard, faces: GoldenFaces) -> None:
    embeddings = expected(card)
    noise = np.random.default_rng(5).normal(0, 1, 128)
    embeddings[-1] += (0.02 * noise / np.linalg.norm(noise)).astype(np.float32)  # a cosine of about 0.9998
    with pytest.raises(ModelCheckFailed, match=r"cosine 0\.9998\d+ for a photo of rishi_sunak"):
        compare_golden_set(card, faces, embeddings)


def test_a_card_without_or_for_other_pixels_is_named(card: ModelCard, faces: GoldenFaces) -> None:
    with pytest.raises(ModelCheckFailed, match="has no golden set; write it with `sameface model seal"):
        compare_golden_set(card.model_copy(update={"golden_set": None}), faces, expected(card))
    mirrored = GoldenFaces(faces.identities, faces.images[..., ::-1])
    with pytest.raises(ModelCheckFailed, match="other pixels"):
        compare_golden_set(card, mirrored, expected(card))


def test_a_missing_or_damaged_file_is_named(tmp_path: Path, faces: GoldenFaces) -> None:
    path = tmp_path / "golden_set.npz"
    with pytest.raises(ModelNotFound, match="is missing"):
        read_golden_faces(path)
    path.write_bytes(PATH.read_bytes()[:1000])
    with pytest.raises(ModelCheckFailed, match="is not a golden set"):
        read_golden_faces(path)
    np.savez(path, identities=np.array(faces.identities), images=faces.images[:, :1])
    with pytest.raises(ModelCheckFailed, match=r"uint8 \(6, 1, 112, 112\); expected uint8 \(6, 3, 112, 112\)"):
        read_golden_faces(path)
