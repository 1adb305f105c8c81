"""Maps of the model repository: the shipped ones, one that is fitted to real faces, and those that are refused."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from sameface.errors import ModelCheckFailed
from sameface.inference.cards import EMBEDDER, ModelCard, read_all_cards, read_cards
from sameface.inference.golden_set import read_golden_faces
from sameface.inference.map_cards import CARD, FOLDER, MAP, maps_of, read_map
from sameface.inference.onnx import open_session
from sameface.models.mapping import HELD_OUT, MadeMap, make_map
from sameface.models.mapping_faces import Amounts, PeoplesFaces, read_people
from sameface.models.mapping_files import write_map
from sameface.models.mapping_rule import ruled
from sameface.settings import model_repository_source
from sameface_qdrant.errors import InvalidArgument, MapMismatch, NotEnoughData

REPOSITORY = model_repository_source()
CARDS = read_cards(REPOSITORY)
SHIPPED = sorted(folder.name for folder in (REPOSITORY / EMBEDDER / FOLDER).iterdir())


def test_every_shipped_map_is_served_and_decides_no_worse_than_the_old_version() -> None:
    served = maps_of(REPOSITORY, CARDS)
    assert (1, 3) in served
    for name in SHIPPED:
        card, found = read_map(REPOSITORY / EMBEDDER / FOLDER / name)
        versions = (card.old.version, card.new.version)
        assert served.get(versions) == (found if card.is_default else None)
        assert card == ruled(card)
        assert [point.threshold for point in found.operating_points] == [
            point.threshold for point in card.operating_points
        ]
        research_only = any(one.licence.restriction for one in CARDS if one.version in versions and one.embeds_faces)
        assert bool(card.licence.restriction) == research_only


def test_versions_for_another_runtime_have_the_same_maps() -> None:
    openvino = [card for card in read_all_cards(REPOSITORY) if card.model != EMBEDDER and card.embeds_faces]
    assert (1, 3) in maps_of(REPOSITORY, openvino)


def test_a_fitted_map_gives_what_the_new_version_gives(made: MadeMap) -> None:
    others = read_golden_faces(REPOSITORY / EMBEDDER / "golden_set.npz").images[5:]
    old, new = (
        open_session(REPOSITORY / EMBEDDER / str(version) / "model.onnx", 1).run(["embedding"], {"images": others})[0]
        for version in (1, 4)
    )
    assert np.einsum("ij,ij->i", made.map.applied(old), new).min() > 0.98
    assert np.einsum("ij,ij->i", old, new).max() < 0.98
    assert made.card.evaluation.measured_on == HELD_OUT
    assert made.card.evaluation.cosine.value > 0.98
    assert (made.card.fit.people, made.card.fit.photos) == (5, 10)


def test_a_written_map_is_read_and_served(made: MadeMap, unmapped: Path) -> None:
    folder, written = write_map(unmapped, made, accept_worse=True)
    card, found = read_map(folder)
    assert (card, found) == (written, made.map)
    assert card == made.card.model_copy(update={"is_default": True})
    assert maps_of(unmapped, CARDS) == {(1, 4): made.map}
    # Versions that are not served need no map.
    assert not maps_of(unmapped, [one for one in CARDS if one.version != 4])


def test_a_map_of_other_weights_is_refused(made: MadeMap, unmapped: Path) -> None:
    folder, _ = write_map(unmapped, made, accept_worse=True)

    def resealed(card: ModelCard) -> ModelCard:
        return card.model_copy(update={"sha256": "0" * 64}) if (card.model, card.version) == (EMBEDDER, 4) else card

    with pytest.raises(MapMismatch, match=r"fitted to face_embedder-v4.*sameface model map.*remove the folder"):
        maps_of(unmapped, [resealed(card) for card in CARDS])
    described = json.loads((folder / CARD).read_text())
    (folder / CARD).write_text(json.dumps(described | {"sha256": "1" * 64}))
    with pytest.raises(MapMismatch, match="its card expects"):
        maps_of(unmapped, CARDS)
    (folder / MAP).write_bytes(b"nothing")
    with pytest.raises(ModelCheckFailed, match="remove the folder"):
        maps_of(unmapped, CARDS)
    (folder / CARD).write_text(json.dumps(described))
    (folder / MAP).write_bytes(made.map.to_bytes())
    folder.rename(folder.with_name("1-3"))
    with pytest.raises(ModelCheckFailed, match="rename it"):
        maps_of(unmapped, CARDS)


def test_what_cannot_be_fitted_is_refused(faces: PeoplesFaces, tmp_path: Path) -> None:
    for wrong, told in (({"new": 1}, "given twice"), ({"data": " "}, "data is blank")):
        options = {"old": 1, "new": 4, "data": "faces", **wrong}
        with pytest.raises(InvalidArgument, match=told):
            make_map(REPOSITORY, tmp_path, model=EMBEDDER, faces=faces, **options)  # type: ignore[arg-type]
    with pytest.raises(InvalidArgument, match="sameface-train prepare"):
        read_people(tmp_path)
    (tmp_path / "ada").mkdir()
    shutil.copy(next(Path("docs/images").glob("*.jpg")), tmp_path / "ada" / "one.jpg")
    with pytest.raises(NotEnoughData, match="one person"):
        read_people(tmp_path)


def test_pictures_and_their_people_belong_together(faces: PeoplesFaces) -> None:
    amounts = Amounts(copies=2, mixtures=5)
    pictures, owners = list(faces.pictures(amounts)), faces.owners(amounts)
    assert len(pictures) == len(owners) == 10 + 20 + 5
    assert {picture.shape for picture in pictures} == {(3, 112, 112)}
    assert (owners[:30, 0] == owners[:30, 1]).all()
    assert (owners[30:, 0] != owners[30:, 1]).all()
    assert [picture.tobytes() for picture in faces.pictures(amounts)] == [picture.tobytes() for picture in pictures]
    assert faces.digest(amounts) != faces.digest(replace(amounts, seed=1))
