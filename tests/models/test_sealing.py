"""A sealed card keeps only what was measured with its weights."""

from pathlib import Path

import pytest

from sameface.inference.cards import read_card
from sameface.models.seal import seal, write_card
from sameface.settings import model_repository_source

REPOSITORY = model_repository_source()


@pytest.mark.parametrize(
    ("before", "kept"),
    [("", (False, True)), ("0" * 64, (False, False)), (None, (True, True))],
    ids=["a new card", "other weights before", "the same weights"],
)
def test_sealing_other_weights_drops_what_was_measured(
    tmp_path: Path, before: str | None, kept: tuple[bool, bool]
) -> None:
    card = read_card(REPOSITORY / "face_detector" / "1" / "card.json")
    points = read_card(REPOSITORY / "face_embedder" / "1" / "card.json").operating_points
    path = tmp_path / "card.json"
    sha256 = card.sha256 if before is None else before
    update = {"sha256": sha256, "operating_points": points, "figures": {"note": "by hand"}}
    write_card(path, card.model_copy(update=update))
    sealed = seal(path, (REPOSITORY / "face_detector" / "1" / "model.onnx").read_bytes())
    assert (bool(sealed.operating_points), bool(sealed.figures)) == kept
