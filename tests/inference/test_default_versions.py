"""Which version of an embedder of whole images new galleries get, and which version is marked as the default."""

from itertools import permutations

import pytest

from sameface.inference.cards import ModelCard, read_card
from sameface.inference.embedders import is_default
from sameface.pipeline.embedders import Embedders
from sameface.settings import model_repository_source

FACES = read_card(model_repository_source() / "face_embedder" / "1" / "card.json").model_dump()
IMAGE = {"detection": "none", "colour": "grey", "height": 8, "width": 8, "fit": "pad", "strokes": "bright"}


def whole(version: int, *, points: bool = True, restriction: str = "") -> ModelCard:
    changed = {
        "model": "shapes",
        "version": version,
        "input": {**FACES["input"], "shape": (-1, 1, 8, 8)},
        "whole_image": IMAGE,
        "preprocessing": "whole-grey-8x8-pad-bright-v1",
        "licence": {**FACES["licence"], "restriction": restriction},
        "operating_points": FACES["operating_points"] if points else (),
    }
    return ModelCard.model_validate(FACES | changed)


@pytest.mark.parametrize(
    ("cards", "version"),
    [
        ([whole(1)], 1),
        ([whole(1), whole(2)], 2),
        ([whole(1), whole(2), whole(10, points=False)], 2),
        ([whole(1), whole(2, restriction="research only")], 1),
        ([whole(1, points=False), whole(2, restriction="research only")], 1),
        ([whole(1, restriction="no sale"), whole(3, restriction="research only", points=False)], 1),
        ([whole(1, points=False), whole(2, points=False)], 2),
    ],
)
def test_new_galleries_get_the_highest_version_that_is_measured_and_free(cards: list[ModelCard], version: int) -> None:
    faces = [ModelCard.model_validate(FACES | {"version": number}) for number in (1, 2)]
    for order in permutations([*cards, *faces]):
        served = Embedders(order, default=1)
        assert served.card("shapes").version == version
        marked = {(card.model, card.version) for card in order if is_default(card, order, of_faces=1)}
        assert marked == {("face_embedder", 1), ("shapes", version)}
